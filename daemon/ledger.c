/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Beside each record stands a slot with what only this process knows. Slots are linked by index,
 * either in the list of the free ones or in that of their owner. The lower bits of a lease's id are
 * its index, the others are random.
 */

#include "daemon/ledger_private.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* ---- connections ---- */

struct verdict ledger_refuse(unsigned limit, const char *what, const char *option) {
        struct verdict verdict = verdict_refuse(STATUS_LIMIT_EXCEEDED, STATUS_NO_TARGET);

        snprintf(verdict.text, sizeof(verdict.text),
                 "the limit of %u %s is reached: release some, or raise mountatd's --%s", limit,
                 what, option);
        return verdict;
}

static struct verdict ledger_admit_connection(const struct ledger *ledger,
                                              const struct account *account) {
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
        struct account *account;

        pthread_mutex_lock(&ledger->mutex);
        account = account_open(&ledger->accounts, uid);
        if (account) {
                verdict = ledger_admit_connection(ledger, account);
                if (verdict.status == STATUS_OK) {
                        account->connections++;
                        ledger->counts.connections++;
                        *owner =
                                (struct ledger_owner){.uid = uid, .pid = pid, .first = LEDGER_NONE};
                }
                account_settle(&ledger->accounts, account);
        }
        pthread_mutex_unlock(&ledger->mutex);
        return verdict;
}

void ledger_disconnect(struct ledger *ledger, struct ledger_owner *owner) {
        struct account *account;

        pthread_mutex_lock(&ledger->mutex);
        assert(owner->first == LEDGER_NONE);
        account = account_open(&ledger->accounts, owner->uid);
        account->connections--;
        ledger->counts.connections--;
        account_settle(&ledger->accounts, account);
        pthread_mutex_unlock(&ledger->mutex);
}

void ledger_abandon(struct ledger *ledger, struct ledger_owner *owner) {
        pthread_mutex_lock(&ledger->mutex);
        owner->abandoned = true;
        pthread_mutex_unlock(&ledger->mutex);
}

/* ---- changes ---- */

static void ledger_note(struct ledger *ledger, uint32_t index, enum change change) {
        const struct record *record = &ledger->records[index];

        changes_note(&ledger->changes, &(struct change_event){
                                               .lease = record->lease,
                                               .uid = record->uid,
                                               .origin = record->origin,
                                               .change = change,
                                       });
}

/* Why the lease at `index` goes. */
static enum change ledger_reason(const struct ledger *ledger, uint32_t index) {
        const struct ledger_owner *owner = ledger->slots[index].owner;

        if (owner == &ledger->left)
                return CHANGE_VANISHED;
        if (ledger->stopping)
                return CHANGE_STOPPED;
        return owner->abandoned ? CHANGE_DISCONNECTED : CHANGE_UNMOUNTED;
}

void ledger_watch(struct ledger *ledger, bool watched) {
        pthread_mutex_lock(&ledger->mutex);
        changes_watch(&ledger->changes, watched);
        pthread_mutex_unlock(&ledger->mutex);
}

bool ledger_next_change(struct ledger *ledger, struct change_event *event) {
        bool found;

        pthread_mutex_lock(&ledger->mutex);
        found = changes_next(&ledger->changes, event);
        pthread_mutex_unlock(&ledger->mutex);
        return found;
}

/* ---- leases ---- */

uint32_t ledger_index(const struct ledger *ledger, uint64_t id) {
        uint32_t index = RECORD_INDEX(id);

        assert(index < ledger->capacity && ledger->records[index].lease == id);
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
        ledger->counts.left += owner == &ledger->left;
        ledger->counts.orphans += owner == &ledger->orphans;
}

