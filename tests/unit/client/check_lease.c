/* SPDX-License-Identifier: Apache-2.0 */

/* What is asked for a lease and for its end, and what a lost answer leaves in doubt. */

#include "client/lease.h"

#include "common/fd.h"
#include "tests/test.h"
#include "tests/unit/client/scripted.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
        ABLE = SCRIPTED_FEATURES,
        BOTH = MOUNTAT_PROC | MOUNTAT_SYSFS,
};

static struct connection connection = CONNECTION_NONE;
static struct holding *holding;
static struct failure failure;

static void open_connection(void) {
        connection.channel.deadline = channel_after(30000);
        ck_assert_int_eq(connection_open(&connection, scripted.path), 0);
        holding = holding_new();
        ck_assert_ptr_nonnull(holding);
}

#define start(steps)                                                                               \
        do {                                                                                       \
                scripted_follow(steps);                                                            \
                open_connection();                                                                 \
        } while (0)

/* And that nothing more is asked. */
static void end(void) {
        connection_close(&connection);
        expect_end_of_peer();
}

static void expect_text_of_failure(const char *text) {
        if (!strstr(failure.text, text))
                ck_abort_msg("'%s' is not in '%s'", text, failure.text);
}

static int mount_target(void) {
        const struct mountat_target target = {
                .fd = scripted.root,
                .file_system = MOUNTAT_FILE_SYSTEM_PROC,
                .options = MOUNTAT_OPTION_PIDS_ONLY,
        };

        return lease_mount(&connection, &(struct lease_targets){&target, 1}, holding, &failure);
}

static int mount_below_root(uint32_t flags) {
        ck_assert_int_eq(root_open(&holding->root, scripted.root, flags, &failure), 0);
        return lease_mount_root(&connection, holding, &failure);
}

/* Its mount is the machine's own /proc, as seen from /usr: adopted, say, and never bare. */
static void hold(void) {
        struct mountat_target target = {.file_system = MOUNTAT_FILE_SYSTEM_PROC};

        target.fd = open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_eq(holding_keep_targets(holding, &target, 1, &failure), 0);
        close(target.fd);
        holding->id = SCRIPTED_LEASE;
        connection_add(&connection, holding);
}

static int unmount(void) {
        return lease_unmount(&connection, SCRIPTED_LEASE, &failure);
}

static bool is_held(void) {
        return connection_find(&connection, SCRIPTED_LEASE);
}

/* ---- mounting ---- */

static uint32_t expected_flags;

static void check_target(const struct wire_request *request, const struct fdpass_set *set,
                         const struct step *step) {
        struct stat sent, own;

        (void)step;
        if (request->operation != PROTOCOL_MOUNT)
                return;
        peer_check(request->n_targets == 1 && request->flags == expected_flags);
        peer_check(request->targets[0].file_system == PROTOCOL_PROC &&
                   request->targets[0].options == PROTOCOL_PIDS_ONLY);
        peer_check(fstat(set->fds[0], &sent) == 0 && fstat(scripted.root, &own) == 0);
        peer_check(sent.st_dev == own.st_dev && sent.st_ino == own.st_ino);
}

START_TEST(a_mount_gives_the_holding_its_lease) {
        static const struct step steps[][STEPS_MAX] = {{
                {PROTOCOL_MOUNT,
                 .reply = {.status = STATUS_NOT_AUTHORISED, .lease = 99, .target = 0}},
                {PROTOCOL_MOUNT, GRANT},
        }};

        scripted_check = check_target;
        start(steps);
        ck_assert_int_eq(mount_target(), -EPERM);
        ck_assert_uint_eq(failure.target, 0);
        ck_assert_uint_eq(holding->id, 0);
        ck_assert_int_eq(mount_target(), 0);
        ck_assert_uint_eq(holding->id, SCRIPTED_LEASE);
        holding_free(holding);
        end();
}
END_TEST

START_TEST(a_kept_one_takes_the_feature_and_the_flag) {
        static const struct step steps[][STEPS_MAX] = {{
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_MOUNT, GRANT},
        }};

        scripted_check = check_target;
        expected_flags = PROTOCOL_KEEP;
        start(steps);
        holding->kept = true;
        ck_assert_int_eq(mount_target(), 0);
        ck_assert_uint_eq(holding->id, SCRIPTED_LEASE);
        holding_free(holding);
        end();
}
END_TEST

