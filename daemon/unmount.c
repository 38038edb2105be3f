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

enum {
        UNMOUNT_TRIES = 64, /* stacked faster than this, and we'd never be done */
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

/* 0: it is still attached; -ENOENT: it isn't; else that can't be told. */
static int unmount_find(unsigned features, int fd, uint64_t id) {
        struct kernel_mountinfo info;
        struct kernel_mount mount;
        struct statx stat;
        uint64_t above;
        int r;

        if (features & PROTOCOL_FEATURE_STATMOUNT)
                return kernel_statmount(id, &mount);
        r = kernel_statx(fd, STATX_MNT_ID, &stat); /* the id may be a unique one */
        if (r == 0)
                r = kernel_statx_above(fd, &above);
        if (r == 0 && above == stat.stx_mnt_id)
                r = -ENOENT; /* as nearly always: the table is read only where this doesn't tell */
        return r < 0 ? r : kernel_mountinfo(stat.stx_mnt_id, &info);
}

/*
 * "." takes the topmost of what is stacked on our mount's root, which need not be ours. EINVAL says
 * that ours isn't attached, but also that what was on top of it went by itself just then: so that
 * alone is never believed.
 */
static int unmount_here(unsigned features, int fd, uint64_t id, unsigned *strangers) {
        unsigned taken = 0;

        for (unsigned tries = 0; tries < UNMOUNT_TRIES; tries++) {
                int r = kernel_umount_here();

                if (r < 0 && r != -EINVAL)
                        return r;
                taken += r == 0;
                if (unmount_find(features, fd, id) != -ENOENT)
                        continue;
                *strangers = taken > 0 ? taken - 1 : 0; /* the last was ours, if any was taken */
                return 0;
        }
        return -EBUSY;
}

int unmount_detach(unsigned features, int fd, uint64_t id, unsigned *strangers) {
        int r = kernel_fchdir(fd);

        *strangers = 0;
        if (r < 0)
                return r;
        return unmount_here(features, fd, id, strangers);
}

/*
 * If that fails for a moment, the thread must not stay: it would pin the mount until its next one,
 * perhaps for days.
 */
void unmount_return(void) {
        for (int i = 0; i < UNMOUNT_RETURN_TRIES && kernel_fchdir(unmount_root) < 0; i++)
                continue;
}
