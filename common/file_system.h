/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The file systems that can be mounted, by their number in the protocol: name and mountpoint. */

#include <stdint.h>

/* "proc", "sysfs" or "dev", on the command line and over D-Bus; NULL: no such number. */
const char *file_system_name(uint32_t file_system);

/* The mountpoint's name, directly below a root: "proc", "sys" or "dev"; NULL: no such number. */
const char *file_system_directory(uint32_t file_system);

/* The number of that name; 0: no such name. */
uint32_t file_system_from_name(const char *name);