START_TEST(a_dev_takes_the_feature_wherever_it_stands) {
        static const struct step steps[][STEPS_MAX] = {{{PROTOCOL_HELLO, GREET(0)}, {0}}};
        const struct mountat_target targets[] = {
                {.fd = scripted.root, .file_system = MOUNTAT_FILE_SYSTEM_PROC},
                {.fd = scripted.root, .file_system = MOUNTAT_FILE_SYSTEM_DEV},
        };

        start(steps);
        ck_assert_int_eq(
                lease_mount(&connection, &(struct lease_targets){targets, 2}, holding, &failure),
                -EOPNOTSUPP);
        holding_free(holding);
        connection_close(&connection);
        expect_end_of_peer();
}
END_TEST

START_TEST(a_check_mounts_nothing) {
        static const struct step steps[][STEPS_MAX] = {{
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_MOUNT},
                {PROTOCOL_MOUNT, .reply = {.status = STATUS_WRONG_NAME, .text = "not so"}},
        }};
        const struct mountat_target target = {
                .fd = scripted.root,
                .file_system = MOUNTAT_FILE_SYSTEM_PROC,
                .options = MOUNTAT_OPTION_PIDS_ONLY,
        };
        const struct lease_targets targets = {&target, 1};

        scripted_check = check_target;
        expected_flags = PROTOCOL_CHECK;
        start(steps);
        holding_free(holding);
        ck_assert_int_eq(lease_check(&connection, &targets, &failure), 0);
        ck_assert_int_eq(lease_check(&connection, &targets, &failure), -EINVAL);
        expect_text_of_failure("not so");
        ck_assert_ptr_null(connection.holdings);
        end();
}
END_TEST

#define MOUNTED .reply = {.status = STATUS_ALREADY_MOUNTED, .text = "as it was"}

START_TEST(without_a_loss_what_is_mounted_is_anothers) {
        static const struct step steps[][STEPS_MAX] = {{{PROTOCOL_MOUNT, MOUNTED}}};

        start(steps);
        ck_assert_int_eq(mount_target(), -EBUSY);
        expect_text_of_failure("as it was");
        holding_free(holding);
        end();
}
END_TEST

START_TEST(after_a_loss_the_next_instance_has_time_to_undo_the_first_attempt) {
        static const struct step steps[][STEPS_MAX] = {
                {{PROTOCOL_MOUNT, DIE}},
                {{PROTOCOL_MOUNT, MOUNTED}, {PROTOCOL_MOUNT, MOUNTED}, {PROTOCOL_MOUNT, GRANT}},
        };

        start(steps);
        ck_assert_int_eq(mount_target(), 0);
        ck_assert_uint_eq(holding->id, SCRIPTED_LEASE);
        ck_assert_int_eq(failure.error, 0);
        holding_free(holding);
        end();
}
END_TEST

/* The mount that it dies of, or that somebody made before. */
static void dies_and_leaves_a_mount(int connected) {
        static bool died;

        for (;;) {
                struct wire_request request = peer_receive_only(connected);
                struct wire_reply reply = {.flags = ABLE};

                if (request.operation == PROTOCOL_MOUNT && !died) {
                        died = true;
                        return;
                }
                if (request.operation == PROTOCOL_MOUNT)
                        reply = (struct wire_reply){.status = STATUS_ALREADY_MOUNTED};
                peer_answer(connected, &request, reply);
        }
}

START_TEST(what_stays_after_a_loss_may_be_ones_own) {
        scripted_start(dies_and_leaves_a_mount);
        open_connection();
        holding->kept = _i > 0;
        ck_assert_int_eq(mount_target(), -EBUSY);
        ck_assert_int_eq(failure.status, MOUNTAT_STATUS_ALREADY_MOUNTED);
        ck_assert_uint_eq(failure.target, 0);
        expect_text_of_failure("went away before it answered");
        expect_text_of_failure(_i > 0 ? "mountatctl list" : "--adopt-timeout");
        ck_assert_uint_eq(holding->id, 0);
        holding_free(holding);
        end();
}
END_TEST

/* ---- below a root ---- */

