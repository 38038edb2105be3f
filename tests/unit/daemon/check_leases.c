/* SPDX-License-Identifier: Apache-2.0 */

/* The table: reserving, publishing, taking and keeping leases, and queries. Those left by a
 * previous instance: check_leases_left. */

#include "daemon/namespaces.h"
#include "daemon/unmount.h"
#include "tests/unit/daemon/leases_fixture.h"

/* ---- reserved ---- */

START_TEST(limits_the_mounts_of_a_user_over_all_holders) {
        struct holder a = holder_of(1000), b = holder_of(1000), other = holder_of(1001);
        struct lease *taken[3];

        start(100, 20);
        taken[0] = reserve(&a, 16);
        refuses_mounts(&b, 5, "--max-mounts-per-user");
        taken[1] = reserve(&b, 4);
        refuses_mounts(&a, 1, "--max-mounts-per-user");
        refuses_mounts(&b, 1, "--max-mounts-per-user");
        taken[2] = reserve(&other, 16);
        counts_are(3, 0, 0, 36);
        leases_drop(leases, taken[1]);
        taken[1] = reserve(&a, 4);
        refuses_mounts(&a, 1, "--max-mounts-per-user");
        for (unsigned i = 0; i < 3; i++)
                leases_drop(leases, taken[i]);
        end();
}
END_TEST

START_TEST(limits_the_mounts_of_all) {
        struct holder a = holder_of(1000), b = holder_of(1001);
        struct lease *taken[3];

        start(20, 20);
        taken[0] = reserve(&a, 10);
        taken[1] = reserve(&b, 9);
        refuses_mounts(&b, 2, "--max-mounts");
        taken[2] = reserve(&a, 1);
        refuses_mounts(&b, 1, "--max-mounts");
        for (unsigned i = 0; i < 3; i++)
                leases_drop(leases, taken[i]);
        end();
}
END_TEST

/* There are as many records as mounts: leases of one mount each fill both. */
START_TEST(fills_up_to_the_last_record_again_and_again) {
        struct holder holder = holder_of(1000);
        struct lease *taken[50];

        start(50, 50);
        for (unsigned round = 0; round < 3; round++) {
                for (unsigned i = 0; i < 50; i++)
                        taken[i] = reserve(&holder, 1);
                refuses_mounts(&holder, 1, "--max-mounts");
                for (unsigned i = 0; i < 50; i++)
                        leases_drop(leases, taken[(i * 7 + round) % 50]);
        }
        end();
}
END_TEST

START_TEST(many_users_have_limits_of_their_own) {
        enum { N = 2000 };
        static struct holder holders[N];
        static struct lease *taken[N];

        start(N, 1);
        for (unsigned i = 0; i < N; i++) {
                holders[i] = holder_of(i * 65537);
                taken[i] = reserve(&holders[i], 1);
        }
        for (unsigned i = 0; i < N; i++) {
                leases_drop(leases, taken[i]);
                taken[i] = reserve(&holders[i], 1);
                refuses_mounts(&holders[i], 1, "--max-mounts-per-user");
        }
        for (unsigned i = 0; i < N; i++)
                leases_drop(leases, taken[i]);
        end();
}
END_TEST

