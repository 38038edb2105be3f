/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The connection by itself: its leases, recovery, and one request from start to end. The leases'
 * mounts are the machine's own /proc, as seen from /usr: it can be opened for adoption, and no
 * script of the peer's looks at it. check_connection_recovery has a peer that mounts.
 */

#include "client/connection.h"

#include "common/fd.h"
#include "tests/test.h"
#include "tests/unit/client/scripted.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
        ABLE = SCRIPTED_FEATURES | PROTOCOL_FEATURE_ENTER,
        NOBODY = 65534,
        LOSSES = 8, /* of one call, until it gives up */
};

static struct connection connection = CONNECTION_NONE;
static struct failure failure;

static void set_deadline(uint32_t milliseconds) {
        connection.channel.deadline = channel_after(milliseconds);
}

static void open_connection(void) {
        set_deadline(10000);
        ck_assert_int_eq(connection_open(&connection, scripted.path), 0);
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

static struct holding *add(uint64_t id, const char *beside) {
        struct mountat_target target = {.file_system = MOUNTAT_FILE_SYSTEM_PROC};
        struct holding *holding = holding_new();

        ck_assert_ptr_nonnull(holding);
        target.fd = open(beside, O_PATH | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_ge(target.fd, 0);
        ck_assert_int_eq(holding_keep_targets(holding, &target, 1, &failure), 0);
        close(target.fd);
        holding->id = id;
        connection_add(&connection, holding);
        return holding;
}

static struct holding *add_mounted(uint64_t id) {
        return add(id, "/usr");
}

/* As after an instance's end, of which nothing is left but its socket. */
static void lose_channel(void) {
        channel_close(&connection.channel, "was closed by the test");
}

static int recover(void) {
        failure_clear(&failure);
        return connection_recover(&connection, connection.channel.deadline, &failure);
}

static int ask(struct connection_call *call) {
        return connection_ask(&connection, call, &failure);
}

static int ask_hello(void) {
        struct connection_call call = {.request.operation = PROTOCOL_HELLO};

        return ask(&call);
}

static void expect_failure_of(int result, int error, const char *text) {
        ck_assert_int_eq(result, -error);
        ck_assert_int_eq(failure.error, error);
        if (!strstr(failure.text, text))
                ck_abort_msg("'%s' is not in '%s'", text, failure.text);
}

/* ---- leases ---- */

START_TEST(leases_are_found_by_their_ids_and_forgotten_one_by_one) {
        struct holding *holdings[3];

        scripted_start(peer_obliging);
        open_connection();
        for (uint64_t i = 0; i < 3; i++) {
                holdings[i] = add_mounted(i + 1);
                ck_assert_uint_eq(holdings[i]->connection, connection.number);
        }
        for (uint64_t i = 0; i < 3; i++)
                ck_assert_ptr_eq(connection_find(&connection, i + 1), holdings[i]);
        ck_assert_ptr_null(connection_find(&connection, 0));
        ck_assert_ptr_null(connection_find(&connection, 4));

        connection_forget(&connection, holdings[1]); /* in the middle, last, and only */
        ck_assert_ptr_null(connection_find(&connection, 2));
        connection_forget(&connection, holdings[0]);
        ck_assert_ptr_eq(connection_find(&connection, 3), holdings[2]);
        connection_forget(&connection, holdings[2]);
        ck_assert_ptr_null(connection.holdings);
        connection_close(&connection);
}
END_TEST

START_TEST(a_lost_lease_is_found_until_it_is_forgotten) {
        struct holding *lost;

        add_mounted(1);
        lost = add_mounted(2);
        add_mounted(3);
        ck_assert_ptr_null(connection_find_lost(&connection));
        holding_lose(lost, HOLDING_BARE, 0);
        ck_assert_ptr_eq(connection_find_lost(&connection), lost);
        connection_forget(&connection, lost);
        ck_assert_ptr_null(connection_find_lost(&connection));
        connection_close(&connection);
}
END_TEST

START_TEST(forgetting_and_closing_remove_what_was_made) {
        static const char *const names[] = {"proc", "sys"};

        for (uint32_t i = 0; i < 2; i++) {
                struct holding *holding = holding_new();
                struct root_targets targets;

                ck_assert_int_eq(root_open(&holding->root, scripted.root,
                                           flag_of(FLAG_FIRST + i) | MOUNTAT_CREATE, &failure),
                                 0);
                ck_assert_int_eq(root_open_targets(&holding->root, &targets, &failure), 0);
                root_targets_close(&targets);
                connection_add(&connection, holding);
                ck_assert(is_there(names[i]));
        }
        connection_forget(&connection, connection.holdings);
        ck_assert(!is_there("sys") && is_there("proc"));
        connection_close(&connection);
        ck_assert(!is_there("proc"));
}
END_TEST

/* ---- opening ---- */

START_TEST(opening_starts_over_without_the_leases_of_before) {
        uint64_t number;

        scripted_start(peer_obliging);
        ck_assert(!connection_is_whole(&connection));
        open_connection();
        ck_assert(connection_is_whole(&connection));
        ck_assert_str_eq(connection.path, scripted.path);
        number = connection.number;
        add_mounted(1);
        connection.instance.greeted = true;

        lose_channel();
        ck_assert(!connection_is_whole(&connection));
        open_connection();
        ck_assert(connection_is_whole(&connection));
        ck_assert_uint_gt(connection.number, number);
        ck_assert_ptr_null(connection.holdings);
        ck_assert(!connection.instance.greeted);
        connection_close(&connection);
        ck_assert(!connection_is_whole(&connection));
}
END_TEST

START_TEST(what_cannot_be_opened_changes_nothing) {
        char path[200];
        uint64_t number;

        scripted_start(peer_obliging);
        open_connection();
        number = connection.number;
        add_mounted(1);
        lose_channel();
        memset(path, 'a', sizeof(path) - 1);
        path[sizeof(path) - 1] = '\0';
        ck_assert_int_eq(connection_open(&connection, path), -ENAMETOOLONG);
        ck_assert_int_eq(connection_open(&connection, "/nonexistent/socket"), -ENOENT);
        ck_assert_str_eq(connection.path, scripted.path);
        ck_assert_uint_eq(connection.number, number);
        ck_assert_ptr_nonnull(connection_find(&connection, 1));
        connection_close(&connection);
}
END_TEST

/* ---- recovering ---- */

START_TEST(what_was_never_open_is_not_recovered) {
        expect_failure_of(recover(), ENOTCONN, "was never opened: connect first");
}
END_TEST

START_TEST(what_is_whole_asks_nothing) {
        static const struct step steps[][STEPS_MAX] = {{{0}}};

        start(steps);
        add_mounted(1);
        ck_assert_int_eq(recover(), 0);
        end();
}
END_TEST

static const struct step adopts[][STEPS_MAX] = {
        {{.act = CLOSE}},
        {{PROTOCOL_ADOPT, .reply = {.lease = 2}}, {PROTOCOL_ADOPT, .reply = {.lease = 1}}},
};

START_TEST(leases_are_offered_to_the_next_instance_once) {
        start(adopts);
        add_mounted(1);
        add_mounted(2);
        lose_channel();
        ck_assert_int_eq(recover(), 0);
        ck_assert_int_eq(recover(), 0);
        ck_assert(connection_is_whole(&connection));
        for (uint64_t i = 1; i <= 2; i++) {
                ck_assert_uint_eq(connection_find(&connection, i)->connection, connection.number);
                ck_assert_int_eq(connection_find(&connection, i)->fate, HOLDING_KEPT);
        }
        end();
}
END_TEST

static const struct step refuses_one[][STEPS_MAX] = {
        {{.act = CLOSE}},
        {{PROTOCOL_ADOPT, .reply = {.status = STATUS_NO_SUCH_LEASE}},
         {PROTOCOL_ADOPT, .reply = {.lease = 1}}},
};

/* It has all leases then that aren't lost. */
START_TEST(a_lease_that_is_refused_for_good_is_lost_and_the_others_are_not) {
        start(refuses_one);
        add_mounted(1);
        add_mounted(2);
        lose_channel();
        ck_assert_int_eq(recover(), 0);
        ck_assert(connection_is_whole(&connection));
        ck_assert_int_eq(connection_find(&connection, 1)->fate, HOLDING_KEPT);
        ck_assert_int_eq(connection_find(&connection, 2)->fate, HOLDING_REFUSED);
        ck_assert_ptr_eq(connection_find_lost(&connection), connection_find(&connection, 2));
        end();
}
END_TEST

START_TEST(a_lease_that_is_refused_for_a_moment_is_offered_again) {
        static const struct step steps[][STEPS_MAX] = {
                {{.act = CLOSE}},
                {{PROTOCOL_ADOPT, .reply = {.status = STATUS_LIMIT_EXCEEDED, .text = "too many"}},
                 {PROTOCOL_ADOPT, .reply = {.lease = 1}},
                 {PROTOCOL_ADOPT, .reply = {.lease = 2}}},
        };

        start(steps);
        add_mounted(1);
        add_mounted(2);
        lose_channel();
        expect_failure_of(recover(), EDQUOT, "too many");
        ck_assert_int_ge(connection.channel.fd, 0);
        ck_assert(!connection_is_whole(&connection));
        ck_assert_ptr_null(connection_find_lost(&connection));
        ck_assert_int_eq(recover(), 0); /* the one that is missing */
        ck_assert(connection_is_whole(&connection));
        end();
}
END_TEST

/* None of them is offered: there is nothing to send. */
START_TEST(a_lease_whose_mounts_are_gone_or_barred_is_lost) {
        static const struct step steps[][STEPS_MAX] = {{{.act = CLOSE}}, {{0}}};
        char path[100];

        start(steps);
        snprintf(path, sizeof(path), "%s/root", scripted.dir);
        add(1, path);
        lose_channel();
        if (_i > 0) {
                snprintf(path, sizeof(path), "%s/proc", scripted.dir);
                ck_assert_int_eq(symlink("/proc", path), 0);
        }
        ck_assert_int_eq(recover(), 0);
        ck_assert_int_eq(connection_find(&connection, 1)->fate,
                         _i > 0 ? HOLDING_UNREACHABLE : HOLDING_BARE);
        ck_assert_int_eq(connection_find(&connection, 1)->error, _i > 0 ? -ENOTDIR : 0);
        end();
}
END_TEST

START_TEST(a_shortage_of_descriptors_loses_no_lease) {
        static const struct step steps[][STEPS_MAX] = {
                {{.act = CLOSE}},
                {{PROTOCOL_ADOPT, .reply = {.lease = 1}}},
        };
        const int *filled;

        start(steps);
        add_mounted(1);
        lose_channel();
        filled = descriptors_leave(2, scripted.root); /* the socket's, and one */
        expect_failure_of(recover(), EMFILE, "cannot open a lease's mounts");
        descriptors_give_back(filled);
        ck_assert_ptr_null(connection_find_lost(&connection));
        ck_assert_int_eq(recover(), 0);
        end();
}
END_TEST

START_TEST(an_instance_that_dies_while_it_adopts_is_replaced) {
        static const struct step steps[][STEPS_MAX] = {
                {{.act = CLOSE}},
                {{PROTOCOL_ADOPT, .reply = {.lease = 2}}, {PROTOCOL_ADOPT, DIE}},
                {{PROTOCOL_ADOPT, .reply = {.lease = 2}}, {PROTOCOL_ADOPT, .reply = {.lease = 1}}},
        };

        start(steps);
        add_mounted(1);
        add_mounted(2);
        lose_channel();
        ck_assert_int_eq(recover(), 0);
        ck_assert(connection_is_whole(&connection));
        end();
}
END_TEST

static const struct step dies_of_adopting[1 + LOSSES][STEPS_MAX] = {
        {{.act = CLOSE}},        {{PROTOCOL_ADOPT, DIE}}, {{PROTOCOL_ADOPT, DIE}},
        {{PROTOCOL_ADOPT, DIE}}, {{PROTOCOL_ADOPT, DIE}}, {{PROTOCOL_ADOPT, DIE}},
        {{PROTOCOL_ADOPT, DIE}}, {{PROTOCOL_ADOPT, DIE}}, {{PROTOCOL_ADOPT, DIE}},
};

START_TEST(one_that_dies_of_each_adoption_is_given_up) {
        start(dies_of_adopting);
        add_mounted(1);
        lose_channel();
        expect_failure_of(recover(), ECONNRESET, "was closed by mountatd: the next call");
        ck_assert_ptr_null(connection_find_lost(&connection));
        end();
}
END_TEST

static void move_socket(const char *from, const char *to) {
        char old[100], new[100];

        snprintf(old, sizeof(old), "%s/%s", scripted.dir, from);
        snprintf(new, sizeof(new), "%s/%s", scripted.dir, to);
        ck_assert_int_eq(rename(old, new), 0);
}

/* What stands in the way of connecting again, and is gone a moment later. */
static void hide(void) {
        move_socket("socket", "hidden");
}

static void show(void) {
        move_socket("hidden", "socket");
}

static void forbid(void) {
        ck_assert_int_eq(chmod(scripted.path, 0), 0);
        ck_assert_int_eq(seteuid(NOBODY), 0);
}

static void allow(void) {
        ck_assert_int_eq(seteuid(getuid()), 0);
        ck_assert_int_eq(chmod(scripted.path, 0777), 0);
}

static void put_another(void) {
        hide();
        close(open(scripted.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0777)); /* refuses */
}

static const struct {
        void (*bar)(void);
        void (*unbar)(void);
        int error;
        const char *text;
} absences[] = {
        {hide, show, ECONNRESET, "No such file or directory: is mountatd stopped?"},
        {put_another, show, ECONNRESET, "Connection refused: is mountatd stopped?"},
        {forbid, allow, EACCES, "Permission denied: is mountatd stopped?"},
};

static const struct step adopts_one[][STEPS_MAX] = {
        {{.act = CLOSE}},
        {{PROTOCOL_ADOPT, .reply = {.lease = 1}}},
};

/* It is not waited for, however far away the deadline is. */
START_TEST(without_patience_an_absent_daemon_is_told_at_once) {
        start(adopts_one);
        add_mounted(1);
        lose_channel();
        absences[_i].bar();
        expect_failure_of(connection_recover(&connection, 0, &failure), absences[_i].error,
                          absences[_i].text);
        ck_assert_ptr_nonnull(strstr(failure.text, scripted.path));
        ck_assert_ptr_null(connection_find_lost(&connection));
        absences[_i].unbar();
        ck_assert_int_eq(recover(), 0);
        end();
}
END_TEST

START_TEST(with_patience_it_is_waited_for) {
        pid_t child;

        start(adopts_one);
        add_mounted(1);
        lose_channel();
        absences[_i].bar();
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
                usleep(20000);
                absences[_i].unbar();
                _exit(EXIT_SUCCESS);
        }
        ck_assert_int_eq(recover(), 0);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
        ck_assert_int_eq(seteuid(getuid()), 0);
        end();
}
END_TEST

START_TEST(patience_ends_with_the_deadline) {
        start(adopts_one);
        lose_channel();
        hide();
        set_deadline(SCRIPTED_SHORT);
        expect_failure_of(connection_recover(&connection, channel_after(60000), &failure),
                          ECONNRESET, "is mountatd stopped?");
        show();
        connection_close(&connection);
}
END_TEST

/* ---- asking ---- */

START_TEST(a_request_recovers_first) {
        static const struct step steps[][STEPS_MAX] = {
                {{.act = CLOSE}},
                {{PROTOCOL_ADOPT, .reply = {.lease = 1}},
                 {PROTOCOL_HELLO, .reply = {.flags = 5, .text = "mountatd 0.3.0"}}},
        };
        struct connection_call call = {.request.operation = PROTOCOL_HELLO};

        start(steps);
        add_mounted(1);
        lose_channel();
        memset(&failure, 'x', sizeof(failure));
        ck_assert_int_eq(ask(&call), 0);
        ck_assert_uint_eq(call.reply.flags, 5);
        ck_assert_str_eq(call.reply.text, "mountatd 0.3.0");
        ck_assert(!call.in_doubt);
        ck_assert_int_eq(failure.error, 0);
        ck_assert_str_eq(failure.text, "");
        end();
}
END_TEST

START_TEST(a_refusal_is_told_and_costs_nothing_else) {
        static const struct step steps[][STEPS_MAX] = {{
                {PROTOCOL_MOUNT,
                 .reply = {.status = STATUS_NOT_AUTHORISED, .target = 1, .text = "not yours"}},
                {PROTOCOL_HELLO},
        }};
        const int fds[] = {scripted.root, scripted.root};
        struct connection_call call = {
                .request = {.operation = PROTOCOL_MOUNT, .n_targets = 2},
                .fds = fds,
        };

        call.request.targets[0].file_system = PROTOCOL_PROC;
        call.request.targets[1].file_system = PROTOCOL_SYSFS;
        start(steps);
        expect_failure_of(ask(&call), EPERM, "not yours");
        ck_assert_uint_eq(failure.target, 1);
        ck_assert(connection_is_whole(&connection));
        ck_assert_int_eq(ask_hello(), 0);
        end();
}
END_TEST

START_TEST(a_descriptor_that_is_none_sends_nothing) {
        static const struct step steps[][STEPS_MAX] = {{{PROTOCOL_HELLO}}};
        const int fds[] = {-1};
        struct connection_call call = {
                .request = {.operation = PROTOCOL_MOUNT, .n_targets = 1},
                .fds = fds,
        };

        call.request.targets[0].file_system = PROTOCOL_PROC;
        start(steps);
        expect_failure_of(ask(&call), EBADF, "cannot send a request to mountatd");
        ck_assert_int_eq(ask_hello(), 0);
        end();
}
END_TEST

static const struct step loses_an_unmount[][STEPS_MAX] = {
        {{PROTOCOL_UNMOUNT, DIE}},
        {{PROTOCOL_ADOPT, .reply = {.lease = 1}}, {PROTOCOL_UNMOUNT}},
};

START_TEST(a_request_that_is_lost_on_the_way_is_asked_again_and_in_doubt) {
        struct connection_call call = {.request = {.operation = PROTOCOL_UNMOUNT, .lease = 1}};

        start(loses_an_unmount);
        add_mounted(1);
        ck_assert_int_eq(ask(&call), 0);
        ck_assert(call.in_doubt);
        ck_assert(connection_is_whole(&connection));
        end();
}
END_TEST

/* What didn't reach an instance can't have been carried out. */
static const struct {
        struct step steps[2][STEPS_MAX];
        uint32_t features;
        bool hangs_up;
} doubtless[] = {
        {{{{.act = CLOSE}}, {{PROTOCOL_MOUNT, GRANT}}}, 0, true},
        {{{{PROTOCOL_HELLO, DIE}}, {{PROTOCOL_HELLO, GREET(ABLE)}, {PROTOCOL_MOUNT, GRANT}}},
         PROTOCOL_FEATURE_KEEP,
         false},
        {{{{PROTOCOL_MOUNT, FOREIGN}, {PROTOCOL_HELLO, GREET(ABLE)}, {PROTOCOL_ENTER, DIE}},
          {{PROTOCOL_MOUNT, GRANT}}},
         0,
         false},
};

START_TEST(what_is_lost_before_it_is_asked_is_not_in_doubt) {
        const int fds[] = {scripted.root};
        struct connection_call call = {
                .request = {.operation = PROTOCOL_MOUNT, .n_targets = 1},
                .fds = fds,
                .features = doubtless[_i].features,
        };

        call.request.targets[0].file_system = PROTOCOL_PROC;
        start(doubtless[_i].steps);
        if (doubtless[_i].hangs_up) {
                struct pollfd poller = {.fd = connection.channel.watch, .events = POLLIN};

                ck_assert_int_eq(poll(&poller, 1, -1), 1);
        }
        ck_assert_int_eq(ask(&call), 0);
        ck_assert_uint_eq(call.reply.lease, SCRIPTED_LEASE);
        ck_assert(!call.in_doubt);
        end();
}
END_TEST

/* The request might be what kills it. */
START_TEST(a_request_that_kills_each_instance_is_given_up) {
        static const struct step steps[LOSSES][STEPS_MAX] = {
                {{PROTOCOL_HELLO, DIE}}, {{PROTOCOL_HELLO, DIE}}, {{PROTOCOL_HELLO, DIE}},
                {{PROTOCOL_HELLO, DIE}}, {{PROTOCOL_HELLO, DIE}}, {{PROTOCOL_HELLO, DIE}},
                {{PROTOCOL_HELLO, DIE}}, {{PROTOCOL_HELLO, DIE}},
        };

        start(steps);
        expect_failure_of(ask_hello(), ECONNRESET, "the connection to mountatd was closed");
        end();
}
END_TEST

START_TEST(an_unmount_of_a_lease_lost_on_the_way_is_not_asked) {
        static const struct step steps[][STEPS_MAX] = {
                {{PROTOCOL_UNMOUNT, DIE}},
                {{PROTOCOL_ADOPT, .reply = {.status = STATUS_NO_SUCH_LEASE}}},
        };
        struct connection_call call = {.request = {.operation = PROTOCOL_UNMOUNT, .lease = 1}};

        start(steps);
        add_mounted(1);
        expect_failure_of(ask(&call), ENOENT, "lease 0000000000000001 was lost");
        ck_assert_int_eq(failure.status, MOUNTAT_STATUS_NO_SUCH_LEASE);
        ck_assert(call.in_doubt);
        end();
}
END_TEST

/* Its own is; that another lease is missing is no reason. */
START_TEST(an_unmount_waits_for_its_lease_and_for_no_other) {
        static const struct step steps[][STEPS_MAX] = {
                {{.act = CLOSE}},
                {{PROTOCOL_ADOPT, .reply = {.status = STATUS_SHUTTING_DOWN, .text = "soon"}},
                 {PROTOCOL_ADOPT, .reply = {.lease = 1}},
                 {PROTOCOL_ADOPT, .reply = {.status = STATUS_SHUTTING_DOWN, .text = "soon"}},
                 {PROTOCOL_UNMOUNT}},
        };
        struct connection_call calls[] = {
                {.request = {.operation = PROTOCOL_UNMOUNT, .lease = 2}},
                {.request = {.operation = PROTOCOL_UNMOUNT, .lease = 1}},
        };

        start(steps);
        add_mounted(1);
        add_mounted(2);
        lose_channel();
        expect_failure_of(ask(&calls[0]), ESHUTDOWN, "soon");
        ck_assert_int_eq(ask(&calls[1]), 0);
        end();
}
END_TEST

/* Which it is, is check_instance's. */
START_TEST(a_daemon_that_lacks_a_feature_is_named_and_not_asked) {
        static const struct step steps[][STEPS_MAX] = {{
                {PROTOCOL_HELLO, GREET(0)},
                {PROTOCOL_HELLO, GREET(PROTOCOL_FEATURE_KEEP)},
                {PROTOCOL_UNMOUNT},
        }};
        struct connection_call call = {
                .request = {.operation = PROTOCOL_UNMOUNT, .lease = 1},
                .features = PROTOCOL_FEATURE_KEEP,
        };

        start(steps);
        expect_failure_of(ask(&call), ENOSYS, "mountatd 0.3.0 can't keep");
        ck_assert_int_eq(ask(&call), 0); /* greeted again, for its version */
        end();
}
END_TEST

/* ---- entering ---- */

/* The whole of it is check_connection_enter's. */
static const struct step enters[][STEPS_MAX] = {
        {{PROTOCOL_UNMOUNT, FOREIGN},
         {PROTOCOL_MOUNT, FOREIGN},
         {PROTOCOL_HELLO, GREET(ABLE)},
         {PROTOCOL_ENTER},
         {PROTOCOL_MOUNT, GRANT},
         {.act = CLOSE}},
        {{PROTOCOL_HELLO, GREET(ABLE)}, {PROTOCOL_ENTER}, {PROTOCOL_UNMOUNT}},
};

START_TEST(only_a_mount_enters_and_then_each_connection_at_its_start) {
        const int fds[] = {scripted.root};
        struct connection_call mount = {
                .request = {.operation = PROTOCOL_MOUNT, .n_targets = 1},
                .fds = fds,
        };
        struct connection_call unmount = {.request = {.operation = PROTOCOL_UNMOUNT, .lease = 1}};

        mount.request.targets[0].file_system = PROTOCOL_PROC;
        start(enters);
        expect_failure_of(ask(&unmount), EXDEV, "it is elsewhere");
        ck_assert(!connection.foreign);
        ck_assert_int_eq(ask(&mount), 0);
        ck_assert_uint_eq(mount.reply.lease, SCRIPTED_LEASE);
        ck_assert(connection.foreign);
        lose_channel();
        ck_assert_int_eq(ask(&unmount), 0);
        end();
}
END_TEST

int main(void) {
        Suite *suite = suite_create("connection");
        TCase *tests = scripted_case(suite, "connection");

        tcase_add_test(tests, leases_are_found_by_their_ids_and_forgotten_one_by_one);
        tcase_add_test(tests, a_lost_lease_is_found_until_it_is_forgotten);
        tcase_add_test(tests, forgetting_and_closing_remove_what_was_made);

        tcase_add_test(tests, opening_starts_over_without_the_leases_of_before);
        tcase_add_test(tests, what_cannot_be_opened_changes_nothing);

        tcase_add_test(tests, what_was_never_open_is_not_recovered);
        tcase_add_test(tests, what_is_whole_asks_nothing);
        tcase_add_test(tests, leases_are_offered_to_the_next_instance_once);
        tcase_add_test(tests, a_lease_that_is_refused_for_good_is_lost_and_the_others_are_not);
        tcase_add_test(tests, a_lease_that_is_refused_for_a_moment_is_offered_again);
        tcase_add_loop_test(tests, a_lease_whose_mounts_are_gone_or_barred_is_lost, 0, 2);
        tcase_add_test(tests, a_shortage_of_descriptors_loses_no_lease);
        tcase_add_test(tests, an_instance_that_dies_while_it_adopts_is_replaced);
        tcase_add_test(tests, one_that_dies_of_each_adoption_is_given_up);
        tcase_add_loop_test(tests, without_patience_an_absent_daemon_is_told_at_once, 0,
                            N_ELEMENTS(absences));
        tcase_add_loop_test(tests, with_patience_it_is_waited_for, 0, N_ELEMENTS(absences));
        tcase_add_test(tests, patience_ends_with_the_deadline);

        tcase_add_test(tests, a_request_recovers_first);
        tcase_add_test(tests, a_refusal_is_told_and_costs_nothing_else);
        tcase_add_test(tests, a_descriptor_that_is_none_sends_nothing);
        tcase_add_test(tests, a_request_that_is_lost_on_the_way_is_asked_again_and_in_doubt);
        tcase_add_loop_test(tests, what_is_lost_before_it_is_asked_is_not_in_doubt, 0,
                            N_ELEMENTS(doubtless));
        tcase_add_test(tests, a_request_that_kills_each_instance_is_given_up);
        tcase_add_test(tests, an_unmount_of_a_lease_lost_on_the_way_is_not_asked);
        tcase_add_test(tests, an_unmount_waits_for_its_lease_and_for_no_other);

        tcase_add_test(tests, a_daemon_that_lacks_a_feature_is_named_and_not_asked);
        tcase_add_test(tests, only_a_mount_enters_and_then_each_connection_at_its_start);
        return suite_run_all(suite);
}
