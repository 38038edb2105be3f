/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Detaching what a dead predecessor left, mount by mount, found by the id on record and never by
 * its label. A mount that one of its threads, stuck in the kernel, has yet to attach stays on
 * record until it turns up or the last of that process is gone.
 */

#include "daemon/ledger.h"

enum sweep_scope {
        SWEEP_UNADOPTABLE, /* leases that weren't live when the predecessor died */
        SWEEP_UNCLAIMED,   /* those as well that nobody has adopted */
        SWEEP_FINALLY,     /* all, and what can't be reached is left for mountatd --sweep */
};

/*
 * Sweeps what is left in the running instance's ledger. What this process can't reach, below a
 * directory of mode 0700, is logged once with its place, and stays. On a worker; blocks on a FUSE
 * above a mount.
 */
void sweep_ledger(struct ledger *ledger, unsigned features, const struct instance *self,
                  enum sweep_scope scope);

/*
 * Keeps on what the predecessor kept, the leases that were granted over D-Bus. What can't be
 * reached is logged once, and stays on record. On a worker; blocks on a FUSE above a mount.
 */
void sweep_keep(struct ledger *ledger, unsigned features);

/*
 * Sweeps, before an instance starts and with root's rights, what none can adopt: leases that
 * weren't live, and those whose client is gone. Returns how many it freed. In an isolated thread
 * (see unmount.h).
 */
unsigned sweep_file(struct record_file *file, unsigned features, const struct instance *self);
