/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What is mounted. A superblock of each kind is made once, as a detached *template*, and cloned for
 * each request; where the kernel can't clone a detached mount (before 6.15) every request gets a
 * superblock of its own. A few clones of the usual kinds are made ahead.
 *
 * What is forced, at creation, before anything is attached: nosuid, nodev, noexec; procfs with
 * hidepid=ptraceable and, but for the writable kinds, read-only at the superblock (as a mount
 * attribute alone, the root of a user namespace could lift it); sysfs read-only as a mount
 * attribute (its superblock is the host's). A /dev is a tree of mounts: dev.h.
 */

#include "common/status.h"
#include "daemon/mount.h"

#include <stdint.h>

enum {
        TEMPLATE_AHEAD = 4, /* clones of each usual kind; as many requests at once find one */
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
 * Finds out what the kernel can do, and makes the templates of the usual kinds. `source` is the
 * label in the mount table; borrowed, must live on. Before any other thread. STATUS_HOST_FAILED
 * with the kernel's own words, if any; a shortage of memory or descriptors while it asks is such a
 * failure as well.
 */
struct verdict templates_new(const char *source, struct templates **templates);
struct templates *templates_free(struct templates *templates);

/*
 * Has a /dev to offer from now on; `shm_size` as in dev_new(). Before any other thread.
 * STATUS_UNSUPPORTED_FILE_SYSTEM, with a sentence: it can't be had on this host, and who asks is
 * told so. STATUS_HOST_FAILED: a shortage, which says nothing about the host.
 */
struct verdict templates_offer_dev(struct templates *templates, uint64_t shm_size);

/*
 * The same for the namespaces of a client: templates of their own, where those show in what is
 * mounted. Both are borrowed, and must live on. For one thread. NULL: out of memory.
 */
struct templates *templates_derive(struct templates *home, const struct namespaces *namespaces);

/* VERDICT_OK, or STATUS_UNSUPPORTED_FILE_SYSTEM with a text that says why it isn't offered. */
struct verdict templates_judge(const struct templates *templates, uint32_t file_system);

/* How many mounts the kernel holds for one of that kind. */
unsigned templates_mounts(const struct templates *templates, enum template_kind kind);

/* What the kernel can do, and the label; borrowed. */
const struct mount_setup *templates_setup(const struct templates *templates);

/* A mount that is attached nowhere. */
struct template_clone {
        int fd; /* of its root, as O_PATH, close-on-exec; closed before it is attached, it is gone
                 */
        uint64_t id; /* as mount_identify() has it */
};

/*
 * A clone that the caller owns; one that was made ahead costs no system call. STATUS_HOST_FAILED,
 * with the kernel's own words, if any. Any thread, doesn't block.
 */
struct verdict template_obtain(struct templates *templates, enum template_kind kind,
                               struct template_clone *clone);

/*
 * Adds to the attached clone what could not be in it before: dev_complete(). If not STATUS_OK, the
 * caller detaches it.
 */
struct verdict template_complete(struct templates *templates, enum template_kind kind, int mount);

/*
 * Makes clones for requests to come: when nobody waits. Any thread; doesn't block. What fails now
 * is told to the request that finds none.
 */
void templates_replenish(struct templates *templates);
