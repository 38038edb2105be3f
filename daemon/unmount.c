/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The thread goes from mount to mount, and back to "/" after the last: a working directory pins the
 * mount it is on.
 */

#include "daemon/unmount.h"

#include "common/protocol.h"
#include "daemon/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>

enum {
        UNMOUNT_STRANGERS_MAX = 64, /* stacked faster than this, and we'd never be done */
        UNMOUNT_RETURN_TRIES = 8,
};

static int unmount_root = -EBADF; /* "/", opened once: to go back there names no path */

int unmount_prepare(void) {
        unmount_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        return unmount_root < 0 ? -errno : 0;
}

int unmount_isolate(void) {
        int r = kernel_unshare_fs();

        return r < 0 ? r : kernel_fchdir(unmount_root);
}

/* "." takes the topmost of what is stacked on our mount's root, which need not be ours. */
static bool unmount_is_gone(uint64_t id) {
        struct kernel_mount mount;

        return kernel_statmount(id, &mount) == -ENOENT;
}

static int unmount_here(unsigned features, uint64_t id, unsigned *strangers) {
        for (unsigned taken = 0; taken < UNMOUNT_STRANGERS_MAX; taken++) {
                int r = kernel_umount_here();

                /* Nothing to take: ours isn't attached, by whoever's doing. */
                if (r == -EINVAL) {
                        *strangers = taken > 0 ? taken - 1 : 0;
                        return 0;
                }
                if (r < 0)
                        return r;
                if ((features & PROTOCOL_FEATURE_STATMOUNT) && unmount_is_gone(id)) {
                        *strangers = taken;
                        return 0;
                }
        }
        return -EBUSY;
}

int unmount_detach(unsigned features, int fd, uint64_t id, unsigned *strangers) {
        int r = kernel_fchdir(fd);

        *strangers = 0;
        if (r < 0)
                return r;
        return unmount_here(features, id, strangers);
}

/*
 * If that fails for a moment, the thread must not stay: it would pin the mount until its next one,
 * perhaps for days.
 */
void unmount_return(void) {
        for (int i = 0; i < UNMOUNT_RETURN_TRIES && kernel_fchdir(unmount_root) < 0; i++)
                continue;
}
