/* SPDX-License-Identifier: Apache-2.0 */

#include "client/flag.h"

static const uint32_t flags[] = {
        [PROTOCOL_PROC] = MOUNTAT_PROC,
        [PROTOCOL_SYSFS] = MOUNTAT_SYSFS,
        [PROTOCOL_DEV] = MOUNTAT_DEV,
};

uint32_t flag_of(uint32_t file_system) {
        return file_system < sizeof(flags) / sizeof(flags[0]) ? flags[file_system] : 0;
}
