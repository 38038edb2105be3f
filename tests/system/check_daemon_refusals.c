/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Well-formed requests that are refused: the answer names the target at fault, and the daemon has
 * as many descriptors and mounts as before.
 */

#include "common/fd.h"
#include "common/fdpass.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* A procfs on `fd`, which is closed. */
static struct wire_reply baseline_mount_fd(const struct baseline *baseline, int fd) {
        struct wire_reply reply;

        ck_assert_msg(fd >= 0, "no descriptor: %s", strerror(errno));
        reply = client_mount(baseline->alice, PROTOCOL_PROC, 0, fd);
        close(fd);
        return reply;
}

static int open_proc(void) {
        return sandbox_open(USER_ALICE, sandbox_path("root/proc"));
}

/* ---- targets ---- */

SANDBOX_TEST(what_is_no_directory_is_refused) {
        struct baseline baseline = baseline_open();
        int pipes[2], file;

        ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
        ck_assert_int_eq(symlink("proc", sandbox_path("root/link")), 0);
        file = open(sandbox_path("root/file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        ck_assert_int_eq(fchown(file, USER_ALICE, USER_ALICE), 0);

        client_expect(baseline_mount_fd(&baseline, file), STATUS_NOT_A_DIRECTORY, 0, 0);
        client_expect(
                baseline_mount_fd(&baseline, open(sandbox_path("root/file"), O_PATH | O_CLOEXEC)),
                STATUS_NOT_A_DIRECTORY, 0, 0);
        client_expect(baseline_mount_fd(&baseline, open(sandbox_path("root/link"),
                                                        O_PATH | O_NOFOLLOW | O_CLOEXEC)),
                      STATUS_NOT_A_DIRECTORY, 0, 0);
        client_expect(baseline_mount_fd(&baseline, pipes[0]), STATUS_NOT_A_DIRECTORY, 0, 0);
        client_expect(baseline_mount_fd(&baseline, pipes[1]), STATUS_NOT_A_DIRECTORY, 0, 0);
        client_expect(baseline_mount_fd(&baseline, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)),
                      STATUS_NOT_A_DIRECTORY, 0, 0);
        client_expect(baseline_mount_fd(&baseline, open("/dev/null", O_RDWR | O_CLOEXEC)),
                      STATUS_NOT_A_DIRECTORY, 0, 0);
        client_expect(baseline_mount_fd(&baseline, open("/dev/null", O_PATH | O_CLOEXEC)),
                      STATUS_NOT_A_DIRECTORY, 0, 0);
        baseline_close(&baseline);
}

SANDBOX_TEST(own_connection_as_a_target_is_refused_and_not_kept) {
        struct baseline baseline = baseline_open();
        int client = client_connect(&baseline.service, USER_ALICE);

        client_expect(client_mount(client, PROTOCOL_PROC, 0, client), STATUS_NOT_A_DIRECTORY, 0, 0);
        close(client);
        baseline_close(&baseline);
}

SANDBOX_TEST(directory_of_another_user_is_refused) {
        struct baseline baseline = baseline_open();

        sandbox_make_root(USER_BOB, "bob");
        client_expect(
                baseline_mount_fd(&baseline, sandbox_open(USER_BOB, sandbox_path("bob/proc"))),
                STATUS_NOT_AUTHORISED, 0, 0);
        sandbox_make_root(0, "root's");
        client_expect(baseline_mount_fd(&baseline, sandbox_open(0, sandbox_path("root's/proc"))),
                      STATUS_NOT_AUTHORISED, 0, 0);
        baseline_close(&baseline);
}

/* Group, mode or write permission don't matter: only ownership does. */
SANDBOX_TEST(writable_directory_of_another_user_is_refused) {
        struct baseline baseline = baseline_open();

        sandbox_make_root(USER_BOB, "bob");
        ck_assert_int_eq(chmod(sandbox_path("bob"), 0777), 0);
        ck_assert_int_eq(chmod(sandbox_path("bob/proc"), 0777), 0);
        ck_assert_int_eq(chown(sandbox_path("bob/proc"), USER_BOB, USER_ALICE), 0);
        client_expect(
                baseline_mount_fd(&baseline, sandbox_open(USER_ALICE, sandbox_path("bob/proc"))),
                STATUS_NOT_AUTHORISED, 0, 0);
        baseline_close(&baseline);
}

SANDBOX_TEST(directory_of_another_name_is_refused) {
        static const char *const names[] = {"dev", "Proc", "proc2", "xproc", "proc "};
        struct baseline baseline = baseline_open();
        int sys;

        for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                const char *path = sandbox_path("root/%s", names[i]);

                ck_assert_int_eq(mkdir(path, 0755), 0);
                ck_assert_int_eq(chown(path, USER_ALICE, USER_ALICE), 0);
                client_expect(baseline_mount_fd(&baseline, sandbox_open(USER_ALICE, path)),
                              STATUS_WRONG_NAME, 0, 0);
        }
        sys = sandbox_open(USER_ALICE, sandbox_path("root/sys"));
        client_expect(baseline_mount_fd(&baseline, sys), STATUS_WRONG_NAME, 0, 0);
        sys = open_proc();
        client_expect(client_mount(baseline.alice, PROTOCOL_SYSFS, 0, sys), STATUS_WRONG_NAME, 0,
                      0);
        close(sys);
        baseline_close(&baseline);
}

