/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The operation table over the fake kernel: the order of the checks, the answers, and what is left
 * after each failing call. Operations with tests of their own: check_request_adopt, _check, _enter,
 * _keep.
 */

#include "tests/unit/daemon/log_capture.h"
#include "tests/unit/daemon/request_fixture.h"

#include <pthread.h>

START_TEST(hello_tells_features_and_version) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start(feature_sets[f]);
                ask(PROTOCOL_HELLO, 0);
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                ck_assert_uint_eq(reply->flags,
                                  feature_sets[f] | PROTOCOL_FEATURE_ADOPT | PROTOCOL_FEATURE_KEEP |
                                          PROTOCOL_FEATURE_DEV | PROTOCOL_FEATURE_CHECK);
                ck_assert_uint_eq(reply->lease, 0);
                ck_assert_str_eq(reply->text, "mountatd " MOUNTATD_VERSION);
                end();
        }
}
END_TEST

START_TEST(mounts_and_unmounts) {
        FOR_ALL(f, s) {
                uint64_t lease;

                start(feature_sets[f]);
                ask_good(sizes[s]);
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                ck_assert_uint_ne(reply->lease, 0);
                ck_assert_str_eq(reply->text, "");
                ck_assert_uint_eq(reply->flags, 0);
                ck_assert_uint_eq(fake_mounts(), sizes[s]);
                lease = reply->lease;
                ck_assert_uint_eq(unmount(lease), STATUS_OK);
                ck_assert_uint_eq(unmount(lease), STATUS_NO_SUCH_LEASE);
                end();
        }
}
END_TEST

START_TEST(decoders_refusal_is_the_answer) {
        start(FAKE_ALL_FEATURES);
        ask(77, 0);
        wire->n_targets = 0xffffffff;
        fds->starved = true; /* checked later */
        request.decoded = verdict_refuse(STATUS_MALFORMED, 3);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_MALFORMED);
        ck_assert_uint_eq(reply->target, 3);
        ck_assert_uint_eq(reply->operation, 77);
        ck_assert_str_eq(reply->text, status_sentence(STATUS_MALFORMED));
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        end();
}
END_TEST

START_TEST(operation_that_is_not_in_the_table_does_not_exist) {
        static const uint16_t operations[] = {0, 6, 7, 0x7fff, 0x8001, 0xffff};

        start(FAKE_ALL_FEATURES);
        for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
                ask(operations[i], 0);
                serve();
                ck_assert_uint_eq(reply->status, STATUS_UNKNOWN_OPERATION);
        }
        end();
}
END_TEST

static const struct {
        uint16_t operation;
        unsigned targets, descriptors;
} counts[] = {
        {PROTOCOL_HELLO, 0, 1},   {PROTOCOL_HELLO, 0, 18},  {PROTOCOL_UNMOUNT, 0, 1},
        {PROTOCOL_UNMOUNT, 0, 2}, {PROTOCOL_MOUNT, 1, 0},   {PROTOCOL_MOUNT, 1, 2},
        {PROTOCOL_MOUNT, 2, 1},   {PROTOCOL_MOUNT, 16, 0},  {PROTOCOL_MOUNT, 16, 15},
        {PROTOCOL_MOUNT, 16, 17}, {PROTOCOL_MOUNT, 16, 18}, {PROTOCOL_ADOPT, 1, 0},
        {PROTOCOL_ADOPT, 1, 2},   {PROTOCOL_ADOPT, 16, 15}, {PROTOCOL_ADOPT, 16, 17},
};

START_TEST(wants_one_descriptor_per_target) {
        start(FAKE_ALL_FEATURES);
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
                ask_good(counts[i].targets);
                wire->operation = counts[i].operation;
                while (fds->count > counts[i].descriptors)
                        fd_close(fds->fds[--fds->count]);
                while (fds->count < counts[i].descriptors)
                        fds->fds[fds->count++] = fake_directory(
                                &(struct fake_directory){.path = "/x/proc", .owner = US});
                serve();
                ck_assert_msg(reply->status == STATUS_WRONG_FD_COUNT, "row %zu: %s", i,
                              status_name(reply->status));
                ck_assert_uint_eq(reply->target, STATUS_NO_TARGET);
        }
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        end();
}
END_TEST

