/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/ledger.h"

#include "tests/descriptors.h"
#include "tests/suite.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The ledger never looks into a lease: any pointer will do. */
#define LEASE(n) ((struct lease *)(uintptr_t)(n))

static const uint8_t kinds[PROTOCOL_TARGETS_MAX] = {1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2};

static char directory[64];
static struct record *records; /* the file, as another process would see it */

static struct ledger *start(unsigned connections, unsigned connections_per_user, unsigned mounts,
                            unsigned mounts_per_user) {
        struct ledger_limits limits = {connections, connections_per_user, mounts, mounts_per_user};
        struct ledger *ledger = NULL;
        struct record_file file;
        unsigned left;
        int32_t pid;

        strcpy(directory, "/tmp/mountatd-check-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
        ck_assert_int_eq(record_open(directory, mounts, &file, &pid, &left), 0);
        records = file.records;
        ck_assert_int_eq(ledger_new(&limits, &file, &ledger), 0);
        return ledger;
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
        ck_assert_uint_eq(records[id & 0xffff].state, RECORD_LIVE);
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

int main(void) {
        return SUITE_RUN("ledger", limits_the_connections_of_a_user, limits_the_connections_of_all,
                         limits_the_mounts_of_a_user_over_all_connections, limits_the_mounts_of_all,
                         fills_up_to_the_last_record_again_and_again,
                         many_users_have_accounts_of_their_own, ids_are_unique_also_over_time,
                         record_tells_all_about_a_lease, takes_a_lease_once_and_from_its_owner,
                         takes_all_that_live_and_no_other,
                         orphan_outlives_its_owner_and_counts_against_its_user,
                         file_stays_for_the_next_instance_if_leases_do, closes_what_it_owns,
                         many_threads_at_once_leave_nothing);
}
