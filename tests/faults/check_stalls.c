/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Connections whose threads are kept in the kernel by a user's file system, and their leases, when
 * the client leaves or the file system answers after all.
 */

#include "common/fd.h"
#include "tests/test.h"

#include <fcntl.h>
#include <glob.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

enum {
        STUCK = 24, /* connections of one user */
        SLOW_MS = 600,
        SLOW_CONNECTIONS = 100,
        SLOW_REQUESTS = 60, /* per connection: more than half a minute */
        RACES = 200,
};

/* ---- attacks ---- */

/* One request per connection, each for a blocked directory of its own. */
static void wedge_many(struct victim *victim, struct hostile *hostile, int *connections, size_t n) {
        for (size_t i = 0; i < n; i++) {
                char name[24];

                snprintf(name, sizeof(name), "%zu", i);
                connections[i] = hostile_wedge(hostile, &victim->service, name);
        }
}

static void close_all(int *connections, size_t n) {
        for (size_t i = 0; i < n; i++)
                close(connections[i]);
}

/* Reads and counts the replies so far. */
static unsigned count_replies(const int *connections, size_t n) {
        uint8_t bytes[WIRE_REPLY_MAX];
        unsigned replies = 0;

        for (size_t i = 0; i < n; i++)
                while (recv(connections[i], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
                        replies++;
        return replies;
}

/* Each of them counts as a connection, and this user's limit is everybody's. */
HOSTILE_TEST(user_whose_connections_are_all_stuck_gets_no_other) {
        struct victim victim = victim_new(NULL, "--max-connections-per-user=24");
        const char *root = sandbox_make_root(USER_ALICE, "root");
        struct hostile hostile = hostile_start(0, "build/h", 0);
        int connections[STUCK], refused;

        wedge_many(&victim, &hostile, connections, STUCK);
        sandbox_wait_for(service_count_stuck(&victim.service) == STUCK);
        refused = client_connect(&victim.service, hostile.uid);
        client_expect(client_receive(refused), STATUS_LIMIT_EXCEEDED, 0, STATUS_NO_TARGET);
        client_expect_closed(refused);
        victim_measure(&victim, root);
        sandbox_wait_for(service_count_stuck(&victim.service) == STUCK);

        close(refused);
        hostile_end(&hostile);
        close_all(connections, STUCK);
        victim_expect_as_before(&victim);
        service_stop(&victim.service);
}

HOSTILE_TEST(client_that_leaves_loses_its_other_leases_at_once) {
        struct victim victim = victim_new(NULL, NULL);
        struct hostile hostile = hostile_start(0, "build/h", 0);
        const char *root = sandbox_make_root(hostile.uid, "root");
        int target = hostile_open(&hostile, "a/proc", O_PATH | O_DIRECTORY);
        int client = client_connect(&victim.service, hostile.uid);

        client_hold_root(client, hostile.uid, root);
        hostile_block(&hostile, "a/proc", HOSTILE_MKDIR);
        hostile_send_mount(client, target);
        sandbox_wait_for(service_count_stuck(&victim.service) == 1);
        ck_assert_uint_eq(sandbox_count_mounts(0, victim.service.source), 2);

        close(client);
        sandbox_wait_for(sandbox_count_mounts(0, victim.service.source) == 0);
        sandbox_wait_for(service_count_stuck(&victim.service) == 1);

        close(target);
        hostile_end(&hostile);
        victim_expect_as_before(&victim);
        service_stop(&victim.service);
}

/* The file system answers at last, so the mount succeeds, without a client. */
HOSTILE_TEST(late_mounts_of_a_client_that_left_are_undone) {
        struct victim victim = victim_new(NULL, NULL);
        struct hostile hostile = hostile_start(0, "build/h", 0);
        int connections[STUCK];

        wedge_many(&victim, &hostile, connections, STUCK);
        sandbox_wait_for(service_count_stuck(&victim.service) == STUCK);
        close_all(connections, STUCK);
        usleep(300000);
        hostile_let_go(&hostile);

        victim_expect_as_before(&victim);
        hostile_end(&hostile);
        service_stop(&victim.service);
}

HOSTILE_TEST(late_mount_of_a_client_that_waits_is_granted) {
        struct victim victim = victim_new(NULL, NULL);
        struct hostile hostile = hostile_start(0, "build/h", 0);
        int client = hostile_wedge(&hostile, &victim.service, "a");
        struct wire_reply reply;

        sandbox_wait_for(service_count_stuck(&victim.service) == 1);
        hostile_let_go(&hostile);
        reply = client_receive(client);
        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        client_expect(client_unmount(client, reply.lease), STATUS_OK, 0, STATUS_NO_TARGET);

        close(client);
        hostile_end(&hostile);
        victim_expect_as_before(&victim);
        service_stop(&victim.service);
}

/* ---- attributes that never come ---- */

static const unsigned forgetful[] = {HOSTILE_FORGETFUL, HOSTILE_FORGETFUL | HOSTILE_SHARED};
static const int kernels[] = {0, CALL_STATMOUNT};

enum { FORGETFUL = 2, KERNELS = 2 };

/* Checks that asking for them does block. */
static void block_who_asks(struct hostile *hostile) {
        hostile_block(hostile, "proc", HOSTILE_STAT);
        hostile_block(hostile, "proc", HOSTILE_STATFS);
}

/* Below a build directory they don't matter, on any kernel. */
HOSTILE_TEST(file_system_that_stalls_getattr_is_mounted_on_without_asking_it) {
        for (unsigned i = 0; i < FORGETFUL * KERNELS; i++) {
                struct victim victim = victim_new_without(kernels[i / FORGETFUL]);
                struct hostile hostile =
                        hostile_start_as(0, "build/h", forgetful[i % FORGETFUL], NULL);
                int target = hostile_open(&hostile, "proc", O_PATH | O_DIRECTORY);
                int client = client_connect(&victim.service, hostile.uid);
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
                sandbox_wait_for(sandbox_count_mounts(0, victim.service.source) == 0);
                ck_assert(!hostile_is_awaited(&hostile));
                close(target);
                hostile_end(&hostile);
                victim_expect_as_before(&victim);
                service_stop(&victim.service);
                ck_assert_int_eq(rmdir(hostile.path), 0);
                ck_assert_int_eq(rmdir(sandbox_path("build")), 0);
        }
}

HOSTILE_TEST(file_system_that_stalls_statfs_is_refused_without_asking_it) {
        for (unsigned i = 0; i < FORGETFUL * KERNELS; i++) {
                struct victim victim = victim_new_without(kernels[i / FORGETFUL]);
                struct hostile hostile = hostile_start_as(0, "own", forgetful[i % FORGETFUL], NULL);
                int target = hostile_open(&hostile, "proc", O_PATH | O_DIRECTORY);
                int client = client_connect(&victim.service, hostile.uid);

                block_who_asks(&hostile);
                client_expect(client_mount(client, PROTOCOL_PROC, 0, target), STATUS_NOT_AUTHORISED,
                              0, 0);
                ck_assert(!hostile_is_awaited(&hostile));
                client_hello(client);

                close(client);
                close(target);
                hostile_end(&hostile);
                victim_expect_as_before(&victim);
                service_stop(&victim.service);
                ck_assert_int_eq(rmdir(hostile.path), 0);
                ck_assert_int_eq(rmdir(sandbox_path("build")), 0);
        }
}

HOSTILE_TEST(build_directory_behind_a_stalled_file_system_keeps_no_daemon_from_starting) {
        struct hostile hostile = hostile_start_shared(0, "h");
        char option[300];
        struct service service;
        int client;

        hostile_block(&hostile, "build", HOSTILE_LOOKUP);
        snprintf(option, sizeof(option), "--build-directory=%s/build/1", hostile.path);
        service = service_start_with("a", option);
        ck_assert(service_has_logged(&service, "a file system doesn't answer"));
        client = client_connect(&service, USER_ALICE);
        client_hold_root(client, USER_ALICE, sandbox_make_root(USER_ALICE, "root"));
        close(client);
        hostile_end(&hostile);
        service_stop(&service);
}

HOSTILE_TEST(user_with_a_slow_file_system_delays_nobody_else) {
        struct victim victim = victim_new(NULL, NULL);
        const char *root = sandbox_make_root(USER_ALICE, "root");
        struct hostile hostile = hostile_start(0, "build/h", SLOW_MS);
        int file = hostile_open(&hostile, "file", O_RDWR), connections[SLOW_CONNECTIONS];

        for (unsigned i = 0; i < SLOW_CONNECTIONS; i++)
                connections[i] = client_connect(&victim.service, hostile.uid);
        for (unsigned i = 0; i < SLOW_CONNECTIONS * SLOW_REQUESTS; i++)
                hostile_send_mount(connections[i % SLOW_CONNECTIONS], file);
        victim_print("quick beside a slow FUSE", victim_measure(&victim, root));
        /* It was slow all the time. */
        ck_assert_uint_lt(count_replies(connections, SLOW_CONNECTIONS),
                          SLOW_CONNECTIONS * SLOW_REQUESTS);
        hostile_let_go(&hostile);
        close(file);
        close_all(connections, SLOW_CONNECTIONS);
        victim_expect_as_before(&victim);
        hostile_end(&hostile);
        service_stop(&victim.service);
}

/* Their FUSE gets mounted over the directory while it is checked and mounted on. */
HOSTILE_TEST(file_system_that_slips_over_the_target_gets_no_mount) {
        struct victim victim = victim_new(NULL, NULL);
        const char *root = sandbox_make_root(HOSTILE_USER, "root");
        const char *path = sandbox_path("root/proc");
        int client = client_connect(&victim.service, HOSTILE_USER);
        int target = sandbox_open(HOSTILE_USER, path);
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
                        usleep(round % 7 *
                               100); /* gives fusermount3 a chance to see a bare directory */
                }
                hostile_end(&hostile);
                ck_assert_uint_eq(sandbox_count_mounts(0, victim.service.source), 0);
        }
        fprintf(stderr, "races with a FUSE: %u granted before it, %u found it there\n", granted,
                covered);
        ck_assert_uint_gt(granted, 0);
        close(target);
        close(client);
        victim_expect_as_before(&victim);
        service_stop(&victim.service);
}

