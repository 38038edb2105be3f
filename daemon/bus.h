/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * mountatd on the system bus: the name org.mountat1, the object /org/mountat1 with its methods,
 * properties and signals, and org.freedesktop.LogControl1. A system without a bus, a bus that goes
 * away and one that comes back are all normal: nothing else in the daemon notices. On the main
 * thread; never waits for the bus, but for at most a second in bus_free().
 */

#include "daemon/crew.h"

#include <stdint.h>
#include <systemd/sd-event.h>

struct bus;

struct bus_setup {
        sd_event *event; /* borrowed, as all here */
        struct request_gate *gate;
        struct crew *crew;
        void (*busy)(void *userdata); /* a call has come: bus_tick() is needed */
        void *userdata;
};

/* Begins to connect. -ENOMEM and the like. */
int bus_new(const struct bus_setup *setup, struct bus **bus);

/* Answers what is still asked, tells what has changed, and leaves. NULL-safe. */
struct bus *bus_free(struct bus *bus);

/* Tells what has changed since the last time: signals. Some ten times a second while there is
 * anything to tell. */
void bus_tick(struct bus *bus);
