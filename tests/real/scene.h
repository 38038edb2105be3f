/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What most tests of refusals begin with, and what must be true after each of them. */

#include "tests/real/client.h"

/* A daemon, a client of Alice's, and what the daemon has open while she is connected. */
struct scene {
        struct service service;
        int alice;
        unsigned fds;
};

/* Starts the daemon, with an input root of Alice's called "root". */
struct scene scene_open(void);

/* Alice's connection must be as good as before, and nothing may have stayed. */
void scene_expect_unharmed(const struct scene *scene);

/* The same, and her root must be free. Stops the daemon. */
void scene_close(struct scene *scene);
