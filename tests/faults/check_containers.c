/* SPDX-License-Identifier: Apache-2.0 */

/* Containers that attack the daemon or each other, and containers that end during a request. */

#include "common/fd.h"
#include "tests/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define JOIN "--join=60001" /* Alice */
#define JOIN_HOSTILE "--join=61000"
#define JOIN_FLOOD "--join=63000"

enum {
        MOUNT,
        PID,
        NETWORK,
        KINDS,
        ENDS = 12,         /* of containers */
        CYCLES = 60,       /* of honest users */
        DESCRIPTORS = 200, /* in one message */
        FLOODERS = 4,
        FLOOD_USER = 63000, /* of this program alone, which uses up his descriptors in flight */
};

static const char *const kinds[KINDS] = {"mnt", "pid", "net"};

/* Shared by the tests and the processes in containers. */
struct fixture {
        struct service service;
        uint64_t lease;
        int fds[KINDS];     /* an accomplice's namespaces or directories */
        sig_atomic_t step;  /* the last one taken */
        unsigned long done; /* by the flooding clients, roughly */
};

static struct fixture *fixture_start(void) {
        struct fixture *fixture = mmap(NULL, sizeof(*fixture), PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        char build[128];

        ck_assert_ptr_ne(fixture, MAP_FAILED);
        sandbox_make_root(USER_ALICE, "root");
        ck_assert_int_eq(chmod(sandbox_path("root"), 0755), 0);
        snprintf(build, sizeof(build), "--build-directory=%s",
                 sandbox_make_directory(0, 0755, "build"));
        fixture->service = service_start_with("a", JOIN, JOIN_HOSTILE, JOIN_FLOOD, build);
        return fixture;
}

/*
 * Starts the next instance, which may be sweeping while its descriptors are counted: so the first
 * one's number is taken.
 */
static void fixture_restart(struct fixture *fixture, const char *option) {
        unsigned fds = fixture->service.fds;

        fixture->service = service_start_with("a", JOIN, JOIN_HOSTILE, option);
        fixture->service.fds = fds;
}

/* Whether every thread is in the mount namespace in which the daemon was started. */
static bool is_at_home(const struct service *service) {
        char path[64], own[64] = "", link[64];
        bool home = true;
        DIR *threads;

        ck_assert_int_gt(readlink("/proc/self/ns/mnt", own, sizeof(own) - 1), 0);
        snprintf(path, sizeof(path), "/proc/%d/task", service->pid);
        threads = opendir(path);
        ck_assert_ptr_nonnull(threads);
        for (struct dirent *entry; home && (entry = readdir(threads));) {
                ssize_t length;

                snprintf(path, sizeof(path), "%.16s/ns/mnt", entry->d_name);
                length = entry->d_name[0] == '.'
                                 ? -1
                                 : readlinkat(dirfd(threads), path, link, sizeof(link) - 1);
                link[length < 0 ? 0 : length] = '\0';
                home = length < 0 || strcmp(link, own) == 0; /* or it has ended */
        }
        closedir(threads);
        return home;
}

/* Nothing of any container is held any more, or on record. */
static void fixture_end(struct fixture *fixture) {
        sandbox_wait_for(service_count_fds(&fixture->service) == fixture->service.fds);
        sandbox_wait_for(is_at_home(&fixture->service));
        ck_assert_uint_eq(sandbox_count_mounts(0, fixture->service.source), 0);
        service_stop(&fixture->service);
        ck_assert(!service_has_state(&fixture->service));
}

/* ---- on the client's side ---- */

/* Negative descriptors aren't sent. */
static struct wire_reply enter_with(int client, const int fds[static KINDS]) {
        struct wire_request request = {.operation = PROTOCOL_ENTER};
        int sent[KINDS];

        for (unsigned i = 0; i < KINDS; i++)
                if (fds[i] >= 0) {
                        request.targets[request.n_targets].file_system =
                                PROTOCOL_NAMESPACE_MOUNT + i;
                        sent[request.n_targets++] = fds[i];
                }
        return client_call(client, &request, sent, request.n_targets);
}

static void open_own(int fds[static KINDS]) {
        for (unsigned i = 0; i < KINDS; i++) {
                char path[32];

                snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i]);
                fds[i] = open(path, O_RDONLY | O_CLOEXEC);
                ck_assert_int_ge(fds[i], 0);
        }
}

