/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The flags of mountat_mount_root() that name a file system; for the library and mountatctl. */

#include "client/mountat.h"
#include "common/protocol.h"

#include <stdint.h>

enum {
        FLAG_FILE_SYSTEMS = MOUNTAT_PROC | MOUNTAT_SYSFS | MOUNTAT_DEV,
        /* The order of targets below a root. */
        FLAG_FIRST = PROTOCOL_PROC,
        FLAG_LAST = PROTOCOL_DEV,
        FLAG_COUNT = FLAG_LAST - FLAG_FIRST + 1,
};

/* The flag of a file system's number, FLAG_FIRST to FLAG_LAST; 0 for another number. */
uint32_t flag_of(uint32_t file_system);
