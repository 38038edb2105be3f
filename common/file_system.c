/* SPDX-License-Identifier: Apache-2.0 */

#include "common/file_system.h"

#include "common/protocol.h"

#include <stddef.h>
#include <string.h>

static const struct {
        const char *name, *directory;
} file_systems[] = {
        [PROTOCOL_PROC] = {"proc", "proc"},
        [PROTOCOL_SYSFS] = {"sysfs", "sys"},
        [PROTOCOL_DEV] = {"dev", "dev"},
};

enum { FILE_SYSTEMS = sizeof(file_systems) / sizeof(file_systems[0]) };

const char *file_system_name(uint32_t file_system) {
        return file_system < FILE_SYSTEMS ? file_systems[file_system].name : NULL;
}

const char *file_system_directory(uint32_t file_system) {
        return file_system < FILE_SYSTEMS ? file_systems[file_system].directory : NULL;
}

uint32_t file_system_from_name(const char *name) {
        for (uint32_t i = PROTOCOL_PROC; i < FILE_SYSTEMS; i++)
                if (strcmp(file_systems[i].name, name) == 0)
                        return i;
        return 0;
}
