/* SPDX-License-Identifier: Apache-2.0 */

/* Clients in containers, whose mount namespace the daemon enters. */

#include "common/fd.h"
#include "tests/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define JOIN "--join=60001" /* Alice */

enum { PROC, SYS, DEV, PLACES };

static const char *const places[PLACES] = {"proc", "sys", "dev"};

/* Shared by the tests and the processes in containers. */
struct fixture {
        struct service service;
        uint64_t lease;
        sig_atomic_t step; /* the last one taken */
};

static struct fixture *fixture_new(void) {
        struct fixture *fixture = mmap(NULL, sizeof(*fixture), PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        ck_assert_ptr_ne(fixture, MAP_FAILED);
        sandbox_make_root(USER_ALICE, "root");
        sandbox_make_directory(USER_ALICE, 0755, "root/dev");
        /* A sweep uses paths, with no special rights. */
        ck_assert_int_eq(chmod(sandbox_path("root"), 0755), 0);
        return fixture;
}

static struct fixture *fixture_start(void) {
        struct fixture *fixture = fixture_new();

        fixture->service = service_start_with("a", JOIN);
        return fixture;
}

/* ---- on the client's side ---- */

static struct wire_reply enter_with(int client, const int *fds, unsigned n_targets) {
        struct wire_request request = {.operation = PROTOCOL_ENTER, .n_targets = n_targets};

        for (unsigned i = 0; i < n_targets; i++)
                request.targets[i].file_system = PROTOCOL_NAMESPACE_MOUNT + i;
        return client_call(client, &request, fds, n_targets);
}

static void open_own(int fds[static 3]) {
        static const char *const names[] = {"mnt", "pid", "net"};

        for (unsigned i = 0; i < 3; i++) {
                char path[32];

                snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
                fds[i] = open(path, O_RDONLY | O_CLOEXEC);
                ck_assert_int_ge(fds[i], 0);
        }
}

static void close_three(const int fds[static 3]) {
        for (unsigned i = 0; i < 3; i++)
                close(fds[i]);
}

static struct wire_reply enter(int client) {
        struct wire_reply reply;
        int fds[3];

        open_own(fds);
        reply = enter_with(client, fds, 3);
        close_three(fds);
        return reply;
}

/* Connects, and enters the container. */
static int entered(const struct fixture *fixture) {
        int client = client_connect(&fixture->service, -1);

        client_expect(enter(client), STATUS_OK, 0, STATUS_NO_TARGET);
        return client;
}

static struct wire_reply mount_all(int client) {
        struct wire_request request = {.operation = PROTOCOL_MOUNT, .n_targets = PLACES};
        struct wire_reply reply;
        int targets[PLACES];

