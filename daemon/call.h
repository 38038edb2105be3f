/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The methods of org.mountat1.Manager: one call on its way from the bus, past authority.h, through
 * the same gate as every request (request.h) on a worker, and back. Nothing here waits: who calls,
 * and whether he may, is asked asynchronously. On the bus's thread, but for what a worker runs.
 */

#include "daemon/crew.h"

#include <stdint.h>
#include <systemd/sd-bus.h>

struct call;

enum {
        CALL_MAX = 256,        /* at a time, of all */
        CALL_DESCRIPTORS = 16, /* in a message: max_message_unix_fds of dbus-daemon(1) */
};

/* Where calls are under way. Embedded by its keeper; zero-initialised but for these fields. */
struct call_desk {
        struct request_gate *gate; /* borrowed */
        struct crew *crew;         /* borrowed */
        /* its own: */
        struct call *first;
        unsigned count;
        bool closed;
};

/* A sd_bus_message_handler_t for every method; `userdata` is the desk. */
int call_handle(sd_bus_message *message, void *userdata, sd_bus_error *error);

/* Has the next call run that had to wait for others; whenever the bus may have taken something. */
void call_desk_turn(struct call_desk *desk);

/* Answers those that a file system keeps waiting; now and then, while there are connections. */
void call_desk_watch(struct call_desk *desk);

/* From now on every call is refused; so are those that no worker has yet. The others may end. */
void call_desk_close(struct call_desk *desk);

/* Those as well: nobody will call crew_collect() any more. What they do is undone. */
void call_desk_end(struct call_desk *desk);
