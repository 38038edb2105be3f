/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Clients that want too much of everything: the documented limits bound what they get, and an
 * honest user is served meanwhile. Prints the high-water marks beside the bounds.
 */

#include "common/fd.h"
#include "daemon/refusal.h"
#include "tests/faults/lingering.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum {
        CONNECTIONS_MAX = 2048, /* the daemon's limit; lower if RLIMIT_NOFILE is low */
        CONNECTIONS_MAX_PER_USER = 512,
        THREADS_SPARE = 7,       /* the main one, the log's, the idle ones, the refusing one */
        FDS_PER_CONNECTION = 22, /* including those of a message */
        FDS_SPARE = 64 + REFUSALS_WAITING_MAX,
        USERS = 100,
        FLOOD_USER = 62000, /* the first of USERS */
        FDS_IN_A_MESSAGE = 253,
        SUBORDINATE_USER = 300000,     /* the first of USERS subordinate to FLOOD_USER */
        SUBORDINATE_CONNECTIONS = 400, /* leaves room whatever RLIMIT_NOFILE is */
        STOPPERS = 8,
        STOPPED_CONNECTIONS = 60, /* per way */
};

/* Each connection has a thread. */
static unsigned highest_fds;
static unsigned highest_threads;

static void look(const struct victim *victim) {
        unsigned fds = service_count_fds(&victim->service);
        unsigned threads = service_count_threads(&victim->service);

        highest_fds = fds > highest_fds ? fds : highest_fds;
        highest_threads = threads > highest_threads ? threads : highest_threads;
}

static void expect_bounded(const struct victim *victim, const char *what, unsigned connections,
                           unsigned mounts) {
        const unsigned threads = connections + REFUSALS_CLOSERS_MAX + THREADS_SPARE;
        const unsigned fds = connections * FDS_PER_CONNECTION + mounts + FDS_SPARE;

        look(victim);
        fprintf(stderr, "%-36s fds %5u of %5u  threads %4u of %4u  rss %6u KiB\n", what,
                highest_fds, fds, highest_threads, threads, service_peak_kib(&victim->service));
        ck_assert_uint_le(highest_fds, fds);
        ck_assert_uint_le(highest_threads, threads);
}

/* By one user, or by USERS in turn: more than the daemon has room for. */
static unsigned connect_many(const struct victim *victim, int *connections, unsigned n,
                             unsigned users) {
        unsigned refused = 0;

        for (unsigned i = 0; i < n; i++) {
                struct pollfd answer = {.events = POLLIN};

                connections[i] = client_connect(&victim->service, FLOOD_USER + i % users);
                answer.fd = connections[i];
                if (i % 64 == 0)
                        look(victim);
                if (poll(&answer, 1, 0) == 1) /* an unsolicited reply */
                        refused++;
        }
        return refused;
}

static void close_many(const int *connections, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                close(connections[i]);
}

SANDBOX_TEST(connections_of_one_user_leave_room_for_others) {
        static int connections[2 * CONNECTIONS_MAX_PER_USER];
        struct victim victim;
        const char *root;

        descriptors_raise();
        victim = victim_new(NULL, NULL);
        root = sandbox_make_root(USER_ALICE, "root");
        connect_many(&victim, connections, 2 * CONNECTIONS_MAX_PER_USER, 1);
        victim_print("1024 connects of one user", victim_measure(&victim, root));
        expect_bounded(&victim, "1024 connects of one user", CONNECTIONS_MAX_PER_USER + 1, 2);
        close_many(connections, 2 * CONNECTIONS_MAX_PER_USER);
        victim_expect_as_before(&victim);
        service_stop(&victim.service);
}

SANDBOX_TEST(connections_of_many_users_are_bounded) {
        static int connections[CONNECTIONS_MAX + 500];
        struct victim victim;

        descriptors_raise();
        victim = victim_new(NULL, NULL);
        connect_many(&victim, connections, CONNECTIONS_MAX + 500, USERS);
        expect_bounded(&victim, "2548 connects of 100 users", CONNECTIONS_MAX, 0);
        close_many(connections, CONNECTIONS_MAX + 500);
        victim_expect_as_before(&victim);
        victim_print("after it", victim_measure(&victim, sandbox_make_root(USER_ALICE, "root")));
        service_stop(&victim.service);
}