static int compare(const void *a, const void *b) {
        const uint64_t *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

START_TEST(ids_are_unique_also_over_time) {
        enum { N = 20000 };
        struct holder holder = holder_of(1000);
        static uint64_t ids[N];

        start(4, 4);
        for (unsigned i = 0; i < N; i++) {
                struct lease *lease = reserve(&holder, 1);

                ids[i] = lease->record->lease;
                /* In hexadecimal they begin with a letter, in decimal they have 20 digits. */
                ck_assert_uint_ge(ids[i] >> 60, 0xc);
                leases_drop(leases, lease);
        }
        qsort(ids, N, sizeof(ids[0]), compare);
        for (unsigned i = 1; i < N; i++)
                ck_assert_uint_ne(ids[i - 1], ids[i]);
        end();
}
END_TEST

START_TEST(record_tells_all_about_a_lease) {
        struct holder holder = holder_of(1000);
        struct instance self;
        struct record record;
        struct lease *lease;
        uint64_t id;

        start(40, 40);
        ck_assert_int_eq(instance_self(&self), 0);
        holder.subject.pid = 4711;
        lease = reserve(&holder, 3);
        id = lease->record->lease;
        record = fake_context_record(&fake, id);
        ck_assert_uint_eq(record.lease, id);
        ck_assert_uint_eq(record.state, RECORD_ATTACHING);
        ck_assert_uint_eq(record.uid, 1000);
        ck_assert_int_eq(record.pid, 4711);
        ck_assert_uint_eq(record.count, 3);
        ck_assert_uint_eq(record.kept, 0);
        ck_assert_uint_gt(record.granted, 0);
        ck_assert_int_eq(record.writer_pid, self.pid);
        ck_assert_uint_eq(record.writer_start_time, self.start_time);
        for (unsigned i = 0; i < PROTOCOL_TARGETS_MAX; i++) {
                ck_assert_uint_eq(record.file_systems[i], i < 3 ? 1 + i % 2 : 0);
                ck_assert_uint_eq(record.mounts[i], 0);
                ck_assert_int_lt(lease->fds[i], 0);
        }
        for (unsigned i = 0; i < 3; i++)
                lease->record->mounts[i] = 100 + i;
        record = fake_context_record(&fake, id);
        ck_assert_uint_eq(record.mounts[0], 100);
        ck_assert_uint_eq(record.mounts[2], 102);

        ck_assert(leases_publish(leases, lease));
        ck_assert_uint_eq(state_of(id), RECORD_LIVE);
        ck_assert_ptr_eq(leases_take(leases, &holder, id), lease);
        ck_assert_uint_eq(state_of(id), RECORD_RELEASING);
        leases_drop(leases, lease);
        ck_assert_uint_eq(state_of(id), RECORD_FREE);
        ck_assert_uint_eq(fake_context_record(&fake, id).lease, 0);

        /* The next lease in the record finds nothing of the previous one. */
        ck_assert_ptr_eq(reserve_as(&holder, 1, true), lease);
        record = fake_context_record(&fake, id);
        ck_assert_uint_eq(record.kept, 1);
        ck_assert_uint_eq(record.mounts[0], 0);
        ck_assert_uint_eq(record.mounts[2], 0);
        ck_assert_uint_eq(record.file_systems[1], 0);
        ck_assert_uint_eq(lease->attached, 0);
        leases_drop(leases, lease);
        end();
}
END_TEST

/* ---- taken ---- */

START_TEST(takes_a_lease_once_and_from_its_holder) {
        struct holder holder = holder_of(1000), other = holder_of(1000);
        struct lease *first, *lease;
        uint64_t id, index;

        start(8, 8);
        first = reserve(&holder, 1); /* index 0, which by itself is no id */
        lease = reserve(&holder, 1);
        id = lease->record->lease;
        index = id & 0xffff;

        const uint64_t wrong[] = {
                0,
                1,
                index,             /* without the random part */
                id ^ (1ULL << 16), /* or wrong */
                id ^ (1ULL << 63),
                (id & ~0xffffULL) | (index + 1), /* another record, which is free */
                (id & ~0xffffULL),               /* or not live */
                (id & ~0xffffULL) | 8,           /* the first record that doesn't exist */
                (id & ~0xffffULL) | 0xffff,      /* the last */
                UINT64_MAX,
        };

        ck_assert_ptr_null(leases_take(leases, &holder, id)); /* not live yet */
        ck_assert_ptr_null(leases_take_next(leases, &holder));
        ck_assert(leases_publish(leases, lease));
        ck_assert_ptr_null(leases_take(leases, &other, id));
        ck_assert_ptr_null(leases_take_next(leases, &other));
        ck_assert_ptr_null(leases_take(leases, leases_orphans(leases), id));
        ck_assert_ptr_null(leases_take(leases, leases_kept(leases), id));
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
                ck_assert_ptr_null(leases_take(leases, &holder, wrong[i]));

        ck_assert_ptr_eq(leases_take(leases, &holder, id), lease);
        ck_assert_ptr_null(leases_take(leases, &holder, id)); /* already taken */
        ck_assert_ptr_null(leases_take_next(leases, &holder));
        leases_give_back(leases, lease);
        ck_assert_uint_eq(state_of(id), RECORD_LIVE);
        ck_assert_ptr_eq(leases_take_next(leases, &holder), lease);
        leases_drop(leases, lease);
        ck_assert_ptr_null(leases_take(leases, &holder, id));
        leases_drop(leases, first);
        end();
}
END_TEST

/* Each live lease once, skipping the others; released in any order. */
START_TEST(takes_all_that_live_and_no_other) {
        struct holder holder = holder_of(1000);
        struct lease *all[12], *lease;
        unsigned taken = 0;

        start(12, 12);
        for (unsigned i = 0; i < 12; i++) {
                all[i] = reserve(&holder, 1);
                if (i % 3 != 1)
                        ck_assert(leases_publish(leases, all[i]));
        }
        take_and_drop(&holder, all[3]->record->lease);  /* from the middle */
        take_and_drop(&holder, all[11]->record->lease); /* an end */
        take_and_drop(&holder, all[0]->record->lease);  /* the other end */

        for (; (lease = leases_take_next(leases, &holder)); taken++)
                leases_drop(leases, lease);
        ck_assert_uint_eq(taken, 8 - 3);
        counts_are(4, 0, 0, 4);
        for (unsigned i = 1; i < 12; i += 3)
                leases_drop(leases, all[i]);
        end();
}
END_TEST

START_TEST(orphan_outlives_its_holder_and_counts_against_its_user) {
        struct holder holder = holder_of(1000), again = holder_of(1000);
        struct lease *lease;
        uint64_t id;

        start(8, 4);
        id = grant(&holder, 3);
        lease = leases_take_next(leases, &holder);
        leases_orphan(leases, lease);
        counts_are(1, 0, 1, 3);
        ck_assert(!may_take(&holder, id));
        ck_assert_uint_eq(state_of(id), RECORD_RELEASING);
        leases_abandon(leases, &holder);

        refuses_mounts(&again, 2, "--max-mounts-per-user");
        ck_assert(!may_take(&again, id));
        ck_assert_ptr_eq(leases_take_next(leases, leases_orphans(leases)), lease);
        leases_give_back(leases, lease); /* still an orphan, and still not live */
        counts_are(1, 0, 1, 3);
        ck_assert_uint_eq(state_of(id), RECORD_RELEASING);
        ck_assert_ptr_eq(leases_take_next(leases, leases_orphans(leases)), lease);
        leases_drop(leases, lease);
        leases_drop(leases, reserve(&again, 4));
        end();
}
END_TEST

START_TEST(abandoned_holders_leases_are_not_published) {
        struct holder holder = holder_of(1000), other = holder_of(1000);
        struct lease *live, *taken, *late, *keep, *others;
        uint64_t id;

        start(8, 8);
        live = reserve(&holder, 1);
        taken = reserve(&holder, 1);
        late = reserve(&holder, 1);
        keep = reserve_as(&holder, 1, true);
        others = reserve(&other, 1);
        id = live->record->lease;
        ck_assert(leases_publish(leases, live));
        ck_assert(leases_publish(leases, taken));
        ck_assert_ptr_eq(leases_take(leases, &holder, taken->record->lease), taken);
        leases_abandon(leases, &holder);
        ck_assert(!leases_publish(leases, late));
        ck_assert(!leases_publish(leases, keep));
        ck_assert_uint_eq(late->record->state, RECORD_ATTACHING);
        ck_assert(!may_take(&holder, late->record->lease));
        ck_assert(leases_publish(leases, others));

        /* A lease that was live, and one that is given back, are orphans. */
        ck_assert_uint_eq(state_of(id), RECORD_RELEASING);
        ck_assert_ptr_null(leases_take_next(leases, &holder));
        counts_are(5, 0, 1, 5);
        leases_give_back(leases, taken);
        ck_assert_uint_eq(state_of(taken->record->lease), RECORD_RELEASING);
        counts_are(5, 0, 2, 5);
        ck_assert_ptr_eq(leases_take_next(leases, leases_orphans(leases)), taken);
        ck_assert_ptr_eq(leases_take_next(leases, leases_orphans(leases)), live);

        leases_drop(leases, taken);
        leases_drop(leases, live);
        leases_drop(leases, late);
        leases_drop(leases, keep);
        take_and_drop(&other, others->record->lease);
        end();
}
END_TEST

/* ---- kept ---- */

START_TEST(kept_lease_outlives_its_holder_and_is_its_users) {
        struct holder holder = holder_of(1000), other = holder_of(1000), stranger = holder_of(1001),
                      root = holder_of(0), admin = administrator();
        struct lease *lease;
        uint64_t id;

        start(8, 3);
        id = grant_as(&holder, 2, true);
        ck_assert_uint_eq(fake_context_record(&fake, id).kept, 1);
        ck_assert_uint_eq(state_of(id), RECORD_LIVE);
        ck_assert_ptr_null(leases_take_next(leases, &holder)); /* not released with the holder */
        leases_abandon(leases, &holder);
        counts_are(1, 0, 0, 2);
        refuses_mounts(&other, 2, "--max-mounts-per-user"); /* it is still charged */

        ck_assert(!may_take(&stranger, id));
        ck_assert(!may_take(&root, id)); /* only trust counts, not the uid */
        ck_assert(may_take(&admin, id));
        ck_assert(may_take(&holder, id));

        lease = leases_take(leases, &other, id);
        ck_assert_ptr_nonnull(lease);
        ck_assert_ptr_null(leases_take(leases, &holder, id)); /* one at a time */
        ck_assert_ptr_null(leases_take(leases, &admin, id));
        ck_assert_ptr_null(leases_take_next(leases, leases_kept(leases)));
        ck_assert_uint_eq(state_of(id), RECORD_RELEASING);
        leases_abandon(leases, &other);
        leases_give_back(leases, lease); /* whoever took it, it is kept */
        ck_assert_uint_eq(state_of(id), RECORD_LIVE);
        ck_assert_ptr_eq(leases_take_next(leases, leases_kept(leases)), lease);
        leases_drop(leases, lease);
        end();
}
END_TEST

START_TEST(lease_that_is_not_kept_is_its_holders_alone) {
        struct holder holder = holder_of(1000), other = holder_of(1000);
        uint64_t id;

        start(8, 8);
        id = grant(&holder, 1);
        ck_assert(!may_take(&other, id));
        ck_assert_ptr_null(leases_take_next(leases, leases_kept(leases)));
        take_and_drop(&holder, id);
        end();
}
END_TEST

/* A lease that can't be released becomes an orphan: the holder it was taken from may have ended. */
START_TEST(administrator_takes_what_another_holds) {
        struct holder holder = holder_of(1000), other = holder_of(1000), admin = administrator();
        struct lease *lease;
        uint64_t id;

        start(8, 8);
        lease = reserve(&holder, 2);
        id = lease->record->lease;
        ck_assert(!may_take(&admin, id)); /* not live yet */
        ck_assert(leases_publish(leases, lease));
        ck_assert_ptr_null(leases_take_next(leases, &admin)); /* only by its id */
        ck_assert_ptr_eq(leases_take(leases, &admin, id), lease);
        ck_assert_ptr_null(leases_take_next(leases, &holder));
        leases_abandon(leases, &holder);
        leases_give_back(leases, lease);
        ck_assert_uint_eq(state_of(id), RECORD_RELEASING);
        ck_assert(!may_take(&other, id));
        ck_assert_ptr_null(leases_take_next(leases, leases_kept(leases)));
        ck_assert_ptr_eq(leases_take_next(leases, leases_orphans(leases)), lease);
        leases_drop(leases, lease);
        end();
}
END_TEST

START_TEST(administrator_takes_an_orphan) {
        struct holder holder = holder_of(1000), admin = administrator();
        struct lease *lease;
        uint64_t id;

        start(8, 8);
        id = grant(&holder, 1);
        lease = leases_take_next(leases, &holder);
        leases_orphan(leases, lease);
        ck_assert_ptr_eq(leases_take(leases, &admin, id), lease);
        leases_give_back(leases, lease);
        counts_are(1, 0, 1, 1);
        ck_assert_uint_eq(state_of(id), RECORD_RELEASING);
        take_and_drop(&admin, id);
        end();
}
END_TEST

/* Nobody would release it; a connection's lease is released when the connection ends. */
START_TEST(lease_to_keep_comes_too_late_for_the_stop) {
        struct holder holder = holder_of(1000);
        struct lease *early, *late, *connections;
        uint64_t id;

        start(8, 8);
        early = reserve_as(&holder, 1, true);
        late = reserve_as(&holder, 1, true);
        connections = reserve(&holder, 1);
        id = early->record->lease;
        ck_assert(leases_publish(leases, early));
        leases_stop(leases);
        ck_assert(!leases_publish(leases, late));
        ck_assert_uint_eq(late->record->state, RECORD_ATTACHING);
        ck_assert(leases_publish(leases, connections));
        /* A lease that could not be released is given back, and tried again. */
        ck_assert(may_take(&holder, id));
        ck_assert_ptr_eq(leases_take_next(leases, leases_kept(leases)), early);
        leases_drop(leases, early);
        leases_drop(leases, late);
        take_and_drop(&holder, connections->record->lease);
        end();
}
END_TEST

/* ---- queries ---- */

START_TEST(next_shows_each_lease_with_a_root_of_its_own) {
        const struct record left = left_at(3, 1000, RECORD_LIVE, 2);
        struct holder holder = holder_of(1000);
        struct stat ours, theirs;
        struct lease *lease, *bare;
        struct record record;
        uint32_t cursor = 0;
        int root = 4711;

        start_with(&left, 1);
        lease = reserve(&holder, 3);                   /* index 0 */
        bare = reserve(&holder, 1);                    /* index 1 */
        lease->fds[1] = open("/", O_PATH | O_CLOEXEC); /* the first that exists */
        lease->fds[2] = open("/tmp", O_PATH | O_CLOEXEC);

        /* Busy leases are listed; but the thread at work on them may close their descriptors. */
        ck_assert(leases_next(leases, &cursor, &record, &root));
        ck_assert_uint_eq(record.lease, lease->record->lease);
        ck_assert_uint_eq(record.state, RECORD_ATTACHING);
        ck_assert_int_eq(root, -EBADF);

        cursor = 0;
        ck_assert(leases_publish(leases, lease));
        ck_assert(leases_publish(leases, bare));
        ck_assert(leases_next(leases, &cursor, &record, &root));
        ck_assert_mem_eq(&record, lease->record, sizeof(record));
        ck_assert_int_ge(root, 3);
        ck_assert_int_ne(root, lease->fds[1]);
        ck_assert_int_eq(fcntl(root, F_GETFD), FD_CLOEXEC);
        ck_assert_int_eq(fstat(root, &theirs), 0);
        ck_assert_int_eq(fstat(lease->fds[1], &ours), 0);
        ck_assert_uint_eq(theirs.st_ino, ours.st_ino);
        fd_close(root);
        ck_assert(leases_next(leases, &cursor, &record, &root));
        ck_assert_uint_eq(record.lease, bare->record->lease);
        ck_assert_int_eq(root, -EBADF);
        ck_assert(leases_next(leases, &cursor, &record, &root)); /* skips free ones */
        ck_assert_uint_eq(record.lease, left.lease);
        ck_assert_uint_eq(cursor, 4);
        ck_assert_int_eq(root, -EBADF);
        ck_assert(!leases_next(leases, &cursor, &record, &root));
        ck_assert_int_eq(root, -EBADF);

        take_and_drop(&holder, bare->record->lease);
        cursor = 1;
        ck_assert(leases_next(leases, &cursor, &record, &root));
        ck_assert_uint_eq(record.lease, left.lease);
        close_and_drop(leases_take_next(leases, &holder));
        forget_left();
        cursor = 0;
        ck_assert(!leases_next(leases, &cursor, &record, &root));
        end();
}
END_TEST

/* Neither a held lease, nor another user's. */
START_TEST(mount_of_who_has_hung_up_or_lets_it_go_is_leaving) {
        struct holder alive = holder_of(1000), gone = holder_of(1000);
        struct lease *held, *left, *taken;
        int ends[2], others[2];

        start(100, 100);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, others), 0);
        alive.socket = ends[0];
        gone.socket = others[0];
        ck_assert_int_eq(send(others[1], "x", 1, 0),
                         1); /* unread data, and a hangup nevertheless */
        held = reserve(&alive, 2);
        left = reserve(&gone, 1);
        held->record->mounts[1] = 7;
        left->record->mounts[0] = 8;
        ck_assert(leases_publish(leases, held));
        ck_assert(leases_publish(leases, left));
        ck_assert(!leases_is_leaving(leases, 1000, 7));
        ck_assert(!leases_is_leaving(leases, 1000, 8));
        ck_assert(!leases_is_leaving(leases, 1000, 9)); /* an orphan's */

        close(others[1]);
        ck_assert(leases_is_leaving(leases, 1000, 8));
        ck_assert(!leases_is_leaving(leases, 1001, 8));
        ck_assert(!leases_is_leaving(leases, 1000, 7));
        taken = leases_take(leases, &alive, held->record->lease);
        ck_assert_ptr_eq(taken, held);
        ck_assert(leases_is_leaving(leases, 1000, 7));
        leases_orphan(leases, taken);
        ck_assert(leases_is_leaving(leases, 1000, 7));
        take_and_drop(leases_orphans(leases), held->record->lease);
        take_and_drop(&gone, left->record->lease);
        ck_assert(!leases_is_leaving(leases, 1000, 7));
        close(others[0]);
        close(ends[0]);
        close(ends[1]);
        end();
}
END_TEST

