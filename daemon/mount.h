/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One mount: what names it, attaching it and making sure of where it is, and finding it again. What
 * is mounted is template.h's matter, unmounting unmount.h's.
 */

#include "common/status.h"
#include "daemon/target.h"

#include <stddef.h>
#include <stdint.h>

/* How this daemon's mounts are asked about. */
struct mount_setup {
        unsigned features;  /* PROTOCOL_FEATURE_* bits of this kernel */
        const char *source; /* the label in the mount table; borrowed */
};

/* The id of a mount of which `fd` is open, the same before and after it is attached: unique if the
 * kernel has such ids. Negative errno. */
int mount_identify(unsigned features, int fd, uint64_t *id);

/* What an answer of move_mount(2) other than 0 means to the client; the verdict names no target. */
struct verdict mount_judge(int error);

enum { MOUNT_ATTACH_TRIES = 8 };

/*
 * Attaches the detached `mount` to the borrowed directory `target`. STATUS_HOST_FAILED, or the
 * client's fault: vanished, foreign, not a directory; the verdict names no target. Can block,
 * unkillable, on a hostile FUSE.
 */
struct verdict mount_attach(int mount, int target);

/*
 * Whether the attached `mount` with the id `id` sits on the very mount that `target` is on.
 * STATUS_ALREADY_MOUNTED: no, something was mounted on the directory already and ours is on top of
 * it. STATUS_TARGET_VANISHED: it is gone again. If not STATUS_OK, the caller detaches it.
 */
struct verdict mount_verify(unsigned features, int mount, uint64_t id,
                            const struct target_facts *target);

/*
 * The id of the mount on whose root `fd` is open, which a client sent; without exact ids, of one
 * that the mount table calls ours and a `file_system` (PROTOCOL_PROC, PROTOCOL_SYSFS,
 * PROTOCOL_DEV). -EINVAL, -ENOENT: it isn't such a root. Doesn't block.
 */
int mount_recognise(const struct mount_setup *setup, int fd, uint8_t file_system, uint64_t *id);

/* Which mount is meant: as a record has it. */
struct mount_name {
        uint64_t id;
        uint8_t file_system;
};

/* Where it is, in `path` of PATH_MAX bytes. -ENOENT: nowhere, or it isn't a `file_system`, or not
 * ours. */
int mount_locate(const struct mount_setup *setup, const struct mount_name *name, char *path);

/*
 * Opens the mount with that id at `path`, from mount_locate(): the caller owns an O_PATH of its
 * root. `resolve` as in kernel_open_place(): 0 blocks on a FUSE above it. -EACCES: this process has
 * no right to go there. -EBUSY: another mount is on top of it.
 */
int mount_open(const struct mount_setup *setup, uint64_t id, const char *path, uint64_t resolve);