/*
 * The kernel bounds descriptors in flight by the sender's own limit; the daemon doesn't have them.
 */
SANDBOX_TEST(descriptors_under_way_do_not_fill_the_daemon) {
        static int connections[200];
        int fds[FDS_IN_A_MESSAGE];
        struct victim victim;
        const char *root;

        victim = victim_new(NULL, NULL);
        root = sandbox_make_root(USER_ALICE, "root");
        for (unsigned i = 0; i < FDS_IN_A_MESSAGE; i++)
                fds[i] = STDERR_FILENO;
        for (unsigned i = 0; i < 200; i++) {
                const struct wire_request request = {.version = PROTOCOL_VERSION,
                                                     .operation = PROTOCOL_MOUNT,
                                                     .n_targets = 16,
                                                     .targets = {{PROTOCOL_PROC, 0}}};
                uint8_t bytes[WIRE_REQUEST_MAX];
                size_t size = wire_encode_request(&request, bytes);

                connections[i] = client_connect(&victim.service, FLOOD_USER);
                for (unsigned k = 0; k < 20; k++)
                        client_try_send(connections[i], bytes, size, fds, FDS_IN_A_MESSAGE);
                look(&victim);
        }
        victim_print("a million descriptors", victim_measure(&victim, root));
        expect_bounded(&victim, "a million descriptors", 201, 2);
        close_many(connections, 200);
        victim_expect_as_before(&victim);
        service_stop(&victim.service);
}

SANDBOX_TEST(replies_that_nobody_reads_end_the_connection) {
        static int connections[200];
        const struct wire_request request = {.version = PROTOCOL_VERSION,
                                             .operation = PROTOCOL_HELLO};
        uint8_t bytes[WIRE_REQUEST_MAX];
        size_t size = wire_encode_request(&request, bytes);
        struct victim victim = victim_new(NULL, NULL);
        const char *root = sandbox_make_root(USER_ALICE, "root");

        for (unsigned i = 0; i < 200; i++)
                connections[i] = client_connect(&victim.service, FLOOD_USER);
        for (unsigned round = 0; round < 50; round++) {
                for (unsigned i = 0; i < 200; i++)
                        for (unsigned k = 0; k < 20; k++)
                                client_try_send(connections[i], bytes, size, NULL, 0);
                look(&victim);
        }
        victim_print("200000 hellos, no reply read", victim_measure(&victim, root));
        expect_bounded(&victim, "200000 hellos, no reply read", 201, 2);
        close_many(connections, 200);
        victim_expect_as_before(&victim);
        service_stop(&victim.service);
}

SANDBOX_TEST(mounts_of_many_users_are_bounded) {
        static int connections[USERS];
        struct victim victim;
        unsigned granted = 0;

        descriptors_raise();
        victim = victim_new(NULL, "--max-mounts=512");
        for (unsigned i = 0; i < USERS; i++) {
                uid_t uid = FLOOD_USER + i;

                connections[i] = client_connect(&victim.service, uid);
                for (unsigned k = 0; k < 5; k++) {
                        char name[32];
                        const char *root;
                        struct wire_reply reply;

                        snprintf(name, sizeof(name), "root%u-%u", i, k);
                        root = sandbox_make_root(uid, name);
                        reply = client_mount_root(connections[i], uid, root);
                        granted += reply.status == STATUS_OK;
                        if (reply.status != STATUS_OK)
                                client_expect(reply, STATUS_LIMIT_EXCEEDED, 0, STATUS_NO_TARGET);
                }
                look(&victim);
        }
        ck_assert_uint_eq(granted, 512 / 2);
        expect_bounded(&victim, "1000 mounts of 100 users, 512 allowed", USERS, 512);
        close_many(connections, USERS);
        victim_expect_as_before(&victim);
        service_stop(&victim.service);
}