START_TEST(our_own_lack_of_descriptors_is_not_the_clients_fault) {
        start(FAKE_ALL_FEATURES);
        ask_good(3);
        fd_close(fds->fds[--fds->count]);
        fds->starved = true;
        serve();
        ck_assert_uint_eq(reply->status, STATUS_HOST_FAILED);
        ck_assert_uint_eq(reply->error, EMFILE);
        ck_assert_uint_eq(reply->target, STATUS_NO_TARGET);
        fds->starved = false;
        end();
}
END_TEST

/* Each row's target follows a valid one; rows are in the order of the checks. */
START_TEST(judges_each_target_and_tells_which) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start(feature_sets[f]);
                for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                        ask_good(1);
                        ask_target(bad[i].file_system, 0, &bad[i].directory);
                        serve();
                        ck_assert_msg(reply->status == bad[i].status, "row %zu: %s", i,
                                      status_name(reply->status));
                        if (bad[i].status == STATUS_OK) {
                                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                                continue;
                        }
                        ck_assert_uint_eq(reply->target, 1);
                        if (bad[i].text)
                                ck_assert_ptr_nonnull(strstr(reply->text, bad[i].text));
                        else
                                ck_assert_str_eq(reply->text, status_sentence(bad[i].status));
                        fake_context_is_clean(&fake, 2);
                }
                end();
        }
}
END_TEST

START_TEST(other_file_system_is_refused_without_a_mount) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start(feature_sets[f]);
                ask(PROTOCOL_MOUNT, 0);
                ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){"/r/proc", US, FAKE_FUSE, 0});
                serve();
                ck_assert_uint_eq(reply->status, STATUS_NOT_AUTHORISED);
                ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT), 0);
                end();
        }
}
END_TEST

/* A bad last target is found before the first mount is made. */
START_TEST(judges_all_targets_before_it_mounts_one) {
        start(FAKE_ALL_FEATURES);
        ask_good(15);
        ask_target(PROTOCOL_SYSFS, 0, &(struct fake_directory){"/z/sys", 0, 0, 0});
        serve();
        ck_assert_uint_eq(reply->status, STATUS_NOT_AUTHORISED);
        ck_assert_uint_eq(reply->target, 15);
        ck_assert_uint_eq(fake_calls(FAKE_OPEN_TREE), 0);
        ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT), 0);
        end();
}
END_TEST

START_TEST(build_directory_opens_what_is_hidden) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start(feature_sets[f]);
                ck_assert_int_eq(policy_add_build_directory(fake.policy, "/build", US), 0);
                ask(PROTOCOL_MOUNT, 0);
                ask_target(PROTOCOL_PROC, 0,
                           &(struct fake_directory){"/build/1/proc", 0, FAKE_FUSE, FAKE_IS_HIDDEN});
                ask_target(PROTOCOL_SYSFS, 0,
                           &(struct fake_directory){"/build/1/sys", 0, FAKE_FUSE, 0});
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                end();
        }
}
END_TEST

static void ask_elsewhere(unsigned flags) {
        fdpass_set_close(fds);
        ask(PROTOCOL_MOUNT, 0);
        ask_target(PROTOCOL_PROC, 0,
                   &(struct fake_directory){"/build/1/proc", 0, FAKE_FUSE, flags});
        serve();
        ck_assert_uint_eq(reply->status, STATUS_FOREIGN_NAMESPACE);
        ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT), 0);
}

/* A path doesn't tell its namespace, and a mount in another one would stay there. */
START_TEST(build_directory_elsewhere_is_refused_before_anything_is_mounted) {
        static const unsigned elsewhere[] = {
                FAKE_IS_FOREIGN,
                FAKE_IS_FOREIGN | FAKE_IS_HIDDEN,
                FAKE_IS_DETACHED,
                FAKE_IS_DETACHED | FAKE_IS_HIDDEN,
        };

        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start(feature_sets[f]);
                ck_assert_int_eq(policy_add_build_directory(fake.policy, "/build", US), 0);
                for (unsigned i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
                        ask_elsewhere(elsewhere[i]);
                        fake_fail(FAKE_NAME_TO_HANDLE, 1, 1, EINVAL); /* before Linux 6.12 */
                        ask_elsewhere(elsewhere[i]);
                        fake_calls_reset();
                }
                end();
        }
}
END_TEST

