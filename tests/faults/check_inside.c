/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Each system call that the daemon makes for a client in a container: what it names in there, and
 * what is left if the container ends just before the call.
 */

#include "common/fd.h"
#include "tests/faults/inject/trap.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>

enum {
        PROC,
        SYS,
        DEV,
        PLACES,

        NAMESPACES = 3,
        CLONES = 4,
        WARM_UP = 2, /* clients, until no more templates are made */
        COUNTS = 3,  /* clients whose calls are counted */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__clang__)
        STRIDE = 10, /* the slower builds try a part of the calls */
#else
        STRIDE = 1,
#endif
        MISSED = 10, /* the part of calls that may be missed: the timer's come at any time */
};

static const char *const places[PLACES] = {"proc", "sys", "dev"};
static const char *const kinds[NAMESPACES] = {"mnt", "pid", "net"};

static const struct service_plan heir = {
        .name = "inside", .start = SERVICE_LISTENS, .options = {"--join=60001"}, /* Alice */
};

static const struct service_plan watched = {
        .name = "inside",
        .start = SERVICE_LISTENS,
        .options = {"--join=60001"},
        .enter = trap_enter,
        .attend = trap_attend,
};

static const struct service_plan watched_without_statmount = {
        .name = "inside",
        .start = SERVICE_LISTENS,
        .options = {"--join=60001"},
        .denied = {CALL_STATMOUNT},
        .enter = trap_enter,
        .attend = trap_attend,
};

/* Shared by the test and the processes in containers. */
struct fixture {
        struct service service;
        uint64_t lease;
        sig_atomic_t step;
        int namespaces[NAMESPACES]; /* of the container, where the client is outside; -EBADF: none
                                     */
        int targets[PLACES];
};

static struct fixture *fixture_new(void) {
        struct fixture *fixture = mmap(NULL, sizeof(*fixture), PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        ck_assert_ptr_ne(fixture, MAP_FAILED);
        ck_assert_int_eq(chmod(sandbox_make_root(USER_ALICE, "root"), 0755), 0);
        sandbox_make_directory(USER_ALICE, 0755, "root/dev");
        return fixture;
}

static void stop(struct fixture *fixture) {
        trap_watch(NULL);
        service_stop(&fixture->service);
        trap_leave();
}

/* All that is left of its clients are a few clones for the next one. */
static void await_rest(const struct fixture *fixture) {
        sandbox_wait_for(service_count_fds(&fixture->service) <= fixture->service.fds + CLONES);
}

/* ---- the client ---- */

static void open_own(struct fixture *fixture) {
        char path[64];

        for (unsigned i = 0; i < NAMESPACES; i++) {
                snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i]);
                fixture->namespaces[i] = open(path, O_RDONLY | O_CLOEXEC);
                ck_assert_int_ge(fixture->namespaces[i], 0);
        }
        for (unsigned i = 0; i < PLACES; i++) {
                fixture->targets[i] =
                        open(sandbox_path("root/%s", places[i]), O_PATH | O_DIRECTORY | O_CLOEXEC);
                ck_assert_int_ge(fixture->targets[i], 0);
        }
}

static void close_all(struct fixture *fixture) {
        for (unsigned i = 0; i < NAMESPACES; i++)
                fixture->namespaces[i] = fd_close(fixture->namespaces[i]);
        for (unsigned i = 0; i < PLACES; i++)
                fixture->targets[i] = fd_close(fixture->targets[i]);
}

static void enter(const struct fixture *fixture, int client) {
        struct wire_request request = {.operation = PROTOCOL_ENTER};
        int fds[NAMESPACES];

        for (unsigned i = 0; i < NAMESPACES; i++)
                if (fixture->namespaces[i] >= 0) {
                        request.targets[request.n_targets].file_system =
                                PROTOCOL_NAMESPACE_MOUNT + i;
                        fds[request.n_targets++] = fixture->namespaces[i];
                }
        client_expect(client_call(client, &request, fds, request.n_targets), STATUS_OK, 0,
                      STATUS_NO_TARGET);
}

