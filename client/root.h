/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One input root and its mountpoints `proc`, `sys` and `dev`: opened below it, made where they are
 * missing, removed again. May block for as long as the file system of the root does.
 */

#include "client/failure.h"
#include "client/flag.h"
#include "client/mountat.h"

#include <stdint.h>

enum {
        ROOT_TARGETS_MAX = FLAG_COUNT,
};

struct root {
        int fd;           /* owned, -EBADF for none */
        uint32_t flags;   /* of enum mountat_flag: what is mounted, and how */
        uint32_t created; /* of FLAG_FILE_SYSTEMS: whose directory was made here */
};

/* The opened mountpoints. Owns their descriptors. */
struct root_targets {
        uint32_t count;
        struct mountat_target targets[ROOT_TARGETS_MAX];
};

/* Keeps a duplicate of `fd`, in `*root`, which the caller closes in any case. */
int root_open(struct root *root, int fd, uint32_t flags, struct failure *failure);

/*
 * Opens the mountpoints for the root's flags, in their order. On failure `*targets` is empty, and
 * what was made until then is left to root_remove().
 */
int root_open_targets(struct root *root, struct root_targets *targets, struct failure *failure);

void root_targets_close(struct root_targets *targets);

/*
 * Opens, O_PATH, what the mountpoint for that file system leads to: the mount, where there is one.
 * Negative errno.
 */
int root_open_mount(const struct root *root, uint32_t file_system);

/* Removes the directories that were made here, as far as they are empty and nothing is on them. */
void root_remove(struct root *root);

void root_close(struct root *root);