/* While the kernel frees its memory, its connection is still open; a zombie looks the same. */
START_TEST(mount_of_a_killed_client_is_leaving) {
        const struct ucred peer = {.pid = 4711, .uid = 1000, .gid = 1000};
        int kinds[NAMESPACES_KINDS] = {-EBADF, -EBADF, -EBADF, -EBADF};
        struct holder holder = holder_of(1000);
        struct namespaces *namespaces;
        struct lease *held;
        siginfo_t info;
        int ends[2];
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                for (;;)
                        pause();
        ck_assert_int_eq(namespaces_prepare(false), 0);
        start(100, 100);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        holder.socket = ends[0];
        holder.subject.pid = pid;
        held = reserve(&holder, 1);
        held->record->mounts[0] = 7;
        ck_assert(leases_publish(leases, held));
        ck_assert(!leases_is_leaving(leases, 1000, 7));

        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert(leases_is_leaving(leases, 1000, 7));
        ck_assert_int_eq(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
        ck_assert(leases_is_leaving(leases, 1000, 7));
        ck_assert(!leases_is_leaving(leases, 1001, 7));

        /* In there /proc isn't ours. */
        ck_assert_int_eq(unmount_isolate(), 0);
        kinds[PROTOCOL_NAMESPACE_MOUNT] = fake_namespace(CLONE_NEWNS, 7);
        ck_assert_uint_eq(namespaces_enter(kinds, &peer, &namespaces).status, STATUS_OK);
        ck_assert(!leases_is_leaving(leases, 1000, 7));
        namespaces_free(namespaces);
        fd_close(kinds[PROTOCOL_NAMESPACE_MOUNT]);
        ck_assert(leases_is_leaving(leases, 1000, 7));

        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        ck_assert(!leases_is_leaving(leases, 1000, 7));
        take_and_drop(&holder, held->record->lease);
        close(ends[0]);
        close(ends[1]);
        end();
}
END_TEST

/*
 * Only leases of this instance: a record of the previous one may name a mount that is gone, by an
 * id that has been reused.
 */
START_TEST(finds_the_lease_of_a_mount) {
        const struct record left[] = {left_at(3, 1000, RECORD_LIVE, 5),
                                      left_at(4, 1000, RECORD_LIVE, 1)};
        struct holder holder = holder_of(1000);
        struct lease *lease;
        uint64_t id;

        start_with(left, 2);
        lease = reserve(&holder, 2);
        id = lease->record->lease;
        ck_assert_uint_eq(leases_find_mount(leases, 7), 0);
        lease->record->mounts[1] = 7;
        ck_assert_uint_eq(leases_find_mount(leases, 7), id); /* once it is on record */
        ck_assert(leases_publish(leases, lease));
        ck_assert_uint_eq(leases_find_mount(leases, 7), id);
        ck_assert_uint_eq(leases_find_mount(leases, 8), 0);

        ck_assert_uint_eq(leases_find_mount(leases, left[0].mounts[4]), 0);
        ck_assert(adopt(&holder, &left[0]));
        ck_assert_uint_eq(leases_find_mount(leases, left[0].mounts[4]), left[0].lease);
        ck_assert_uint_eq(leases_find_mount(leases, left[1].mounts[0]), 0);
        close_and_drop(leases_take(leases, &holder, left[0].lease));
        ck_assert_uint_eq(leases_find_mount(leases, left[0].mounts[4]), 0);

        lease = leases_take(leases, &holder, id);
        ck_assert_uint_eq(leases_find_mount(leases, 7), id); /* until it is dropped */
        leases_orphan(leases, lease);
        ck_assert_uint_eq(leases_find_mount(leases, 7), id);
        leases_drop(leases, leases_take_next(leases, leases_orphans(leases)));
        ck_assert_uint_eq(leases_find_mount(leases, 7), 0);
        forget_left();
        end();
}
END_TEST

START_TEST(lease_is_others_unless_it_is_kept_for_the_user) {
        const struct record left = kept_at(3, 1000, RECORD_LIVE, 1);
        struct holder holder = holder_of(1000);
        struct lease *lease;
        uint64_t kept, held;

        start_with(&left, 1);
        kept = grant_as(&holder, 1, true);
        held = grant(&holder, 1);
        ck_assert(!leases_is_others(leases, kept, 1000));
        ck_assert(leases_is_others(leases, kept, 1001));
        ck_assert(leases_is_others(leases, held, 1000));
        ck_assert(leases_is_others(leases, held, 1001));
        /* No such lease: busy, waiting, or never granted. */
        lease = leases_take(leases, &holder, held);
        ck_assert(!leases_is_others(leases, held, 1001));
        ck_assert(!leases_is_others(leases, left.lease, 1001));
        ck_assert(!leases_is_others(leases, held + 1, 1001));
        ck_assert(!leases_is_others(leases, 0, 1001));
        leases_orphan(leases, lease);
        ck_assert(leases_is_others(leases, held, 1000));

        leases_drop(leases, leases_take_next(leases, leases_orphans(leases)));
        take_and_drop(&holder, kept);
        forget_left();
        end();
}
END_TEST

/* ---- the end ---- */

START_TEST(file_stays_for_the_next_instance_if_leases_do) {
        struct holder holder = holder_of(1000);
        uint64_t id;

        start(8, 8);
        id = grant(&holder, 1);
        leases_orphan(leases, leases_take_next(leases, &holder));
        ck_assert_ptr_null(leases_free(leases));
        ck_assert_uint_eq(state_of(id), RECORD_RELEASING);
        fake_context_remove_file(&fake);
        ck_assert_ptr_null(leases_free(NULL));
}
END_TEST

START_TEST(closes_what_it_owns) {
        unsigned descriptors;

        fake_context_prepare();
        descriptors = descriptors_count();
        start(STATE_RECORDS_MAX, STATE_RECORDS_MAX);
        end();
        ck_assert_uint_eq(descriptors_count(), descriptors);
}
END_TEST

/* Run by threads that find the table frozen: each counts itself if it gets through. */
static atomic_uint frozen_through;
static struct holder frozen_holder;
static struct lease *frozen_lease, *frozen_taken;
static uint64_t frozen_live;
static struct record frozen_left;

static void *reserve_when_frozen(void *argument) {
        reserve(&frozen_holder, 1);
        frozen_through++;
        return argument;
}

static void *publish_when_frozen(void *argument) {
        leases_publish(leases, frozen_lease);
        frozen_through++;
        return argument;
}

static void *take_when_frozen(void *argument) {
        leases_take(leases, &frozen_holder, frozen_live);
        frozen_through++;
        return argument;
}

static void *take_next_when_frozen(void *argument) {
        leases_take_next(leases, &frozen_holder);
        frozen_through++;
        return argument;
}

static void *drop_when_frozen(void *argument) {
        leases_drop(leases, frozen_taken);
        frozen_through++;
        return argument;
}

static void *adopt_when_frozen(void *argument) {
        adopt(&frozen_holder, &frozen_left);
        frozen_through++;
        return argument;
}

static void *sweep_when_frozen(void *argument) {
        uint32_t cursor = 0;
        struct record record;

        leases_take_left(leases, LEASES_LEFT_ALL, &cursor, &record);
        frozen_through++;
        return argument;
}

START_TEST(nothing_happens_any_more_once_it_is_frozen) {
        static void *(*const attempts[])(void *) = {
                reserve_when_frozen, publish_when_frozen, take_when_frozen, take_next_when_frozen,
                drop_when_frozen,    adopt_when_frozen,   sweep_when_frozen};
        pthread_t thread;

        frozen_left = left_at(3, 1000, RECORD_LIVE, 2);
        frozen_holder = holder_of(1000);
        start_with(&frozen_left, 1);
        frozen_lease = reserve(&frozen_holder, 1);
        frozen_live = grant(&frozen_holder, 1);
        frozen_taken = reserve(&frozen_holder, 1);

        leases_freeze(leases);
        for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
                ck_assert_int_eq(pthread_create(&thread, NULL, attempts[i], NULL), 0);
                ck_assert_int_eq(pthread_detach(thread), 0);
        }
        usleep(200 * 1000);
        ck_assert_uint_eq(frozen_through, 0);
        ck_assert_uint_eq(state_of(frozen_lease->record->lease), RECORD_ATTACHING);
        ck_assert_uint_eq(state_of(frozen_live), RECORD_LIVE);
        ck_assert_uint_eq(state_of(frozen_taken->record->lease), RECORD_ATTACHING);
        ck_assert_uint_eq(state_of(frozen_left.lease), RECORD_LIVE);
        ck_assert_uint_eq(fake_context_records(&fake), 4); /* as the next instance will find them */
        fake_context_remove_file(&fake);
        _exit(0); /* at once, as the daemon does */
}
END_TEST

