/* SPDX-License-Identifier: Apache-2.0 */

/* Adoption of leases left by a previous instance. */

#include "tests/unit/daemon/request_fixture.h"

START_TEST(adopts_and_unmounts) {
        FOR_ALL(f, s) {
                start_after(feature_sets[f], sizes[s], US);
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                ck_assert_uint_eq(reply->lease, left.lease);
                ck_assert_uint_eq(reply->flags, 0);
                ck_assert_str_eq(reply->text, "");
                ck_assert_uint_eq(fake_mounts(), sizes[s]);
                ck_assert_uint_eq(leases_count(fake.context.leases).left, 0);
                ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT) + fake_calls(FAKE_UMOUNT), 0);
                wire->flags = PROTOCOL_KEEP; /* which the decoder never accepts */
                request_take_back(&fake.context, holder, &request);
                ck_assert_uint_eq(fake_mounts(), sizes[s]);
                ask_adopt();
                serve(); /* only once */
                ck_assert_uint_eq(reply->status, STATUS_NO_SUCH_LEASE);
                ck_assert_uint_eq(unmount(left.lease), STATUS_OK);
                ck_assert_uint_eq(fake_mounts(), 0);
                forget_left();
                end();
        }
}
END_TEST

START_TEST(adoption_of_what_is_not_ours_is_refused_alike) {
        char text[PROTOCOL_TEXT_MAX + 1];

        start_after(FAKE_ALL_FEATURES, 2, US + 1); /* another user's */
        serve();
        ck_assert_uint_eq(reply->status, STATUS_NO_SUCH_LEASE);
        ck_assert_uint_eq(reply->target, STATUS_NO_TARGET);
        strcpy(text, reply->text);
        for (unsigned bit = 0; bit < 64; bit++) {
                ask_adopt();
                wire->lease ^= 1ULL << bit;
                serve();
                ck_assert_uint_eq(reply->status, STATUS_NO_SUCH_LEASE);
                ck_assert_uint_eq(reply->target, STATUS_NO_TARGET);
                ck_assert_str_eq(reply->text, text);
        }
        ask_adopt();
        wire->lease = 0;
        serve();
        ck_assert_uint_eq(reply->status, STATUS_NO_SUCH_LEASE);
        ck_assert_uint_eq(fake_mounts(), 2);
        ck_assert_uint_eq(leases_count(fake.context.leases).left, 1);
        fdpass_set_close(fds);
        forget_left();
        end();
}
END_TEST

START_TEST(daemon_that_stops_adopts_no_more) {
        start_after(FAKE_ALL_FEATURES, 1, US);
        atomic_store(&fake.context.stopping, true);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_SHUTTING_DOWN);
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        ck_assert_uint_eq(leases_count(fake.context.leases).left, 1);
        fdpass_set_close(fds);
        forget_left();
        end();
}
END_TEST

/* Limits are for new mounts: this lease is already counted. */
START_TEST(adoption_needs_no_room) {
        static const struct quota_limit quota[QUOTA_KINDS] = {{4, 4}, {4, 4}, {4, 4}, {4, 4}};

        log_open(LOG_EMERG);
        for (unsigned i = 0; i < 16; i++)
                left_on[i] = fake_directory(&(struct fake_directory){.path = "/r/x", .owner = US});
        left = fake_context_left(FAKE_ALL_FEATURES, 3, US, RECORD_LIVE, left_on, 16);
        fake_context_start_as(&fake, &(struct fake_setup){.features = FAKE_ALL_FEATURES,
                                                          .quota = quota,
                                                          .left = &left,
                                                          .n_left = 1});
        fake.context.max_targets = 1;
        hold();
        ask_adopt();
        serve();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        ck_assert_uint_eq(unmount(left.lease), STATUS_OK);
        forget_left();
        end();
}
END_TEST

