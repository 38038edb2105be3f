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

/* As WORLD_TEST, skipped as well where there is no dbus-daemon. */
#define BUS_TEST(name)                                                                             \
        static void name##_on_bus(void);                                                           \
        WORLD_TEST(name) {                                                                         \
                if (system_bus_is_installed())                                                     \
                        name##_on_bus();                                                           \
                else                                                                               \
                        test_skip_report(#name, "dbus-daemon is not installed");                   \
        }                                                                                          \
        static void name##_on_bus(void)

/* The daemon alone; waits until it is on the bus. */
struct service bus_stage_start_service(void);