static const struct {
        bool writable; /* by policy */
        uint32_t file_system;
        uint32_t options;
        bool read_only, pids_only;
} options[] = {
        {false, PROTOCOL_PROC, 0, true, false},
        {false, PROTOCOL_PROC, PROTOCOL_READ_ONLY, true, false},
        {false, PROTOCOL_PROC, PROTOCOL_PIDS_ONLY, true, true},
        {false, PROTOCOL_PROC, PROTOCOL_PIDS_ONLY | PROTOCOL_READ_ONLY, true, true},
        {true, PROTOCOL_PROC, 0, false, false},
        {true, PROTOCOL_PROC, PROTOCOL_READ_ONLY, true, false},
        {true, PROTOCOL_PROC, PROTOCOL_PIDS_ONLY, false, true},
        {true, PROTOCOL_PROC, PROTOCOL_PIDS_ONLY | PROTOCOL_READ_ONLY, true, true},
        {false, PROTOCOL_SYSFS, 0, true, false},
        {true, PROTOCOL_SYSFS, 0, true, false}, /* never writable */
        {true, PROTOCOL_SYSFS, PROTOCOL_READ_ONLY, true, false},
};

/* Its server could make those who ask wait. */
START_TEST(file_system_is_never_asked_what_it_is) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start(feature_sets[f]);
                fake_calls_reset();
                ask_good(2);
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                ask(PROTOCOL_MOUNT, 0);
                fdpass_set_close(fds);
                ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){"/r/proc", US, FAKE_FUSE, 0});
                serve();
                ck_assert_uint_eq(reply->status, STATUS_NOT_AUTHORISED);
                ck_assert_uint_eq(fake_calls(FAKE_FSTATFS), 0);
                end();
        }
}
END_TEST

START_TEST(options_take_away_and_never_add) {
        for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
                bool proc = options[i].file_system == PROTOCOL_PROC;
                const struct fake_mount *mount;

                start(FAKE_ALL_FEATURES);
                if (options[i].writable)
                        ck_assert_int_eq(policy_add_writable_proc(fake.policy, US), 0);
                ask(PROTOCOL_MOUNT, 0);
                ask_target(options[i].file_system, options[i].options,
                           &(struct fake_directory){proc ? "/r/proc" : "/r/sys", US, 0, 0});
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                mount = fake_mount_on(fds->fds[0]);
                ck_assert_msg(!(mount->attributes & 1 /* MOUNT_ATTR_RDONLY */) ==
                                      !options[i].read_only,
                              "row %zu", i);
                ck_assert_uint_eq(mount->attributes & 0xe, 0xe); /* nosuid, nodev, noexec */
                if (proc) {
                        ck_assert_ptr_nonnull(strstr(mount->options, ",hidepid=ptraceable"));
                        ck_assert(!strstr(mount->options, ",ro") == !options[i].read_only);
                        ck_assert(!strstr(mount->options, ",subset=pid") == !options[i].pids_only);
                }
                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                end();
        }
}
END_TEST

START_TEST(limit_of_targets_is_judged_after_the_targets) {
        start(FAKE_ALL_FEATURES);
        fake.context.max_targets = 2;
        ask_good(2);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);

        ask_good(3);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_LIMIT_EXCEEDED);
        ck_assert_ptr_nonnull(strstr(reply->text, "--max-targets"));

        ask_good(2);
        ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){"/z/proc", 0, 0, 0});
        serve();
        ck_assert_uint_eq(reply->status, STATUS_NOT_AUTHORISED);
        end();
}
END_TEST

START_TEST(limit_of_mounts_is_refused_and_leaves_the_others) {
        uint64_t leases[4];

        start(FAKE_ALL_FEATURES);
        for (unsigned i = 0; i < 4; i++) {
                ask_good(16);
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                leases[i] = reply->lease;
        }
        ask_good(1);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_LIMIT_EXCEEDED);
        ck_assert_uint_eq(reply->target, STATUS_NO_TARGET);
        ck_assert_ptr_nonnull(strstr(reply->text, "--max-mounts"));
        ck_assert_uint_eq(fake_mounts(), 64);
        for (unsigned i = 0; i < 4; i++)
                ck_assert_uint_eq(unmount(leases[i]), STATUS_OK);
        end();
}
END_TEST

START_TEST(daemon_that_stops_mounts_no_more_but_unmounts) {
        uint64_t lease;

        start(FAKE_ALL_FEATURES);
        ask_good(1);
        serve();
        lease = reply->lease;
        atomic_store(&fake.context.stopping, true);
        ask_good(1);
        fake_calls_reset();
        serve();
        ck_assert_uint_eq(reply->status, STATUS_SHUTTING_DOWN);
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        ck_assert_uint_eq(unmount(lease), STATUS_OK);
        fdpass_set_close(fds);
        ask(PROTOCOL_HELLO, 0);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        end();
}
END_TEST

