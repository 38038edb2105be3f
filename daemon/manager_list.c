/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One lease at a time is copied from the table, and a descriptor of its mount is duplicated, so a
 * concurrent release doesn't matter.
 */

#include "daemon/manager_list.h"

#include "common/fd.h"
#include "common/file_system.h"
#include "common/text.h"
#include "daemon/kernel.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <systemd/sd-bus.h>

enum {
        MANAGER_LIST_PLACE_MAX = 1024, /* bytes of one place in a list */
        MANAGER_LIST_PLACES_MAX =
                16 * 1024 * 1024, /* of all places; beyond, each is just TEXT_CUT */
};

/*
 * The place as shown in a list whose places take `spent` bytes so far. Users choose the paths, and
 * a control character is escaped to four bytes: long places are cut, so that every list fits a
 * D-Bus message (32 MiB on the system bus, which otherwise drops the connection), and no user can
 * keep an administrator from getting a list.
 */
static const char *manager_list_name(char text[static MANAGER_LIST_PLACE_MAX + 1], const char *path,
                                     size_t spent) {
        size_t max = spent < MANAGER_LIST_PLACES_MAX ? MANAGER_LIST_PLACES_MAX - spent : 0;

        if (max > MANAGER_LIST_PLACE_MAX)
                max = MANAGER_LIST_PLACE_MAX;
        if (max < strlen(TEXT_CUT))
                max = strlen(TEXT_CUT);
        return text_abridge(text, max + 1, path);
}

/*
 * A mount that is already gone, or was never reached, has no place: "". In another mount namespace
 * the place is a path from that namespace's root; it isn't looked up there.
 */
static void manager_list_find(const struct context *context, const struct record *record, int root,
                              char path[static PATH_MAX]) {
        const struct mount_setup *setup = templates_setup(context->templates);
        const struct mount_name name = {record->mounts[0], record->file_systems[0]};
        char *slash;
        int r = -ENOENT;

        if (root >= 0)
                r = kernel_readlink(context->proc, root, path, PATH_MAX);
        else if (record->mount_namespace)
                r = kernel_statmount_place(name.id, record->mount_namespace, path, PATH_MAX);
        else if (setup->features & PROTOCOL_FEATURE_STATMOUNT) /* else it reads the whole table */
                r = mount_locate(setup, &name, path);
        if (r < 0 || strcmp(path, "/") == 0) {
                path[0] = '\0';
                return;
        }
        slash = strrchr(path, '/');
        if (slash)
                slash[slash == path] = '\0';
}

#define MANAGER_LIST_LEASE "tuussast"

static const struct {
        const char *array, *lease;
} manager_list_types[] = {
        [MANAGER_LIST_FIXED] = {"(" MANAGER_LIST_LEASE ")", MANAGER_LIST_LEASE},
        [MANAGER_LIST_EXTENDED] = {"(" MANAGER_LIST_LEASE "a{sv})", MANAGER_LIST_LEASE "a{sv}"},
};

/* The dictionary: a key with its default value is left out. */
static int manager_list_append_rest(sd_bus_message *reply, const struct record *record) {
        int r = sd_bus_message_open_container(reply, 'a', "{sv}");

        if (r >= 0 && record->mount_namespace)
                r = sd_bus_message_append(reply, "{sv}", "MountNamespace", "t",
                                          record->namespace_inode);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int manager_list_append_lease(sd_bus_message *reply, const struct record *record,
                                     const char *place, enum manager_list_form form) {
        char *names[PROTOCOL_TARGETS_MAX + 1] = {0};
        int r = sd_bus_message_open_container(reply, 'r', manager_list_types[form].lease);
        uint64_t now = leases_now();

        for (uint32_t i = 0; i < record->count; i++)
                names[i] = (char *)file_system_name(record->file_systems[i]);
        if (r >= 0)
                r = sd_bus_message_append(reply, "tuuss", record->lease, record->uid,
                                          (uint32_t)record->pid, place,
                                          record->kept ? "kept" : "socket");
        if (r >= 0)
                r = sd_bus_message_append_strv(reply, names);
        if (r >= 0)
                r = sd_bus_message_append(
                        reply, "t", now > record->granted ? (now - record->granted) / 1000000 : 0);
        if (r >= 0 && form == MANAGER_LIST_EXTENDED)
                r = manager_list_append_rest(reply, record);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

int manager_list_append(const struct context *context, const struct subject *subject,
                        enum manager_list_form form, sd_bus_message *reply) {
        int root, r = sd_bus_message_open_container(reply, 'a', manager_list_types[form].array);
        struct record record;
        uint32_t cursor = 0;
        size_t spent = 0;

        while (r >= 0 && leases_next(context->leases, &cursor, &record, &root)) {
                char path[PATH_MAX] = "", place[MANAGER_LIST_PLACE_MAX + 1];

                if (subject->trust == TRUST_ADMINISTRATOR || record.uid == subject->uid) {
                        manager_list_find(context, &record, root, path);
                        manager_list_name(place, path, spent);
                        spent += strlen(place);
                        r = manager_list_append_lease(reply, &record, place, form);
                }
                fd_close(root);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}
