/* SPDX-License-Identifier: Apache-2.0 */

/* The connection as callers of mountat.h see it: made, refused, waited for, lost. */

#include "tests/unit/client/scripted.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

enum {
        NOBODY = 65534,
};

START_TEST(connect_tells_how_to_start_a_daemon_that_is_absent) {
        unlink(scripted.path);
        expect_client_failure(mountat_connect(scripted.mountat, scripted.path), ENOENT);
        expect_text(scripted.path);
        expect_text("mountatd.socket");
}
END_TEST

START_TEST(connect_names_the_group_when_it_may_not) {
        ck_assert_int_eq(chmod(scripted.path, 0), 0);
        if (geteuid() == 0)
                ck_assert_int_eq(seteuid(NOBODY), 0);
        expect_client_failure(mountat_connect(scripted.mountat, scripted.path), EACCES);
        expect_text("group mountat");
        if (getuid() == 0)
                ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

START_TEST(connect_refuses_a_path_that_no_socket_can_have) {
        char path[200];

        memset(path, '\n', sizeof(path) - 1);
        path[sizeof(path) - 1] = '\0';
        expect_client_failure(mountat_connect(scripted.mountat, path), ENAMETOOLONG);
        expect_text("\\x0a");
}
END_TEST

START_TEST(connect_takes_the_path_from_the_environment) {
        scripted_start(peer_obliging);
        ck_assert_int_eq(setenv("MOUNTATD_SOCKET", scripted.path, 1), 0);
        ck_assert_int_eq(mountat_connect(scripted.mountat, NULL), 0);
        ck_assert_int_eq(mountat_hello(scripted.mountat, NULL, NULL), 0);
}
END_TEST

START_TEST(connect_waits_in_line_no_longer_than_the_timeout) {
        struct mountat *waiting = mountat_new();
        int64_t start;

        ck_assert_int_eq(listen(scripted.listener, 0), 0);
        ck_assert_int_eq(mountat_connect(waiting, scripted.path), 0);
        mountat_set_timeout(scripted.mountat, SCRIPTED_SHORT);
        start = now();
        expect_client_failure(mountat_connect(scripted.mountat, scripted.path), ETIMEDOUT);
        expect_short(start);
        mountat_free(waiting);
}
END_TEST

START_TEST(connect_is_for_the_unconnected) {
        expect_client_failure(mountat_hello(scripted.mountat, NULL, NULL), ENOTCONN);
        scripted_start_and_connect(peer_obliging);
        expect_client_failure(mountat_connect(scripted.mountat, scripted.path), EISCONN);
        ck_assert_int_eq(mountat_hello(scripted.mountat, NULL, NULL), 0);
}
END_TEST

static void versioned(int connection) {
        struct wire_request request = peer_receive_only(connection);

        peer_answer(connection, &request,
                    (struct wire_reply){.flags = 0x80000005, .text = "mountatd 1.2\n\x7f"});
        peer_receive_only(connection);
}

START_TEST(hello_tells_version_and_features) {
        const char *version;
        uint32_t features;

        scripted_start_and_connect(versioned);
        ck_assert_int_eq(mountat_hello(scripted.mountat, &version, &features), 0);
        ck_assert_str_eq(version, "mountatd 1.2\\x0a\\x7f");
        ck_assert_uint_eq(features, 0x80000005);
        ck_assert_int_eq(mountat_error_status(scripted.mountat), MOUNTAT_STATUS_OK);
        ck_assert_str_eq(mountat_error_text(scripted.mountat), "");
}
END_TEST

static const struct wire_reply refusal = {
        .operation = PROTOCOL_UNASKED,
        .status = STATUS_LIMIT_EXCEEDED,
        .target = STATUS_NO_TARGET,
};

static void refusing_at_once(int connection) {
        peer_send(connection, &refusal);
}

/* The peer closes with the request unread: ECONNRESET comes before its reply. */
static void refusing_rudely(int connection) {
        struct pollfd poller = {.fd = connection, .events = POLLIN};

        poll(&poller, 1, -1);
        peer_send(connection, &refusal);
}

static void (*const refusers[])(int connection) = {refusing_at_once, refusing_rudely};

START_TEST(a_connection_that_is_refused_unasked_says_so) {
        scripted_start_and_connect(refusers[_i]);
        if (refusers[_i] == refusing_at_once)
                wait_for_hang_up();
        for (int i = 0; i < 2; i++) { /* the second one reconnects */
                expect_failure(mountat_hello(scripted.mountat, NULL, NULL), EDQUOT,
                               MOUNTAT_STATUS_LIMIT_EXCEEDED);
                ck_assert_str_eq(mountat_error_name(scripted.mountat), "limit-exceeded");
                ck_assert_int_eq(mountat_fd(scripted.mountat), -ENOTCONN);
        }
}
END_TEST

START_TEST(a_daemon_that_does_not_answer_is_left_after_the_timeout) {
        int64_t start;

        scripted_start_and_connect(peer_silent);
        mountat_set_timeout(scripted.mountat, SCRIPTED_SHORT);
        start = now();
        expect_client_failure(mountat_hello(scripted.mountat, NULL, NULL), ETIMEDOUT);
        expect_short(start);
        expect_closed("in time");
}
END_TEST

static void on_alarm(int number) {
        (void)number;
}

START_TEST(signals_neither_interrupt_nor_prolong_a_call) {
        struct itimerval often = {.it_interval.tv_usec = 7000, .it_value.tv_usec = 7000};
        struct sigaction action = {.sa_handler = on_alarm};
        int64_t start;

        scripted_start_and_connect(peer_silent);
        sigaction(SIGALRM, &action, NULL);
        setitimer(ITIMER_REAL, &often, NULL);
        mountat_set_timeout(scripted.mountat, SCRIPTED_SHORT);
        start = now();
        expect_client_failure(mountat_hello(scripted.mountat, NULL, NULL), ETIMEDOUT);
        expect_short(start);
}
END_TEST

static void tardy(int connection) {
        struct wire_request request = peer_receive_only(connection);

        poll(NULL, 0, 2 * SCRIPTED_SHORT);
        peer_answer(connection, &request, (struct wire_reply){.flags = 1});
}

START_TEST(a_late_reply_is_never_taken_for_another) {
        uint32_t features = 0;

        scripted_start_and_connect(tardy);
        mountat_set_timeout(scripted.mountat, SCRIPTED_SHORT);
        expect_client_failure(mountat_hello(scripted.mountat, NULL, NULL), ETIMEDOUT);

        mountat_set_timeout(scripted.mountat, 0);
        ck_assert_int_eq(mountat_hello(scripted.mountat, NULL, &features), 0);
        ck_assert_uint_eq(features, 1);
}
END_TEST

static void dying(int connection) {
        peer_receive_only(connection);
}

START_TEST(a_daemon_that_dies_of_each_request_is_given_up) {
        int64_t start = now();

        scripted_start_and_connect(dying);
        expect_client_failure(mountat_hello(scripted.mountat, NULL, NULL), ECONNRESET);
        expect_closed("by mountatd");
        ck_assert_int_lt(now() - start, 5000);
}
END_TEST

START_TEST(a_daemon_that_died_before_hangs_up_and_raises_no_signal) {
        scripted_start_and_connect(peer_obliging);
        ck_assert_int_eq(mountat_hello(scripted.mountat, NULL, NULL), 0);
        scripted_stop();
        wait_for_hang_up();
        mountat_set_timeout(scripted.mountat, SCRIPTED_SHORT);
        expect_client_failure(mountat_hello(scripted.mountat, NULL, NULL), ECONNRESET);
        ck_assert_int_eq(mountat_fd(scripted.mountat), -ENOTCONN);
        expect_text("by mountatd");
}
END_TEST

/* Invalid replies to a mount, as changes of the right one. */
static const struct fault {
        size_t offset;
        uint8_t byte;
        size_t size; /* 0: the right size */
        bool with_fd;
} faults[] = {
        {.offset = 0, .byte = 'X'},                  /* magic */
        {.offset = 4, .byte = 2},                    /* version */
        {.offset = 7, .byte = 0},                    /* no reply bit */
        {.offset = 6, .byte = PROTOCOL_HELLO},       /* another operation */
        {.offset = 6, .byte = PROTOCOL_UNASKED},     /* unsolicited, but with a cookie */
        {.offset = 8, .byte = 99},                   /* another cookie */
        {.offset = 16, .byte = 0},                   /* no lease */
        {.offset = 0, .byte = 'M', .size = 39},      /* truncated */
        {.offset = 0, .byte = 'M', .size = 41},      /* a NUL in its text */
        {.offset = 0, .byte = 'M', .size = 300},     /* longer than the protocol allows */
        {.offset = 0, .byte = 'M', .with_fd = true}, /* with a descriptor */
};

static const struct fault *fault;

static void faulty(int connection) {
        struct wire_request request = peer_receive_only(connection);
        struct wire_reply reply = {
                .operation = request.operation,
                .cookie = request.cookie,
                .lease = 5,
        };
        uint8_t bytes[512] = {0};
        size_t size = wire_encode_reply(&reply, bytes);

        bytes[fault->offset] = fault->byte;
        fdpass_send(connection, bytes, fault->size ?: size, &connection, fault->with_fd);
        peer_receive_only(connection);
}

START_TEST(a_reply_that_breaks_the_protocol_ends_the_connection) {
        fault = &faults[_i];
        make_mountpoints();
        scripted_start_and_connect(faulty);
        expect_client_failure(mount_root(MOUNTAT_PROC), EPROTO);
        expect_closed("protocol");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("channel");
        TCase *connection = scripted_case(suite, "connection");
        TCase *faultiness = scripted_case(suite, "a faulty daemon");

        tcase_add_test(connection, connect_tells_how_to_start_a_daemon_that_is_absent);
        tcase_add_test(connection, connect_names_the_group_when_it_may_not);
        tcase_add_test(connection, connect_refuses_a_path_that_no_socket_can_have);
        tcase_add_test(connection, connect_takes_the_path_from_the_environment);
        tcase_add_test(connection, connect_waits_in_line_no_longer_than_the_timeout);
        tcase_add_test(connection, connect_is_for_the_unconnected);
        tcase_add_test(connection, hello_tells_version_and_features);

        tcase_add_loop_test(faultiness, a_connection_that_is_refused_unasked_says_so, 0,
                            N_ELEMENTS(refusers));
        tcase_add_test(faultiness, a_daemon_that_does_not_answer_is_left_after_the_timeout);
        tcase_add_test(faultiness, signals_neither_interrupt_nor_prolong_a_call);
        tcase_add_test(faultiness, a_late_reply_is_never_taken_for_another);
        tcase_add_test(faultiness, a_daemon_that_dies_of_each_request_is_given_up);
        tcase_add_test(faultiness, a_daemon_that_died_before_hangs_up_and_raises_no_signal);
        tcase_add_loop_test(faultiness, a_reply_that_breaks_the_protocol_ends_the_connection, 0,
                            N_ELEMENTS(faults));
        return suite_run_all(suite);
}
