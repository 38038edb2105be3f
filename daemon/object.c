/* SPDX-License-Identifier: Apache-2.0 */

/* A property is read where it is kept; nothing here has a state of its own. */

#include "daemon/object.h"

#include "daemon/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- properties ---- */

#define OBJECT_GETTER(name)                                                                        \
        static int name(sd_bus *connection, const char *path, const char *interface,               \
                        const char *property, sd_bus_message *reply, void *userdata,               \
                        sd_bus_error *error)

#define OBJECT_UNUSED()                                                                            \
        do {                                                                                       \
                (void)connection;                                                                  \
                (void)path;                                                                        \
                (void)interface;                                                                   \
                (void)property;                                                                    \
                (void)userdata;                                                                    \
                (void)error;                                                                       \
        } while (0)

static struct request_gate *object_gate(void *userdata) {
        struct call_desk *desk = userdata;

        return desk->gate;
}

OBJECT_GETTER(object_get_version) {
        OBJECT_UNUSED();
        return sd_bus_message_append(reply, "s", MOUNTATD_VERSION);
}

OBJECT_GETTER(object_get_features) {
        static const char *const names[] = {"clones", "statmount", "unique-ids", "pids-only",
                                            "adopt"};
        unsigned features =
                mount_features(object_gate(userdata)->templates) | PROTOCOL_FEATURE_ADOPT;
        int r = sd_bus_message_open_container(reply, 'a', "s");

        OBJECT_UNUSED();
        for (unsigned i = 0; r >= 0 && i < sizeof(names) / sizeof(names[0]); i++)
                if (features & 1U << i)
                        r = sd_bus_message_append(reply, "s", names[i]);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

OBJECT_GETTER(object_get_leases) {
        OBJECT_UNUSED();
        return sd_bus_message_append(reply, "u",
                                     ledger_count(object_gate(userdata)->ledger).leases);
}

OBJECT_GETTER(object_get_connections) {
        OBJECT_UNUSED();
        return sd_bus_message_append(reply, "u",
                                     ledger_count(object_gate(userdata)->ledger).connections);
}

OBJECT_GETTER(object_get_lost_workers) {
        OBJECT_UNUSED();
        return sd_bus_message_append(reply, "u",
                                     ledger_count(object_gate(userdata)->ledger).lost_workers);
}

OBJECT_GETTER(object_get_mounts_total) {
        OBJECT_UNUSED();
        return sd_bus_message_append(reply, "t",
                                     (uint64_t)atomic_load(&object_gate(userdata)->mounts_total));
}

OBJECT_GETTER(object_get_failures_total) {
        OBJECT_UNUSED();
        return sd_bus_message_append(reply, "t",
                                     (uint64_t)atomic_load(&object_gate(userdata)->failures_total));
}

OBJECT_GETTER(object_get_limit) {
        const struct ledger_limits *limits = ledger_limits(object_gate(userdata)->ledger);
        const struct {
                const char *name;
                unsigned value;
        } table[] = {
                {"MaxConnections", limits->connections},
                {"MaxConnectionsPerUser", limits->connections_per_user},
                {"MaxMounts", limits->mounts},
                {"MaxMountsPerUser", limits->mounts_per_user},
                {"MaxTargets", object_gate(userdata)->max_targets},
                {"MaxLostWorkers", limits->lost_workers},
                {"MaxLostWorkersPerUser", limits->lost_workers_per_user},
        };

        OBJECT_UNUSED();
        for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++)
                if (strcmp(table[i].name, property) == 0)
                        return sd_bus_message_append(reply, "u", table[i].value);
        return -ENOENT;
}

#define OBJECT_LIMIT(name)                                                                         \
        SD_BUS_PROPERTY(name, "u", object_get_limit, 0, SD_BUS_VTABLE_PROPERTY_CONST)