/* From a process that exits: that close doesn't wait, so the stopped daemon makes the last one. */
static void send_lingering(int client, const struct sockaddr_in *server, const void *bytes,
                           size_t size) {
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                int fd = lingering_connect(server, 5);

                _exit(client_try_send(client, bytes, size, &fd, 1) < 0);
        }
        sandbox_join(pid);
}

SANDBOX_TEST(sockets_that_linger_hold_up_nobody) {
        const struct wire_request request = {.version = PROTOCOL_VERSION,
                                             .operation = PROTOCOL_HELLO};
        uint8_t bytes[WIRE_REQUEST_MAX];
        size_t size = wire_encode_request(&request, bytes);
        struct victim victim = victim_new(NULL, NULL);
        const char *root = sandbox_make_root(USER_ALICE, "root");
        const struct sockaddr_in server = lingering_listen(100);
        int connections[16];

        ck_assert_int_eq(kill(victim.service.pid, SIGSTOP), 0);
        for (unsigned i = 0; i < 16; i++) {
                connections[i] = client_connect(&victim.service, FLOOD_USER);
                send_lingering(connections[i], &server, bytes, size);
        }
        ck_assert_int_eq(kill(victim.service.pid, SIGCONT), 0);
        victim_print("16 sockets that linger", victim_measure(&victim, root));
        expect_bounded(&victim, "16 sockets that linger", 17, 2);
        close_many(connections, 16);
        victim_expect_as_before(&victim);
        service_stop(&victim.service);
}

/* Sockets that nobody has received are closed with the connection, even if it is refused. */
SANDBOX_TEST(sockets_that_linger_in_a_refused_connection_hold_up_nobody) {
        struct victim victim = victim_new(NULL, "--max-connections-per-user=4");
        const char *root = sandbox_make_root(USER_ALICE, "root");
        const struct sockaddr_in server = lingering_listen(100);
        int connections[24];

        ck_assert_int_eq(kill(victim.service.pid, SIGSTOP), 0);
        for (unsigned i = 0; i < 24; i++) {
                connections[i] = client_connect(&victim.service, FLOOD_USER);
                send_lingering(connections[i], &server, "garbage", 7);
                send_lingering(connections[i], &server, "garbage", 7);
        }
        ck_assert_int_eq(kill(victim.service.pid, SIGCONT), 0);
        victim_print("20 refused, with such sockets", victim_measure(&victim, root));
        expect_bounded(&victim, "24 with sockets that linger", 25, 2);
        close_many(connections, 24);
        victim_expect_as_before(&victim);
        service_stop(&victim.service);
}

/* ---- one user with many uids ---- */

/* Covers `path` with another file, only in this mount namespace. */
static bool cover(const char *path, const char *name, const char *text, bool keep) {
        const char *own = sandbox_path("%s", name);
        FILE *file = fopen(own, "we"), *old = keep ? fopen(path, "re") : NULL;
        char line[512];

        ck_assert_ptr_nonnull(file);
        while (old && fgets(line, sizeof(line), old))
                fputs(line, file);
        if (old)
                fclose(old);
        fputs(text, file);
        ck_assert_int_eq(fclose(file), 0);
        return mount(own, path, NULL, MS_BIND, NULL) == 0;
}

/* What is lacking for FLOOD_USER to have USERS subordinate uids, or NULL. */
static const char *prepare_subordinates(void) {
        char passwd[128], range[64];

#if defined(__SANITIZE_THREAD__)
        return "impossible here: ThreadSanitizer's thread forbids unshare(CLONE_NEWUSER)";
#endif
        snprintf(passwd, sizeof(passwd), "flooder:x:%u:%u::/:/bin/false\n", FLOOD_USER, FLOOD_USER);
        snprintf(range, sizeof(range), "flooder:%u:%u\n", SUBORDINATE_USER, USERS);
        if (access("/usr/bin/newuidmap", X_OK) < 0 || access("/usr/bin/newgidmap", X_OK) < 0)
                return "newuidmap is not installed";
        if (!cover("/etc/passwd", "passwd", passwd, true) ||
            !cover("/etc/subuid", "subuid", range, false) ||
            !cover("/etc/subgid", "subgid", range, false))
                return "there is no /etc/subuid";
        return NULL;
}

