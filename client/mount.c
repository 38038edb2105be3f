/* SPDX-License-Identifier: Apache-2.0 */

/*
 * mountatctl mount: a mount that stays when this process ends. The directories are opened here,
 * with the user's own rights, and sent.
 */

#include "client/command.h"
#include "client/manager.h"
#include "client/mountat.h"
#include "client/root.h"
#include "common/fd.h"
#include "common/text.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static int mount_append(sd_bus_message *call, const struct root_targets *targets) {
        int r = sd_bus_message_open_container(call, 'a', "(hsu)");

        for (uint32_t i = 0; r >= 0 && i < targets->count; i++) {
                const struct mountat_target *target = &targets->targets[i];

                r = sd_bus_message_append(call, "(hsu)", target->fd,
                                          target->file_system == MOUNTAT_FILE_SYSTEM_PROC ? "proc"
                                                                                          : "sysfs",
                                          target->options);
        }
        return r < 0 ? r : sd_bus_message_close_container(call);
}

static int mount_ask(sd_bus *bus, const struct root_targets *targets, const char *what,
                     uint64_t *lease) {
        MANAGER_MESSAGE_AUTO sd_bus_message *call = NULL, *reply = NULL;
        int r = manager_prepare(bus, &call, "Mount");

        if (r == 0)
                r = mount_append(call, targets);
        if (r >= 0)
                r = manager_call(bus, call, what, &reply);
        return r < 0 ? r : sd_bus_message_read(reply, "t", lease);
}

/* `fd` is of the root directory. */
static int mount_below(sd_bus *bus, int fd, uint32_t flags, const char *what, uint64_t *lease) {
        struct failure failure = {0};
        struct root_targets targets = {0};
        struct root root;
        int r = root_open(&root, fd, flags, &failure);

        if (r == 0)
                r = root_open_targets(&root, &targets, &failure);
        if (r < 0)
                warnx("%s: %s", what, failure.text);
        else
                r = mount_ask(bus, &targets, what, lease);
        root_targets_close(&targets);
        if (r < 0)
                root_remove(&root);
        root_close(&root);
        return r;
}

int command_mount(const struct arguments *arguments) {
        MANAGER_BUS_AUTO sd_bus *bus = NULL;
        char path[4 * PATH_MAX], what[4 * PATH_MAX + 64];
        uint64_t lease;
        FD_AUTO int fd = -EBADF;

        snprintf(what, sizeof(what), "cannot mount below %s",
                 text_escape(path, sizeof(path), arguments->operands[0]));
        fd = open(arguments->operands[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
                warnx("%s: %s", what, strerrordesc_np(errno));
                return COMMAND_FAILED;
        }
        if (manager_open(&bus) < 0 || mount_below(bus, fd, arguments->flags, what, &lease) < 0)
                return COMMAND_FAILED;
        if (arguments->quiet)
                return 0;
        printf("%016" PRIx64 "\n", lease);
        return fflush(stdout) == 0 ? 0 : COMMAND_FAILED;
}
