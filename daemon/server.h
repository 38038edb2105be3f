/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The main loop: accepts, watches for signals and idleness, tells the service manager. sd-event(3),
 * sd_notify(3). On the main thread.
 */

#include "daemon/crew.h"
#include "daemon/ledger.h"

struct server_setup {
        int socket;            /* listening, non-blocking; borrowed */
        unsigned idle_timeout; /* seconds; 0: stay */
        struct request_gate *gate;
        struct crew *crew;
};

/*
 * Serves until SIGTERM, SIGINT (both must be blocked) or idleness, and then until the last
 * connection has ended, a few seconds at most. 0, or a negative errno if the loop fails.
 */
int server_run(const struct server_setup *setup);