static void close_all(int fds[static KINDS]) {
        for (unsigned i = 0; i < KINDS; i++)
                fds[i] = fd_close(fds[i]);
}

static struct wire_reply enter(int client) {
        struct wire_reply reply;
        int fds[KINDS];

        open_own(fds);
        reply = enter_with(client, fds);
        close_all(fds);
        return reply;
}

static int entered(const struct fixture *fixture) {
        int client = client_connect(&fixture->service, -1);

        client_expect(enter(client), STATUS_OK, 0, STATUS_NO_TARGET);
        return client;
}

static int open_here(const char *name) {
        int fd = open(sandbox_path("%s", name), O_PATH | O_DIRECTORY | O_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        return fd;
}

/* The directory in the container, or the mount on it. */
static int open_in(const struct container *container, const char *name) {
        char path[320];
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/root%s", container->init, sandbox_path("%s", name));
        fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        return fd;
}

static struct wire_reply mount_sys(int client, int target) {
        return client_mount(client, PROTOCOL_SYSFS, 0, target);
}

static unsigned count_in(const struct container *container, const struct fixture *fixture) {
        return sandbox_count_mounts(container->init, fixture->service.source);
}

/* ---- other clients' namespaces and leases ---- */

static void mount_elsewhere(void *argument) {
        const struct fixture *fixture = argument;
        FD_AUTO int own = open_here("root/sys");
        FD_AUTO int client = entered(fixture);
        struct wire_request both = {
                .operation = PROTOCOL_MOUNT,
                .n_targets = 2,
                .targets = {{PROTOCOL_SYSFS, 0}, {PROTOCOL_SYSFS, 0}},
        };

        for (unsigned i = 0; i < 2; i++) {
                struct wire_reply reply = mount_sys(client, fixture->fds[i]);

                client_expect(reply, STATUS_FOREIGN_NAMESPACE, 0, 0);
                ck_assert_ptr_nonnull(strstr(reply.text, "entered"));
                client_expect(client_call(client, &both, (int[]){own, fixture->fds[i]}, 2),
                              STATUS_FOREIGN_NAMESPACE, 0, 1);
        }
        client_expect(mount_sys(client, own), STATUS_OK, 0, STATUS_NO_TARGET);
}

SANDBOX_TEST(directories_of_another_container_and_of_the_host_are_refused) {
        struct fixture *fixture = fixture_start();
        struct container one = container_start(CONTAINER_ROOTFUL);
        struct container other = container_start(CONTAINER_ROOTFUL);

        fixture->fds[0] = open_in(&other, "root/sys");
        fixture->fds[1] = sandbox_open(USER_ALICE, sandbox_path("root/sys"));
        container_run(&one, mount_elsewhere, fixture);
        ck_assert_uint_eq(count_in(&other, fixture), 0);
        sandbox_wait_for(count_in(&one, fixture) == 0);
        close(fixture->fds[0]);
        close(fixture->fds[1]);
        container_kill(&one);
        container_kill(&other);
        fixture_end(fixture);
}

static void show_those_above(void *argument) {
        const struct fixture *fixture = argument;
        FD_AUTO int client = client_connect(&fixture->service, -1);
        int fds[KINDS], own;

        open_own(fds);
        own = fds[PID];
        fds[PID] = fixture->fds[PID];
        client_expect(enter_with(client, fds), STATUS_NOT_AUTHORISED, 0, STATUS_NO_TARGET);
        fds[PID] = own;
        client_expect(enter_with(client, fds), STATUS_OK, 0, STATUS_NO_TARGET);
        close_all(fds);
}

/* From one more pid namespace further down, whose processes are in the container's as well. */
static void show_those_above_once_more(void *argument) {
        struct fixture *fixture = argument;
        pid_t child;

        fixture->fds[PID] = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
        ck_assert_int_eq(unshare(CLONE_NEWPID), 0);
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
                show_those_above(fixture);
                _exit(EXIT_SUCCESS);
        }
        sandbox_join(child);
}

