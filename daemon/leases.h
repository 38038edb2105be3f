/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The table of this instance's leases. Each has a record in the mapped file (state.h), written
 * before anything is attached, so that the next instance can tell what a killed daemon left; a
 * holder; and a descriptor of each mount's root.
 *
 * One mutex guards the table, and is never held across a call that can block. A lease that is being
 * granted, released or swept is *busy*, and belongs to the thread at work on it. Any thread, unless
 * stated otherwise.
 */

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
struct namespaces;

/*
 * Holds leases: a connection, or a call over D-Bus, which holds one only while it runs. Embedded by
 * its owner, which sets the subject and the socket; the rest starts zeroed.
 */
struct holder {
        struct subject subject;
        int socket; /* of the connection, open as long as it holds anything; -EBADF: none */
        struct namespaces *namespaces; /* entered; NULL: none. Freed by the owner, */
        struct templates *templates;   /* like the templates for them */
        /* private to the table: */
        LIST_HEAD(, lease) leases;
        bool gone;
};

struct leases_setup {
        struct state state;          /* freshly opened; owned, even on failure */
        struct quota *quota;         /* borrowed */
        struct templates *templates; /* borrowed */
};

/*
 * A table over the records. Leases of the previous instance count against the limits, and wait to
 * be adopted or swept. -ENOMEM. On the main thread, before any other thread.
 */
int leases_new(const struct leases_setup *setup, struct leases **leases);

/* After the last thread has ended. Removes the file too, unless leases are still on record. */
struct leases *leases_free(struct leases *leases);

/* ---- a lease ---- */

/* One mount to make. */
struct lease_order {
        enum template_kind kind;
        uint8_t file_system; /* the protocol's, for the record */
        int target;          /* borrowed: the directory that was authorised */
        const struct target_facts *facts;
};

struct lease_orders {
        bool keep; /* for the user, beyond the end of the holder */
        unsigned count;
        struct lease_order orders[PROTOCOL_TARGETS_MAX];
};

/* A client's description of the lease that it wants to adopt. */
struct lease_claim {
        uint64_t id;
        unsigned count;
        uint8_t file_systems[PROTOCOL_TARGETS_MAX];
};

/*
 * Private to the table. The thread that owns a busy lease may read the record, and write the ids of
 * mounts, `attached`, `fds` and `next`, without the mutex.
 */
struct lease {
        struct record *record;   /* in the file */
        struct holder *holder;   /* NULL: free */
        LIST_ENTRY(lease) entry; /* in its holder's list, or the free list */
        bool busy;
        bool reported;     /* as out of reach */
        uint16_t attached; /* one bit per mount */
        int fds[PROTOCOL_TARGETS_MAX];
        struct lease *next;
};

/* ---- granted, adopted, released: lease.c ---- */

/*
 * Reserves a lease, with the record in RECORD_ATTACHING, charged to the holder's user. It is the
 * caller's until published or dropped. STATUS_LIMIT_EXCEEDED, STATUS_HOST_FAILED.
 */
struct verdict leases_reserve(struct leases *leases, struct holder *holder,
                              const struct lease_orders *orders, struct lease **lease);

/*
 * Makes the lease live, for its holder or to be kept by the table. False: the holder has gone
 * meanwhile, or the daemon is stopping and nobody would release the lease; it is still the
 * caller's.
 */
bool leases_publish(struct leases *leases, struct lease *lease);

/* Frees the caller's lease: nothing of it is mounted, and its descriptors have been taken. */
void leases_drop(struct leases *leases, struct lease *lease);

/*
 * Turns the caller's lease into an orphan: its record stays, for a retry and for the next instance.
 */
void leases_orphan(struct leases *leases, struct lease *lease);

struct lease_roots {
        const uint64_t *mounts; /* ids */
        int *fds;
};

/*
 * Hands a live lease of the previous instance over to the holder, if it was the same user's and
 * matches the claim; then the descriptors are taken. False: there is no such lease, somebody else
 * has it, or the holder's client has hung up.
 */
