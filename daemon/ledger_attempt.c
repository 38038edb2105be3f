/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Attempts at what a file system's server can make a worker wait for: who may have another one, and
 * the workers that they have cost.
 */

#include "daemon/ledger_private.h"

/* How many attempts there may be on workers that aren't lost: one of those is for all else. */
static unsigned ledger_room_for_attempts(const struct ledger *ledger) {
        const struct ledger_limits *limits = &ledger->limits;
        unsigned all = limits->workers + limits->lost_workers, lost = ledger->counts.lost_workers;
        unsigned able = all - lost < limits->workers ? all - lost : limits->workers;

        if (limits->workers == 1) /* then nothing can be kept free, but it is replaced */
                return lost < limits->lost_workers;
        return able > 0 ? able - 1 : 0;
}

static enum ledger_turn ledger_judge_attempt(const struct ledger *ledger,
                                             const struct account *account,
                                             struct verdict *refusal) {
        const struct ledger_limits *limits = &ledger->limits;
        const struct ledger_counts *counts = &ledger->counts;
        unsigned room = ledger_room_for_attempts(ledger);

        if (account->lost_workers >= limits->lost_workers_per_user) {
                *refusal = ledger_refuse(limits->lost_workers_per_user,
                                         "workers stuck on file systems of one user",
                                         "max-lost-workers-per-user");
                return LEDGER_NEVER;
        }
        if (room == 0 ||
            (counts->lost_workers >= limits->lost_workers && account->lost_workers > 0)) {
                *refusal = ledger_refuse(limits->lost_workers, "workers stuck on file systems",
                                         "max-lost-workers");
                return LEDGER_NEVER;
        }
        if (account->attempts >= limits->lost_workers_per_user ||
            counts->attempts >= room + counts->lost_attempts)
                return LEDGER_LATER;
        return LEDGER_NOW;
}

enum ledger_turn ledger_begin_attempt(struct ledger *ledger, struct ledger_owner *owner,
                                      struct verdict *refusal) {
        struct account *account;
        enum ledger_turn turn;

        pthread_mutex_lock(&ledger->mutex);
        account = account_open(&ledger->accounts, owner->uid); /* exists: the owner is connected */
        turn = owner->attempting ? LEDGER_NOW : ledger_judge_attempt(ledger, account, refusal);
        if (turn == LEDGER_NOW && !owner->attempting) {
                owner->attempting = true;
                account->attempts++;
                ledger->counts.attempts++;
        }
        pthread_mutex_unlock(&ledger->mutex);
        return turn;
}

void ledger_end_attempt(struct ledger *ledger, struct ledger_owner *owner) {
        pthread_mutex_lock(&ledger->mutex);
        if (owner->attempting) {
                account_open(&ledger->accounts, owner->uid)->attempts--;
                ledger->counts.attempts--;
                ledger->counts.lost_attempts -= owner->lost_attempt;
                owner->attempting = owner->lost_attempt = false;
        }
        pthread_mutex_unlock(&ledger->mutex);
}

unsigned ledger_count_attempts(struct ledger *ledger, const struct ledger_owner *owner) {
        unsigned attempts;

        pthread_mutex_lock(&ledger->mutex);
        attempts = account_open(&ledger->accounts, owner->uid)->attempts;
        pthread_mutex_unlock(&ledger->mutex);
        return attempts;
}

bool ledger_is_local_only(struct ledger *ledger) {
        bool local_only;

        pthread_mutex_lock(&ledger->mutex);
        local_only = ledger->counts.lost_workers >= ledger->limits.lost_workers;
        pthread_mutex_unlock(&ledger->mutex);
        return local_only;
}

void ledger_lose_worker(struct ledger *ledger, struct ledger_owner *owner) {
        pthread_mutex_lock(&ledger->mutex);
        if (owner) { /* connected: its account exists, and stays */
                account_open(&ledger->accounts, owner->uid)->lost_workers++;
                owner->lost_attempt = owner->attempting;
                ledger->counts.lost_attempts += owner->attempting;
        }
        ledger->counts.lost_workers++;
        pthread_mutex_unlock(&ledger->mutex);
}

void ledger_regain_worker(struct ledger *ledger, struct ledger_owner *owner) {
        pthread_mutex_lock(&ledger->mutex);
        if (owner)
                account_open(&ledger->accounts, owner->uid)->lost_workers--;
        ledger->counts.lost_workers--;
        pthread_mutex_unlock(&ledger->mutex);
}