/* ---- threads ---- */

enum {
        THREADS = 8,
        THREAD_ROUNDS = 500,
        THREAD_LEASES = 5,
};

/* Like a connection's thread, with all outcomes; limits are hit on the way. */
static void hammer_once(struct holder *holder, unsigned round) {
        struct lease *lease;
        uint64_t ids[THREAD_LEASES] = {0};

        for (unsigned i = 0; i < THREAD_LEASES; i++) {
                struct lease_orders orders = orders_for(1 + i, i == 3);

                if (leases_reserve(leases, holder, &orders, &lease).status != STATUS_OK)
                        continue;
                ids[i] = lease->record->lease;
                for (unsigned j = 0; j <= i; j++)
                        __atomic_store_n(&lease->record->mounts[j], round, __ATOMIC_RELEASE);
                if (i == 1 || !leases_publish(leases, lease))
                        leases_drop(leases, lease);
        }
        if (ids[0]) {
                lease = leases_take(leases, holder, ids[0]);
                if (!lease || lease->record->lease != ids[0])
                        abort();
                leases_drop(leases, lease);
        }
        lease = leases_take(leases, holder, ids[2]);
        if (lease)
                leases_orphan(leases, lease);
        lease = leases_take(leases, holder, ids[3]); /* kept: another thread may have been faster */
        if (lease && round % 2)
                leases_give_back(leases, lease);
        else if (lease)
                leases_drop(leases, lease);
}

