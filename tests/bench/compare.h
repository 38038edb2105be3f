/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Compares routes. The duration of umount2 depends on what the machine did just before, and on its
 * other users: so each round has a block of cycles of every route, in random order, and only
 * results of the same comparison are compared.
 */

#include "tests/bench/route.h"
#include "tests/bench/samples.h"

enum { COMPARE_ROUTES_MAX = 20 };

enum compare_step {
        COMPARE_MOUNT,
        COMPARE_UNMOUNT,
        COMPARE_CYCLE, /* both steps, without the pauses */
        COMPARE_STEPS,
};

struct compare_plan {
        unsigned rounds;
        unsigned block;   /* cycles of one route in a row */
        unsigned warm_up; /* uncounted cycles before each block */
        unsigned pause;   /* microseconds between the steps, in place of an action */
};

struct compare_result {
        struct samples steps[COMPARE_STEPS];
        double cpu;         /* microseconds per cycle: of this process and its children */
        double service_cpu; /* of the daemon */
        double others_cpu;  /* of other processes that the route names, such as dbus-daemon */
};

/*
 * Runs all, at most COMPARE_ROUTES_MAX, in the same root; results[i] belongs to routes[i], and the
 * caller frees it.
 */
void compare_run(const struct route *const *routes, size_t count, const struct compare_plan *plan,
                 struct service *service, int root, const char *path,
                 struct compare_result *results);

void compare_free(struct compare_result *results, size_t count);

/* Of one step, in microseconds. */
double compare_microseconds(struct compare_result *result, enum compare_step step, double q);
