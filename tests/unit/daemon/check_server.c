/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The main loop in a child process, over the fake kernel, with real sockets, signals and
 * sd_notify(3) messages. Directories are created before the fork, so that the fake kernel of either
 * process knows them; the context is in shared memory, so that the test can read its state file.
 */

#include "daemon/server.h"

#include "daemon/log.h"
#include "tests/test.h"
#include "tests/unit/daemon/fake_context.h"
#include "tests/unit/daemon/log_capture.h"
#include "tests/unit/daemon/socket_client.h"
#include "tests/unit/daemon/until.h"

#include <errno.h>
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
        RETURNED = 42, /* the child's exit status after server_run() returned */
        STUCK = 43,    /* the same, with a thread stuck in the kernel */
        DIRECTORIES = 4,
        LISTENERS = 3,
};

struct plan {
        unsigned idle_timeout, adopt_timeout;
        bool on_bus;
        unsigned left;       /* leases left by a previous instance, with one mount each */
        bool failed;         /* server_run() must return `error` */
        int error;           /* a negative errno */
        void (*enter)(void); /* called in the child just before server_run() */
};

static struct fake_context *fake; /* shared */
static int directories[DIRECTORIES];
static struct listener_set listeners;
static struct sockaddr_un addresses[LISTENERS];
static socklen_t address_sizes[LISTENERS];
static int manager = -EBADF, log_file = -EBADF;
static char heard[65536]; /* all notify messages so far */
static pid_t server;

/* ---- the child ---- */

static void block_signals(void) {
        sigset_t signals;

        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGHUP);
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

/* A stopped loop leaves nothing. */
static void judge(const struct plan *plan, int r, struct threads *threads) {
        if (plan->failed) {
                ck_assert_int_eq(r, plan->error);
                fake_context_remove_file(fake);
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

/* ---- the test ---- */

static int bind_any(int type, struct sockaddr_un *address, socklen_t *size) {
        struct sockaddr_un any = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&any, sizeof(any.sun_family)), 0);
        *size = sizeof(*address);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)address, size), 0);
        return fd;
}

/* The service manager's end of $NOTIFY_SOCKET. */
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

/* Whether a message with that text has arrived. */
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

static void is_served(int client) {
        send_hello(client, 1);
        ck_assert_uint_eq(receive(client).status, STATUS_OK);
}

/* Connects a client that mounts on that directory. */
static int hold(unsigned directory) {
        struct wire_request request = {.version = PROTOCOL_VERSION,
                                       .operation = PROTOCOL_MOUNT,
                                       .n_targets = 1,
                                       .targets = {{.file_system = PROTOCOL_PROC}}};
        int client = connect_to(0);
        struct wire_reply reply;

        send_request(client, &request, &directories[directory], 1);
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
                is_served(clients[i] = connect_to(i));
        for (unsigned i = 0; i < LISTENERS; i++) {
                is_served(clients[i]);
                close(clients[i]);
        }
        send_signal(SIGTERM);
        expect_end(RETURNED);
}
END_TEST

