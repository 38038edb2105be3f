/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* (being written elsewhere) */

#include "daemon/request.h"
#include "daemon/thread.h"

#include <stdbool.h>

struct bus;
struct sd_event;

struct bus_setup {
        struct context *context;
        struct threads *threads;
        struct sd_event *event;
};

int bus_new(const struct bus_setup *setup, struct bus **bus);
bool bus_has_settled(const struct bus *bus);
bool bus_is_idle(const struct bus *bus);
void bus_tick(struct bus *bus);
void bus_leave(struct bus *bus);
struct bus *bus_free(struct bus *bus);
void bus_hang_up(struct bus *bus);
