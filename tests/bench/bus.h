/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A system bus for the benchmark, in the sandbox, for all daemons started from now on. */

#include <stdbool.h>

/* False: there is no dbus-daemon here. */
bool bus_start(void);
void bus_stop(void);