static void look_on(unsigned round) {
        struct record record;
        uint32_t cursor = 0;
        int root;

        leases_count(leases);
        leases_find_mount(leases, round);
        while (leases_next(leases, &cursor, &record, &root)) {
                if (root >= 0 || record.lease == 0 || RECORD_INDEX(record.lease) != cursor - 1)
                        abort();
                leases_is_others(leases, record.lease, 1000);
        }
}

static void *hammer(void *argument) {
        for (unsigned round = 0; round < THREAD_ROUNDS; round++) {
                struct holder holder = holder_of(1000 + round % 3);
                struct lease *lease;

                hammer_once(&holder, round);
                look_on(round);
                while ((lease = leases_take_next(leases, &holder)))
                        leases_drop(leases, lease);
                while ((lease = leases_take_next(leases, leases_orphans(leases))))
                        leases_drop(leases, lease);
                if (round % 10 == 0)
                        while ((lease = leases_take_next(leases, leases_kept(leases))))
                                leases_drop(leases, lease);
        }
        return argument;
}

START_TEST(many_threads_at_once_leave_nothing) {
        pthread_t threads[THREADS];
        struct lease *lease;

        start(40, 30);
        for (unsigned i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, hammer, NULL), 0);
        for (unsigned i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        while ((lease = leases_take_next(leases, leases_kept(leases))))
                leases_drop(leases, lease);
        end();
}
END_TEST