/* ---- in a container ---- */

struct visit {
        const struct service *service;
        const struct hostile *hostile;
        int proc;       /* /proc, which can't be reached by path any more */
        int sandbox;    /* with the daemon's socket */
        int root;       /* inside, */
        int targets[2]; /* and its proc and sys */
        int namespaces[3];
        uint64_t lease;
        sig_atomic_t *step; /* the last one taken, in shared memory */
};

/*
 * That file system, with the sandbox's files in it, becomes the root of this process, and of any
 * that enters its mount namespace; and then it stops answering.
 */
static void visit_begin(struct visit *visit) {
        static const char *const names[] = {"ns/mnt", "ns/pid", "ns/net"};
        char path[128];

        visit->sandbox = open(sandbox_path("."), O_PATH | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
        ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
        snprintf(path, sizeof(path), "%s/sandbox", visit->hostile->path);
        ck_assert_int_eq(mount(sandbox_path("."), path, NULL, MS_BIND, NULL), 0);
        ck_assert_int_eq(mount(visit->hostile->path, "/", NULL, MS_BIND | MS_REC, NULL), 0);
        visit->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        for (unsigned i = 0; i < 3; i++) {
                snprintf(path, sizeof(path), "/proc/self/%s", names[i]);
                visit->namespaces[i] = open(path, O_RDONLY | O_CLOEXEC);
                ck_assert_int_ge(visit->namespaces[i], 0);
        }
        ck_assert_int_eq(setns(visit->namespaces[0], CLONE_NEWNS), 0);
        visit->root = open("/sandbox/root", O_PATH | O_DIRECTORY | O_CLOEXEC);
        visit->targets[0] = open("/sandbox/root/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        visit->targets[1] = open("/sandbox/root/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
        ck_assert(visit->targets[0] >= 0 && visit->targets[1] >= 0);
        ck_assert_int_eq(kill(visit->hostile->pid, SIGSTOP), 0);
}

static unsigned visit_count_mounts(const struct visit *visit) {
        int fd = openat(visit->proc, "self/mountinfo", O_RDONLY | O_CLOEXEC);
        FILE *table = fdopen(fd, "r");
        char line[2048];
        unsigned count = 0;

        ck_assert_ptr_nonnull(table);
        while (fgets(line, sizeof(line), table))
                count += strstr(line, visit->service->source) != NULL;
        fclose(table);
        return count;
}

static uint64_t visit_mount(const struct visit *visit, int client) {
        struct wire_request request = {
                .operation = PROTOCOL_MOUNT,
                .n_targets = 2,
                .targets = {{PROTOCOL_PROC, 0}, {PROTOCOL_SYSFS, 0}},
        };
        struct wire_reply reply = client_call(client, &request, visit->targets, 2);

        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(visit_count_mounts(visit), 2);
        return reply.lease;
}

static void visit_enter(const struct visit *visit, int client) {
        struct wire_request enter = {
                .operation = PROTOCOL_ENTER,
                .n_targets = 3,
                .targets = {{PROTOCOL_NAMESPACE_MOUNT, 0},
                            {PROTOCOL_NAMESPACE_PID, 0},
                            {PROTOCOL_NAMESPACE_NETWORK, 0}},
        };

        client_expect(client_call(client, &enter, visit->namespaces, 3), STATUS_OK, 0,
                      STATUS_NO_TARGET);
}

static void visit(void *argument) {
        struct visit *visit = argument;
        int client = client_connect(visit->service, USER_ALICE);

        visit_begin(visit);
        visit_enter(visit, client);
        for (unsigned i = 0; i < 3; i++) {
                uint64_t lease = visit_mount(visit, client);

                client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
                ck_assert_uint_eq(visit_count_mounts(visit), 0);
        }
        visit_mount(visit, client);
        close(client);
        sandbox_wait_for(visit_count_mounts(visit) == 0);
}

/* The daemon uses no path inside, and so asks nothing of a root that doesn't answer. */
HOSTILE_TEST(container_whose_root_has_stopped_is_served) {
        static const int denied[] = {0, CALL_STATMOUNT};

        sandbox_make_root(USER_ALICE, "root");
        for (unsigned i = 0; i < 2; i++) {
                struct hostile hostile = hostile_start_as(0, i ? "h1" : "h0",
                                                          HOSTILE_SHARED | HOSTILE_UNCACHED, NULL);
                struct service service = service_start(&(struct service_plan){
                        .name = "a", .options = {"--join=60001"}, .denied = {denied[i]}});
                struct visit visiting = {.service = &service, .hostile = &hostile};

                sandbox_run_as(0, visit, &visiting);
                /* The thread may still be in the kernel for a moment, after the last detach. */
                sandbox_wait_for(service_count_stuck(&service) == 0);
                sandbox_wait_for(service_count_fds(&service) == service.fds);
                hostile_end(&hostile);
                service_stop(&service);
        }
}

static void visit_hold(struct visit *visit) {
        int client = client_connect(visit->service, USER_ALICE);

        visit_begin(visit);
        visit_enter(visit, client);
        visit->lease = visit_mount(visit, client);
        *visit->step = 1;
        sandbox_wait_for(*visit->step == 2);
        close(client);
}

/* The next daemon's socket can't be reached by path either. */
static int visit_come_back(const struct visit *visit) {
        struct service near = *visit->service;
        int client;

        snprintf(near.socket, sizeof(near.socket), "%s", strrchr(visit->service->socket, '/') + 1);
        ck_assert_int_eq(fchdir(visit->sandbox), 0);
        client = client_connect(&near, USER_ALICE);
        visit_enter(visit, client);
        return client;
}

static void visit_and_adopt(void *argument) {
        struct visit *visit = argument;
        struct wire_request adopt = {
                .operation = PROTOCOL_ADOPT,
                .n_targets = 2,
                .targets = {{PROTOCOL_PROC, 0}, {PROTOCOL_SYSFS, 0}},
        };
        int client, roots[2];

        visit_hold(visit);
        adopt.lease = visit->lease;
        roots[0] = openat(visit->root, "proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        roots[1] = openat(visit->root, "sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
        client = visit_come_back(visit);
        client_expect(client_call(client, &adopt, roots, 2), STATUS_OK, 0, STATUS_NO_TARGET);
        client_expect(client_unmount(client, adopt.lease), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(visit_count_mounts(visit), 0);
}

/* They can't be reached by path until the file system answers. */
static void visit_and_be_swept(void *argument) {
        struct visit *visit = argument;

        visit_hold(visit);
        sandbox_wait_for(visit_count_mounts(visit) == 0);
}

struct stay {
        struct hostile hostile;
        struct service service;
        struct visit visit;
        pid_t visitor;
};

static void stay_begin(struct stay *stay, void (*act)(void *argument)) {
        sig_atomic_t *step = mmap(NULL, sizeof(*step), PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        ck_assert_ptr_ne(step, MAP_FAILED);
        ck_assert_int_eq(chmod(sandbox_make_root(USER_ALICE, "root"), 0755), 0);
        stay->hostile = hostile_start_as(0, "h", HOSTILE_SHARED | HOSTILE_UNCACHED, NULL);
        stay->service = service_start_with("a", "--join=60001");
        stay->visit =
                (struct visit){.service = &stay->service, .hostile = &stay->hostile, .step = step};
        stay->visitor = sandbox_spawn(0, act, &stay->visit);
        sandbox_wait_for(*step == 1);
}

static void stay_end(struct stay *stay) {
        sandbox_join(stay->visitor);
        hostile_end(&stay->hostile);
        service_stop(&stay->service);
        ck_assert(!service_has_state(&stay->service));
}

HOSTILE_TEST(container_whose_root_has_stopped_adopts) {
        struct stay stay;

        stay_begin(&stay, visit_and_adopt);
        sandbox_kill(stay.service.pid);
        stay.service = service_start_with("a", "--join=60001");
        *stay.visit.step = 2;
        stay_end(&stay);
}

/* proc_pid_syscall(5). */
static bool waits_on_a_path(const struct service *service) {
        char pattern[64];
        bool waits = false;
        glob_t threads;

        snprintf(pattern, sizeof(pattern), "/proc/%d/task/*/syscall", service->pid);
        ck_assert_int_eq(glob(pattern, 0, NULL, &threads), 0);
        for (size_t i = 0; i < threads.gl_pathc; i++) {
                FILE *file = fopen(threads.gl_pathv[i], "re");
                long call = -1;

                waits |= file && fscanf(file, "%ld", &call) == 1 && call == SYS_openat2;
                if (file)
                        fclose(file);
        }
        globfree(&threads);
        return waits;
}

/* Without asking any file system: not so where the machine's root is one that has to be asked. */
static bool leads_there_at_once(const char *path) {
        const struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_CACHED};
        int fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

        if (fd >= 0)
                close(fd);
        return fd >= 0;
}

/* The sweeping thread waits inside; others are served, and the quick sweep is done. */
HOSTILE_TEST(sweep_in_a_container_whose_root_has_stopped_holds_up_nobody) {
        const char *left, *root;
        struct stay stay;
        int client;

        if (!container_can_be_found())
                test_skip("impossible here: a sweep finds no container before Linux 6.12, or from "
                          "another pid namespace than the first");
        left = sandbox_make_root(USER_BOB, "left");
        root = sandbox_make_root(USER_BOB, "bob");
        ck_assert_int_eq(chmod(left, 0755), 0);
        stay_begin(&stay, visit_and_be_swept);
        client = client_connect(&stay.service, USER_BOB);
        client_hold_root(client, USER_BOB, left);
        sandbox_kill(stay.service.pid);
        close(client);
        /* It doesn't settle: a thread of the sweep stays. */
        stay.service = service_spawn(&(struct service_plan){
                .name = "a", .options = {"--join=60001", "--adopt-timeout=0"}});
        client = client_connect(&stay.service, USER_BOB);
        client_hello(client);
        close(client);
        if (leads_there_at_once(left))
                sandbox_wait_for(sandbox_count_mounts(0, stay.service.source) == 0);
        sandbox_wait_for(waits_on_a_path(&stay.service));
        client = client_connect(&stay.service, USER_BOB);
        client_expect(client_unmount(client, client_hold_root(client, USER_BOB, root)), STATUS_OK,
                      0, STATUS_NO_TARGET);
        close(client);
        *stay.visit.step = 2;
        ck_assert_int_eq(kill(stay.hostile.pid, SIGCONT), 0);
        sandbox_wait_for(sandbox_count_mounts(0, stay.service.source) == 0);
        stay_end(&stay);
}

int main(void) {
        TCase *tests = tcase_create("stalls");

        tcase_add_test(tests, user_whose_connections_are_all_stuck_gets_no_other);
        tcase_add_test(tests, client_that_leaves_loses_its_other_leases_at_once);
        tcase_add_test(tests, late_mounts_of_a_client_that_left_are_undone);
        tcase_add_test(tests, late_mount_of_a_client_that_waits_is_granted);
        tcase_add_test(tests, file_system_that_stalls_getattr_is_mounted_on_without_asking_it);
        tcase_add_test(tests, file_system_that_stalls_statfs_is_refused_without_asking_it);
        tcase_add_test(tests,
                       build_directory_behind_a_stalled_file_system_keeps_no_daemon_from_starting);
        tcase_add_test(tests, user_with_a_slow_file_system_delays_nobody_else);
        tcase_add_test(tests, file_system_that_slips_over_the_target_gets_no_mount);
        tcase_add_test(tests, container_whose_root_has_stopped_is_served);
        tcase_add_test(tests, container_whose_root_has_stopped_adopts);
        tcase_add_test(tests, sweep_in_a_container_whose_root_has_stopped_holds_up_nobody);
        return sandbox_run(tests);
}