/* The flooding process and the test take turns, over a socket pair. */
struct flooder {
        const struct victim *victim;
        const char *area; /* a directory open to all */
        int channel;
        int other;
        pid_t pid;
};

static void tell(int channel) {
        ck_assert_int_eq(write(channel, "", 1), 1);
}

static void await_turn(int channel) {
        char byte;

        ck_assert_int_eq(read(channel, &byte, 1), 1);
}

/* Checks the daemon's resources meanwhile. */
static void await_flooder(const struct flooder *flooder) {
        struct pollfd told = {.fd = flooder->channel, .events = POLLIN};
        int64_t deadline = sandbox_now_ms() + 8 * SANDBOX_WAIT_MS;

        while (poll(&told, 1, 10) == 0) {
                look(flooder->victim);
                ck_assert_int_lt(sandbox_now_ms(), deadline);
        }
        await_turn(flooder->channel);
}

/*
 * Becomes subordinate user 1 to USERS, for connect(2), mkdir(2) and open(2); 0: the user's own uid.
 */
static void become_subordinate(unsigned i) {
        ck_assert_int_eq(seteuid(0), 0);
        ck_assert_int_eq(seteuid(i), 0);
}

static void make_subordinate_root(char *root, size_t size, const char *area, unsigned i,
                                  unsigned k) {
        char path[256];

        snprintf(root, size, "%s/%u-%u", area, i, k);
        ck_assert_int_eq(mkdir(root, 0700), 0);
        snprintf(path, sizeof(path), "%s/proc", root);
        ck_assert_int_eq(mkdir(path, 0755), 0);
        snprintf(path, sizeof(path), "%s/sys", root);
        ck_assert_int_eq(mkdir(path, 0755), 0);
}

static void flood_with_mounts(const struct flooder *flooder) {
        unsigned granted = 0;

        for (unsigned i = 1; i <= USERS; i++) {
                int client;

                become_subordinate(i);
                client = client_connect(&flooder->victim->service, -1);
                for (unsigned k = 0; k < 5; k++) {
                        struct wire_reply reply;
                        char root[200];

                        make_subordinate_root(root, sizeof(root), flooder->area, i, k);
                        reply = client_mount_root(client, -1, root);
                        granted += reply.status == STATUS_OK;
                        if (reply.status != STATUS_OK)
                                client_expect(reply, STATUS_LIMIT_EXCEEDED, 0, STATUS_NO_TARGET);
                }
        }
        ck_assert_uint_eq(granted, (512 - 2) / 2); /* Alice has one */
}

static void flood_with_connections(const struct flooder *flooder, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                become_subordinate(1 + i % USERS);
                client_connect(&flooder->victim->service, -1);
        }
}

/* With only FLOOD_USER's rights; newuidmap(1) writes the maps. */
static void flood_as_many(void *argument) {
        const struct flooder *flooder = argument;

        ck_assert_int_eq(unshare(CLONE_NEWUSER), 0);
        tell(flooder->other);
        await_turn(flooder->other);
        flood_with_connections(flooder, SUBORDINATE_CONNECTIONS);
        tell(flooder->other);
        await_turn(flooder->other);
        flood_with_mounts(flooder);
        flood_with_connections(flooder, CONNECTIONS_MAX);
        tell(flooder->other);
        await_turn(flooder->other);
}

static void make_maps(void *argument) {
        const struct flooder *flooder = argument;
        char command[256];

        snprintf(command, sizeof(command),
                 "newuidmap %d 0 %u 1 1 %u %u && newgidmap %d 0 %u 1 1 %u %u", flooder->pid,
                 FLOOD_USER, SUBORDINATE_USER, USERS, flooder->pid, FLOOD_USER, SUBORDINATE_USER,
                 USERS);
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(127);
}