        for (unsigned i = 0; i < PLACES; i++) {
                request.targets[i].file_system = PROTOCOL_PROC + i;
                targets[i] = open(sandbox_path("root/%s", places[i]), O_PATH | O_DIRECTORY);
                ck_assert_int_ge(targets[i], 0);
        }
        reply = client_call(client, &request, targets, PLACES);
        close_three(targets);
        return reply;
}

/* How many of the three exist, as process `pid` sees it (0: this one). */
static unsigned count_in(pid_t pid) {
        struct sandbox_mount mount;
        unsigned count = 0;

        for (unsigned i = 0; i < PLACES; i++)
                count += sandbox_find_mount(pid, sandbox_path("root/%s", places[i]), &mount);
        return count;
}

/* ---- what the mounts show ---- */

/* The processes that this one sees in its own /proc, and no others. */
static void shows_own_processes(void) {
        char link[64] = "", pid[16];

        snprintf(pid, sizeof(pid), "%d", getpid());
        ck_assert_int_gt(readlink(sandbox_path("root/proc/self"), link, sizeof(link) - 1), 0);
        ck_assert_str_eq(link, pid);
        for (int i = 1; i < 300; i++) {
                char own[32];

                snprintf(own, sizeof(own), "/proc/%d", i);
                if (access(own, F_OK) < 0)
                        ck_assert_int_lt(access(sandbox_path("root/proc/%d", i), F_OK), 0);
        }
}

static void shows_own_interfaces(void) {
        DIR *directory = opendir(sandbox_path("root/sys/class/net"));
        struct dirent *entry;

        ck_assert_ptr_nonnull(directory);
        while ((entry = readdir(directory)))
                ck_assert(entry->d_name[0] == '.' || if_nametoindex(entry->d_name) != 0);
        closedir(directory);
}

static void has_devices(void) {
        char bytes[8];
        int fd = open(sandbox_path("root/dev/zero"), O_RDONLY | O_CLOEXEC);

        ck_assert_int_eq(read(fd, bytes, sizeof(bytes)), sizeof(bytes));
        close(fd);
        fd = open(sandbox_path("root/dev/pts/ptmx"), O_RDWR | O_NOCTTY | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        close(fd);
}

/*
 * All devs have the directories below their parts in common: a thread that reads one, and waits for
 * the memory that it reads into, would keep everybody from making another dev.
 */
static void uncover_and_read(void *argument) {
        static const char *const parts[] = {"root/dev/pts", "root/dev/shm"};
        struct fixture *fixture = argument;
        int client = client_connect(&fixture->service, -1);
        struct wire_reply reply;

        client_expect(enter(client), STATUS_OK, 0, STATUS_NO_TARGET);
        reply = mount_all(client);
        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        for (unsigned i = 0; i < 2; i++) {
                ck_assert_int_eq(umount2(sandbox_path("%s", parts[i]), MNT_DETACH), 0);
                ck_assert_int_lt(open(sandbox_path("%s", parts[i]), O_RDONLY | O_DIRECTORY), 0);
                ck_assert_int_eq(errno, EACCES);
        }
        client_expect(client_unmount(client, reply.lease), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(count_in(0), 0);
}

static void mount_and_look(void *argument) {
        struct fixture *fixture = argument;
        int client = client_connect(&fixture->service, -1);

        client_expect(mount_all(client), STATUS_FOREIGN_NAMESPACE, 0, 0);
        client_expect(enter(client), STATUS_OK, 0, STATUS_NO_TARGET);
        for (unsigned i = 0; i < 3; i++) {
                struct wire_reply reply = mount_all(client);

                client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
                ck_assert_uint_eq(count_in(0), PLACES);
                shows_own_processes();
                shows_own_interfaces();
                has_devices();
                client_expect(client_unmount(client, reply.lease), STATUS_OK, 0, STATUS_NO_TARGET);
                ck_assert_uint_eq(count_in(0), 0);
        }
        client_expect(mount_all(client), STATUS_OK, 0, STATUS_NO_TARGET);
        close(client);
        sandbox_wait_for(count_in(0) == 0);
}

static void mount_in(enum container_kind kind) {
        struct fixture *fixture = fixture_start();
        struct container container = container_start(kind);
        int clients[8];
        char name[8];

        for (unsigned i = 0; i < 3; i++) {
                container_run(&container, mount_and_look, fixture);
                ck_assert_uint_eq(count_in(0), 0);
        }
        sandbox_wait_for(service_count_fds(&fixture->service) <= fixture->service.fds + 4);
        container_kill(&container);
        /* The threads that were inside now serve clients outside. */
        for (unsigned i = 0; i < 8; i++) {
                clients[i] = client_connect(&fixture->service, USER_BOB);
                snprintf(name, sizeof(name), "bob%u", i);
                client_hold_root(clients[i], USER_BOB, sandbox_make_root(USER_BOB, name));
        }
        service_stop(&fixture->service);
        for (unsigned i = 0; i < 8; i++)
                close(clients[i]);
}

static bool is_impossible(const char *test, enum container_kind kind) {
        const char *lacking = container_lacks(kind);

        if (lacking)
                test_skip_report(test, lacking);
        return lacking;
}

SANDBOX_TEST(container_has_mounts_of_its_own) {
        mount_in(CONTAINER_ROOTFUL);
}

SANDBOX_TEST(rootless_container_has_them_as_well) {
        if (!is_impossible("rootless_container_has_them_as_well", CONTAINER_ROOTLESS))
                mount_in(CONTAINER_ROOTLESS);
}

SANDBOX_TEST(parts_of_a_dev_are_closed_to_the_root_of_a_container) {
        struct fixture *fixture;
        struct container container;

        if (is_impossible("parts_of_a_dev_are_closed_to_the_root_of_a_container",
                          CONTAINER_ROOTLESS))
                return;
        fixture = fixture_start();
        container = container_start(CONTAINER_ROOTLESS);
        container_run(&container, uncover_and_read, fixture);
        container_kill(&container);
        service_stop(&fixture->service);
}

/* ---- permissions and descriptors ---- */

static void be_refused(void *argument) {
        struct fixture *fixture = argument;
        FD_AUTO int client = client_connect(&fixture->service, -1);
        struct wire_request hello = {.operation = PROTOCOL_HELLO};
        struct wire_reply reply;

        ck_assert_uint_eq(client_call(client, &hello, NULL, 0).flags & PROTOCOL_FEATURE_ENTER, 0);
        reply = enter(client);
        client_expect(reply, STATUS_FOREIGN_NAMESPACE, 0, STATUS_NO_TARGET);
        ck_assert_ptr_nonnull(strstr(reply.text, "--join"));
        client_hello(client);
}

SANDBOX_TEST(daemon_enters_nowhere_unless_it_is_told_to) {
        static const char *const options[] = {NULL, "--join=60002"};
        struct container container = container_start(CONTAINER_ROOTFUL);
        struct fixture *fixture = fixture_new();

        for (unsigned i = 0; i < 2; i++) {
                fixture->service = service_start_with("a", options[i]);
                container_run(&container, be_refused, fixture);
                service_stop(&fixture->service);
        }
        container_kill(&container);
}

/* In place of each of the three namespaces. */
static void send_what_is_none(void *argument) {
        struct fixture *fixture = argument;
        FD_AUTO int client = client_connect(&fixture->service, -1);

        for (unsigned place = 0; place < 3; place++) {
                const int wrong[] = {
                        open("/dev/null", O_RDWR | O_CLOEXEC),
                        open("/proc/self/status", O_RDONLY | O_CLOEXEC),
                        open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC),
                        open("/proc/self/ns/mnt", O_PATH | O_CLOEXEC),
                        open(sandbox_path("root"), O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                        open(place == 0 ? "/proc/self/ns/pid" : "/proc/self/ns/mnt",
                             O_RDONLY | O_CLOEXEC),
                        socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
                        dup(client),
                };

                for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                        int fds[3], right;

                        ck_assert_int_ge(wrong[i], 0);
                        open_own(fds);
                        right = fds[place];
                        fds[place] = wrong[i];
                        client_expect(enter_with(client, fds, 3), STATUS_MALFORMED, 0,
                                      STATUS_NO_TARGET);
                        fds[place] = right;
                        close_three(fds);
                        close(wrong[i]);
                }
        }
        client_expect(enter(client), STATUS_OK, 0,
                      STATUS_NO_TARGET); /* the attempt had no effect */
        client_expect(enter(client), STATUS_MALFORMED, 0, STATUS_NO_TARGET);
        client_expect(mount_all(client), STATUS_OK, 0, STATUS_NO_TARGET);
        client_expect(enter(client), STATUS_MALFORMED, 0, STATUS_NO_TARGET);
}

SANDBOX_TEST(what_is_no_namespace_is_refused) {
        struct fixture *fixture = fixture_start();
        struct container container = container_start(CONTAINER_ROOTFUL);

        container_run(&container, send_what_is_none, fixture);
        container_kill(&container);
        service_stop(&fixture->service);
}

/* ---- user namespaces made by root ---- */

static int open_to_write(const char *name) {
        return open(sandbox_path("root/proc/%s", name), O_WRONLY | O_CLOEXEC) < 0 ? errno : 0;
}

static void can_not_write_roots(int error) {
        static const char *const names[] = {"sys/kernel/core_pattern", "sys/vm/drop_caches",
                                            "sysrq-trigger"};

        for (unsigned i = 0; i < 3; i++)
                if (access(sandbox_path("root/proc/%s", names[i]), F_OK) == 0)
                        ck_assert_int_eq(open_to_write(names[i]), error);
}

/* Root inside can change the superblock, but has no access to root's files. */
static void make_writable(void *argument) {
        struct fixture *fixture = argument;
        const unsigned long as_before = MS_NOSUID | MS_NODEV | MS_NOEXEC;
        FD_AUTO int client = entered(fixture), context = -EBADF;

        client_expect(mount_all(client), STATUS_OK, 0, STATUS_NO_TARGET);
        can_not_write_roots(EROFS);
        context = fspick(AT_FDCWD, sandbox_path("root/proc"), FSPICK_CLOEXEC);
        ck_assert_int_ge(context, 0);
        ck_assert_int_eq(fsconfig(context, FSCONFIG_SET_FLAG, "rw", NULL, 0), 0);
        ck_assert_int_eq(fsconfig(context, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0), 0);
        ck_assert_int_eq(mount(NULL, sandbox_path("root/proc"), NULL,
                               MS_REMOUNT | MS_BIND | as_before, NULL),
                         0);
        ck_assert_int_eq(open_to_write("self/comm"), 0);
        can_not_write_roots(EACCES);
}

SANDBOX_TEST(user_namespace_of_roots_without_root_is_served) {
        if (!is_impossible("user_namespace_of_roots_without_root_is_served", CONTAINER_MAPPED))
                mount_in(CONTAINER_MAPPED);
}

SANDBOX_TEST(nobody_in_it_is_root) {
        struct container container;
        struct fixture *fixture;

        if (is_impossible("nobody_in_it_is_root", CONTAINER_MAPPED))
                return;
        if (!container_has_pids()) {
                test_skip_report("nobody_in_it_is_root",
                                 "impossible here: its procfs is the host's before Linux 6.17");
                return;
        }
        fixture = fixture_start();
        container = container_start_mapped("1 100001 65535\n", "1 100001 50000\n");
        container_run(&container, make_writable, fixture);
        container_kill(&container);
        service_stop(&fixture->service);
}

static void be_refused_for_root(void *argument) {
        struct fixture *fixture = argument;
        FD_AUTO int client = client_connect(&fixture->service, -1);
        struct wire_reply reply = enter(client);
        int fds[3];

        client_expect(reply, STATUS_NOT_AUTHORISED, 0, STATUS_NO_TARGET);
        ck_assert_ptr_nonnull(strstr(reply.text, "is mapped in your user namespace"));
        open_own(fds); /* with only the mount namespace it could make a mount writable, too */
        client_expect(enter_with(client, fds, 1), STATUS_NOT_AUTHORISED, 0, STATUS_NO_TARGET);
        close_three(fds);
        client_hello(client);
}

SANDBOX_TEST(user_namespace_with_root_in_it_is_refused) {
        static const char *const maps[][2] = {
                {"5 0 1\n", NULL},
                {NULL, "5 0 1\n"},
                {"1 100001 10\n4711 0 1\n", "1 100001 10\n4711 0 1\n"},
                {"1 0 60001\n", "1 0 10\n"}, /* unchanged, except for one id */
        };
        struct fixture *fixture;

        if (is_impossible("user_namespace_with_root_in_it_is_refused", CONTAINER_MAPPED))
                return;
        fixture = fixture_start();
        for (unsigned i = 0; i < 4; i++) {
                struct container container = container_start_mapped(maps[i][0], maps[i][1]);

                container_run(&container, be_refused_for_root, fixture);
                container_kill(&container);
        }
        service_stop(&fixture->service);
}

/* Root may still be mapped into it. */
static void enter_without_maps(void *argument) {
        struct fixture *fixture = argument;
        FD_AUTO int client = -EBADF;
        struct wire_reply reply;

        ck_assert_int_eq(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET), 0);
        client = client_connect(&fixture->service, -1);
        reply = enter(client);
        client_expect(reply, STATUS_NOT_AUTHORISED, 0, STATUS_NO_TARGET);
        ck_assert_ptr_nonnull(strstr(reply.text, "gid_map"));
        client_hello(client);
}

SANDBOX_TEST(user_namespace_without_maps_is_refused) {
        static const int users[] = {0, USER_ALICE};
        struct fixture *fixture;

        if (is_impossible("user_namespace_without_maps_is_refused", CONTAINER_MAPPED))
                return;
        fixture = fixture_new();
        fixture->service = service_start_with("a", "--join=0", JOIN);
        for (unsigned i = 0; i < 2; i++)
                sandbox_run_as(users[i], enter_without_maps, fixture);
        service_stop(&fixture->service);
}

static struct wire_reply enter_network(int client) {
        struct wire_request request = {
                .operation = PROTOCOL_ENTER,
                .n_targets = 2,
                .targets = {{PROTOCOL_NAMESPACE_MOUNT, 0}, {PROTOCOL_NAMESPACE_NETWORK, 0}},
        };
        const int fds[2] = {open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC),
                            open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)};
        struct wire_reply reply = client_call(client, &request, fds, 2);

        close(fds[0]);
        close(fds[1]);
        return reply;
}

