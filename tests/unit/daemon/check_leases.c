/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/ledger.h"

#include "tests/fixtures/descriptors.h"
#include "tests/fixtures/suite.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The ledger never looks into a lease: any pointer will do. */
#define LEASE(n) ((struct lease *)(uintptr_t)(n))

static const uint8_t kinds[PROTOCOL_TARGETS_MAX] = {1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2};

static char directory[64];
static struct record *records; /* the file, as another process would see it */

/* What a predecessor left is put into the freshly opened file, as record_open() would copy it. */
static struct ledger *start_after(const struct ledger_limits *limits, const struct record *left,
                                  size_t n_left) {
        struct ledger *ledger = NULL;
        struct record_file file;
        int32_t pid;

        strcpy(directory, "/tmp/mountatd-check-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
        ck_assert_int_eq(record_open(directory, limits->mounts, &file, &pid), 0);
        records = file.records;
        for (size_t i = 0; i < n_left; i++) {
                records[RECORD_INDEX(left[i].lease)] = left[i];
                if (file.used <= RECORD_INDEX(left[i].lease))
                        file.used = RECORD_INDEX(left[i].lease) + 1;
        }
        ck_assert_int_eq(ledger_new(limits, &file, &ledger), 0);
        return ledger;
}

static struct ledger *start(unsigned connections, unsigned connections_per_user, unsigned mounts,
                            unsigned mounts_per_user) {
        struct ledger_limits limits = {connections, connections_per_user, mounts, mounts_per_user};

        return start_after(&limits, NULL, 0);
}

/* With nothing held any more. */
static void end(struct ledger *ledger) {
        struct ledger_counts counts = ledger_count(ledger);

        ck_assert_uint_eq(counts.connections, 0);
        ck_assert_uint_eq(counts.leases, 0);
        ck_assert_uint_eq(counts.mounts, 0);
        ck_assert_ptr_null(ledger_free(ledger));
        ck_assert_int_eq(rmdir(directory), 0);
}

static struct ledger_owner connect_as(struct ledger *ledger, uid_t uid) {
        struct ledger_owner owner;

        ck_assert_uint_eq(ledger_connect(ledger, uid, 1, &owner).status, STATUS_OK);
        return owner;
}

static uint64_t reserve(struct ledger *ledger, struct ledger_owner *owner, unsigned count) {
        uint64_t id = 0;

        ck_assert_uint_eq(ledger_reserve(ledger, owner, count, kinds, &id).status, STATUS_OK);
        ck_assert_uint_ne(id, 0);
        return id;
}

static void refuses_mounts(struct ledger *ledger, struct ledger_owner *owner, unsigned count,
                           const char *option) {
        struct ledger_counts before = ledger_count(ledger), after;
        uint64_t id = 4711;
        struct verdict verdict = ledger_reserve(ledger, owner, count, kinds, &id);

        after = ledger_count(ledger);
        ck_assert_uint_eq(verdict.status, STATUS_LIMIT_EXCEEDED);
        ck_assert_uint_eq(verdict.target, STATUS_NO_TARGET);
        ck_assert_ptr_nonnull(strstr(verdict.text, option));
        ck_assert_uint_eq(id, 4711);
        ck_assert_mem_eq(&before, &after, sizeof(before));
}

static void refuses_connection(struct ledger *ledger, uid_t uid, const char *option) {
        struct ledger_owner owner = {.uid = 4711};
        struct verdict verdict = ledger_connect(ledger, uid, 1, &owner);

        ck_assert_uint_eq(verdict.status, STATUS_LIMIT_EXCEEDED);
        ck_assert_ptr_nonnull(strstr(verdict.text, option));
        ck_assert_uint_eq(owner.uid, 4711);
}

START_TEST(limits_the_connections_of_a_user) {
        struct ledger *ledger = start(10, 3, 8, 8);
        struct ledger_owner owners[3], other;

        for (unsigned i = 0; i < 3; i++)
                owners[i] = connect_as(ledger, 1000);
        refuses_connection(ledger, 1000, "--max-connections-per-user");
        other = connect_as(ledger, 1001);
        ck_assert_uint_eq(ledger_count(ledger).connections, 4);
        ledger_disconnect(ledger, &owners[1]);
        owners[1] = connect_as(ledger, 1000);
        refuses_connection(ledger, 1000, "--max-connections-per-user");
        for (unsigned i = 0; i < 3; i++)
                ledger_disconnect(ledger, &owners[i]);
        ledger_disconnect(ledger, &other);
        end(ledger);
}
END_TEST

START_TEST(limits_the_connections_of_all) {
        struct ledger *ledger = start(5, 5, 8, 8);
        struct ledger_owner owners[5];

        for (unsigned i = 0; i < 5; i++)
                owners[i] = connect_as(ledger, 1000 + i);
        refuses_connection(ledger, 2000, "--max-connections");
        refuses_connection(ledger, 1000, "--max-connections");
        ledger_disconnect(ledger, &owners[4]);
        owners[4] = connect_as(ledger, 2000);
        for (unsigned i = 0; i < 5; i++)
                ledger_disconnect(ledger, &owners[i]);
        end(ledger);
}
END_TEST

START_TEST(limits_the_mounts_of_a_user_over_all_connections) {
        struct ledger *ledger = start(10, 10, 100, 20);
        struct ledger_owner a = connect_as(ledger, 1000), b = connect_as(ledger, 1000),
                            other = connect_as(ledger, 1001);
        uint64_t ids[3];

        ids[0] = reserve(ledger, &a, 16);
        refuses_mounts(ledger, &b, 5, "--max-mounts-per-user");
        ids[1] = reserve(ledger, &b, 4);
        refuses_mounts(ledger, &a, 1, "--max-mounts-per-user");
        refuses_mounts(ledger, &b, 1, "--max-mounts-per-user");
        ids[2] = reserve(ledger, &other, 16);
        ck_assert_uint_eq(ledger_count(ledger).mounts, 36);
        ck_assert_uint_eq(ledger_count(ledger).leases, 3);
        ledger_forget(ledger, ids[1]);
        ids[1] = reserve(ledger, &a, 4);
        refuses_mounts(ledger, &a, 1, "--max-mounts-per-user");
        for (unsigned i = 0; i < 3; i++)
                ledger_forget(ledger, ids[i]);
        ledger_disconnect(ledger, &a);
        ledger_disconnect(ledger, &b);
        ledger_disconnect(ledger, &other);
        end(ledger);
}
END_TEST

START_TEST(limits_the_mounts_of_all) {
        struct ledger *ledger = start(10, 10, 20, 20);
        struct ledger_owner a = connect_as(ledger, 1000), b = connect_as(ledger, 1001);
        uint64_t ids[3];

        ids[0] = reserve(ledger, &a, 10);
        ids[1] = reserve(ledger, &b, 9);
        refuses_mounts(ledger, &b, 2, "--max-mounts");
        ids[2] = reserve(ledger, &a, 1);
        refuses_mounts(ledger, &b, 1, "--max-mounts");
        for (unsigned i = 0; i < 3; i++)
                ledger_forget(ledger, ids[i]);
        ledger_disconnect(ledger, &a);
        ledger_disconnect(ledger, &b);
        end(ledger);
}
END_TEST

/* There are as many records as mounts: single mounts fill both to the last one. */
START_TEST(fills_up_to_the_last_record_again_and_again) {
        struct ledger *ledger = start(1, 1, 50, 50);
        struct ledger_owner owner = connect_as(ledger, 1000);
        uint64_t ids[50];

        for (unsigned round = 0; round < 3; round++) {
                for (unsigned i = 0; i < 50; i++)
                        ids[i] = reserve(ledger, &owner, 1);
                refuses_mounts(ledger, &owner, 1, "--max-mounts");
                for (unsigned i = 0; i < 50; i++)
                        ledger_forget(ledger, ids[(i * 7 + round) % 50]);
        }
        ledger_disconnect(ledger, &owner);
        end(ledger);
}
END_TEST

START_TEST(many_users_have_accounts_of_their_own) {
        enum { N = 2000 };
        struct ledger *ledger = start(N, 1, N, 1);
        static struct ledger_owner owners[N];
        static uint64_t ids[N];

        for (unsigned i = 0; i < N; i++) {
                owners[i] = connect_as(ledger, i * 65537);
                ids[i] = reserve(ledger, &owners[i], 1);
        }
        ck_assert_uint_eq(ledger_count(ledger).connections, N);
        for (unsigned i = 0; i < N; i++) {
                ledger_forget(ledger, ids[i]);
                ids[i] = reserve(ledger, &owners[i], 1);
                refuses_mounts(ledger, &owners[i], 1, "--max-mounts-per-user");
        }
        for (unsigned i = 0; i < N; i++) {
                ledger_forget(ledger, ids[i]);
                ledger_disconnect(ledger, &owners[i]);
        }
        end(ledger);
}
END_TEST

static int compare(const void *a, const void *b) {
        const uint64_t *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

START_TEST(ids_are_unique_also_over_time) {
        enum { N = 20000 };
        struct ledger *ledger = start(1, 1, 4, 4);
        struct ledger_owner owner = connect_as(ledger, 1000);
        static uint64_t ids[N];

        for (unsigned i = 0; i < N; i++) {
                ids[i] = reserve(ledger, &owner, 1);
                ck_assert_uint_ne(ids[i] >> 16, 0);
                ledger_forget(ledger, ids[i]);
        }
        qsort(ids, N, sizeof(ids[0]), compare);
        for (unsigned i = 1; i < N; i++)
                ck_assert_uint_ne(ids[i - 1], ids[i]);
        ledger_disconnect(ledger, &owner);
        end(ledger);
}
END_TEST

START_TEST(record_tells_all_about_a_lease) {
        struct ledger *ledger = start(1, 1, 40, 40);
        struct ledger_owner owner;
        struct record *record;
        uint64_t id;

        ck_assert_uint_eq(ledger_connect(ledger, 1000, 4711, &owner).status, STATUS_OK);
        id = reserve(ledger, &owner, 3);
        record = &records[id & 0xffff];
        ck_assert_uint_eq(record->lease, id);
        ck_assert_uint_eq(record->state, RECORD_ATTACHING);
        ck_assert_uint_eq(record->uid, 1000);
        ck_assert_int_eq(record->pid, 4711);
        ck_assert_uint_eq(record->count, 3);
        ck_assert_uint_gt(record->granted, 0);
        for (unsigned i = 0; i < PROTOCOL_TARGETS_MAX; i++) {
                ck_assert_uint_eq(record->file_systems[i], i < 3 ? kinds[i] : 0);
                ck_assert_uint_eq(record->mounts[i], 0);
        }
        for (unsigned i = 0; i < 3; i++)
                ledger_record_mount(ledger, id, i, 100 + i);
        ck_assert_uint_eq(record->mounts[0], 100);
        ck_assert_uint_eq(record->mounts[2], 102);

        ledger_publish(ledger, id, LEASE(1));
        ck_assert_uint_eq(record->state, RECORD_LIVE);
        ck_assert_ptr_eq(ledger_take(ledger, &owner, id), LEASE(1));
        ck_assert_uint_eq(record->state, RECORD_RELEASING);
        ledger_forget(ledger, id);
        ck_assert_uint_eq(record->state, RECORD_FREE);
        ck_assert_uint_eq(record->lease, 0);

        /* The next to have the record finds nothing of the last. */
        id = reserve(ledger, &owner, 1);
        ck_assert_ptr_eq(&records[id & 0xffff], record);
        ck_assert_uint_eq(record->mounts[0], 0);
        ck_assert_uint_eq(record->mounts[2], 0);
        ck_assert_uint_eq(record->file_systems[1], 0);
        ledger_forget(ledger, id);
        ledger_disconnect(ledger, &owner);
        end(ledger);
}
END_TEST

START_TEST(takes_a_lease_once_and_from_its_owner) {
        struct ledger *ledger = start(2, 2, 8, 8);
        struct ledger_owner owner = connect_as(ledger, 1000), other = connect_as(ledger, 1000);
        uint64_t first = reserve(ledger, &owner, 1); /* has index 0, which alone is no id */
        uint64_t id = reserve(ledger, &owner, 1), index = id & 0xffff;
        const uint64_t wrong[] = {
                1,
                index,             /* the random part is missing */
                id ^ (1ULL << 16), /* or wrong */
                id ^ (1ULL << 63),
                (id & ~0xffffULL) | (index + 1),      /* another record, which is free */
                (id & ~0xffffULL) | (first & 0xffff), /* or isn't live */
                (id & ~0xffffULL) | 8,                /* the first record that isn't there */
                (id & ~0xffffULL) | 0xffff,           /* the last */
                UINT64_MAX,
        };

        ck_assert_ptr_null(ledger_take(ledger, &owner, id)); /* not live yet */
        ck_assert_ptr_null(ledger_take(ledger, &owner, 0));
        ledger_publish(ledger, id, LEASE(7));
        ck_assert_ptr_null(ledger_take(ledger, &other, id));
        ck_assert_ptr_null(ledger_take(ledger, &other, 0));
        ck_assert_ptr_null(ledger_take(ledger, ledger_orphans(ledger), id));
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
                ck_assert_ptr_null(ledger_take(ledger, &owner, wrong[i]));

        ck_assert_ptr_eq(ledger_take(ledger, &owner, id), LEASE(7));
        ck_assert_ptr_null(ledger_take(ledger, &owner, id)); /* somebody has it */
        ck_assert_ptr_null(ledger_take(ledger, &owner, 0));
        ledger_publish(ledger, id, LEASE(7));
        ck_assert_ptr_eq(ledger_take(ledger, &owner, 0), LEASE(7));
        ledger_forget(ledger, id);
        ck_assert_ptr_null(ledger_take(ledger, &owner, id));
        ledger_forget(ledger, first);
        ledger_disconnect(ledger, &owner);
        ledger_disconnect(ledger, &other);
        end(ledger);
}
END_TEST

/* id 0 finds each live lease once, past those that aren't; whatever the order they go in. */
START_TEST(takes_all_that_live_and_no_other) {
        struct ledger *ledger = start(1, 1, 12, 12);
        struct ledger_owner owner = connect_as(ledger, 1000);
        uint64_t ids[12];
        unsigned taken = 0;

        for (unsigned i = 0; i < 12; i++) {
                ids[i] = reserve(ledger, &owner, 1);
                if (i % 3 != 1)
                        ledger_publish(ledger, ids[i], LEASE(i + 1));
        }
        ledger_take(ledger, &owner, ids[3]);
        ledger_forget(ledger, ids[3]); /* from the middle */
        ledger_take(ledger, &owner, ids[11]);
        ledger_forget(ledger, ids[11]); /* an end */
        ledger_take(ledger, &owner, ids[0]);
        ledger_forget(ledger, ids[0]); /* the other */

        for (struct lease *lease; (lease = ledger_take(ledger, &owner, 0)); taken++)
                ledger_forget(ledger, ids[(uintptr_t)lease - 1]);
        ck_assert_uint_eq(taken, 8 - 3);
        ck_assert_uint_eq(ledger_count(ledger).leases, 4);
        for (unsigned i = 1; i < 12; i += 3)
                ledger_forget(ledger, ids[i]);
        ledger_disconnect(ledger, &owner);
        end(ledger);
}
END_TEST

START_TEST(orphan_outlives_its_owner_and_counts_against_its_user) {
        struct ledger *ledger = start(2, 2, 8, 4);
        struct ledger_owner owner = connect_as(ledger, 1000);
        uint64_t id = reserve(ledger, &owner, 3);

        ledger_publish(ledger, id, LEASE(1));
        ck_assert_ptr_eq(ledger_take(ledger, &owner, 0), LEASE(1));
        ledger_orphan(ledger, id, LEASE(1));
        ck_assert_ptr_null(ledger_take(ledger, &owner, id));
        ck_assert_uint_eq(records[id & 0xffff].state, RECORD_RELEASING);
        ledger_disconnect(ledger, &owner);

        owner = connect_as(ledger, 1000);
        refuses_mounts(ledger, &owner, 2, "--max-mounts-per-user");
        ck_assert_ptr_eq(ledger_take(ledger, ledger_orphans(ledger), 0), LEASE(1));
        ledger_forget(ledger, id);
        id = reserve(ledger, &owner, 4);
        ledger_forget(ledger, id);
        ledger_disconnect(ledger, &owner);
        end(ledger);
}
END_TEST

START_TEST(file_stays_for_the_next_instance_if_leases_do) {
        struct ledger *ledger = start(1, 1, 8, 8);
        struct ledger_owner owner = connect_as(ledger, 1000);
        char path[128];
        uint64_t id = reserve(ledger, &owner, 1);

        ledger_orphan(ledger, id, LEASE(1));
        ledger_disconnect(ledger, &owner);
        ledger_free(ledger);
        snprintf(path, sizeof(path), "%s/ledger", directory);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(rmdir(directory), 0);
        ck_assert_ptr_null(ledger_free(NULL));
}
END_TEST

START_TEST(closes_what_it_owns) {
        unsigned descriptors = descriptors_count();

        end(start(1, 1, 65536, 65536));
        ck_assert_uint_eq(descriptors_count(), descriptors);
}
END_TEST

/* ---- owners that have left a request behind ---- */

START_TEST(abandoned_owners_leases_are_not_published) {
        struct ledger *ledger = start(2, 2, 8, 8);
        struct ledger_owner owner = connect_as(ledger, 1000), other = connect_as(ledger, 1000);
        uint64_t live = reserve(ledger, &owner, 1), late = reserve(ledger, &owner, 1),
                 others = reserve(ledger, &other, 1);

        ck_assert(ledger_publish(ledger, live, LEASE(1)));
        ledger_abandon(ledger, &owner);
        ck_assert(!ledger_publish(ledger, late, LEASE(2)));
        ck_assert_uint_eq(records[late & 0xffff].state, RECORD_ATTACHING);
        ck_assert_ptr_null(ledger_take(ledger, &owner, late));
        ck_assert(ledger_publish(ledger, others, LEASE(3)));

        /* What was live can be taken; handed back, it is nobody's. */
        ck_assert_ptr_eq(ledger_take(ledger, &owner, 0), LEASE(1));
        ck_assert(!ledger_publish(ledger, live, LEASE(1)));
        ck_assert_uint_eq(records[live & 0xffff].state, RECORD_RELEASING);
        ck_assert_ptr_null(ledger_take(ledger, &owner, 0));

        ledger_forget(ledger, live);
        ledger_forget(ledger, late);
        ck_assert_ptr_eq(ledger_take(ledger, &other, others), LEASE(3));
        ledger_forget(ledger, others);
        ledger_disconnect(ledger, &owner);
        ledger_disconnect(ledger, &other);
        end(ledger);
}
END_TEST

/* ---- attempts, and the workers that they cost ---- */

static const struct ledger_limits attempt_limits = {
        .connections = 16,
        .connections_per_user = 16,
        .mounts = 16,
        .mounts_per_user = 16,
        .workers = 4,
        .lost_workers = 4,
        .lost_workers_per_user = 2,
};

static void may_begin(struct ledger *ledger, struct ledger_owner *owner) {
        struct ledger_counts before = ledger_count(ledger);
        unsigned attempts = ledger_count_attempts(ledger, owner);
        struct verdict refusal = {.error = 4711};

        ck_assert_uint_eq(ledger_begin_attempt(ledger, owner, &refusal), LEDGER_NOW);
        ck_assert_int_eq(refusal.error, 4711);
        ck_assert_uint_eq(ledger_count(ledger).attempts, before.attempts + 1);
        ck_assert_uint_eq(ledger_count_attempts(ledger, owner), attempts + 1);
}

static void must_wait(struct ledger *ledger, struct ledger_owner *owner) {
        struct ledger_counts before = ledger_count(ledger), after;
        struct verdict refusal = {.error = 4711};

        ck_assert_uint_eq(ledger_begin_attempt(ledger, owner, &refusal), LEDGER_LATER);
        ck_assert_int_eq(refusal.error, 4711);
        after = ledger_count(ledger);
        ck_assert_mem_eq(&before, &after, sizeof(before));
}

static void may_never(struct ledger *ledger, struct ledger_owner *owner, const char *option) {
        struct ledger_counts before = ledger_count(ledger), after;
        struct verdict refusal;

        ck_assert_uint_eq(ledger_begin_attempt(ledger, owner, &refusal), LEDGER_NEVER);
        ck_assert_uint_eq(refusal.status, STATUS_LIMIT_EXCEEDED);
        ck_assert_uint_eq(refusal.target, STATUS_NO_TARGET);
        ck_assert_msg(strcmp(refusal.text + strlen(refusal.text) - strlen(option), option) == 0,
                      "%s", refusal.text);
        after = ledger_count(ledger);
        ck_assert_mem_eq(&before, &after, sizeof(before));
}

/* Users a, b, c, … with two connections each. */
enum { N_USERS = 6 };

static void connect_users(struct ledger *ledger, struct ledger_owner users[N_USERS][2]) {
        for (unsigned i = 0; i < N_USERS; i++)
                for (unsigned j = 0; j < 2; j++)
                        users[i][j] = connect_as(ledger, 1000 + i);
}

static void disconnect_users(struct ledger *ledger, struct ledger_owner users[N_USERS][2]) {
        for (unsigned i = 0; i < N_USERS; i++)
                for (unsigned j = 0; j < 2; j++) {
                        ledger_end_attempt(ledger, &users[i][j]);
                        ledger_disconnect(ledger, &users[i][j]);
                }
        ck_assert_uint_eq(ledger_count(ledger).attempts, 0);
        ck_assert_uint_eq(ledger_count(ledger).lost_attempts, 0);
        ck_assert_uint_eq(ledger_count(ledger).lost_workers, 0);
}

START_TEST(owner_has_one_attempt_at_a_time) {
        struct ledger *ledger = start_after(&attempt_limits, NULL, 0);
        struct ledger_owner users[N_USERS][2], *owner = &users[0][0];
        struct verdict refusal;

        connect_users(ledger, users);
        ledger_end_attempt(ledger, owner); /* there is none */
        may_begin(ledger, owner);
        ck_assert_uint_eq(ledger_begin_attempt(ledger, owner, &refusal), LEDGER_NOW);
        ck_assert_uint_eq(ledger_count(ledger).attempts, 1);
        ledger_end_attempt(ledger, owner);
        ledger_end_attempt(ledger, owner);
        ck_assert_uint_eq(ledger_count(ledger).attempts, 0);
        ck_assert_uint_eq(ledger_count_attempts(ledger, owner), 0);
        disconnect_users(ledger, users);
        end(ledger);
}
END_TEST

START_TEST(limits_the_attempts_of_a_user) {
        struct ledger *ledger = start_after(&attempt_limits, NULL, 0);
        struct ledger_owner users[N_USERS][2], third = connect_as(ledger, 1000);

        connect_users(ledger, users);
        may_begin(ledger, &users[0][0]);
        may_begin(ledger, &users[0][1]);
        must_wait(ledger, &third);
        may_begin(ledger, &users[1][0]);
        ledger_end_attempt(ledger, &users[0][0]);
        may_begin(ledger, &third);
        ledger_end_attempt(ledger, &third);
        ledger_disconnect(ledger, &third);
        disconnect_users(ledger, users);
        end(ledger);
}
END_TEST

/* One worker is for all else. */
START_TEST(limits_the_attempts_of_all) {
        struct ledger *ledger = start_after(&attempt_limits, NULL, 0);
        struct ledger_owner users[N_USERS][2];

        connect_users(ledger, users);
        for (unsigned i = 0; i < 3; i++)
                may_begin(ledger, &users[i][0]);
        must_wait(ledger, &users[3][0]);
        must_wait(ledger, &users[0][1]);
        ledger_end_attempt(ledger, &users[1][0]);
        may_begin(ledger, &users[3][0]);
        must_wait(ledger, &users[1][0]);
        disconnect_users(ledger, users);
        end(ledger);
}
END_TEST

/* Its worker has been replaced, so somebody else has room; its own user doesn't. */
START_TEST(lost_attempt_makes_room_for_others) {
        struct ledger *ledger = start_after(&attempt_limits, NULL, 0);
        struct ledger_owner users[N_USERS][2];

        connect_users(ledger, users);
        may_begin(ledger, &users[0][0]);
        may_begin(ledger, &users[0][1]);
        may_begin(ledger, &users[1][0]);
        must_wait(ledger, &users[2][0]);
        ledger_lose_worker(ledger, &users[0][0]);
        ck_assert_uint_eq(ledger_count(ledger).lost_workers, 1);
        ck_assert_uint_eq(ledger_count(ledger).lost_attempts, 1);
        may_begin(ledger, &users[2][0]);
        must_wait(ledger, &users[3][0]);

        ledger_regain_worker(ledger, &users[0][0]);
        ledger_end_attempt(ledger, &users[0][0]);
        ck_assert_uint_eq(ledger_count(ledger).lost_attempts, 0);
        must_wait(ledger, &users[3][0]);
        ledger_end_attempt(ledger, &users[1][0]);
        may_begin(ledger, &users[3][0]);
        disconnect_users(ledger, users);
        end(ledger);
}
END_TEST

START_TEST(user_who_costs_workers_mounts_no_more) {
        struct ledger *ledger = start_after(&attempt_limits, NULL, 0);
        struct ledger_owner users[N_USERS][2], third = connect_as(ledger, 1000);

        connect_users(ledger, users);
        may_begin(ledger, &users[0][0]);
        may_begin(ledger, &users[0][1]);
        ledger_lose_worker(ledger, &users[0][0]);
        must_wait(ledger, &third);
        ledger_lose_worker(ledger, &users[0][1]);
        may_never(ledger, &third, "--max-lost-workers-per-user");
        may_begin(ledger, &users[1][0]);

        ledger_regain_worker(ledger, &users[0][0]);
        ledger_end_attempt(ledger, &users[0][0]);
        may_begin(ledger, &third);
        ledger_end_attempt(ledger, &third);
        ledger_regain_worker(ledger, &users[0][1]);
        ledger_disconnect(ledger, &third);
        disconnect_users(ledger, users);
        end(ledger);
}
END_TEST

/* At the limit of all, those pay who have cost one, and the others get what is local. */
START_TEST(full_loss_is_for_those_who_cost_one) {
        struct ledger *ledger = start_after(&attempt_limits, NULL, 0);
        struct ledger_owner users[N_USERS][2];

        connect_users(ledger, users);
        for (unsigned i = 0; i < 3; i++)
                ledger_lose_worker(ledger, &users[i][0]);
        ck_assert(!ledger_is_local_only(ledger));
        may_begin(ledger, &users[0][0]);
        ledger_end_attempt(ledger, &users[0][0]);
        ledger_lose_worker(ledger, NULL); /* a job's */
        ck_assert(ledger_is_local_only(ledger));
        ck_assert_uint_eq(ledger_count(ledger).lost_workers, 4);
        ck_assert_uint_eq(ledger_count(ledger).lost_attempts, 0); /* none was attempting */
        for (unsigned i = 0; i < 3; i++)
                may_never(ledger, &users[i][1], "--max-lost-workers");
        may_begin(ledger, &users[3][0]);
        ledger_end_attempt(ledger, &users[3][0]);

        ledger_regain_worker(ledger, NULL);
        ck_assert(!ledger_is_local_only(ledger));
        may_begin(ledger, &users[0][0]);
        for (unsigned i = 0; i < 3; i++)
                ledger_regain_worker(ledger, &users[i][0]);
        disconnect_users(ledger, users);
        end(ledger);
}
END_TEST

/* Those beyond the limit aren't replaced: 4 of 8, then 3, 2 and the one that is for all else. */
START_TEST(room_goes_with_the_workers_that_are_left) {
        struct ledger *ledger = start_after(&attempt_limits, NULL, 0);
        struct ledger_owner users[N_USERS][2];

        connect_users(ledger, users);
        for (unsigned lost = 4; lost <= 7; lost++) {
                while (ledger_count(ledger).lost_workers < lost)
                        ledger_lose_worker(ledger, NULL);
                for (unsigned i = 0; i < 7 - lost; i++)
                        may_begin(ledger, &users[i][0]);
                if (lost < 7)
                        must_wait(ledger, &users[7 - lost][0]);
                else
                        may_never(ledger, &users[0][0], "--max-lost-workers");
                for (unsigned i = 0; i < 7 - lost; i++)
                        ledger_end_attempt(ledger, &users[i][0]);
        }
        for (unsigned lost = 0; lost < 7; lost++)
                ledger_regain_worker(ledger, NULL);
        disconnect_users(ledger, users);
        end(ledger);
}
END_TEST

START_TEST(one_worker_alone_attempts_until_it_is_no_more_replaced) {
        struct ledger_limits limits = attempt_limits;
        struct ledger_owner users[N_USERS][2];
        struct ledger *ledger;

        limits.workers = 1;
        limits.lost_workers = 2;
        ledger = start_after(&limits, NULL, 0);
        connect_users(ledger, users);
        for (unsigned lost = 0; lost < 2; lost++) {
                may_begin(ledger, &users[lost][0]);
                must_wait(ledger, &users[5][0]);
                ledger_lose_worker(ledger, &users[lost][0]);
        }
        may_never(ledger, &users[5][0], "--max-lost-workers");
        ledger_regain_worker(ledger, &users[0][0]);
        ledger_end_attempt(ledger, &users[0][0]);
        may_begin(ledger, &users[5][0]);
        ledger_regain_worker(ledger, &users[1][0]);
        disconnect_users(ledger, users);
        end(ledger);
}
END_TEST

/* ---- what a predecessor left ---- */

static struct record left_at(uint32_t index, uid_t uid, enum record_state state, unsigned count) {
        struct record record = {
                .lease = 0xabcdef0000000000 | index,
                .writer_pid = 1,
                .state = state,
                .uid = uid,
                .pid = 77,
                .count = count,
        };

        memcpy(record.file_systems, kinds, count);
        for (unsigned i = 0; i < count; i++)
                record.mounts[i] = index * 100 + i + 1;
        return record;
}

static const struct ledger_limits left_limits = {
        .connections = 4, .connections_per_user = 4, .mounts = 20, .mounts_per_user = 9};

START_TEST(what_was_left_counts_and_is_nobodys) {
        const struct record left[] = {left_at(3, 1000, RECORD_LIVE, 5),
                                      left_at(0, 1000, RECORD_ATTACHING, 2),
                                      left_at(19, 1001, RECORD_RELEASING, 1)};
        struct ledger *ledger = start_after(&left_limits, left, 3);
        struct ledger_owner owner = connect_as(ledger, 1000), other = connect_as(ledger, 1001);
        struct ledger_counts counts = ledger_count(ledger);
        uint64_t ids[3];

        ck_assert_uint_eq(counts.leases, 3);
        ck_assert_uint_eq(counts.left, 3);
        ck_assert_uint_eq(counts.mounts, 8);
        for (unsigned i = 0; i < 3; i++) {
                ck_assert_ptr_null(ledger_take(ledger, &owner, left[i].lease));
                ck_assert_ptr_null(ledger_take(ledger, ledger_orphans(ledger), left[i].lease));
        }
        ck_assert_ptr_null(ledger_take(ledger, &owner, 0));

        refuses_mounts(ledger, &owner, 3, "--max-mounts-per-user");
        ids[0] = reserve(ledger, &owner, 2);
        ids[1] = reserve(ledger, &other, 8);
        refuses_mounts(ledger, &other, 1, "--max-mounts-per-user");
        for (unsigned i = 0; i < 2; i++) {
                for (unsigned j = 0; j < 3; j++) /* nobody's record is used twice */
                        ck_assert_uint_ne(ids[i] & 0xffff, RECORD_INDEX(left[j].lease));
                ledger_forget(ledger, ids[i]);
        }

        for (unsigned i = 0; i < 3; i++)
                ledger_forget(ledger, left[i].lease);
        ck_assert_uint_eq(ledger_count(ledger).left, 0);
        ledger_disconnect(ledger, &owner);
        ledger_disconnect(ledger, &other);
        end(ledger);
}
END_TEST

/* More than the limits allow, which may have been higher then. */
START_TEST(what_was_left_may_exceed_the_limits) {
        struct record left[20];
        struct ledger *ledger;
        struct ledger_owner owner;

        for (unsigned i = 0; i < 20; i++)
                left[i] = left_at(i, 1000, RECORD_LIVE, 16);
        ledger = start_after(&left_limits, left, 20);
        owner = connect_as(ledger, 1001);
        ck_assert_uint_eq(ledger_count(ledger).mounts, 320);
        refuses_mounts(ledger, &owner, 1, "--max-mounts");
        for (unsigned i = 0; i < 20; i++)
                ledger_forget(ledger, left[i].lease);
        ledger_forget(ledger, reserve(ledger, &owner, 9));
        ledger_disconnect(ledger, &owner);
        end(ledger);
}
END_TEST

START_TEST(left_lease_is_adopted_once_and_then_like_any_other) {
        const struct record left[] = {left_at(3, 1000, RECORD_LIVE, 5),
                                      left_at(4, 1000, RECORD_LIVE, 1)};
        struct ledger *ledger = start_after(&left_limits, left, 2);
        struct ledger_owner owner, other = connect_as(ledger, 1000);
        struct record *record = &records[3], swept;
        uint32_t cursor = 0;

        ck_assert_uint_eq(ledger_connect(ledger, 1000, 4711, &owner).status, STATUS_OK);
        ck_assert(!ledger_holds(ledger, left[0].mounts[4]));
        ck_assert(ledger_adopt(ledger, &owner, &left[0], LEASE(1)));
        ck_assert(ledger_holds(ledger, left[0].mounts[4]));
        ck_assert(!ledger_holds(ledger, left[1].mounts[0]));
        ck_assert_int_eq(record->pid, 4711);
        ck_assert_uint_eq(record->state, RECORD_LIVE);
        ck_assert_uint_eq(record->uid, 1000);
        ck_assert_uint_eq(ledger_count(ledger).left, 1);
        ck_assert_uint_eq(ledger_count(ledger).leases, 2);
        ck_assert_uint_eq(ledger_count(ledger).mounts, 6);

        ck_assert(!ledger_adopt(ledger, &owner, &left[0], LEASE(2)));
        ck_assert(!ledger_adopt(ledger, &other, &left[0], LEASE(2)));
        ck_assert_ptr_null(ledger_take(ledger, &other, left[0].lease));
        /* The sweep takes the other one alone. */
        ck_assert(ledger_take_left(ledger, LEDGER_LEFT_UNCLAIMED, &cursor, &swept));
        ck_assert_uint_eq(swept.lease, left[1].lease);
        ck_assert(!ledger_take_left(ledger, LEDGER_LEFT_UNCLAIMED, &cursor, &swept));
        ledger_forget(ledger, left[1].lease);

        ck_assert_ptr_eq(ledger_take(ledger, &owner, left[0].lease), LEASE(1));
        ledger_forget(ledger, left[0].lease);
        ledger_disconnect(ledger, &owner);
        ledger_disconnect(ledger, &other);
        end(ledger);
}
END_TEST

/* Each row disagrees with the record in one thing. */
static const struct {
        const char *what;
        size_t offset, size;
        uint64_t value;
} disagreements[] = {
        {"lease 0", offsetof(struct record, lease), 8, 0},
        {"the index alone", offsetof(struct record, lease), 8, 3},
        {"another random part", offsetof(struct record, lease), 8, 0x2bcdef0000000003},
        {"a free record", offsetof(struct record, lease), 8, 0xabcdef0000000005},
        {"the first record beyond", offsetof(struct record, lease), 8, 0xabcdef0000000014},
        {"the last record beyond", offsetof(struct record, lease), 8, 0xabcdef000000ffff},
        {"a mount less", offsetof(struct record, count), 4, 4},
        {"a mount more", offsetof(struct record, count), 4, 6},
        {"no mount", offsetof(struct record, count), 4, 0},
        {"another first kind", offsetof(struct record, file_systems), 1, 2},
        {"another last kind", offsetof(struct record, file_systems) + 4, 1, 2},
        {"another first mount", offsetof(struct record, mounts), 8, 302},
        {"another last mount", offsetof(struct record, mounts) + 4 * 8, 8, 304},
};

START_TEST(each_disagreement_is_no_adoption) {
        const struct record left = left_at(3, 1000, RECORD_LIVE, 5);
        struct ledger *ledger = start_after(&left_limits, &left, 1);
        struct ledger_owner owner = connect_as(ledger, 1000), stranger = connect_as(ledger, 1001),
                            root = connect_as(ledger, 0);
        struct ledger_counts before = ledger_count(ledger), after;

        for (size_t i = 0; i < sizeof(disagreements) / sizeof(disagreements[0]); i++) {
                struct record claim = left;

                memcpy((char *)&claim + disagreements[i].offset, &disagreements[i].value,
                       disagreements[i].size);
                ck_assert_msg(!ledger_adopt(ledger, &owner, &claim, LEASE(1)), "%s",
                              disagreements[i].what);
        }
        ck_assert(!ledger_adopt(ledger, &stranger, &left, LEASE(1)));
        ck_assert(!ledger_adopt(ledger, &root, &left, LEASE(1)));
        after = ledger_count(ledger);
        ck_assert_mem_eq(&before, &after, sizeof(before));
        ck_assert_mem_eq(&records[3], &left, sizeof(left));

        ledger_abandon(ledger, &owner);
        ck_assert(!ledger_adopt(ledger, &owner, &left, LEASE(1)));
        ledger_disconnect(ledger, &owner);
        owner = connect_as(ledger, 1000);
        ck_assert(ledger_adopt(ledger, &owner, &left, LEASE(1)));
        ledger_forget(ledger, left.lease);
        ledger_disconnect(ledger, &owner);
        ledger_disconnect(ledger, &stranger);
        ledger_disconnect(ledger, &root);
        end(ledger);
}
END_TEST

/* ---- what calls over D-Bus were granted ---- */

static struct ledger_owner call_as(struct ledger *ledger, uid_t uid,
                                   enum ledger_standing standing) {
        struct ledger_owner owner = connect_as(ledger, uid);

        owner.standing = standing;
        return owner;
}

START_TEST(lease_of_a_call_outlives_it_and_is_its_users) {
        struct ledger *ledger = start(10, 10, 8, 8);
        struct ledger_owner call = call_as(ledger, 1000, LEDGER_CALL);
        struct ledger_owner connection = connect_as(ledger, 1000);
        struct ledger_owner stranger = call_as(ledger, 1001, LEDGER_CALL);
        uint64_t id = reserve(ledger, &call, 2);

        ck_assert_uint_eq(records[RECORD_INDEX(id)].origin, RECORD_BUS);
        ck_assert(ledger_publish(ledger, id, LEASE(1)));
        ledger_disconnect(ledger, &call);
        ck_assert(ledger_is_others(ledger, id, 1001));
        ck_assert(!ledger_is_others(ledger, id, 1000));
        ck_assert_ptr_null(ledger_take(ledger, &stranger, id));
        ck_assert_ptr_null(ledger_take(ledger, &connection, id));

        call = call_as(ledger, 1000, LEDGER_CALL);
        ck_assert_ptr_eq(ledger_take(ledger, &call, id), LEASE(1));
        ledger_forget(ledger, id);
        ledger_disconnect(ledger, &call);
        ledger_disconnect(ledger, &connection);
        ledger_disconnect(ledger, &stranger);
        end(ledger);
}
END_TEST

/* What it then can't release is kept: the connection it was taken from may have ended. */
START_TEST(trusted_call_takes_what_a_connection_holds) {
        struct ledger *ledger = start(10, 10, 8, 8);
        struct ledger_owner connection = connect_as(ledger, 1000);
        struct ledger_owner call = call_as(ledger, 1000, LEDGER_CALL);
        struct ledger_owner root = call_as(ledger, 0, LEDGER_TRUSTED_CALL);
        uint64_t id = reserve(ledger, &connection, 2);

        ck_assert_ptr_null(ledger_take(ledger, &root, id)); /* it isn't live yet */
        ck_assert(ledger_publish(ledger, id, LEASE(1)));
        ck_assert(ledger_is_others(ledger, id, 1000));
        ck_assert_ptr_null(ledger_take(ledger, &call, id));
        ck_assert_ptr_eq(ledger_take(ledger, &root, id), LEASE(1));
        ledger_abandon(ledger, &connection);
        ledger_disconnect(ledger, &connection);
        ck_assert(ledger_publish(ledger, id, LEASE(1)));
        ck_assert_ptr_eq(ledger_take(ledger, ledger_kept(ledger), 0), LEASE(1));
        ledger_forget(ledger, id);
        ledger_disconnect(ledger, &call);
        ledger_disconnect(ledger, &root);
        end(ledger);
}
END_TEST

/* Nobody would release it; a connection's is released when that ends. */
START_TEST(lease_of_a_call_comes_too_late_for_the_stop) {
        struct ledger *ledger = start(10, 10, 8, 8);
        struct ledger_owner call = call_as(ledger, 1000, LEDGER_CALL);
        struct ledger_owner connection = connect_as(ledger, 1000);
        uint64_t early = reserve(ledger, &call, 1), late = reserve(ledger, &call, 1);
        uint64_t connections = reserve(ledger, &connection, 1);

        ck_assert(ledger_publish(ledger, early, LEASE(1)));
        ledger_stop(ledger);
        ck_assert(!ledger_publish(ledger, late, LEASE(2)));
        ck_assert(ledger_publish(ledger, connections, LEASE(3)));
        /* What could not be released is handed back, and tried again. */
        ck_assert_ptr_eq(ledger_take(ledger, &call, early), LEASE(1));
        ck_assert(ledger_publish(ledger, early, LEASE(1)));
        ledger_forget(ledger, early);
        ledger_forget(ledger, late);
        ledger_forget(ledger, connections);
        ledger_disconnect(ledger, &call);
        ledger_disconnect(ledger, &connection);
        end(ledger);
}
END_TEST

START_TEST(what_the_predecessor_kept_is_kept_on_and_never_adopted) {
        struct record left = left_at(3, 1000, RECORD_LIVE, 2), record;
        struct ledger *ledger;
        struct ledger_owner connection, call;
        uint32_t cursor = 0;

        left.origin = RECORD_BUS;
        ledger = start_after(&left_limits, &left, 1);
        connection = connect_as(ledger, 1000);
        ck_assert(!ledger_adopt(ledger, &connection, &left, LEASE(1)));
        ck_assert(!ledger_take_left(ledger, LEDGER_LEFT_UNCLAIMED, &cursor, &record));

        cursor = 0;
        ck_assert(ledger_take_kept(ledger, &cursor, &record));
        ck_assert_uint_eq(record.lease, left.lease);
        ck_assert(!ledger_take_kept(ledger, &cursor, &record));
        ck_assert(ledger_leave(ledger, &record, true)); /* out of reach this time */
        cursor = 0;
        ck_assert(ledger_take_kept(ledger, &cursor, &record));
        ledger_keep(ledger, left.lease);
        ck_assert(ledger_publish(ledger, left.lease, LEASE(1)));
        ck_assert_uint_eq(ledger_count(ledger).left, 0);

        call = call_as(ledger, 1000, LEDGER_CALL);
        ck_assert_ptr_eq(ledger_take(ledger, &call, left.lease), LEASE(1));
        ledger_forget(ledger, left.lease);
        ledger_disconnect(ledger, &connection);
        ledger_disconnect(ledger, &call);
        end(ledger);
}
END_TEST

START_TEST(last_sweep_takes_what_the_predecessor_kept) {
        struct record left = left_at(3, 1000, RECORD_LIVE, 2), record;
        struct ledger *ledger;
        uint32_t cursor = 0;

        left.origin = RECORD_BUS;
        ledger = start_after(&left_limits, &left, 1);
        ck_assert(ledger_take_left(ledger, LEDGER_LEFT_ALL, &cursor, &record));
        ck_assert_uint_eq(record.lease, left.lease);
        ledger_forget(ledger, left.lease);
        end(ledger);
}
END_TEST

/* ---- changes ---- */

static void expect_change(struct ledger *ledger, uint64_t lease, enum change change) {
        struct change_event event;

        ck_assert(ledger_next_change(ledger, &event));
        ck_assert_uint_eq(event.lease, lease);
        ck_assert_int_eq(event.change, change);
        ck_assert_uint_eq(event.uid, 1000);
}

START_TEST(changes_say_why_a_lease_went) {
        struct record left = left_at(3, 1000, RECORD_LIVE, 1), record;
        struct ledger *ledger = start_after(&left_limits, &left, 1);
        struct ledger_owner owner = connect_as(ledger, 1000), stopped = connect_as(ledger, 1000);
        uint64_t ids[3] = {reserve(ledger, &owner, 1), reserve(ledger, &owner, 1),
                           reserve(ledger, &stopped, 1)};
        struct change_event event;
        uint32_t cursor = 0;

        ck_assert(ledger_publish(ledger, ids[0], LEASE(1))); /* nobody looks on yet */
        ledger_watch(ledger, true);
        ck_assert(ledger_publish(ledger, ids[1], LEASE(2)));
        expect_change(ledger, ids[1], CHANGE_ADDED);
        ck_assert(ledger_publish(ledger, ids[1], LEASE(2))); /* handed back: it was never gone */

        ledger_forget(ledger, ids[1]);
        expect_change(ledger, ids[1], CHANGE_UNMOUNTED);
        ledger_abandon(ledger, &owner);
        ledger_forget(ledger, ids[0]);
        expect_change(ledger, ids[0], CHANGE_DISCONNECTED);
        ck_assert(ledger_take_left(ledger, LEDGER_LEFT_UNCLAIMED, &cursor, &record));
        ledger_forget(ledger, left.lease);
        expect_change(ledger, left.lease, CHANGE_VANISHED);
        ck_assert(ledger_publish(ledger, ids[2], LEASE(3)));
        expect_change(ledger, ids[2], CHANGE_ADDED);
        ledger_stop(ledger);
        ledger_forget(ledger, ids[2]);
        expect_change(ledger, ids[2], CHANGE_STOPPED);
        ck_assert(!ledger_next_change(ledger, &event));
        ledger_disconnect(ledger, &owner);
        ledger_disconnect(ledger, &stopped);
        end(ledger);
}
END_TEST

START_TEST(changes_that_nobody_fetches_are_counted) {
        struct ledger *ledger = start(10, 10, 8, 8);
        struct ledger_owner owner = connect_as(ledger, 1000);
        struct change_event event;
        unsigned fetched = 0;

        ledger_watch(ledger, true);
        for (unsigned i = 0; i < CHANGES_MAX; i++) { /* two each */
                uint64_t id = reserve(ledger, &owner, 1);

                ck_assert(ledger_publish(ledger, id, LEASE(1)));
                ledger_forget(ledger, id);
        }
        ck_assert_uint_eq(ledger_count(ledger).missed, CHANGES_MAX);
        while (ledger_next_change(ledger, &event))
                fetched++;
        ck_assert_uint_eq(fetched, CHANGES_MAX);
        ledger_disconnect(ledger, &owner);
        end(ledger);
}
END_TEST

START_TEST(lease_that_was_not_live_is_never_adopted) {
        const struct record left[] = {left_at(3, 1000, RECORD_ATTACHING, 2),
                                      left_at(4, 1000, RECORD_RELEASING, 2)};
        struct ledger *ledger = start_after(&left_limits, left, 2);
        struct ledger_owner owner = connect_as(ledger, 1000);

        for (unsigned i = 0; i < 2; i++) {
                struct record claim = left[i];

                ck_assert(!ledger_adopt(ledger, &owner, &claim, LEASE(1)));
                claim.state = RECORD_LIVE; /* says the claim */
                ck_assert(!ledger_adopt(ledger, &owner, &claim, LEASE(1)));
                ledger_forget(ledger, left[i].lease);
        }
        ledger_disconnect(ledger, &owner);
        end(ledger);
}
END_TEST

/* A lease of this instance's is not there to be adopted, by whomever. */
START_TEST(held_lease_is_not_adopted) {
        struct ledger *ledger = start_after(&left_limits, NULL, 0);
        struct ledger_owner owner = connect_as(ledger, 1000), other = connect_as(ledger, 1000);
        uint64_t id = reserve(ledger, &owner, 1);
        struct record claim;

        ledger_record_mount(ledger, id, 0, 7);
        ck_assert(ledger_holds(ledger, 7)); /* as soon as it is on record */
        ledger_publish(ledger, id, LEASE(1));
        claim = records[id & 0xffff];
        ck_assert(!ledger_adopt(ledger, &other, &claim, LEASE(2)));
        ck_assert(!ledger_adopt(ledger, &owner, &claim, LEASE(2)));
        ck_assert_ptr_eq(ledger_take(ledger, &owner, id), LEASE(1));
        ledger_orphan(ledger, id, LEASE(1));
        ck_assert(!ledger_adopt(ledger, &owner, &claim, LEASE(2)));
        ck_assert(ledger_holds(ledger, 7));
        ledger_forget(ledger, id);
        ck_assert(!ledger_holds(ledger, 7));
        ledger_disconnect(ledger, &owner);
        ledger_disconnect(ledger, &other);
        end(ledger);
}
END_TEST

START_TEST(sweep_takes_what_none_can_adopt_or_all) {
        const struct record left[] = {
                left_at(0, 1000, RECORD_LIVE, 1), left_at(2, 1000, RECORD_ATTACHING, 1),
                left_at(3, 1001, RECORD_RELEASING, 1), left_at(19, 1001, RECORD_LIVE, 1)};

        for (int any = 0; any <= 1; any++) {
                struct ledger *ledger = start_after(&left_limits, left, 4);
                uint32_t cursor = 0;
                struct record record;

                for (unsigned i = 0; i < 4; i++) {
                        if (!any && left[i].state == RECORD_LIVE)
                                continue;
                        ck_assert(ledger_take_left(ledger, any, &cursor, &record));
                        ck_assert_mem_eq(&record, &left[i], sizeof(record));
                        ck_assert_uint_eq(cursor, RECORD_INDEX(left[i].lease) + 1);
                }
                ck_assert(!ledger_take_left(ledger, any, &cursor, &record));
                cursor = 0; /* nobody takes what somebody is at */
                ck_assert(!ledger_take_left(ledger, any, &cursor, &record));
                for (unsigned i = 0; i < 4; i++)
                        ledger_forget(ledger, left[i].lease);
                end(ledger);
        }
}
END_TEST

/* Who reads the file after our death, in the midst of a sweep, must know what may yet appear. */
START_TEST(lease_that_is_swept_is_on_record_as_what_it_is) {
        static const struct {
                enum record_state before, during;
        } rows[] = {{RECORD_LIVE, RECORD_RELEASING},
                    {RECORD_ATTACHING, RECORD_ATTACHING},
                    {RECORD_RELEASING, RECORD_RELEASING}};

        for (size_t i = 0; i < 3; i++) {
                const struct record left = left_at(3, 1000, rows[i].before, 2);
                struct ledger *ledger = start_after(&left_limits, &left, 1);
                struct ledger_owner owner = connect_as(ledger, 1000);
                uint32_t cursor = 0;
                struct record record;

                ck_assert(ledger_take_left(ledger, LEDGER_LEFT_UNCLAIMED, &cursor, &record));
                ck_assert_uint_eq(records[3].state, rows[i].during);
                ck_assert(!ledger_adopt(ledger, &owner, &left, LEASE(1))); /* it is too late */

                ck_assert(!ledger_leave(ledger, &record, false));
                ck_assert_uint_eq(records[3].state, rows[i].before);
                ck_assert_uint_eq(ledger_count(ledger).left, 1);
                /* Unless it stayed live. */
                ck_assert(ledger_adopt(ledger, &owner, &left, LEASE(1)) ==
                          (rows[i].before == RECORD_LIVE));
                ledger_forget(ledger, left.lease);
                ledger_disconnect(ledger, &owner);
                end(ledger);
        }
}
END_TEST

START_TEST(what_is_out_of_reach_is_told_once) {
        const struct record left = left_at(3, 1000, RECORD_LIVE, 2);
        struct ledger *ledger = start_after(&left_limits, &left, 1);
        static const struct {
                bool out_of_reach, told;
        } rounds[] = {{false, false}, {true, true}, {true, false}, {false, false}, {true, false}};
        struct record record;

        for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
                uint32_t cursor = 0;

                ck_assert(ledger_take_left(ledger, LEDGER_LEFT_UNCLAIMED, &cursor, &record));
                ck_assert(ledger_leave(ledger, &record, rounds[i].out_of_reach) == rounds[i].told);
        }
        /* With its state as the sweep says. */
        record.state = RECORD_RELEASING;
        ledger_leave(ledger, &record, true);
        ck_assert_uint_eq(records[3].state, RECORD_RELEASING);
        ledger_forget(ledger, left.lease);
        end(ledger);
}
END_TEST

enum {
        THREADS = 8,
        THREAD_ROUNDS = 500,
        THREAD_LEASES = 5,
};

/* As a worker of a connection does, with all outcomes; limits are met on the way. */
static void *hammer(void *argument) {
        struct ledger *ledger = argument;

        for (unsigned round = 0; round < THREAD_ROUNDS; round++) {
                uint64_t ids[THREAD_LEASES] = {0};
                struct ledger_owner owner;

                if (ledger_connect(ledger, 1000 + round % 3, 1, &owner).status != STATUS_OK)
                        continue;
                for (unsigned i = 0; i < THREAD_LEASES; i++) {
                        if (ledger_reserve(ledger, &owner, 1 + i, kinds, &ids[i]).status !=
                            STATUS_OK)
                                continue;
                        ledger_record_mount(ledger, ids[i], i, round);
                        if (i == 1)
                                ledger_forget(ledger, ids[i]);
                        else
                                ledger_publish(ledger, ids[i], LEASE(ids[i]));
                }
                if (ids[0] && ledger_take(ledger, &owner, ids[0]) != LEASE(ids[0]))
                        abort();
                if (ids[0])
                        ledger_forget(ledger, ids[0]);
                if (ids[2] && ledger_take(ledger, &owner, ids[2]))
                        ledger_orphan(ledger, ids[2], LEASE(ids[2]));
                ledger_count(ledger);
                for (struct lease *lease; (lease = ledger_take(ledger, &owner, 0));)
                        ledger_forget(ledger, (uintptr_t)lease);
                for (struct lease *lease; (lease = ledger_take(ledger, ledger_orphans(ledger), 0));)
                        ledger_forget(ledger, (uintptr_t)lease);
                ledger_disconnect(ledger, &owner);
        }
        return NULL;
}

START_TEST(many_threads_at_once_leave_nothing) {
        struct ledger *ledger = start(6, 4, 40, 30);
        pthread_t threads[THREADS];

        for (unsigned i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, hammer, ledger), 0);
        for (unsigned i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        for (unsigned i = 0; i < 40; i++)
                ck_assert_uint_eq(records[i].state, RECORD_FREE);
        end(ledger);
}
END_TEST

/* How much of the file is in our memory: mincore(2) tells what is in the page cache, so ask here.
 */
static unsigned long resident_kilobytes(const void *address) {
        unsigned long start, end, kilobytes = 0;
        FILE *maps = fopen("/proc/self/smaps", "re");
        bool here = false;
        char line[512];

        ck_assert_ptr_nonnull(maps);
        while (fgets(line, sizeof(line), maps)) {
                if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
                        here = start <= (unsigned long)address && (unsigned long)address < end;
                else if (here)
                        sscanf(line, "Rss: %lu kB", &kilobytes);
        }
        fclose(maps);
        return kilobytes;
}

START_TEST(records_that_were_never_used_take_no_memory) {
        struct ledger *ledger = start(10, 10, 16384, 16384);
        struct ledger_owner owner;
        uint64_t id, first = 0;

        ck_assert_uint_eq(ledger_connect(ledger, 1000, 1, &owner).status, STATUS_OK);
        for (unsigned i = 0; i < 100; i++) {
                const uint8_t file_systems[] = {PROTOCOL_PROC};

                ck_assert_uint_eq(ledger_reserve(ledger, &owner, 1, file_systems, &id).status,
                                  STATUS_OK);
                first = first ?: RECORD_INDEX(id) + 1;
                ck_assert_uint_eq(RECORD_INDEX(id) + 1, first);
                ledger_forget(ledger, id);
        }
        ck_assert_uint_lt(resident_kilobytes(records), 256);
        ledger_disconnect(ledger, &owner);
        end(ledger);
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "ledger", limits_the_connections_of_a_user, limits_the_connections_of_all,
                limits_the_mounts_of_a_user_over_all_connections, limits_the_mounts_of_all,
                fills_up_to_the_last_record_again_and_again, many_users_have_accounts_of_their_own,
                ids_are_unique_also_over_time, record_tells_all_about_a_lease,
                takes_a_lease_once_and_from_its_owner, takes_all_that_live_and_no_other,
                orphan_outlives_its_owner_and_counts_against_its_user,
                file_stays_for_the_next_instance_if_leases_do, closes_what_it_owns,
                abandoned_owners_leases_are_not_published, owner_has_one_attempt_at_a_time,
                limits_the_attempts_of_a_user, limits_the_attempts_of_all,
                lost_attempt_makes_room_for_others, user_who_costs_workers_mounts_no_more,
                full_loss_is_for_those_who_cost_one, room_goes_with_the_workers_that_are_left,
                one_worker_alone_attempts_until_it_is_no_more_replaced,
                what_was_left_counts_and_is_nobodys, what_was_left_may_exceed_the_limits,
                left_lease_is_adopted_once_and_then_like_any_other,
                each_disagreement_is_no_adoption, lease_that_was_not_live_is_never_adopted,
                held_lease_is_not_adopted, sweep_takes_what_none_can_adopt_or_all,
                lease_that_is_swept_is_on_record_as_what_it_is, what_is_out_of_reach_is_told_once,
                lease_of_a_call_outlives_it_and_is_its_users,
                trusted_call_takes_what_a_connection_holds,
                lease_of_a_call_comes_too_late_for_the_stop,
                what_the_predecessor_kept_is_kept_on_and_never_adopted,
                last_sweep_takes_what_the_predecessor_kept, changes_say_why_a_lease_went,
                changes_that_nobody_fetches_are_counted, many_threads_at_once_leave_nothing,
                records_that_were_never_used_take_no_memory);
}
