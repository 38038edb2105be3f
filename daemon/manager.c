/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Default deny: a method has one row, with who may call it and what it does, and without one it
 * doesn't exist. What the bus policy (org.mountat1.conf) lets through at all comes before; the
 * rules for targets (policy.h) come after. A property is read where it is kept.
 */

#include "daemon/manager.h"

#include "daemon/call.h"
#include "daemon/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

/* ---- arguments ---- */

static struct verdict manager_malformed(const char *why) {
        struct verdict verdict = verdict_refuse(STATUS_MALFORMED, STATUS_NO_TARGET);

        snprintf(verdict.text, sizeof(verdict.text), "%s", why);
        return verdict;
}

static int manager_read_root(sd_bus_message *message, struct method_task *task,
                             struct verdict *verdict) {
        const char *path, *fault;
        int r = sd_bus_message_read(message, "s", &path);

        if (r < 0)
                return r;
        fault = method_path_fault(path);
        if (fault) {
                *verdict = manager_malformed(fault);
                return 0;
        }
        task->root = strdup(path);
        return task->root ? 0 : -ENOMEM;
}

static int manager_read_file_systems(sd_bus_message *message, struct wire_request *wire,
                                     struct verdict *verdict) {
        int r = sd_bus_message_enter_container(message, 'a', "s");
        const char *name;

        while (r >= 0 && (r = sd_bus_message_read(message, "s", &name)) > 0) {
                if (wire->n_targets == PROTOCOL_TARGETS_MAX) {
                        *verdict = manager_malformed("at most 16 file systems at a time");
                        return 0;
                }
                wire->targets[wire->n_targets++].file_system = method_file_system(name);
        }
        if (r < 0)
                return r;
        *verdict = wire->n_targets == 0 ? manager_malformed("name at least one file system")
                                        : method_judge_request(wire);
        return 0;
}

static int manager_read_mount_path(sd_bus_message *message, struct method_task *task,
                                   struct verdict *verdict) {
        struct wire_request *wire = &task->request.wire;
        int r = manager_read_root(message, task, verdict);

        if (r < 0 || verdict->status != STATUS_OK)
                return r;
        wire->operation = PROTOCOL_MOUNT;
        wire->flags = PROTOCOL_KEEP;
        return manager_read_file_systems(message, wire, verdict);
}

static int manager_read_unmount_path(sd_bus_message *message, struct method_task *task,
                                     struct verdict *verdict) {
        task->request.wire.operation = PROTOCOL_UNMOUNT;
        return manager_read_root(message, task, verdict);
}

static int manager_read_unmount(sd_bus_message *message, struct method_task *task,
                                struct verdict *verdict) {
        struct wire_request *wire = &task->request.wire;
        int r = sd_bus_message_read(message, "t", &wire->lease);

        wire->operation = PROTOCOL_UNMOUNT;
        if (r >= 0)
                *verdict = method_judge_request(wire);
        return r;
}

static int manager_read_nothing(sd_bus_message *message, struct method_task *task,
                                struct verdict *verdict) {
        (void)message;
        (void)task;
        (void)verdict;
        return 0;
}

/* ---- results ---- */

static int manager_reply_nothing(sd_bus_message *reply, const struct method_task *task) {
        (void)reply;
        (void)task;
        return 0;
}

static int manager_reply_lease(sd_bus_message *reply, const struct method_task *task) {
        return sd_bus_message_append(reply, "t", task->request.reply.lease);
}

