/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Attacks by one user, or a few, that other users must not notice. Each runs in a process of its
 * user's until ended: most of it happens at once, some goes on.
 */

#include "tests/fixtures/service.h"

struct attacker {
        const struct service *service;
        const char *fuse; /* of the user's own, which never answers; see hostile_fuse.c */
        const char *area; /* a directory of the user's own */
        int ready;        /* gets a byte */
};

enum attack_trait {
        ATTACK_WANTS_FUSE = 1 << 0,
        ATTACK_WANTS_NETWORK = 1 << 1, /* needs a user and a network namespace of the user's own */
        ATTACK_FILLS_LOG = 1 << 2,     /* which has no reader */
        ATTACK_LEAVES_DIRTY = 1 << 3,  /* closing waits for the file system, since Linux 6.16 */
};

struct attack {
        const char *name;
        void (*run)(const struct attacker *attacker); /* reports when it is ready; doesn't return */
        unsigned users;                               /* simultaneous attackers */
        unsigned traits;                              /* of enum attack_trait */
        unsigned stuck; /* threads of the daemon that each user keeps in the kernel, at least */
};

enum {
        ATTACK_USERS_MAX = 4,
        ATTACK_CONNECTIONS = 192, /* a user's limit, if RLIMIT_NOFILE allows it */
};

extern const struct attack attacks[];
extern const unsigned attacks_count;
