/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What grows: mounts in the namespace, clients at once, namespaces that receive the mounts, leases
 * that live. Each sweep reports a table, and its figures
 * of the summary.
 */

#include "tests/bench/service.h"

#include <stdbool.h>

struct sweep_plan {
        bool quick; /* a short run, only to see that it works */
        unsigned runs;
        int root;
        const char *path;
        struct service *service;
        struct service *against; /* another mountatd, or NULL */
};

void sweep_crowd(const struct sweep_plan *plan);
void sweep_slaves(const struct sweep_plan *plan);
void sweep_clients(const struct sweep_plan *plan);

/* Starts daemons of its own. */
void sweep_leases(const struct sweep_plan *plan);
void sweep_starts(const struct sweep_plan *plan);
