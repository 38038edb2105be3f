/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * mountatd's interface on the system bus, as `busctl introspect` prints it: /org/mountat1 with the
 * interface org.mountat1.Manager, see org.mountat1(5), and org.freedesktop.LogControl1.
 *
 * A method call: the bus identifies the caller, and polkit authorises it, both asynchronously; a
 * thread runs the method and sends the reply. A lease that is granted after the caller has given up
 * is kept all the same, and ListLeases shows it.
 *
 * All functions are for the main thread; none blocks.
 */

#include "daemon/request.h"
#include "daemon/thread.h"

#include <stdbool.h>

struct manager;
struct method;
struct sd_bus;

/* The method's row in the table of all methods; NULL: there is none. Pure. */
const struct method *manager_method(const char *member);

/* Both are borrowed. NULL: out of memory. */
struct manager *manager_new(struct context *context, struct threads *threads);

/*
 * After manager_close(). Memory that threads still use is kept until the process ends. Accepts
 * NULL.
 */
struct manager *manager_free(struct manager *manager);

/* Adds the objects to a connection. Negative errno. */
int manager_publish(struct sd_bus *connection, struct manager *manager);

/*
 * After each iteration of the loop: runs the next calls, refuses those that a stopping daemon won't
 * run, and drops those of closed connections.
 */
void manager_turn(struct manager *manager);

/* No call is pending. */
bool manager_is_idle(const struct manager *manager);

/* After the loop: answers all pending and later calls with STATUS_SHUTTING_DOWN. */
void manager_close(struct manager *manager);