START_TEST(notifies_the_service_manager) {
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

/* There is no bus at that address. */
START_TEST(serves_and_becomes_ready_without_a_bus) {
        int client;

        ck_assert_int_eq(setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/dev/null/nowhere", 1), 0);
        start_as(&(struct plan){.on_bus = true});
        client = connect_to(0);
        is_served(client);
        UNTIL(is_notified("READY=1\n"));
        close(client);
        send_signal(SIGTERM);
        expect_end(RETURNED);
}
END_TEST

START_TEST(pings_the_watchdog) {
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
        limit.rlim_cur = descriptors_count() + 16; /* the loop itself takes a dozen */
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

START_TEST(connections_wait_for_free_descriptors) {
        enum { MANY = 32 };
        int clients[MANY];
        unsigned served = 0;

        start(&(struct plan){.enter = allow_few_descriptors});
        for (unsigned i = 0; i < MANY; i++)
                send_hello(clients[i] = connect_to(0), 1);
        UNTIL(strstr(captured(log_file),
                     "cannot accept connections, pausing: Too many open files"));
        while (served < MANY) { /* in order; each close makes room for another */
                ck_assert_uint_eq(receive(clients[served]).status, STATUS_OK);
                close(clients[served++]);
        }
        send_signal(SIGTERM);
        expect_end(RETURNED);
}
END_TEST

/* ---- leases without a holder ---- */

START_TEST(leases_of_the_previous_instance_wait_for_their_clients) {
        int client;

        start(&(struct plan){.left = 2, .adopt_timeout = 600});
        UNTIL(is_notified("STATUS=2 leases, 2 mounts, 0 connections\n"));
        client = connect_to(0);
        is_served(client);
        close(client);
        ck_assert_uint_eq(records(), 2);
        send_signal(SIGTERM); /* a final stop leaves nothing */
        expect_end(RETURNED);
}
END_TEST

START_TEST(unclaimed_leases_are_swept) {
        start(&(struct plan){.left = 2, .adopt_timeout = 0});
        UNTIL(records() == 0);
        send_signal(SIGTERM);
        expect_end(RETURNED);
}
END_TEST

static void refuse_to_unmount(void) {
        fake_fail(FAKE_UMOUNT, 1, 3, EBUSY);
}

START_TEST(failed_release_is_retried) {
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

START_TEST(signals_stop_it_and_release_every_lease) {
        static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};

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

START_TEST(requests_sent_before_the_stop_are_answered) {
        int client;

        start(&(struct plan){0});
        client = hold(0);
        send_signal(SIGSTOP);
        send_hello(client, 1);
        send_hello(client, 1);
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

/* After STOPPING=1 no connection is accepted: it waits for the next instance. */
START_TEST(stop_does_not_wait_for_a_stuck_thread) {
        int client, other, late;

        start(&(struct plan){.enter = block_unmounting});
        client = hold(0);
        other = hold(1);
        send_signal(SIGTERM);
        UNTIL(is_notified("STOPPING=1\n"));
        send_signal(SIGTERM); /* has no effect */
        late = connect_to(0);
        expect_end(STUCK);
        receives_the_end(client);
        receives_the_end(other);
        ck_assert_uint_eq(records(), 1); /* the stuck thread's lease */
        ck_assert_int_ge(accept(listeners.fds[0], NULL, NULL), 0);
        ck_assert_int_ge(late, 0);
        fake_context_remove_file(fake);
}
END_TEST

/* As after SIGKILL. */
START_TEST(restart_keeps_the_leases_and_hangs_up) {
        int client;

        start(&(struct plan){0});
        client = hold(0);
        send_signal(SIGUSR1);
        expect_end(EXIT_SUCCESS); /* server_run() doesn't return */
        receives_the_end(client);
        ck_assert(is_notified("STOPPING=1\nSTATUS=Restarting\n"));
        ck_assert_uint_eq(records(), 1);
        ck_assert_uint_eq(fake_context_record(fake, 0).state, RECORD_LIVE);
        fake_context_remove_file(fake);
}
END_TEST

START_TEST(restart_does_not_wait_for_a_stuck_thread) {
        int client;

        start(&(struct plan){.enter = block_unmounting});
        client = hold(0);
        is_served(client);
        close(client);
        client = hold(1);
        send_signal(SIGUSR1);
        expect_end(EXIT_SUCCESS);
        receives_the_end(client);
        ck_assert_uint_eq(records(), 2);
        fake_context_remove_file(fake);
}
END_TEST

START_TEST(exits_when_idle) {
        start(&(struct plan){.idle_timeout = 1});
        expect_end(RETURNED);
        ck_assert(is_notified("STOPPING=1\nSTATUS=Idle\n"));
        ck_assert_ptr_nonnull(strstr(captured(log_file), "idle for 1 s"));
}
END_TEST

START_TEST(held_lease_keeps_it_running) {
        int client;

        start(&(struct plan){.idle_timeout = 2});
        client = hold(0);
        sleep(3);
        ck_assert(is_running());
        is_served(client);
        close(client);
        expect_end(RETURNED);
}
END_TEST

START_TEST(unclaimed_lease_keeps_it_running) {
        start(&(struct plan){.idle_timeout = 1, .left = 1, .adopt_timeout = 2});
        expect_end(RETURNED); /* without leases */
        ck_assert(is_notified("STATUS=Idle\n"));
}
END_TEST

START_TEST(never_exits_when_idle_without_a_timeout) {
        start(&(struct plan){.idle_timeout = 0});
        sleep(3); /* until the timer is off */
        ck_assert(is_running());
        is_served(connect_to(1));
        send_signal(SIGINT);
        expect_end(RETURNED);
}
END_TEST

/* ---- failed start ---- */

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

START_TEST(failed_start_is_an_errno) {
        start_as(&(struct plan){.enter = let_signals_through, .failed = true, .error = -EBUSY});
        expect_end(RETURNED);
        start_as(&(struct plan){.enter = allow_no_descriptor, .failed = true, .error = -EMFILE});
        expect_end(RETURNED);
        ck_assert(!is_notified("READY=1"));
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "server", clients_of_every_socket_are_served, notifies_the_service_manager,
                serves_and_becomes_ready_without_a_bus, pings_the_watchdog,
                connections_wait_for_free_descriptors,
                leases_of_the_previous_instance_wait_for_their_clients, unclaimed_leases_are_swept,
                failed_release_is_retried, signals_stop_it_and_release_every_lease,
                requests_sent_before_the_stop_are_answered, stop_does_not_wait_for_a_stuck_thread,
                restart_keeps_the_leases_and_hangs_up, restart_does_not_wait_for_a_stuck_thread,
                exits_when_idle, held_lease_keeps_it_running, unclaimed_lease_keeps_it_running,
                never_exits_when_idle_without_a_timeout, failed_start_is_an_errno);
}
