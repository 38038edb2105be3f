/* SPDX-License-Identifier: Apache-2.0 */

/* Leases that the previous instance kept for users are still kept. */

#include "tests/unit/daemon/sweep_fixture.h"

static void start_kept(unsigned features, enum record_state state, unsigned flags) {
        predecessor_begin(features);
        predecessor_leave(state, flags);
        predecessor.left[0].kept = 1;
        predecessor_start();
}

static void keep(enum sweep_patience patience) {
        sweep_keep(predecessor.fake.context.leases, patience);
        ck_assert(fake_is_in_root());
}

/* Its user releases it, over a new connection. */
static enum status unmount_as(uid_t uid) {
        struct holder holder = {.subject = {.uid = uid}};
        struct lease_remains remains;
        enum status status = lease_release(predecessor.fake.context.leases, &holder,
                                           predecessor.left[0].lease, &remains)
                                     .status;

        lease_dispose(&remains);
        return status;
}

/* Only its user can release it; `count` of its mounts exist. */
static void expect_kept(unsigned count) {
        struct leases *leases = predecessor.fake.context.leases;

        ck_assert_uint_eq(leases_count(leases).left, 0);
        ck_assert_uint_eq(leases_count(leases).leases, 1);
        ck_assert_uint_eq(read_record(0).state, RECORD_LIVE);
        ck_assert_uint_eq(read_record(0).kept, 1);
        ck_assert_uint_eq(fake_mounts(), count);
        ck_assert_uint_eq(descriptors_count(), predecessor.fake.descriptors + count);
        ck_assert_uint_eq(unmount_as(1001), STATUS_NO_SUCH_LEASE);
        ck_assert_uint_eq(unmount_as(1000), STATUS_OK);
        ck_assert_uint_eq(fake_mounts(), 0);
}

START_TEST(what_was_kept_is_kept_on) {
        for (unsigned patience = SWEEP_QUICKLY; patience <= SWEEP_PATIENTLY; patience++)
                for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                        start_kept(feature_sets[f], RECORD_LIVE, 0);
                        ck_assert_uint_eq(unmount_as(1000), STATUS_NO_SUCH_LEASE); /* not yet */
                        keep(patience);
                        keep(patience); /* the second call does nothing */
                        ck_assert_uint_eq(logged(""), 0);
                        expect_kept(COUNT);
                        predecessor_end();
                }
}
END_TEST

START_TEST(what_was_held_or_not_live_is_not_kept_on) {
        FOR_ALL(f, s) {
                start_with(feature_sets[f], states[s], 0); /* a connection's */
                keep(SWEEP_PATIENTLY);
                ck_assert_uint_eq(left(), 1);
                ck_assert_uint_eq(read_record(0).state, states[s]);
                sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                predecessor_end();
                if (states[s] == RECORD_LIVE)
                        continue;
                start_kept(feature_sets[f], states[s], 0);
                keep(SWEEP_PATIENTLY);
                ck_assert_uint_eq(left(), 1);
                sweep(SWEEP_UNADOPTABLE, SWEEP_QUICKLY);
                ck_assert_uint_eq(left(), 0);
                predecessor_end();
        }
}
END_TEST

/* Nobody adopts it, and it has no time limit. */
START_TEST(what_was_kept_is_swept_in_the_end_alone) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start_kept(feature_sets[f], RECORD_LIVE, 0);
                sweep(SWEEP_UNADOPTABLE, SWEEP_PATIENTLY);
                sweep(SWEEP_UNCLAIMED, SWEEP_PATIENTLY);
                ck_assert_uint_eq(left(), 1);
                ck_assert_uint_eq(read_record(0).state, RECORD_LIVE);
                ck_assert_uint_eq(fake_mounts(), COUNT);
                sweep(SWEEP_FINALLY, SWEEP_PATIENTLY);
                ck_assert_uint_eq(left(), 0);
                ck_assert_uint_eq(fake_mounts(), 0);
                predecessor_end();
        }
}
END_TEST

