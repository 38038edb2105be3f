/* SPDX-License-Identifier: Apache-2.0 */

/* Many clients at once, some of which die, hang or send garbage: the others aren't affected. */

#include "common/fd.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum {
        CROWD = 16,
        CYCLES = 200,
        /* The kernel limits descriptors in flight per user: no other test's user is this one. */
        VANDAL = 63000,
};

/* The parameters of a client. */
struct member {
        const struct service *service;
        const char *root;
        int ready; /* pipe: a byte when the lease is held */
};

static void hold_for_ever(void *argument) {
        const struct member *member = argument;
        int client = client_connect(member->service, USER_ALICE);

        client_hold_root(client, USER_ALICE, member->root);
        ck_assert_int_eq(write(member->ready, "", 1), 1);
        for (;;)
                pause();
}

static void wait_for_bytes(int fd, unsigned count) {
        char byte;

        while (count-- > 0)
                ck_assert_int_eq(read(fd, &byte, 1), 1);
}

SANDBOX_TEST(killed_clients_mounts_go) {
        struct service service = service_start_with("a", NULL);
        struct member members[CROWD];
        pid_t pids[CROWD];
        int ready[2];
        char name[16];

        ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
        for (unsigned i = 0; i < CROWD; i++) {
                snprintf(name, sizeof(name), "%u", i);
                members[i] =
                        (struct member){&service, sandbox_make_root(USER_ALICE, name), ready[1]};
                pids[i] = sandbox_spawn(USER_ALICE, hold_for_ever, &members[i]);
        }
        wait_for_bytes(ready[0], CROWD);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 2 * CROWD);

        sandbox_kill(pids[0]);
        sandbox_wait_for(sandbox_count_mounts(0, service.source) == 2 * (CROWD - 1));
        ck_assert_int_eq(sandbox_rmdir(USER_ALICE, sandbox_path("0/proc")), 0);
        for (unsigned i = 1; i < CROWD; i++)
                sandbox_kill(pids[i]);
        sandbox_wait_for(sandbox_count_mounts(0, service.source) == 0);
        close(ready[0]);
        close(ready[1]);
        service_stop(&service);
}

/* Two processes have the connection: it ends when both have closed it. */
static void hold_in_a_child_too(void *argument) {
        const struct member *member = argument;
        int client = client_connect(member->service, USER_ALICE);

        client_hold_root(client, USER_ALICE, member->root);
        if (fork() == 0) {
                ck_assert_int_eq(write(member->ready, "", 1), 1);
                for (;;)
                        pause();
        }
}

SANDBOX_TEST(lease_lasts_as_long_as_any_holder_of_the_connection) {
        struct service service = service_start_with("a", NULL);
        struct member member = {.service = &service};
        int ready[2];

        ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
        member.root = sandbox_make_root(USER_ALICE, "root");
        member.ready = ready[1];
        sandbox_run_as(USER_ALICE, hold_in_a_child_too, &member);
        wait_for_bytes(ready[0], 1);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 2);
        close(ready[0]);
        close(ready[1]);
        service_stop(&service);
}

static void check_cycle(int client, const char *root, const char *proc) {
        struct wire_reply reply = client_mount_root(client, USER_ALICE, root);

        if (reply.status != STATUS_OK)
                ck_abort_msg("mount: %s", reply.text);
        reply = client_unmount(client, reply.lease);
        if (reply.status != STATUS_OK)
                ck_abort_msg("unmount: %s", reply.text);
        if (rmdir(proc) < 0 || mkdir(proc, 0755) < 0)
                ck_abort_msg("%s: %s", proc, strerror(errno));
}

static void cycle(void *argument) {
        const struct member *member = argument;
        int client = client_connect(member->service, USER_ALICE);
        char proc[512];

        snprintf(proc, sizeof(proc), "%s/proc", member->root);
        for (unsigned i = 0; i < CYCLES; i++)
                check_cycle(client, member->root, proc);
}

SANDBOX_TEST(sixteen_clients_mount_and_unmount_200_times_each) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        struct member members[CROWD];
        pid_t pids[CROWD];
        char name[16];

        sandbox_make_root(USER_ALICE, "warm");
        client_expect(
                client_unmount(client, client_hold_root(client, USER_ALICE, sandbox_path("warm"))),
                STATUS_OK, 0, STATUS_NO_TARGET);
        for (unsigned i = 0; i < CROWD; i++) {
                snprintf(name, sizeof(name), "%u", i);
                members[i] = (struct member){&service, sandbox_make_root(USER_ALICE, name), -1};
        }
        for (unsigned i = 0; i < CROWD; i++)
                pids[i] = sandbox_spawn(USER_ALICE, cycle, &members[i]);
        for (unsigned i = 0; i < CROWD; i++)
                sandbox_join(pids[i]);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 0);
        sandbox_wait_for(service_count_fds(&service) == service.fds + 1);
        close(fd_take(&client));
        service_await_rest(&service);
        service_stop(&service);
}