/* They contain the client, and an accomplice may have sent them. */
SANDBOX_TEST(pid_namespaces_above_the_clients_are_refused) {
        bool rootless = !container_lacks(CONTAINER_ROOTLESS);
        struct container container;
        struct fixture *fixture;

        if (!container_has_pids())
                test_skip("impossible here: it takes Linux 6.17");
        fixture = fixture_start();
        container = container_start(CONTAINER_ROOTFUL);
        fixture->fds[PID] = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
        container_run(&container, show_those_above, fixture);
        container_kill(&container);
        if (rootless) {
                container = container_start(CONTAINER_ROOTLESS);
                container_run(&container, show_those_above, fixture);
                container_run(&container, show_those_above_once_more, fixture);
                container_kill(&container);
        }
        close(fixture->fds[PID]);
        fixture_end(fixture);
}

static void enter_the_dead(void *argument) {
        const struct fixture *fixture = argument;
        FD_AUTO int client = client_connect(&fixture->service, -1);
        FD_AUTO int own = open_here("root/sys");
        int fds[KINDS] = {fixture->fds[MOUNT], fixture->fds[PID], fixture->fds[NETWORK]};

        if (container_has_pids()) {
                struct wire_reply reply = enter_with(client, fds);

                client_expect(reply, STATUS_NOT_AUTHORISED, 0, STATUS_NO_TARGET);
                ck_assert_ptr_nonnull(strstr(reply.text, "/proc/self/ns/pid"));
        }
        fds[PID] = -EBADF;
        client_expect(enter_with(client, fds), STATUS_OK, 0, STATUS_NO_TARGET);
        client_expect(mount_sys(client, own), STATUS_FOREIGN_NAMESPACE, 0, 0);
}

/* An accomplice has kept them open. */
SANDBOX_TEST(namespaces_of_a_dead_container_are_of_no_use) {
        struct fixture *fixture = fixture_start();
        struct container one = container_start(CONTAINER_ROOTFUL);
        struct container dead = container_start(CONTAINER_ROOTFUL);
        uint64_t id = container_id(&dead);

        for (unsigned i = 0; i < KINDS; i++)
                fixture->fds[i] = container_open(&dead, kinds[i]);
        container_kill(&dead);
        container_run(&one, enter_the_dead, fixture);
        close_all(fixture->fds);
        sandbox_wait_for(!container_is_kept(id));
        container_kill(&one);
        fixture_end(fixture);
}

static void hold_sys(void *argument) {
        struct fixture *fixture = argument;
        FD_AUTO int target = open_here("root/sys");
        struct wire_reply reply = mount_sys(entered(fixture), target);

        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        fixture->lease = reply.lease;
        fixture->step = 1;
        for (;;)
                pause();
}

static struct wire_reply adopt(const struct fixture *fixture, int client, int root) {
        struct wire_request request = {
                .operation = PROTOCOL_ADOPT,
                .lease = fixture->lease,
                .n_targets = 1,
                .targets = {{PROTOCOL_SYSFS, 0}},
        };

        return client_call(client, &request, &root, 1);
}

/* With the root of its mount, sent by an accomplice: neither from outside nor from here. */
static void take_from_another(void *argument) {
        const struct fixture *fixture = argument;
        FD_AUTO int client = client_connect(&fixture->service, -1);

        for (unsigned i = 0; i < 2; i++) {
                ck_assert_uint_eq(adopt(fixture, client, fixture->fds[0]).status,
                                  STATUS_NO_SUCH_LEASE);
                client_expect(client_unmount(client, fixture->lease), STATUS_NO_SUCH_LEASE, 0,
                              STATUS_NO_TARGET);
                if (i == 0)
                        client_expect(enter(client), STATUS_OK, 0, STATUS_NO_TARGET);
        }
}

static void take_back(void *argument) {
        const struct fixture *fixture = argument;
        FD_AUTO int client = entered(fixture);

        client_expect(adopt(fixture, client, fixture->fds[0]), STATUS_OK, 0, STATUS_NO_TARGET);
        client_expect(client_unmount(client, fixture->lease), STATUS_OK, 0, STATUS_NO_TARGET);
}

