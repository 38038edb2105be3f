/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * mountatd's connection to the system bus: the name org.mountat1, and getting it back. A system
 * without a bus, a bus that goes away and one that comes back are all normal: nothing else in the
 * daemon notices. What can be called there is manager.h's matter.
 *
 * No descriptors come over it: the bus refuses them to their sender. So nothing that a client sends
 * can keep the main thread waiting, whose loop this runs on. All functions are for that thread, and
 * NULL-safe: for a daemon that isn't to be on the bus.
 */

#include "daemon/request.h"
#include "daemon/thread.h"

#include <stdbool.h>

struct bus;
struct sd_event;

struct bus_setup { /* borrowed */
        struct context *context;
        struct threads *threads;
        struct sd_event *event;
};

/* Begins to connect. -ENOMEM and the like. */
int bus_new(const struct bus_setup *setup, struct bus **bus);

/* Whether it is known by now whether we have the name; true for NULL. It, and what the next
 * function says, can change in any turn of the loop. */
bool bus_has_settled(const struct bus *bus);

/* No call is under way, and after bus_leave(), none can come any more; true for NULL. */
bool bus_is_idle(const struct bus *bus);

/* Every 100 ms or so, while anything is under way, and for a while after. */
void bus_tick(struct bus *bus);

/*
 * Gives the name back, so that a later call starts the next instance. What was called before is
 * served, or if the context is stopping, refused. The service manager must know by then that the
 * daemon ends (STOPPING=1), or it takes it for running when the bus asks for the next instance.
 */
void bus_leave(struct bus *bus);

/* Refuses what is left, sends what waits, for half a second at most, and closes. After the loop. */
struct bus *bus_free(struct bus *bus);

/* The bus learns that nobody answers, though a thread that is stuck keeps the descriptor open. Exit
 * at once. */
void bus_hang_up(struct bus *bus);
