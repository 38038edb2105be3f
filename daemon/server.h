/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The main loop: accepts connections, serves D-Bus, watches for signals and idleness, notifies the
 * service manager. sd-event(3), sd_notify(3). On the main thread.
 */

#include "daemon/connection.h"
#include "daemon/listener.h"

struct server_setup {
        const struct listener_set *listeners;
        unsigned idle_timeout;  /* seconds; 0: stay */
        unsigned adopt_timeout; /* seconds for clients to adopt leases of the previous instance */
        const struct instance *self;
        struct context *context;
        struct threads *threads;
        struct connections *connections;
        bool on_bus; /* serve D-Bus as well */
};

/*
 * Serves until SIGTERM, SIGINT, SIGHUP or idleness, and then until the last connection has ended
 * and the last lease is released, a few seconds at most. On SIGUSR1 it doesn't return: the process
 * ends at once, as if it had been killed, and its leases wait to be adopted. All four signals must
 * be blocked. 0, or a negative errno if the loop fails.
 */
int server_run(const struct server_setup *setup);