bool leases_hand_over(struct leases *leases, struct holder *holder, const struct lease_claim *claim,
                      const struct lease_roots *roots);

/*
 * Takes the lease `id` for releasing, if the holder holds it or it is kept for its user; an
 * administrator may take any. It is the caller's, to be dropped or given back. NULL: the holder may
 * take no such lease.
 */
struct lease *leases_take(struct leases *leases, struct holder *holder, uint64_t id);

/* The same for the next lease of the holder. */
struct lease *leases_take_next(struct leases *leases, struct holder *holder);

/* The mount namespace (0: ours) of a lease that the holder may take now. False: there is none. */
bool leases_find_place(struct leases *leases, const struct holder *holder, uint64_t id,
                       uint64_t *place);

/* Whether the holder holds any. */
bool leases_are_held(struct leases *leases, const struct holder *holder);

/* Gives a lease that could not be released back to its holder, if there still is one. */
void leases_give_back(struct leases *leases, struct lease *lease);

/*
 * For a holder that has gone while its thread is stuck: its leases become orphans, and the lease
 * being granted to it will not be published.
 */
void leases_abandon(struct leases *leases, struct holder *holder);

/*
 * The holders of orphans (leases without a holder that the host failed to release), and of the
 * leases kept for users.
 */
struct holder *leases_orphans(struct leases *leases);
struct holder *leases_kept(struct leases *leases);

struct templates *leases_templates(const struct leases *leases);

/* Stops keeping leases and handing them over: the daemon is stopping. */
void leases_stop(struct leases *leases);

/*
 * For a restart: no lease is granted or released any more, whatever threads see. Keeps the mutex
 * locked, so exit at once.
 */
void leases_freeze(struct leases *leases);

/* ---- queries ---- */

/* The present time, by the clock of a record's `granted`. */
uint64_t leases_now(void);

struct leases_counts {
        unsigned leases;
        unsigned left;    /* of the leases: the previous instance's, waiting */
        unsigned orphans; /* of the leases: orphans */
};

struct leases_counts leases_count(struct leases *leases);

/*
 * Copies the next record in use from the index `*cursor` on, and duplicates the descriptor of its
 * first mount to `*root`, -EBADF if there is none; the caller owns it. False: no more.
 */
bool leases_next(struct leases *leases, uint32_t *cursor, struct record *record, int *root);

/* This instance's lease that contains the mount with that id; 0: none. */
uint64_t leases_find_mount(struct leases *leases, uint64_t mount);

/*
 * Whether the mount with that id is the user's own and about to go: it is being released, or its
 * client has hung up or been killed. The kernel frees a killed client's memory before it closes its
 * connection.
 */
bool leases_is_leaving(struct leases *leases, uid_t uid, uint64_t mount);

/* Whether the lease exists, and the user needs an administrator's consent to release it. */
bool leases_is_others(struct leases *leases, uint64_t id, uid_t uid);

/* ---- leases of the previous instance: for sweep.c ---- */

enum leases_left {
        LEASES_LEFT_DEAD,      /* not live, so nobody can ever adopt them */
        LEASES_LEFT_UNCLAIMED, /* the same, and those that connections held */
        LEASES_LEFT_KEPT,      /* only those that the previous instance kept */
        LEASES_LEFT_ALL,
};

/*
 * Takes the next such lease from the index `*cursor` on, so that nobody can adopt it. False: no
 * more. The caller must leases_forget() or leases_leave() it, or leases_keep() one that was kept.
 */
bool leases_take_left(struct leases *leases, enum leases_left which, uint32_t *cursor,
                      struct record *record);

/*
 * Goes on keeping it. `fds` are the roots of its mounts, -EBADF for one that is gone; they are
 * taken.
 */
void leases_keep(struct leases *leases, uint64_t id, int *fds);

/* Drops it: nothing of it is mounted any more. */
void leases_forget(struct leases *leases, uint64_t id);

/*
 * Leaves a lease that could not be swept in the table, in the record's state. True if it is out of
 * reach for the first time.
 */
bool leases_leave(struct leases *leases, const struct record *record, bool out_of_reach);
