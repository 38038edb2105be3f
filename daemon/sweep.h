/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Detaching what a dead predecessor left, mount by mount, found by the id on record and never by
 * its label. A mount that one of its threads, stuck in the kernel, has yet to attach stays on
 * record until it turns up or the last of that process is gone.
 */

#include "daemon/leases.h"

enum sweep_scope {
        SWEEP_UNADOPTABLE, /* leases that weren't live when the predecessor died */
        SWEEP_UNCLAIMED,   /* those as well that nobody has adopted */
        SWEEP_FINALLY,     /* all, and what can't be reached is left for mountatd --sweep */
};

enum sweep_patience {
        SWEEP_QUICKLY,   /* leave out paths on which a file system would have to be asked */
        SWEEP_PATIENTLY, /* ask, and perhaps wait for ever */
};

/* How often a path that seems to take patience is tried: a change elsewhere makes it look so. */
#define SWEEP_TRIES_MAX 100

/*
 * Sweeps what is left in the running instance's table. What this process can't reach, below a
 * directory of mode 0700, is logged once with its place, and stays. In an isolated thread (see
 * unmount.h), as all of these.
 */
void sweep_leases(struct leases *leases, const struct instance *self, enum sweep_scope scope,
                  enum sweep_patience patience);

/*
 * Keeps on what the predecessor kept for users, and forgets those of which nothing is mounted any
 * more. What can't be reached is logged once, and stays on record.
 */
void sweep_keep(struct leases *leases, enum sweep_patience patience);

/*
 * Sweeps, before an instance starts and with root's rights, what none can adopt: leases that
 * weren't live, and those whose client, the process that connected, is gone. First quickly, then
 * patiently. Returns how many it freed.
 */
unsigned sweep_state(struct state *state, const struct mount_setup *setup,
                     const struct instance *self);
