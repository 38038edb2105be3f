/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The thread is in "/" between calls: a working directory would pin the mount it is on.
 */

#include "daemon/unmount.h"

#include "common/protocol.h"
#include "daemon/kernel.h"

#include <errno.h>
#include <stdbool.h>

enum {
        UNMOUNT_STRANGERS_MAX = 64, /* stacked faster than this, and we'd never be done */
        UNMOUNT_RETURN_TRIES = 16,
};

int unmount_isolate(void) {
        int r = kernel_unshare_fs();

        return r < 0 ? r : kernel_chdir_root();
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

/*
 * chdir(2) takes memory for its path. Where that is short for a moment the thread must not stay: it
 * would pin the mount until its next detach, perhaps for days.
 */
static void unmount_return(void) {
        for (int i = 0; i < UNMOUNT_RETURN_TRIES && kernel_chdir_root() < 0; i++)
                continue;
}

int unmount_detach(unsigned features, int fd, uint64_t id, unsigned *strangers) {
        int r = kernel_fchdir(fd);

        *strangers = 0;
        if (r < 0)
                return r;
        r = unmount_here(features, id, strangers);
        unmount_return();
        return r;
}
