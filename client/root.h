/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One input root and its mountpoints `proc`, `sys` and `dev`: opens them, creates missing ones, and
 * removes those again. Functions may block as long as the root's file system does.
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
        uint32_t flags;   /* of enum mountat_flag: what to mount, and how */
        uint32_t created; /* of FLAG_FILE_SYSTEMS: whose directory was created here */
};

/* Opened mountpoints; owns their descriptors. */
struct root_targets {
        uint32_t count;
        struct mountat_target targets[ROOT_TARGETS_MAX];
};

/* Initializes `*root` with a duplicate of `fd`; the caller calls root_close() even on failure. */
int root_open(struct root *root, int fd, uint32_t flags, struct failure *failure);

/*
 * Opens the mountpoints for the root's flags, in the order proc, sys, dev. On failure `*targets` is
 * empty; the caller calls root_remove() for the directories created so far.
 */
int root_open_targets(struct root *root, struct root_targets *targets, struct failure *failure);

void root_targets_close(struct root_targets *targets);

/*
 * Opens the mountpoint for a file system with O_PATH: the mount on it, if there is one. The caller
 * owns the descriptor. Returns it, or a negative errno.
 */
int root_open_mount(const struct root *root, uint32_t file_system);

/* Removes the directories created here, unless they are not empty or mounted on. */
void root_remove(struct root *root);

void root_close(struct root *root);
