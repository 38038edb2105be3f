/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The connection as mountat.h's callers see it: made, refused, waited for, lost. And the channel by
 * itself, for what its header promises to the modules around it.
 */

#include "client/channel.h"
#include "common/fd.h"
#include "tests/test.h"
#include "tests/unit/client/scripted.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
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

/* It would be the address of an abstract socket, which anybody may listen on. */
START_TEST(connect_refuses_an_empty_path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        FD_AUTO int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
        ck_assert_int_eq(listen(listener, 1), 0);
        expect_client_failure(mountat_connect(scripted.mountat, ""), EINVAL);
        expect_text("the path is empty");
}
END_TEST

START_TEST(connect_tells_what_is_no_socket) {
        const char *const paths[] = {"/", "/dev/null"};

        for (size_t i = 0; i < N_ELEMENTS(paths); i++) {
                expect_client_failure(mountat_connect(scripted.mountat, paths[i]), ECONNREFUSED);
                expect_text("this isn't a socket");
        }
        scripted_stop();
        expect_client_failure(mountat_connect(scripted.mountat, scripted.path), ECONNREFUSED);
        expect_text("mountatd.socket");
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

/* Answers the first connection when the client has given it up. */
static void tardy(int connection) {
        static bool patient = true;
        struct wire_request request = peer_receive_only(connection);
        struct pollfd poller = {.fd = connection, .events = POLLRDHUP};

        if (patient)
                poll(&poller, 1, -1);
        patient = false;
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
        ck_assert_int_lt(now() - start, SCRIPTED_LONG);
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

/* ---- the channel by itself ---- */

static struct channel channel = CHANNEL_CLOSED;

static void open_channel(void) {
        channel.deadline = channel_after(10000);
        ck_assert_int_eq(channel_connect(&channel, scripted.path), 0);
}

static int exchange(struct wire_reply *reply) {
        struct wire_request request = {.operation = PROTOCOL_HELLO};

        return channel_exchange(&channel, &request, NULL, reply);
}

static void expect_channel_closed(const char *why) {
        ck_assert_int_lt(channel.fd, 0);
        ck_assert_str_eq(channel.closing, why);
}

static bool is_readable(int fd) {
        struct pollfd poller = {.fd = fd, .events = POLLIN};

        return poll(&poller, 1, 0) > 0;
}

static void await_hang_up(void) {
        struct pollfd poller = {.fd = channel.watch, .events = POLLIN};

        ck_assert_int_eq(poll(&poller, 1, -1), 1);
}

static void is_missing(void) {
        unlink(scripted.path);
}

static void put_file(void) {
        is_missing();
        close(open(scripted.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0777));
}

/* Of another type. */
static void put_stream(void) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        is_missing();
        strcpy(address.sun_path, scripted.path);
        fd_close(scripted.listener);
        scripted.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(bind(scripted.listener, (struct sockaddr *)&address, sizeof(address)), 0);
        ck_assert_int_eq(listen(scripted.listener, 1), 0);
}

static const struct {
        void (*prepare)(void);
        int error;
} absences[] = {
        {is_missing, ENOENT},
        {put_file, ECONNREFUSED},
        {put_stream, EPROTOTYPE},
};

START_TEST(what_cannot_be_connected_to_leaves_the_watch_alone_open) {
        unsigned before = descriptors_count();

        absences[_i].prepare();
        channel.deadline = channel_after(10000);
        for (int i = 0; i < 2; i++) {
                ck_assert_int_eq(channel_connect(&channel, scripted.path), -absences[_i].error);
                ck_assert_uint_eq(descriptors_count(), before + 1);
                expect_channel_closed("was never opened");
        }
        channel_free(&channel);
        ck_assert_uint_eq(descriptors_count(), before);
}
END_TEST

START_TEST(a_path_of_107_bytes_is_tried_and_of_108_is_not) {
        char path[110];

        memset(path, 'a', sizeof(path));
        path[107] = '\0';
        channel.deadline = channel_after(10000);
        ck_assert_int_eq(channel_connect(&channel, ""), -EINVAL);
        ck_assert_int_eq(channel_connect(&channel, path), -ENOENT);
        path[107] = 'a';
        path[108] = '\0';
        ck_assert_int_eq(channel_connect(&channel, path), -ENAMETOOLONG);
        channel_free(&channel);
}
END_TEST

/* For the watch, and for the socket. */
START_TEST(a_shortage_of_descriptors_is_told) {
        const int *filled = descriptors_leave((unsigned)_i, scripted.root);

        channel.deadline = channel_after(10000);
        ck_assert_int_eq(channel_connect(&channel, scripted.path), -EMFILE);
        if (_i == 0)
                ck_assert_int_eq(channel_watch(&channel), -EMFILE);
        channel_free(&channel);
        descriptors_give_back(filled);
}
END_TEST

START_TEST(the_watch_is_readable_after_a_hang_up_and_the_same_for_the_next_connection) {
        static const struct step steps[][STEPS_MAX] = {
                {{PROTOCOL_HELLO}, {.act = CLOSE}},
                {{PROTOCOL_HELLO}},
        };
        struct wire_reply reply;
        int watch;

        scripted_follow(steps);
        ck_assert_int_eq(channel_watch(&channel), 0);
        watch = channel.watch;
        open_channel();
        ck_assert_int_eq(exchange(&reply), 0);
        await_hang_up();
        channel_check(&channel);
        expect_channel_closed("was closed by mountatd");
        ck_assert(!is_readable(watch));

        open_channel();
        ck_assert_int_eq(channel.watch, watch);
        ck_assert_int_eq(exchange(&reply), 0);
        ck_assert(!is_readable(watch));
        channel_check(&channel);
        ck_assert_int_ge(channel.fd, 0);
        channel_free(&channel);
        ck_assert_int_lt(channel.watch, 0);
        expect_channel_closed("was closed");
        expect_end_of_peer();
}
END_TEST

static void speaks_unasked_and_waits(int connection) {
        peer_send(connection, &(struct wire_reply){.operation = PROTOCOL_HELLO, .cookie = 1});
        peer_receive_only(connection);
}

/* Whoever watches it would be woken by each answer. */
START_TEST(an_answer_is_no_hang_up) {
        struct pollfd poller = {.events = POLLIN};

        scripted_start(speaks_unasked_and_waits);
        open_channel();
        poller.fd = channel.fd;
        ck_assert_int_eq(poll(&poller, 1, -1), 1);
        ck_assert(!is_readable(channel.watch));
        channel_check(&channel);
        ck_assert_int_ge(channel.fd, 0);
        channel_free(&channel);
}
END_TEST

/* A child has the socket too, so closing it here isn't the end of it. */
START_TEST(what_is_closed_is_not_watched_any_more) {
        pid_t child;

        scripted_start(peer_silent);
        open_channel();
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0)
                for (;;)
                        pause();
        channel_close(&channel, "was closed by the test");
        scripted_kill();
        ck_assert(!is_readable(channel.watch));
        channel_check(&channel);
        expect_channel_closed("was closed by the test");
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
        channel_free(&channel);
}
END_TEST

