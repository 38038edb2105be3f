/* SPDX-License-Identifier: Apache-2.0 */

/* Strings and descriptors of the message are borrowed by the worker; nothing else of it is touched
 * there. */

#include "daemon/method.h"

#include "common/fd.h"
#include "daemon/place.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- arguments ---- */

static uint32_t method_file_system(const char *name) {
        if (strcmp(name, "proc") == 0)
                return PROTOCOL_PROC;
        return strcmp(name, "sysfs") == 0 ? PROTOCOL_SYSFS : 0; /* 0: the decoder refuses it */
}

/* The same decoder as for the socket's bytes: what is malformed there is so here. */
static void method_decode(struct method_task *task, uint16_t operation) {
        uint8_t bytes[WIRE_REQUEST_MAX];

        task->wire.version = PROTOCOL_VERSION;
        task->wire.operation = operation;
        if (task->wire.n_targets > PROTOCOL_TARGETS_MAX) {
                task->wire.n_targets = 0;
                task->decoded = verdict_refuse(STATUS_MALFORMED, STATUS_NO_TARGET);
                snprintf(task->decoded.text, sizeof(task->decoded.text),
                         "at most %d targets at a time", PROTOCOL_TARGETS_MAX);
                return;
        }
        wire_decode_request(bytes, wire_encode_request(&task->wire, bytes), &task->wire,
                            &task->decoded);
        if (task->decoded.status == STATUS_MALFORMED && task->wire.n_targets == 0)
                snprintf(task->decoded.text, sizeof(task->decoded.text),
                         "name at least one file system");
}

static int method_read_mount(struct method_task *task, sd_bus_message *message) {
        int r = sd_bus_message_enter_container(message, 'a', "(hsu)");
        const char *name;
        uint32_t options;
        int fd;

        while (r >= 0 && (r = sd_bus_message_read(message, "(hsu)", &fd, &name, &options)) > 0) {
                uint32_t i = task->wire.n_targets++;

                if (i >= PROTOCOL_TARGETS_MAX)
                        continue;
                task->fds.fds[i] = fd;
                task->fds.count = i + 1;
                task->wire.targets[i] = (struct wire_target){
                        .file_system = method_file_system(name), .options = options};
        }
        if (r >= 0)
                method_decode(task, PROTOCOL_MOUNT);
        return r;
}

static int method_read_mount_path(struct method_task *task, sd_bus_message *message) {
        int r = sd_bus_message_read(message, "s", &task->path);
        const char *name;

        if (r >= 0)
                r = sd_bus_message_enter_container(message, 'a', "s");
        while (r >= 0 && (r = sd_bus_message_read(message, "s", &name)) > 0) {
                uint32_t i = task->wire.n_targets++;

                if (i < PROTOCOL_TARGETS_MAX)
                        task->wire.targets[i].file_system = method_file_system(name);
        }
        if (r >= 0)
                method_decode(task, PROTOCOL_MOUNT);
        return r;
}

static int method_read_unmount(struct method_task *task, sd_bus_message *message) {
        int r = sd_bus_message_read(message, "t", &task->wire.lease);

        if (r >= 0)
                method_decode(task, PROTOCOL_UNMOUNT);
        return r;
}

static int method_read_unmount_path(struct method_task *task, sd_bus_message *message) {
        int r = sd_bus_message_read(message, "s", &task->path);

        if (r >= 0)
                method_decode(task, PROTOCOL_UNMOUNT);
        return r;
}

static int method_read_list(struct method_task *task, sd_bus_message *message) {
        (void)message;
        task->decoded = VERDICT_OK;
        return 0;
}

/* ---- on a worker ---- */

static void method_serve(struct method_task *task) {
        struct request_rest rest;

        request_serve(task->gate, task->owner, &task->wire, &task->decoded, &task->fds,
                      &task->answer, &rest);
        request_finish(task->gate, &rest); /* another thread sends the reply */
}

static int method_open_root(struct method_task *task) {
        if (!ledger_is_local_only(task->gate->ledger))
                return place_open(task->path, &task->decoded);
        task->decoded = verdict_refuse(STATUS_LIMIT_EXCEEDED, STATUS_NO_TARGET);
        snprintf(task->decoded.text, sizeof(task->decoded.text),
                 "too many workers are stuck on FUSE servers: no path is followed until they "
                 "return");
        return -EDQUOT;
}

static void method_open_targets(struct method_task *task) {
        int root = method_open_root(task);

        for (uint32_t i = 0; root >= 0 && i < task->wire.n_targets; i++) {
                int fd = place_open_target(root, task->wire.targets[i].file_system, i,
                                           &task->decoded);

                if (fd < 0)
                        break;
                task->fds.fds[task->fds.count++] = fd;
        }
        fd_close(root);
}

static void method_run_mount_path(struct method_task *task) {
        if (task->decoded.status == STATUS_OK)
                method_open_targets(task);
        method_serve(task);
        fdpass_set_close(&task->fds);
}

