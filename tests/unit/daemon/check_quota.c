/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/quota.h"

#include "tests/test.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <string.h>

/* All different, so that no kind can be mistaken for another. */
static const struct quota_limit limits[QUOTA_KINDS] = {
        [QUOTA_CONNECTIONS] = {10, 4}, [QUOTA_REFUSALS] = {7, 3},   [QUOTA_MOUNTS] = {100, 40},
        [QUOTA_CALLS] = {5, 2},        [QUOTA_NAMESPACES] = {9, 6},
};

/* The texts of the refusals. */
static const struct {
        const char *total, *per_user;
} texts[QUOTA_KINDS] = {
        [QUOTA_CONNECTIONS] = {"the limit of 10 connections is reached: close some, or raise "
                               "mountatd's --max-connections",
                               "the limit of 4 connections per user is reached: close some, or "
                               "raise mountatd's --max-connections-per-user"},
        [QUOTA_REFUSALS] = {"the limit of 7 refused connections still being closed is reached: "
                            "try again later",
                            "the limit of 3 refused connections per user still being closed is "
                            "reached: try again later"},
        [QUOTA_MOUNTS] = {"the limit of 100 mounts is reached: release some, or raise mountatd's "
                          "--max-mounts",
                          "the limit of 40 mounts per user is reached: release some, or raise "
                          "mountatd's --max-mounts-per-user"},
        [QUOTA_CALLS] = {"the limit of 5 pending calls is reached: try again",
                         "the limit of 2 pending calls per user is reached: wait for their "
                         "replies"},
        [QUOTA_NAMESPACES] = {"the limit of 9 connections in clients' mount namespaces is "
                              "reached: close some, or raise mountatd's --max-connections",
                              "the limit of 6 connections per user in clients' mount namespaces "
                              "is reached: close some, or raise mountatd's "
                              "--max-namespaces-per-user"},
};

static struct quota *quota;

static void start_with(const struct quota_limit *of) {
        quota = quota_new(of);
        ck_assert_ptr_nonnull(quota);
}

static void start(void) {
        start_with(limits);
}

static void end(void) {
        for (enum quota_kind kind = 0; kind < QUOTA_KINDS; kind++)
                ck_assert_uint_eq(quota_used(quota, kind), 0);
        ck_assert_ptr_null(quota_free(quota));
}

static void charges(uid_t uid, enum quota_kind kind, unsigned amount) {
        unsigned used = quota_used(quota, kind);

        ck_assert_uint_eq(quota_charge(quota, uid, kind, amount).status, STATUS_OK);
        ck_assert_uint_eq(quota_used(quota, kind), used + amount);
}

/* With that text, and nothing is charged. */
static void refuses(uid_t uid, enum quota_kind kind, unsigned amount, const char *text) {
        unsigned used = quota_used(quota, kind);
        struct verdict verdict = quota_charge(quota, uid, kind, amount);

        ck_assert_uint_eq(verdict.status, STATUS_LIMIT_EXCEEDED);
        ck_assert_int_eq(verdict.error, 0);
        ck_assert_uint_eq(verdict.target, STATUS_NO_TARGET);
        ck_assert_str_eq(verdict.text, text);
        ck_assert_uint_eq(quota_used(quota, kind), used);
}

#define FOR_ALL(kind) for (enum quota_kind kind = 0; kind < QUOTA_KINDS; kind++)

START_TEST(says_its_limits) {
        start();
        FOR_ALL(kind) {
                ck_assert_uint_eq(quota_limit(quota, kind)->total, limits[kind].total);
                ck_assert_uint_eq(quota_limit(quota, kind)->per_user, limits[kind].per_user);
        }
        end();
        ck_assert_ptr_null(quota_free(NULL));
}
END_TEST

