/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An input root that was named by a path, and the directories in it. Only for callers whom root or
 * an administrator vouches for: whoever may send descriptors resolves his paths himself. No link is
 * followed. On a worker; blocks on a FUSE in the path, under the stall clock.
 */

#include "common/status.h"

#include <stdint.h>

/*
 * The directory at `path`: an O_PATH descriptor that the caller owns. Negative: `*verdict` says why
 * not, in words for a person.
 */
int place_open(const char *path, struct verdict *verdict);

/* The same for `proc` (PROTOCOL_PROC) or `sys` (PROTOCOL_SYSFS) below `root`, as target `index`. */
int place_open_target(int root, uint32_t file_system, uint32_t index, struct verdict *verdict);
