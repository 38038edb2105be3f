/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A daemon that finds targets in another mount namespace: when the library sends enter, with what,
 * and the caller's error if it fails. The peer follows a list of steps per connection: the expected
 * request, and the answer.
 */

#include "tests/test.h"
#include "tests/unit/client/scripted.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ABLE = SCRIPTED_FEATURES | PROTOCOL_FEATURE_ENTER };

static uint32_t namespaces = 3;  /* expected in an enter */
static int seen_enters = -EBADF; /* a pipe that has a byte for each */

/* Reads the kernel's name of the namespace at index `i` of the request. */
static void check_namespace(const struct wire_request *request, const struct fdpass_set *set,
                            uint32_t i) {
        static const char *const paths[] = {
                [PROTOCOL_NAMESPACE_MOUNT] = "/proc/self/ns/mnt",
                [PROTOCOL_NAMESPACE_PID] = "/proc/self/ns/pid",
                [PROTOCOL_NAMESPACE_NETWORK] = "/proc/self/ns/net",
        };
        uint32_t kind = request->targets[i].file_system;
        struct stat sent, own;

        peer_check(kind == i + 1 && kind < N_ELEMENTS(paths) && request->targets[i].options == 0);
        peer_check(fstat(set->fds[i], &sent) == 0 && stat(paths[kind], &own) == 0);
        peer_check(sent.st_dev == own.st_dev && sent.st_ino == own.st_ino);
        peer_check((fcntl(set->fds[i], F_GETFL) & (O_ACCMODE | O_PATH)) == O_RDONLY);
}

/* The request sent after an enter equals the one before it. */
static void check_repeated(const struct wire_request *before, const struct wire_request *request) {
        peer_check(before->n_targets == request->n_targets && before->lease == request->lease &&
                   before->flags == request->flags && before->cookie < request->cookie);
        peer_check(memcmp(before->targets, request->targets,
                          request->n_targets * sizeof(before->targets[0])) == 0);
}

static void check_request(const struct wire_request *request, const struct fdpass_set *set,
                          const struct step *step) {
        static struct wire_request before;
        static bool entered; /* with the last request */

        if (request->operation == PROTOCOL_ENTER) {
                peer_check(request->n_targets == namespaces && request->lease == 0 &&
                           request->flags == 0);
                for (uint32_t i = 0; i < request->n_targets; i++)
                        check_namespace(request, set, i);
                entered = step->reply.status == STATUS_OK;
                if (seen_enters >= 0)
                        peer_check(write(seen_enters, "", 1) == 1);
                return;
        }
        if (request->operation == PROTOCOL_MOUNT || request->operation == PROTOCOL_ADOPT) {
                if (entered && before.operation == request->operation)
                        check_repeated(&before, request);
                before = *request;
        }
        entered = false;
}

#define start(steps) start_all(steps, N_ELEMENTS(steps))

static void start_all(const struct step (*steps)[STEPS_MAX], size_t n) {
        scripted_check = check_request;
        make_mountpoints();
        scripted_follow_all(steps, n);
        ck_assert_int_eq(mountat_connect(scripted.mountat, scripted.path), 0);
}

static struct mountat_target target(void) {
        return (struct mountat_target){
                .fd = scripted.root,
                .file_system = MOUNTAT_FILE_SYSTEM_PROC,
                .options = MOUNTAT_OPTION_PIDS_ONLY,
        };
}

static int mount_target(void) {
        struct mountat_target targets[] = {target()};
        uint64_t lease = 77;
        int result = mountat_mount(scripted.mountat, targets, 1, &lease);

        ck_assert_uint_eq(lease, result == 0 ? SCRIPTED_LEASE : 77);
        return result;
}

static int mount_kept(void) {
        struct mountat_target targets[] = {target()};
        uint64_t lease;

        return mountat_mount_kept(scripted.mountat, targets, 1, &lease);
}

static int check(void) {
        struct mountat_target targets[] = {target()};

        return mountat_check(scripted.mountat, targets, 1);
}

