/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The facts of a directory that a client sent, collected in one place, by calls that make no round
 * trip to a file system's server. What they mean is policy.h's matter.
 */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum target_type {
        TARGET_OTHER,
        TARGET_DIRECTORY,
        TARGET_HIDDEN, /* a FUSE server's that keeps even its type from us: move_mount will tell */
};

struct target_facts {
        enum target_type type;
        uid_t owner; /* of a TARGET_DIRECTORY */
        bool deleted;
        bool mount_root;
        bool foreign;         /* in another mount namespace, or in a detached tree */
        uint64_t magic;       /* of its file system; 0: foreign, not a directory, or unknown */
        uint64_t mount_id;    /* of the mount it is on */
        bool mount_id_unique; /* if not, it is good as long as the descriptor is open */
        char path[PATH_MAX];  /* what the kernel calls it; client's bytes */
};

/*
 * Opens /proc/self/fd after checking that it is procfs. The caller owns it. -ENOENT or -EXDEV: no
 * procfs there. Before the first client.
 */
int target_open_proc(void);

/*
 * Fills in `*facts` of the borrowed `fd`; `proc` is target_open_proc()'s, `features` are
 * PROTOCOL_FEATURE_* bits. Without statmount (before Linux 6.8) that takes a look at the whole
 * mount table. Negative errno, -ENAMETOOLONG for a path that is too long among them; then `*facts`
 * is undefined.
 */
int target_inspect(int fd, int proc, unsigned features, struct target_facts *facts);

/* What file systems with that magic are called, for a person; NULL: not known here. */
const char *target_file_system(uint64_t magic);
