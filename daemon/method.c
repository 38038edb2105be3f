/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The rights to go to a path are the daemon's, that is, anybody's: it has no CAP_DAC_*. Whatever
 * mounts or unmounts does so by request_serve(), as every request from the socket.
 */

#include "daemon/method.h"

#include "common/fd.h"
#include "common/text.h"
#include "daemon/kernel.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct verdict method_refuse(enum status status, uint32_t target, const char *text) {
        struct verdict verdict = verdict_refuse(status, target);

        snprintf(verdict.text, sizeof(verdict.text), "%s", text);
        return verdict;
}

/* ---- arguments ---- */

/* Whether ".." is in the path: one that begins with /srv/ci/ must not lead out of there, since the
 * rules of administrators for polkit compare it as a text. */
static bool method_path_climbs(const char *path) {
        for (const char *at = strstr(path, "/.."); at; at = strstr(at + 1, "/.."))
                if (at[3] == '/' || at[3] == '\0')
                        return true;
        return false;
}

const char *method_path_fault(const char *path) {
        if (path[0] != '/')
                return "give an absolute path";
        if (strnlen(path, PATH_MAX) >= PATH_MAX)
                return "the path is too long";
        return method_path_climbs(path) ? "give a path without \"..\"" : NULL;
}

uint32_t method_file_system(const char *name) {
        if (strcmp(name, "proc") == 0)
                return PROTOCOL_PROC;
        return strcmp(name, "sysfs") == 0 ? PROTOCOL_SYSFS : 0;
}

struct verdict method_judge_request(struct wire_request *wire) {
        uint8_t bytes[WIRE_REQUEST_MAX];
        struct verdict verdict;

        wire->version = PROTOCOL_VERSION;
        wire_decode_request(bytes, wire_encode_request(wire, bytes), wire, &verdict);
        return verdict;
}

/* ---- mounting and unmounting ---- */

static void method_serve(struct method_task *task) {
        request_serve(task->context, &task->holder, &task->request);
        request_finish(task->context, &task->request); /* another thread sends the reply */
}

static struct verdict method_judge_opening(int error, uint32_t target) {
        switch (error) {
        case -ENOENT:
                return method_refuse(STATUS_TARGET_VANISHED, target, "there is no such directory");
        case -ELOOP:
                return method_refuse(STATUS_NOT_A_DIRECTORY, target,
                                     "there is a symbolic link in the path, and none is followed: "
                                     "give the path behind it");
        case -ENOTDIR:
                return method_refuse(STATUS_NOT_A_DIRECTORY, target, "it is not a directory");
        case -EACCES:
                return method_refuse(STATUS_NOT_AUTHORISED, target,
                                     "mountatd has no right to go there itself: use mountatctl, "
                                     "which opens the directory and sends it");
        default:
                return verdict_host_failed(error, target);
        }
}

static int method_open_below(int root, uint32_t file_system) {
        return kernel_open_below(root, file_system == PROTOCOL_PROC ? "proc" : "sys");
}

static struct verdict method_open_targets(struct method_task *task) {
        const struct wire_request *wire = &task->request.wire;
        struct fdpass_set *fds = &task->request.fds;
        FD_AUTO int root = kernel_open_place(task->root, 0);

        if (root < 0)
                return method_judge_opening(root, STATUS_NO_TARGET);
        for (uint32_t i = 0; i < wire->n_targets; i++) {
                int fd = method_open_below(root, wire->targets[i].file_system);

                if (fd < 0)
                        return method_judge_opening(fd, i);
                fds->fds[fds->count++] = fd;
        }
        return VERDICT_OK;
}

void method_mount_path(struct method_task *task) {
        task->request.decoded = method_open_targets(task);
        method_serve(task);
}

void method_take_back(struct method_task *task) {
        request_take_back(task->context, &task->holder, &task->request);
        request_finish(task->context, &task->request);
}

void method_unmount(struct method_task *task) {
        task->request.decoded = VERDICT_OK;
        method_serve(task);
}

/* The lease of the mount on `proc` or `sys` of the root; 0: there is none. */
static uint64_t method_find_lease(const struct method_task *task, int root, uint32_t file_system) {
        const struct context *context = task->context;
        FD_AUTO int fd = method_open_below(root, file_system);
        uint64_t id;

        if (fd < 0 || mount_identify(templates_setup(context->templates)->features, fd, &id) < 0)
                return 0;
        return leases_find_mount(context->leases, id);
}

