/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The table of the leases of this instance: for each the record in the mapped file (state.h),
 * written before anything is attached, so that whoever comes after a killed daemon can tell what it
 * left; who holds it; and a descriptor of each mount's root.
 *
 * One mutex guards the table, and is never held across a call that can block. A lease that is being
 * granted, released or swept is *busy*, and belongs to the thread that does so. Any thread, unless
 * something else is said.
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
 * Who holds leases: a connection, or a call over D-Bus, which holds nothing for longer than it
 * takes. Embedded by its keeper; the subject and the socket are set, all else starts out zeroed.
 */
struct holder {
        struct subject subject;
        int socket; /* of the connection, open as long as it holds anything; -EBADF: none */
        struct namespaces *namespaces; /* that it has entered; NULL: none. Owned by the keeper, */
        struct templates *templates;   /* as are the templates for them */
        /* the table's own: */
        LIST_HEAD(, lease) leases;
        bool gone;
};

struct leases_setup {
        struct state state;          /* freshly opened; owned, also on failure */
        struct quota *quota;         /* borrowed */
        struct templates *templates; /* borrowed */
};

/*
 * A table over the records. What a predecessor left counts against the limits, and waits to be
 * adopted or swept. -ENOMEM. On the main thread, before any other.
 */
int leases_new(const struct leases_setup *setup, struct leases **leases);

/* After the last thread. The file goes as well, unless leases are still on record. */
struct leases *leases_free(struct leases *leases);

/* ---- a lease ---- */

/* One mount to be made. */
struct lease_order {
        enum template_kind kind;
        uint8_t file_system; /* the protocol's, for the record */
        int target;          /* borrowed: the directory that was judged */
        const struct target_facts *facts;
};

struct lease_orders {
        bool keep; /* for the user, beyond the end of the holder */
        unsigned count;
        struct lease_order orders[PROTOCOL_TARGETS_MAX];
};

/* What a client says of the lease that it wants to adopt. */
struct lease_claim {
        uint64_t id;
        unsigned count;
        uint8_t file_systems[PROTOCOL_TARGETS_MAX];
};

/*
 * The table's own. Whose it is while it is busy may read the record, and write the ids of mounts,
 * `attached`, `fds` and `next`, without the mutex.
 */
struct lease {
        struct record *record;   /* in the file */
        struct holder *holder;   /* NULL: free */
        LIST_ENTRY(lease) entry; /* among its holder's, or the free ones */
        bool busy;
        bool reported;     /* as out of reach */
        uint16_t attached; /* a bit for each mount */
        int fds[PROTOCOL_TARGETS_MAX];
        struct lease *next;
};

/* ---- granted, adopted, released: lease.c ---- */

/*
 * A lease with the record RECORD_ATTACHING, charged to the holder's user: the caller's, until it
 * publishes or drops it. STATUS_LIMIT_EXCEEDED, STATUS_HOST_FAILED.
 */
struct verdict leases_reserve(struct leases *leases, struct holder *holder,
                              const struct lease_orders *orders, struct lease **lease);

/*
 * The lease is live, and its holder's, or the table keeps it. False: the holder has gone meanwhile,
 * or the daemon is stopping and nobody would release it any more; it is still the caller's.
 */
bool leases_publish(struct leases *leases, struct lease *lease);

/* The caller's lease is no more: nothing of it is mounted, its descriptors have been taken. */
void leases_drop(struct leases *leases, struct lease *lease);

/* The caller's lease is nobody's from now on: its record stays, for the next try and for the next
 * instance. */
void leases_orphan(struct leases *leases, struct lease *lease);

struct lease_roots {
        const uint64_t *mounts; /* ids */
        int *fds;
};

/*
 * Makes the live lease that a predecessor left the holder's, if the same user had it and all that
 * the claim says of it is so; then the descriptors are taken. False: there is no such, somebody
 * else has it, or the holder's client has hung up.
 */
bool leases_hand_over(struct leases *leases, struct holder *holder, const struct lease_claim *claim,
                      const struct lease_roots *roots);

/*
 * Takes the lease `id` for releasing, if the holder holds it, or its user's is kept; an
 * administrator may take any. It is the caller's: to be dropped or given back. NULL: there is no
 * such lease for it.
 */
struct lease *leases_take(struct leases *leases, struct holder *holder, uint64_t id);

/* The same for the next that the holder holds. */
struct lease *leases_take_next(struct leases *leases, struct holder *holder);

/* The mount namespace, 0: ours, that a lease is in which the holder may take at this moment. False:
 * there is no such. */
bool leases_find_place(struct leases *leases, const struct holder *holder, uint64_t id,
                       uint64_t *place);

/* Whether the holder holds any. */
bool leases_are_held(struct leases *leases, const struct holder *holder);

/* It could not be released: its holder may try again, if there still is one. */
void leases_give_back(struct leases *leases, struct lease *lease);

/* The holder is gone though its thread isn't: what it holds becomes nobody's, as by
 * leases_orphan(), and what is being granted to it at this moment will not be published. */
void leases_abandon(struct leases *leases, struct holder *holder);

/* Who holds what nobody holds and the host would not let go; and what is kept for users. */
struct holder *leases_orphans(struct leases *leases);
struct holder *leases_kept(struct leases *leases);

struct templates *leases_templates(const struct leases *leases);

/* From now on nothing more is kept, nor handed over: the daemon is stopping. */
void leases_stop(struct leases *leases);

/*
 * For a restart: nothing is granted or released any more, whatever threads see of it. Takes the
 * mutex for good, so exit at once.
 */
void leases_freeze(struct leases *leases);

/* ---- for those who look on ---- */

/* By the clock of a record's `granted`. */
uint64_t leases_now(void);

struct leases_counts {
        unsigned leases;
        unsigned left;    /* of the leases: a predecessor's, waiting */
        unsigned orphans; /* of the leases: nobody's, that could not be released */
};

struct leases_counts leases_count(struct leases *leases);

/*
 * Copies the next record in use at or behind the index `*cursor`, and gives in `*root` a duplicate
 * of the descriptor of its first mount, else -EBADF; the caller owns it. False: no more.
 */
bool leases_next(struct leases *leases, uint32_t *cursor, struct record *record, int *root);

/* The lease of this instance's own of which the mount with that id is a part, 0: none. */
uint64_t leases_find_mount(struct leases *leases, uint64_t mount);

/*
 * Whether the mount with that id is the user's own and about to go: it is being released, or the
 * client that holds it has hung up.
 */
bool leases_is_leaving(struct leases *leases, uid_t uid, uint64_t mount);

/* Whether there is such a lease, and the user could not release it without being trusted. */
bool leases_is_others(struct leases *leases, uint64_t id, uid_t uid);

/* ---- what a predecessor left: sweep.c ---- */

enum leases_left {
        LEASES_LEFT_DEAD,      /* those that nobody can ever adopt, because they weren't live */
        LEASES_LEFT_UNCLAIMED, /* those as well that connections held */
        LEASES_LEFT_KEPT,      /* those that the predecessor kept, alone */
        LEASES_LEFT_ALL,
};

/*
 * Takes the next such lease at or behind the index `*cursor`, so that nobody can adopt it. False:
 * no more. The caller must leases_forget() it, leases_leave() it, or leases_keep() one that was
 * kept.
 */
bool leases_take_left(struct leases *leases, enum leases_left which, uint32_t *cursor,
                      struct record *record);

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
