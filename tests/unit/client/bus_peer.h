/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A child process that plays the system bus and mountatd on it: each client speaks real D-Bus with
 * it, over a socket in the scripted fixture's directory.
 */

#include <systemd/sd-bus.h>

/* Answers a call of the client's, and returns what sd_bus_reply_…() did. */
typedef int bus_peer_serve(sd_bus_message *call);

/* From now on each client is served so, until bus_peer_stop(). */
void bus_peer_start(bus_peer_serve *serve);
void bus_peer_stop(void);

/* Makes that the address of the system bus, also where there is no peer. */
void bus_peer_set_address(void);
