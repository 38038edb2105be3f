/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One way to mount and unmount /proc and /sys in an input root. A failure ends the program, so that
 * it isn't measured.
 */

#include "tests/bench/service.h"

#include <stdbool.h>
#include <stddef.h>

/* One user of a route: a thread with an input root. */
struct route_user {
        int root;                /* O_PATH */
        const char *path;        /* the same */
        struct service *service; /* NULL: no daemon */
        void *state;             /* the route's own */
};

struct route {
        const char *name;
        struct service *service; /* if not the comparison's, or NULL */
        const char *what;        /* description, for the legend */
        unsigned stride; /* takes part in every n-th round: slow routes need not be in all */
        /* Why it isn't available here, or NULL. May itself be NULL. */
        const char *(*missing)(void);
        /* Set-up and clean-up, such as a connection. On the user's thread. May be NULL. */
        void (*begin)(struct route_user *user);
        void (*end)(struct route_user *user);
        void (*mount)(struct route_user *user);
        /* NULL: `mount` does both, and only the cycle is known. */
        void (*unmount)(struct route_user *user);
        /*
         * Processor time so far, in nanoseconds, of other processes than this one, its children and
         * the daemon. NULL: there are none.
         */
        uint64_t (*others_cpu)(void);
};

/* In the table's order; the others are compared with the first. */
extern const struct route route_direct, route_direct_child, route_mountatd, route_dev, route_anew,
        route_hello, route_connect, route_mountatctl, route_mount8, route_bwrap, route_unshare,
        route_systemd, route_bus;
