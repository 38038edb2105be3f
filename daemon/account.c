/* SPDX-License-Identifier: Apache-2.0 */

/* The C library's balanced tree, by uid. */

#include "daemon/account.h"

#include <search.h>
#include <stdlib.h>

static int account_compare(const void *a, const void *b) {
        const struct account *x = a, *y = b;

        return (x->uid > y->uid) - (x->uid < y->uid);
}

struct account *account_open(struct account_book *book, uid_t uid) {
        struct account key = {.uid = uid}, **found, *account;

        found = tfind(&key, &book->tree, account_compare);
        if (found)
                return *found;
        account = calloc(1, sizeof(*account));
        if (!account)
                return NULL;
        account->uid = uid;
        if (!tsearch(account, &book->tree, account_compare)) {
                free(account);
                return NULL;
        }
        return account;
}

void account_settle(struct account_book *book, struct account *account) {
        if (account->connections > 0 || account->mounts > 0 || account->attempts > 0 ||
            account->lost_workers > 0)
                return;
        tdelete(account, &book->tree, account_compare);
        free(account);
}

void account_book_free(struct account_book *book) {
        tdestroy(book->tree, free);
        book->tree = NULL;
}
