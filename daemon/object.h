/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What can be seen of mountatd on a bus: the objects, with their methods, properties and signals,
 * as `busctl introspect` prints them. On the bus's thread.
 */

#include "daemon/call.h"

#include <systemd/sd-bus.h>

#define OBJECT_PATH "/org/mountat1"
#define OBJECT_INTERFACE "org.mountat1.Manager"

/* Adds the objects to the connection; `desk` is borrowed as long as that lives. Negative errno. */
int object_publish(sd_bus *connection, struct call_desk *desk);

/* The properties that were told of, as sd_bus_emit_properties_changed_strv() takes them. */
char **object_changing(void);