/* Its userdata is the desk, as call_handle() wants it. UNPRIVILEGED: authority.h decides. */
static const sd_bus_vtable object_manager[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Mount", SD_BUS_ARGS("a(hsu)", targets), SD_BUS_RESULT("t", lease),
                                call_handle, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Unmount", SD_BUS_ARGS("t", lease), SD_BUS_NO_RESULT, call_handle,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("MountPath", SD_BUS_ARGS("s", root, "as", file_systems),
                                SD_BUS_RESULT("t", lease), call_handle, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("UnmountPath", SD_BUS_ARGS("s", root), SD_BUS_NO_RESULT,
                                call_handle, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListLeases", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(tuussast)", leases),
                                call_handle, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("LeaseAdded", SD_BUS_ARGS("t", lease, "u", uid, "s", origin), 0),
        SD_BUS_SIGNAL_WITH_ARGS("LeaseRemoved",
                                SD_BUS_ARGS("t", lease, "u", uid, "s", origin, "s", reason), 0),
        SD_BUS_PROPERTY("Version", "s", object_get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Features", "as", object_get_features, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Leases", "u", object_get_leases, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Connections", "u", object_get_connections, 0,
                        SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("LostWorkers", "u", object_get_lost_workers, 0,
                        SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("MountsTotal", "t", object_get_mounts_total, 0, 0),
        SD_BUS_PROPERTY("FailuresTotal", "t", object_get_failures_total, 0, 0),
        OBJECT_LIMIT("MaxConnections"),
        OBJECT_LIMIT("MaxConnectionsPerUser"),
        OBJECT_LIMIT("MaxMounts"),
        OBJECT_LIMIT("MaxMountsPerUser"),
        OBJECT_LIMIT("MaxTargets"),
        OBJECT_LIMIT("MaxLostWorkers"),
        OBJECT_LIMIT("MaxLostWorkersPerUser"),
        SD_BUS_VTABLE_END,
};

/* ---- org.freedesktop.LogControl1, org.freedesktop.LogControl1(5) ---- */

OBJECT_GETTER(object_get_log_level) {
        OBJECT_UNUSED();
        return sd_bus_message_append(reply, "s", log_level_name(log_level()));
}

OBJECT_GETTER(object_set_log_level) {
        const char *name;
        int r = sd_bus_message_read(reply, "s", &name);

        OBJECT_UNUSED();
        if (r >= 0)
                r = log_level_from_name(name);
        if (r < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         "give a level from emerg to debug");
        log_set_level(r);
        log_write(LOG_NOTICE, NULL, "the log level is %s from now on", log_level_name(r));
        return 0;
}

OBJECT_GETTER(object_get_log_target) {
        OBJECT_UNUSED();
        return sd_bus_message_append(reply, "s", log_target());
}

OBJECT_GETTER(object_set_log_target) {
        const char *name;
        int r = sd_bus_message_read(reply, "s", &name);

        OBJECT_UNUSED();
        if (r >= 0)
                r = log_set_target(name);
        if (r < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         "give journal, console or auto");
        return 0;
}

OBJECT_GETTER(object_get_syslog_identifier) {
        OBJECT_UNUSED();
        return sd_bus_message_append(reply, "s", program_invocation_short_name);
}

/*
 * The bus policy lets root set properties, and nobody else. sd-bus would make sure (were these not
 * UNPRIVILEGED) by asking the bus and waiting, and impatience.h ends waits: then it says EINTR.
 */
static const sd_bus_vtable object_log_control[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_WRITABLE_PROPERTY("LogLevel", "s", object_get_log_level, object_set_log_level, 0,
                                 SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_WRITABLE_PROPERTY("LogTarget", "s", object_get_log_target, object_set_log_target, 0,
                                 SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("SyslogIdentifier", "s", object_get_syslog_identifier, 0,
                        SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};

/* ---- the objects ---- */

int object_publish(sd_bus *connection, struct call_desk *desk) {
        int r = sd_bus_add_object_vtable(connection, NULL, OBJECT_PATH, OBJECT_INTERFACE,
                                         object_manager, desk);

        return r < 0 ? r
                     : sd_bus_add_object_vtable(connection, NULL, "/org/freedesktop/LogControl1",
                                                "org.freedesktop.LogControl1", object_log_control,
                                                NULL);
}

char **object_changing(void) {
        static char *names[] = {(char *)"Leases", (char *)"Connections", (char *)"LostWorkers",
                                NULL};

        return names;
}