static int unmount(void) {
        return mountat_unmount(scripted.mountat, SCRIPTED_LEASE);
}

static int hello(void) {
        return mountat_hello(scripted.mountat, NULL, NULL);
}

/*
 * A mount that can be adopted without making one: the host's own /proc, with / as its parent.
 */
static int mount_adoptable(void) {
        struct mountat_target own = {.file_system = MOUNTAT_FILE_SYSTEM_PROC};
        uint64_t lease = 77;
        int result;

        own.fd = open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_ge(own.fd, 0);
        result = mountat_mount(scripted.mountat, &own, 1, &lease);
        close(own.fd);
        return result;
}

static int recover(void) {
        if (mountat_fd(scripted.mountat) >= 0)
                wait_for_hang_up();
        return mountat_recover(scripted.mountat);
}

/* ---- entering ---- */

static const struct step enters[][STEPS_MAX] = {{
        {PROTOCOL_MOUNT, FOREIGN},
        {PROTOCOL_HELLO, GREET(ABLE)},
        {PROTOCOL_ENTER},
        {PROTOCOL_MOUNT, GRANT},
        {PROTOCOL_UNMOUNT},
        {PROTOCOL_MOUNT, GRANT},
}};

START_TEST(a_mount_that_is_refused_as_foreign_is_asked_again_in_there) {
        unsigned before = descriptors_count();

        start(enters);
        ck_assert_int_eq(mount_target(), 0);
        ck_assert_int_eq(mountat_error_status(scripted.mountat), MOUNTAT_STATUS_OK);
        ck_assert_int_eq(unmount(), 0);
        /* The socket and its watch. */
        ck_assert_uint_eq(descriptors_count(), before + 2);
        ck_assert_int_eq(mount_target(), 0);
        expect_end();
}
END_TEST

static const struct step enters_for_a_check[][STEPS_MAX] = {{
        {PROTOCOL_HELLO, GREET(ABLE)},
        {PROTOCOL_MOUNT, FOREIGN},
        {PROTOCOL_ENTER},
        {PROTOCOL_MOUNT, .reply = {.status = STATUS_NOT_AUTHORISED}},
        {PROTOCOL_MOUNT},
}};

START_TEST(a_check_enters_as_well_and_hello_is_asked_once) {
        start(enters_for_a_check);
        expect_failure(check(), EPERM, MOUNTAT_STATUS_NOT_AUTHORISED);
        ck_assert_uint_eq(mountat_error_target(scripted.mountat), 0);
        ck_assert_int_eq(check(), 0);
        expect_end();
}
END_TEST

static const struct step obliges[][STEPS_MAX] = {{
        {PROTOCOL_HELLO, GREET(ABLE)},
        {PROTOCOL_MOUNT, GRANT},
        {PROTOCOL_MOUNT, .reply = {.status = STATUS_NOT_AUTHORISED}},
}};

START_TEST(nobody_enters_unasked) {
        start(obliges);
        ck_assert_int_eq(hello(), 0);
        ck_assert_int_eq(mount_target(), 0);
        expect_failure(mount_target(), EPERM, MOUNTAT_STATUS_NOT_AUTHORISED);
        expect_end();
}
END_TEST

static const struct step enters_in_vain[][STEPS_MAX] = {{
        {PROTOCOL_MOUNT, FOREIGN},
        {PROTOCOL_HELLO, GREET(ABLE)},
        {PROTOCOL_ENTER},
        {PROTOCOL_MOUNT, FOREIGN},
        {PROTOCOL_MOUNT, FOREIGN},
}};

/* A detached tree is in no namespace. */
START_TEST(one_enter_is_enough_for_a_connection) {
        start(enters_in_vain);
        for (int i = 0; i < 2; i++) {
                expect_failure(mount_target(), EXDEV, MOUNTAT_STATUS_FOREIGN_NAMESPACE);
                expect_text("it is elsewhere");
                ck_assert_uint_eq(mountat_error_target(scripted.mountat), 0);
        }
        expect_end();
}
END_TEST

