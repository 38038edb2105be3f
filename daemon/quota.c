/* SPDX-License-Identifier: Apache-2.0 */

/* Users are in a balanced tree of the C library, by uid, while they are charged for anything. */

#include "daemon/quota.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct quota_user {
        uid_t uid;
        unsigned used[QUOTA_KINDS];
};

struct quota {
        struct quota_limit limits[QUOTA_KINDS];
        pthread_mutex_t mutex; /* guards everything below */
        unsigned used[QUOTA_KINDS];
        void *users; /* of tsearch(3) */
};

static const struct quota_words {
        const char *what, *remedy, *what_per_user, *remedy_per_user;
} quota_words[QUOTA_KINDS] = {
        [QUOTA_CONNECTIONS] = {"connections", "close some, or raise mountatd's --max-connections",
                               "connections per user",
                               "close some, or raise mountatd's --max-connections-per-user"},
        [QUOTA_REFUSALS] = {"refused connections still being closed", "try again later",
                            "refused connections per user still being closed", "try again later"},
        [QUOTA_MOUNTS] = {"mounts", "release some, or raise mountatd's --max-mounts",
                          "mounts per user",
                          "release some, or raise mountatd's --max-mounts-per-user"},
        [QUOTA_CALLS] = {"pending calls", "try again", "pending calls per user",
                         "wait for their replies"},
        [QUOTA_NAMESPACES] = {"connections in clients' mount namespaces",
                              "close some, or raise mountatd's --max-connections",
                              "connections per user in clients' mount namespaces",
                              "close some, or raise mountatd's --max-namespaces-per-user"},
};

static int quota_compare(const void *a, const void *b) {
        const struct quota_user *x = a, *y = b;

        return (x->uid > y->uid) - (x->uid < y->uid);
}

struct quota *quota_new(const struct quota_limit limits[QUOTA_KINDS]) {
        struct quota *quota = calloc(1, sizeof(*quota));

        if (!quota)
                return NULL;
        memcpy(quota->limits, limits, sizeof(quota->limits));
        pthread_mutex_init(&quota->mutex, NULL);
        return quota;
}

struct quota *quota_free(struct quota *quota) {
        if (!quota)
                return NULL;
        tdestroy(quota->users, free);
        pthread_mutex_destroy(&quota->mutex);
        free(quota);
        return NULL;
}

const struct quota_limit *quota_limit(const struct quota *quota, enum quota_kind kind) {
        return &quota->limits[kind];
}

/* The user's entry, made if there is none. NULL: out of memory. With the mutex held. */
static struct quota_user *quota_user(struct quota *quota, uid_t uid) {
        struct quota_user key = {.uid = uid}, **found, *user;

        found = tfind(&key, &quota->users, quota_compare);
        if (found)
                return *found;
        user = calloc(1, sizeof(*user));
        if (!user)
                return NULL;
        user->uid = uid;
        if (!tsearch(user, &quota->users, quota_compare)) {
                free(user);
                return NULL;
        }
        return user;
}

/* With the mutex held, after each reduction: frees a user without charges. */
static void quota_settle(struct quota *quota, struct quota_user *user) {
        for (int kind = 0; kind < QUOTA_KINDS; kind++)
                if (user->used[kind] > 0)
                        return;
        tdelete(user, &quota->users, quota_compare);
        free(user);
}

static bool quota_has_room(unsigned used, unsigned limit, unsigned amount) {
        return used <= limit && amount <= limit - used;
}

static struct verdict quota_refuse(unsigned limit, const char *what, const char *remedy) {
        struct verdict verdict = verdict_refuse(STATUS_LIMIT_EXCEEDED, STATUS_NO_TARGET);

        snprintf(verdict.text, sizeof(verdict.text), "the limit of %u %s is reached: %s", limit,
                 what, remedy);
        return verdict;
}

static struct verdict quota_judge(const struct quota *quota, const struct quota_user *user,
                                  enum quota_kind kind, unsigned amount) {
        const struct quota_limit *limit = &quota->limits[kind];
        const struct quota_words *words = &quota_words[kind];

        if (!quota_has_room(user->used[kind], limit->per_user, amount))
                return quota_refuse(limit->per_user, words->what_per_user, words->remedy_per_user);
        if (!quota_has_room(quota->used[kind], limit->total, amount))
                return quota_refuse(limit->total, words->what, words->remedy);
        return VERDICT_OK;
}

struct verdict quota_charge(struct quota *quota, uid_t uid, enum quota_kind kind, unsigned amount) {
        struct quota_user *user;
        struct verdict verdict;

        pthread_mutex_lock(&quota->mutex);
        user = quota_user(quota, uid);
        if (user) {
                verdict = quota_judge(quota, user, kind, amount);
                if (verdict.status == STATUS_OK) {
                        user->used[kind] += amount;
                        quota->used[kind] += amount;
                }
                quota_settle(quota, user);
        } else
                verdict = verdict_host_failed(-ENOMEM, STATUS_NO_TARGET);
        pthread_mutex_unlock(&quota->mutex);
        return verdict;
}

int quota_charge_anyway(struct quota *quota, uid_t uid, enum quota_kind kind, unsigned amount) {
        struct quota_user *user;

        pthread_mutex_lock(&quota->mutex);
        user = quota_user(quota, uid);
        if (user) {
                user->used[kind] += amount;
                quota->used[kind] += amount;
        }
        pthread_mutex_unlock(&quota->mutex);
        return user ? 0 : -ENOMEM;
}

void quota_return(struct quota *quota, uid_t uid, enum quota_kind kind, unsigned amount) {
        struct quota_user *user;

        pthread_mutex_lock(&quota->mutex);
        user = quota_user(quota, uid); /* exists: it was charged */
        assert(user && user->used[kind] >= amount);
        user->used[kind] -= amount;
        quota->used[kind] -= amount;
        quota_settle(quota, user);
        pthread_mutex_unlock(&quota->mutex);
}

unsigned quota_used(struct quota *quota, enum quota_kind kind) {
        unsigned used;

        pthread_mutex_lock(&quota->mutex);
        used = quota->used[kind];
        pthread_mutex_unlock(&quota->mutex);
        return used;
}
