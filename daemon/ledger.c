/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Beside each record stands a slot with what only this process knows. Slots are linked by index,
 * either in the list of the free ones or in that of their owner. The lower bits of a lease's id are
 * its index, the others are random.
 */

#include "daemon/ledger.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define LEDGER_NONE UINT32_MAX

enum {
        LEDGER_INDEX_BITS = 16,
        LEDGER_INDEX_MASK = (1 << LEDGER_INDEX_BITS) - 1,
};

static_assert(RECORD_CAPACITY_MAX <= LEDGER_INDEX_MASK + 1, "an index fits into an id");

/* What one user holds. Kept while anything is held. */
struct ledger_account {
        uid_t uid;
        unsigned connections;
        unsigned mounts;
        unsigned lost_workers;
};

struct ledger_slot {
        struct ledger_owner *owner;
        struct lease *lease; /* NULL unless live */
        uint32_t next;
        uint32_t previous;
};

struct ledger {
        struct ledger_limits limits;
        struct record_file file;
        struct record *records; /* of the file */

        pthread_mutex_t mutex; /* guards all below, and the records */
        struct ledger_slot *slots;
        uint32_t free;
        void *accounts; /* tsearch(3) tree of struct ledger_account */
        struct ledger_counts counts;
        struct ledger_owner orphans;
};

int ledger_new(const struct ledger_limits *limits, struct record_file *file, struct ledger **ret) {
        struct ledger *ledger = calloc(1, sizeof(*ledger));
        struct ledger_slot *slots = calloc(limits->mounts, sizeof(*slots));

        if (!ledger || !slots) {
                free(ledger);
                free(slots);
                record_close(file);
                return -ENOMEM;
        }
        for (uint32_t i = 0; i < limits->mounts; i++)
                slots[i].next = i + 1 < limits->mounts ? i + 1 : LEDGER_NONE;

        ledger->limits = *limits;
        ledger->file = *file;
        ledger->records = file->records;
        ledger->slots = slots;
        ledger->orphans.first = LEDGER_NONE;
        pthread_mutex_init(&ledger->mutex, NULL);
        *ret = ledger;
        return 0;
}

struct ledger *ledger_free(struct ledger *ledger) {
        if (!ledger)
                return NULL;
        record_close(&ledger->file);
        tdestroy(ledger->accounts, free);
        pthread_mutex_destroy(&ledger->mutex);
        free(ledger->slots);
        free(ledger);
        return NULL;
}

/* ---- accounts ---- */

static int ledger_account_compare(const void *a, const void *b) {
        const struct ledger_account *x = a, *y = b;

        return (x->uid > y->uid) - (x->uid < y->uid);
}

/* The account of `uid`, made if there is none. NULL: out of memory. */
static struct ledger_account *ledger_account(struct ledger *ledger, uid_t uid) {
        struct ledger_account key = {.uid = uid}, **found, *account;

        found = tfind(&key, &ledger->accounts, ledger_account_compare);
        if (found)
                return *found;
        account = calloc(1, sizeof(*account));
        if (!account)
                return NULL;
        account->uid = uid;
        if (!tsearch(account, &ledger->accounts, ledger_account_compare)) {
                free(account);
                return NULL;
        }
        return account;
}

static void ledger_account_settle(struct ledger *ledger, struct ledger_account *account) {
        if (account->connections > 0 || account->mounts > 0 || account->lost_workers > 0)
                return;
        tdelete(account, &ledger->accounts, ledger_account_compare);
        free(account);
}

static struct verdict ledger_refuse(unsigned limit, const char *what, const char *option) {
        struct verdict verdict = verdict_refuse(STATUS_LIMIT_EXCEEDED, STATUS_NO_TARGET);

        snprintf(verdict.text, sizeof(verdict.text),
                 "the limit of %u %s is reached: release some, or raise mountatd's --%s", limit,
                 what, option);
        return verdict;
}

/* ---- connections ---- */

static struct verdict ledger_admit_connection(const struct ledger *ledger,
                                              const struct ledger_account *account) {
        const struct ledger_limits *limits = &ledger->limits;

        if (account->connections >= limits->connections_per_user)
                return ledger_refuse(limits->connections_per_user, "connections per user",
                                     "max-connections-per-user");
        if (ledger->counts.connections >= limits->connections)
                return ledger_refuse(limits->connections, "connections", "max-connections");
        return VERDICT_OK;
}

struct verdict ledger_connect(struct ledger *ledger, uid_t uid, pid_t pid,
                              struct ledger_owner *owner) {
        struct verdict verdict = verdict_host_failed(-ENOMEM, STATUS_NO_TARGET);
        struct ledger_account *account;

        pthread_mutex_lock(&ledger->mutex);
        account = ledger_account(ledger, uid);
        if (account) {
                verdict = ledger_admit_connection(ledger, account);
                if (verdict.status == STATUS_OK) {
                        account->connections++;
                        ledger->counts.connections++;
                        *owner =
                                (struct ledger_owner){.uid = uid, .pid = pid, .first = LEDGER_NONE};
                }
                ledger_account_settle(ledger, account);
        }
        pthread_mutex_unlock(&ledger->mutex);
        return verdict;
}

