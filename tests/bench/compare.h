/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Routes side by side. What umount2 takes depends on what the machine did just before, and the
 * machine on who else is on it: so each round has a block of cycles of every route, in an order
 * that is drawn anew, and only what was measured in one comparison is ever compared.
 */

#include "tests/bench/route.h"
#include "tests/bench/samples.h"

enum compare_step {
        COMPARE_MOUNT,
        COMPARE_UNMOUNT,
        COMPARE_CYCLE, /* both, without the pauses */
        COMPARE_STEPS,
};

struct compare_plan {
        unsigned rounds;
        unsigned block;   /* cycles of one route in a row */
        unsigned warm_up; /* cycles before each block that don't count */
        unsigned pause;   /* microseconds between the steps, for an action */
};

struct compare_result {
        struct samples steps[COMPARE_STEPS];
        double cpu;         /* microseconds a cycle: of this process and its children */
        double service_cpu; /* of the daemon */
        double others_cpu;  /* of others that the route names, such as dbus-daemon */
};

/* Runs them all in the same root; results[i] is routes[i]'s, the caller frees. */
void compare_run(const struct route *const *routes, size_t count, const struct compare_plan *plan,
                 struct service *service, int root, const char *path,
                 struct compare_result *results);

void compare_free(struct compare_result *results, size_t count);

/* Of one step, in microseconds. */
double compare_microseconds(struct compare_result *result, enum compare_step step, double q);