SANDBOX_TEST(root_of_a_mount_is_refused) {
        struct baseline baseline = baseline_open();

        ck_assert_int_eq(mount("other", sandbox_path("root/proc"), "tmpfs", 0, "uid=60001"), 0);
        client_expect(baseline_mount_fd(&baseline, open_proc()), STATUS_ALREADY_MOUNTED, 0, 0);
        ck_assert_int_eq(umount2(sandbox_path("root/proc"), MNT_DETACH), 0);
        client_expect(baseline_mount_fd(&baseline, sandbox_open(0, "/")), STATUS_ALREADY_MOUNTED, 0,
                      0);
        client_expect(baseline_mount_fd(&baseline, sandbox_open(0, "/proc")),
                      STATUS_ALREADY_MOUNTED, 0, 0);
        baseline_close(&baseline);
}

SANDBOX_TEST(mount_of_ours_is_refused_as_a_target) {
        struct baseline baseline = baseline_open();
        uint64_t lease = client_hold_root(baseline.alice, USER_ALICE, sandbox_path("root"));

        client_expect(client_mount_root(baseline.alice, USER_ALICE, sandbox_path("root")),
                      STATUS_ALREADY_MOUNTED, 0, 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, baseline.service.source), 2);
        client_expect(client_unmount(baseline.alice, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        baseline_close(&baseline);
}

/* The descriptor was opened before the mount, so it doesn't look like the root of a mount. */
SANDBOX_TEST(covered_directory_is_refused_and_what_covers_it_stays) {
        struct baseline baseline = baseline_open();
        int covered = open_proc();
        uint64_t lease = client_hold_root(baseline.alice, USER_ALICE, sandbox_path("root"));

        client_expect(client_mount(baseline.alice, PROTOCOL_PROC, 0, covered),
                      STATUS_ALREADY_MOUNTED, 0, 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, baseline.service.source), 2);
        client_expect(client_unmount(baseline.alice, lease), STATUS_OK, 0, STATUS_NO_TARGET);

        ck_assert_int_eq(mount("other", sandbox_path("root/proc"), "tmpfs", 0, NULL), 0);
        client_expect(baseline_mount_fd(&baseline, covered), STATUS_ALREADY_MOUNTED, 0, 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, "other"), 1);
        ck_assert_int_eq(umount2(sandbox_path("root/proc"), MNT_DETACH), 0);
        baseline_close(&baseline);
}

SANDBOX_TEST(same_directory_twice_in_a_request_is_refused) {
        struct baseline baseline = baseline_open();
        struct wire_request request = {
                .operation = PROTOCOL_MOUNT,
                .n_targets = 3,
                .targets = {{PROTOCOL_PROC, 0}, {PROTOCOL_SYSFS, 0}, {PROTOCOL_PROC, 0}},
        };
        int targets[] = {open_proc(), sandbox_open(USER_ALICE, sandbox_path("root/sys")),
                         open_proc()};

        client_expect(client_call(baseline.alice, &request, targets, 3), STATUS_ALREADY_MOUNTED, 0,
                      2);
        close(targets[2]);
        targets[2] = targets[0];
        client_expect(client_call(baseline.alice, &request, targets, 3), STATUS_ALREADY_MOUNTED, 0,
                      2);
        close(targets[0]);
        close(targets[1]);
        baseline_close(&baseline);
}

