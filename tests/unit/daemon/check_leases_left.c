/* SPDX-License-Identifier: Apache-2.0 */

/* Leases left by a previous instance: adopted, swept, kept, or left alone. */

#include "tests/unit/daemon/leases_fixture.h"

START_TEST(what_was_left_counts_and_is_nobodys) {
        const struct record left[] = {left_at(3, 1000, RECORD_LIVE, 5),
                                      left_at(0, 1000, RECORD_ATTACHING, 2),
                                      left_at(19, 1001, RECORD_RELEASING, 1)};
        struct holder holder = holder_of(1000), other = holder_of(1001), admin = administrator();
        struct lease *taken[2];

        start_with(left, 3);
        counts_are(3, 3, 0, 8);
        for (unsigned i = 0; i < 3; i++) {
                ck_assert(!may_take(&holder, left[i].lease));
                ck_assert(!may_take(leases_orphans(leases), left[i].lease));
                ck_assert(!may_take(leases_kept(leases), left[i].lease));
                ck_assert(!may_take(&admin, left[i].lease));
        }
        ck_assert_ptr_null(leases_take_next(leases, &holder));

        refuses_mounts(&holder, 3, "--max-mounts-per-user");
        taken[0] = reserve(&holder, 2);
        taken[1] = reserve(&other, 8);
        refuses_mounts(&other, 1, "--max-mounts-per-user");
        for (unsigned i = 0; i < 2; i++) {
                for (unsigned j = 0; j < 3; j++) /* no record is used twice */
                        ck_assert_uint_ne(RECORD_INDEX(taken[i]->record->lease),
                                          RECORD_INDEX(left[j].lease));
                leases_drop(leases, taken[i]);
        }
        forget_left();
        end();
}
END_TEST

/* Charged what the kernel holds for it, even if the previous instance had counted otherwise. */
START_TEST(dev_counts_as_all_its_mounts) {
        struct record left = left_at(3, 1000, RECORD_LIVE, 1);
        struct holder holder = holder_of(1000);
        struct lease_orders orders = orders_for(2, false);
        struct lease *lease = NULL;

        left.mounted = 8; /* without shm */
        start_after(18, 18, &left, 1);
        counts_are(1, 1, 0, 8);
        orders.orders[1].kind = TEMPLATE_DEV;
        orders.orders[1].file_system = PROTOCOL_DEV;
        ck_assert_uint_eq(leases_reserve(leases, &holder, &orders, &lease).status, STATUS_OK);
        ck_assert_uint_eq(lease->record->mounted, 10);
        counts_are(2, 1, 0, 18);
        refuses_mounts(&holder, 1, "--max-mounts");
        leases_drop(leases, lease);
        counts_are(1, 1, 0, 8);
        forget_left();
        end();
}
END_TEST

/* Beyond the limits, which may have been higher before. */
START_TEST(what_was_left_may_exceed_the_limits) {
        struct holder holder = holder_of(1001);
        struct record left[20];

        for (unsigned i = 0; i < 20; i++)
                left[i] = left_at(i, 1000, RECORD_LIVE, 16);
        start_with(left, 20);
        counts_are(20, 20, 0, 320);
        refuses_mounts(&holder, 1, "--max-mounts");
        forget_left();
        leases_drop(leases, reserve(&holder, 9));
        end();
}
END_TEST

START_TEST(left_lease_is_adopted_once_and_then_like_any_other) {
        const struct record left[] = {left_at(3, 1000, RECORD_LIVE, 5),
                                      left_at(4, 1000, RECORD_LIVE, 1)};
        struct holder holder = holder_of(1000), other = holder_of(1000);
        struct record record, swept;
        struct lease *lease;
        uint32_t cursor = 0;

        start_with(left, 2);
        holder.subject.pid = 4711;
        ck_assert(adopt(&holder, &left[0]));
        record = fake_context_record(&fake, left[0].lease);
        ck_assert_int_eq(record.pid, 4711);
        ck_assert_uint_eq(record.state, RECORD_LIVE);
        ck_assert_uint_eq(record.uid, 1000);
        counts_are(2, 1, 0, 6);

        ck_assert(!adopt(&holder, &left[0]));
        ck_assert(!adopt(&other, &left[0]));
        ck_assert(!may_take(&other, left[0].lease));
        /* The sweep takes only the other lease. */
        ck_assert(leases_take_left(leases, LEASES_LEFT_UNCLAIMED, &cursor, &swept));
        ck_assert_uint_eq(swept.lease, left[1].lease);
        ck_assert(!leases_take_left(leases, LEASES_LEFT_UNCLAIMED, &cursor, &swept));
        leases_forget(leases, left[1].lease);

        lease = leases_take(leases, &holder, left[0].lease);
        ck_assert_ptr_nonnull(lease);
        ck_assert_uint_eq(lease->attached, 0x1f);
        for (unsigned i = 0; i < 5; i++)
                ck_assert_int_ge(lease->fds[i], 0);
        close_and_drop(lease);
        end();
}
END_TEST