START_TEST(lease_that_is_not_held_is_unknown) {
        uint64_t lease;

        start(FAKE_ALL_FEATURES);
        ask_good(1);
        serve();
        lease = reply->lease;
        ck_assert_uint_eq(unmount(0), STATUS_NO_SUCH_LEASE);
        ck_assert_uint_eq(unmount(UINT64_MAX), STATUS_NO_SUCH_LEASE);
        ck_assert_uint_eq(unmount(lease + 1), STATUS_NO_SUCH_LEASE);

        /* Another connection of the same user. */
        holder = &holders[1];
        ck_assert_uint_eq(unmount(lease), STATUS_NO_SUCH_LEASE);
        holder = &holders[0];
        ck_assert_uint_eq(fake_mounts(), 1);
        ck_assert_uint_eq(unmount(lease), STATUS_OK);
        end();
}
END_TEST

START_TEST(unmount_that_fails_keeps_the_lease_and_tells_where) {
        uint64_t lease;

        start(FAKE_ALL_FEATURES);
        ask_good(16);
        serve();
        lease = reply->lease;
        fake_calls_reset();
        fake_fail(FAKE_UMOUNT, 4, 1, EPERM);
        ck_assert_uint_eq(unmount(lease), STATUS_HOST_FAILED);
        ck_assert_uint_eq(reply->error, EPERM);
        ck_assert_uint_eq(reply->target, 3);
        ck_assert_uint_eq(fake_mounts(), 13);
        ck_assert_uint_eq(unmount(lease), STATUS_OK);
        end();
}
END_TEST

/* ---- concurrent events ---- */

static enum status served;

static void *serve_elsewhere(void *unused) {
        (void)unused;
        ck_assert_int_eq(unmount_isolate(), 0);
        request_serve(&fake.context, holder, &request);
        lease_dispose(&request.remains);
        served = reply->status;
        return NULL;
}

static const struct {
        bool keep, stops, leaves;
        enum status status;
        unsigned error;
} meanwhile[] = {
        {false, false, false, STATUS_OK, 0},
        {true, false, false, STATUS_OK, 0},
        /* Its connection will release it: */
        {false, true, false, STATUS_OK, 0},
        /* nobody would release it: */
        {true, true, false, STATUS_SHUTTING_DOWN, 0},
        /* nobody is waiting for it: */
        {false, false, true, STATUS_HOST_FAILED, ECONNRESET},
        {true, false, true, STATUS_HOST_FAILED, ECONNRESET},
        {false, true, true, STATUS_SHUTTING_DOWN, 0},
        {true, true, true, STATUS_SHUTTING_DOWN, 0},
};

START_TEST(stop_and_the_clients_end_are_seen_after_the_mount) {
        for (size_t i = 0; i < sizeof(meanwhile) / sizeof(meanwhile[0]); i++) {
                pthread_t thread;

                start(FAKE_ALL_FEATURES);
                ask_good(2);
                wire->flags = meanwhile[i].keep ? PROTOCOL_KEEP : 0;
                fake_block(FAKE_MOVE_MOUNT, 1);
                ck_assert_int_eq(pthread_create(&thread, NULL, serve_elsewhere, NULL), 0);
                while (fake_blocked() == 0)
                        usleep(1000);
                if (meanwhile[i].stops) {
                        atomic_store(&fake.context.stopping, true);
                        leases_stop(fake.context.leases);
                }
                if (meanwhile[i].leaves)
                        leases_abandon(fake.context.leases, holder);
                fake_unblock();
                ck_assert_int_eq(pthread_join(thread, NULL), 0);
                ck_assert_msg(served == meanwhile[i].status, "row %zu: %s", i, status_name(served));
                ck_assert_uint_eq(reply->error, meanwhile[i].error);
                ck_assert_uint_eq(fake_mounts(), served == STATUS_OK ? 2 : 0);
                if (served == STATUS_OK)
                        ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                end();
        }
}
END_TEST

/* ---- counters and log ---- */

