/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Detaches what a dead instance left, mount by mount, found by the id on record and never by its
 * label. A mount that a stuck thread of that instance has yet to attach stays on record until it
 * appears, or until that process is gone.
 */

#include "daemon/leases.h"

enum sweep_scope {
        SWEEP_UNADOPTABLE, /* leases that weren't live when the instance died */
        SWEEP_UNCLAIMED,   /* the same, and those that nobody has adopted */
        SWEEP_FINALLY,     /* all; what can't be reached is left to mountatd --sweep */
};

enum sweep_patience {
        SWEEP_QUICKLY,   /* skip paths on which a file system would have to be asked */
        SWEEP_PATIENTLY, /* ask it, and perhaps wait for ever */
};

/*
 * How often a path is retried that seems to need patience: a change elsewhere has the same effect.
 */
#define SWEEP_TRIES_MAX 100

/*
 * Sweeps the waiting leases in the running instance's table. A mount that this process can't reach,
 * below a directory of mode 0700, is logged once with its path, and stays. In an isolated thread
 * (unmount.h), like all functions here.
 */
void sweep_leases(struct leases *leases, const struct instance *self, enum sweep_scope scope,
                  enum sweep_patience patience);

/*
 * Goes on keeping the leases that the previous instance kept for users, and forgets those without
 * mounts. What can't be reached is logged once, and stays on record.
 */
void sweep_keep(struct leases *leases, enum sweep_patience patience);

/*
 * Before an instance starts, sweeps with root's rights what nobody can adopt: leases that weren't
 * live, and those whose client, the process that connected, is gone. First quickly, then patiently.
 * Returns the number of leases freed.
 */
unsigned sweep_state(struct state *state, const struct mount_setup *setup,
                     const struct instance *self);
