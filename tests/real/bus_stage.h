/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A bus, the daemon on it, and root's connection to that. */

#include "tests/real/service.h"
#include "tests/real/system_bus.h"

struct bus_stage {
        pid_t bus;
        struct service service;
        sd_bus *root;
};

struct bus_stage bus_stage_open(void);
void bus_stage_close(struct bus_stage *stage);

/* The daemon alone; waits until it is on the bus. */
struct service bus_stage_start_service(void);