#define NOT_KEPT                                                                                   \
        .reply = {.status = STATUS_FOREIGN_NAMESPACE,                                              \
                  .target = STATUS_NO_TARGET,                                                      \
                  .text = "it can't be kept"}

static const struct step keeps_nothing[][STEPS_MAX] = {{
        {PROTOCOL_HELLO, GREET(ABLE)},
        {PROTOCOL_MOUNT, FOREIGN},
        {PROTOCOL_ENTER},
        {PROTOCOL_MOUNT, NOT_KEPT},
        {PROTOCOL_MOUNT, NOT_KEPT},
}};

START_TEST(what_cannot_be_kept_in_there_is_told_so) {
        start(keeps_nothing);
        for (int i = 0; i < 2; i++) {
                expect_failure(mount_kept(), EXDEV, MOUNTAT_STATUS_FOREIGN_NAMESPACE);
                expect_text("it can't be kept");
        }
        expect_end();
}
END_TEST

static const struct step holds_at_home[][STEPS_MAX] = {{
        {PROTOCOL_MOUNT, GRANT},
        {PROTOCOL_MOUNT, FOREIGN},
        {PROTOCOL_UNMOUNT},
        {PROTOCOL_MOUNT, FOREIGN},
        {PROTOCOL_HELLO, GREET(ABLE)},
        {PROTOCOL_ENTER},
        {PROTOCOL_MOUNT, GRANT},
}};

/* The daemon would refuse: all leases of a connection are in one namespace. */
START_TEST(who_holds_a_lease_out_here_does_not_enter) {
        start(holds_at_home);
        ck_assert_int_eq(mount_target(), 0);
        expect_failure(mount_target(), EXDEV, MOUNTAT_STATUS_FOREIGN_NAMESPACE);
        expect_text("it is elsewhere");
        ck_assert_int_eq(unmount(), 0);
        ck_assert_int_eq(mount_target(), 0);
        expect_end();
}
END_TEST

/* ---- without ---- */

static const struct step cannot[][STEPS_MAX] = {{
        {PROTOCOL_MOUNT, FOREIGN},
        {PROTOCOL_HELLO, GREET(SCRIPTED_FEATURES)},
        {PROTOCOL_MOUNT, FOREIGN},
        {PROTOCOL_MOUNT, .reply = {.status = STATUS_FOREIGN_NAMESPACE, .text = "see --join"}},
}};

START_TEST(without_the_feature_it_says_what_an_administrator_does) {
        start(cannot);
        for (int i = 0; i < 2; i++) {
                expect_failure(mount_target(), EXDEV, MOUNTAT_STATUS_FOREIGN_NAMESPACE);
                expect_text("another mount namespace");
                expect_text("containers");
                expect_text("--join in mountatd(8)");
                ck_assert_uint_eq(mountat_error_target(scripted.mountat), 0);
        }
        expect_failure(mount_target(), EXDEV, MOUNTAT_STATUS_FOREIGN_NAMESPACE);
        ck_assert_str_eq(mountat_error_text(scripted.mountat), "see --join");
        expect_end();
}
END_TEST

static const struct {
        struct wire_reply reply;
        int error;
        int status;
} refusals[] = {
        {{.status = STATUS_FOREIGN_NAMESPACE, .text = "cannot see your processes"},
         EXDEV,
         MOUNTAT_STATUS_FOREIGN_NAMESPACE},
        {{.status = STATUS_NOT_AUTHORISED, .text = "isn't yours"},
         EPERM,
         MOUNTAT_STATUS_NOT_AUTHORISED},
        {{.status = STATUS_MALFORMED, .text = "is none"}, EINVAL, MOUNTAT_STATUS_MALFORMED},
};