/* Each row differs from the record in one field. */
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
        {"another last kind", offsetof(struct record, file_systems) + 4, 1, 3},
        {"another first mount", offsetof(struct record, mounts), 8, 302},
        {"another last mount", offsetof(struct record, mounts) + 4 * 8, 8, 304},
};

START_TEST(each_disagreement_is_no_adoption) {
        const struct record left = left_at(3, 1000, RECORD_LIVE, 5);
        struct holder holder = holder_of(1000), again = holder_of(1000), stranger = holder_of(1001),
                      root = holder_of(0), admin = administrator();
        struct record record;

        start_with(&left, 1);
        for (size_t i = 0; i < sizeof(disagreements) / sizeof(disagreements[0]); i++) {
                struct record claim = left;

                memcpy((char *)&claim + disagreements[i].offset, &disagreements[i].value,
                       disagreements[i].size);
                ck_assert_msg(!adopt(&holder, &claim), "%s", disagreements[i].what);
        }
        ck_assert(!adopt(&stranger, &left));
        ck_assert(!adopt(&root, &left));
        ck_assert(!adopt(&admin, &left));
        counts_are(1, 1, 0, 5);
        record = fake_context_record(&fake, left.lease);
        ck_assert_mem_eq(&record, &left, sizeof(left));

        leases_abandon(leases, &holder);
        ck_assert(!adopt(&holder, &left));
        ck_assert(adopt(&again, &left));
        close_and_drop(leases_take_next(leases, &again));
        end();
}
END_TEST

START_TEST(lease_that_was_not_live_is_never_adopted) {
        const struct record left[] = {left_at(3, 1000, RECORD_ATTACHING, 2),
                                      left_at(4, 1000, RECORD_RELEASING, 2)};
        struct holder holder = holder_of(1000);

        start_with(left, 2);
        for (unsigned i = 0; i < 2; i++)
                ck_assert(!adopt(&holder, &left[i]));
        forget_left();
        end();
}
END_TEST

/* A lease of this instance can't be adopted, by anybody. */
START_TEST(held_lease_is_not_adopted) {
        struct holder holder = holder_of(1000), other = holder_of(1000);
        struct record claim;
        struct lease *lease;
        uint64_t id;

        start_with(NULL, 0);
        id = grant(&holder, 1);
        claim = fake_context_record(&fake, id);
        ck_assert(!adopt(&other, &claim));
        ck_assert(!adopt(&holder, &claim));
        lease = leases_take(leases, &holder, id);
        leases_orphan(leases, lease);
        ck_assert(!adopt(&holder, &claim));
        ck_assert_ptr_eq(leases_take_next(leases, leases_orphans(leases)), lease);
        leases_drop(leases, lease);
        end();
}
END_TEST

/* A client without an answer in time: it asks again on another connection. */
START_TEST(who_has_hung_up_adopts_nothing) {
        const struct record left[] = {left_at(3, 1000, RECORD_LIVE, 1)};
        struct holder gone = holder_of(1000), next = holder_of(1000);
        int ends[2], others[2];

        start_with(left, 1);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, others), 0);
        gone.socket = ends[0];
        next.socket = others[0];
        close(ends[1]);
        ck_assert(!adopt(&gone, &left[0]));
        counts_are(1, 1, 0, 1);
        ck_assert(adopt(&next, &left[0]));
        close_and_drop(leases_take(leases, &next, left[0].lease));
        close(ends[0]);
        close(others[0]);
        close(others[1]);
        end();
}
END_TEST

