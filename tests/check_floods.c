/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Clients that want too much of everything: what they get is bounded by the documented limits, and
 * an honest user is served meanwhile. The high-water marks are printed beside the bounds.
 */

#include "common/fd.h"
#include "tests/descriptors.h"
#include "tests/real/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
        CONNECTIONS_MAX = 4096, /* the daemon's limits */
        CONNECTIONS_MAX_PER_USER = 1024,
        MOUNTS_MAX_PER_USER = 2048,
        WORKERS = 8,
        LOST_MAX = 16,
        FDS_PER_WORKER = 22,
        FDS_SPARE = 64,
        USERS = 100,
        FLOOD_USER = 62000, /* the first of USERS */
        FDS_IN_A_MESSAGE = 253,
};

static unsigned resident_kib(const struct service *service) {
        char path[64], line[256];
        unsigned kib = 0;
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%d/status", service->pid);
        file = fopen(path, "re");
        ck_assert_ptr_nonnull(file);
        while (fgets(line, sizeof(line), file))
                if (sscanf(line, "VmHWM: %u", &kib) == 1)
                        break;
        fclose(file);
        return kib;
}

/* Threads are never more than the limits allow; descriptors are asked for as often as one likes. */
static unsigned highest_fds;
static unsigned highest_threads;

static void look(const struct stage *stage) {
        unsigned fds = service_count_fds(&stage->service);
        unsigned threads = service_count_threads(&stage->service);

        highest_fds = fds > highest_fds ? fds : highest_fds;
        highest_threads = threads > highest_threads ? threads : highest_threads;
}

static void expect_bounded(const struct stage *stage, const char *what, unsigned connections,
                           unsigned mounts) {
        const unsigned threads = 1 + WORKERS + LOST_MAX;
        const unsigned fds =
                connections + mounts + (WORKERS + LOST_MAX) * FDS_PER_WORKER + FDS_SPARE;

        look(stage);
        fprintf(stderr, "%-36s fds %5u of %5u  threads %2u of %2u  rss %6u KiB\n", what,
                highest_fds, fds, highest_threads, threads, resident_kib(&stage->service));
        ck_assert_uint_le(highest_fds, fds);
        ck_assert_uint_le(highest_threads, threads);
}

/* Of one user, or of USERS in turn: more than the daemon has room for. */
static unsigned connect_many(const struct stage *stage, int *connections, unsigned n,
                             unsigned users) {
        unsigned refused = 0;

        for (unsigned i = 0; i < n; i++) {
                struct pollfd answer = {.events = POLLIN};

                connections[i] = client_connect(&stage->service, FLOOD_USER + i % users);
                answer.fd = connections[i];
                if (i % 64 == 0)
                        look(stage);
                if (poll(&answer, 1, 0) == 1) /* unasked */
                        refused++;
        }
        return refused;
}

static void close_many(const int *connections, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                close(connections[i]);
}

WORLD_TEST(connections_of_one_user_leave_room_for_others) {
        static int connections[2 * CONNECTIONS_MAX_PER_USER];
        struct stage stage;
        const char *root;

        descriptors_raise();
        stage = stage_new(NULL, NULL);
        root = world_make_root(WORLD_ALICE, "root");
        connect_many(&stage, connections, 2 * CONNECTIONS_MAX_PER_USER, 1);
        stage_print("2048 connects of one user", stage_measure(&stage, root));
        expect_bounded(&stage, "2048 connects of one user", CONNECTIONS_MAX_PER_USER + 1, 2);
        close_many(connections, 2 * CONNECTIONS_MAX_PER_USER);
        stage_expect_as_before(&stage);
        service_stop(&stage.service);
}