START_TEST(limits_a_user_one_by_one) {
        start();
        FOR_ALL(kind) {
                for (unsigned i = 0; i < limits[kind].per_user; i++)
                        charges(1000, kind, 1);
                refuses(1000, kind, 1, texts[kind].per_user);
                charges(1001, kind, 1); /* another user has room */
                quota_return(quota, 1000, kind, 1);
                charges(1000, kind, 1); /* one more, and only one */
                refuses(1000, kind, 1, texts[kind].per_user);
                quota_return(quota, 1000, kind, limits[kind].per_user);
                quota_return(quota, 1001, kind, 1);
        }
        end();
}
END_TEST

START_TEST(limits_a_user_by_amounts) {
        start();
        FOR_ALL(kind) {
                unsigned limit = limits[kind].per_user;

                refuses(1000, kind, limit + 1, texts[kind].per_user);
                charges(1000, kind, limit - 1);
                refuses(1000, kind, 2, texts[kind].per_user);
                charges(1000, kind, 1);
                charges(1000, kind, 0);
                quota_return(quota, 1000, kind, limit);
                charges(1000, kind, limit);
                quota_return(quota, 1000, kind, limit);
        }
        end();
}
END_TEST

/* Each user takes a full share, until the last one finds less. */
START_TEST(limits_all_together) {
        start();
        FOR_ALL(kind) {
                unsigned total = limits[kind].total, share = limits[kind].per_user, left = total;
                uid_t uid = 1000;

                for (; left > share; left -= share)
                        charges(uid++, kind, share);
                if (left < share)
                        refuses(uid, kind, left + 1, texts[kind].total);
                charges(uid, kind, left);
                refuses(uid + 1, kind, 1, texts[kind].total);
                quota_return(quota, 1000, kind, 1);
                charges(uid + 1, kind, 1);
                refuses(uid + 2, kind, 1, texts[kind].total);

                quota_return(quota, 1000, kind, share - 1);
                quota_return(quota, uid + 1, kind, 1);
                quota_return(quota, uid, kind, left);
                while (--uid > 1000)
                        quota_return(quota, uid, kind, share);
        }
        end();
}
END_TEST

/* The user can do something about this limit. */
START_TEST(user_at_both_limits_is_told_of_his_own) {
        static const struct quota_limit same[QUOTA_KINDS] = {
                {4, 4}, {4, 4}, {4, 4}, {4, 4}, {4, 4}};
        char text[sizeof(((struct verdict *)NULL)->text)];

        start_with(same);
        FOR_ALL(kind) {
                charges(1000, kind, 4);
                ck_assert_ptr_nonnull(strstr(quota_charge(quota, 1000, kind, 1).text, "per user"));
                memcpy(text, quota_charge(quota, 1001, kind, 1).text, sizeof(text));
                ck_assert_ptr_null(strstr(text, "per user"));
                quota_return(quota, 1000, kind, 4);
        }
        end();
}
END_TEST

START_TEST(kinds_do_not_share_their_limits) {
        start();
        FOR_ALL(kind)
        charges(1000, kind, limits[kind].per_user);
        FOR_ALL(kind) {
                refuses(1000, kind, 1, texts[kind].per_user);
                quota_return(quota, 1000, kind, limits[kind].per_user);
                ck_assert_uint_eq(quota_used(quota, kind), 0);
                charges(1000, kind, limits[kind].per_user);
        }
        FOR_ALL(kind)
        quota_return(quota, 1000, kind, limits[kind].per_user);
        end();
}
END_TEST

START_TEST(amounts_do_not_wrap_around) {
        static const unsigned amounts[] = {UINT_MAX, UINT_MAX - 1, UINT_MAX - 39, 1U << 31};

        start();
        charges(1000, QUOTA_MOUNTS, 39);
        for (size_t i = 0; i < sizeof(amounts) / sizeof(amounts[0]); i++) {
                refuses(1000, QUOTA_MOUNTS, amounts[i], texts[QUOTA_MOUNTS].per_user);
                refuses(1001, QUOTA_MOUNTS, amounts[i], texts[QUOTA_MOUNTS].per_user);
        }
        charges(1000, QUOTA_MOUNTS, 1);
        quota_return(quota, 1000, QUOTA_MOUNTS, 40);
        end();
}
END_TEST

