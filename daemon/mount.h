/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Making mounts and attaching them. A superblock of each kind is made once, as a detached
 * *template*, and cloned for each request; where the kernel can't clone a detached mount (before
 * 6.15) every request gets a superblock of its own.
 *
 * What is forced, at creation, before anything is attached: nosuid, nodev, noexec; procfs with
 * hidepid=invisible and, but for the writable kinds, read-only at the superblock (as a mount
 * attribute alone, the root of a user namespace could lift it); sysfs read-only as a mount
 * attribute (its superblock is the host's).
 */

#include "daemon/target.h"

#include <stddef.h>
#include <stdint.h>

enum mount_kind {
        MOUNT_PROC,
        MOUNT_PROC_PIDS,
        MOUNT_PROC_WRITABLE,
        MOUNT_PROC_WRITABLE_PIDS,
        MOUNT_SYSFS,
        MOUNT_KINDS,
};

struct mount_templates;

/*
 * Finds out what the kernel can do, and makes the templates of the usual kinds. `source` is the
 * label in the mount table; borrowed, must live on. Before the first worker. Negative errno with
 * what the kernel said in `text`; a shortage of memory or descriptors while it asks is one as well.
 */
int mount_templates_new(const char *source, struct mount_templates **templates, char *text,
                        size_t size);
struct mount_templates *mount_templates_free(struct mount_templates *templates);

/* PROTOCOL_FEATURE_* bits of this kernel. */
unsigned mount_features(const struct mount_templates *templates);

/*
 * A detached mount: a descriptor that the caller owns, close-on-exec, good for attaching and, as
 * O_PATH of the mount's root, for all that comes later. Closed before it is attached, it is gone.
 * Any worker, doesn't block. Negative errno, with the kernel's own words, if any, in `text`.
 */
int mount_create(struct mount_templates *templates, enum mount_kind kind, char *text, size_t size);

/* The id of a mount of which `fd` is open, the same before and after it is attached: unique if the
 * kernel has such ids. */
int mount_identify(unsigned features, int fd, uint64_t *id);

/*
 * Attaches `mount` to the borrowed directory `target`, on a worker. Can block, unkillable, on a
 * hostile FUSE. -ENOENT, -EINVAL, -ENOTDIR as in kernel.h.
 */
int mount_attach(int mount, int target);

/*
 * Whether the attached `mount` with the id `id` sits on the very mount that `target` is on. -EBUSY:
 * no, something was mounted on the directory already and ours is on top of it. -ENOENT: it is gone
 * again. Either way the caller detaches it. On a worker.
 */
int mount_verify(unsigned features, int mount, uint64_t id, const struct target_facts *target);

/*
 * The id of the mount on whose root `fd` is open, which a client sent; without exact ids, of one
 * that the mount table calls ours and a `file_system` (PROTOCOL_PROC or PROTOCOL_SYSFS). -EINVAL:
 * not a mount's root. Doesn't block.
 */
int mount_recognise(const struct mount_templates *templates, int fd, uint8_t file_system,
                    uint64_t *id);

/* Where the mount with that id is. -ENOENT: nowhere, or it isn't a `file_system`, or not ours. */
int mount_locate(const struct mount_templates *templates, uint64_t id, uint8_t file_system,
                 char *path, size_t size);

/*
 * Opens the mount with that id at `path`, from mount_locate(): the caller owns an O_PATH of its
 * root. `resolve` as in kernel_open_place(): 0 blocks on a FUSE above it. -EACCES: this process has
 * no right to go there. -EBUSY: another mount is on top of it. On a worker.
 */
int mount_open(const struct mount_templates *templates, uint64_t id, const char *path,
               uint64_t resolve);
