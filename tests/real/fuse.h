/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A FUSE of a user's own, of one directory called "proc", that can be stalled. It speaks to
 * /dev/fuse itself: linux/fuse.h is all it takes.
 */

#include <stdbool.h>
#include <sys/types.h>

struct fuse {
        pid_t server;
        const char *path;
};

/*
 * Mounts it on the directory `path` as a FUSE of `uid`, served by a process of its own. Without
 * `others` the kernel hides it from everybody else, root included. false: this machine has no FUSE.
 */
bool fuse_mount(struct fuse *fuse, const char *path, uid_t uid, bool others);

/* Its "proc", opened by a process of `uid`'s. */
int fuse_open_proc(const struct fuse *fuse, uid_t uid);

/* From now on it answers nothing. */
void fuse_stall(const struct fuse *fuse);

/* Ends the server, and the mount. */
void fuse_unmount(struct fuse *fuse);
