/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What lives, and how much of it there may be: the leases of this instance, who holds them, and the
 * limits. Each lease has a record in the mapped file of record.h, written before the mount is
 * attached, so that whoever comes after a killed daemon can tell what it left.
 *
 * The ledger is all that the workers share. One mutex guards it, and is never held across a call
 * that can block. Every function may be called on any thread unless it says otherwise.
 */

#include "common/status.h"
#include "daemon/changes.h"
#include "daemon/record.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct lease;
struct ledger;

struct ledger_limits {
        unsigned connections;
        unsigned connections_per_user;
        unsigned mounts; /* at most RECORD_CAPACITY_MAX */
        unsigned mounts_per_user;
        unsigned workers; /* that are not lost */
        unsigned lost_workers;
        unsigned lost_workers_per_user;
};

struct ledger_counts {
        unsigned connections;
        unsigned leases;
        unsigned mounts;
        unsigned attempts; /* under way, those of lost workers among them */
        unsigned lost_attempts;
        unsigned lost_workers;
        unsigned left;    /* of the leases: a predecessor's, waiting */
        unsigned orphans; /* of the leases: nobody's, that could not be released */
        unsigned missed;  /* changes that nobody fetched in time */
};

enum ledger_standing {
        LEDGER_CONNECTION = 0, /* holds what it is granted until it ends */
        LEDGER_CALL,           /* what it is granted, the ledger keeps: see ledger_kept() */
        LEDGER_TRUSTED_CALL,   /* that, and every lease is its to take */
};

/*
 * Who holds leases: one connection; or a call over D-Bus, which ends before its lease does.
 * Embedded by its keeper, filled in by ledger_connect(); a call sets its standing before its first
 * request.
 */
struct ledger_owner {
        uid_t uid;
        pid_t pid;
        enum ledger_standing standing;
        /* the ledger's own: */
        uint32_t first;
        bool abandoned;
        bool attempting;
        bool lost_attempt;
};

/*
 * A ledger over the freshly opened `records`, which it owns from now on, also on failure. What a
 * predecessor left in it counts against the limits, and waits to be adopted or swept. -ENOMEM. On
 * the main thread, before the first worker.
 */
int ledger_new(const struct ledger_limits *limits, struct record_file *records,
               struct ledger **ledger);

/* After the last worker. The file goes as well, unless leases are still on record. */
struct ledger *ledger_free(struct ledger *ledger);

/* Counts a connection of `uid`. STATUS_LIMIT_EXCEEDED; `*owner` is then untouched. */
struct verdict ledger_connect(struct ledger *ledger, uid_t uid, pid_t pid,
                              struct ledger_owner *owner);

/* After the last of its leases has been released. */
void ledger_disconnect(struct ledger *ledger, struct ledger_owner *owner);

/*
 * Nobody holds these leases any more: what is live can be taken, what is being granted at this
 * moment will not be published.
 */
void ledger_abandon(struct ledger *ledger, struct ledger_owner *owner);

/*
 * Around all that can block on what a client sends: from receiving descriptors to closing them.
 * LEDGER_LATER: its user has as many such attempts under way as it may lose workers, or there would
 * be no worker left for anything else; ask again when an attempt has ended or a worker is lost.
 * LEDGER_NEVER: too many workers are lost already, as `*refusal` says; it is written only then.
 * An owner has one attempt at a time: to begin it again, and to end none, does nothing.
 */
enum ledger_turn {
        LEDGER_NOW,
        LEDGER_LATER,
        LEDGER_NEVER,
};

enum ledger_turn ledger_begin_attempt(struct ledger *ledger, struct ledger_owner *owner,
                                      struct verdict *refusal);
void ledger_end_attempt(struct ledger *ledger, struct ledger_owner *owner);

/* How many attempts the owner's user has under way. */
unsigned ledger_count_attempts(struct ledger *ledger, const struct ledger_owner *owner);

/* So many workers are lost that nothing but local file systems will do. */
bool ledger_is_local_only(struct ledger *ledger);

/* A worker that serves `owner`, NULL if no client, is stuck in the kernel; it came back. */
void ledger_lose_worker(struct ledger *ledger, struct ledger_owner *owner);
void ledger_regain_worker(struct ledger *ledger, struct ledger_owner *owner);

/*
 * A record for `count` mounts, RECORD_ATTACHING, counted against the limits; `*id` is random, never
 * 0. The caller alone may touch the lease until it publishes or forgets it.
 */
struct verdict ledger_reserve(struct ledger *ledger, struct ledger_owner *owner, unsigned count,
                              const uint8_t *file_systems, uint64_t *id);