/* Without the pid namespace, no procfs. */
static unsigned first_place(const struct fixture *fixture) {
        return fixture->namespaces[1] < 0 ? SYS : PROC;
}

static struct wire_reply ask(const struct fixture *fixture, int client, unsigned operation,
                             unsigned flags, const int *fds) {
        struct wire_request request = {
                .operation = operation,
                .flags = flags,
                .lease = operation == PROTOCOL_ADOPT ? fixture->lease : 0,
        };
        unsigned first = first_place(fixture);

        for (unsigned i = first; i < PLACES; i++)
                request.targets[request.n_targets++].file_system = PROTOCOL_PROC + i;
        return client_call(client, &request, fds + first, request.n_targets);
}

static uint64_t mount_all(const struct fixture *fixture, int client) {
        struct wire_reply reply = ask(fixture, client, PROTOCOL_MOUNT, 0, fixture->targets);

        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        return reply.lease;
}

static void unmount(int client, uint64_t lease) {
        client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
}

/* Whatever can be asked for, and the refusals. */
static void visit(struct fixture *fixture) {
        FD_AUTO int client = client_connect(&fixture->service, -1);
        uint64_t lease;

        client_hello(client);
        client_expect(ask(fixture, client, PROTOCOL_MOUNT, 0, fixture->targets),
                      STATUS_FOREIGN_NAMESPACE, 0, 0);
        enter(fixture, client);
        client_expect(ask(fixture, client, PROTOCOL_MOUNT, PROTOCOL_CHECK, fixture->targets),
                      STATUS_OK, 0, STATUS_NO_TARGET);
        client_expect(ask(fixture, client, PROTOCOL_MOUNT, PROTOCOL_KEEP, fixture->targets),
                      STATUS_FOREIGN_NAMESPACE, 0, STATUS_NO_TARGET);
        lease = mount_all(fixture, client);
        client_expect(ask(fixture, client, PROTOCOL_MOUNT, 0, fixture->targets),
                      STATUS_ALREADY_MOUNTED, 0, 0);
        unmount(client, lease);
        client_expect(client_unmount(client, lease), STATUS_NO_SUCH_LEASE, 0, STATUS_NO_TARGET);
        mount_all(fixture, client);
}

static void visit_from_inside(void *argument) {
        struct fixture *fixture = argument;

        open_own(fixture);
        visit(fixture);
        close_all(fixture);
        sandbox_wait_for(sandbox_count_mounts(0, fixture->service.source) == 0);
}

/* ---- what the daemon names in there ---- */

enum { NO_DIRECTORY = 9 }; /* the path's is the working directory */

/* The arguments that are a path, and the directory that it begins at. */
static const struct naming {
        int number;
        const char *name;
        unsigned directory, path;
} namings[] = {
        {SYS_open, "open", NO_DIRECTORY, 0},
        {SYS_stat, "stat", NO_DIRECTORY, 0},
        {SYS_lstat, "lstat", NO_DIRECTORY, 0},
        {SYS_access, "access", NO_DIRECTORY, 0},
        {SYS_readlink, "readlink", NO_DIRECTORY, 0},
        {SYS_statfs, "statfs", NO_DIRECTORY, 0},
        {SYS_chdir, "chdir", NO_DIRECTORY, 0},
        {SYS_chroot, "chroot", NO_DIRECTORY, 0},
        {SYS_mkdir, "mkdir", NO_DIRECTORY, 0},
        {SYS_rmdir, "rmdir", NO_DIRECTORY, 0},
        {SYS_unlink, "unlink", NO_DIRECTORY, 0},
        {SYS_rename, "rename", NO_DIRECTORY, 0},
        {SYS_rename, "rename", NO_DIRECTORY, 1},
        {SYS_mount, "mount", NO_DIRECTORY, 1},
        {SYS_umount2, "umount2", NO_DIRECTORY, 0},
        {SYS_execve, "execve", NO_DIRECTORY, 0},
        {SYS_openat, "openat", 0, 1},
        {SYS_openat2, "openat2", 0, 1},
        {SYS_newfstatat, "newfstatat", 0, 1},
        {SYS_statx, "statx", 0, 1},
        {SYS_faccessat, "faccessat", 0, 1},
        {SYS_faccessat2, "faccessat2", 0, 1},
        {SYS_readlinkat, "readlinkat", 0, 1},
        {SYS_mkdirat, "mkdirat", 0, 1},
        {SYS_mknodat, "mknodat", 0, 1},
        {SYS_unlinkat, "unlinkat", 0, 1},
        {SYS_symlinkat, "symlinkat", 1, 2},
        {SYS_renameat, "renameat", 0, 1},
        {SYS_renameat, "renameat", 2, 3},
        {SYS_fchmodat, "fchmodat", 0, 1},
        {SYS_fchownat, "fchownat", 0, 1},
        {SYS_name_to_handle_at, "name_to_handle_at", 0, 1},
        {SYS_open_tree, "open_tree", 0, 1},
        {SYS_move_mount, "move_mount", 0, 1},
        {SYS_move_mount, "move_mount", 2, 3},
        {SYS_fspick, "fspick", 0, 1},
        {SYS_mount_setattr, "mount_setattr", 0, 1},
};