/* ---- memory ---- */

/*
 * How much of the file is in our memory: mincore(2) reports the page cache, so ask smaps instead.
 */
static unsigned long resident_kilobytes(void) {
        unsigned long start_, end_, kilobytes = 0;
        FILE *maps = fopen("/proc/self/smaps", "re");
        bool here = false, found = false;
        char line[512];

        ck_assert_ptr_nonnull(maps);
        while (fgets(line, sizeof(line), maps)) {
                if (sscanf(line, "%lx-%lx ", &start_, &end_) == 2)
                        here = strstr(line, fake.directory);
                else if (here && sscanf(line, "Rss: %lu kB", &kilobytes) == 1)
                        found = true;
        }
        fclose(maps);
        ck_assert(found);
        return kilobytes;
}

START_TEST(records_that_were_never_used_take_no_memory) {
        struct holder holder = holder_of(1000);
        uint64_t first = 0;

        start(16384, 16384);
        for (unsigned i = 0; i < 100; i++) {
                struct lease *lease = reserve(&holder, 1);
                uint32_t index = RECORD_INDEX(lease->record->lease);

                first = first ?: index + 1;
                ck_assert_uint_eq(index + 1, first);
                leases_drop(leases, lease);
        }
        ck_assert_uint_lt(resident_kilobytes(), 256);
        end();
}
END_TEST