START_TEST(a_pause_ends_with_the_deadline_or_when_it_is_interrupted) {
        FD_AUTO int interrupt = eventfd(0, EFD_CLOEXEC);

        channel.interrupt = interrupt;
        channel.deadline = channel_after(10000);
        ck_assert_int_eq(channel_pause(&channel, 0), 0);
        ck_assert_int_eq(channel_pause(&channel, 1), 0);
        channel.deadline = channel_after(1);
        ck_assert_int_eq(channel_pause(&channel, 60000), -ETIMEDOUT);
        ck_assert_int_eq(channel_pause(&channel, 0), -ETIMEDOUT);

        channel.deadline = channel_after(10000);
        ck_assert_int_eq(eventfd_write(interrupt, 1), 0);
        ck_assert_int_eq(channel_pause(&channel, 60000), -ECANCELED);
}
END_TEST

START_TEST(an_interrupted_exchange_closes_the_channel) {
        FD_AUTO int interrupt = eventfd(1, EFD_CLOEXEC);
        struct wire_reply reply;

        scripted_start(peer_silent);
        open_channel();
        channel.interrupt = interrupt;
        ck_assert_int_eq(exchange(&reply), -ECANCELED);
        ck_assert(channel.delivered);
        expect_channel_closed("was closed");
        channel_free(&channel);
}
END_TEST

START_TEST(an_interrupted_wait_in_line_is_given_up) {
        FD_AUTO int interrupt = eventfd(1, EFD_CLOEXEC);
        struct channel first = CHANNEL_CLOSED;

        ck_assert_int_eq(listen(scripted.listener, 0), 0);
        first.deadline = channel.deadline = channel_after(60000);
        ck_assert_int_eq(channel_connect(&first, scripted.path), 0);
        channel.interrupt = interrupt;
        ck_assert_int_eq(channel_connect(&channel, scripted.path), -ECANCELED);
        ck_assert_int_lt(channel.fd, 0);
        channel_free(&channel);
        channel_free(&first);
}
END_TEST

static void check_cookie(const struct wire_request *request, const struct fdpass_set *set,
                         const struct step *step) {
        static uint64_t cookie;

        (void)set, (void)step;
        peer_check(request->version == PROTOCOL_VERSION && request->cookie == ++cookie);
}

