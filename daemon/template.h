/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What is mounted. One superblock of each kind is made as a detached *template*, and cloned for
 * each request; where the kernel can't clone a detached mount (before 6.15), each request gets a
 * superblock of its own. A few clones of the usual kinds are made ahead.
 *
 * Forced at creation, before anything is attached: nosuid, nodev, noexec; procfs with
 * hidepid=ptraceable and, except for the writable kinds, read-only at the superblock (the root of a
 * user namespace could lift a mere mount attribute); sysfs read-only as a mount attribute (its
 * superblock is the host's). A /dev is a tree of mounts: dev.h.
 */

#include "common/status.h"
#include "daemon/mount.h"

#include <stdint.h>

enum {
        TEMPLATE_AHEAD = 4, /* clones of each usual kind, for as many simultaneous requests */
};

enum template_kind {
        TEMPLATE_PROC,
        TEMPLATE_PROC_PIDS,
        TEMPLATE_PROC_WRITABLE,
        TEMPLATE_PROC_WRITABLE_PIDS,
        TEMPLATE_SYSFS,
        TEMPLATE_DEV,
        TEMPLATE_KINDS,
};

struct namespaces;
struct templates;

/*
 * Probes the kernel, and makes the templates of the usual kinds. `source` is the label in the mount
 * table; borrowed, and must outlive it. Before any other thread. STATUS_HOST_FAILED with the
 * kernel's own message, if any; a shortage of memory or descriptors during the probe is such a
 * failure as well.
 */
struct verdict templates_new(const char *source, struct templates **templates);
struct templates *templates_free(struct templates *templates);

/*
 * Offers a /dev from now on; `shm_size` as in dev_new(). Before any other thread.
 * STATUS_UNSUPPORTED_FILE_SYSTEM, with a text: this host can't have one, and clients that ask for
 * it get this text. STATUS_HOST_FAILED: a shortage, which says nothing about the host.
 */
struct verdict templates_offer_dev(struct templates *templates, uint64_t shm_size);

/*
 * The same for a client's namespaces, with templates of its own for file systems that show them.
 * Both are borrowed, and must outlive it. For one thread. NULL: out of memory.
 */
struct templates *templates_derive(struct templates *home, const struct namespaces *namespaces);

/* VERDICT_OK, or STATUS_UNSUPPORTED_FILE_SYSTEM with a text that says why. */
struct verdict templates_judge(const struct templates *templates, uint32_t file_system);

/* The number of mounts that the kernel holds for one of that kind. */
unsigned templates_mounts(const struct templates *templates, enum template_kind kind);

/* The kernel's features, and the label; borrowed. */
const struct mount_setup *templates_setup(const struct templates *templates);

/* A detached mount. */
struct template_clone {
        int fd; /* of its root, as O_PATH, close-on-exec; closing it before it is attached destroys
                   the mount */
        uint64_t id; /* from mount_identify() */
};

/*
 * A clone, owned by the caller; one that was made ahead costs no system call. STATUS_HOST_FAILED,
 * with the kernel's own message, if any. Any thread, doesn't block.
 */
struct verdict template_obtain(struct templates *templates, enum template_kind kind,
                               struct template_clone *clone);

/*
 * Adds the parts that the clone could not have before it was attached: dev_complete(). Unless
 * STATUS_OK, the caller detaches it.
 */
struct verdict template_complete(struct templates *templates, enum template_kind kind, int mount);

/*
 * Makes clones for later requests; to be called when no client is waiting. Any thread; doesn't
 * block. A failure is reported to the request that finds no clone.
 */
void templates_replenish(struct templates *templates);