/* One thread per connected client; then a few are kept for later ones. */
SANDBOX_TEST(threads_come_and_go_with_connections) {
        struct service service = service_start_with("a", NULL);
        unsigned fixed = SERVICE_THREADS_MIN - 1; /* the main one, and the log's */
        int clients[8 * CROWD];

        service_await_rest(&service);
        for (unsigned round = 0; round < 3; round++) {
                for (unsigned i = 0; i < 8 * CROWD; i++) {
                        clients[i] = client_connect(&service, USER_ALICE);
                        client_hello(clients[i]);
                        ck_assert_uint_ge(service_count_threads(&service), fixed + i + 1);
                }
                ck_assert_uint_le(service_count_threads(&service),
                                  8 * CROWD + SERVICE_THREADS_IDLE);
                for (unsigned i = 0; i < 4 * CROWD; i++)
                        close(clients[i]);
                sandbox_wait_for(service_count_threads(&service) <=
                                 4 * CROWD + SERVICE_THREADS_IDLE);
                for (unsigned i = 4 * CROWD; i < 8 * CROWD; i++) {
                        client_hello(clients[i]);
                        close(clients[i]);
                }
                service_await_rest(&service);
                ck_assert_uint_gt(service_count_threads(&service), SERVICE_THREADS_MIN);
                sandbox_wait_for(service_count_fds(&service) == service.fds);
        }
        service_stop(&service);
}

/* ---- misbehaving clients ---- */

/* Connects, holds a lease, sends something, and leaves or is disconnected; over and over. */
static void misbehave(void *argument) {
        const struct member *member = argument;
        uint8_t bytes[WIRE_REQUEST_MAX] = "MNTA\1\0\2\0";
        unsigned seed = getpid();

        for (unsigned i = 0; i < CYCLES; i++) {
                FD_AUTO int client = client_connect(member->service, VANDAL);
                int fds[20];

                for (unsigned f = 0; f < 20; f++)
                        fds[f] = client;
                for (unsigned n = 0; n < 20; n++) {
                        for (unsigned b = 8 * (n % 2); b < sizeof(bytes); b++)
                                bytes[b] = rand_r(&seed) % 3;
                        /* It may be disconnected at any moment. */
                        if (client_try_send(client, bytes, rand_r(&seed) % sizeof(bytes), fds,
                                            rand_r(&seed) % 20) < 0)
                                break;
                }
        }
}

SANDBOX_TEST(rubbish_of_some_does_not_disturb_others) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        struct member member = {.service = &service, .root = sandbox_make_root(USER_ALICE, "root")};
        pid_t bad[4], good;

        for (unsigned i = 0; i < 4; i++)
                bad[i] = sandbox_spawn(VANDAL, misbehave, &member);
        good = sandbox_spawn(USER_ALICE, cycle, &member);
        sandbox_join(good);
        for (unsigned i = 0; i < 4; i++)
                sandbox_join(bad[i]);
        client_hello(client);
        sandbox_wait_for(service_count_fds(&service) == service.fds + 1);
        service_stop(&service);
}

SANDBOX_TEST(clients_that_do_not_read_do_not_hold_up_others) {
        struct service service = service_start_with("a", NULL);
        struct wire_request request = {.version = 1, .operation = PROTOCOL_HELLO};
        struct member member = {.service = &service, .root = sandbox_make_root(USER_ALICE, "root")};
        uint8_t bytes[WIRE_REQUEST_MAX];
        size_t size = wire_encode_request(&request, bytes);
        int stuck[8];

        for (unsigned i = 0; i < 8; i++) {
                stuck[i] = client_connect(&service, USER_BOB);
                while (client_try_send(stuck[i], bytes, size, NULL, 0) == 0)
                        continue;
        }
        sandbox_run_as(USER_ALICE, cycle, &member);
        for (unsigned i = 0; i < 8; i++)
                close(stuck[i]);
        service_stop(&service);
}

SANDBOX_TEST(clients_that_say_nothing_do_not_hold_up_others) {
        struct service service = service_start_with("a", NULL);
        struct member member = {.service = &service, .root = sandbox_make_root(USER_ALICE, "root")};
        int silent[64];

        for (unsigned i = 0; i < 64; i++)
                silent[i] = client_connect(&service, USER_BOB);
        sandbox_run_as(USER_ALICE, cycle, &member);
        for (unsigned i = 0; i < 64; i++)
                close(silent[i]);
        service_stop(&service);
}

/* Requests of a connection are served in order, and answered in that order. */
SANDBOX_TEST(pipelined_requests_are_answered_in_order) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);

        for (unsigned round = 0; round < 20; round++) {
                for (unsigned i = 0; i < 100; i++) {
                        struct wire_request request = {
                                .version = PROTOCOL_VERSION,
                                .operation = i % 3 ? PROTOCOL_HELLO : PROTOCOL_UNMOUNT,
                                .cookie = i,
                                .lease = i % 3 ? 0 : i,
                        };
                        uint8_t bytes[WIRE_REQUEST_MAX];

                        client_send(client, bytes, wire_encode_request(&request, bytes), NULL, 0);
                }
                for (unsigned i = 0; i < 100; i++) {
                        struct wire_reply reply = client_receive(client);

                        ck_assert_uint_eq(reply.cookie, i);
                        client_expect(reply, i % 3 ? STATUS_OK : STATUS_NO_SUCH_LEASE, 0,
                                      STATUS_NO_TARGET);
                }
        }
        service_stop(&service);
}

int main(void) {
        TCase *tests = tcase_create("crowd");

        tcase_add_test(tests, killed_clients_mounts_go);
        tcase_add_test(tests, lease_lasts_as_long_as_any_holder_of_the_connection);
        tcase_add_test(tests, sixteen_clients_mount_and_unmount_200_times_each);
        tcase_add_test(tests, threads_come_and_go_with_connections);
        tcase_add_test(tests, rubbish_of_some_does_not_disturb_others);
        tcase_add_test(tests, clients_that_do_not_read_do_not_hold_up_others);
        tcase_add_test(tests, clients_that_say_nothing_do_not_hold_up_others);
        tcase_add_test(tests, pipelined_requests_are_answered_in_order);
        return sandbox_run(tests);
}