/*
 * In a user namespace that Alice made as root of a container, which maps these ids of it, if any.
 */
static struct wire_reply enter_from_below(const struct fixture *fixture, const char *ids) {
        int pipes[2][2];
        char gids[64];
        struct wire_reply reply;
        pid_t child;
        char byte;

        ck_assert(pipe2(pipes[0], O_CLOEXEC) == 0 && pipe2(pipes[1], O_CLOEXEC) == 0);
        child = fork();
        if (child == 0) {
                ck_assert_int_eq(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET), 0);
                ck_assert_int_eq(write(pipes[1][1], "", 1), 1);
                ck_assert_int_eq(read(pipes[0][0], &byte, 1), 1);
                reply = enter_network(client_connect(&fixture->service, -1));
                ck_assert_int_eq(write(pipes[1][1], &reply, sizeof(reply)), sizeof(reply));
                _exit(EXIT_SUCCESS);
        }
        close(pipes[1][1]);
        ck_assert_int_eq(read(pipes[1][0], &byte, 1), 1);
        snprintf(gids, sizeof(gids), "%s%u %u 1\n", ids ?: "", GROUP_CLIENTS, GROUP_CLIENTS);
        if (ids) {
                container_map(child, "uid_map", ids);
                container_map(child, "gid_map", gids);
        }
        ck_assert_int_eq(write(pipes[0][1], "", 1), 1);
        ck_assert_int_eq(read(pipes[1][0], &reply, sizeof(reply)), sizeof(reply));
        sandbox_join(child);
        return reply;
}