/* The error has the text of enter as long as the connection lives, and enter isn't sent again. */
START_TEST(a_refused_enter_is_what_the_caller_is_told) {
        const struct step refuses[][STEPS_MAX] = {{
                {PROTOCOL_MOUNT, FOREIGN},
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_ENTER, .reply = refusals[_i].reply},
                {PROTOCOL_MOUNT, FOREIGN},
                {PROTOCOL_MOUNT, .reply = {.status = STATUS_WRONG_NAME}},
        }};

        start(refuses);
        for (int i = 0; i < 2; i++) {
                expect_failure(mount_target(), refusals[_i].error, refusals[_i].status);
                ck_assert_str_eq(mountat_error_text(scripted.mountat), refusals[_i].reply.text);
                ck_assert_uint_eq(mountat_error_target(scripted.mountat), MOUNTAT_NO_TARGET);
        }
        expect_failure(mount_target(), EINVAL, MOUNTAT_STATUS_WRONG_NAME);
        expect_end();
}
END_TEST

static const struct step fails_once[][STEPS_MAX] = {
        {
                {PROTOCOL_MOUNT, FOREIGN},
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_ENTER,
                 .reply = {.status = STATUS_HOST_FAILED, .error = ENOMEM, .text = "no memory"}},
        },
        {
                {PROTOCOL_MOUNT, FOREIGN},
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_ENTER},
                {PROTOCOL_MOUNT, GRANT},
        },
};

START_TEST(what_the_host_fails_at_is_tried_again_on_another_connection) {
        start(fails_once);
        expect_failure(mount_target(), ENOMEM, MOUNTAT_STATUS_HOST_FAILED);
        expect_text("no memory");
        ck_assert_int_eq(mountat_fd(scripted.mountat), -ENOTCONN);
        ck_assert_int_eq(mount_target(), 0);
        expect_end();
}
END_TEST

static void refuses_connections(int connection) {
        struct wire_request request = peer_receive_only(connection);

        peer_answer(connection, &request, (struct wire_reply){.status = STATUS_FOREIGN_NAMESPACE});
        peer_send(connection, &(struct wire_reply){.status = STATUS_LIMIT_EXCEEDED});
}

START_TEST(a_connection_that_is_refused_meanwhile_is_told_as_that) {
        scripted_start_and_connect(refuses_connections);
        expect_failure(mount_target(), EDQUOT, MOUNTAT_STATUS_LIMIT_EXCEEDED);
        ck_assert_int_eq(mountat_fd(scripted.mountat), -ENOTCONN);
}
END_TEST

/* ---- losses ---- */

/* The daemon dies of the n-th request of a mount that enters; then what the next instance gets. */
static const struct step dying[][3][STEPS_MAX] = {
        {
                {{PROTOCOL_MOUNT, DIE}},
                {{PROTOCOL_MOUNT, FOREIGN},
                 {PROTOCOL_HELLO, GREET(ABLE)},
                 {PROTOCOL_ENTER},
                 {PROTOCOL_MOUNT, GRANT}},
        },
        {
                {{PROTOCOL_MOUNT, FOREIGN}, {PROTOCOL_HELLO, DIE}},
                {{PROTOCOL_MOUNT, FOREIGN},
                 {PROTOCOL_HELLO, GREET(ABLE)},
                 {PROTOCOL_ENTER},
                 {PROTOCOL_MOUNT, GRANT}},
        },
        {
                {{PROTOCOL_MOUNT, FOREIGN}, {PROTOCOL_HELLO, GREET(ABLE)}, {PROTOCOL_ENTER, DIE}},
                {{PROTOCOL_MOUNT, FOREIGN},
                 {PROTOCOL_HELLO, GREET(ABLE)},
                 {PROTOCOL_ENTER},
                 {PROTOCOL_MOUNT, GRANT}},
        },
        {
                {{PROTOCOL_MOUNT, FOREIGN},
                 {PROTOCOL_HELLO, GREET(ABLE)},
                 {PROTOCOL_ENTER},
                 {PROTOCOL_MOUNT, DIE}},
                {{PROTOCOL_HELLO, GREET(ABLE)}, {PROTOCOL_ENTER}, {PROTOCOL_MOUNT, GRANT}},
        },
        {
                {{PROTOCOL_MOUNT, FOREIGN},
                 {PROTOCOL_HELLO, GREET(ABLE)},
                 {PROTOCOL_ENTER},
                 {PROTOCOL_MOUNT, DIE}},
                {{PROTOCOL_HELLO, DIE}},
                {{PROTOCOL_HELLO, GREET(ABLE)}, {PROTOCOL_ENTER}, {PROTOCOL_MOUNT, GRANT}},
        },
        {
                {{PROTOCOL_MOUNT, FOREIGN},
                 {PROTOCOL_HELLO, GREET(ABLE)},
                 {PROTOCOL_ENTER},
                 {PROTOCOL_MOUNT, DIE}},
                {{PROTOCOL_HELLO, GREET(ABLE)}, {PROTOCOL_ENTER, DIE}},
                {{PROTOCOL_HELLO, GREET(ABLE)}, {PROTOCOL_ENTER}, {PROTOCOL_MOUNT, GRANT}},
        },
};

