/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What mountatd offers on the system bus, as `busctl introspect` prints it: /org/mountat1 with the
 * interface org.mountat1.Manager, see org.mountat1(5), and org.freedesktop.LogControl1.
 *
 * A call of a method: the bus says who the caller is, polkit whether he may, both asynchronously; a
 * thread runs the method and writes the reply. A caller waits for as long as he likes; a lease that
 * he didn't wait for is kept all the same, and ListLeases shows it.
 *
 * All functions are for the main thread; none blocks.
 */

#include "daemon/request.h"
#include "daemon/thread.h"

#include <stdbool.h>

struct manager;
struct method;
struct sd_bus;

/* The row of the table of methods, which is all that may be called; NULL: there is none. Pure. */
const struct method *manager_method(const char *member);

/* Both are borrowed. NULL: out of memory. */
struct manager *manager_new(struct context *context, struct threads *threads);

/* After manager_close(). What a thread still runs stays in memory until the process ends.
 * NULL-safe. */
struct manager *manager_free(struct manager *manager);

/* Adds the objects to a connection. Negative errno. */
int manager_publish(struct sd_bus *connection, struct manager *manager);

/* After each turn of the loop: runs the next calls, refuses what a daemon that is stopping won't
 * run, and forgets what came over a connection that is gone. */
void manager_turn(struct manager *manager);

/* No call is under way. */
bool manager_is_idle(const struct manager *manager);

/* After the loop: answers all calls, and any that are still to come, with STATUS_SHUTTING_DOWN. */
void manager_close(struct manager *manager);