/* Nobody would release it after its holder's end. */
START_TEST(nothing_is_adopted_after_the_stop) {
        const struct record left = left_at(3, 1000, RECORD_LIVE, 2);
        struct holder holder = holder_of(1000);

        start_with(&left, 1);
        leases_stop(leases);
        ck_assert(!adopt(&holder, &left));
        counts_are(1, 1, 0, 2);
        forget_left();
        end();
}
END_TEST

enum {
        DEAD = 1 << LEASES_LEFT_DEAD,
        UNCLAIMED = 1 << LEASES_LEFT_UNCLAIMED,
        KEPT = 1 << LEASES_LEFT_KEPT,
        ALL = 1 << LEASES_LEFT_ALL,
};

START_TEST(sweep_takes_what_it_is_for) {
        const struct record left[] = {
                left_at(0, 1000, RECORD_LIVE, 1),      left_at(2, 1000, RECORD_ATTACHING, 1),
                left_at(3, 1001, RECORD_RELEASING, 1), left_at(19, 1001, RECORD_LIVE, 1),
                kept_at(5, 1000, RECORD_LIVE, 1),      kept_at(6, 1000, RECORD_ATTACHING, 1),
                kept_at(7, 1000, RECORD_RELEASING, 1)};
        static const unsigned taken_by[] = {
                UNCLAIMED | ALL, DEAD | UNCLAIMED | ALL, DEAD | UNCLAIMED | ALL, UNCLAIMED | ALL,
                KEPT | ALL,      DEAD | UNCLAIMED | ALL, DEAD | UNCLAIMED | ALL};
        enum { N = sizeof(left) / sizeof(left[0]) };

        for (enum leases_left which = LEASES_LEFT_DEAD; which <= LEASES_LEFT_ALL; which++) {
                uint32_t cursor = 0, last = 0;
                struct record record;
                unsigned taken = 0;

                start_with(left, N);
                while (leases_take_left(leases, which, &cursor, &record)) {
                        unsigned i = 0;

                        while (i < N && left[i].lease != record.lease)
                                i++;
                        ck_assert_uint_lt(i, N);
                        ck_assert_mem_eq(&record, &left[i], sizeof(record));
                        ck_assert_uint_gt(cursor, last);
                        ck_assert_uint_eq(cursor, RECORD_INDEX(left[i].lease) + 1);
                        last = cursor;
                        taken |= 1U << i;
                }
                for (unsigned i = 0; i < N; i++)
                        ck_assert_uint_eq(taken >> i & 1, taken_by[i] >> which & 1);
                cursor = 0; /* nobody takes a busy lease */
                ck_assert(!leases_take_left(leases, which, &cursor, &record));
                counts_are(N, N, 0, N);
                for (unsigned i = 0; i < N; i++)
                        if (taken >> i & 1)
                                leases_forget(leases, left[i].lease);
                forget_left();
                end();
        }
}
END_TEST

/*
 * An instance that reads the file after our death during a sweep must know which mounts may still
 * appear.
 */
START_TEST(lease_that_is_swept_is_on_record_as_what_it_is) {
        static const struct {
                enum record_state before, during;
        } rows[] = {{RECORD_LIVE, RECORD_RELEASING},
                    {RECORD_ATTACHING, RECORD_ATTACHING},
                    {RECORD_RELEASING, RECORD_RELEASING}};

        for (size_t i = 0; i < 3; i++) {
                const struct record left = left_at(3, 1000, rows[i].before, 2);
                struct holder holder = holder_of(1000);
                uint32_t cursor = 0;
                struct record record;

                start_with(&left, 1);
                ck_assert(leases_take_left(leases, LEASES_LEFT_UNCLAIMED, &cursor, &record));
                ck_assert_uint_eq(state_of(left.lease), rows[i].during);
                ck_assert(!adopt(&holder, &left)); /* too late */

                ck_assert(!leases_leave(leases, &record, false));
                ck_assert_uint_eq(state_of(left.lease), rows[i].before);
                counts_are(1, 1, 0, 2);
                /* Unless it stayed live. */
                if (rows[i].before == RECORD_LIVE) {
                        ck_assert(adopt(&holder, &left));
                        close_and_drop(leases_take_next(leases, &holder));
                } else
                        ck_assert(!adopt(&holder, &left));
                forget_left();
                end();
        }
}
END_TEST

