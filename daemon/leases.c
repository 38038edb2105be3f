/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The low bits of a lease's id are its index in the table and in the file. The two highest are set,
 * so that its 16 hexadecimal digits have a letter, and no decimal id has 16 digits: `mountatctl
 * unmount` takes both. The others are random.
 */

#include "daemon/leases.h"

#include "common/fd.h"
#include "daemon/instance.h"
#include "daemon/namespaces.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define LEASES_ID_HIGHEST (UINT64_C(3) << 62)

struct leases {
        struct state state;
        struct quota *quota;
        struct templates *templates;

        pthread_mutex_t mutex;   /* guards everything below, and the records */
        struct lease *all;       /* as many as records */
        LIST_HEAD(, lease) free; /* those below state.used */
        struct holder left, kept, orphans;
        struct leases_counts counts;
        bool stopping;
};

/* ---- the table: with the mutex held ---- */

static void leases_link(struct leases *leases, struct holder *holder, struct lease *lease) {
        lease->holder = holder;
        LIST_INSERT_HEAD(&holder->leases, lease, entry);
        leases->counts.left += holder == &leases->left;
        leases->counts.orphans += holder == &leases->orphans;
}

static void leases_unlink(struct leases *leases, struct lease *lease) {
        leases->counts.left -= lease->holder == &leases->left;
        leases->counts.orphans -= lease->holder == &leases->orphans;
        LIST_REMOVE(lease, entry);
        lease->holder = NULL;
}

static void leases_relink(struct leases *leases, struct holder *holder, struct lease *lease) {
        leases_unlink(leases, lease);
        leases_link(leases, holder, lease);
}

static uint32_t leases_index(const struct leases *leases, const struct lease *lease) {
        return lease - leases->all;
}

/* NULL: there is none. */
static struct lease *leases_find(const struct leases *leases, uint64_t id) {
        uint32_t index = RECORD_INDEX(id);

        if (id == 0 || index >= leases->state.used || leases->state.records[index].lease != id)
                return NULL;
        return &leases->all[index];
}

/*
 * Prefers a lease that was used before, so that the daemon touches no more memory than for the most
 * leases it ever had at once.
 */
static struct lease *leases_find_free(struct leases *leases) {
        struct lease *lease = LIST_FIRST(&leases->free);

        if (lease)
                LIST_REMOVE(lease, entry);
        else
                lease = &leases->all[leases->state.used++];
        *lease = (struct lease){.record = &leases->state.records[leases_index(leases, lease)]};
        for (unsigned i = 0; i < PROTOCOL_TARGETS_MAX; i++)
                lease->fds[i] = -EBADF;
        return lease;
}