static struct verdict method_find_leases(const struct method_task *task, uint64_t leases[2]) {
        FD_AUTO int root = kernel_open_place(task->root, 0);

        if (root < 0)
                return method_judge_opening(root, STATUS_NO_TARGET);
        leases[0] = method_find_lease(task, root, PROTOCOL_PROC);
        leases[1] = method_find_lease(task, root, PROTOCOL_SYSFS);
        if (leases[0] == 0 && leases[1] == 0)
                return method_refuse(STATUS_NO_SUCH_LEASE, STATUS_NO_TARGET,
                                     "no mount of mountatd's is on proc or sys there");
        return VERDICT_OK;
}

void method_unmount_path(struct method_task *task) {
        uint64_t leases[2] = {0};

        task->request.decoded = method_find_leases(task, leases);
        task->request.wire.lease = leases[0] ?: leases[1];
        method_serve(task);
        if (task->request.reply.status != STATUS_OK || leases[1] == 0 ||
            leases[1] == task->request.wire.lease)
                return;
        task->request.wire.lease = leases[1];
        method_serve(task);
}

/* ---- the list ---- */

char *method_name_place(const char *path, size_t spent) {
        char text[METHOD_PLACE_MAX + 1];
        size_t max = spent < METHOD_PLACES_MAX ? METHOD_PLACES_MAX - spent : 0;

        if (max > METHOD_PLACE_MAX)
                max = METHOD_PLACE_MAX;
        if (max < strlen(TEXT_CUT))
                max = strlen(TEXT_CUT);
        return strdup(text_abridge(text, max + 1, path));
}

/* A mount that is gone already, or was never reached, has no place to tell. */
static char *method_find_place(const struct method_task *task, int root,
                               const struct record *record) {
        const struct mount_setup *setup = templates_setup(task->context->templates);
        const struct mount_name name = {record->mounts[0], record->file_systems[0]};
        char path[PATH_MAX] = "", *slash;
        int r = -ENOENT;

        if (root >= 0)
                r = kernel_readlink(task->context->proc, root, path, sizeof(path));
        else if (setup->features & PROTOCOL_FEATURE_STATMOUNT) /* else it reads the whole table */
                r = mount_locate(setup, &name, path);
        if (r < 0 || strcmp(path, "/") == 0)
                return strdup("");
        slash = strrchr(path, '/');
        if (slash)
                slash[slash == path] = '\0';
        return method_name_place(path, task->list.places);
}

static int method_list_add(struct method_list *list, const struct record *record, char *place) {
        struct method_lease *leases = list->leases;

        if (!place)
                return -ENOMEM;
        if (list->count == list->room) {
                size_t room = list->room ? list->room * 2 : 16;

                leases = reallocarray(leases, room, sizeof(*leases));
                if (!leases) {
                        free(place);
                        return -ENOMEM;
                }
                list->leases = leases;
                list->room = room;
        }
        list->places += strlen(place);
        leases[list->count++] = (struct method_lease){.record = *record, .place = place};
        return 0;
}

/* One lease at a time is copied from the table, with a duplicate of a descriptor of its mount: who
 * releases it meanwhile takes nothing away from here. */
void method_list_leases(struct method_task *task) {
        const struct subject *subject = &task->holder.subject;
        struct wire_reply *reply = &task->request.reply;
        struct verdict verdict = VERDICT_OK;
        struct record record;
        uint32_t cursor = 0;
        int root, r = 0;

        while (r == 0 && leases_next(task->context->leases, &cursor, &record, &root)) {
                if (subject->trust == TRUST_ADMINISTRATOR || record.uid == subject->uid)
                        r = method_list_add(&task->list, &record,
                                            method_find_place(task, root, &record));
                fd_close(root);
        }
        if (r < 0)
                verdict = verdict_host_failed(r, STATUS_NO_TARGET);
        reply->status = verdict.status;
        reply->target = verdict.target;
        snprintf(reply->text, sizeof(reply->text), "%s", verdict.text);
}

void method_task_clear(struct method_task *task) {
        for (size_t i = 0; i < task->list.count; i++)
                free(task->list.leases[i].place);
        free(task->list.leases);
        task->list = (struct method_list){0};
        free(task->root);
        task->root = NULL;
}
