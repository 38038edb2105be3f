/* SPDX-License-Identifier: Apache-2.0 */

/* Requests with the CHECK flag, which are judged and mount nothing. */

#include "tests/unit/daemon/request_fixture.h"

/* Requested with others, it is the one at fault; the others are mounted as usual. */
START_TEST(dev_that_is_not_offered_is_refused_with_the_reason) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                log_open(LOG_EMERG);
                fake_context_start_as(
                        &fake, &(struct fake_setup){.features = feature_sets[f], .no_dev = true});
                hold();
                ask(PROTOCOL_HELLO, 0);
                serve();
                ck_assert_uint_eq(reply->flags & PROTOCOL_FEATURE_DEV, 0);
                ask_good(2);
                ask_target(PROTOCOL_DEV, 0, &(struct fake_directory){"/r/dev", US, 0, 0});
                for (unsigned check = 0; check < 2; check++) {
                        if (check)
                                serve_check();
                        else
                                serve();
                        ck_assert_uint_eq(reply->status, STATUS_UNSUPPORTED_FILE_SYSTEM);
                        ck_assert_uint_eq(reply->target, 2);
                        ck_assert_ptr_nonnull(strstr(reply->text, "--no-dev"));
                        fake_context_is_clean(&fake, 3);
                }
                ask_good(2);
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                end();
        }
}
END_TEST

START_TEST(check_is_answered_as_the_mount_would_be) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start(feature_sets[f]);
                for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                        struct wire_reply checked;

                        ask_good(1);
                        ask_target(bad[i].file_system, 0, &bad[i].directory);
                        serve_check();
                        checked = *reply;
                        fake_context_is_clean(&fake, 2);

                        serve();
                        if (bad[i].directory.flags & FAKE_VANISHES) { /* too late for a check */
                                ck_assert_uint_eq(checked.status, STATUS_OK);
                                continue;
                        }
                        ck_assert_msg(checked.status == reply->status, "row %zu: %s, %s", i,
                                      status_name(checked.status), status_name(reply->status));
                        ck_assert_uint_eq(checked.status, bad[i].status);
                        ck_assert_uint_eq(checked.target, reply->target);
                        ck_assert_str_eq(checked.text, reply->text);
                        if (reply->status == STATUS_OK)
                                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                }
                end();
        }
}
END_TEST

START_TEST(check_can_be_repeated_and_is_no_claim) {
        FOR_ALL(f, s) {
                start(feature_sets[f]);
                ask_good(sizes[s]);
                for (unsigned i = 0; i < 3; i++) {
                        serve_check();
                        ck_assert_uint_eq(reply->status, STATUS_OK);
                        ck_assert_str_eq(reply->text, "");
                }
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                ck_assert_uint_eq(fake_mounts(), sizes[s]);
                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                end();
        }
}
END_TEST

/* A check is about the place, not about the room at this moment. */
START_TEST(check_needs_no_room_but_for_its_targets) {
        uint64_t leases[4];

        start(FAKE_ALL_FEATURES);
        for (unsigned i = 0; i < 4; i++) {
                ask_good(16);
                serve();
                leases[i] = reply->lease;
        }
        ask_good(1);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_LIMIT_EXCEEDED);
        serve_check();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        fake.context.max_targets = 1;
        ask_good(2);
        serve_check();
        ck_assert_uint_eq(reply->status, STATUS_LIMIT_EXCEEDED);
        ck_assert_ptr_nonnull(strstr(reply->text, "--max-targets"));
        for (unsigned i = 0; i < 4; i++)
                ck_assert_uint_eq(unmount(leases[i]), STATUS_OK);
        end();
}
END_TEST

/*
 * A runner has only this before its first action: the directory below which its roots will be. A
 * mount on it is refused nevertheless.
 */