enum { N_NAMINGS = sizeof(namings) / sizeof(namings[0]) };

/* By the watch, while the threads that it looks at are stopped. */
static struct {
        char home[64];         /* the daemon's own mount namespace */
        dev_t clients;         /* the file system of the clients' directories */
        unsigned calls, names; /* made inside */
        char wrong[512];       /* the first one that names what the container decides */
} seen;

static bool is_inside(pid_t thread) {
        char path[64], place[64];
        ssize_t length;

        snprintf(path, sizeof(path), "/proc/%d/ns/mnt", thread);
        length = readlink(path, place, sizeof(place) - 1);
        if (length < 0)
                return false; /* it has ended */
        place[length] = '\0';
        return strcmp(place, seen.home) != 0;
}

static void read_name(pid_t thread, uint64_t address, char *name, size_t size) {
        struct iovec here = {name, size - 1}, there = {(void *)address, size - 1};
        ssize_t length = address ? process_vm_readv(thread, &here, 1, &there, 1, 0) : 0;

        if (length < 0) { /* the next page may be missing */
                here.iov_len = there.iov_len = 1;
                length = process_vm_readv(thread, &here, 1, &there, 1, 0);
        }
        name[length < 0 ? 0 : length] = '\0';
}

/* In our own /proc, which was opened at home, or in one of our mounts. */
static bool is_ours(pid_t thread, int directory) {
        char path[64];
        struct statfs found;
        struct stat stat_found;

        snprintf(path, sizeof(path), "/proc/%d/fd/%d", thread, directory);
        if (directory < 0 || statfs(path, &found) < 0 || stat(path, &stat_found) < 0)
                return false;
        return found.f_type == PROC_SUPER_MAGIC || found.f_type == SYSFS_MAGIC ||
               (found.f_type == TMPFS_MAGIC && stat_found.st_dev != seen.clients);
}

/*
 * A descriptor itself; the working directory, which is set by descriptor; or a file of ours:
 * nothing that the container's root has a say in.
 */
static bool is_harmless(pid_t thread, const struct naming *naming, const uint64_t *arguments,
                        const char *name) {
        if (name[0] == '\0' || strcmp(name, ".") == 0)
                return true;
        return naming->directory != NO_DIRECTORY && name[0] != '/' &&
               is_ours(thread, (int)arguments[naming->directory]);
}

static void look(const struct seccomp_notif *call) {
        const pid_t thread = (pid_t)call->pid;
        const uint64_t *arguments = (const uint64_t *)call->data.args;
        char name[256];

        if (!is_inside(thread))
                return;
        seen.calls++;
        if ((call->data.nr == SYS_connect || call->data.nr == SYS_bind) && !seen.wrong[0])
                snprintf(seen.wrong, sizeof(seen.wrong), "call %d with an address", call->data.nr);
        for (unsigned i = 0; i < N_NAMINGS; i++) {
                if (namings[i].number != call->data.nr)
                        continue;
                read_name(thread, arguments[namings[i].path], name, sizeof(name));
                seen.names++;
                if (!seen.wrong[0] && !is_harmless(thread, &namings[i], arguments, name))
                        snprintf(seen.wrong, sizeof(seen.wrong), "%s of \"%s\"", namings[i].name,
                                 name);
        }
}

