/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The main loop in a process of its own, over the fake kernel, with real sockets, signals and
 * notices. Directories are made before it is forked, so that both know what their descriptors
 * are; what it stands on is in shared memory, so that the test can look at its state file.
 */

#include "daemon/server.h"

#include "daemon/log.h"
#include "tests/test.h"
#include "tests/unit/daemon/fake_context.h"
#include "tests/unit/daemon/log_capture.h"
#include "tests/unit/daemon/until.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
        RETURNED = 42, /* the exit status of a process whose loop has returned 0 */
        STUCK = 43,    /* the same, and a thread was left behind */
        DIRECTORIES = 4,
        LISTENERS = 3,
};

struct plan {
        unsigned idle_timeout, adopt_timeout;
        bool on_bus;
        unsigned left;       /* leases of a predecessor's, of a mount each */
        bool failed;         /* the loop must fail with `error` */
        int error;           /* a negative errno */
        void (*enter)(void); /* called in the process just before the loop */
};

static struct fake_context *fake; /* shared */
static int directories[DIRECTORIES];
static struct listener_set listeners;
static struct sockaddr_un addresses[LISTENERS];
static socklen_t address_sizes[LISTENERS];
static int manager = -EBADF, log_file = -EBADF;
static char heard[65536]; /* by the service manager */
static pid_t server;

/* ---- the process ---- */

static void block_signals(void) {
        sigset_t signals;

        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGUSR1);
        sigaddset(&signals, SIGPIPE);
        ck_assert_int_eq(sigprocmask(SIG_BLOCK, &signals, NULL), 0);
}

static void start_context(const struct plan *plan) {
        struct record left[DIRECTORIES];

        fake_features(FAKE_ALL_FEATURES);
        for (unsigned i = 0; i < plan->left; i++)
                left[i] = fake_context_left(FAKE_ALL_FEATURES, i, 4711, RECORD_LIVE,
                                            &directories[i], 1);
        fake_context_start_as(fake, &(struct fake_setup){.features = FAKE_ALL_FEATURES,
                                                         .left = left,
                                                         .n_left = plan->left});
}

/* Nothing is left of a loop that was stopped. */
static void judge(const struct plan *plan, int r, struct threads *threads) {
        if (plan->failed) {
                ck_assert_int_eq(r, plan->error);
                _exit(RETURNED);
        }
        ck_assert_int_eq(r, 0);
        if (!threads_free(threads))
                _exit(STUCK);
        ck_assert_uint_eq(leases_count(fake->context.leases).leases, 0);
        ck_assert_uint_eq(fake_mounts(), 0);
        ck_assert_uint_eq(quota_used(fake->context.quota, QUOTA_CONNECTIONS), 0);
        ck_assert_ptr_null(leases_free(fake->context.leases));
        ck_assert_int_eq(rmdir(fake->directory), 0);
        _exit(RETURNED);
}

static void __attribute__((noreturn)) run(const struct plan *plan) {
        struct server_setup setup = {
                .listeners = &listeners,
                .idle_timeout = plan->idle_timeout,
                .adopt_timeout = plan->adopt_timeout,
                .context = &fake->context,
                .on_bus = plan->on_bus,
        };
        struct instance self;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        ck_assert_int_ge(dup2(log_file, STDERR_FILENO), 0);
        log_open(LOG_INFO);
        block_signals();
        ck_assert_int_eq(instance_self(&self), 0);
        start_context(plan);
        templates_replenish(fake->context.templates);
        ck_assert_int_eq(log_start(), 0);
        ck_assert_int_eq(threads_new(&setup.threads), 0);
        setup.connections = connections_new(&fake->context, setup.threads);
        ck_assert_ptr_nonnull(setup.connections);
        setup.self = &self;
        if (plan->enter)
                plan->enter();
        judge(plan, server_run(&setup), setup.threads);
        abort();
}

/* ---- the test's side ---- */

static int bind_any(int type, struct sockaddr_un *address, socklen_t *size) {
        struct sockaddr_un any = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&any, sizeof(any.sun_family)), 0);
        *size = sizeof(*address);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)address, size), 0);
        return fd;
}

/* Where the service manager would hear of it. */
static void listen_to_notices(void) {
        struct sockaddr_un address;
        socklen_t size;
        char name[sizeof(address.sun_path) + 1] = "@";

        heard[0] = '\0';
        manager = bind_any(SOCK_DGRAM, &address, &size);
        memcpy(name + 1, address.sun_path + 1, size - offsetof(struct sockaddr_un, sun_path) - 1);
        ck_assert_int_eq(setenv("NOTIFY_SOCKET", name, 1), 0);
}