void ledger_disconnect(struct ledger *ledger, struct ledger_owner *owner) {
        struct ledger_account *account;

        pthread_mutex_lock(&ledger->mutex);
        assert(owner->first == LEDGER_NONE);
        account = ledger_account(ledger, owner->uid);
        account->connections--;
        ledger->counts.connections--;
        ledger_account_settle(ledger, account);
        pthread_mutex_unlock(&ledger->mutex);
}

void ledger_abandon(struct ledger *ledger, struct ledger_owner *owner) {
        pthread_mutex_lock(&ledger->mutex);
        owner->abandoned = true;
        pthread_mutex_unlock(&ledger->mutex);
}

/* ---- attempts, and the workers that they cost ---- */

static struct verdict ledger_admit_attempt(const struct ledger *ledger,
                                           const struct ledger_account *account) {
        const struct ledger_limits *limits = &ledger->limits;

        if (account->lost_workers >= limits->lost_workers_per_user)
                return ledger_refuse(limits->lost_workers_per_user,
                                     "workers stuck on file systems of one user",
                                     "max-lost-workers-per-user");
        if (ledger->counts.lost_workers >= limits->lost_workers && account->lost_workers > 0)
                return ledger_refuse(limits->lost_workers, "workers stuck on file systems",
                                     "max-lost-workers");
        if (ledger->counts.attempts >= limits->attempts)
                return ledger_refuse(limits->attempts, "mount requests at a time", "workers");
        return VERDICT_OK;
}

struct verdict ledger_begin_attempt(struct ledger *ledger, const struct ledger_owner *owner,
                                    bool *local_only) {
        struct verdict verdict;

        pthread_mutex_lock(&ledger->mutex);
        verdict = ledger_admit_attempt(ledger, ledger_account(ledger, owner->uid));
        if (verdict.status == STATUS_OK)
                ledger->counts.attempts++;
        *local_only = ledger->counts.lost_workers >= ledger->limits.lost_workers;
        pthread_mutex_unlock(&ledger->mutex);
        return verdict;
}

void ledger_end_attempt(struct ledger *ledger) {
        pthread_mutex_lock(&ledger->mutex);
        ledger->counts.attempts--;
        pthread_mutex_unlock(&ledger->mutex);
}

void ledger_lose_worker(struct ledger *ledger, const struct ledger_owner *owner) {
        pthread_mutex_lock(&ledger->mutex);
        ledger_account(ledger, owner->uid)->lost_workers++; /* exists: the owner is connected */
        ledger->counts.lost_workers++;
        pthread_mutex_unlock(&ledger->mutex);
}

void ledger_regain_worker(struct ledger *ledger, const struct ledger_owner *owner) {
        pthread_mutex_lock(&ledger->mutex);
        ledger_account(ledger, owner->uid)->lost_workers--;
        ledger->counts.lost_workers--;
        pthread_mutex_unlock(&ledger->mutex);
}

/* ---- leases ---- */

static uint32_t ledger_index(const struct ledger *ledger, uint64_t id) {
        uint32_t index = id & LEDGER_INDEX_MASK;

        assert(index < ledger->limits.mounts && ledger->records[index].lease == id);
        return index;
}

static void ledger_link(struct ledger *ledger, struct ledger_owner *owner, uint32_t index) {
        struct ledger_slot *slot = &ledger->slots[index];

        slot->owner = owner;
        slot->previous = LEDGER_NONE;
        slot->next = owner->first;
        if (owner->first != LEDGER_NONE)
                ledger->slots[owner->first].previous = index;
        owner->first = index;
}

static void ledger_unlink(struct ledger *ledger, uint32_t index) {
        struct ledger_slot *slot = &ledger->slots[index];

        if (slot->previous != LEDGER_NONE)
                ledger->slots[slot->previous].next = slot->next;
        else
                slot->owner->first = slot->next;
        if (slot->next != LEDGER_NONE)
                ledger->slots[slot->next].previous = slot->previous;
        slot->owner = NULL;
}