/* They share one uid, as all containers of a cluster may. */
SANDBOX_TEST(lease_of_another_container_is_neither_adopted_nor_unmounted) {
        struct fixture *fixture = fixture_start();
        struct container one = container_start(CONTAINER_ROOTFUL);
        struct container other = container_start(CONTAINER_ROOTFUL);
        pid_t holder = container_spawn(&one, hold_sys, fixture);

        sandbox_wait_for(fixture->step == 1);
        fixture->fds[0] = open_in(&one, "root/sys");
        container_run(&other, take_from_another, fixture);
        sandbox_kill(fixture->service.pid);
        fixture_restart(fixture, NULL);
        container_run(&other, take_from_another, fixture);
        ck_assert_uint_eq(count_in(&one, fixture), 1);
        container_run(&one, take_back, fixture);
        ck_assert_uint_eq(count_in(&one, fixture), 0);
        close(fixture->fds[0]);
        sandbox_kill(holder);
        container_kill(&one);
        container_kill(&other);
        fixture_end(fixture);
}

/* ---- descriptors of other kinds ---- */

static void send_namespaces_as_directories(int client) {
        static const char *const all[] = {
                "mnt", "pid", "net", "user", "uts", "ipc", "time", "cgroup", "pid_for_children"};

        for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
                char path[64];
                int fd;

                snprintf(path, sizeof(path), "/proc/self/ns/%s", all[i]);
                fd = open(path, O_RDONLY | O_CLOEXEC);
                ck_assert_int_ge(fd, 0);
                client_expect(mount_sys(client, fd), STATUS_NOT_A_DIRECTORY, 0, 0);
                close(fd);
        }
}

static void send_wrong_kinds(int client) {
        static const struct {
                enum status status;
                unsigned count;
                uint32_t kinds[4];
        } wrong[] = {
                {STATUS_MALFORMED, 1, {2}},
                {STATUS_MALFORMED, 2, {1, 1}},
                {STATUS_MALFORMED, 2, {2, 3}},
                {STATUS_MALFORMED, 4, {1, 2, 3, 3}},
                {STATUS_UNSUPPORTED_FILE_SYSTEM, 2, {1, 0}},
                {STATUS_UNSUPPORTED_FILE_SYSTEM, 2, {1, 4}},
                {STATUS_UNSUPPORTED_FILE_SYSTEM, 1, {1U << 31}},
        };
        FD_AUTO int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);

        for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                struct wire_request request = {
                        .operation = PROTOCOL_ENTER,
                        .n_targets = wrong[i].count,
                };
                struct wire_reply reply;

                for (unsigned k = 0; k < wrong[i].count; k++)
                        request.targets[k].file_system = wrong[i].kinds[k];
                reply = client_call(client, &request, (int[]){own, own, own, own}, wrong[i].count);
                ck_assert_uint_eq(reply.status, wrong[i].status);
                ck_assert_ptr_nonnull(strstr(reply.text, "mount"));
        }
}

static void send_many(int client) {
        struct wire_request request = {
                .operation = PROTOCOL_ENTER,
                .n_targets = 1,
                .targets = {{PROTOCOL_NAMESPACE_MOUNT, 0}},
        };
        int fds[DESCRIPTORS];

        for (unsigned i = 0; i < DESCRIPTORS; i++) {
                fds[i] = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
                ck_assert_int_ge(fds[i], 0);
        }
        client_expect(client_call(client, &request, fds, DESCRIPTORS), STATUS_WRONG_FD_COUNT, 0,
                      STATUS_NO_TARGET);
        client_expect(client_call(client, &request, fds, 0), STATUS_WRONG_FD_COUNT, 0,
                      STATUS_NO_TARGET);
        for (unsigned i = 0; i < DESCRIPTORS; i++)
                close(fds[i]);
}

static void keep(int client) {
        FD_AUTO int target = open_here("root/sys");
        struct wire_request request = {
                .operation = PROTOCOL_MOUNT,
                .flags = PROTOCOL_KEEP,
                .n_targets = 1,
                .targets = {{PROTOCOL_SYSFS, 0}},
        };
        struct wire_reply reply = client_call(client, &request, &target, 1);

        client_expect(reply, STATUS_FOREIGN_NAMESPACE, 0, STATUS_NO_TARGET);
        ck_assert_ptr_nonnull(strstr(reply.text, "kept"));
}