START_TEST(each_call_of_an_adoption_that_fails_loses_nothing) {
        static const int errors[] = {EPERM, ENOMEM, EMFILE, EIO, ENOENT};

        FOR_ALL(f, s) {
                unsigned calls;

                start_after(feature_sets[f], sizes[s], US);
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                calls = fake_calls(FAKE_ANY);
                ck_assert_uint_eq(unmount(left.lease), STATUS_OK);
                forget_left();
                end();

                start_after(feature_sets[f], sizes[s], US);
                for (unsigned n = 1; n <= calls; n++)
                        for (unsigned e = 0; e < 5; e++) {
                                fake_calls_reset();
                                fake_fail(FAKE_ANY, n, 1, errors[e]);
                                serve();
                                ck_assert_uint_eq(reply->status, errors[e] == ENOENT
                                                                         ? STATUS_NO_SUCH_LEASE
                                                                         : STATUS_HOST_FAILED);
                                ck_assert_uint_lt(reply->target, sizes[s]);
                                ck_assert_uint_eq(fake_mounts(), sizes[s]);
                                ck_assert_uint_eq(leases_count(fake.context.leases).left, 1);
                                ck_assert_uint_eq(fake_context_records(&fake), 1);
                        }
                fake_calls_reset();
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                ck_assert_uint_eq(unmount(left.lease), STATUS_OK);
                forget_left();
                end();
        }
}
END_TEST

/* Each call of a mount fails once, including those that examine its targets. */
START_TEST(each_call_that_fails_is_answered_and_leaves_nothing) {
        static const int errors[] = {EPERM, ENOMEM, EMFILE, EIO};
        static enum fake_call log[2048];

        FOR_ALL(f, s) {
                unsigned calls, questions;
                struct verdict failed;

                start(feature_sets[f]);
                ask_good(sizes[s]);
                fake_calls_reset();
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                calls = fake_calls(FAKE_ANY);
                ck_assert_uint_le(calls, 2048);
                for (unsigned n = 1; n <= calls; n++)
                        log[n - 1] = fake_call_at(n);
                questions = sizes[s] * 3; /* statx, readlink, statmount or the table */
                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);

                for (unsigned n = 1; n <= calls; n++)
                        for (unsigned e = 0; e < 4; e++) {
                                ask_good(sizes[s]);
                                fake_calls_reset();
                                fake_fail(FAKE_ANY, n, 1, errors[e]);
                                serve();
                                ck_assert_uint_eq(reply->status, STATUS_HOST_FAILED);
                                ck_assert_uint_eq(reply->error, errors[e]);
                                failed = verdict_host_failed(-errors[e], 0);
                                ck_assert_str_eq(reply->text, log[n - 1] == FAKE_FSCONFIG
                                                                      ? "the fake kernel refuses"
                                                                      : failed.text);
                                if (n <= questions)
                                        ck_assert_uint_eq(reply->target, (n - 1) / 3);
                                ck_assert_uint_lt(reply->target, sizes[s]);
                                fake_context_is_clean(&fake, sizes[s]);
                        }
                end();
        }
}
END_TEST

START_TEST(path_that_is_too_long_is_answered) {
        static char path[PATH_MAX + 16];

        memset(path, 'a', sizeof(path) - 1);
        memcpy(path + PATH_MAX, "/proc", 6);
        path[0] = '/';
        start(FAKE_ALL_FEATURES);
        ask(PROTOCOL_MOUNT, 0);
        ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){path, US, 0, 0});
        serve();
        ck_assert_uint_eq(reply->status, STATUS_HOST_FAILED);
        ck_assert_uint_eq(reply->error, ENAMETOOLONG);
        ck_assert_uint_eq(reply->target, 0);
        end();
}
END_TEST

/* No bytes of the client's are sent back, or into a terminal by way of the answer. */
START_TEST(answer_has_no_bytes_of_the_clients) {
        start(FAKE_ALL_FEATURES);
        ask(PROTOCOL_MOUNT, 0);
        ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){"/secret\x1b[31m/dev", US, 0, 0});
        serve();
        ck_assert_uint_eq(reply->status, STATUS_WRONG_NAME);
        ck_assert_ptr_null(strstr(reply->text, "secret"));
        end();
}
END_TEST

int main(void) {
        return SUITE_RUN("request_adopt", each_call_that_fails_is_answered_and_leaves_nothing,
                         adopts_and_unmounts, adoption_of_what_is_not_ours_is_refused_alike,
                         daemon_that_stops_adopts_no_more, adoption_needs_no_room,
                         each_call_of_an_adoption_that_fails_loses_nothing,
                         path_that_is_too_long_is_answered, answer_has_no_bytes_of_the_clients);
}
