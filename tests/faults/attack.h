/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What one user, or a few, can do to a daemon that is not to be felt by others. Each attack runs in
 * a process of its user's for as long as it is let: most of it is done at once, some goes on.
 */

#include "tests/fixtures/service.h"

struct attacker {
        const struct service *service;
        const char *fuse; /* of the user's own, where nobody is answered; see hostile_fuse.c */
        const char *area; /* a directory of the user's own */
        int ready;        /* is told by a byte */
};

enum attack_trait {
        ATTACK_WANTS_FUSE = 1 << 0,
        ATTACK_WANTS_NETWORK = 1 << 1, /* a user and a network namespace of the user's own */
        ATTACK_FILLS_LOG = 1 << 2,     /* which nobody reads */
        ATTACK_LEAVES_DIRTY = 1 << 3,  /* closing waits for the file system, since Linux 6.16 */
};

struct attack {
        const char *name;
        void (*run)(const struct attacker *attacker); /* tells that it is ready; doesn't return */
        unsigned users;                               /* that do it at once */
        unsigned traits;                              /* of enum attack_trait */
        unsigned stuck; /* threads of the daemon that each user keeps in the kernel, at least */
};

enum {
        ATTACK_USERS_MAX = 4,
        ATTACK_CONNECTIONS = 192, /* the limit of a user's, in whatever RLIMIT_NOFILE leaves room */
};

extern const struct attack attacks[];
extern const unsigned attacks_count;