WORLD_TEST(connections_of_many_users_are_bounded) {
        static int connections[CONNECTIONS_MAX + 500];
        struct stage stage;

        descriptors_raise();
        stage = stage_new(NULL, NULL);
        connect_many(&stage, connections, CONNECTIONS_MAX + 500, USERS);
        expect_bounded(&stage, "4596 connects of 100 users", CONNECTIONS_MAX, 0);
        close_many(connections, CONNECTIONS_MAX + 500);
        stage_expect_as_before(&stage);
        stage_print("after it", stage_measure(&stage, world_make_root(WORLD_ALICE, "root")));
        service_stop(&stage.service);
}

/* The kernel bounds what is under way by the sender's own limit; the daemon never has it. */
WORLD_TEST(descriptors_under_way_do_not_fill_the_daemon) {
        static int connections[200];
        int fds[FDS_IN_A_MESSAGE];
        struct stage stage;
        const char *root;

        stage = stage_new(NULL, NULL);
        root = world_make_root(WORLD_ALICE, "root");
        for (unsigned i = 0; i < FDS_IN_A_MESSAGE; i++)
                fds[i] = STDERR_FILENO;
        for (unsigned i = 0; i < 200; i++) {
                const struct wire_request request = {.version = PROTOCOL_VERSION,
                                                     .operation = PROTOCOL_MOUNT,
                                                     .n_targets = 16,
                                                     .targets = {{PROTOCOL_PROC, 0}}};
                uint8_t bytes[WIRE_REQUEST_MAX];
                size_t size = wire_encode_request(&request, bytes);

                connections[i] = client_connect(&stage.service, FLOOD_USER);
                for (unsigned k = 0; k < 20; k++)
                        client_try_send(connections[i], bytes, size, fds, FDS_IN_A_MESSAGE);
                look(&stage);
        }
        stage_print("a million descriptors", stage_measure(&stage, root));
        expect_bounded(&stage, "a million descriptors", 201, 2);
        close_many(connections, 200);
        stage_expect_as_before(&stage);
        service_stop(&stage.service);
}

WORLD_TEST(replies_that_nobody_reads_end_the_connection) {
        static int connections[200];
        const struct wire_request request = {.version = PROTOCOL_VERSION,
                                             .operation = PROTOCOL_HELLO};
        uint8_t bytes[WIRE_REQUEST_MAX];
        size_t size = wire_encode_request(&request, bytes);
        struct stage stage = stage_new(NULL, NULL);
        const char *root = world_make_root(WORLD_ALICE, "root");

        for (unsigned i = 0; i < 200; i++)
                connections[i] = client_connect(&stage.service, FLOOD_USER);
        for (unsigned round = 0; round < 50; round++) {
                for (unsigned i = 0; i < 200; i++)
                        for (unsigned k = 0; k < 20; k++)
                                client_try_send(connections[i], bytes, size, NULL, 0);
                look(&stage);
        }
        stage_print("200000 hellos, no reply read", stage_measure(&stage, root));
        expect_bounded(&stage, "200000 hellos, no reply read", 201, 2);
        close_many(connections, 200);
        stage_expect_as_before(&stage);
        service_stop(&stage.service);
}

WORLD_TEST(mounts_of_many_users_are_bounded) {
        static int connections[USERS];
        struct stage stage;
        unsigned granted = 0;

        descriptors_raise();
        stage = stage_new(NULL, "--max-mounts=512");
        for (unsigned i = 0; i < USERS; i++) {
                uid_t uid = FLOOD_USER + i;

                connections[i] = client_connect(&stage.service, uid);
                for (unsigned k = 0; k < 5; k++) {
                        char name[32];
                        const char *root;
                        struct wire_reply reply;

                        snprintf(name, sizeof(name), "root%u-%u", i, k);
                        root = world_make_root(uid, name);
                        reply = client_mount_root(connections[i], uid, root);
                        granted += reply.status == STATUS_OK;
                        if (reply.status != STATUS_OK)
                                client_expect(reply, STATUS_LIMIT_EXCEEDED, 0, STATUS_NO_TARGET);
                }
                look(&stage);
        }
        ck_assert_uint_eq(granted, 512 / 2);
        expect_bounded(&stage, "1000 mounts of 100 users, 512 allowed", USERS, 512);
        close_many(connections, USERS);
        stage_expect_as_before(&stage);
        service_stop(&stage.service);
}