static uint64_t ledger_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_BOOTTIME, &now);
        return (uint64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static struct verdict ledger_admit_mounts(const struct ledger *ledger,
                                          const struct ledger_account *account, unsigned count) {
        const struct ledger_limits *limits = &ledger->limits;

        if (account->mounts + count > limits->mounts_per_user)
                return ledger_refuse(limits->mounts_per_user, "mounts per user",
                                     "max-mounts-per-user");
        if (ledger->counts.mounts + count > limits->mounts)
                return ledger_refuse(limits->mounts, "mounts", "max-mounts");
        return VERDICT_OK;
}

/* With the mutex held, and room made sure of. */
static uint32_t ledger_fill(struct ledger *ledger, struct ledger_owner *owner, uint64_t random,
                            unsigned count, const uint8_t *file_systems) {
        uint32_t index = ledger->free;
        struct record *record = &ledger->records[index];

        ledger->free = ledger->slots[index].next;
        ledger_link(ledger, owner, index);
        *record = (struct record){
                .lease = (random & ~(uint64_t)LEDGER_INDEX_MASK) | index,
                .granted = ledger_now(),
                .uid = owner->uid,
                .pid = owner->pid,
                .count = count,
        };
        memcpy(record->file_systems, file_systems, count);
        record_set_state(&ledger->records[index], RECORD_ATTACHING);
        return index;
}

struct verdict ledger_reserve(struct ledger *ledger, struct ledger_owner *owner, unsigned count,
                              const uint8_t *file_systems, uint64_t *id) {
        struct ledger_account *account;
        struct verdict verdict;
        uint64_t random = 0;

        assert(count > 0 && count <= PROTOCOL_TARGETS_MAX);
        while (random >> LEDGER_INDEX_BITS == 0)
                if (getrandom(&random, sizeof(random), 0) < 0 && errno != EINTR)
                        return verdict_host_failed(-errno, STATUS_NO_TARGET);

        pthread_mutex_lock(&ledger->mutex);
        account = ledger_account(ledger, owner->uid); /* exists: the owner is connected */
        verdict = ledger_admit_mounts(ledger, account, count);
        if (verdict.status == STATUS_OK) {
                account->mounts += count;
                ledger->counts.mounts += count;
                ledger->counts.leases++;
                *id = ledger->records[ledger_fill(ledger, owner, random, count, file_systems)]
                              .lease;
        }
        pthread_mutex_unlock(&ledger->mutex);
        return verdict;
}

void ledger_record_mount(struct ledger *ledger, uint64_t id, unsigned index, uint64_t mount) {
        struct record *record = &ledger->records[ledger_index(ledger, id)];

        assert(index < record->count);
        __atomic_store_n(&record->mounts[index], mount, __ATOMIC_RELEASE);
}

bool ledger_publish(struct ledger *ledger, uint64_t id, struct lease *lease) {
        uint32_t index = ledger_index(ledger, id);
        bool wanted;

        pthread_mutex_lock(&ledger->mutex);
        wanted = !ledger->slots[index].owner->abandoned;
        if (wanted) {
                ledger->slots[index].lease = lease;
                record_set_state(&ledger->records[index], RECORD_LIVE);
        }
        pthread_mutex_unlock(&ledger->mutex);
        return wanted;
}

/* The owner's live lease `id`, or its first live one; LEDGER_NONE if it has none such. */
static uint32_t ledger_find(struct ledger *ledger, struct ledger_owner *owner, uint64_t id) {
        uint32_t index;

        if (id == 0) {
                for (index = owner->first; index != LEDGER_NONE; index = ledger->slots[index].next)
                        if (ledger->slots[index].lease)
                                break;
                return index;
        }
        index = id & LEDGER_INDEX_MASK;
        if (index >= ledger->limits.mounts || ledger->records[index].lease != id ||
            ledger->slots[index].owner != owner || !ledger->slots[index].lease)
                return LEDGER_NONE;
        return index;
}

struct lease *ledger_take(struct ledger *ledger, struct ledger_owner *owner, uint64_t id) {
        struct lease *lease = NULL;
        uint32_t index;

        pthread_mutex_lock(&ledger->mutex);
        index = ledger_find(ledger, owner, id);
        if (index != LEDGER_NONE) {
                lease = ledger->slots[index].lease;
                ledger->slots[index].lease = NULL;
                record_set_state(&ledger->records[index], RECORD_RELEASING);
        }
        pthread_mutex_unlock(&ledger->mutex);
        return lease;
}

void ledger_forget(struct ledger *ledger, uint64_t id) {
        uint32_t index = ledger_index(ledger, id);
        struct record *record = &ledger->records[index];
        struct ledger_account *account;

        pthread_mutex_lock(&ledger->mutex);
        account = ledger_account(ledger, record->uid);
        account->mounts -= record->count;
        ledger_account_settle(ledger, account);
        ledger->counts.mounts -= record->count;
        ledger->counts.leases--;

        record_set_state(&ledger->records[index], RECORD_FREE);
        record->lease = 0;
        ledger_unlink(ledger, index);
        ledger->slots[index].next = ledger->free;
        ledger->free = index;
        pthread_mutex_unlock(&ledger->mutex);
}

void ledger_orphan(struct ledger *ledger, uint64_t id, struct lease *lease) {
        uint32_t index = ledger_index(ledger, id);

        pthread_mutex_lock(&ledger->mutex);
        ledger_unlink(ledger, index);
        ledger_link(ledger, &ledger->orphans, index);
        ledger->slots[index].lease = lease;
        record_set_state(&ledger->records[index], RECORD_LIVE);
        pthread_mutex_unlock(&ledger->mutex);
}

struct ledger_owner *ledger_orphans(struct ledger *ledger) {
        return &ledger->orphans;
}

struct ledger_counts ledger_count(struct ledger *ledger) {
        struct ledger_counts counts;

        pthread_mutex_lock(&ledger->mutex);
        counts = ledger->counts;
        pthread_mutex_unlock(&ledger->mutex);
        return counts;
}