START_TEST(below_a_root_it_opens_makes_and_notes_what_it_mounts_on) {
        static const struct step steps[][STEPS_MAX] = {{{PROTOCOL_MOUNT, GRANT}}};
        unsigned before = descriptors_count();

        start(steps);
        ck_assert_int_eq(mount_below_root(BOTH | MOUNTAT_CREATE), 0);
        ck_assert_uint_eq(holding->id, SCRIPTED_LEASE);
        ck_assert_uint_eq(holding->count, 2);
        ck_assert_uint_eq(holding->targets[0].file_system, MOUNTAT_FILE_SYSTEM_PROC);
        ck_assert_uint_eq(holding->targets[1].file_system, MOUNTAT_FILE_SYSTEM_SYSFS);
        /* The root, the socket and its watch. */
        ck_assert_uint_eq(descriptors_count(), before + 3);
        ck_assert(is_there("proc") && is_there("sys"));
        holding_free(holding);
        end();
}
END_TEST

START_TEST(what_cannot_be_opened_is_not_asked_for) {
        static const struct step steps[][STEPS_MAX] = {{{0}}};

        start(steps);
        ck_assert_int_eq(mount_below_root(BOTH), -ENOENT);
        ck_assert_uint_eq(holding->count, 0);
        holding_free(holding);
        end();
}
END_TEST

static void unmount_proc(void) {
        char path[128];

        snprintf(path, sizeof(path), "%s/root/proc", scripted.dir);
        peer_check(umount2(path, MNT_DETACH) == 0);
}

static bool leaves; /* what is mounted there goes when the daemon is asked about it */

static void be_about_to_leave(const struct wire_request *request, const struct fdpass_set *set,
                              const struct step *step) {
        struct statx sent;

        (void)step;
        if (request->flags != PROTOCOL_CHECK)
                return;
        peer_check(statx(set->fds[0], "", AT_EMPTY_PATH, 0, &sent) == 0);
        peer_check(sent.stx_attributes & STATX_ATTR_MOUNT_ROOT);
        if (leaves)
                unmount_proc();
}

MOUNT_TEST(what_is_about_to_leave_is_waited_for) {
        static const struct step steps[][STEPS_MAX] = {{
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_MOUNT, MOUNTED},
                {PROTOCOL_MOUNT, GRANT},
        }};

        leaves = true;
        scripted_check = be_about_to_leave;
        make_mountpoints();
        mount_on("proc");
        start(steps);
        ck_assert_int_eq(mount_below_root(MOUNTAT_PROC), 0);
        ck_assert_int_eq(failure.error, 0);
        holding_free(holding);
        end();
}

MOUNT_TEST(what_stays_there_is_anothers) {
        static const struct step steps[][STEPS_MAX] = {{
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_MOUNT, MOUNTED},
        }};

        scripted_check = be_about_to_leave;
        make_mountpoints();
        mount_on("proc");
        start(steps);
        ck_assert_int_eq(mount_below_root(MOUNTAT_PROC), -EBUSY);
        ck_assert_int_eq(failure.status, MOUNTAT_STATUS_ALREADY_MOUNTED);
        expect_text_of_failure("proc below the root");
        holding_free(holding);
        end();
        unmount_from("proc");
}

/* ---- unmounting ---- */

static const struct {
        struct wire_reply reply;
        int error;
        bool held; /* afterwards */
} answers[] = {
        {{.status = STATUS_OK}, 0, false},
        {{.status = STATUS_HOST_FAILED, .error = EIO}, EIO, true},
        {{.status = STATUS_NO_SUCH_LEASE}, ENOENT, false},
};

START_TEST(a_lease_is_held_until_it_is_released_or_unknown) {
        const struct step steps[][STEPS_MAX] = {{{PROTOCOL_UNMOUNT, .reply = answers[_i].reply}}};

        start(steps);
        hold();
        ck_assert_int_eq(unmount(), -answers[_i].error);
        ck_assert_int_eq(failure.error, answers[_i].error);
        ck_assert_int_eq(is_held(), answers[_i].held);
        end();
}
END_TEST

/* Kept by the daemon, say. */
START_TEST(a_lease_that_is_not_held_here_is_asked_about_too) {
        const struct step steps[][STEPS_MAX] = {{{PROTOCOL_UNMOUNT, .reply = answers[_i].reply}}};

        start(steps);
        holding_free(holding);
        ck_assert_int_eq(unmount(), -answers[_i].error);
        ck_assert_int_eq(failure.error, answers[_i].error);
        end();
}
END_TEST