/* Though its user namespace isn't made by root; or only the one above is mapped. */
static void enter_below_root(void *argument) {
        static const char *const maps[] = {"0 0 1\n5 5 1\n", "0 0 1\n"};
        const struct fixture *fixture = argument;

        for (unsigned i = 0; i < 2; i++)
                client_expect(enter_from_below(fixture, maps[i]), STATUS_NOT_AUTHORISED, 0,
                              STATUS_NO_TARGET);
}

/* With ids mapped there, and without: root's never will be. */
static void enter_below(void *argument) {
        const struct fixture *fixture = argument;

        client_expect(enter_from_below(fixture, "0 0 1\n"), STATUS_OK, 0, STATUS_NO_TARGET);
        client_expect(enter_from_below(fixture, NULL), STATUS_OK, 0, STATUS_NO_TARGET);
}

SANDBOX_TEST(root_that_a_container_passes_on_is_found) {
        struct fixture *fixture;
        struct container container;

        if (is_impossible("root_that_a_container_passes_on_is_found", CONTAINER_MAPPED))
                return;
        fixture = fixture_start();
        container = container_start_mapped("5 0 1\n", "5 0 1\n");
        container_run(&container, enter_below_root, fixture);
        container_kill(&container);
        container = container_start(CONTAINER_MAPPED);
        container_run(&container, enter_below, fixture);
        container_kill(&container);
        service_stop(&fixture->service);
}