START_TEST(place_of_a_lease_is_told_to_who_may_take_it) {
        struct namespaces inside = {.id = 7, .inode = 77};
        struct holder holder = holder_of(1000), other = holder_of(1000), admin = administrator();
        uint64_t id, home, place = 4711;

        start(20, 20);
        ck_assert(!leases_are_held(leases, &holder));
        home = grant(&holder, 1);
        holder.namespaces = &inside;
        id = grant(&holder, 2);
        ck_assert(leases_are_held(leases, &holder));
        ck_assert(!leases_are_held(leases, &other));

        ck_assert(!leases_find_place(leases, &other, id, &place));
        ck_assert(!leases_find_place(leases, &holder, id + 1000, &place));
        ck_assert_uint_eq(place, 4711);
        ck_assert(leases_find_place(leases, &holder, id, &place));
        ck_assert_uint_eq(place, 7);
        ck_assert(leases_find_place(leases, &holder, home, &place));
        ck_assert_uint_eq(place, 0);
        ck_assert(leases_find_place(leases, &admin, id, &place));
        ck_assert_uint_eq(place, 7);
        take_and_drop(&holder, id);
        ck_assert(!leases_find_place(leases, &holder, id, &place));
        take_and_drop(&holder, home);
        ck_assert(!leases_are_held(leases, &holder));
        end();
}
END_TEST

