/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One mount: its identity, attaching it and verifying where it is, and finding it again. template.h
 * makes mounts, unmount.h detaches them.
 */

#include "common/status.h"
#include "daemon/target.h"

#include <stddef.h>
#include <stdint.h>

/* How to query this daemon's mounts. */
struct mount_setup {
        unsigned features;  /* PROTOCOL_FEATURE_* bits of this kernel */
        const char *source; /* the label in the mount table; borrowed */
};

/*
 * The id of the mount `fd`, the same before and after it is attached: unique if the kernel has
 * unique ids. Negative errno.
 */
int mount_identify(unsigned features, int fd, uint64_t *id);

/* Translates an error of move_mount(2) for the client; the verdict names no target. */
struct verdict mount_judge(int error);

enum { MOUNT_ATTACH_TRIES = 8 };

/*
 * Attaches the detached `mount` to the borrowed directory `target`. STATUS_HOST_FAILED, or the
 * client's mistake: vanished, foreign, not a directory; the verdict names no target. Can block,
 * unkillable, on a hostile FUSE.
 */
struct verdict mount_attach(int mount, int target);

/*
 * Checks that the attached `mount` with the id `id` is directly on the mount of `target`.
 * STATUS_ALREADY_MOUNTED: no, another mount was on the directory, and ours is on top of it.
 * STATUS_TARGET_VANISHED: it is gone again. Unless STATUS_OK, the caller detaches it.
 */
struct verdict mount_verify(unsigned features, int mount, uint64_t id,
                            const struct target_facts *target);

/*
 * The id of the mount whose root `fd` a client has sent; without exact ids, only if the mount table
 * shows it as ours and as a `file_system` (PROTOCOL_PROC, PROTOCOL_SYSFS, PROTOCOL_DEV). -EINVAL,
 * -ENOENT: not such a root. Doesn't block.
 */
int mount_recognise(const struct mount_setup *setup, int fd, uint8_t file_system, uint64_t *id);

/* Names a mount, as a record does. */
struct mount_name {
        uint64_t id;
        uint8_t file_system;
};

/*
 * Its path, in `path` of PATH_MAX bytes. -ENOENT: it isn't mounted, isn't a `file_system`, or isn't
 * ours.
 */
int mount_locate(const struct mount_setup *setup, const struct mount_name *name, char *path);

/*
 * Opens the mount with that id at `path`, from mount_locate(): the caller owns an O_PATH descriptor
 * of its root. `resolve` as in kernel_open_place(): 0 blocks on a FUSE above it. -EACCES: this
 * process may not enter a directory of the path. -EBUSY: another mount is on top of it.
 */
int mount_open(const struct mount_setup *setup, uint64_t id, const char *path, uint64_t resolve);