START_TEST(largest_limits_are_reached) {
        struct quota_limit largest[QUOTA_KINDS];

        FOR_ALL(kind)
        largest[kind] = (struct quota_limit){UINT_MAX, UINT_MAX};
        start_with(largest);
        charges(1000, QUOTA_MOUNTS, UINT_MAX - 1);
        ck_assert_uint_eq(quota_charge(quota, 1000, QUOTA_MOUNTS, 2).status, STATUS_LIMIT_EXCEEDED);
        ck_assert_uint_eq(quota_charge(quota, 1001, QUOTA_MOUNTS, 2).status, STATUS_LIMIT_EXCEEDED);
        charges(1001, QUOTA_MOUNTS, 1);
        ck_assert_uint_eq(quota_charge(quota, 1001, QUOTA_MOUNTS, 1).status, STATUS_LIMIT_EXCEEDED);
        quota_return(quota, 1000, QUOTA_MOUNTS, UINT_MAX - 1);
        quota_return(quota, 1001, QUOTA_MOUNTS, 1);
        end();
}
END_TEST

START_TEST(limit_of_none_refuses_all) {
        static const struct quota_limit none[QUOTA_KINDS];

        start_with(none);
        FOR_ALL(kind) {
                ck_assert_uint_eq(quota_charge(quota, 1000, kind, 1).status, STATUS_LIMIT_EXCEEDED);
                charges(1000, kind, 0);
        }
        end();
}
END_TEST

/* Leases of the previous instance exist, whatever the limits are now. */
START_TEST(what_exists_is_charged_beyond_the_limits) {
        start();
        FOR_ALL(kind) {
                unsigned limit = limits[kind].per_user, total = limits[kind].total;

                ck_assert_int_eq(quota_charge_anyway(quota, 1000, kind, limit + 5), 0);
                ck_assert_uint_eq(quota_used(quota, kind), limit + 5);
                refuses(1000, kind, 1, texts[kind].per_user);
                quota_return(quota, 1000, kind, 5);
                refuses(1000, kind, 1, texts[kind].per_user);
                quota_return(quota, 1000, kind, 1);
                charges(1000, kind, 1);

                ck_assert_int_eq(quota_charge_anyway(quota, 1000, kind, total), 0);
                refuses(1001, kind, 1, texts[kind].total);
                quota_return(quota, 1000, kind, limit);
                refuses(1001, kind, 1, texts[kind].total);
                quota_return(quota, 1000, kind, 1);
                charges(1001, kind, 1);
                quota_return(quota, 1001, kind, 1);
                quota_return(quota, 1000, kind, total - 1);
        }
        end();
}
END_TEST

START_TEST(many_users_have_limits_of_their_own) {
        enum { N = 2000 };
        struct quota_limit many[QUOTA_KINDS];

        FOR_ALL(kind)
        many[kind] = (struct quota_limit){N, 1};
        start_with(many);
        for (unsigned i = 0; i < N; i++) {
                charges(i * 65537, QUOTA_CONNECTIONS, 1);
                charges(i * 65537, QUOTA_MOUNTS, 1);
        }
        for (unsigned i = 0; i < N; i++) {
                quota_return(quota, i * 65537, QUOTA_MOUNTS, 1);
                charges(i * 65537, QUOTA_MOUNTS, 1);
                ck_assert_ptr_nonnull(strstr(quota_charge(quota, i * 65537, QUOTA_MOUNTS, 1).text,
                                             "--max-mounts-per-user"));
        }
        for (unsigned i = 0; i < N; i++) {
                quota_return(quota, i * 65537, QUOTA_CONNECTIONS, 1);
                quota_return(quota, i * 65537, QUOTA_MOUNTS, 1);
        }
        end();
}
END_TEST