/* The first target was already attached when the second turned out to be covered. */
SANDBOX_TEST(second_target_that_fails_takes_the_first_back) {
        struct baseline baseline = baseline_open();
        struct wire_request request = {
                .operation = PROTOCOL_MOUNT,
                .n_targets = 2,
                .targets = {{PROTOCOL_PROC, 0}, {PROTOCOL_SYSFS, 0}},
        };
        int targets[] = {open_proc(), sandbox_open(USER_ALICE, sandbox_path("root/sys"))};

        ck_assert_int_eq(mount("other", sandbox_path("root/sys"), "tmpfs", 0, NULL), 0);
        client_expect(client_call(baseline.alice, &request, targets, 2), STATUS_ALREADY_MOUNTED, 0,
                      1);
        ck_assert_uint_eq(sandbox_count_mounts(0, baseline.service.source), 0);
        ck_assert_int_eq(sandbox_rmdir(USER_ALICE, sandbox_path("root/proc")), 0);
        sandbox_make_directory(USER_ALICE, 0755, "root/proc");
        ck_assert_int_eq(umount2(sandbox_path("root/sys"), MNT_DETACH), 0);
        close(targets[0]);
        close(targets[1]);
        baseline_close(&baseline);
}

/* Opens root/proc in a mount namespace of its own and sends it; lives until end of file. */
static void send_foreign_directory(int socket) {
        int fd;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (unshare(CLONE_NEWNS) < 0)
                _exit(EXIT_FAILURE);
        fd = open(sandbox_path("root/proc"), O_PATH | O_DIRECTORY | O_CLOEXEC);
        client_send(socket, "x", 1, &fd, 1);
        recv(socket, &fd, 1, 0);
        _exit(EXIT_SUCCESS);
}

static void expect_out_of_reach(const struct baseline *baseline, int target) {
        client_expect(client_mount(baseline->alice, PROTOCOL_PROC, 0, target),
                      STATUS_FOREIGN_NAMESPACE, 0, 0);
}

SANDBOX_TEST(directory_in_another_mount_namespace_is_refused) {
        struct baseline baseline = baseline_open();
        FDPASS_AUTO struct fdpass_set received = {0};
        int sockets[2];
        char byte;
        pid_t pid;

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                close(sockets[0]);
                close(baseline.alice);
                send_foreign_directory(sockets[1]);
        }
        close(sockets[1]);
        sandbox_wait_for(fdpass_receive(sockets[0], &byte, 1, &received) == 1);
        ck_assert_uint_eq(received.count, 1);

        client_expect(client_mount(baseline.alice, PROTOCOL_PROC, 0, received.fds[0]),
                      STATUS_FOREIGN_NAMESPACE, 0, 0);
        close(sockets[0]);
        sandbox_join(pid);
        /* Its namespace is gone, but not the descriptor. */
        expect_out_of_reach(&baseline, received.fds[0]);
        fdpass_set_close(&received);
        baseline_close(&baseline);
}

