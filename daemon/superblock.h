/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A new superblock, mounted nowhere. A procfs shows a pid namespace, a sysfs a network namespace;
 * other file systems don't depend on the namespace that they are made in.
 */

#include "common/status.h"

struct namespaces;

/* For fsconfig(2): a flag if it has no value. */
struct superblock_option {
        const char *key, *value;
};

enum { SUPERBLOCK_OPTIONS_MAX = 5 };

struct superblock_recipe {
        const char *file_system;
        unsigned attributes; /* MOUNT_ATTR_* of the mount */
        struct superblock_option
                options[SUPERBLOCK_OPTIONS_MAX]; /* up to the first without a key */
};

/*
 * `*fd` is its root, close-on-exec, owned by the caller; `source` is its label in the mount table;
 * `namespaces` are those to show, NULL: the daemon's. STATUS_HOST_FAILED, with the kernel's own
 * message, if any; STATUS_FOREIGN_NAMESPACE: the client has not sent the namespace to show. Any
 * thread, doesn't block.
 */
struct verdict superblock_make(const struct superblock_recipe *recipe, const char *source,
                               const struct namespaces *namespaces, int *fd);