START_TEST(what_was_kept_and_is_gone_is_forgotten) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++)
                for (unsigned gone = 1; gone < 1 << COUNT; gone++) {
                        start_kept(feature_sets[f], RECORD_LIVE, 0);
                        for (unsigned i = 0; i < COUNT; i++)
                                if (gone & (1 << i))
                                        fake_uncover(predecessor.directories[0][i]);
                        keep(SWEEP_QUICKLY);
                        if (gone == (1 << COUNT) - 1) {
                                ck_assert_uint_eq(left(), 0);
                                ck_assert_uint_eq(
                                        leases_count(predecessor.fake.context.leases).leases, 0);
                        } else
                                expect_kept(COUNT - 1); /* with the mounts that exist */
                        predecessor_end();
                }
}
END_TEST

START_TEST(what_was_kept_and_is_out_of_reach_is_told_of_once) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++)
                for (unsigned which = 0; which < COUNT; which++) {
                        start_kept(feature_sets[f], RECORD_LIVE, 0);
                        fake_cover(predecessor.directories[0][which]);
                        for (unsigned i = 0; i < 3; i++) {
                                keep(i % 2 ? SWEEP_QUICKLY : SWEEP_PATIENTLY);
                                ck_assert_uint_eq(left(), 1);
                                ck_assert_uint_eq(read_record(0).state, RECORD_LIVE);
                                ck_assert_uint_eq(fake_mounts(), COUNT);
                                ck_assert_uint_eq(descriptors_count(),
                                                  predecessor.fake.descriptors);
                        }
                        ck_assert_uint_eq(logged(""), 1);
                        ck_assert_uint_eq(logged("/left0/"), 1);
                        fake_uncover(predecessor.directories[0][which]);
                        keep(SWEEP_QUICKLY);
                        expect_kept(COUNT);
                        predecessor_end();
                }
}
END_TEST

START_TEST(what_was_kept_and_takes_patience_waits_for_it) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start_kept(feature_sets[f], RECORD_LIVE, FAKE_IS_REMOTE);
                keep(SWEEP_QUICKLY);
                ck_assert_uint_eq(left(), 1);
                ck_assert_uint_eq(logged(""), 0);
                keep(SWEEP_PATIENTLY);
                expect_kept(COUNT);
                predecessor_end();
        }
}
END_TEST

START_TEST(each_call_that_fails_loses_nothing_that_was_kept) {
        static const int errors[] = {EPERM, EIO, ENOMEM, EMFILE, EACCES};

        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                unsigned calls;

                start_kept(feature_sets[f], RECORD_LIVE, 0);
                fake_calls_reset();
                keep(SWEEP_QUICKLY);
                calls = fake_calls(FAKE_ANY);
                ck_assert_uint_ge(calls, COUNT * 2);
                expect_kept(COUNT);
                predecessor_end();

                for (unsigned n = 1; n <= calls; n++)
                        for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
                                start_kept(feature_sets[f], RECORD_LIVE, 0);
                                fake_calls_reset();
                                fake_fail(FAKE_ANY, n, 1, errors[e]);
                                keep(SWEEP_QUICKLY);
                                ck_assert_uint_eq(fake_mounts(), COUNT);
                                ck_assert_uint_eq(fake_calls(FAKE_UMOUNT), 0);
                                ck_assert_uint_eq(
                                        leases_count(predecessor.fake.context.leases).leases, 1);
                                fake_calls_reset();
                                keep(SWEEP_QUICKLY);
                                expect_kept(COUNT);
                                predecessor_end();
                        }
        }
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "sweep_kept", what_was_kept_is_kept_on, what_was_held_or_not_live_is_not_kept_on,
                what_was_kept_is_swept_in_the_end_alone, what_was_kept_and_is_gone_is_forgotten,
                what_was_kept_and_is_out_of_reach_is_told_of_once,
                what_was_kept_and_takes_patience_waits_for_it,
                each_call_that_fails_loses_nothing_that_was_kept);
}