START_TEST(mounts_and_failures_are_counted) {
        uint64_t lease;

        start(FAKE_ALL_FEATURES);
        ask(PROTOCOL_HELLO, 0);
        serve();
        ask_good(3);
        serve_check();
        ck_assert_uint_eq(fake.context.mounts_total, 0);
        serve();
        lease = reply->lease;
        ck_assert_uint_eq(fake.context.mounts_total, 3);
        ck_assert_uint_eq(unmount(lease), STATUS_OK);
        ck_assert_uint_eq(unmount(mount_kept(2)), STATUS_OK);
        ck_assert_uint_eq(fake.context.mounts_total, 5);
        ck_assert_uint_eq(fake.context.failures_total, 0);
        ck_assert_uint_eq(unmount(lease), STATUS_NO_SUCH_LEASE);
        ask_good(1);
        fake_calls_reset();
        fake_fail(FAKE_MOVE_MOUNT, 1, 1, EIO);
        serve();
        ck_assert_uint_eq(fake.context.failures_total, 2);
        ck_assert_uint_eq(fake.context.mounts_total, 5);
        end();
}
END_TEST

static const struct {
        uint16_t operation;
        const char *name;
} names[] = {
        {PROTOCOL_HELLO, "hello"},       {PROTOCOL_MOUNT, "mount"}, {PROTOCOL_UNMOUNT, "unmount"},
        {PROTOCOL_ADOPT, "adopt"},       {77, "unknown"},           {0, "unknown"},
        {PROTOCOL_ENTER + 1, "unknown"},
};

START_TEST(each_request_has_one_line_of_the_log_with_its_name) {
        static char path[PATH_MAX + 16];
        int log = capture();

        start(FAKE_ALL_FEATURES);
        log_set_level(LOG_DEBUG);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                const char *line;

                ask(names[i].operation, 0);
                if (names[i].operation == PROTOCOL_MOUNT || names[i].operation == PROTOCOL_ADOPT)
                        ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){"/x/dev", US, 0, 0});
                serve();
                fdpass_set_close(fds);
                line = captured(log);
                ck_assert_uint_eq(count_lines(line), 1);
                ck_assert_ptr_nonnull(strstr(line, names[i].name));
                ck_assert_ptr_nonnull(strstr(line, "1000"));
                ck_assert_ptr_nonnull(strstr(
                        line, reply->status == STATUS_OK ? "done" : status_name(reply->status)));
        }

        /* Successes are for debugging, failures for everybody. */
        log_set_level(LOG_INFO);
        ask(PROTOCOL_HELLO, 0);
        serve();
        ck_assert_str_eq(captured(log), "");
        ask(PROTOCOL_MOUNT, 0);
        ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){"/x\x1b[31m/dev", US, 0, 0});
        serve();
        ck_assert_ptr_nonnull(strstr(captured(log), "/x\\x1b"));
        log_set_level(LOG_WARNING);
        serve();
        ck_assert_str_eq(captured(log), "");
        fdpass_set_close(fds);
        ask(PROTOCOL_MOUNT, 0);
        memset(path, 'a', sizeof(path) - 1);
        path[0] = '/';
        ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){path, US, 0, 0});
        serve();
        ck_assert_uint_eq(reply->error, ENAMETOOLONG);
        ck_assert_str_eq(captured(log), ""); /* or clients could hide the host's failures */
        fdpass_set_close(fds);
        ask_good(1);
        fake_calls_reset();
        fake_fail(FAKE_MOVE_MOUNT, 1, 1, EIO);
        serve();
        ck_assert_uint_eq(count_lines(captured(log)), 1);
        end();
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "request", hello_tells_features_and_version, mounts_and_unmounts,
                decoders_refusal_is_the_answer, operation_that_is_not_in_the_table_does_not_exist,
                wants_one_descriptor_per_target,
                our_own_lack_of_descriptors_is_not_the_clients_fault,
                judges_each_target_and_tells_which, other_file_system_is_refused_without_a_mount,
                judges_all_targets_before_it_mounts_one, build_directory_opens_what_is_hidden,
                build_directory_elsewhere_is_refused_before_anything_is_mounted,
                file_system_is_never_asked_what_it_is, options_take_away_and_never_add,
                limit_of_targets_is_judged_after_the_targets,
                limit_of_mounts_is_refused_and_leaves_the_others,
                daemon_that_stops_mounts_no_more_but_unmounts, lease_that_is_not_held_is_unknown,
                unmount_that_fails_keeps_the_lease_and_tells_where,
                stop_and_the_clients_end_are_seen_after_the_mount, mounts_and_failures_are_counted,
                each_request_has_one_line_of_the_log_with_its_name);
}
