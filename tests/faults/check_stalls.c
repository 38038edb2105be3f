/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What happens when users' file systems keep the daemon's workers in the kernel: who notices, how
 * many are lost, and what is left when they come back.
 */

#include "common/fd.h"
#include "tests/fixtures/stage.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

enum {
        LOST_MAX = 16,
        LOST_MAX_PER_USER = 4,
        SLOW_MS = 60,
        SLOW_CONNECTIONS = 100,
        SLOW_REQUESTS = 20, /* of each connection: half a minute in all */
        RACES = 200,
        CALL_STATMOUNT = 457, /* unknown to the headers of Debian 12 */
};

/* ---- attacks ---- */

/* As many requests as there are connections, each for a directory of its own that is blocked. */
static void wedge_many(struct stage *stage, struct hostile *hostile, int *connections, size_t n) {
        for (size_t i = 0; i < n; i++) {
                char name[24];

                snprintf(name, sizeof(name), "%zu", i);
                connections[i] = hostile_wedge(hostile, &stage->service, name);
        }
}

static void close_all(int *connections, size_t n) {
        for (size_t i = 0; i < n; i++)
                close(connections[i]);
}

static unsigned count_answered(const int *connections, size_t n) {
        unsigned answered = 0;

        for (size_t i = 0; i < n; i++) {
                struct pollfd fd = {.fd = connections[i], .events = POLLIN};

                answered += poll(&fd, 1, 0);
        }
        return answered;
}