START_TEST(a_daemon_that_dies_on_the_way_is_replaced) {
        start_all(dying[_i], dying[_i][2][0].operation ? 3 : 2);
        ck_assert_int_eq(mount_target(), 0);
        expect_end();
}
END_TEST

/* Only a mount that was sent can have been granted. */
static const struct step doubtless[][STEPS_MAX] = {
        {{PROTOCOL_MOUNT, FOREIGN}, {PROTOCOL_HELLO, GREET(ABLE)}, {PROTOCOL_ENTER, DIE}},
        {{PROTOCOL_MOUNT, .reply = {.status = STATUS_ALREADY_MOUNTED, .text = "as it was"}}},
};

START_TEST(a_loss_in_enter_leaves_no_doubt) {
        start(doubtless);
        expect_failure(mount_target(), EBUSY, MOUNTAT_STATUS_ALREADY_MOUNTED);
        expect_text("as it was");
        expect_end();
}
END_TEST

static const struct step ignoring[][1][STEPS_MAX] = {
        {{{PROTOCOL_MOUNT, IGNORE}}},
        {{{PROTOCOL_MOUNT, FOREIGN}, {PROTOCOL_HELLO, IGNORE}}},
        {{{PROTOCOL_MOUNT, FOREIGN}, {PROTOCOL_HELLO, GREET(ABLE)}, {PROTOCOL_ENTER, IGNORE}}},
        {{{PROTOCOL_MOUNT, FOREIGN},
          {PROTOCOL_HELLO, GREET(ABLE)},
          {PROTOCOL_ENTER},
          {PROTOCOL_MOUNT, IGNORE}}},
};

START_TEST(all_of_it_has_one_timeout) {
        int64_t begin;

        start(ignoring[_i]);
        /* Before the request that is ignored come _i others. */
        mountat_set_timeout(scripted.mountat, (1 + 4 * (unsigned)_i) * SCRIPTED_SHORT);
        begin = now();
        expect_client_failure(mount_target(), ETIMEDOUT);
        expect_short(begin);
        expect_closed("in time");
        expect_end();
}
END_TEST

static const struct step breaking[][STEPS_MAX] = {{
        {PROTOCOL_MOUNT, FOREIGN},
        {PROTOCOL_HELLO, GREET(ABLE)},
        {PROTOCOL_ENTER},
        {PROTOCOL_MOUNT},
}};

START_TEST(a_mount_without_a_lease_breaks_the_protocol_in_there_too) {
        start(breaking);
        expect_client_failure(mount_target(), EPROTO);
        expect_closed("broke the protocol");
        expect_end();
}
END_TEST

/* ---- the next instance ---- */

static const struct step returns[][STEPS_MAX] = {
        {
                {PROTOCOL_MOUNT, FOREIGN},
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_ENTER},
                {PROTOCOL_MOUNT, GRANT},
                {PROTOCOL_HELLO, DIE},
        },
        {
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_ENTER},
                {PROTOCOL_ADOPT, GRANT},
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_MOUNT, GRANT},
        },
};

START_TEST(the_next_one_enters_before_it_adopts) {
        start(returns);
        ck_assert_int_eq(mount_adoptable(), 0);
        ck_assert_int_eq(hello(), 0);
        ck_assert_int_eq(mount_target(), 0);
        expect_end();
}
END_TEST

