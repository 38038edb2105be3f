/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* For ledger*.c alone: what they share, under its mutex. */

#include "daemon/account.h"
#include "daemon/ledger.h"

#include <pthread.h>

#define LEDGER_NONE UINT32_MAX

struct ledger_slot {
        struct ledger_owner *owner;
        struct lease *lease; /* NULL unless live */
        bool swept;          /* somebody is at it */
        bool reported;       /* as out of reach */
        bool announced;      /* as added */
        uint32_t next;
        uint32_t previous;
};

struct ledger {
        struct ledger_limits limits;
        struct record_file file;
        struct record *records; /* of the file */
        uint32_t capacity;
        struct instance self;

        pthread_mutex_t mutex; /* guards all below, and the records */
        struct ledger_slot *slots;
        uint32_t free; /* those below file.used */
        struct account_book accounts;
        struct ledger_counts counts;
        struct ledger_owner orphans;
        struct ledger_owner left;
        struct ledger_owner kept;
        bool stopping;
        struct changes changes;
};

/* "The limit of N THINGS is reached", and the option that would raise it. */
struct verdict ledger_refuse(unsigned limit, const char *what, const char *option);

/* Where the lease `id`, which there is, has its record and its slot. */
uint32_t ledger_index(const struct ledger *ledger, uint64_t id);

/* All below: with the mutex held. */

/* Gives the lease at `index` to another owner. */
void ledger_relink(struct ledger *ledger, struct ledger_owner *owner, uint32_t index);

bool ledger_has_mount(const struct record *record, uint64_t mount);
