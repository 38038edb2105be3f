/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A new superblock, mounted nowhere. A procfs shows a pid namespace, a sysfs a network namespace;
 * nothing else that is made here depends on where it is made.
 */

#include "common/status.h"

struct namespaces;

/* Of fsconfig(2): without a value it is a flag. */
struct superblock_option {
        const char *key, *value;
};

enum { SUPERBLOCK_OPTIONS_MAX = 4 };

struct superblock_recipe {
        const char *file_system;
        unsigned attributes; /* MOUNT_ATTR_* of the mount */
        struct superblock_option
                options[SUPERBLOCK_OPTIONS_MAX]; /* up to the first without a key */
};

/*
 * `*fd` is its root, close-on-exec, the caller's; `source` is its label in the mount table;
 * `namespaces` are those that it is to show, NULL: the daemon's. STATUS_HOST_FAILED, with the
 * kernel's own words, if any; STATUS_FOREIGN_NAMESPACE: the client didn't say which one it is to
 * show. Any thread, doesn't block.
 */
struct verdict superblock_make(const struct superblock_recipe *recipe, const char *source,
                               const struct namespaces *namespaces, int *fd);