/* The leases whose mounts are on `proc` and `sys` of the root; 0 where there is none. */
static void method_find_leases(struct method_task *task, uint64_t leases[2]) {
        static const uint32_t file_systems[2] = {PROTOCOL_PROC, PROTOCOL_SYSFS};
        struct request_gate *gate = task->gate;
        int root = method_open_root(task);

        for (uint32_t i = 0; root >= 0 && i < 2; i++) {
                struct verdict ignored;
                int fd = place_open_target(root, file_systems[i], STATUS_NO_TARGET, &ignored);
                uint64_t id;

                if (fd >= 0 && mount_identify(mount_features(gate->templates), fd, &id) == 0)
                        leases[i] = ledger_find_mount(gate->ledger, id);
                fd_close(fd);
        }
        fd_close(root);
}

static void method_run_unmount_path(struct method_task *task) {
        uint64_t leases[2] = {0};

        method_find_leases(task, leases);
        if (task->decoded.status == STATUS_OK && leases[0] == 0 && leases[1] == 0) {
                task->decoded = verdict_refuse(STATUS_NO_SUCH_LEASE, STATUS_NO_TARGET);
                snprintf(task->decoded.text, sizeof(task->decoded.text),
                         "no mount of mountatd's is on proc or sys there");
        }
        task->wire.lease = leases[0] ?: leases[1];
        method_serve(task);
        if (task->answer.status == STATUS_OK && leases[1] != 0 && leases[1] != task->wire.lease) {
                task->wire.lease = leases[1];
                method_serve(task);
        }
}

static void method_run_list(struct method_task *task) {
        struct request_gate *gate = task->gate;
        struct verdict verdict = VERDICT_OK;
        int r = listing_make(&task->listing, gate->ledger, gate->templates, gate->proc, task->scope,
                             task->owner->uid);

        if (r < 0)
                verdict = verdict_host_failed(r, STATUS_NO_TARGET);
        task->answer.status = verdict.status;
        task->answer.target = STATUS_NO_TARGET;
        snprintf(task->answer.text, sizeof(task->answer.text), "%s", verdict.text);
}

/* ---- results ---- */

static int method_reply_lease(const struct method_task *task, sd_bus_message *reply) {
        return sd_bus_message_append(reply, "t", task->answer.lease);
}

static int method_reply_nothing(const struct method_task *task, sd_bus_message *reply) {
        (void)task;
        (void)reply;
        return 0;
}

static int method_append_entry(sd_bus_message *reply, const struct listing_entry *entry,
                               uint64_t now) {
        const struct record *record = &entry->record;
        int r = sd_bus_message_open_container(reply, 'r', "tuussast");

        if (r >= 0)
                r = sd_bus_message_append(reply, "tuuss", record->lease, record->uid,
                                          (uint32_t)record->pid, entry->place,
                                          record->origin == RECORD_BUS ? "bus" : "socket");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "s");
        for (uint32_t i = 0; r >= 0 && i < record->count; i++)
                r = sd_bus_message_append(
                        reply, "s", record->file_systems[i] == PROTOCOL_SYSFS ? "sysfs" : "proc");
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r >= 0)
                r = sd_bus_message_append(
                        reply, "t", now > record->granted ? (now - record->granted) / 1000000 : 0);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int method_reply_list(const struct method_task *task, sd_bus_message *reply) {
        int r = sd_bus_message_open_container(reply, 'a', "(tuussast)");
        struct timespec now;

        clock_gettime(CLOCK_BOOTTIME, &now);
        for (size_t i = 0; r >= 0 && i < task->listing.count; i++)
                r = method_append_entry(reply, &task->listing.entries[i],
                                        (uint64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static const struct method method_table[] = {
        {"Mount", METHOD_ATTEMPT, method_read_mount, method_serve, method_reply_lease},
        {"Unmount", METHOD_AT_ONCE, method_read_unmount, method_serve, method_reply_nothing},
        {"MountPath", METHOD_ATTEMPT, method_read_mount_path, method_run_mount_path,
         method_reply_lease},
        {"UnmountPath", METHOD_ATTEMPT, method_read_unmount_path, method_run_unmount_path,
         method_reply_nothing},
        {"ListLeases", METHOD_ALONE, method_read_list, method_run_list, method_reply_list},
};

const struct method *method_find(const char *member) {
        for (size_t i = 0; i < sizeof(method_table) / sizeof(method_table[0]); i++)
                if (strcmp(method_table[i].member, member) == 0)
                        return &method_table[i];
        return NULL;
}

const struct method *method_unmount(struct method_task *task, uint64_t lease) {
        task->wire = (struct wire_request){.lease = lease};
        task->fds.count = 0;
        method_decode(task, PROTOCOL_UNMOUNT);
        return method_find("Unmount");
}