static void send_rubbish(void *argument) {
        const struct fixture *fixture = argument;
        FD_AUTO int client = client_connect(&fixture->service, -1);
        FD_AUTO int target = open_here("root/sys");

        for (unsigned i = 0; i < 2; i++) {
                send_namespaces_as_directories(client);
                send_wrong_kinds(client);
                send_many(client);
                if (i == 0)
                        client_expect(enter(client), STATUS_OK, 0, STATUS_NO_TARGET);
        }
        keep(client);
        client_expect(mount_sys(client, target), STATUS_OK, 0, STATUS_NO_TARGET);
}

SANDBOX_TEST(rubbish_from_a_container_is_named_and_spoils_nothing) {
        struct fixture *fixture = fixture_start();
        struct container container = container_start(CONTAINER_ROOTFUL);

        container_run(&container, send_rubbish, fixture);
        container_kill(&container);
        fixture_end(fixture);
}

/* With a pid namespace of its own, which containers on an older kernel don't have here. */
static void ask_for_proc(void *argument) {
        const struct fixture *fixture = argument;
        FD_AUTO int proc = open_here("root/proc"), sys = open_here("root/sys");
        struct wire_reply reply;
        int client;

        sandbox_become(USER_ALICE);
        client = entered(fixture);
        reply = client_mount(client, PROTOCOL_PROC, 0, proc);
        client_expect(reply, STATUS_FOREIGN_NAMESPACE, 0, 0);
        ck_assert_ptr_nonnull(strstr(reply.text, "Linux 6.17"));
        client_expect(mount_sys(client, sys), STATUS_OK, 0, STATUS_NO_TARGET);
        close(client);
        sandbox_wait_for(sandbox_count_mounts(0, fixture->service.source) == 0);
}

static void ask_for_proc_in_a_namespace(void *argument) {
        pid_t child;

        ck_assert_int_eq(unshare(CLONE_NEWNS | CLONE_NEWPID), 0);
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child > 0) {
                sandbox_join(child);
                return;
        }
        ck_assert_int_eq(mount("proc", "/proc", "proc", 0, NULL), 0);
        ask_for_proc(argument);
        _exit(EXIT_SUCCESS);
}

SANDBOX_TEST(older_kernel_is_named_that_shows_no_container_its_processes) {
        struct fixture *fixture;

        if (container_has_pids())
                test_skip("impossible here: it takes a Linux before 6.17");
        fixture = fixture_start();
        sandbox_run_as(0, ask_for_proc_in_a_namespace, fixture);
        fixture_end(fixture);
}

/* ---- containers that end ---- */

enum step { ENTERED, MOUNTED, UNMOUNTED, STEPS };

static void end_at(enum step at, const struct container *now, enum step step) {
        struct container container = *now;

        if (at == step)
                container_kill(&container);
}

/*
 * By a client outside that outlives the container and is served to the end: the namespace exists as
 * long as its connection, and no longer.
 */
static void end_amid(struct fixture *fixture, enum container_kind kind, enum step step) {
        struct container container = container_start(kind);
        uint64_t id = container_id(&container);
        int client = client_connect(&fixture->service, USER_ALICE);
        int fds[KINDS] = {container_open(&container, "mnt"), -EBADF,
                          container_open(&container, "net")};
        int target = open_in(&container, "root/sys");
        struct wire_reply reply;

        client_expect(enter_with(client, fds), STATUS_OK, 0, STATUS_NO_TARGET);
        close_all(fds);
        end_at(ENTERED, &container, step);
        reply = mount_sys(client, target);
        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        end_at(MOUNTED, &container, step);
        client_expect(client_unmount(client, reply.lease), STATUS_OK, 0, STATUS_NO_TARGET);
        client_expect(mount_sys(client, target), STATUS_OK, 0, STATUS_NO_TARGET);
        end_at(UNMOUNTED, &container, step);
        close(target);
        close(client);
        sandbox_wait_for(!container_is_kept(id));
}

SANDBOX_TEST(container_that_ends_between_two_requests_is_kept_by_nobody) {
        bool rootless = !container_lacks(CONTAINER_ROOTLESS);
        struct fixture *fixture = fixture_start();

        for (enum step step = ENTERED; step < STEPS; step++) {
                end_amid(fixture, CONTAINER_ROOTFUL, step);
                if (rootless)
                        end_amid(fixture, CONTAINER_ROOTLESS, step);
        }
        fixture_end(fixture);
}