START_TEST(connecting_by_hand_enters_first_too) {
        static const struct step steps[][STEPS_MAX] = {
                {{PROTOCOL_MOUNT, FOREIGN},
                 {PROTOCOL_HELLO, GREET(ABLE)},
                 {PROTOCOL_ENTER},
                 {PROTOCOL_MOUNT, GRANT},
                 {PROTOCOL_HELLO, IGNORE}},
                {{PROTOCOL_HELLO, GREET(ABLE)}, {PROTOCOL_ENTER}, {PROTOCOL_MOUNT, GRANT}},
        };

        start(steps);
        ck_assert_int_eq(mount_target(), 0);
        mountat_set_timeout(scripted.mountat, SCRIPTED_SHORT);
        expect_client_failure(hello(), ETIMEDOUT);
        mountat_set_timeout(scripted.mountat, 0);
        scripted_kill();
        scripted_follow_all(&steps[1], 1);
        ck_assert_int_eq(mountat_connect(scripted.mountat, scripted.path), 0);
        ck_assert_int_eq(mount_target(), 0);
        expect_end();
}
END_TEST

static const struct step moves[][STEPS_MAX] = {
        {
                {PROTOCOL_MOUNT, GRANT},
                {PROTOCOL_HELLO, DIE},
        },
        {
                {PROTOCOL_ADOPT, FOREIGN},
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_ENTER},
                {PROTOCOL_ADOPT, GRANT},
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_UNMOUNT},
        },
};

/* The daemon comes back in another namespace. */
START_TEST(an_adoption_that_is_refused_as_foreign_is_asked_again_in_there) {
        start(moves);
        ck_assert_int_eq(mount_adoptable(), 0);
        ck_assert_int_eq(hello(), 0);
        ck_assert_int_eq(unmount(), 0);
        expect_end();
}
END_TEST

/* Answers about a lease by a daemon that hasn't entered the lease's namespace. */
static const struct wire_reply ignorance[] = {
        {.status = STATUS_FOREIGN_NAMESPACE, .text = "it is elsewhere"},
        {.status = STATUS_NO_SUCH_LEASE, .text = "unknown"},
};

START_TEST(a_next_one_that_cannot_enter_loses_the_lease_and_says_why) {
        const struct step forgets[][STEPS_MAX] = {
                {
                        {PROTOCOL_MOUNT, FOREIGN},
                        {PROTOCOL_HELLO, GREET(ABLE)},
                        {PROTOCOL_ENTER},
                        {PROTOCOL_MOUNT, GRANT},
                        {PROTOCOL_MOUNT, DIE},
                },
                {
                        {PROTOCOL_HELLO, GREET(SCRIPTED_FEATURES)},
                        {PROTOCOL_ADOPT, .reply = ignorance[_i]},
                        {PROTOCOL_MOUNT, FOREIGN},
                },
        };

        start(forgets);
        ck_assert_int_eq(mount_adoptable(), 0);
        expect_failure(mount_target(), EXDEV, MOUNTAT_STATUS_FOREIGN_NAMESPACE);
        expect_text("--join in mountatd(8)");
        expect_failure(mountat_recover(scripted.mountat), ENOENT, MOUNTAT_STATUS_NO_SUCH_LEASE);
        expect_text("was lost");
        expect_text("--join in mountatd(8)");
        expect_failure(unmount(), ENOENT, MOUNTAT_STATUS_NO_SUCH_LEASE);
        expect_text("--join in mountatd(8)");
        expect_end();
}
END_TEST