static void look_on(void) {
        struct stat root;
        ssize_t length;

        memset(&seen, 0, sizeof(seen));
        ck_assert_int_eq(stat(sandbox_path("root"), &root), 0);
        seen.clients = root.st_dev;
        length = readlink("/proc/self/ns/mnt", seen.home, sizeof(seen.home) - 1);
        ck_assert_int_gt(length, 0);
        trap_watch(look);
}

static void expect_no_name(void) {
        trap_watch(NULL);
        ck_assert_str_eq(seen.wrong, "");
        ck_assert_uint_gt(seen.calls, 0);
        ck_assert_uint_gt(seen.names, 0);
}

SANDBOX_TEST(connection_names_no_path_in_a_container) {
        static const struct service_plan *const plans[] = {&watched, &watched_without_statmount};
        struct fixture *fixture = fixture_new();
        struct container container = container_start(CONTAINER_ROOTFUL);

        for (unsigned i = 0; i < 2; i++) {
                fixture->service = service_start(plans[i]);
                look_on();
                container_run(&container, visit_from_inside, fixture);
                await_rest(fixture);
                expect_no_name();
                stop(fixture);
        }
        container_kill(&container);
}

static void hold_and_adopt(void *argument) {
        struct fixture *fixture = argument;
        int client = client_connect(&fixture->service, -1), roots[PLACES];

        open_own(fixture);
        enter(fixture, client);
        fixture->lease = mount_all(fixture, client);
        fixture->step = 1;
        sandbox_wait_for(fixture->step == 2);
        close(client);
        for (unsigned i = 0; i < PLACES; i++)
                roots[i] =
                        open(sandbox_path("root/%s", places[i]), O_PATH | O_DIRECTORY | O_CLOEXEC);
        client = client_connect(&fixture->service, -1);
        enter(fixture, client);
        client_expect(ask(fixture, client, PROTOCOL_ADOPT, 0, roots), STATUS_OK, 0,
                      STATUS_NO_TARGET);
        unmount(client, fixture->lease);
        close(client);
}

SANDBOX_TEST(adoption_names_no_path_in_a_container) {
        struct fixture *fixture = fixture_new();
        struct container container = container_start(CONTAINER_ROOTFUL);
        pid_t holder;

        fixture->service = service_start(&heir);
        holder = container_spawn(&container, hold_and_adopt, fixture);
        sandbox_wait_for(fixture->step == 1);
        sandbox_kill(fixture->service.pid);
        fixture->service = service_start(&watched);
        look_on();
        fixture->step = 2;
        sandbox_join(holder);
        expect_no_name();
        stop(fixture);
        container_kill(&container);
}

/* ---- containers that end ---- */

static struct {
        struct container container;
        unsigned n; /* it ends before the n-th call; 0: it stays */
        unsigned calls;
        bool ended;
} ending;

static void end_it(const struct seccomp_notif *call) {
        (void)call;
        if (++ending.calls != ending.n)
                return;
        container_kill(&ending.container);
        ending.ended = true;
}

/* Its namespaces and directories, which an accomplice could have sent. */
static void open_theirs(struct fixture *fixture) {
        const struct container *container = &ending.container;
        char path[320];

        fixture->namespaces[0] = container_open(container, "mnt");
        fixture->namespaces[1] = -EBADF; /* not the client's */
        fixture->namespaces[2] = container_open(container, "net");
        for (unsigned i = 0; i < PLACES; i++) {
                snprintf(path, sizeof(path), "/proc/%d/root%s", container->init,
                         sandbox_path("root/%s", places[i]));
                fixture->targets[i] = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
                ck_assert_int_ge(fixture->targets[i], 0);
        }
}

/* By a client that outlives the container: it is served to the end. */
static void be_served_from_outside(struct fixture *fixture) {
        int client = client_connect(&fixture->service, USER_ALICE);

        enter(fixture, client);
        unmount(client, mount_all(fixture, client));
        mount_all(fixture, client);
        close_all(fixture);
        close(client);
}