static const struct {
        struct fake_directory directory;
        enum status checked, mounted;
} build_directories[] = {
        {{"/build", US, 0, 0}, STATUS_OK, STATUS_WRONG_NAME},
        {{"/build", 0, 0, 0}, STATUS_OK, STATUS_WRONG_NAME},
        {{"/build", 0, 0, FAKE_IS_ROOT}, STATUS_OK, STATUS_ALREADY_MOUNTED},
        {{"/build", 0, FAKE_FUSE, FAKE_IS_ROOT}, STATUS_OK, STATUS_ALREADY_MOUNTED},
        {{"/build", 0, FAKE_FUSE, FAKE_IS_ROOT | FAKE_IS_HIDDEN},
         STATUS_OK,
         STATUS_ALREADY_MOUNTED},
        {{"/build", 0, FAKE_FUSE, FAKE_IS_HIDDEN}, STATUS_OK, STATUS_WRONG_NAME},
        {{"/build/1/proc", 0, FAKE_FUSE, 0}, STATUS_OK, STATUS_OK},
        /* A mount root below it means that something is already mounted. */
        {{"/build/1/proc", 0, FAKE_FUSE, FAKE_IS_ROOT},
         STATUS_ALREADY_MOUNTED,
         STATUS_ALREADY_MOUNTED},
        {{"/build/1", 0, FAKE_FUSE, 0}, STATUS_OK, STATUS_WRONG_NAME},
        {{"/build", 0, 0, FAKE_IS_FILE}, STATUS_NOT_A_DIRECTORY, STATUS_NOT_A_DIRECTORY},
        {{"/build", 0, 0, FAKE_IS_DELETED}, STATUS_TARGET_VANISHED, STATUS_TARGET_VANISHED},
        {{"/build", 0, 0, FAKE_IS_FOREIGN}, STATUS_FOREIGN_NAMESPACE, STATUS_WRONG_NAME},
        /* Not opened to anybody: judged like a mountpoint of the same owner inside. */
        {{"/theirs", US, 0, 0}, STATUS_OK, STATUS_WRONG_NAME},
        {{"/theirs", 0, 0, FAKE_IS_ROOT}, STATUS_NOT_AUTHORISED, STATUS_ALREADY_MOUNTED},
        {{"/build2", US, 0, 0}, STATUS_OK, STATUS_WRONG_NAME},
        {{"/build2", 0, 0, 0}, STATUS_NOT_AUTHORISED, STATUS_WRONG_NAME},
        {{"/build2", US, 0, FAKE_IS_FOREIGN}, STATUS_FOREIGN_NAMESPACE, STATUS_WRONG_NAME},
        {{"/build2", US, FAKE_FUSE, FAKE_IS_ROOT}, STATUS_NOT_AUTHORISED, STATUS_ALREADY_MOUNTED},
        {{"/build2", 0, FAKE_FUSE, FAKE_IS_ROOT | FAKE_IS_HIDDEN},
         STATUS_NOT_AUTHORISED,
         STATUS_ALREADY_MOUNTED},
        {{"/", 0, 0, FAKE_IS_ROOT}, STATUS_NOT_AUTHORISED, STATUS_ALREADY_MOUNTED},
        {{"/home/proc", US, FAKE_FUSE, 0}, STATUS_NOT_AUTHORISED, STATUS_NOT_AUTHORISED},
};

START_TEST(build_directory_itself_can_be_checked) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start(feature_sets[f]);
                ck_assert_int_eq(policy_add_build_directory(fake.policy, "/build", US), 0);
                ck_assert_int_eq(policy_add_build_directory(fake.policy, "/theirs", US + 1), 0);
                for (size_t i = 0; i < sizeof(build_directories) / sizeof(build_directories[0]);
                     i++) {
                        fdpass_set_close(fds);
                        ask(PROTOCOL_MOUNT, 0);
                        ask_target(PROTOCOL_PROC, 0, &build_directories[i].directory);
                        serve_check();
                        ck_assert_msg(reply->status == build_directories[i].checked, "row %zu: %s",
                                      i, status_name(reply->status));
                        serve();
                        ck_assert_msg(reply->status == build_directories[i].mounted, "row %zu: %s",
                                      i, status_name(reply->status));
                        if (reply->status == STATUS_OK)
                                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                }
                end();
        }
}
END_TEST

START_TEST(build_directory_is_checked_for_either_file_system_and_beside_others) {
        start(FAKE_ALL_FEATURES);
        ck_assert_int_eq(policy_add_build_directory(fake.policy, "/build", POLICY_ANY_USER), 0);
        ask_good(1);
        ask_target(PROTOCOL_SYSFS, 0, &(struct fake_directory){"/build", 0, FAKE_FUSE, 0});
        serve_check();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){"/build", 0, FAKE_FUSE, 0});
        serve_check(); /* a repeated directory is the client's mistake in a check as well */
        ck_assert_uint_eq(reply->status, STATUS_ALREADY_MOUNTED);
        ck_assert_uint_eq(reply->target, 2);
        end();
}
END_TEST

START_TEST(daemon_that_stops_checks_no_more) {
        start(FAKE_ALL_FEATURES);
        ask_good(1);
        atomic_store(&fake.context.stopping, true);
        serve_check();
        ck_assert_uint_eq(reply->status, STATUS_SHUTTING_DOWN);
        end();
}
END_TEST

START_TEST(each_call_of_a_check_that_fails_is_answered) {
        FOR_ALL(f, s) {
                unsigned calls;

                start(feature_sets[f]);
                ask_good(sizes[s]);
                serve_check();
                calls = fake_calls(FAKE_ANY);
                ck_assert_uint_ge(calls, sizes[s] * 2);
                for (unsigned n = 1; n <= calls; n++) {
                        wire->flags = PROTOCOL_CHECK;
                        fake_calls_reset();
                        fake_fail(FAKE_ANY, n, 1, EIO);
                        serve();
                        ck_assert_uint_eq(reply->status, STATUS_HOST_FAILED);
                        ck_assert_uint_eq(reply->error, EIO);
                        ck_assert_uint_lt(reply->target, sizes[s]);
                }
                end();
        }
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "request_check", dev_that_is_not_offered_is_refused_with_the_reason,
                check_is_answered_as_the_mount_would_be, check_can_be_repeated_and_is_no_claim,
                check_needs_no_room_but_for_its_targets, build_directory_itself_can_be_checked,
                build_directory_is_checked_for_either_file_system_and_beside_others,
                daemon_that_stops_checks_no_more, each_call_of_a_check_that_fails_is_answered);
}