SANDBOX_TEST(directory_in_a_detached_tree_is_refused) {
        struct baseline baseline = baseline_open();
        FD_AUTO int tree = open_tree(AT_FDCWD, sandbox_path("root"), OPEN_TREE_CLONE | O_CLOEXEC),
                    proc = -EBADF;

        ck_assert_int_ge(tree, 0);
        proc = openat(tree, "proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_ge(proc, 0);
        expect_out_of_reach(&baseline, proc);
        baseline_close(&baseline);
}

SANDBOX_TEST(removed_directory_is_refused) {
        struct baseline baseline = baseline_open();
        int gone = open_proc();

        ck_assert_int_eq(sandbox_rmdir(USER_ALICE, sandbox_path("root/proc")), 0);
        client_expect(baseline_mount_fd(&baseline, gone), STATUS_TARGET_VANISHED, 0, 0);
        sandbox_make_directory(USER_ALICE, 0755, "root/proc");
        baseline_close(&baseline);
}

static int open_on(const char *file_system, const char *name) {
        const char *path = sandbox_path("%s/proc", name);

        sandbox_make_directory(0, 0755, name);
        if (mount(file_system, sandbox_path("%s", name), file_system, 0, NULL) < 0)
                return -errno;
        if (mkdir(path, 0755) < 0 || chown(path, USER_ALICE, USER_ALICE) < 0)
                return -errno;
        return sandbox_open(0, path);
}

SANDBOX_TEST(directory_on_a_file_system_that_is_not_local_is_refused) {
        struct baseline baseline = baseline_open();
        int inside;

        client_expect(baseline_mount_fd(&baseline, open_on("ramfs", "ram")),
                      STATUS_UNSUPPORTED_FILE_SYSTEM, 0, 0);
        /* Even of procfs and sysfs themselves: what looks like a mountpoint there isn't one, unless
         * systemd-nspawn has mounted over it. */
        umount2("/proc/sys", MNT_DETACH);
        inside = sandbox_open(0, "/proc/sys");
        client_expect(client_mount(baseline.alice, PROTOCOL_SYSFS, 0, inside),
                      STATUS_UNSUPPORTED_FILE_SYSTEM, 0, 0);
        close(inside);
        baseline_close(&baseline);
}

SANDBOX_TEST(refusal_names_the_first_target_at_fault) {
        struct baseline baseline = baseline_open();
        struct wire_request request = {
                .operation = PROTOCOL_MOUNT,
                .n_targets = 3,
                .targets = {{PROTOCOL_PROC, 0}, {PROTOCOL_SYSFS, 0}, {PROTOCOL_PROC, 0}},
        };
        int targets[3];

        sandbox_make_root(USER_BOB, "bob");
        targets[0] = open_proc();
        targets[1] = sandbox_open(USER_BOB, sandbox_path("bob/sys"));
        targets[2] = sandbox_open(0, "/");
        client_expect(client_call(baseline.alice, &request, targets, 3), STATUS_NOT_AUTHORISED, 0,
                      1);
        for (unsigned i = 0; i < 3; i++)
                close(targets[i]);
        baseline_close(&baseline);
}

/* ---- leases ---- */

SANDBOX_TEST(lease_that_the_connection_does_not_hold_is_none) {
        struct baseline baseline = baseline_open();
        FD_AUTO int second = client_connect(&baseline.service, USER_ALICE),
                    bob = client_connect(&baseline.service, USER_BOB);
        uint64_t lease = client_hold_root(baseline.alice, USER_ALICE, sandbox_path("root"));
        const uint64_t others[] = {0,      1,          lease + 1, lease - 1, lease ^ 1ULL << 63,
                                   ~lease, UINT64_MAX, 0xffff,    0x10000,   lease << 16};

        for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
                client_expect(client_unmount(baseline.alice, others[i]), STATUS_NO_SUCH_LEASE, 0,
                              STATUS_NO_TARGET);
        client_expect(client_unmount(second, lease), STATUS_NO_SUCH_LEASE, 0, STATUS_NO_TARGET);
        client_expect(client_unmount(bob, lease), STATUS_NO_SUCH_LEASE, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(sandbox_count_mounts(0, baseline.service.source), 2);
        client_expect(client_unmount(baseline.alice, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        client_expect(client_unmount(baseline.alice, lease), STATUS_NO_SUCH_LEASE, 0,
                      STATUS_NO_TARGET);
        close(fd_take(&second));
        close(fd_take(&bob));
        baseline_close(&baseline);
}

/* ---- who may connect ---- */

static void try_to_connect(void *argument) {
        const struct service *service = argument;
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        FD_AUTO int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        strncpy(address.sun_path, service->socket, sizeof(address.sun_path) - 1);
        ck_assert_int_lt(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        ck_assert_int_eq(errno, EACCES);
}

SANDBOX_TEST(user_outside_the_group_cannot_connect) {
        struct baseline baseline = baseline_open();

        sandbox_run_as(USER_MALLORY, try_to_connect, &baseline.service);
        baseline_close(&baseline);
}

int main(void) {
        TCase *tests = tcase_create("refusals");

        tcase_add_test(tests, what_is_no_directory_is_refused);
        tcase_add_test(tests, own_connection_as_a_target_is_refused_and_not_kept);
        tcase_add_test(tests, directory_of_another_user_is_refused);
        tcase_add_test(tests, writable_directory_of_another_user_is_refused);
        tcase_add_test(tests, directory_of_another_name_is_refused);
        tcase_add_test(tests, root_of_a_mount_is_refused);
        tcase_add_test(tests, mount_of_ours_is_refused_as_a_target);
        tcase_add_test(tests, covered_directory_is_refused_and_what_covers_it_stays);
        tcase_add_test(tests, same_directory_twice_in_a_request_is_refused);
        tcase_add_test(tests, second_target_that_fails_takes_the_first_back);
        tcase_add_test(tests, directory_in_another_mount_namespace_is_refused);
        tcase_add_test(tests, directory_in_a_detached_tree_is_refused);
        tcase_add_test(tests, removed_directory_is_refused);
        tcase_add_test(tests, directory_on_a_file_system_that_is_not_local_is_refused);
        tcase_add_test(tests, refusal_names_the_first_target_at_fault);
        tcase_add_test(tests, lease_that_the_connection_does_not_hold_is_none);
        tcase_add_test(tests, user_outside_the_group_cannot_connect);
        return sandbox_run(tests);
}
