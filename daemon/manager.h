/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What can be seen of mountatd on the system bus, as `busctl introspect` prints it: /org/mountat1
 * with the interface org.mountat1.Manager, see org.mountat1(5), and org.freedesktop.LogControl1.
 * Main thread.
 */

#include "daemon/calls.h"

#define MANAGER_PATH "/org/mountat1"
#define MANAGER_INTERFACE "org.mountat1.Manager"

struct sd_bus;

/* Adds the objects to the connection; the calls are borrowed as long as that lives. Negative errno.
 */
int manager_publish(struct sd_bus *connection, struct calls *calls);

/* The row of the table of methods; NULL: nobody may call it. Pure. */
const struct call_method *manager_method(const char *member);
