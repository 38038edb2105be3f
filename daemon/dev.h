/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A /dev of a lease's own, in one tree that one umount2(2) of its root ends:
 *
 *     .                                  tmpfs, read-only at the superblock
 *     null zero full random urandom tty  the host's nodes: devices can be read and written, and no
 *                                        node changed, since each is a read-only mount
 *     fd stdin stdout stderr             links into /proc/self/fd
 *     ptmx -> pts/ptmx, pts              a devpts of the lease's own
 *     shm                                a tmpfs of the lease's own, where there is to be one
 *
 * What never changes, the root and the nodes, is a template, and cloned. Where the kernel can't
 * clone or attach to detached mounts (before Linux 6.15) each tree is made anew, and its parts are
 * attached when its root is.
 *
 * Sources: open_tree(2), mount_setattr(2); Documentation/filesystems/devpts.rst and tmpfs.rst in
 * the kernel.
 */

#include "daemon/mount.h"

#include <stdint.h>

struct dev;

/*
 * Finds the host's nodes, and makes the template. `shm_size` is the most that can be in one's shm,
 * in bytes; 0: there is none. `setup` is borrowed, must live on. STATUS_HOST_FAILED, with a
 * sentence that says what the host's /dev lacks. On the main thread, before any other.
 */
struct verdict dev_new(const struct mount_setup *setup, uint64_t shm_size, struct dev **dev);
struct dev *dev_free(struct dev *dev);

/* How many mounts the kernel holds for each. */
unsigned dev_mounts(const struct dev *dev);

/*
 * `*fd` is the root of a new tree that is attached nowhere, close-on-exec, the caller's.
 * STATUS_HOST_FAILED, with the kernel's own words, if any. Any thread, doesn't block.
 */
struct verdict dev_make(struct dev *dev, int *fd);

/*
 * Adds what a tree whose root is attached lacks yet: nothing where dev_make() could make it whole.
 * STATUS_TARGET_VANISHED: somebody has detached it; STATUS_HOST_FAILED. Then the caller detaches
 * it.
 */
struct verdict dev_complete(struct dev *dev, int fd);