START_TEST(uids_are_told_apart_to_the_last) {
        static const uid_t uids[] = {
                0, 1, 65534, 65535, 65536, INT_MAX, (uid_t)INT_MAX + 1, (uid_t)-3, (uid_t)-2};
        enum { N = sizeof(uids) / sizeof(uids[0]) };
        static const struct quota_limit single[QUOTA_KINDS] = {{N, 1}, {N, 1}, {N, 1}, {N, 1}};

        start_with(single);
        for (unsigned i = 0; i < N; i++)
                charges(uids[i], QUOTA_CALLS, 1);
        for (unsigned i = 0; i < N; i++)
                ck_assert_uint_eq(quota_charge(quota, uids[i], QUOTA_CALLS, 1).status,
                                  STATUS_LIMIT_EXCEEDED);
        for (unsigned i = 0; i < N; i++)
                quota_return(quota, uids[i], QUOTA_CALLS, 1);
        end();
}
END_TEST

/* One user after the other, each with nothing left at the end. */
static void come_and_go(uid_t first, unsigned count) {
        for (uid_t uid = first; uid < first + count; uid++) {
                charges(uid, QUOTA_CONNECTIONS, 1);
                charges(uid, QUOTA_MOUNTS, 16);
                quota_return(quota, uid, QUOTA_CONNECTIONS, 1);
                quota_return(quota, uid, QUOTA_MOUNTS, 16);
                refuses(uid, QUOTA_MOUNTS, 41, texts[QUOTA_MOUNTS].per_user);
                charges(uid, QUOTA_MOUNTS, 0);
        }
}

/* There can be many uids: the daemon's memory must not grow with those seen in the past. */
START_TEST(user_who_has_nothing_is_forgotten) {
        size_t before;

        start();
        charges(7, QUOTA_REFUSALS, 1);
        come_and_go(1000, 1000); /* the C library has its caches by now */
        before = mallinfo2().uordblks;
        come_and_go(2000, 20000);
        ck_assert_uint_eq(mallinfo2().uordblks, before); /* under a sanitizer 0, and leaks show */
        quota_return(quota, 7, QUOTA_REFUSALS, 1);
        end();
}
END_TEST

/* Its users are freed with it, whatever they are charged for. */
START_TEST(frees_what_is_still_charged) {
        start();
        for (uid_t uid = 0; uid < 20; uid++)
                ck_assert_int_eq(quota_charge_anyway(quota, uid, QUOTA_MOUNTS, 1 + uid), 0);
        ck_assert_ptr_null(quota_free(quota));
}
END_TEST

enum { THREADS = 8, ROUNDS = 5000 };

/* No total ever exceeds its limit, as seen from any thread. */
static void *charge_many(void *argument) {
        uintptr_t number = (uintptr_t)argument, broken = 0;

        for (unsigned i = 0; i < ROUNDS; i++) {
                uid_t uid = 1000 + (i + number) % 3;
                enum quota_kind kind = i % QUOTA_KINDS;
                unsigned amount = 1 + i % limits[kind].per_user;

                if (quota_charge(quota, uid, kind, amount).status != STATUS_OK)
                        continue;
                broken += quota_used(quota, kind) > limits[kind].total;
                broken += quota_used(quota, kind) < amount;
                quota_return(quota, uid, kind, amount);
        }
        return (void *)broken;
}

START_TEST(many_threads_at_once_leave_nothing) {
        pthread_t threads[THREADS];

        start();
        for (uintptr_t i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, charge_many, (void *)i), 0);
        for (unsigned i = 0; i < THREADS; i++) {
                void *broken;

                ck_assert_int_eq(pthread_join(threads[i], &broken), 0);
                ck_assert_ptr_null(broken);
        }
        end();
}
END_TEST

int main(void) {
        return SUITE_RUN("quota", says_its_limits, limits_a_user_one_by_one,
                         limits_a_user_by_amounts, limits_all_together,
                         user_at_both_limits_is_told_of_his_own, kinds_do_not_share_their_limits,
                         amounts_do_not_wrap_around, largest_limits_are_reached,
                         limit_of_none_refuses_all, what_exists_is_charged_beyond_the_limits,
                         many_users_have_limits_of_their_own, uids_are_told_apart_to_the_last,
                         user_who_has_nothing_is_forgotten, frees_what_is_still_charged,
                         many_threads_at_once_leave_nothing);
}