/* Takes what there is. */
static unsigned count_replies(const int *connections, size_t n) {
        uint8_t bytes[WIRE_REPLY_MAX];
        unsigned replies = 0;

        for (size_t i = 0; i < n; i++)
                while (recv(connections[i], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
                        replies++;
        return replies;
}

/* Who is answered is refused. */
static void expect_refusals(const int *connections, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (count_answered(&connections[i], 1) == 1)
                        client_expect(client_receive(connections[i]), STATUS_LIMIT_EXCEEDED, 0,
                                      STATUS_NO_TARGET);
}

HOSTILE_TEST(others_go_on_while_workers_are_lost) {
        struct stage stage = stage_new(NULL, NULL);
        const char *root = world_make_root(WORLD_ALICE, "root");
        struct hostile hostile = hostile_start(0, "build/h", 0);
        int connections[LOST_MAX_PER_USER];

        stage_print("quiet", stage_measure(&stage, root));
        wedge_many(&stage, &hostile, connections, LOST_MAX_PER_USER);
        stage_print("while workers are being lost", stage_measure(&stage, root));
        world_wait_for(stage_count_lost(&stage) == LOST_MAX_PER_USER);
        stage_print("4 workers lost", stage_measure(&stage, root));

        hostile_end(&hostile);
        close_all(connections, LOST_MAX_PER_USER);
        stage_expect_as_before(&stage);
        service_stop(&stage.service);
}

HOSTILE_TEST(user_loses_four_workers_and_is_refused_then) {
        struct stage stage = stage_new(NULL, NULL);
        struct hostile hostile = hostile_start(0, "build/h", 0);
        const char *root = world_make_root(hostile.uid, "root");
        int own = client_connect(&stage.service, hostile.uid);
        uint64_t lease = client_hold_root(own, hostile.uid, root);
        int connections[24];

        wedge_many(&stage, &hostile, connections, 24);
        world_wait_for(count_answered(connections, 24) == 24 - LOST_MAX_PER_USER);
        expect_refusals(connections, 24);
        ck_assert_uint_eq(stage_count_lost(&stage), LOST_MAX_PER_USER);

        client_hello(own);
        client_expect(client_unmount(own, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        client_expect(client_mount_root(own, hostile.uid, root), STATUS_LIMIT_EXCEEDED, 0,
                      STATUS_NO_TARGET);

        hostile_end(&hostile);
        close_all(connections, 24);
        close(own);
        stage_expect_as_before(&stage);
        service_stop(&stage.service);
}

HOSTILE_TEST(total_of_lost_workers_holds) {
        struct stage stage = stage_new(NULL, NULL);
        const char *root = world_make_root(WORLD_ALICE, "root");
        struct hostile hostiles[6];
        int connections[6][8];

        for (unsigned i = 0; i < 6; i++) {
                char name[16];

                snprintf(name, sizeof(name), "build/h%u", i);
                hostiles[i] = hostile_start(i, name, 0);
                wedge_many(&stage, &hostiles[i], connections[i], 8);
        }
        world_wait_for(stage_count_lost(&stage) == LOST_MAX);
        stage_print("16 workers lost", stage_measure(&stage, root));
        ck_assert_uint_eq(stage_count_lost(&stage), LOST_MAX);

        for (unsigned i = 0; i < 6; i++) {
                hostile_end(&hostiles[i]);
                close_all(connections[i], 8);
        }
        stage_expect_as_before(&stage);
        service_stop(&stage.service);
}

HOSTILE_TEST(client_that_leaves_loses_its_other_leases_at_once) {
        struct stage stage = stage_new(NULL, NULL);
        struct hostile hostile = hostile_start(0, "build/h", 0);
        const char *root = world_make_root(hostile.uid, "root");
        int target = hostile_open(&hostile, "a/proc", O_PATH | O_DIRECTORY);
        int client = client_connect(&stage.service, hostile.uid);

        client_hold_root(client, hostile.uid, root);
        hostile_block(&hostile, "a/proc", HOSTILE_MKDIR);
        hostile_send_mount(client, target);
        world_wait_for(stage_count_lost(&stage) == 1);
        ck_assert_uint_eq(world_count_mounts(0, stage.service.source), 2);

        close(client);
        world_wait_for(world_count_mounts(0, stage.service.source) == 0);
        ck_assert_uint_eq(stage_count_lost(&stage), 1);

        close(target);
        hostile_end(&hostile);
        stage_expect_as_before(&stage);
        service_stop(&stage.service);
}

/* The file system answers at last, so the mount succeeds, and nobody wants it. */
HOSTILE_TEST(late_mount_of_a_client_that_left_is_undone) {
        struct stage stage = stage_new(NULL, NULL);
        struct hostile hostile = hostile_start(0, "build/h", 0);
        int connections[LOST_MAX_PER_USER];

        wedge_many(&stage, &hostile, connections, LOST_MAX_PER_USER);
        world_wait_for(stage_count_lost(&stage) == LOST_MAX_PER_USER);
        close_all(connections, LOST_MAX_PER_USER);
        usleep(300000);
        hostile_let_go(&hostile);

        stage_expect_as_before(&stage);
        hostile_end(&hostile);
        service_stop(&stage.service);
}

HOSTILE_TEST(late_mount_of_a_client_that_waits_is_granted) {
        struct stage stage = stage_new(NULL, NULL);
        struct hostile hostile = hostile_start(0, "build/h", 0);
        int client = hostile_wedge(&hostile, &stage.service, "a");
        struct wire_reply reply;

        world_wait_for(stage_count_lost(&stage) == 1);
        hostile_let_go(&hostile);
        reply = client_receive(client);
        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        client_expect(client_unmount(client, reply.lease), STATUS_OK, 0, STATUS_NO_TARGET);

        close(client);
        hostile_end(&hostile);
        stage_expect_as_before(&stage);
        service_stop(&stage.service);
}

/* ---- attributes that nobody gives ---- */

static const unsigned forgetful[] = {HOSTILE_FORGETFUL, HOSTILE_FORGETFUL | HOSTILE_SHARED};
static const int kernels[] = {0, CALL_STATMOUNT};

enum { FORGETFUL = 2, KERNELS = 2 };

static bool stage_has_statmount(const struct stage *stage) {
        struct wire_request request = {.operation = PROTOCOL_HELLO};
        FD_AUTO int client = client_connect(&stage->service, WORLD_ALICE);

        return client_call(client, &request, NULL, 0).flags & PROTOCOL_FEATURE_STATMOUNT;
}

/* That it does keep those waiting who ask. */
static void block_who_asks(struct hostile *hostile) {
        hostile_block(hostile, "proc", HOSTILE_STAT);
        hostile_block(hostile, "proc", HOSTILE_STATFS);
}

/* Below a build directory nothing depends on what it would say, on whatever kernel. */
HOSTILE_TEST(file_system_that_stalls_getattr_is_mounted_on_without_asking_it) {
        for (unsigned i = 0; i < FORGETFUL * KERNELS; i++) {
                struct stage stage = stage_new_without(kernels[i / FORGETFUL]);
                struct hostile hostile =
                        hostile_start_as(0, "build/h", forgetful[i % FORGETFUL], NULL);
                int target = hostile_open(&hostile, "proc", O_PATH | O_DIRECTORY);
                int client = client_connect(&stage.service, hostile.uid);
                struct wire_reply reply;

                block_who_asks(&hostile);
                reply = client_mount(client, PROTOCOL_PROC, 0, target);
                client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
                client_expect(client_mount(client, PROTOCOL_PROC, 0, target),
                              STATUS_ALREADY_MOUNTED, 0, 0);
                client_expect(client_unmount(client, reply.lease), STATUS_OK, 0, STATUS_NO_TARGET);
                client_expect(client_mount(client, PROTOCOL_PROC, 0, target), STATUS_OK, 0,
                              STATUS_NO_TARGET);
                close(client);
                world_wait_for(world_count_mounts(0, stage.service.source) == 0);
                ck_assert(!hostile_is_awaited(&hostile));
                ck_assert_uint_eq(stage_count_lost(&stage), 0);

                close(target);
                hostile_end(&hostile);
                stage_expect_as_before(&stage);
                service_stop(&stage.service);
                ck_assert_int_eq(rmdir(hostile.path), 0);
                ck_assert_int_eq(rmdir(world_path("build")), 0);
        }
}

/* Elsewhere it is asked what it is, where statmount(2) doesn't tell; but who keeps to himself is
 * known for a FUSE by that. */
HOSTILE_TEST(file_system_that_stalls_statfs_costs_a_worker_only_where_it_must_be_asked) {
        const char *root = world_make_root(WORLD_ALICE, "root");

        for (unsigned i = 0; i < FORGETFUL * KERNELS; i++) {
                struct stage stage = stage_new_without(kernels[i / FORGETFUL]);
                unsigned traits = forgetful[i % FORGETFUL];
                struct hostile hostile = hostile_start_as(0, "own", traits, NULL);
                int target = hostile_open(&hostile, "proc", O_PATH | O_DIRECTORY);
                int client = client_connect(&stage.service, hostile.uid);
                bool asks = (traits & HOSTILE_SHARED) && !stage_has_statmount(&stage);

                block_who_asks(&hostile);
                hostile_send_mount(client, target);
                if (asks) {
                        world_wait_for(stage_count_lost(&stage) == 1);
                        ck_assert(hostile_is_awaited(&hostile));
                        ck_assert_uint_eq(count_answered(&client, 1), 0);
                        stage_measure(&stage, root);
                        ck_assert_uint_eq(stage_count_lost(&stage), 1);
                        hostile_let_go(&hostile);
                }
                client_expect(client_receive(client), STATUS_UNSUPPORTED_FILE_SYSTEM, 0, 0);
                if (!asks)
                        ck_assert(!hostile_is_awaited(&hostile));
                world_wait_for(stage_count_lost(&stage) == 0);
                client_hello(client);

                close(client);
                close(target);
                hostile_end(&hostile);
                stage_expect_as_before(&stage);
                service_stop(&stage.service);
                ck_assert_int_eq(rmdir(hostile.path), 0);
                ck_assert_int_eq(rmdir(world_path("build")), 0);
        }
}

/* A worker that is lost so counts as any other. */
HOSTILE_TEST(workers_lost_to_statfs_are_bounded_and_come_back) {
        struct stage stage = stage_new_without(CALL_STATMOUNT);
        const char *root = world_make_root(WORLD_ALICE, "root");
        struct hostile hostile =
                hostile_start_as(0, "own", HOSTILE_SHARED | HOSTILE_FORGETFUL, NULL);
        int target = hostile_open(&hostile, "proc", O_PATH | O_DIRECTORY), connections[24];

        for (unsigned i = 0; i < 24; i++) {
                connections[i] = client_connect(&stage.service, hostile.uid);
                hostile_send_mount(connections[i], target);
        }
        world_wait_for(count_answered(connections, 24) == 24 - LOST_MAX_PER_USER);
        expect_refusals(connections, 24);
        ck_assert_uint_eq(stage_count_lost(&stage), LOST_MAX_PER_USER);
        stage_print("4 workers lost to statfs", stage_measure(&stage, root));

        hostile_end(&hostile);
        close(target);
        close_all(connections, 24);
        stage_expect_as_before(&stage);
        service_stop(&stage.service);
}

static volatile sig_atomic_t connect_stop;

/* A connection every 20 ms, as an honest user may make. */
static void keep_connecting(void *argument) {
        while (!connect_stop) {
                close(client_connect(argument, WORLD_ALICE));
                usleep(20000);
        }
}

HOSTILE_TEST(lost_workers_are_found_while_others_connect) {
        struct stage stage = stage_new(NULL, NULL);
        struct hostile hostile = hostile_start(0, "build/h", 0);
        pid_t connecting = world_spawn(WORLD_ALICE, keep_connecting, &stage.service);
        int connections[LOST_MAX_PER_USER];

        wedge_many(&stage, &hostile, connections, LOST_MAX_PER_USER);
        world_wait_for(stage_count_lost(&stage) == LOST_MAX_PER_USER);

        world_kill(connecting);
        hostile_end(&hostile);
        close_all(connections, LOST_MAX_PER_USER);
        stage_expect_as_before(&stage);
        service_stop(&stage.service);
}

/* Closing a file, unlike a directory, waits for its file system. */
HOSTILE_TEST(files_that_are_sent_along_cost_no_more_workers_than_others) {
        struct stage stage = stage_new(NULL, NULL);
        const char *root = world_make_root(WORLD_ALICE, "root");
        struct hostile hostile = hostile_start(0, "build/h", 0);
        int file = hostile_open(&hostile, "file", O_RDWR), connections[24];
        const struct wire_request requests[] = {
                {.operation = PROTOCOL_HELLO},
                {.operation = PROTOCOL_UNMOUNT, .lease = 1},
                {.operation = PROTOCOL_MOUNT, .n_targets = 1, .targets = {{PROTOCOL_PROC, 0}}},
        };

        for (unsigned i = 0; i < 24; i++) {
                struct wire_request request = requests[i % 3];
                uint8_t bytes[WIRE_REQUEST_MAX];

                request.version = PROTOCOL_VERSION;
                connections[i] = client_connect(&stage.service, hostile.uid);
                client_send(connections[i], bytes, wire_encode_request(&request, bytes), &file, 1);
        }
        sleep(1);
        stage_print("files that don't close", stage_measure(&stage, root));
        ck_assert_uint_le(stage_count_lost(&stage), LOST_MAX_PER_USER);

        hostile_end(&hostile);
        close(file);
        close_all(connections, 24);
        stage_expect_as_before(&stage);
        service_stop(&stage.service);
}

/* Slow, but never for so long that a worker counts as lost. */
HOSTILE_TEST(user_with_a_slow_file_system_delays_nobody_else) {
        struct stage stage = stage_new(NULL, NULL);
        const char *root = world_make_root(WORLD_ALICE, "root");
        struct hostile hostile = hostile_start(0, "build/h", SLOW_MS);
        int file = hostile_open(&hostile, "file", O_RDWR), connections[SLOW_CONNECTIONS];

        for (unsigned i = 0; i < SLOW_CONNECTIONS; i++)
                connections[i] = client_connect(&stage.service, hostile.uid);
        for (unsigned i = 0; i < SLOW_CONNECTIONS * SLOW_REQUESTS; i++)
                hostile_send_mount(connections[i % SLOW_CONNECTIONS], file);
        stage_print("quick beside a slow FUSE", stage_measure(&stage, root));
        ck_assert_uint_eq(stage_count_lost(&stage), 0);

        /* It was slow all the time. */
        ck_assert_uint_lt(count_replies(connections, SLOW_CONNECTIONS),
                          SLOW_CONNECTIONS * SLOW_REQUESTS);
        close(file);
        close_all(connections, SLOW_CONNECTIONS);
        stage_expect_as_before(&stage);
        hostile_end(&hostile);
        service_stop(&stage.service);
}

/* Their FUSE comes over the directory while it is judged and mounted on. */
HOSTILE_TEST(file_system_that_slips_over_the_target_gets_no_mount) {
        struct stage stage = stage_new(NULL, NULL);
        const char *root = world_make_root(HOSTILE_USER, "root");
        const char *path = world_path("root/proc");
        int client = client_connect(&stage.service, HOSTILE_USER);
        int target = world_open(HOSTILE_USER, path);
        unsigned granted = 0, covered = 0;

        (void)root;
        for (unsigned round = 0; round < RACES; round++) {
                struct hostile hostile = hostile_spawn(0, path);

                while (!hostile_is_mounted(&hostile) && hostile_is_running(&hostile)) {
                        struct wire_reply reply = client_mount(client, PROTOCOL_PROC, 0, target);

                        if (reply.status == STATUS_OK) {
                                client_expect(client_unmount(client, reply.lease), STATUS_OK, 0,
                                              STATUS_NO_TARGET);
                                granted++;
                        } else {
                                client_expect(reply, STATUS_ALREADY_MOUNTED, 0, 0);
                                covered++;
                        }
                        usleep(round % 7 * 100); /* let fusermount3 see a bare directory */
                }
                hostile_end(&hostile);
                ck_assert_uint_eq(world_count_mounts(0, stage.service.source), 0);
        }
        fprintf(stderr, "races with a FUSE: %u granted before it, %u found it there\n", granted,
                covered);
        ck_assert_uint_gt(granted, 0);
        close(target);
        close(client);
        stage_expect_as_before(&stage);
        service_stop(&stage.service);
}

int main(void) {
        TCase *tests = tcase_create("lost_workers");

        tcase_add_test(tests, others_go_on_while_workers_are_lost);
        tcase_add_test(tests, user_loses_four_workers_and_is_refused_then);
        tcase_add_test(tests, total_of_lost_workers_holds);
        tcase_add_test(tests, client_that_leaves_loses_its_other_leases_at_once);
        tcase_add_test(tests, late_mount_of_a_client_that_left_is_undone);
        tcase_add_test(tests, late_mount_of_a_client_that_waits_is_granted);
        tcase_add_test(tests, file_system_that_stalls_getattr_is_mounted_on_without_asking_it);
        tcase_add_test(tests,
                       file_system_that_stalls_statfs_costs_a_worker_only_where_it_must_be_asked);
        tcase_add_test(tests, workers_lost_to_statfs_are_bounded_and_come_back);
        tcase_add_test(tests, lost_workers_are_found_while_others_connect);
        tcase_add_test(tests, files_that_are_sent_along_cost_no_more_workers_than_others);
        tcase_add_test(tests, user_with_a_slow_file_system_delays_nobody_else);
        tcase_add_test(tests, file_system_that_slips_over_the_target_gets_no_mount);
        return world_run(tests);
}