static void start_as(const struct plan *plan) {
        fake = mmap(NULL, sizeof(*fake), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ck_assert(fake != MAP_FAILED);
        log_file = memfd_create("log", MFD_CLOEXEC);
        ck_assert_int_ge(log_file, 0);
        listen_to_notices();
        for (unsigned i = 0; i < DIRECTORIES; i++) {
                static const char *const paths[DIRECTORIES] = {"/a/proc", "/b/proc", "/c/proc",
                                                               "/d/proc"};

                directories[i] = fake_directory(
                        &(struct fake_directory){.path = paths[i], .owner = getuid()});
        }
        listeners.count = LISTENERS;
        for (unsigned i = 0; i < LISTENERS; i++) {
                listeners.fds[i] = bind_any(SOCK_SEQPACKET, &addresses[i], &address_sizes[i]);
                ck_assert_int_eq(listen(listeners.fds[i], 64), 0);
        }
        server = fork();
        ck_assert_int_ge(server, 0);
        if (server == 0)
                run(plan);
}

/* Whether such a notice has come by now. */
static bool is_notified(const char *text) {
        char message[4096];
        ssize_t size;

        while ((size = recv(manager, message, sizeof(message) - 1, MSG_DONTWAIT)) > 0) {
                message[size] = '\0';
                ck_assert_uint_lt(strlen(heard) + size + 2, sizeof(heard));
                strcat(strcat(heard, message), "\n");
        }
        return strstr(heard, text);
}

static void start(const struct plan *plan) {
        start_as(plan);
        UNTIL(is_notified("READY=1\n"));
}

/* Waits for its end; returns its exit status. */
static int wait_for_end(void) {
        int status;

        ck_assert_int_eq(waitpid(server, &status, 0), server);
        ck_assert_msg(WIFEXITED(status), "it ended with 0x%x: %s", status, captured(log_file));
        return WEXITSTATUS(status);
}

static void expect_end(int expected) {
        int status = wait_for_end();

        ck_assert_msg(status == expected, "it exited with %d: %s", status, captured(log_file));
}

static bool is_running(void) {
        siginfo_t info = {0};

        ck_assert_int_eq(waitid(P_PID, server, &info, WEXITED | WNOHANG | WNOWAIT), 0);
        return info.si_pid == 0;
}

static void send_signal(int number) {
        ck_assert_int_eq(kill(server, number), 0);
}

/* ---- clients ---- */

static int connect_to(unsigned listener) {
        int client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(client, 0);
        ck_assert_int_eq(
                connect(client, (struct sockaddr *)&addresses[listener], address_sizes[listener]),
                0);
        return client;
}

static void send_request(int client, struct wire_request *request, const int *fd) {
        uint8_t bytes[WIRE_REQUEST_MAX];

        request->version = PROTOCOL_VERSION;
        ck_assert_int_eq(
                fdpass_send(client, bytes, wire_encode_request(request, bytes), fd, fd ? 1 : 0), 0);
}

static void send_hello(int client) {
        send_request(client, &(struct wire_request){.operation = PROTOCOL_HELLO}, NULL);
}

static bool is_readable(int client, int milliseconds) {
        return poll(&(struct pollfd){.fd = client, .events = POLLIN}, 1, milliseconds) == 1;
}

static struct wire_reply receive(int client) {
        uint8_t bytes[WIRE_REPLY_MAX];
        struct wire_reply reply;
        struct fdpass_set fds;
        ssize_t size;

        ck_assert(is_readable(client, UNTIL_PATIENCE * 1000));
        size = fdpass_receive(client, bytes, sizeof(bytes), &fds);
        ck_assert_int_gt(size, 0);
        ck_assert_int_eq(wire_decode_reply(bytes, size, &reply), 0);
        return reply;
}

static void hello(int client) {
        send_hello(client);
        ck_assert_uint_eq(receive(client).status, STATUS_OK);
}

static void receives_the_end(int client) {
        uint8_t byte;

        ck_assert(is_readable(client, UNTIL_PATIENCE * 1000));
        ck_assert_int_eq(recv(client, &byte, 1, 0), 0);
}

/* A client that holds a mount on that directory. */
static int hold(unsigned directory) {
        struct wire_request request = {.operation = PROTOCOL_MOUNT,
                                       .n_targets = 1,
                                       .targets = {{.file_system = PROTOCOL_PROC}}};
        int client = connect_to(0);
        struct wire_reply reply;

        send_request(client, &request, &directories[directory]);
        reply = receive(client);
        ck_assert_msg(reply.status == STATUS_OK, "%s", reply.text);
        return client;
}

static unsigned records(void) {
        return fake_context_records(fake);
}

/* ---- served ---- */

START_TEST(clients_of_every_socket_are_served) {
        int clients[LISTENERS];

        start(&(struct plan){0});
        for (unsigned i = 0; i < LISTENERS; i++)
                hello(clients[i] = connect_to(i));
        for (unsigned i = 0; i < LISTENERS; i++) {
                hello(clients[i]);
                close(clients[i]);
        }
        send_signal(SIGTERM);
        expect_end(RETURNED);
}
END_TEST

START_TEST(service_manager_is_told_of_readiness_and_leases) {
        int client;

        start(&(struct plan){0});
        ck_assert(is_notified("STATUS=0 leases\n"));
        client = hold(0);
        UNTIL(is_notified("STATUS=1 leases, 1 mounts, 1 connections\n"));
        close(client);
        UNTIL(is_notified("STATUS=0 leases, 0 mounts, 0 connections\n"));
        ck_assert(!is_notified("STOPPING=1"));
        ck_assert(!is_notified("WATCHDOG=1"));
        send_signal(SIGTERM);
        expect_end(RETURNED);
}
END_TEST

/* It has none to be heard of by, and is ready all the same. */
START_TEST(without_a_bus_it_serves_and_gets_ready) {
        int client;

        ck_assert_int_eq(setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/dev/null/nowhere", 1), 0);
        start_as(&(struct plan){.on_bus = true});
        client = connect_to(0);
        hello(client);
        UNTIL(is_notified("READY=1\n"));
        close(client);
        send_signal(SIGTERM);
        expect_end(RETURNED);
}
END_TEST

START_TEST(watchdog_hears_of_it_for_as_long_as_the_loop_turns) {
        ck_assert_int_eq(setenv("WATCHDOG_USEC", "30000", 1), 0);
        start(&(struct plan){0});
        UNTIL(is_notified("WATCHDOG=1\nWATCHDOG=1\nWATCHDOG=1\n"));
        send_signal(SIGTERM);
        expect_end(RETURNED);
}
END_TEST

static void allow_few_descriptors(void) {
        struct rlimit limit;

        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = descriptors_count() + 16; /* the loop's own are a dozen */
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

START_TEST(connections_beyond_its_descriptors_wait_for_one) {
        enum { MANY = 32 };
        int clients[MANY];
        unsigned served = 0;

        start(&(struct plan){.enter = allow_few_descriptors});
        for (unsigned i = 0; i < MANY; i++)
                send_hello(clients[i] = connect_to(0));
        UNTIL(strstr(captured(log_file),
                     "cannot accept connections, pausing: Too many open files"));
        while (served < MANY) { /* in the order of the queue: who is served makes room */
                ck_assert_uint_eq(receive(clients[served]).status, STATUS_OK);
                close(clients[served++]);
        }
        send_signal(SIGTERM);
        expect_end(RETURNED);
}
END_TEST

/* ---- what nobody holds ---- */

START_TEST(what_a_predecessor_left_waits_for_its_clients) {
        int client;

        start(&(struct plan){.left = 2, .adopt_timeout = 600});
        UNTIL(is_notified("STATUS=2 leases, 2 mounts, 0 connections\n"));
        client = connect_to(0);
        hello(client);
        close(client);
        ck_assert_uint_eq(records(), 2);
        send_signal(SIGTERM); /* for good: nothing is left */
        expect_end(RETURNED);
}
END_TEST

START_TEST(what_nobody_adopts_in_time_goes) {
        start(&(struct plan){.left = 2, .adopt_timeout = 0});
        UNTIL(records() == 0);
        send_signal(SIGTERM);
        expect_end(RETURNED);
}
END_TEST

static void refuse_to_unmount(void) {
        fake_fail(FAKE_UMOUNT, 1, 3, EBUSY);
}

START_TEST(what_the_host_would_not_let_go_is_tried_again) {
        int client;

        start(&(struct plan){.enter = refuse_to_unmount});
        client = hold(0);
        ck_assert_uint_eq(records(), 1);
        close(client);
        UNTIL(records() == 0);
        send_signal(SIGTERM);
        expect_end(RETURNED);
}
END_TEST

/* ---- the end ---- */

START_TEST(signals_end_it_and_every_lease) {
        static const int numbers[] = {SIGTERM, SIGINT};

        for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
                int client, other;

                start(&(struct plan){0});
                client = hold(0);
                other = hold(1);
                send_signal(numbers[i]);
                expect_end(RETURNED);
                receives_the_end(client);
                receives_the_end(other);
                ck_assert(is_notified("STOPPING=1\nSTATUS=Releasing every lease\n"));
                close(client);
                close(other);
        }
}
END_TEST

START_TEST(what_was_sent_before_the_end_is_answered) {
        int client;

        start(&(struct plan){0});
        client = hold(0);
        send_signal(SIGSTOP);
        send_hello(client);
        send_hello(client);
        send_signal(SIGTERM);
        send_signal(SIGCONT);
        ck_assert_uint_eq(receive(client).status, STATUS_OK);
        ck_assert_uint_eq(receive(client).status, STATUS_OK);
        receives_the_end(client);
        expect_end(RETURNED);
}
END_TEST

static void block_unmounting(void) {
        fake_block(FAKE_UMOUNT, 1);
}

/* Behind the word of its end it accepts nobody: they are the next instance's. */
START_TEST(thread_that_is_stuck_does_not_keep_it) {
        int client, other, late;

        start(&(struct plan){.enter = block_unmounting});
        client = hold(0);
        other = hold(1);
        send_signal(SIGTERM);
        UNTIL(is_notified("STOPPING=1\n"));
        send_signal(SIGTERM); /* once is enough */
        late = connect_to(0);
        expect_end(STUCK);
        receives_the_end(client);
        receives_the_end(other);
        ck_assert_uint_eq(records(), 1); /* of the stuck one */
        ck_assert_int_ge(accept(listeners.fds[0], NULL, NULL), 0);
        ck_assert_int_ge(late, 0);
}
END_TEST

/* As if it had been killed. */
START_TEST(restart_leaves_the_leases_and_hangs_up) {
        int client;

        start(&(struct plan){0});
        client = hold(0);
        send_signal(SIGUSR1);
        expect_end(EXIT_SUCCESS); /* it hasn't returned */
        receives_the_end(client);
        ck_assert(is_notified("STOPPING=1\nSTATUS=Restarting\n"));
        ck_assert_uint_eq(records(), 1);
        ck_assert_uint_eq(fake_context_record(fake, 0).state, RECORD_LIVE);
}
END_TEST

START_TEST(restart_does_not_wait_for_a_thread_that_is_stuck) {
        int client;

        start(&(struct plan){.enter = block_unmounting});
        client = hold(0);
        hello(client);
        close(client);
        client = hold(1);
        send_signal(SIGUSR1);
        expect_end(EXIT_SUCCESS);
        receives_the_end(client);
        ck_assert_uint_eq(records(), 2);
}
END_TEST

START_TEST(idleness_ends_it) {
        start(&(struct plan){.idle_timeout = 1});
        expect_end(RETURNED);
        ck_assert(is_notified("STOPPING=1\nSTATUS=Idle\n"));
        ck_assert_ptr_nonnull(strstr(captured(log_file), "idle for 1 s"));
}
END_TEST

START_TEST(who_holds_something_keeps_it) {
        int client;

        start(&(struct plan){.idle_timeout = 2});
        client = hold(0);
        sleep(3);
        ck_assert(is_running());
        hello(client);
        close(client);
        expect_end(RETURNED);
}
END_TEST

START_TEST(what_is_left_to_be_adopted_keeps_it) {
        start(&(struct plan){.idle_timeout = 1, .left = 1, .adopt_timeout = 2});
        expect_end(RETURNED); /* with nothing left */
        ck_assert(is_notified("STATUS=Idle\n"));
}
END_TEST

START_TEST(without_a_timeout_nothing_but_a_signal_ends_it) {
        start(&(struct plan){.idle_timeout = 0});
        sleep(3); /* it ticks no longer */
        ck_assert(is_running());
        hello(connect_to(1));
        send_signal(SIGINT);
        expect_end(RETURNED);
}
END_TEST

/* ---- a loop that can't be had ---- */

static void let_signals_through(void) {
        sigset_t none;

        sigemptyset(&none);
        ck_assert_int_eq(sigprocmask(SIG_SETMASK, &none, NULL), 0);
}

static void allow_no_descriptor(void) {
        struct rlimit limit;

        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = 3;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

START_TEST(loop_that_can_not_be_had_is_an_errno) {
        start_as(&(struct plan){.enter = let_signals_through, .failed = true, .error = -EBUSY});
        expect_end(RETURNED);
        start_as(&(struct plan){.enter = allow_no_descriptor, .failed = true, .error = -EMFILE});
        expect_end(RETURNED);
        ck_assert(!is_notified("READY=1"));
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "server", clients_of_every_socket_are_served,
                service_manager_is_told_of_readiness_and_leases,
                without_a_bus_it_serves_and_gets_ready,
                watchdog_hears_of_it_for_as_long_as_the_loop_turns,
                connections_beyond_its_descriptors_wait_for_one,
                what_a_predecessor_left_waits_for_its_clients, what_nobody_adopts_in_time_goes,
                what_the_host_would_not_let_go_is_tried_again, signals_end_it_and_every_lease,
                what_was_sent_before_the_end_is_answered, thread_that_is_stuck_does_not_keep_it,
                restart_leaves_the_leases_and_hangs_up,
                restart_does_not_wait_for_a_thread_that_is_stuck, idleness_ends_it,
                who_holds_something_keeps_it, what_is_left_to_be_adopted_keeps_it,
                without_a_timeout_nothing_but_a_signal_ends_it,
                loop_that_can_not_be_had_is_an_errno);
}