START_TEST(a_lost_lease_is_explained_once) {
        static const struct step steps[][STEPS_MAX] = {{
                {PROTOCOL_UNMOUNT,
                 .reply = {.status = STATUS_NO_SUCH_LEASE, .text = "what lease?"}},
        }};

        start(steps);
        hold();
        holding_lose(holding, HOLDING_BARE, 0);
        ck_assert_int_eq(unmount(), -ENOENT);
        expect_text_of_failure("was lost");
        ck_assert(!is_held());
        ck_assert_int_eq(unmount(), -ENOENT);
        expect_text_of_failure("what lease?");
        end();
}
END_TEST

START_TEST(an_unmount_in_doubt_of_a_lease_that_is_not_held_says_so) {
        static const struct step steps[][STEPS_MAX] = {
                {{PROTOCOL_UNMOUNT, DIE}},
                {{PROTOCOL_UNMOUNT, .reply = {.status = STATUS_NO_SUCH_LEASE}}},
        };

        start(steps);
        holding_free(holding);
        ck_assert_int_eq(unmount(), -ENOENT);
        ck_assert_int_eq(failure.status, MOUNTAT_STATUS_NO_SUCH_LEASE);
        expect_text_of_failure("went away before it answered");
        expect_text_of_failure("0000001234567890");
        end();
}
END_TEST

static const struct step loses[][STEPS_MAX] = {
        {{PROTOCOL_UNMOUNT, DIE}},
        {{PROTOCOL_ADOPT, .reply = {.status = STATUS_NO_SUCH_LEASE}}},
};

static void hold_below_root(void) {
        make_mountpoints();
        ck_assert_int_eq(root_open(&holding->root, scripted.root, MOUNTAT_PROC, &failure), 0);
        holding_note_targets(holding,
                             &(struct mountat_target){.file_system = MOUNTAT_FILE_SYSTEM_PROC}, 1);
        holding->id = SCRIPTED_LEASE;
        connection_add(&connection, holding);
        mount_on("proc");
}

/* By its first attempt, or by the instance that doesn't give it back. */
MOUNT_TEST(a_lease_lost_on_the_way_is_released_when_it_is_bare) {
        pid_t child;

        start(loses);
        hold_below_root();
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
                usleep(50000);
                unmount_proc();
                _exit(EXIT_SUCCESS);
        }
        ck_assert_int_eq(unmount(), 0);
        ck_assert_int_eq(failure.error, 0);
        ck_assert(!is_held());
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
        end();
}

MOUNT_TEST(a_lease_lost_on_the_way_that_stays_mounted_is_lost) {
        start(loses);
        hold_below_root();
        connection.channel.deadline = channel_after(3000);
        ck_assert_int_eq(unmount(), -ENOENT);
        expect_text_of_failure("was lost");
        ck_assert(!is_held());
        end();
        unmount_from("proc");
}

int main(void) {
        Suite *suite = suite_create("lease");
        TCase *tests = scripted_case(suite, "lease");

        scripted_isolate();
        tcase_add_test(tests, a_mount_gives_the_holding_its_lease);
        tcase_add_test(tests, a_kept_one_takes_the_feature_and_the_flag);
        tcase_add_test(tests, a_dev_takes_the_feature_wherever_it_stands);
        tcase_add_test(tests, a_check_mounts_nothing);
        tcase_add_test(tests, without_a_loss_what_is_mounted_is_anothers);
        tcase_add_test(tests, after_a_loss_the_next_instance_has_time_to_undo_the_first_attempt);
        tcase_add_loop_test(tests, what_stays_after_a_loss_may_be_ones_own, 0, 2);

        tcase_add_test(tests, below_a_root_it_opens_makes_and_notes_what_it_mounts_on);
        tcase_add_test(tests, what_cannot_be_opened_is_not_asked_for);
        tcase_add_test(tests, what_is_about_to_leave_is_waited_for);
        tcase_add_test(tests, what_stays_there_is_anothers);

        tcase_add_loop_test(tests, a_lease_is_held_until_it_is_released_or_unknown, 0,
                            N_ELEMENTS(answers));
        tcase_add_loop_test(tests, a_lease_that_is_not_held_here_is_asked_about_too, 0,
                            N_ELEMENTS(answers));
        tcase_add_test(tests, a_lost_lease_is_explained_once);
        tcase_add_test(tests, an_unmount_in_doubt_of_a_lease_that_is_not_held_says_so);
        tcase_add_test(tests, a_lease_lost_on_the_way_is_released_when_it_is_bare);
        tcase_add_test(tests, a_lease_lost_on_the_way_that_stays_mounted_is_lost);
        return suite_run_all(suite);
}