START_TEST(what_is_out_of_reach_is_told_once) {
        const struct record left = left_at(3, 1000, RECORD_LIVE, 2);
        static const struct {
                bool out_of_reach, told;
        } rounds[] = {{false, false}, {true, true}, {true, false}, {false, false}, {true, false}};
        struct record record;
        uint32_t cursor = 0;

        start_with(&left, 1);
        for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
                cursor = 0;
                ck_assert(leases_take_left(leases, LEASES_LEFT_UNCLAIMED, &cursor, &record));
                ck_assert(leases_leave(leases, &record, rounds[i].out_of_reach) == rounds[i].told);
        }
        /* In the state set by the sweep. */
        cursor = 0;
        ck_assert(leases_take_left(leases, LEASES_LEFT_UNCLAIMED, &cursor, &record));
        record.state = RECORD_RELEASING;
        ck_assert(!leases_leave(leases, &record, true));
        ck_assert_uint_eq(state_of(left.lease), RECORD_RELEASING);
        forget_left();
        end();
}
END_TEST

START_TEST(what_the_predecessor_kept_is_kept_on_and_never_adopted) {
        const struct record left = kept_at(3, 1000, RECORD_LIVE, 3);
        struct holder holder = holder_of(1000), stranger = holder_of(1001);
        struct record record;
        uint32_t cursor = 0;
        struct roots roots;
        struct lease *lease;

        start_with(&left, 1);
        ck_assert(!adopt(&holder, &left));
        ck_assert(!may_take(&holder, left.lease)); /* not yet */
        ck_assert(!leases_take_left(leases, LEASES_LEFT_UNCLAIMED, &cursor, &record));

        cursor = 0;
        ck_assert(leases_take_left(leases, LEASES_LEFT_KEPT, &cursor, &record));
        ck_assert_uint_eq(record.lease, left.lease);
        ck_assert_uint_eq(state_of(left.lease), RECORD_LIVE); /* not being released */
        ck_assert(!leases_take_left(leases, LEASES_LEFT_KEPT, &cursor, &record));
        ck_assert(leases_leave(leases, &record, true)); /* now out of reach */
        cursor = 0;
        ck_assert(leases_take_left(leases, LEASES_LEFT_KEPT, &cursor, &record));
        roots = open_roots(3);
        roots.fds[1] = fd_close(roots.fds[1]); /* gone */
        leases_keep(leases, left.lease, roots.fds);
        for (unsigned i = 0; i < 3; i++)
                ck_assert_int_lt(roots.fds[i], 0); /* taken */
        counts_are(1, 0, 0, 3);
        ck_assert_uint_eq(state_of(left.lease), RECORD_LIVE);

        ck_assert(!may_take(&stranger, left.lease));
        lease = leases_take(leases, &holder, left.lease);
        ck_assert_ptr_nonnull(lease);
        ck_assert_uint_eq(lease->attached, 0x5);
        ck_assert_int_ge(lease->fds[0], 0);
        ck_assert_int_lt(lease->fds[1], 0);
        ck_assert_int_ge(lease->fds[2], 0);
        close_and_drop(lease);
        end();
}
END_TEST

int main(void) {
        return SUITE_RUN("leases_left", what_was_left_counts_and_is_nobodys,
                         dev_counts_as_all_its_mounts, what_was_left_may_exceed_the_limits,
                         left_lease_is_adopted_once_and_then_like_any_other,
                         each_disagreement_is_no_adoption, lease_that_was_not_live_is_never_adopted,
                         held_lease_is_not_adopted, who_has_hung_up_adopts_nothing,
                         nothing_is_adopted_after_the_stop, sweep_takes_what_it_is_for,
                         lease_that_is_swept_is_on_record_as_what_it_is,
                         what_is_out_of_reach_is_told_once,
                         what_the_predecessor_kept_is_kept_on_and_never_adopted);
}
