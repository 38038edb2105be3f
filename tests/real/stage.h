/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A bus, the daemon on it, and root's connection to that. */

#include "tests/real/service.h"
#include "tests/real/system_bus.h"

struct stage {
        pid_t bus;
        struct service service;
        sd_bus *root;
};

struct stage stage_open(void);
void stage_close(struct stage *stage);

/* The daemon alone; waits until it is on the bus. */
struct service stage_start_service(void);