static void serve_client_inside(void *argument) {
        struct fixture *fixture = argument;
        int client;

        open_own(fixture);
        client = client_connect(&fixture->service, -1);
        enter(fixture, client);
        unmount(client, mount_all(fixture, client));
        mount_all(fixture, client);
}

/* By one that dies with the container, in the middle of a request. */
static void be_served_from_inside(struct fixture *fixture) {
        const struct container container = ending.container;
        pid_t client = container_spawn(&container, serve_client_inside, fixture);
        int status;

        trap_watch(end_it);
        ck_assert_int_eq(waitpid(client, &status, 0), client);
        ck_assert(WIFEXITED(status));
        ck_assert(WEXITSTATUS(status) == EXIT_SUCCESS || WEXITSTATUS(status) == CONTAINER_KILLED);
}

static bool end_before(struct fixture *fixture, enum container_kind kind, bool inside, unsigned n) {
        uint64_t id;

        ending.container = container_start(kind);
        ending.n = n;
        ending.calls = 0;
        ending.ended = false;
        id = container_id(&ending.container);
        if (inside)
                be_served_from_inside(fixture);
        else {
                open_theirs(fixture);
                trap_watch(end_it);
                be_served_from_outside(fixture);
        }
        await_rest(fixture);
        trap_watch(NULL);
        if (!ending.ended)
                container_kill(&ending.container);
        sandbox_wait_for(!container_is_kept(id));
        return ending.ended;
}

/* The lowest count: further calls are the timer's, and come at any time. */
static unsigned count_calls(struct fixture *fixture, enum container_kind kind, bool inside) {
        unsigned fewest = UINT_MAX;

        for (unsigned i = 0; i < WARM_UP + COUNTS; i++) {
                end_before(fixture, kind, inside, 0);
                if (i >= WARM_UP && ending.calls < fewest)
                        fewest = ending.calls;
        }
        return fewest;
}

static void end_at_each_call(enum container_kind kind, bool inside) {
        struct fixture *fixture = fixture_new();
        unsigned n_calls, tried = 0, missed = 0;
        int client;

        fixture->service = service_start(&watched);
        n_calls = count_calls(fixture, kind, inside);
        ck_assert_uint_gt(n_calls, 0);
        for (unsigned n = 1; n <= n_calls; n += STRIDE * test_stride(), tried++)
                missed += !end_before(fixture, kind, inside, n);
        printf("ended before %u of %u calls, %u of them not reached\n", tried, n_calls, missed);
        fflush(stdout);
        ck_assert_uint_le(missed * MISSED, tried + MISSED);

        client = client_connect(&fixture->service, USER_BOB);
        client_hold_root(client, USER_BOB, sandbox_make_root(USER_BOB, "bob"));
        close(client);
        sandbox_wait_for(sandbox_count_mounts(0, fixture->service.source) == 0);
        stop(fixture);
        ck_assert(!service_has_state(&fixture->service));
}

SANDBOX_TEST(container_that_ends_at_any_call_leaves_nothing) {
        end_at_each_call(CONTAINER_ROOTFUL, true);
}

SANDBOX_TEST(client_that_outlives_its_container_is_served_to_the_end) {
        end_at_each_call(CONTAINER_ROOTFUL, false);
}

SANDBOX_TEST(rootless_container_that_ends_at_any_call_leaves_nothing) {
        const char *lacking = container_lacks(CONTAINER_ROOTLESS);

        if (lacking)
                test_skip_report("rootless_container_that_ends_at_any_call_leaves_nothing",
                                 lacking);
        else
                end_at_each_call(CONTAINER_ROOTLESS, true);
}

int main(void) {
        TCase *tests = tcase_create("inside");

        tcase_add_test(tests, connection_names_no_path_in_a_container);
        tcase_add_test(tests, adoption_names_no_path_in_a_container);
        tcase_add_test(tests, container_that_ends_at_any_call_leaves_nothing);
        tcase_add_test(tests, client_that_outlives_its_container_is_served_to_the_end);
        tcase_add_test(tests, rootless_container_that_ends_at_any_call_leaves_nothing);
        return sandbox_run(tests);
}
