/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * mountatd's connection to the system bus: acquires the name org.mountat1, and reacquires it. A
 * missing bus, and one that goes away or comes back, are normal: the rest of the daemon doesn't
 * notice. manager.h has the methods.
 *
 * No descriptors arrive over it: the bus refuses them to their sender. So no client can block the
 * main thread, which runs all of this. Every function accepts NULL, for a daemon that is not on the
 * bus.
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

/* Starts connecting. -ENOMEM and the like. */
int bus_new(const struct bus_setup *setup, struct bus **bus);

/*
 * Whether the first attempt to acquire the name has succeeded or failed; true for NULL. This and
 * bus_is_idle() can change in each iteration of the loop.
 */
bool bus_has_settled(const struct bus *bus);

/* No call is pending and, after bus_leave(), none can arrive any more; true for NULL. */
bool bus_is_idle(const struct bus *bus);

/* To be called about every 100 ms while anything is pending, and for a while after. */
void bus_tick(struct bus *bus);

/*
 * Releases the name, so that a later call starts the next instance. Calls that have already arrived
 * are served or, if the context is stopping, refused. Send STOPPING=1 before: otherwise the service
 * manager takes the daemon for running when the bus requests the next instance.
 */
void bus_leave(struct bus *bus);

/*
 * Refuses pending calls, flushes the write queue for at most half a second, and closes. After the
 * loop.
 */
struct bus *bus_free(struct bus *bus);

/*
 * Shuts down the socket, which a stuck thread would otherwise keep open: the bus sees the
 * connection end. Exit at once.
 */
void bus_hang_up(struct bus *bus);