/* ---- limits ---- */

static void expect_no_room(int client) {
        struct wire_reply reply = enter(client);

        client_expect(reply, STATUS_LIMIT_EXCEEDED, 0, STATUS_NO_TARGET);
        ck_assert_ptr_nonnull(strstr(reply.text, "--max-namespaces-per-user"));
        client_hello(client);
        /* It is still outside. */
        client_expect(mount_all(client), STATUS_FOREIGN_NAMESPACE, 0, 0);
}

/* Two are inside, until step 2; then one leaves. */
static void enter_up_to_the_limit(void *argument) {
        struct fixture *fixture = argument;
        int clients[2] = {entered(fixture), entered(fixture)};
        FD_AUTO int late = client_connect(&fixture->service, -1);
        struct wire_reply reply;

        expect_no_room(late);
        fixture->step = 1;
        sandbox_wait_for(fixture->step == 2);
        client_expect(mount_all(clients[0]), STATUS_OK, 0, STATUS_NO_TARGET);
        close(clients[0]);
        sandbox_wait_for(enter(late).status == STATUS_OK);
        reply = mount_all(late);
        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        client_expect(client_unmount(late, reply.lease), STATUS_OK, 0, STATUS_NO_TARGET);
        clients[0] = client_connect(&fixture->service, -1);
        expect_no_room(clients[0]);
        close(clients[0]);
        close(clients[1]);
}

static void find_no_room(void *argument) {
        struct fixture *fixture = argument;
        FD_AUTO int client = client_connect(&fixture->service, -1);

        expect_no_room(client);
}

static void find_room(void *argument) {
        struct fixture *fixture = argument;
        int clients[2] = {entered(fixture), entered(fixture)};

        close(clients[0]);
        close(clients[1]);
}