START_TEST(each_request_has_a_cookie_of_its_own) {
        static const struct step steps[][STEPS_MAX] = {
                {{PROTOCOL_HELLO}, {PROTOCOL_HELLO, DIE}},
                {{PROTOCOL_HELLO}},
        };
        struct wire_reply reply;

        scripted_check = check_cookie;
        scripted_follow(steps);
        open_channel();
        ck_assert_int_eq(exchange(&reply), 0);
        ck_assert(channel.delivered);
        ck_assert_int_eq(exchange(&reply), -ECONNRESET);
        ck_assert(channel.delivered);
        ck_assert_uint_eq(channel.cookie, 2);
        expect_channel_closed("was closed by mountatd");
        open_channel();
        ck_assert_int_eq(exchange(&reply), 0);
        channel_free(&channel);
        expect_end_of_peer();
}
END_TEST

START_TEST(what_is_sent_to_nobody_is_not_delivered) {
        static const struct step steps[][STEPS_MAX] = {{{.act = CLOSE}}};
        struct wire_reply reply;

        scripted_follow(steps);
        open_channel();
        await_hang_up();
        ck_assert_int_eq(exchange(&reply), -ECONNRESET);
        ck_assert(!channel.delivered);
        expect_channel_closed("was closed by mountatd");
        channel_free(&channel);
        expect_end_of_peer();
}
END_TEST

static int exchange_fd(int fd) {
        struct wire_request request = {.operation = PROTOCOL_ADOPT, .n_targets = 1};
        struct wire_reply reply;

        request.targets[0].file_system = PROTOCOL_PROC;
        return channel_exchange(&channel, &request, &fd, &reply);
}

START_TEST(a_descriptor_that_is_none_sends_nothing_and_closes_nothing) {
        static const struct step steps[][STEPS_MAX] = {{{PROTOCOL_ADOPT}}};

        scripted_follow(steps);
        open_channel();
        ck_assert_int_eq(exchange_fd(-1), -EBADF);
        ck_assert(!channel.delivered);
        ck_assert_int_ge(channel.fd, 0);
        ck_assert_int_eq(exchange_fd(scripted.root), 0);
        channel_free(&channel);
        expect_end_of_peer();
}
END_TEST

/* Those of all processes of this user count: unix(7). */
START_TEST(too_many_descriptors_under_way_close_nothing) {
        static const struct step steps[][STEPS_MAX] = {{{PROTOCOL_ADOPT}}};
        const struct rlimit few = {.rlim_cur = 16, .rlim_max = 1024};
        int pair[2], result;

        scripted_follow(steps);
        open_channel();
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
        ck_assert_int_eq(seteuid(NOBODY), 0); /* root may exceed it */
        do
                result = fdpass_send(pair[0], "", 1, (int[]){pair[1], pair[1], pair[1]}, 3);
        while (result == 0);
        ck_assert_int_eq(result, -ETOOMANYREFS);
        ck_assert_int_eq(exchange_fd(scripted.root), -ETOOMANYREFS);
        ck_assert_int_eq(seteuid(0), 0);
        close(pair[0]);
        close(pair[1]);

        ck_assert(!channel.delivered);
        ck_assert_int_ge(channel.fd, 0);
        ck_assert_int_eq(exchange_fd(scripted.root), 0);
        channel_free(&channel);
        expect_end_of_peer();
}
END_TEST

int main(void) {
        Suite *suite = suite_create("channel");
        TCase *connection = scripted_case(suite, "connection");
        TCase *faultiness = scripted_case(suite, "a faulty daemon");
        TCase *itself = scripted_case(suite, "itself");

        tcase_add_test(connection, connect_tells_how_to_start_a_daemon_that_is_absent);
        tcase_add_test(connection, connect_names_the_group_when_it_may_not);
        tcase_add_test(connection, connect_refuses_a_path_that_no_socket_can_have);
        tcase_add_test(connection, connect_refuses_an_empty_path);
        tcase_add_test(connection, connect_tells_what_is_no_socket);
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

        tcase_add_loop_test(itself, what_cannot_be_connected_to_leaves_the_watch_alone_open, 0,
                            N_ELEMENTS(absences));
        tcase_add_test(itself, a_path_of_107_bytes_is_tried_and_of_108_is_not);
        tcase_add_loop_test(itself, a_shortage_of_descriptors_is_told, 0, 2);
        tcase_add_test(itself,
                       the_watch_is_readable_after_a_hang_up_and_the_same_for_the_next_connection);
        tcase_add_test(itself, an_answer_is_no_hang_up);
        tcase_add_test(itself, what_is_closed_is_not_watched_any_more);
        tcase_add_test(itself, a_pause_ends_with_the_deadline_or_when_it_is_interrupted);
        tcase_add_test(itself, an_interrupted_exchange_closes_the_channel);
        tcase_add_test(itself, an_interrupted_wait_in_line_is_given_up);
        tcase_add_test(itself, each_request_has_a_cookie_of_its_own);
        tcase_add_test(itself, what_is_sent_to_nobody_is_not_delivered);
        tcase_add_test(itself, a_descriptor_that_is_none_sends_nothing_and_closes_nothing);
        tcase_add_test(itself, too_many_descriptors_under_way_close_nothing);
        return suite_run_all(suite);
}