/* As fast as it can; now and then it leaves with a lease. */
static void __attribute__((noreturn)) work(void *argument) {
        struct fixture *fixture = argument;
        FD_AUTO int target = open_here("root/sys");

        for (unsigned i = 0;; i++) {
                FD_AUTO int client = entered(fixture);
                struct wire_reply reply = mount_sys(client, target);

                if (reply.status == STATUS_OK && i % 2 == 0)
                        client_unmount(client, reply.lease);
                fixture->done++;
        }
}

/* A container that works, and is killed with everything in it. */
static void end_soon(struct fixture *fixture, unsigned milliseconds) {
        struct container container = container_start(CONTAINER_ROOTFUL);
        uint64_t id = container_id(&container);
        unsigned long before = fixture->done;
        pid_t worker = container_spawn(&container, work, fixture);

        sandbox_wait_for(fixture->done > before);
        usleep(milliseconds * 1000);
        container_kill(&container);
        sandbox_kill(worker);
        sandbox_wait_for(!container_is_kept(id));
}

SANDBOX_TEST(container_that_is_killed_at_work_is_kept_by_nobody) {
        struct fixture *fixture = fixture_start();

        for (unsigned i = 0; i < ENDS; i++)
                end_soon(fixture, i);
        fixture_end(fixture);
}

/* While no daemon runs, or one that hasn't swept yet. */
SANDBOX_TEST(container_that_ends_during_a_restart_is_kept_by_nobody) {
        struct fixture *fixture = fixture_start();

        for (unsigned i = 0; i < 2; i++) {
                struct container container = container_start(CONTAINER_ROOTFUL);
                uint64_t id = container_id(&container);
                bool can_be_found = container_is_kept(id);
                pid_t holder;

                fixture->step = 0;
                holder = container_spawn(&container, hold_sys, fixture);
                sandbox_wait_for(fixture->step == 1);
                ck_assert_int_eq(kill(fixture->service.pid, SIGUSR1), 0);
                service_wait(&fixture->service);
                if (i == 0)
                        container_kill(&container);
                fixture_restart(fixture, "--adopt-timeout=0");
                if (i == 1)
                        container_kill(&container);
                sandbox_kill(holder);
                sandbox_wait_for(!container_is_kept(id));
                if (!can_be_found) { /* so it can't be known to be gone */
                        service_stop(&fixture->service);
                        return;
                }
        }
        fixture_end(fixture);
}

/* ---- floods ---- */

/* A process with the right to makes a mount namespace for each connection. */
static void __attribute__((noreturn)) flood_with_namespaces(void *argument) {
        struct fixture *fixture = argument;

        for (;;) {
                ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
                close(entered(fixture));
                fixture->done++;
        }
}

/*
 * Namespaces of a container that isn't the user's, without reading replies. As another user, since
 * the kernel limits descriptors in flight per user: ETOOMANYREFS in unix(7).
 */
static void __attribute__((noreturn)) flood_with_descriptors(void *argument) {
        struct wire_request request = {
                .version = PROTOCOL_VERSION,
                .operation = PROTOCOL_ENTER,
                .n_targets = 1,
                .targets = {{PROTOCOL_NAMESPACE_MOUNT, 0}},
        };
        const struct fixture *fixture = argument;
        uint8_t bytes[WIRE_REQUEST_MAX];
        size_t size = wire_encode_request(&request, bytes);
        int fds[DESCRIPTORS];

        for (unsigned i = 0; i < DESCRIPTORS; i++)
                fds[i] = fixture->fds[i % KINDS];
        for (;;) {
                FD_AUTO int client = client_connect(&fixture->service, -1);

                while (client_try_send(client, bytes, size, fds, DESCRIPTORS) == 0)
                        continue;
        }
}

static void be_served(void *argument) {
        const struct fixture *fixture = argument;
        FD_AUTO int target = open_here("root/sys");

        for (unsigned i = 0; i < CYCLES; i++) {
                FD_AUTO int client = entered(fixture);
                struct wire_reply reply = mount_sys(client, target);

                client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
                client_expect(client_unmount(client, reply.lease), STATUS_OK, 0, STATUS_NO_TARGET);
        }
}

static void be_served_here(const struct fixture *fixture) {
        const char *root = sandbox_make_root(USER_BOB, "bob");

        for (unsigned i = 0; i < CYCLES; i++) {
                FD_AUTO int client = client_connect(&fixture->service, USER_BOB);
                uint64_t lease = client_hold_root(client, USER_BOB, root);

                client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        }
}