static void ledger_unlink(struct ledger *ledger, uint32_t index) {
        struct ledger_slot *slot = &ledger->slots[index];

        ledger->counts.left -= slot->owner == &ledger->left;
        ledger->counts.orphans -= slot->owner == &ledger->orphans;
        if (slot->previous != LEDGER_NONE)
                ledger->slots[slot->previous].next = slot->next;
        else
                slot->owner->first = slot->next;
        if (slot->next != LEDGER_NONE)
                ledger->slots[slot->next].previous = slot->previous;
        slot->owner = NULL;
}

void ledger_relink(struct ledger *ledger, struct ledger_owner *owner, uint32_t index) {
        ledger_unlink(ledger, index);
        ledger_link(ledger, owner, index);
}

static uint64_t ledger_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_BOOTTIME, &now);
        return (uint64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static struct verdict ledger_admit_mounts(const struct ledger *ledger,
                                          const struct account *account, unsigned count) {
        const struct ledger_limits *limits = &ledger->limits;

        if (account->mounts + count > limits->mounts_per_user)
                return ledger_refuse(limits->mounts_per_user, "mounts per user",
                                     "max-mounts-per-user");
        if (ledger->counts.mounts + count > limits->mounts)
                return ledger_refuse(limits->mounts, "mounts", "max-mounts");
        return VERDICT_OK;
}

/* One that was used before, so that a daemon has no more of them in memory than it had at once. */
static uint32_t ledger_find_free(struct ledger *ledger) {
        uint32_t index = ledger->free;

        if (index == LEDGER_NONE)
                return ledger->file.used++;
        ledger->free = ledger->slots[index].next;
        return index;
}

/* With the mutex held, and room made sure of. */
static uint32_t ledger_fill(struct ledger *ledger, struct ledger_owner *owner, uint64_t random,
                            unsigned count, const uint8_t *file_systems) {
        uint32_t index = ledger_find_free(ledger);
        struct record *record = &ledger->records[index];

        ledger_link(ledger, owner, index);
        *record = (struct record){
                .lease = (random & ~(uint64_t)RECORD_INDEX(UINT64_MAX)) | index,
                .granted = ledger_now(),
                .writer_start_time = ledger->self.start_time,
                .writer_pid = ledger->self.pid,
                .uid = owner->uid,
                .pid = owner->pid,
                .count = count,
                .origin = owner->standing == LEDGER_CONNECTION ? RECORD_SOCKET : RECORD_BUS,
        };
        memcpy(record->file_systems, file_systems, count);
        record_set_state(&ledger->records[index], RECORD_ATTACHING);
        return index;
}

struct verdict ledger_reserve(struct ledger *ledger, struct ledger_owner *owner, unsigned count,
                              const uint8_t *file_systems, uint64_t *id) {
        struct account *account;
        struct verdict verdict;
        uint64_t random = 0;

        assert(count > 0 && count <= PROTOCOL_TARGETS_MAX);
        while (random <= RECORD_INDEX(UINT64_MAX))
                if (getrandom(&random, sizeof(random), 0) < 0 && errno != EINTR)
                        return verdict_host_failed(-errno, STATUS_NO_TARGET);

        pthread_mutex_lock(&ledger->mutex);
        account = account_open(&ledger->accounts, owner->uid); /* exists: the owner is connected */
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

/* Not if nobody waits for it any more, nor a new one that nobody would release any more. */
static bool ledger_is_wanted(const struct ledger *ledger, const struct ledger_slot *slot) {
        bool too_late =
                ledger->stopping && !slot->announced && slot->owner->standing != LEDGER_CONNECTION;

        return !slot->owner->abandoned && !too_late;
}

bool ledger_publish(struct ledger *ledger, uint64_t id, struct lease *lease) {
        uint32_t index = ledger_index(ledger, id);
        struct ledger_slot *slot = &ledger->slots[index];
        bool wanted;

        pthread_mutex_lock(&ledger->mutex);
        wanted = ledger_is_wanted(ledger, slot);
        if (wanted) {
                if (slot->owner->standing != LEDGER_CONNECTION)
                        ledger_relink(ledger, &ledger->kept, index);
                slot->lease = lease;
                record_set_state(&ledger->records[index], RECORD_LIVE);
                if (!slot->announced)
                        ledger_note(ledger, index, CHANGE_ADDED);
                slot->announced = true;
        }
        pthread_mutex_unlock(&ledger->mutex);
        return wanted;
}

static bool ledger_may_take(const struct ledger *ledger, const struct ledger_owner *owner,
                            uint32_t index) {
        const struct ledger_slot *slot = &ledger->slots[index];

        switch (owner->standing) {
        case LEDGER_TRUSTED_CALL:
                return true;
        case LEDGER_CALL:
                return slot->owner == &ledger->kept && ledger->records[index].uid == owner->uid &&
                       ledger->records[index].origin == RECORD_BUS;
        default:
                return slot->owner == owner;
        }
}

/* The owner's live lease `id`, or its first live one; LEDGER_NONE if it has none such. */
static uint32_t ledger_find(const struct ledger *ledger, const struct ledger_owner *owner,
                            uint64_t id) {
        uint32_t index;

        if (id == 0) {
                for (index = owner->first; index != LEDGER_NONE; index = ledger->slots[index].next)
                        if (ledger->slots[index].lease)
                                break;
                return index;
        }
        index = RECORD_INDEX(id);
        if (index >= ledger->capacity || ledger->records[index].lease != id ||
            !ledger->slots[index].lease || !ledger_may_take(ledger, owner, index))
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
                if (owner->standing == LEDGER_TRUSTED_CALL) /* its holder may end before it does */
                        ledger_relink(ledger, &ledger->kept, index);
                record_set_state(&ledger->records[index], RECORD_RELEASING);
        }
        pthread_mutex_unlock(&ledger->mutex);
        return lease;
}

void ledger_forget(struct ledger *ledger, uint64_t id) {
        uint32_t index = ledger_index(ledger, id);
        struct record *record = &ledger->records[index];
        struct account *account;

        pthread_mutex_lock(&ledger->mutex);
        account = account_open(&ledger->accounts, record->uid);
        account->mounts -= record->count;
        account_settle(&ledger->accounts, account);
        ledger->counts.mounts -= record->count;
        ledger->counts.leases--;
        if (ledger->slots[index].announced)
                ledger_note(ledger, index, ledger_reason(ledger, index));
        record_set_state(&ledger->records[index], RECORD_FREE);
        record->lease = 0;
        ledger_unlink(ledger, index);
        ledger->slots[index] = (struct ledger_slot){.next = ledger->free};
        ledger->free = index;
        pthread_mutex_unlock(&ledger->mutex);
}

void ledger_orphan(struct ledger *ledger, uint64_t id, struct lease *lease) {
        uint32_t index = ledger_index(ledger, id);

        pthread_mutex_lock(&ledger->mutex);
        ledger_relink(ledger, &ledger->orphans, index);
        ledger->slots[index].lease = lease;
        record_set_state(&ledger->records[index], RECORD_RELEASING);
        pthread_mutex_unlock(&ledger->mutex);
}

struct ledger_owner *ledger_orphans(struct ledger *ledger) {
        return &ledger->orphans;
}

struct ledger_owner *ledger_kept(struct ledger *ledger) {
        return &ledger->kept;
}

bool ledger_is_others(struct ledger *ledger, uint64_t id, uid_t uid) {
        const struct ledger_owner user = {
                .uid = uid, .standing = LEDGER_CALL, .first = LEDGER_NONE};
        const struct ledger_owner anybody = {.standing = LEDGER_TRUSTED_CALL, .first = LEDGER_NONE};
        bool others;

        pthread_mutex_lock(&ledger->mutex);
        others = ledger_find(ledger, &anybody, id) != LEDGER_NONE &&
                 ledger_find(ledger, &user, id) == LEDGER_NONE;
        pthread_mutex_unlock(&ledger->mutex);
        return others;
}

void ledger_stop(struct ledger *ledger) {
        pthread_mutex_lock(&ledger->mutex);
        ledger->stopping = true;
        pthread_mutex_unlock(&ledger->mutex);
}

/* ---- for those who look on ---- */

bool ledger_next(struct ledger *ledger, uint32_t *cursor, int (*duplicate)(const struct lease *),
                 struct record *record, int *root) {
        bool found = false;

        *root = -EBADF;
        pthread_mutex_lock(&ledger->mutex);
        for (; !found && *cursor < ledger->file.used; ++*cursor) {
                if (ledger->records[*cursor].state == RECORD_FREE)
                        continue;
                found = true;
                *record = ledger->records[*cursor];
                if (ledger->slots[*cursor].lease)
                        *root = duplicate(ledger->slots[*cursor].lease);
        }
        pthread_mutex_unlock(&ledger->mutex);
        return found;
}

bool ledger_has_mount(const struct record *record, uint64_t mount) {
        for (uint32_t i = 0; record->state != RECORD_FREE && i < record->count; i++)
                if (record->mounts[i] == mount)
                        return true;
        return false;
}

uint64_t ledger_find_mount(struct ledger *ledger, uint64_t mount) {
        uint64_t found = 0;

        pthread_mutex_lock(&ledger->mutex);
        for (uint32_t i = 0; found == 0 && i < ledger->file.used; i++)
                if (ledger_has_mount(&ledger->records[i], mount))
                        found = ledger->records[i].lease;
        pthread_mutex_unlock(&ledger->mutex);
        return found;
}

const struct ledger_limits *ledger_limits(const struct ledger *ledger) {
        return &ledger->limits;
}

struct ledger_counts ledger_count(struct ledger *ledger) {
        struct ledger_counts counts;

        pthread_mutex_lock(&ledger->mutex);
        counts = ledger->counts;
        counts.missed = ledger->changes.missed;
        pthread_mutex_unlock(&ledger->mutex);
        return counts;
}

/* ---- the whole ---- */

/* What a predecessor left: each record linked to nobody's list, all others free. */
static int ledger_import(struct ledger *ledger) {
        ledger->free = LEDGER_NONE;
        for (uint32_t i = ledger->file.used; i-- > 0;) {
                const struct record *record = &ledger->records[i];
                struct account *account;

                if (record->state == RECORD_FREE) {
                        ledger->slots[i].next = ledger->free;
                        ledger->free = i;
                        continue;
                }
                account = account_open(&ledger->accounts, record->uid);
                if (!account)
                        return -ENOMEM;
                account->mounts += record->count;
                ledger->counts.mounts += record->count;
                ledger->counts.leases++;
                ledger->slots[i].announced = record->state == RECORD_LIVE; /* by the predecessor */
                ledger_link(ledger, &ledger->left, i);
        }
        return 0;
}

int ledger_new(const struct ledger_limits *limits, struct record_file *file, struct ledger **ret) {
        struct ledger *ledger = calloc(1, sizeof(*ledger));
        struct ledger_slot *slots = calloc(file->capacity, sizeof(*slots));
        int r;

        if (!ledger || !slots) {
                free(ledger);
                free(slots);
                record_close(file);
                return -ENOMEM;
        }
        ledger->limits = *limits;
        ledger->file = *file;
        ledger->records = file->records;
        ledger->capacity = file->capacity;
        ledger->self = file->header->instance;
        ledger->slots = slots;
        ledger->orphans.first = ledger->left.first = ledger->kept.first = LEDGER_NONE;
        pthread_mutex_init(&ledger->mutex, NULL);

        r = ledger_import(ledger);
        if (r < 0) {
                ledger_free(ledger);
                return r;
        }
        *ret = ledger;
        return 0;
}

struct ledger *ledger_free(struct ledger *ledger) {
        if (!ledger)
                return NULL;
        record_close(&ledger->file);
        account_book_free(&ledger->accounts);
        pthread_mutex_destroy(&ledger->mutex);
        free(ledger->slots);
        free(ledger);
        return NULL;
}