START_TEST(lease_says_since_when_it_is) {
        struct holder holder = holder_of(1000);
        uint64_t before, after, id;
        struct record record;
        uint32_t cursor = 0;
        int root;

        start(20, 20);
        ck_assert_ptr_eq(leases_templates(leases), fake.context.templates);
        before = leases_now();
        id = grant(&holder, 1);
        after = leases_now();
        ck_assert(leases_next(leases, &cursor, &record, &root));
        fd_close(root);
        ck_assert_uint_eq(record.lease, id);
        ck_assert_uint_ge(record.granted, before);
        ck_assert_uint_le(record.granted, after);
        take_and_drop(&holder, id);
        end();
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "leases", limits_the_mounts_of_a_user_over_all_holders, limits_the_mounts_of_all,
                fills_up_to_the_last_record_again_and_again,
                mount_of_who_has_hung_up_or_lets_it_go_is_leaving,
                mount_of_a_killed_client_is_leaving, many_users_have_limits_of_their_own,
                ids_are_unique_also_over_time, record_tells_all_about_a_lease,
                takes_a_lease_once_and_from_its_holder, takes_all_that_live_and_no_other,
                orphan_outlives_its_holder_and_counts_against_its_user,
                abandoned_holders_leases_are_not_published,
                kept_lease_outlives_its_holder_and_is_its_users,
                lease_that_is_not_kept_is_its_holders_alone, administrator_takes_what_another_holds,
                administrator_takes_an_orphan, lease_to_keep_comes_too_late_for_the_stop,
                next_shows_each_lease_with_a_root_of_its_own, finds_the_lease_of_a_mount,
                lease_is_others_unless_it_is_kept_for_the_user,
                file_stays_for_the_next_instance_if_leases_do, closes_what_it_owns,
                nothing_happens_any_more_once_it_is_frozen, many_threads_at_once_leave_nothing,
                records_that_were_never_used_take_no_memory,
                place_of_a_lease_is_told_to_who_may_take_it, lease_says_since_when_it_is);
}