START_TEST(a_next_one_that_is_refused_entering_loses_the_lease_and_says_why) {
        const struct step shuts_out[][STEPS_MAX] = {
                {
                        {PROTOCOL_MOUNT, FOREIGN},
                        {PROTOCOL_HELLO, GREET(ABLE)},
                        {PROTOCOL_ENTER},
                        {PROTOCOL_MOUNT, GRANT},
                        {PROTOCOL_HELLO, DIE},
                },
                {
                        {PROTOCOL_HELLO, GREET(ABLE)},
                        {PROTOCOL_ENTER, .reply = {.status = STATUS_FOREIGN_NAMESPACE,
                                                   .text = "can't see \x1b you"}},
                        {PROTOCOL_ADOPT, .reply = ignorance[_i]},
                        {PROTOCOL_HELLO, GREET(ABLE)},
                },
        };

        start(shuts_out);
        ck_assert_int_eq(mount_adoptable(), 0);
        ck_assert_int_eq(hello(), 0);
        expect_failure(mountat_recover(scripted.mountat), ENOENT, MOUNTAT_STATUS_NO_SUCH_LEASE);
        expect_text("can't see \\x1b you");
        expect_end();
}
END_TEST

static const struct step fails_to_return[][STEPS_MAX] = {
        {
                {PROTOCOL_MOUNT, FOREIGN},
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_ENTER},
                {PROTOCOL_MOUNT, GRANT},
                {.act = CLOSE},
        },
        {
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_ENTER,
                 .reply = {.status = STATUS_HOST_FAILED, .error = ENOMEM, .text = "no memory"}},
        },
        {
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_ENTER},
                {PROTOCOL_ADOPT, GRANT},
                {PROTOCOL_UNMOUNT},
        },
};

START_TEST(a_next_one_that_fails_at_entering_for_a_moment_loses_no_lease) {
        start(fails_to_return);
        ck_assert_int_eq(mount_adoptable(), 0);
        expect_failure(recover(), ENOMEM, MOUNTAT_STATUS_HOST_FAILED);
        expect_text("no memory");
        ck_assert_int_eq(mountat_fd(scripted.mountat), -ENOTCONN);
        ck_assert_int_eq(mountat_recover(scripted.mountat), 0);
        ck_assert_int_eq(unmount(), 0);
        expect_end();
}
END_TEST

static const struct step keeps_waiting[][STEPS_MAX] = {
        {
                {PROTOCOL_MOUNT, FOREIGN},
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_ENTER},
                {PROTOCOL_MOUNT, GRANT},
                {.act = CLOSE},
        },
        {
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_ENTER, IGNORE},
        },
};

START_TEST(the_keeper_ends_while_the_daemon_does_not_enter) {
        int64_t begin;
        int pipes[2];
        char byte;

        ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
        seen_enters = pipes[1];
        start(keeps_waiting);
        ck_assert_int_eq(mount_adoptable(), 0);
        wait_for_hang_up();
        ck_assert_int_eq(mountat_keep(scripted.mountat), 0);
        for (int i = 0; i < 2; i++)
                ck_assert_int_eq(read(pipes[0], &byte, 1), 1);
        close(pipes[0]);
        close(pipes[1]);
        begin = now();
        expect_end();
        ck_assert_int_lt(now() - begin, SCRIPTED_LONG);
}
END_TEST

/* ---- this process's descriptors and namespaces ---- */

static const struct step enters_later[][STEPS_MAX] = {{
        {PROTOCOL_HELLO, GREET(ABLE)},
        {PROTOCOL_MOUNT, FOREIGN},
        {PROTOCOL_MOUNT, FOREIGN},
        {PROTOCOL_ENTER},
        {PROTOCOL_MOUNT},
}};

/* A namespace omitted for lack of descriptors would be missing as long as the connection lives. */
START_TEST(a_shortage_of_descriptors_leaves_no_namespace_out) {
        const int *filled;

        start(enters_later);
        ck_assert_int_eq(hello(), 0);
        filled = descriptors_leave((unsigned)_i, scripted.root);
        expect_client_failure(check(), EMFILE);
        descriptors_give_back(filled);
        ck_assert_int_eq(check(), 0);
        expect_end();
}
END_TEST

static const struct step enters_for_one[][STEPS_MAX] = {{
        {PROTOCOL_HELLO, GREET(ABLE)},
        {PROTOCOL_MOUNT, FOREIGN},
        {PROTOCOL_ENTER},
        {PROTOCOL_MOUNT},
}};