static int manager_append_lease(sd_bus_message *reply, const struct method_lease *lease,
                                uint64_t now) {
        const struct record *record = &lease->record;
        uint64_t age = now > record->granted ? (now - record->granted) / 1000000 : 0;
        int r = sd_bus_message_open_container(reply, 'r', "tuussast");

        if (r >= 0)
                r = sd_bus_message_append(reply, "tuuss", record->lease, record->uid,
                                          (uint32_t)record->pid, lease->place,
                                          record->kept ? "kept" : "socket");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "s");
        for (uint32_t i = 0; r >= 0 && i < record->count; i++)
                r = sd_bus_message_append(
                        reply, "s", record->file_systems[i] == PROTOCOL_SYSFS ? "sysfs" : "proc");
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "t", age);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int manager_reply_list(sd_bus_message *reply, const struct method_task *task) {
        int r = sd_bus_message_open_container(reply, 'a', "(tuussast)");
        struct timespec now;

        clock_gettime(CLOCK_BOOTTIME, &now);
        for (size_t i = 0; r >= 0 && i < task->list.count; i++)
                r = manager_append_lease(reply, &task->list.leases[i],
                                         (uint64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* ---- methods ---- */

static const struct call_method manager_methods[] = {
        {
                .member = "MountPath",
                .action = "org.mountat1.mount",
                .traits = CALL_FOLLOWS_PATH,
                .read = manager_read_mount_path,
                .run = method_mount_path,
                .reply = manager_reply_lease,
        },
        {
                .member = "UnmountPath",
                .action = "org.mountat1.unmount",
                .traits = CALL_FOLLOWS_PATH,
                .read = manager_read_unmount_path,
                .run = method_unmount_path,
                .reply = manager_reply_nothing,
        },
        {
                .member = "Unmount",
                .action = "org.mountat1.unmount-others",
                .traits = CALL_OWN_IS_FREE,
                .read = manager_read_unmount,
                .run = method_unmount,
                .reply = manager_reply_nothing,
        },
        {
                .member = "ListLeases",
                .action = "org.mountat1.list-others",
                .traits = CALL_SHOWS_OWN | CALL_IS_LARGE,
                .read = manager_read_nothing,
                .run = method_list_leases,
                .reply = manager_reply_list,
        },
};

const struct call_method *manager_method(const char *member) {
        for (size_t i = 0; i < sizeof(manager_methods) / sizeof(manager_methods[0]); i++)
                if (strcmp(manager_methods[i].member, member) == 0)
                        return &manager_methods[i];
        return NULL;
}

static int manager_on_call(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const struct call_method *method = manager_method(sd_bus_message_get_member(message));

        if (!method || !sd_bus_message_get_sender(message))
                return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                                         "nobody may call this method");
        return call_begin(userdata, message, method);
}

/* ---- properties ---- */

#define MANAGER_GETTER(name)                                                                       \
        static int name(sd_bus *connection, const char *path, const char *interface,               \
                        const char *property, sd_bus_message *reply, void *userdata,               \
                        sd_bus_error *error)

#define MANAGER_UNUSED()                                                                           \
        do {                                                                                       \
                (void)connection;                                                                  \
                (void)path;                                                                        \
                (void)interface;                                                                   \
                (void)property;                                                                    \
                (void)userdata;                                                                    \
                (void)error;                                                                       \
        } while (0)

static struct context *manager_context(void *userdata) {
        const struct calls *calls = userdata;

        return calls->context;
}

MANAGER_GETTER(manager_get_version) {
        MANAGER_UNUSED();
        return sd_bus_message_append(reply, "s", MOUNTATD_VERSION);
}

MANAGER_GETTER(manager_get_features) {
        static const struct {
                unsigned bit;
                const char *name;
        } features[] = {
                {PROTOCOL_FEATURE_CLONES, "clones"},
                {PROTOCOL_FEATURE_STATMOUNT, "statmount"},
                {PROTOCOL_FEATURE_UNIQUE_IDS, "unique-ids"},
                {PROTOCOL_FEATURE_PIDS_ONLY, "pids-only"},
                {PROTOCOL_FEATURE_ADOPT, "adopt"},
                {PROTOCOL_FEATURE_KEEP, "keep"},
                {PROTOCOL_FEATURE_CHECK, "check"},
        };
        unsigned known = context_features(manager_context(userdata));
        int r = sd_bus_message_open_container(reply, 'a', "s");

        MANAGER_UNUSED();
        for (unsigned i = 0; r >= 0 && i < sizeof(features) / sizeof(features[0]); i++)
                if (known & features[i].bit)
                        r = sd_bus_message_append(reply, "s", features[i].name);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

MANAGER_GETTER(manager_get_leases) {
        MANAGER_UNUSED();
        return sd_bus_message_append(reply, "u",
                                     leases_count(manager_context(userdata)->leases).leases);
}

MANAGER_GETTER(manager_get_connections) {
        MANAGER_UNUSED();
        return sd_bus_message_append(
                reply, "u", quota_used(manager_context(userdata)->quota, QUOTA_CONNECTIONS));
}

MANAGER_GETTER(manager_get_mounts_total) {
        MANAGER_UNUSED();
        return sd_bus_message_append(
                reply, "t", (uint64_t)atomic_load(&manager_context(userdata)->mounts_total));
}

MANAGER_GETTER(manager_get_failures_total) {
        MANAGER_UNUSED();
        return sd_bus_message_append(
                reply, "t", (uint64_t)atomic_load(&manager_context(userdata)->failures_total));
}

MANAGER_GETTER(manager_get_limit) {
        const struct context *context = manager_context(userdata);
        const struct quota_limit *connections = quota_limit(context->quota, QUOTA_CONNECTIONS);
        const struct quota_limit *mounts = quota_limit(context->quota, QUOTA_MOUNTS);
        const struct {
                const char *name;
                unsigned value;
        } table[] = {
                {"MaxConnections", connections->total},
                {"MaxConnectionsPerUser", connections->per_user},
                {"MaxMounts", mounts->total},
                {"MaxMountsPerUser", mounts->per_user},
                {"MaxTargets", context->max_targets},
        };

        MANAGER_UNUSED();
        for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++)
                if (strcmp(table[i].name, property) == 0)
                        return sd_bus_message_append(reply, "u", table[i].value);
        return -ENOENT;
}

#define MANAGER_LIMIT(name)                                                                        \
        SD_BUS_PROPERTY(name, "u", manager_get_limit, 0, SD_BUS_VTABLE_PROPERTY_CONST)

/* UNPRIVILEGED: the table of methods says who may. */
static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("MountPath", SD_BUS_ARGS("s", root, "as", file_systems),
                                SD_BUS_RESULT("t", lease), manager_on_call,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("UnmountPath", SD_BUS_ARGS("s", root), SD_BUS_NO_RESULT,
                                manager_on_call, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Unmount", SD_BUS_ARGS("t", lease), SD_BUS_NO_RESULT,
                                manager_on_call, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListLeases", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(tuussast)", leases),
                                manager_on_call, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Version", "s", manager_get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Features", "as", manager_get_features, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Leases", "u", manager_get_leases, 0, 0),
        SD_BUS_PROPERTY("Connections", "u", manager_get_connections, 0, 0),
        SD_BUS_PROPERTY("MountsTotal", "t", manager_get_mounts_total, 0, 0),
        SD_BUS_PROPERTY("FailuresTotal", "t", manager_get_failures_total, 0, 0),
        MANAGER_LIMIT("MaxConnections"),
        MANAGER_LIMIT("MaxConnectionsPerUser"),
        MANAGER_LIMIT("MaxMounts"),
        MANAGER_LIMIT("MaxMountsPerUser"),
        MANAGER_LIMIT("MaxTargets"),
        SD_BUS_VTABLE_END,
};

/* ---- org.freedesktop.LogControl1(5) ---- */

MANAGER_GETTER(manager_get_log_level) {
        MANAGER_UNUSED();
        return sd_bus_message_append(reply, "s", log_level_name(log_level()));
}

MANAGER_GETTER(manager_set_log_level) {
        const char *name;
        int r = sd_bus_message_read(reply, "s", &name);

        MANAGER_UNUSED();
        if (r >= 0)
                r = log_level_from_name(name);
        if (r < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         "give a level from emerg to debug");
        log_set_level(r);
        log_write(LOG_NOTICE, NULL, "the log level is %s from now on", log_level_name(r));
        return 0;
}

MANAGER_GETTER(manager_get_log_target) {
        MANAGER_UNUSED();
        return sd_bus_message_append(reply, "s", log_target());
}

MANAGER_GETTER(manager_set_log_target) {
        const char *name;
        int r = sd_bus_message_read(reply, "s", &name);

        MANAGER_UNUSED();
        if (r >= 0)
                r = log_set_target(name);
        if (r < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         "give journal, console or auto");
        return 0;
}

MANAGER_GETTER(manager_get_syslog_identifier) {
        MANAGER_UNUSED();
        return sd_bus_message_append(reply, "s", program_invocation_short_name);
}

/* The bus policy lets root set properties, and nobody else. Were these not UNPRIVILEGED, sd-bus
 * would make sure by asking the bus and waiting for its answer. */
static const sd_bus_vtable manager_log_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_WRITABLE_PROPERTY("LogLevel", "s", manager_get_log_level, manager_set_log_level, 0,
                                 SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_WRITABLE_PROPERTY("LogTarget", "s", manager_get_log_target, manager_set_log_target,
                                 0, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("SyslogIdentifier", "s", manager_get_syslog_identifier, 0,
                        SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};

int manager_publish(sd_bus *connection, struct calls *calls) {
        int r = sd_bus_add_object_vtable(connection, NULL, MANAGER_PATH, MANAGER_INTERFACE,
                                         manager_vtable, calls);

        return r < 0 ? r
                     : sd_bus_add_object_vtable(connection, NULL, "/org/freedesktop/LogControl1",
                                                "org.freedesktop.LogControl1", manager_log_vtable,
                                                NULL);
}
