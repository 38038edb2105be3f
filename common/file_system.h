/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What can be mounted, by its number in the protocol: what people call it, and where it goes. */

#include <stdint.h>

/* "proc", "sysfs" or "dev", on the command line and over D-Bus; NULL: there is no such number. */
const char *file_system_name(uint32_t file_system);

/* The directory right below a root that it is mounted on: "proc", "sys" or "dev"; or NULL. */
const char *file_system_directory(uint32_t file_system);

/* The number of the one with that name; 0: there is none. */
uint32_t file_system_from_name(const char *name);