/* Before that mount is attached. */
void ledger_record_mount(struct ledger *ledger, uint64_t id, unsigned index, uint64_t mount);

/*
 * The lease is live, and its owner's to take. Borrows `lease` until it is taken. False: the owner
 * has been abandoned meanwhile, or the ledger would keep the lease but has been stopped; the caller
 * undoes the lease and forgets it.
 */
bool ledger_publish(struct ledger *ledger, uint64_t id, struct lease *lease);

/*
 * Takes a live lease from its owner, for releasing: the caller must ledger_forget() or
 * ledger_publish() it. NULL if `owner` has no such live lease. `id` 0: whichever comes first.
 * A call may take what its user's calls were granted; a trusted one anything, and if it doesn't
 * forget the lease, the ledger keeps it.
 */
struct lease *ledger_take(struct ledger *ledger, struct ledger_owner *owner, uint64_t id);

/* Frees the record of a reserved or taken lease. */
void ledger_forget(struct ledger *ledger, uint64_t id);

/*
 * Gives a taken lease that could not be released to nobody: its record stays, for the next try and
 * for the next instance. ledger_orphans() is the owner of all such.
 */
void ledger_orphan(struct ledger *ledger, uint64_t id, struct lease *lease);
struct ledger_owner *ledger_orphans(struct ledger *ledger);

/* The owner of all leases that calls were granted. */
struct ledger_owner *ledger_kept(struct ledger *ledger);

/* Whether it is a live lease, and not one that the user's calls were granted. */
bool ledger_is_others(struct ledger *ledger, uint64_t id, uid_t uid);

/* From now on leases end because the daemon does. */
void ledger_stop(struct ledger *ledger);

/* ---- for those who look on ---- */

/*
 * Copies the next record in use at or behind the index `*cursor`, and gives in `*root` a duplicate,
 * by `duplicate`, of what its live lease has open, else -EBADF; the caller owns it. `duplicate`
 * runs with the mutex held. False: no more.
 */
bool ledger_next(struct ledger *ledger, uint32_t *cursor, int (*duplicate)(const struct lease *),
                 struct record *record, int *root);

/* The lease of which the mount with that id is a part, 0: none. */
uint64_t ledger_find_mount(struct ledger *ledger, uint64_t mount);

/*
 * Has the ledger note what becomes of leases, or not; it does not at first. What nobody fetches in
 * time is dropped, and counted in `ledger_counts.missed`.
 */
void ledger_watch(struct ledger *ledger, bool watched);

/* The oldest change that was noted; false: there is none. */
bool ledger_next_change(struct ledger *ledger, struct change_event *event);

const struct ledger_limits *ledger_limits(const struct ledger *ledger);

/* ---- what a predecessor left ---- */

/*
 * Makes the live lease that a predecessor left the owner's, if the same user had it and all that
 * `claim` says of it is so: lease, count, file systems, mounts. From then on `lease` is the
 * ledger's, as after ledger_publish(). False: there is no such, or somebody else has it.
 */
bool ledger_adopt(struct ledger *ledger, struct ledger_owner *owner, const struct record *claim,
                  struct lease *lease);

/* Whether a lease of this instance's own has that mount: only reusable ids can be in two leases. */
bool ledger_holds(struct ledger *ledger, uint64_t mount);

enum ledger_left {
        LEDGER_LEFT_DEAD = 0,      /* those that nobody can ever adopt, because they weren't live */
        LEDGER_LEFT_UNCLAIMED = 1, /* those as well that connections held */
        LEDGER_LEFT_ALL = 2,       /* those as well that the predecessor kept */
};

/*
 * Takes the next such left lease at or behind the index `*cursor` for sweeping, so that nobody can
 * adopt it. False: no more. The caller must ledger_forget() it or ledger_leave() it.
 */
bool ledger_take_left(struct ledger *ledger, enum ledger_left which, uint32_t *cursor,
                      struct record *record);

/*
 * Takes the next live lease that the predecessor kept, for keeping it on. The caller must
 * ledger_keep() it, ledger_forget() it or ledger_leave() it.
 */
bool ledger_take_kept(struct ledger *ledger, uint32_t *cursor, struct record *record);

/* The ledger keeps the lease from now on; to be followed by ledger_publish(). */
void ledger_keep(struct ledger *ledger, uint64_t id);

/*
 * It could not be swept: its state is the record's from now on. True if it is out of reach, and
 * that for the first time.
 */
bool ledger_leave(struct ledger *ledger, const struct record *record, bool out_of_reach);

struct ledger_counts ledger_count(struct ledger *ledger);