START_TEST(other_namespaces_that_are_not_to_be_had_are_left_out) {
        if (!cover_proc((const char *const[]){"mnt", NULL}))
                test_skip("impossible here: there is no mount namespace to be had");
        namespaces = 1;
        start(enters_for_one);
        ck_assert_int_eq(check(), 0);
        uncover_proc();
        expect_end();
}
END_TEST

static const struct step asks_no_more[][STEPS_MAX] = {{
        {PROTOCOL_HELLO, GREET(ABLE)},
        {PROTOCOL_MOUNT, FOREIGN},
        {PROTOCOL_MOUNT, FOREIGN},
}};

START_TEST(without_its_own_mount_namespace_it_says_so) {
        if (!cover_proc((const char *const[]){"pid", "net", NULL}))
                test_skip("impossible here: there is no mount namespace to be had");
        start(asks_no_more);
        for (int i = 0; i < 2; i++) {
                expect_failure(check(), EXDEV, MOUNTAT_STATUS_FOREIGN_NAMESPACE);
                expect_text("/proc/self/ns/mnt: No such file or directory");
                expect_text("mount a procfs on /proc");
        }
        uncover_proc();
        expect_end();
}
END_TEST

int main(void) {
        Suite *suite = suite_create("connection_enter");
        TCase *entering = scripted_case(suite, "entering");
        TCase *losses = scripted_case(suite, "losses");
        TCase *next = scripted_case(suite, "next");
        TCase *own = scripted_case(suite, "own");

        tcase_add_test(entering, a_mount_that_is_refused_as_foreign_is_asked_again_in_there);
        tcase_add_test(entering, a_check_enters_as_well_and_hello_is_asked_once);
        tcase_add_test(entering, nobody_enters_unasked);
        tcase_add_test(entering, one_enter_is_enough_for_a_connection);
        tcase_add_test(entering, what_cannot_be_kept_in_there_is_told_so);
        tcase_add_test(entering, who_holds_a_lease_out_here_does_not_enter);
        tcase_add_test(entering, without_the_feature_it_says_what_an_administrator_does);
        tcase_add_loop_test(entering, a_refused_enter_is_what_the_caller_is_told, 0,
                            N_ELEMENTS(refusals));
        tcase_add_test(entering, what_the_host_fails_at_is_tried_again_on_another_connection);
        tcase_add_test(entering, a_connection_that_is_refused_meanwhile_is_told_as_that);

        tcase_add_loop_test(losses, a_daemon_that_dies_on_the_way_is_replaced, 0,
                            N_ELEMENTS(dying));
        tcase_add_test(losses, a_loss_in_enter_leaves_no_doubt);
        tcase_add_loop_test(losses, all_of_it_has_one_timeout, 0, N_ELEMENTS(ignoring));
        tcase_add_test(losses, a_mount_without_a_lease_breaks_the_protocol_in_there_too);

        tcase_add_test(next, the_next_one_enters_before_it_adopts);
        tcase_add_test(next, connecting_by_hand_enters_first_too);
        tcase_add_test(next, an_adoption_that_is_refused_as_foreign_is_asked_again_in_there);
        tcase_add_loop_test(next, a_next_one_that_cannot_enter_loses_the_lease_and_says_why, 0,
                            N_ELEMENTS(ignorance));
        tcase_add_loop_test(next, a_next_one_that_is_refused_entering_loses_the_lease_and_says_why,
                            0, N_ELEMENTS(ignorance));
        tcase_add_test(next, a_next_one_that_fails_at_entering_for_a_moment_loses_no_lease);
        tcase_add_test(next, the_keeper_ends_while_the_daemon_does_not_enter);

        tcase_add_loop_test(own, a_shortage_of_descriptors_leaves_no_namespace_out, 0, 3);
        tcase_add_test(own, other_namespaces_that_are_not_to_be_had_are_left_out);
        tcase_add_test(own, without_its_own_mount_namespace_it_says_so);
        return suite_run_all(suite);
}
