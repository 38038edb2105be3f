/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The facts about a directory that a client sent, collected in one place, without a round trip to a
 * file system's server. policy.h judges them.
 */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum target_type {
        TARGET_OTHER,
        TARGET_DIRECTORY,
        TARGET_HIDDEN, /* a FUSE server hides even its type: move_mount will tell */
};

struct target_facts {
        enum target_type type;
        uid_t owner; /* only of a TARGET_DIRECTORY */
        bool deleted;
        bool mount_root;
        bool foreign;         /* in another mount namespace, or in a detached tree */
        uint64_t magic;       /* of its file system; 0: foreign, not a directory, or unknown */
        uint64_t mount_id;    /* of the mount it is on */
        bool mount_id_unique; /* otherwise valid only while the descriptor is open */
        char path[PATH_MAX];  /* the kernel's path; contains the client's bytes */
};

/*
 * Opens /proc/self/fd after checking that it is procfs. The caller owns it. -ENOENT or -EXDEV: no
 * procfs there. Before the first client.
 */
int target_open_proc(void);

/*
 * Fills in `*facts` about the borrowed `fd`; `proc` comes from target_open_proc(), `features` are
 * PROTOCOL_FEATURE_* bits. Without statmount (before Linux 6.8) it reads the whole mount table.
 * Negative errno, such as -ENAMETOOLONG for a path that is too long; then `*facts` is undefined.
 */
int target_inspect(int fd, int proc, unsigned features, struct target_facts *facts);

/* The name of the file systems with that magic; NULL: unknown. */
const char *target_file_system(uint64_t magic);
