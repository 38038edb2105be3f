/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What each user holds: one account a uid, kept while anything is held. The ledger's own, guarded
 * by its mutex.
 */

#include <sys/types.h>

struct account {
        uid_t uid;
        unsigned connections;
        unsigned mounts;
        unsigned attempts; /* under way, those of lost workers among them */
        unsigned lost_workers;
};

/* All accounts; zero-initialised it is empty. */
struct account_book {
        void *tree; /* of tsearch(3) */
};

/* The account of `uid`, made if there is none. NULL: out of memory. */
struct account *account_open(struct account_book *book, uid_t uid);

/* Closes the account if nothing is held any more; call it after each reduction. */
void account_settle(struct account_book *book, struct account *account);

void account_book_free(struct account_book *book);