SANDBOX_TEST(containers_that_flood_hold_up_nobody) {
        bool rootless = !container_lacks(CONTAINER_ROOTLESS);
        struct fixture *fixture = fixture_start();
        struct container honest = container_start(CONTAINER_ROOTFUL);
        struct container hostile = container_start(CONTAINER_ROOTFUL), others = {0};
        uint64_t id = container_id(&hostile);
        pid_t flooders[FLOODERS];
        unsigned n = 0;

        flooders[n++] = container_spawn(&hostile, work, fixture);
        for (unsigned i = 0; i < KINDS; i++)
                fixture->fds[i] = container_open(&hostile, kinds[i]);
        flooders[n++] = sandbox_spawn(FLOOD_USER, flood_with_descriptors, fixture);
        close_all(fixture->fds);
        if (rootless) {
                others = container_start(CONTAINER_ROOTLESS);
                flooders[n++] = container_spawn(&others, flood_with_namespaces, fixture);
        }
        sandbox_wait_for(fixture->done > 10);
        container_run(&honest, be_served, fixture);
        be_served_here(fixture);

        container_kill(&hostile);
        if (rootless)
                container_kill(&others);
        while (n > 0)
                sandbox_kill(flooders[--n]);
        sandbox_wait_for(!container_is_kept(id));
        container_run(&honest, be_served, fixture);
        container_kill(&honest);
        fixture_end(fixture);
}

/* ---- a mountpoint that never answers ---- */

static void be_stuck(void *argument) {
        const struct fixture *fixture = argument;
        int client = entered(fixture);

        hostile_send_mount(client, fixture->fds[0]);
        for (;;)
                pause();
}

/*
 * A user's file system, inside the container as well, with a directory that is locked for ever. The
 * namespace lives as long as the stuck thread, and nobody waits for either.
 */
HOSTILE_TEST(thread_that_a_mountpoint_in_a_container_keeps_is_missed_by_nobody) {
        struct fixture *fixture = fixture_start();
        struct hostile hostile = hostile_start_shared(0, "build/h");
        struct container honest = container_start(CONTAINER_ROOTFUL);
        struct container container = container_start(CONTAINER_ROOTFUL);
        uint64_t id = container_id(&container);
        pid_t stuck;

        fixture->fds[0] = open_in(&container, "build/h/a/proc");
        hostile_block(&hostile, "a/proc", HOSTILE_MKDIR);
        stuck = container_spawn(&container, be_stuck, fixture);
        sandbox_wait_for(service_count_stuck(&fixture->service) == 1);
        fixture->fds[0] = fd_close(fixture->fds[0]);
        container_kill(&container);
        sandbox_kill(stuck);
        container_run(&honest, be_served, fixture);
        be_served_here(fixture);
        sandbox_wait_for(service_count_stuck(&fixture->service) == 1);
        hostile_end(&hostile);
        sandbox_wait_for(!container_is_kept(id));
        container_kill(&honest);
        fixture_end(fixture);
}

int main(void) {
        TCase *tests = tcase_create("containers");

        tcase_add_test(tests, directories_of_another_container_and_of_the_host_are_refused);
        tcase_add_test(tests, pid_namespaces_above_the_clients_are_refused);
        tcase_add_test(tests, namespaces_of_a_dead_container_are_of_no_use);
        tcase_add_test(tests, lease_of_another_container_is_neither_adopted_nor_unmounted);
        tcase_add_test(tests, rubbish_from_a_container_is_named_and_spoils_nothing);
        tcase_add_test(tests, older_kernel_is_named_that_shows_no_container_its_processes);
        tcase_add_test(tests, container_that_ends_between_two_requests_is_kept_by_nobody);
        tcase_add_test(tests, container_that_is_killed_at_work_is_kept_by_nobody);
        tcase_add_test(tests, container_that_ends_during_a_restart_is_kept_by_nobody);
        tcase_add_test(tests, containers_that_flood_hold_up_nobody);
        tcase_add_test(tests, thread_that_a_mountpoint_in_a_container_keeps_is_missed_by_nobody);
        return sandbox_run(tests);
}