uint64_t leases_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_BOOTTIME, &now);
        return (uint64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* The number of mounts that the kernel will hold. */
static unsigned leases_weigh(const struct leases *leases, const struct lease_orders *orders) {
        unsigned mounts = 0;

        for (unsigned i = 0; i < orders->count; i++)
                mounts += templates_mounts(leases->templates, orders->orders[i].kind);
        return mounts;
}

static void leases_fill(struct leases *leases, struct lease *lease, const struct holder *holder,
                        const struct lease_orders *orders) {
        const struct instance *self = &leases->state.header->instance;
        struct record *record = lease->record;

        record->granted = leases_now();
        record->writer_start_time = self->start_time;
        record->writer_pid = self->pid;
        record->mount_namespace = namespaces_id(holder->namespaces);
        record->namespace_inode = namespaces_inode(holder->namespaces);
        record->uid = holder->subject.uid;
        record->pid = holder->subject.pid;
        record->count = orders->count;
        record->kept = orders->keep;
        for (unsigned i = 0; i < orders->count; i++)
                record->file_systems[i] = orders->orders[i].file_system;
        record_set_state(record, RECORD_ATTACHING);
}

/* ---- granted, adopted, released ---- */

struct verdict leases_reserve(struct leases *leases, struct holder *holder,
                              const struct lease_orders *orders, struct lease **ret) {
        struct verdict verdict;
        struct lease *lease;
        uint64_t random;
        unsigned mounted;

        assert(orders->count > 0 && orders->count <= PROTOCOL_TARGETS_MAX);
        while (getrandom(&random, sizeof(random), 0) < 0)
                if (errno != EINTR)
                        return verdict_host_failed(-errno, STATUS_NO_TARGET);
        mounted = leases_weigh(leases, orders);
        verdict = quota_charge(leases->quota, holder->subject.uid, QUOTA_MOUNTS, mounted);
        if (verdict.status != STATUS_OK)
                return verdict;

        pthread_mutex_lock(&leases->mutex);
        lease = leases_find_free(leases); /* exists: each lease has a mount, which was charged */
        *lease->record = (struct record){
                .lease = LEASES_ID_HIGHEST | (random & ~(uint64_t)RECORD_INDEX(UINT64_MAX)) |
                         leases_index(leases, lease),
                .mounted = mounted,
        };
        leases_fill(leases, lease, holder, orders);
        lease->busy = true;
        leases_link(leases, holder, lease);
        leases->counts.leases++;
        pthread_mutex_unlock(&leases->mutex);
        *ret = lease;
        return VERDICT_OK;
}

/* Fails if the holder is gone, or if nobody would release a kept lease any more. */
bool leases_publish(struct leases *leases, struct lease *lease) {
        bool keep = lease->record->kept, wanted;

        pthread_mutex_lock(&leases->mutex);
        wanted = !lease->holder->gone && !(keep && leases->stopping);
        if (wanted) {
                if (keep)
                        leases_relink(leases, &leases->kept, lease);
                lease->busy = false;
                record_set_state(lease->record, RECORD_LIVE);
        }
        pthread_mutex_unlock(&leases->mutex);
        return wanted;
}

void leases_drop(struct leases *leases, struct lease *lease) {
        struct record *record = lease->record;
        uid_t uid = record->uid;
        unsigned mounted = record->mounted;

        pthread_mutex_lock(&leases->mutex);
        record_set_state(record, RECORD_FREE);
        record->lease = 0;
        leases_unlink(leases, lease);
        LIST_INSERT_HEAD(&leases->free, lease, entry);
        leases->counts.leases--;
        pthread_mutex_unlock(&leases->mutex);
        quota_return(leases->quota, uid, QUOTA_MOUNTS, mounted);
}

void leases_orphan(struct leases *leases, struct lease *lease) {
        pthread_mutex_lock(&leases->mutex);
        leases_relink(leases, &leases->orphans, lease);
        lease->busy = false;
        pthread_mutex_unlock(&leases->mutex);
}

/* The owner of a busy lease may be writing the ids, without the mutex. */
static uint64_t leases_mount(const struct lease *lease, uint32_t i) {
        return __atomic_load_n(&lease->record->mounts[i], __ATOMIC_ACQUIRE);
}

static bool leases_has_mount(const struct leases *leases, const struct lease *lease,
                             uint64_t mount) {
        if (!lease->holder || lease->holder == &leases->left)
                return false;
        for (uint32_t i = 0; i < lease->record->count; i++)
                if (leases_mount(lease, i) == mount)
                        return true;
        return false;
}

/* With the mutex held; NULL: there is none. */
static const struct lease *leases_find_with_mount(const struct leases *leases, uint64_t mount) {
        for (uint32_t i = 0; i < leases->state.used; i++)
                if (leases_has_mount(leases, &leases->all[i], mount))
                        return &leases->all[i];
        return NULL;
}

/* The lease that the claim describes, if it is waiting for this user; with the mutex held. */
static struct lease *leases_find_left(struct leases *leases, const struct holder *holder,
                                      const struct lease_claim *claim, const uint64_t *mounts) {
        struct lease *lease = leases_find(leases, claim->id);
        const struct record *record;

        if (!lease || lease->holder != &leases->left || lease->busy)
                return NULL;
        record = lease->record;
        if (record->state != RECORD_LIVE || record->kept || record->uid != holder->subject.uid ||
            record->mount_namespace != namespaces_id(holder->namespaces) ||
            record->count != claim->count ||
            memcmp(record->file_systems, claim->file_systems, claim->count) != 0 ||
            memcmp(record->mounts, mounts, claim->count * sizeof(mounts[0])) != 0)
                return NULL;
        /* Reusable ids may belong to mounts of this instance by now. */
        for (uint32_t i = 0; i < claim->count; i++)
                if (leases_find_with_mount(leases, mounts[i]))
                        return NULL;
        return lease;
}

static bool leases_has_hung_up(const struct holder *holder) {
        struct pollfd poller = {.fd = holder->socket, .events = POLLRDHUP};

        return holder->socket >= 0 && poll(&poller, 1, 0) > 0;
}

/*
 * A client that had no answer in time has closed its connection and asks again on another: while no
 * daemon ran, the socket has collected them. What the closed one adopted would end with it.
 */
bool leases_hand_over(struct leases *leases, struct holder *holder, const struct lease_claim *claim,
                      const struct lease_roots *roots) {
        struct lease *lease = NULL;

        pthread_mutex_lock(&leases->mutex);
        if (!holder->gone && !leases->stopping && !leases_has_hung_up(holder))
                lease = leases_find_left(leases, holder, claim, roots->mounts);
        if (lease) {
                for (unsigned i = 0; i < claim->count; i++) {
                        lease->fds[i] = fd_take(&roots->fds[i]);
                        lease->attached |= 1U << i;
                }
                lease->record->pid = holder->subject.pid;
                lease->record->namespace_inode = namespaces_inode(holder->namespaces);
                leases_relink(leases, holder, lease);
        }
        pthread_mutex_unlock(&leases->mutex);
        return lease;
}

/* ---- releasing ---- */

static bool leases_is_kept_for(const struct leases *leases, const struct lease *lease, uid_t uid) {
        return lease->holder == &leases->kept && lease->record->uid == uid;
}

static bool leases_may_take(const struct leases *leases, const struct lease *lease,
                            const struct holder *holder) {
        if (lease->busy || lease->holder == &leases->left)
                return false;
        return lease->holder == holder || holder->subject.trust == TRUST_ADMINISTRATOR ||
               leases_is_kept_for(leases, lease, holder->subject.uid);
}

/*
 * With the mutex held. A lease taken by another holder becomes an orphan meanwhile: its own holder
 * may end before it is released.
 */
static void leases_mark_taken(struct leases *leases, struct holder *holder, struct lease *lease) {
        lease->busy = true;
        record_set_state(lease->record, RECORD_RELEASING);
        if (lease->holder != holder && lease->holder != &leases->kept)
                leases_relink(leases, &leases->orphans, lease);
}

struct lease *leases_take(struct leases *leases, struct holder *holder, uint64_t id) {
        struct lease *lease;

        pthread_mutex_lock(&leases->mutex);
        lease = leases_find(leases, id);
        if (lease && !leases_may_take(leases, lease, holder))
                lease = NULL;
        if (lease)
                leases_mark_taken(leases, holder, lease);
        pthread_mutex_unlock(&leases->mutex);
        return lease;
}

struct lease *leases_take_next(struct leases *leases, struct holder *holder) {
        struct lease *lease;

        pthread_mutex_lock(&leases->mutex);
        LIST_FOREACH(lease, &holder->leases, entry)
                if (!lease->busy)
                        break;
        if (lease)
                leases_mark_taken(leases, holder, lease);
        pthread_mutex_unlock(&leases->mutex);
        return lease;
}

bool leases_find_place(struct leases *leases, const struct holder *holder, uint64_t id,
                       uint64_t *place) {
        const struct lease *lease;
        bool found;

        pthread_mutex_lock(&leases->mutex);
        lease = leases_find(leases, id);
        found = lease && leases_may_take(leases, lease, holder);
        if (found)
                *place = lease->record->mount_namespace;
        pthread_mutex_unlock(&leases->mutex);
        return found;
}

bool leases_are_held(struct leases *leases, const struct holder *holder) {
        bool held;

        pthread_mutex_lock(&leases->mutex);
        held = !LIST_EMPTY(&holder->leases);
        pthread_mutex_unlock(&leases->mutex);
        return held;
}

void leases_give_back(struct leases *leases, struct lease *lease) {
        pthread_mutex_lock(&leases->mutex);
        if (lease->holder->gone)
                leases_relink(leases, &leases->orphans, lease);
        else if (lease->holder != &leases->orphans)
                record_set_state(lease->record, RECORD_LIVE);
        lease->busy = false;
        pthread_mutex_unlock(&leases->mutex);
}

void leases_abandon(struct leases *leases, struct holder *holder) {
        struct lease *lease, *next;

        pthread_mutex_lock(&leases->mutex);
        holder->gone = true;
        for (lease = LIST_FIRST(&holder->leases); lease; lease = next) {
                next = LIST_NEXT(lease, entry);
                if (lease->busy) /* the thread at work on it will see that the holder is gone */
                        continue;
                record_set_state(lease->record, RECORD_RELEASING);
                leases_relink(leases, &leases->orphans, lease);
        }
        pthread_mutex_unlock(&leases->mutex);
}

struct holder *leases_orphans(struct leases *leases) {
        return &leases->orphans;
}

struct holder *leases_kept(struct leases *leases) {
        return &leases->kept;
}

struct templates *leases_templates(const struct leases *leases) {
        return leases->templates;
}

void leases_stop(struct leases *leases) {
        pthread_mutex_lock(&leases->mutex);
        leases->stopping = true;
        pthread_mutex_unlock(&leases->mutex);
}

void leases_freeze(struct leases *leases) {
        pthread_mutex_lock(&leases->mutex);
}

/* ---- queries ---- */

struct leases_counts leases_count(struct leases *leases) {
        struct leases_counts counts;

        pthread_mutex_lock(&leases->mutex);
        counts = leases->counts;
        pthread_mutex_unlock(&leases->mutex);
        return counts;
}

/* With the mutex held, since the owner of a busy lease may close its descriptors. */
static int leases_duplicate_root(const struct lease *lease) {
        for (unsigned i = 0; !lease->busy && i < lease->record->count; i++)
                if (lease->fds[i] >= 0)
                        return fcntl(lease->fds[i], F_DUPFD_CLOEXEC, 3);
        return -EBADF;
}

static void leases_copy_record(const struct lease *lease, struct record *record) {
        _Static_assert(offsetof(struct record, mounts) + sizeof(record->mounts) == sizeof(*record),
                       "the ids come last");
        memcpy(record, lease->record, offsetof(struct record, mounts));
        for (uint32_t i = 0; i < PROTOCOL_TARGETS_MAX; i++)
                record->mounts[i] = leases_mount(lease, i);
}

bool leases_next(struct leases *leases, uint32_t *cursor, struct record *record, int *root) {
        bool found = false;

        *root = -EBADF;
        pthread_mutex_lock(&leases->mutex);
        for (; !found && *cursor < leases->state.used; ++*cursor) {
                const struct lease *lease = &leases->all[*cursor];

                found = lease->holder;
                if (found) {
                        leases_copy_record(lease, record);
                        *root = leases_duplicate_root(lease);
                }
        }
        pthread_mutex_unlock(&leases->mutex);
        return found;
}

uint64_t leases_find_mount(struct leases *leases, uint64_t mount) {
        const struct lease *lease;
        uint64_t found;

        pthread_mutex_lock(&leases->mutex);
        lease = leases_find_with_mount(leases, mount);
        found = lease ? lease->record->lease : 0;
        pthread_mutex_unlock(&leases->mutex);
        return found;
}

bool leases_is_leaving(struct leases *leases, uid_t uid, uint64_t mount) {
        const struct lease *lease;
        bool own, leaving;
        pid_t pid = 0;

        pthread_mutex_lock(&leases->mutex);
        lease = leases_find_with_mount(leases, mount);
        own = lease && lease->record->uid == uid;
        leaving = own && (lease->record->state == RECORD_RELEASING ||
                          lease->holder == &leases->orphans || leases_has_hung_up(lease->holder));
        /* A thread in another mount namespace must open no path: the root there is a client's. */
        if (own && lease->holder->socket >= 0 && namespaces_here() == 0)
                pid = lease->record->pid;
        pthread_mutex_unlock(&leases->mutex);
        return leaving || instance_pid_is_dead(pid);
}

bool leases_is_others(struct leases *leases, uint64_t id, uid_t uid) {
        const struct lease *lease;
        bool others;

        pthread_mutex_lock(&leases->mutex);
        lease = leases_find(leases, id);
        others = lease && !lease->busy && lease->holder != &leases->left &&
                 !leases_is_kept_for(leases, lease, uid);
        pthread_mutex_unlock(&leases->mutex);
        return others;
}

/* ---- leases of the previous instance ---- */

static bool leases_is_among(const struct leases *leases, const struct lease *lease,
                            enum leases_left which) {
        bool live = lease->record->state == RECORD_LIVE, kept = lease->record->kept;

        if (lease->holder != &leases->left || lease->busy)
                return false;
        switch (which) {
        case LEASES_LEFT_DEAD:
                return !live;
        case LEASES_LEFT_UNCLAIMED:
                return !live || !kept;
        case LEASES_LEFT_KEPT:
                return live && kept;
        default:
                return true;
        }
}

bool leases_take_left(struct leases *leases, enum leases_left which, uint32_t *cursor,
                      struct record *record) {
        bool found = false;

        pthread_mutex_lock(&leases->mutex);
        for (; !found && *cursor < leases->state.used; ++*cursor) {
                struct lease *lease = &leases->all[*cursor];

                if (!leases_is_among(leases, lease, which))
                        continue;
                found = lease->busy = true;
                *record = *lease->record;
                /*
                 * A lease that was being attached keeps its state: the next instance must know that
                 * its mounts may still appear.
                 */
                if (record->state == RECORD_LIVE && which != LEASES_LEFT_KEPT)
                        record_set_state(lease->record, RECORD_RELEASING);
        }
        pthread_mutex_unlock(&leases->mutex);
        return found;
}

void leases_keep(struct leases *leases, uint64_t id, int *fds) {
        struct lease *lease;

        pthread_mutex_lock(&leases->mutex);
        lease = leases_find(leases, id);
        assert(lease && lease->busy);
        for (uint32_t i = 0; i < lease->record->count; i++) {
                lease->attached |= (fds[i] >= 0) << i;
                lease->fds[i] = fd_take(&fds[i]);
        }
        leases_relink(leases, &leases->kept, lease);
        lease->busy = false;
        pthread_mutex_unlock(&leases->mutex);
}

void leases_forget(struct leases *leases, uint64_t id) {
        struct lease *lease;

        pthread_mutex_lock(&leases->mutex);
        lease = leases_find(leases, id);
        pthread_mutex_unlock(&leases->mutex);
        assert(lease && lease->busy);
        leases_drop(leases, lease);
}

bool leases_leave(struct leases *leases, const struct record *record, bool out_of_reach) {
        struct lease *lease;
        bool first;

        pthread_mutex_lock(&leases->mutex);
        lease = leases_find(leases, record->lease);
        assert(lease && lease->busy);
        first = out_of_reach && !lease->reported;
        lease->reported |= out_of_reach;
        record_set_state(lease->record, record->state);
        lease->busy = false;
        pthread_mutex_unlock(&leases->mutex);
        return first;
}

/* ---- the whole ---- */

/* The previous instance's leases go to their own list; all others are free. */
static int leases_import(struct leases *leases) {
        for (uint32_t i = leases->state.used; i-- > 0;) {
                struct lease *lease = &leases->all[i];
                int r;

                lease->record = &leases->state.records[i];
                for (unsigned k = 0; k < PROTOCOL_TARGETS_MAX; k++)
                        lease->fds[k] = -EBADF;
                if (lease->record->state == RECORD_FREE) {
                        LIST_INSERT_HEAD(&leases->free, lease, entry);
                        continue;
                }
                r = quota_charge_anyway(leases->quota, lease->record->uid, QUOTA_MOUNTS,
                                        lease->record->mounted);
                if (r < 0)
                        return r;
                leases_link(leases, &leases->left, lease);
                leases->counts.leases++;
        }
        return 0;
}

int leases_new(const struct leases_setup *setup, struct leases **ret) {
        struct leases *leases = calloc(1, sizeof(*leases));
        struct lease *all = calloc(setup->state.capacity, sizeof(*all));
        struct state state = setup->state;
        int r;

        if (!leases || !all) {
                free(leases);
                free(all);
                state_close(&state);
                return -ENOMEM;
        }
        leases->state = state;
        leases->quota = setup->quota;
        leases->templates = setup->templates;
        leases->all = all;
        leases->left.socket = leases->kept.socket = leases->orphans.socket = -EBADF;
        pthread_mutex_init(&leases->mutex, NULL);

        r = leases_import(leases);
        if (r < 0) {
                leases_free(leases);
                return r;
        }
        *ret = leases;
        return 0;
}

struct leases *leases_free(struct leases *leases) {
        if (!leases)
                return NULL;
        state_close(&leases->state);
        pthread_mutex_destroy(&leases->mutex);
        free(leases->all);
        free(leases);
        return NULL;
}