static void start_flooder(struct flooder *flooder) {
        int channel[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel), 0);
        flooder->area = sandbox_make_directory(0, 0777, "area");
        flooder->channel = channel[0];
        flooder->other = channel[1];
        flooder->pid = sandbox_spawn(FLOOD_USER, flood_as_many, flooder);
        await_flooder(flooder);
        sandbox_run_as(FLOOD_USER, make_maps, flooder);
        tell(flooder->channel);
}

SANDBOX_TEST(one_user_with_subordinate_users_is_bounded_by_the_totals) {
        const char *lacking = prepare_subordinates(), *root;
        struct flooder flooder = {0};
        struct victim victim;
        uint64_t lease;
        int alice, refused;

        if (lacking) {
                test_skip_report("one_user_with_subordinate_users_is_bounded_by_the_totals",
                                 lacking);
                return;
        }
        descriptors_raise();
        victim = victim_new(NULL, "--max-mounts=512");
        flooder.victim = &victim;
        root = sandbox_make_root(USER_ALICE, "root");
        alice = client_connect(&victim.service, USER_ALICE);
        start_flooder(&flooder);

        await_flooder(&flooder);
        victim_print("400 connects of a subordinate 100", victim_measure(&victim, root));
        expect_bounded(&victim, "400 connects of a subordinate 100", SUBORDINATE_CONNECTIONS + 2,
                       2);

        /* Then all of the daemon's: connected clients keep theirs. */
        lease = client_hold_root(alice, USER_ALICE, root);
        tell(flooder.channel);
        await_flooder(&flooder);
        expect_bounded(&victim, "all that a subordinate 100 can get", CONNECTIONS_MAX, 512);
        refused = client_connect(&victim.service, USER_ALICE);
        client_expect(client_receive(refused), STATUS_LIMIT_EXCEEDED, 0, STATUS_NO_TARGET);
        close(refused);
        client_hello(alice);
        client_expect(client_unmount(alice, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        lease = client_hold_root(alice, USER_ALICE, root);
        client_expect(client_unmount(alice, lease), STATUS_OK, 0, STATUS_NO_TARGET);

        tell(flooder.channel);
        sandbox_join(flooder.pid);
        sandbox_wait_for(sandbox_count_mounts(0, victim.service.source) == 0);
        sandbox_wait_for(service_count_threads(&victim.service) <= SERVICE_THREADS_IDLE + 1);
        victim_print("after it", victim_measure(&victim, root));
        close(alice);
        victim_expect_as_before(&victim);
        service_stop(&victim.service);
}

/* ---- clients that stop midway ---- */

enum stop {
        STOP_AT_ONCE,          /* only connected */
        STOP_BEFORE_THE_REPLY, /* of a mount */
        STOP_IN_A_PIPELINE,    /* of a mount among hellos, which are all served */
        STOP_WHEN_DROPPED,     /* after sending as much as possible, and reading nothing */
        STOP_HALF_CLOSED,      /* after a mount and the end of file */
        STOP_AMID_A_REQUEST,   /* after half a request */
        STOPS,
};

static void send_operation(int client, uint16_t operation) {
        const struct wire_request request = {.version = PROTOCOL_VERSION, .operation = operation};
        uint8_t bytes[WIRE_REQUEST_MAX];

        client_send(client, bytes, wire_encode_request(&request, bytes), NULL, 0);
}

static void send_hellos(int client, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                send_operation(client, PROTOCOL_HELLO);
}

static void send_until_dropped(int client) {
        const struct wire_request request = {
                .version = PROTOCOL_VERSION, .operation = PROTOCOL_UNMOUNT, .lease = 1};
        uint8_t bytes[WIRE_REQUEST_MAX];
        size_t size = wire_encode_request(&request, bytes);
        int r;

        do {
                r = client_try_send(client, bytes, size, NULL, 0);
                if (r == -EAGAIN)
                        usleep(1000);
        } while (r == 0 || r == -EAGAIN);
}

static void work_and_stop(int client, enum stop stop, const char *proc) {
        FD_AUTO int target = open(proc, O_PATH | O_DIRECTORY | O_CLOEXEC);

        ck_assert_int_ge(target, 0);
        switch (stop) {
        case STOP_BEFORE_THE_REPLY:
                hostile_send_mount(client, target);
                break;
        case STOP_IN_A_PIPELINE:
                send_hellos(client, 20);
                hostile_send_mount(client, target);
                send_hellos(client, 20);
                break;
        case STOP_WHEN_DROPPED:
                hostile_send_mount(client, target);
                send_until_dropped(client);
                break;
        case STOP_HALF_CLOSED:
                hostile_send_mount(client, target);
                ck_assert_int_eq(shutdown(client, SHUT_WR), 0);
                break;
        case STOP_AMID_A_REQUEST:
                client_send(client, "MNTA\1\0\2\0", 8, &target, 1);
                break;
        default:
                break;
        }
}

struct stopper {
        const struct service *service;
        const char *area;
};

/* None of its connections is closed, or read from. */
static void work_and_stop_all(void *argument) {
        const struct stopper *stopper = argument;

        for (unsigned i = 0; i < STOPPED_CONNECTIONS; i++) {
                char path[256];
                int client = client_connect(stopper->service, -1);

                snprintf(path, sizeof(path), "%s/%u", stopper->area, i);
                ck_assert_int_eq(mkdir(path, 0700), 0);
                strcat(path, "/proc");
                ck_assert_int_eq(mkdir(path, 0755), 0);
                work_and_stop(client, i % STOPS, path);
        }
        raise(SIGSTOP);
}

SANDBOX_TEST(clients_that_stop_amid_their_work_hold_up_nobody) {
        struct victim victim = victim_new(NULL, NULL);
        const char *root = sandbox_make_root(USER_ALICE, "root");
        const unsigned held = STOPPERS * STOPPED_CONNECTIONS / STOPS * 2;
        pid_t pids[STOPPERS];

        for (unsigned i = 0; i < STOPPERS; i++) {
                char name[16];
                struct stopper stopper = {.service = &victim.service};

                snprintf(name, sizeof(name), "area%u", i);
                stopper.area = sandbox_make_directory(FLOOD_USER + i, 0700, name);
                pids[i] = sandbox_spawn(FLOOD_USER + i, work_and_stop_all, &stopper);
        }
        victim_print("while 480 clients stop", victim_measure(&victim, root));
        look(&victim);
        for (unsigned i = 0; i < STOPPERS; i++) {
                int status;

                ck_assert_int_eq(waitpid(pids[i], &status, WUNTRACED), pids[i]);
                ck_assert_msg(WIFSTOPPED(status), "ended with 0x%x", status);
                look(&victim);
        }
        /*
         * Of clients that wait for a reply, or don't read all replies; the others have lost theirs.
         */
        sandbox_wait_for(sandbox_count_mounts(0, victim.service.source) == held);
        victim_print("480 clients that have stopped", victim_measure(&victim, root));
        expect_bounded(&victim, "480 clients that have stopped", STOPPERS * STOPPED_CONNECTIONS + 1,
                       STOPPERS * STOPPED_CONNECTIONS + 2);
        sandbox_wait_for(sandbox_count_mounts(0, victim.service.source) == held);

        for (unsigned i = 0; i < STOPPERS; i++)
                sandbox_kill(pids[i]);
        victim_expect_as_before(&victim);
        service_stop(&victim.service);
}

int main(void) {
        TCase *tests = tcase_create("floods");

        tcase_add_test(tests, connections_of_one_user_leave_room_for_others);
        tcase_add_test(tests, connections_of_many_users_are_bounded);
        tcase_add_test(tests, descriptors_under_way_do_not_fill_the_daemon);
        tcase_add_test(tests, replies_that_nobody_reads_end_the_connection);
        tcase_add_test(tests, mounts_of_many_users_are_bounded);
        tcase_add_test(tests, one_user_with_subordinate_users_is_bounded_by_the_totals);
        tcase_add_test(tests, clients_that_stop_amid_their_work_hold_up_nobody);
        tcase_add_test(tests, sockets_that_linger_hold_up_nobody);
        tcase_add_test(tests, sockets_that_linger_in_a_refused_connection_hold_up_nobody);
        return sandbox_run(tests);
}