/* A TCP server that nobody accepts from, so that it reads nothing. */
static struct sockaddr_in listen_for_nothing(void) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof(address);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, size), 0);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
        ck_assert_int_eq(listen(fd, 100), 0);
        return address;
}

/* A socket of which the last close(2) takes 100 s. */
static int make_lingering(const struct sockaddr_in *server) {
        const struct linger linger = {.l_onoff = 1, .l_linger = 100};
        static char data[1 << 16];
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_eq(connect(fd, (const struct sockaddr *)server, sizeof(*server)), 0);
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
        while (send(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
                continue;
        return fd;
}

/* From a process that ends: that one doesn't wait, so the daemon, which is halted, is the last. */
static void send_lingering(int client, const struct sockaddr_in *server, const void *bytes,
                           size_t size) {
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                int fd = make_lingering(server);

                _exit(client_try_send(client, bytes, size, &fd, 1) < 0);
        }
        world_join(pid);
}

WORLD_TEST(sockets_that_linger_hold_up_nobody) {
        const struct wire_request request = {.version = PROTOCOL_VERSION,
                                             .operation = PROTOCOL_HELLO};
        uint8_t bytes[WIRE_REQUEST_MAX];
        size_t size = wire_encode_request(&request, bytes);
        struct stage stage = stage_new(NULL, NULL);
        const char *root = world_make_root(WORLD_ALICE, "root");
        const struct sockaddr_in server = listen_for_nothing();
        int connections[16];

        ck_assert_int_eq(kill(stage.service.pid, SIGSTOP), 0);
        for (unsigned i = 0; i < 16; i++) {
                connections[i] = client_connect(&stage.service, FLOOD_USER);
                send_lingering(connections[i], &server, bytes, size);
        }
        ck_assert_int_eq(kill(stage.service.pid, SIGCONT), 0);
        stage_print("16 sockets that linger", stage_measure(&stage, root));
        expect_bounded(&stage, "16 sockets that linger", 17, 2);
        close_many(connections, 16);
        stage_expect_as_before(&stage);
        service_stop(&stage.service);
}

/* Those that nobody received are closed with the connection, also when that is one too many. */
WORLD_TEST(sockets_that_linger_in_a_refused_connection_hold_up_nobody) {
        struct stage stage = stage_new(NULL, "--max-connections-per-user=4");
        const char *root = world_make_root(WORLD_ALICE, "root");
        const struct sockaddr_in server = listen_for_nothing();
        int connections[24];

        ck_assert_int_eq(kill(stage.service.pid, SIGSTOP), 0);
        for (unsigned i = 0; i < 24; i++) {
                connections[i] = client_connect(&stage.service, FLOOD_USER);
                send_lingering(connections[i], &server, "garbage", 7);
                send_lingering(connections[i], &server, "garbage", 7);
        }
        ck_assert_int_eq(kill(stage.service.pid, SIGCONT), 0);
        stage_print("20 refused, with such sockets", stage_measure(&stage, root));
        expect_bounded(&stage, "24 with sockets that linger", 25, 2);
        close_many(connections, 24);
        stage_expect_as_before(&stage);
        service_stop(&stage.service);
}

int main(void) {
        TCase *tests = tcase_create("floods");

        tcase_add_test(tests, connections_of_one_user_leave_room_for_others);
        tcase_add_test(tests, connections_of_many_users_are_bounded);
        tcase_add_test(tests, descriptors_under_way_do_not_fill_the_daemon);
        tcase_add_test(tests, replies_that_nobody_reads_end_the_connection);
        tcase_add_test(tests, mounts_of_many_users_are_bounded);
        tcase_add_test(tests, sockets_that_linger_hold_up_nobody);
        tcase_add_test(tests, sockets_that_linger_in_a_refused_connection_hold_up_nobody);
        return world_run(tests);
}
