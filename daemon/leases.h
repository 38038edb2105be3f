/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The leases of this instance. A lease is the mounts of one request, all or nothing. One table owns
 * them: for each the record in the mapped file (state.h), written before anything is attached, so
 * that whoever comes after a killed daemon can tell what it left; who holds it; and a descriptor of
 * each mount's root.
 *
 * One mutex guards the table, and is never held across a call that can block. A lease that is being
 * granted, released or swept is *busy*, and belongs to the thread that does so. What mounts or
 * unmounts runs in an isolated thread (unmount.h); where nothing is said, any thread will do.
 */

#include "common/fdpass.h"
#include "common/status.h"
#include "daemon/policy.h"
#include "daemon/quota.h"
#include "daemon/state.h"
#include "daemon/template.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct lease;
struct leases;

/*
 * Who holds leases: a connection, or a call over D-Bus, which holds nothing for longer than it
 * takes. Embedded by its keeper; the subject is set, all else starts out zeroed.
 */
struct holder {
        struct subject subject;
        /* the table's own: */
        LIST_HEAD(, lease) leases;
        bool gone;
};

struct leases_setup {
        struct state state;           /* freshly opened; owned, also on failure */
        struct quota *quota;          /* borrowed */
        struct templates *templates; /* borrowed */
};

/*
 * A table over the records. What a predecessor left counts against the limits, and waits to be
 * adopted or swept. -ENOMEM. On the main thread, before any other.
 */
int leases_new(const struct leases_setup *setup, struct leases **leases);

/* After the last thread. The file goes as well, unless leases are still on record. */
struct leases *leases_free(struct leases *leases);

/* ---- what requests do ---- */

/* One mount to be made. */
struct lease_order {
        enum template_kind kind;
        uint8_t file_system; /* PROTOCOL_PROC or PROTOCOL_SYSFS, for the record */
        int target;          /* borrowed: the directory that was judged */
        const struct target_facts *facts;
};

struct lease_orders {
        bool keep; /* for the user, beyond the end of the holder */
        unsigned count;
        struct lease_order orders[PROTOCOL_TARGETS_MAX];
};

/*
 * Makes the mounts and attaches them. STATUS_OK: `*id` is the new lease. Else nothing is mounted,
 * and the verdict names the order at fault; -ECONNRESET in it: the holder has gone, or the daemon
 * is stopping. Can block, unkillable, on a hostile FUSE.
 */
struct verdict leases_grant(struct leases *leases, struct holder *holder,
                            const struct lease_orders *orders, uint64_t *id);

/* What a client says of the lease that it wants to adopt. */
struct lease_claim {
        uint64_t id;
        unsigned count;
        uint8_t file_systems[PROTOCOL_TARGETS_MAX];
};

/*
 * Makes a lease that a predecessor left the holder's. `fds` are descriptors of the roots of its
 * mounts, in the claim's order; on STATUS_OK they are taken. Else STATUS_NO_SUCH_LEASE: no such
 * lease waits, it was another user's, or these are not its mounts; STATUS_HOST_FAILED: that could
 * not be found out, the lease still waits.
 */
struct verdict leases_adopt(struct leases *leases, struct holder *holder,
                            const struct lease_claim *claim, int *fds);

/* What is left of an ended lease: descriptors, to be closed when nobody waits for it any more. */
struct lease_remains {
        unsigned strangers; /* mounts of others that were stacked on ours and had to go first */
        unsigned count;
        int fds[PROTOCOL_TARGETS_MAX];
};

/*
 * Detaches the mounts of the lease `id`, which the holder holds, or its user's if that was kept;
 * an administrator may end any. STATUS_NO_SUCH_LEASE; STATUS_HOST_FAILED: the lease stays, from the
 * index told on, and may be tried again. STATUS_OK: `*remains` is for lease_dispose().
 */
struct verdict leases_release(struct leases *leases, struct holder *holder, uint64_t id,
                              struct lease_remains *remains);

/* Closes them, and takes the thread out of the mount; on the thread that released it. */
void lease_dispose(struct lease_remains *remains);

/* The holder is gone: what is being granted to it at this moment will be undone. */
void leases_abandon(struct leases *leases, struct holder *holder);

/*
 * Releases whatever the holder holds; what the host refuses to detach is tried again later
 * (leases_release_orphans()). 0, or the last refusal as a negative errno.
 */
int leases_release_held(struct leases *leases, struct holder *holder);

/* ---- what the daemon does ---- */

/* Releases what nobody holds and the host would not let go; errors as above. */
int leases_release_orphans(struct leases *leases);

/* From now on nothing is kept, nor adopted: the daemon is stopping. */
void leases_stop(struct leases *leases);

/* After leases_stop(): releases what is kept; errors as above. */
int leases_release_kept(struct leases *leases);

/*
 * For a restart: nothing is granted or released any more, whatever threads see of it. Takes the
 * mutex for good, so exit at once.
 */
void leases_freeze(struct leases *leases);

struct leases_counts {
        unsigned leases;
        unsigned left;    /* of the leases: a predecessor's, waiting */
        unsigned orphans; /* of the leases: nobody's, that could not be released */
};

struct leases_counts leases_count(struct leases *leases);

/* ---- for those who look on ---- */

/*
 * Copies the next record in use at or behind the index `*cursor`, and gives in `*root` a duplicate
 * of the descriptor of its first mount, else -EBADF; the caller owns it. False: no more.
 */
bool leases_next(struct leases *leases, uint32_t *cursor, struct record *record, int *root);

/* The lease of which the mount with that id is a part, 0: none. */
uint64_t leases_find_mount(struct leases *leases, uint64_t mount);

/* Whether there is such a lease, and the user could not release it without being trusted. */
bool leases_is_others(struct leases *leases, uint64_t id, uid_t uid);

/* ---- what a predecessor left: sweep.c ---- */

enum leases_left {
        LEASES_LEFT_DEAD,      /* those that nobody can ever adopt, because they weren't live */
        LEASES_LEFT_UNCLAIMED, /* those as well that connections held */
        LEASES_LEFT_ALL,       /* those as well that the predecessor kept */
};

/*
 * Takes the next such lease at or behind the index `*cursor` for sweeping, so that nobody can adopt
 * it. False: no more. The caller must leases_forget() it or leases_leave() it.
 */
bool leases_take_left(struct leases *leases, enum leases_left which, uint32_t *cursor,
                      struct record *record);

/*
 * Takes the next live lease that the predecessor kept, for keeping it on. The caller must
 * leases_keep() it, leases_forget() it or leases_leave() it.
 */
bool leases_take_kept(struct leases *leases, uint32_t *cursor, struct record *record);

/* Keeps it on. `fds` are as many as it has mounts, of their roots, -EBADF for one that is gone;
 * they are taken. */
void leases_keep(struct leases *leases, uint64_t id, int *fds);

/* Nothing of it is mounted any more. */
void leases_forget(struct leases *leases, uint64_t id);

/*
 * It could not be swept: its state is the record's from now on. True if it is out of reach, and
 * that for the first time.
 */
bool leases_leave(struct leases *leases, const struct record *record, bool out_of_reach);

/* Whether a lease of this instance's own has that mount: only reusable ids can be in two leases. */
bool leases_hold(struct leases *leases, uint64_t mount);