/* In any namespace: containers with the same uid count as one user. */
SANDBOX_TEST(so_many_connections_of_a_user_are_inside) {
        struct fixture *fixture = fixture_new();
        struct container one = container_start(CONTAINER_ROOTFUL);
        struct container other = container_start(CONTAINER_ROOTFUL);
        pid_t holder;

        fixture->service =
                service_start_with("a", JOIN, "--join=60002", "--max-namespaces-per-user=2");
        holder = container_spawn(&one, enter_up_to_the_limit, fixture);
        sandbox_wait_for(fixture->step == 1);
        container_run(&other, find_no_room, fixture);
        sandbox_run_as(USER_BOB, find_room, fixture);
        fixture->step = 2;
        sandbox_join(holder);
        sandbox_wait_for(service_count_fds(&fixture->service) <= fixture->service.fds + 4);
        container_kill(&one);
        container_kill(&other);
        service_stop(&fixture->service);
}

/* Sends the request and disconnects: before the namespace is entered, meanwhile, or after. */
static void enter_and_leave(const struct fixture *fixture, int lingers_us) {
        struct wire_request request = {.operation = PROTOCOL_ENTER, .n_targets = 3};
        FD_AUTO int client = client_connect(&fixture->service, -1);
        uint8_t bytes[WIRE_REQUEST_MAX];
        int fds[3];

        open_own(fds);
        request.version = PROTOCOL_VERSION;
        for (unsigned i = 0; i < 3; i++)
                request.targets[i].file_system = PROTOCOL_NAMESPACE_MOUNT + i;
        client_send(client, bytes, wire_encode_request(&request, bytes), fds, 3);
        close_three(fds);
        usleep(lingers_us);
}

static void enter_and_leave_often(void *argument) {
        struct fixture *fixture = argument;
        FD_AUTO int client = -EBADF;

        for (int i = 0; i < 200; i++)
                enter_and_leave(fixture, i);
        client = client_connect(&fixture->service, -1);
        sandbox_wait_for(enter(client).status == STATUS_OK);
}

SANDBOX_TEST(who_leaves_while_entering_takes_no_room) {
        struct fixture *fixture = fixture_new();
        struct container container = container_start(CONTAINER_ROOTFUL);

        fixture->service = service_start_with("a", JOIN, "--max-namespaces-per-user=1");
        container_run(&container, enter_and_leave_often, fixture);
        sandbox_wait_for(service_count_fds(&fixture->service) <= fixture->service.fds + 4);
        container_kill(&container);
        service_stop(&fixture->service);
}

/* ---- others' namespaces ---- */

struct pair {
        struct fixture *fixture;
        int mount, pid; /* the other container's */
};

static bool kernel_tells_whose_processes(int pid_namespace) {
        return ioctl(pid_namespace, _IOR(NSIO, 9, int), getpid()) >= 0 || errno != ENOTTY;
}

static void enter_others(void *argument) {
        const struct pair *pair = argument;
        int fds[3], own;
        int client = client_connect(&pair->fixture->service, -1);

        open_own(fds);
        own = fds[1];
        fds[1] = pair->pid;
        if (container_has_pids() && kernel_tells_whose_processes(own))
                client_expect(enter_with(client, fds, 3), STATUS_NOT_AUTHORISED, 0,
                              STATUS_NO_TARGET);
        fds[1] = own;
        own = fds[0];
        fds[0] = pair->mount;
        /* It was given the descriptor, and may be let in; but its directories are elsewhere. */
        client_expect(enter_with(client, fds, 3), STATUS_OK, 0, STATUS_NO_TARGET);
        client_expect(mount_all(client), STATUS_FOREIGN_NAMESPACE, 0, 0);
        fds[0] = own;
        close_three(fds);
        close(client);
}

SANDBOX_TEST(another_containers_namespaces_are_of_no_use) {
        struct fixture *fixture = fixture_start();
        struct container one = container_start(CONTAINER_ROOTFUL);
        struct container other = container_start(CONTAINER_ROOTFUL);
        struct pair pair = {fixture, container_open(&other, "mnt"), container_open(&other, "pid")};

        container_run(&one, enter_others, &pair);
        ck_assert_uint_eq(count_in(one.init) + count_in(other.init), 0);
        close(pair.mount);
        close(pair.pid);
        container_kill(&one);
        container_kill(&other);
        service_stop(&fixture->service);
}

/* ---- ends ---- */

static void hold_all(void *argument) {
        struct fixture *fixture = argument;
        int client = entered(fixture);
        struct wire_reply reply = mount_all(client);

        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        fixture->lease = reply.lease;
        fixture->step = 1;
        for (;;)
                pause();
}

static pid_t hold_in(const struct container *container, struct fixture *fixture) {
        pid_t holder;

        fixture->step = 0;
        holder = container_spawn(container, hold_all, fixture);
        sandbox_wait_for(fixture->step == 1);
        ck_assert_uint_eq(count_in(container->init), PLACES);
        return holder;
}

