/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One way to have /proc and /sys in an input root, and to be rid of them. What fails ends the
 * program, so that no failure is measured.
 */

#include "tests/bench/service.h"

#include <stdbool.h>
#include <stddef.h>

/* One user of a route: a thread with an input root. */
struct route_user {
        int root;                /* O_PATH */
        const char *path;        /* the same */
        struct service *service; /* NULL: no daemon is there */
        void *state;             /* the route's own */
};

struct route {
        const char *name;
        struct service *service; /* another than that of the comparison, or NULL */
        const char *what;        /* what it does, for the legend */
        unsigned stride; /* it takes part in each n-th round: the slow ones needn't in all */
        /* Why it can't be had here, or NULL. May itself be NULL. */
        const char *(*missing)(void);
        /* Before and after: a connection, or nothing. On the user's thread. May be NULL. */
        void (*begin)(struct route_user *user);
        void (*end)(struct route_user *user);
        void (*mount)(struct route_user *user);
        /* NULL: both happens in `mount`, and only the cycle can be told. */
        void (*unmount)(struct route_user *user);
        /* Processor time so far, in nanoseconds, of who takes part besides this process, its
         * children and the daemon. NULL: nobody does. */
        uint64_t (*others_cpu)(void);
};

/* In the table's order; the first is what the others are compared with. */
extern const struct route route_direct, route_direct_child, route_mountatd, route_dev, route_anew,
        route_hello, route_connect, route_mountatctl, route_mount8, route_bwrap, route_unshare,
        route_systemd, route_bus;
