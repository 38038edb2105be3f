/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * mountatd on the system bus: the name org.mountat1, the object /org/mountat1 with its methods,
 * properties and signals, and org.freedesktop.LogControl1. A system without a bus, a bus that goes
 * away and one that comes back are all normal: nothing else in the daemon notices.
 *
 * All of it runs on a thread of its own, since a message can bring descriptors whose closing takes
 * its time (a TCP socket that lingers, a file of a FUSE server that doesn't answer), and it is
 * sd-bus that receives and closes them. The functions here are for the main thread.
 */

#include "daemon/crew.h"

#include <stdbool.h>

struct bus;

struct bus_setup {
        struct request_gate *gate; /* borrowed, as the crew is */
        struct crew *crew;
};

/* Begins to connect. -ENOMEM and the like. */
int bus_new(const struct bus_setup *setup, struct bus **bus);

/*
 * Tells what has changed, gives the name back, answers whoever called it before, and leaves; waits
 * two seconds for that at most, then crew_free() will return false. While the gate isn't stopping
 * those calls are served, so there may be a lease afterwards. The service manager must know by then
 * that the daemon ends (STOPPING=1), or it takes it for running when the bus asks for the next
 * instance. NULL-safe.
 */
struct bus *bus_free(struct bus *bus);

/* As crew_hang_up(): the bus learns that nobody answers. NULL-safe. */
void bus_hang_up(struct bus *bus);

/* Whether it is known by now whether we have the name; crew_fd() becomes readable when it is. True
 * for NULL. */
bool bus_has_settled(const struct bus *bus);

/* Has what has changed since the last time told: signals. Some ten times a second while there may
 * be anything to tell. NULL-safe. */
void bus_tick(struct bus *bus);
