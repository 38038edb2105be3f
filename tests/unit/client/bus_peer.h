/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A child process that plays the system bus and mountatd on it. Clients speak real D-Bus with it,
 * over a socket in the scripted fixture's directory.
 */

#include "client/manager.h"

/* Answers a client's call; returns the result of sd_bus_reply_…(). */
typedef int bus_peer_serve(sd_bus_message *call);

/* Answers ListLeasesEx with `leases`, each with an unknown key. */
int bus_peer_reply_leases(sd_bus_message *call, const struct manager_lease *leases, size_t n);

/* Serves every client with `serve` until bus_peer_stop(). */
void bus_peer_start(bus_peer_serve *serve);
void bus_peer_stop(void);

/* Makes its socket the address of the system bus, whether there is a peer or not. */
void bus_peer_set_address(void);
