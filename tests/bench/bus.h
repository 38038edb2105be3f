/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A system bus for the benchmark, in the sandbox: daemons that are started from now on find it. */

#include <stdbool.h>

/* False: there is no dbus-daemon here. */
bool bus_start(void);
void bus_stop(void);