SANDBOX_TEST(client_that_is_killed_leaves_nothing) {
        struct fixture *fixture = fixture_start();
        struct container container = container_start(CONTAINER_ROOTFUL);

        sandbox_kill(hold_in(&container, fixture));
        sandbox_wait_for(count_in(container.init) == 0);
        container_kill(&container);
        service_stop(&fixture->service);
}

SANDBOX_TEST(container_that_ends_is_kept_by_nobody) {
        struct fixture *fixture = fixture_start();
        struct container container = container_start(CONTAINER_ROOTFUL);
        uint64_t id = container_id(&container);
        pid_t holder = hold_in(&container, fixture);

        container_kill(&container);
        sandbox_kill(holder);
        sandbox_wait_for(!container_is_kept(id));
        sandbox_wait_for(service_count_fds(&fixture->service) <= fixture->service.fds + 4);
        service_stop(&fixture->service);
}

static void adopt(void *argument) {
        struct fixture *fixture = argument;
        struct wire_request request = {
                .operation = PROTOCOL_ADOPT,
                .lease = fixture->lease,
                .n_targets = PLACES,
                .targets = {{PROTOCOL_PROC, 0}, {PROTOCOL_SYSFS, 0}, {PROTOCOL_DEV, 0}},
        };
        FD_AUTO int client = client_connect(&fixture->service, -1);
        int roots[PLACES];

        for (unsigned i = 0; i < PLACES; i++)
                roots[i] = open(sandbox_path("root/%s", places[i]), O_PATH | O_DIRECTORY);
        if (fixture->step == 1) { /* without entering: no such lease */
                ck_assert_uint_eq(client_call(client, &request, roots, PLACES).status,
                                  STATUS_NO_SUCH_LEASE);
                client_expect(enter(client), STATUS_OK, 0, STATUS_NO_TARGET);
        }
        client_expect(client_call(client, &request, roots, PLACES), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(count_in(0), PLACES);
        client_expect(client_unmount(client, fixture->lease), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(count_in(0), 0);
        close_three(roots);
}

static bool is_possible(enum container_kind kind) {
        return kind == CONTAINER_ROOTFUL || !container_lacks(kind);
}

static void adopt_in(struct fixture *fixture, enum container_kind kind) {
        struct container container = container_start(kind);
        pid_t holder = hold_in(&container, fixture);

        sandbox_kill(fixture->service.pid);
        ck_assert_uint_eq(count_in(container.init), PLACES);
        fixture->service = service_start_with("a", JOIN);
        container_run(&container, adopt, fixture);
        sandbox_kill(holder);
        container_kill(&container);
}

SANDBOX_TEST(lease_of_a_daemon_that_died_is_adopted_in_there) {
        struct fixture *fixture = fixture_start();

        for (enum container_kind kind = CONTAINER_ROOTFUL; kind <= CONTAINER_MAPPED; kind++)
                if (is_possible(kind))
                        adopt_in(fixture, kind);
        service_stop(&fixture->service);
}

static void sweep_in(struct fixture *fixture, enum container_kind kind) {
        struct container container = container_start(kind);
        bool can_be_found = container_can_be_found();
        pid_t holder = hold_in(&container, fixture);

        sandbox_kill(fixture->service.pid);
        sandbox_kill(holder);
        fixture->service = service_start_with("a", JOIN, "--adopt-timeout=0");
        if (can_be_found)
                sandbox_wait_for(count_in(container.init) == 0);
        else
                ck_assert_uint_eq(count_in(container.init), PLACES);
        container_kill(&container);
}

/* Inside, if the kernel can find the namespace; otherwise by mountatd --sweep. */
SANDBOX_TEST(lease_that_nobody_adopts_is_swept_in_there) {
        struct fixture *fixture = fixture_start();

        for (enum container_kind kind = CONTAINER_ROOTFUL; kind <= CONTAINER_MAPPED; kind++)
                if (is_possible(kind))
                        sweep_in(fixture, kind);
        service_stop(&fixture->service);
}

static void forget_in(enum container_kind kind) {
        struct fixture *fixture = fixture_start();
        struct container container = container_start(kind);
        bool can_be_found = container_can_be_found();
        pid_t holder = hold_in(&container, fixture);

        sandbox_kill(fixture->service.pid);
        container_kill(&container);
        sandbox_kill(holder);
        fixture->service = service_start_with("a", JOIN, "--adopt-timeout=0");
        service_stop(&fixture->service);
        if (can_be_found)
                ck_assert(!service_has_state(&fixture->service));
}

SANDBOX_TEST(lease_of_a_container_that_ended_is_forgotten) {
        forget_in(CONTAINER_ROOTFUL);
}

SANDBOX_TEST(lease_of_a_rootless_container_that_ended_is_forgotten) {
        if (!is_impossible("lease_of_a_rootless_container_that_ended_is_forgotten",
                           CONTAINER_ROOTLESS))
                forget_in(CONTAINER_ROOTLESS);
}

/* The next daemon is in the container itself, with a /proc that shows it. */
static struct container *home;

static void go_home(void) {
        FD_AUTO int fd = container_open(home, "mnt");

        if (unshare(CLONE_FS) < 0 || setns(fd, CLONE_NEWNS) < 0 ||
            (container_has_pids() && umount2("/proc", MNT_DETACH) < 0))
                _exit(127);
}

static struct service start_at_home(const char *option) {
        return service_start(
                &(struct service_plan){.name = "a", .options = {JOIN, option}, .enter = go_home});
}

SANDBOX_TEST(lease_of_where_the_next_daemon_is_at_home_is_adopted) {
        struct fixture *fixture = fixture_start();
        struct container container = container_start(CONTAINER_ROOTFUL);
        pid_t holder = hold_in(&container, fixture);

        sandbox_kill(fixture->service.pid);
        home = &container;
        fixture->service = start_at_home(NULL);
        fixture->step = 2; /* nothing to enter */
        container_run(&container, adopt, fixture);
        sandbox_kill(holder);
        service_stop(&fixture->service);
        container_kill(&container);
}

SANDBOX_TEST(lease_of_where_the_next_daemon_is_at_home_is_swept) {
        struct fixture *fixture = fixture_start();
        struct container container = container_start(CONTAINER_ROOTFUL);
        pid_t holder = hold_in(&container, fixture);

        sandbox_kill(fixture->service.pid);
        sandbox_kill(holder);
        home = &container;
        fixture->service = start_at_home("--adopt-timeout=0");
        sandbox_wait_for(count_in(container.init) == 0);
        service_stop(&fixture->service);
        container_kill(&container);
}

/* ---- privileges ---- */

SANDBOX_TEST(capability_that_it_lacks_is_named_at_the_start) {
        struct service service = service_spawn(&(struct service_plan){
                .name = "a",
                .options = {JOIN},
                .wrapper = {"setpriv", "--bounding-set", "-sys_chroot"},
        });
        int client = client_connect(&service, USER_ALICE);

        service_expect_refusal(&service, "CAP_SYS_CHROOT");
        close(client);
}

int main(void) {
        TCase *tests = tcase_create("join");

        tcase_add_test(tests, container_has_mounts_of_its_own);
        tcase_add_test(tests, rootless_container_has_them_as_well);
        tcase_add_test(tests, parts_of_a_dev_are_closed_to_the_root_of_a_container);
        tcase_add_test(tests, daemon_enters_nowhere_unless_it_is_told_to);
        tcase_add_test(tests, what_is_no_namespace_is_refused);
        tcase_add_test(tests, user_namespace_of_roots_without_root_is_served);
        tcase_add_test(tests, nobody_in_it_is_root);
        tcase_add_test(tests, user_namespace_with_root_in_it_is_refused);
        tcase_add_test(tests, user_namespace_without_maps_is_refused);
        tcase_add_test(tests, root_that_a_container_passes_on_is_found);
        tcase_add_test(tests, so_many_connections_of_a_user_are_inside);
        tcase_add_test(tests, who_leaves_while_entering_takes_no_room);
        tcase_add_test(tests, another_containers_namespaces_are_of_no_use);
        tcase_add_test(tests, client_that_is_killed_leaves_nothing);
        tcase_add_test(tests, container_that_ends_is_kept_by_nobody);
        tcase_add_test(tests, lease_of_a_daemon_that_died_is_adopted_in_there);
        tcase_add_test(tests, lease_that_nobody_adopts_is_swept_in_there);
        tcase_add_test(tests, lease_of_a_container_that_ended_is_forgotten);
        tcase_add_test(tests, lease_of_a_rootless_container_that_ended_is_forgotten);
        tcase_add_test(tests, lease_of_where_the_next_daemon_is_at_home_is_adopted);
        tcase_add_test(tests, lease_of_where_the_next_daemon_is_at_home_is_swept);
        tcase_add_test(tests, capability_that_it_lacks_is_named_at_the_start);
        return sandbox_run(tests);
}
