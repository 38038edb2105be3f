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
        UNMOUNT_TRIES = 64, /* if others stack mounts faster than this, give up */
        UNMOUNT_RETURN_TRIES = 8,
};

static int unmount_root = -EBADF; /* "/", opened once: returning takes no path */

int unmount_prepare(void) {
        unmount_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        return unmount_root < 0 ? -errno : 0;
}

int unmount_isolate(void) {
        int r = kernel_unshare_fs();

        return r < 0 ? r : kernel_fchdir(unmount_root);
}

/* 0: still attached; -ENOENT: not attached; any other: unknown. */
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
                r = -ENOENT; /* the usual case: the table is read only where this is inconclusive */
        return r < 0 ? r : kernel_mountinfo(stat.stx_mnt_id, &info);
}

/*
 * "." detaches the topmost mount on our mount's root, which need not be ours. EINVAL means that
 * ours isn't attached, but also that the mount on top of it has just gone: so it is never trusted
 * by itself.
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
                *strangers = taken > 0 ? taken - 1 : 0; /* the last was ours, if there was any */
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
 * After a temporary failure the thread must not stay there: it would pin the mount until its next
 * one, perhaps for days.
 */
void unmount_return(void) {
        for (int i = 0; i < UNMOUNT_RETURN_TRIES && kernel_fchdir(unmount_root) < 0; i++)
                continue;
}
