/* SPDX-License-Identifier: Apache-2.0 */

/* What a predecessor left: adopted by its clients, kept as it was granted over D-Bus, or swept. */

#include "daemon/ledger_private.h"

#include <string.h>

static bool ledger_agrees(const struct ledger *ledger, const struct ledger_owner *owner,
                          const struct record *claim) {
        uint32_t index = RECORD_INDEX(claim->lease);
        const struct record *record;

        if (index >= ledger->capacity)
                return false;
        record = &ledger->records[index];
        return record->lease == claim->lease && ledger->slots[index].owner == &ledger->left &&
               !ledger->slots[index].swept && record->state == RECORD_LIVE &&
               record->origin == RECORD_SOCKET && record->uid == owner->uid &&
               record->count == claim->count &&
               memcmp(record->file_systems, claim->file_systems, claim->count) == 0 &&
               memcmp(record->mounts, claim->mounts, claim->count * sizeof(claim->mounts[0])) == 0;
}

bool ledger_adopt(struct ledger *ledger, struct ledger_owner *owner, const struct record *claim,
                  struct lease *lease) {
        uint32_t index = RECORD_INDEX(claim->lease);
        bool agreed;

        pthread_mutex_lock(&ledger->mutex);
        agreed = !owner->abandoned && ledger_agrees(ledger, owner, claim);
        if (agreed) {
                ledger_relink(ledger, owner, index);
                ledger->slots[index].lease = lease;
                ledger->records[index].pid = owner->pid;
        }
        pthread_mutex_unlock(&ledger->mutex);
        return agreed;
}

static bool ledger_is_to_sweep(const struct ledger *ledger, enum ledger_left which,
                               uint32_t index) {
        const struct record *record = &ledger->records[index];

        if (ledger->slots[index].owner != &ledger->left || ledger->slots[index].swept)
                return false;
        if (record->state != RECORD_LIVE)
                return true;
        return which == LEDGER_LEFT_ALL ||
               (which == LEDGER_LEFT_UNCLAIMED && record->origin == RECORD_SOCKET);
}

bool ledger_take_left(struct ledger *ledger, enum ledger_left which, uint32_t *cursor,
                      struct record *record) {
        bool found = false;

        pthread_mutex_lock(&ledger->mutex);
        for (; !found && *cursor < ledger->file.used; ++*cursor) {
                if (!ledger_is_to_sweep(ledger, which, *cursor))
                        continue;
                found = true;
                *record = ledger->records[*cursor];
                ledger->slots[*cursor].swept = true;
                /* One that is being attached stays so: whoever reads this after our death must
                 * know that it may yet appear. */
                if (record->state == RECORD_LIVE)
                        record_set_state(&ledger->records[*cursor], RECORD_RELEASING);
        }
        pthread_mutex_unlock(&ledger->mutex);
        return found;
}

bool ledger_take_kept(struct ledger *ledger, uint32_t *cursor, struct record *record) {
        bool found = false;

        pthread_mutex_lock(&ledger->mutex);
        for (; !found && *cursor < ledger->file.used; ++*cursor) {
                struct ledger_slot *slot = &ledger->slots[*cursor];

                if (slot->owner != &ledger->left || slot->swept ||
                    ledger->records[*cursor].state != RECORD_LIVE ||
                    ledger->records[*cursor].origin != RECORD_BUS)
                        continue;
                found = slot->swept = true;
                *record = ledger->records[*cursor];
        }
        pthread_mutex_unlock(&ledger->mutex);
        return found;
}

void ledger_keep(struct ledger *ledger, uint64_t id) {
        uint32_t index = ledger_index(ledger, id);

        pthread_mutex_lock(&ledger->mutex);
        ledger_relink(ledger, &ledger->kept, index);
        ledger->slots[index].swept = ledger->slots[index].reported = false;
        pthread_mutex_unlock(&ledger->mutex);
}

bool ledger_holds(struct ledger *ledger, uint64_t mount) {
        bool held = false;

        pthread_mutex_lock(&ledger->mutex);
        for (uint32_t i = 0; !held && i < ledger->file.used; i++)
                held = ledger->slots[i].owner != &ledger->left &&
                       ledger_has_mount(&ledger->records[i], mount);
        pthread_mutex_unlock(&ledger->mutex);
        return held;
}

bool ledger_leave(struct ledger *ledger, const struct record *record, bool out_of_reach) {
        uint32_t index = ledger_index(ledger, record->lease);
        bool first;

        pthread_mutex_lock(&ledger->mutex);
        first = out_of_reach && !ledger->slots[index].reported;
        ledger->slots[index].reported |= out_of_reach;
        ledger->slots[index].swept = false;
        record_set_state(&ledger->records[index], record->state);
        pthread_mutex_unlock(&ledger->mutex);
        return first;
}
