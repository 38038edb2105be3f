/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A /dev of a lease's own, in one tree, which a single umount2(2) of its root detaches:
 *
 *     .                                  tmpfs, read-only at the superblock
 *     null zero full random urandom tty  the host's nodes: the devices are readable and writable;
 *                                        each is a read-only mount, so the node can't be changed
 *     fd stdin stdout stderr             links into /proc/self/fd
 *     ptmx -> pts/ptmx, pts              a devpts of the lease's own
 *     shm                                a tmpfs of the lease's own, if configured
 *
 * The root and the nodes never change: they are a template, and cloned. Where the kernel can't
 * clone or attach to detached mounts (before Linux 6.15), each tree is built from scratch, and its
 * parts are attached after its root.
 *
 * Sources: open_tree(2), mount_setattr(2); Documentation/filesystems/devpts.rst and tmpfs.rst in
 * the kernel.
 */

#include "daemon/mount.h"

#include <stdint.h>

struct dev;

/*
 * Finds the host's nodes, and makes the template. `shm_size` limits each shm, in bytes; 0: no shm.
 * `setup` is borrowed, and must outlive it. STATUS_HOST_FAILED, with a text that names what the
 * host's /dev lacks. On the main thread, before any other thread.
 */
struct verdict dev_new(const struct mount_setup *setup, uint64_t shm_size, struct dev **dev);
struct dev *dev_free(struct dev *dev);

/* The number of mounts that the kernel holds for each tree. */
unsigned dev_mounts(const struct dev *dev);

/*
 * `*fd` is the root of a new detached tree, close-on-exec, owned by the caller. STATUS_HOST_FAILED,
 * with the kernel's own message, if any. Any thread, doesn't block.
 */
struct verdict dev_make(struct dev *dev, int *fd);

/*
 * Adds to a tree whose root is attached the parts that dev_make() could not add, if any.
 * STATUS_TARGET_VANISHED: somebody has detached it; STATUS_HOST_FAILED. On failure the caller
 * detaches it.
 */
struct verdict dev_complete(struct dev *dev, int fd);
