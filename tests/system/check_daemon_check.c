/* SPDX-License-Identifier: Apache-2.0 */

/* Requests that are checked like mounts, with the same statuses, and mount nothing. */

#include "common/fd.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* Takes the descriptor. */
static struct wire_reply ask(int client, uint32_t flags, uint32_t file_system, int target) {
        struct wire_request request = {
                .operation = PROTOCOL_MOUNT,
                .flags = flags,
                .n_targets = 1,
                .targets = {{file_system, 0}},
        };
        struct wire_reply reply = client_call(client, &request, &target, 1);

        close(target);
        return reply;
}

static void expect_nothing_mounted(const struct service *service) {
        ck_assert_uint_eq(sandbox_count_mounts(0, service->source), 0);
}

/* ---- what could be mounted ---- */

SANDBOX_TEST(accepted_target_is_not_mounted_on) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        struct wire_request request = {
                .operation = PROTOCOL_MOUNT,
                .flags = PROTOCOL_CHECK,
                .n_targets = 2,
                .targets = {{PROTOCOL_PROC, PROTOCOL_PIDS_ONLY}, {PROTOCOL_SYSFS, 0}},
        };
        int targets[2];

        sandbox_make_root(USER_ALICE, "root");
        targets[0] = sandbox_open(USER_ALICE, sandbox_path("root/proc"));
        targets[1] = sandbox_open(USER_ALICE, sandbox_path("root/sys"));
        for (unsigned i = 0; i < 100; i++) {
                struct wire_reply reply = client_call(client, &request, targets, 2);

                client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
                ck_assert_uint_eq(reply.lease, 0);
                expect_nothing_mounted(&service);
        }
        close(targets[0]);
        close(targets[1]);
        client_hello(client);
        sandbox_wait_for(service_count_fds(&service) == service.fds + 1);
        ck_assert_int_eq(sandbox_rmdir(USER_ALICE, sandbox_path("root/proc")), 0);
        sandbox_make_directory(USER_ALICE, 0755, "root/proc");
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        service_stop(&service);
}

/* ---- what would be refused ---- */

static int open_file(void) {
        return open("/dev/null", O_PATH | O_CLOEXEC);
}

static int open_own(void) {
        return sandbox_open(USER_ALICE, sandbox_path("root/proc"));
}

static int open_sys(void) {
        return sandbox_open(USER_ALICE, sandbox_path("root/sys"));
}

static int open_bobs(void) {
        return sandbox_open(USER_BOB, sandbox_path("bob/proc"));
}

static int open_mount(void) {
        return sandbox_open(0, "/proc");
}

static int open_below_mount(void) {
        return sandbox_open(0, "/proc/sys");
}

static int open_ram(void) {
        return sandbox_open(0, sandbox_path("ram/proc"));
}

static int open_removed(void) {
        int fd;

        sandbox_make_directory(USER_ALICE, 0755, "root/gone");
        sandbox_make_directory(USER_ALICE, 0755, "root/gone/proc");
        fd = sandbox_open(USER_ALICE, sandbox_path("root/gone/proc"));
        ck_assert_int_eq(rmdir(sandbox_path("root/gone/proc")), 0);
        ck_assert_int_eq(rmdir(sandbox_path("root/gone")), 0);
        return fd;
}

static int open_detached(void) {
        FD_AUTO int tree = open_tree(AT_FDCWD, sandbox_path("root"), OPEN_TREE_CLONE | O_CLOEXEC);
        int fd;

        ck_assert_int_ge(tree, 0);
        fd = openat(tree, "proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        return fd;
}

SANDBOX_TEST(statuses_are_those_of_the_mount) {
        static const struct {
                const char *what;
                int (*open)(void);
                uint32_t file_system;
                enum status status;
        } rows[] = {
                {"a file", open_file, PROTOCOL_PROC, STATUS_NOT_A_DIRECTORY},
                {"proc's name", open_own, PROTOCOL_SYSFS, STATUS_WRONG_NAME},
                {"sys's name", open_sys, PROTOCOL_PROC, STATUS_WRONG_NAME},
                {"another user's", open_bobs, PROTOCOL_PROC, STATUS_NOT_AUTHORISED},
                {"the root of a mount", open_mount, PROTOCOL_PROC, STATUS_ALREADY_MOUNTED},
                {"procfs itself", open_below_mount, PROTOCOL_SYSFS, STATUS_UNSUPPORTED_FILE_SYSTEM},
                {"ramfs", open_ram, PROTOCOL_PROC, STATUS_UNSUPPORTED_FILE_SYSTEM},
                {"a removed directory", open_removed, PROTOCOL_PROC, STATUS_TARGET_VANISHED},
                {"a detached tree", open_detached, PROTOCOL_PROC, STATUS_FOREIGN_NAMESPACE},
                {"file system 9", open_own, 9, STATUS_UNSUPPORTED_FILE_SYSTEM},
        };
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);

        sandbox_make_root(USER_ALICE, "root");
        sandbox_make_root(USER_BOB, "bob");
        sandbox_make_directory(0, 0755, "ram");
        ck_assert_int_eq(mount("ramfs", sandbox_path("ram"), "ramfs", 0, NULL), 0);
        sandbox_make_directory(USER_ALICE, 0755, "ram/proc");
        for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct wire_reply mounted = ask(client, 0, rows[i].file_system, rows[i].open());
                struct wire_reply checked =
                        ask(client, PROTOCOL_CHECK, rows[i].file_system, rows[i].open());

                ck_assert_msg(checked.status == rows[i].status, "%s: status %u (%s), not %u",
                              rows[i].what, checked.status, checked.text, rows[i].status);
                client_expect(checked, mounted.status, mounted.error, mounted.target);
                ck_assert_str_eq(checked.text, mounted.text);
                expect_nothing_mounted(&service);
        }
        client_hello(client);
        sandbox_wait_for(service_count_fds(&service) == service.fds + 1);
        service_stop(&service);
}

SANDBOX_TEST(refusal_names_the_first_target_at_fault) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        struct wire_request request = {
                .operation = PROTOCOL_MOUNT,
                .flags = PROTOCOL_CHECK,
                .n_targets = 3,
                .targets = {{PROTOCOL_PROC, 0}, {PROTOCOL_SYSFS, 0}, {PROTOCOL_PROC, 0}},
        };
        int targets[3];

        sandbox_make_root(USER_ALICE, "root");
        targets[0] = open_own();
        targets[1] = open_sys();
        targets[2] = open_own();
        client_expect(client_call(client, &request, targets, 3), STATUS_ALREADY_MOUNTED, 0, 2);
        for (unsigned i = 0; i < 3; i++)
                close(targets[i]);
        service_stop(&service);
}

/* ---- build directories ---- */

SANDBOX_TEST(build_directory_itself_is_accepted_of_who_may_mount_below) {
        const char *option = sandbox_path("build:%d", USER_ALICE);
        struct service service = service_start_with("a", "--build-directory", option);
        FD_AUTO int alice = client_connect(&service, USER_ALICE),
                    bob = client_connect(&service, USER_BOB);
        const char *build = sandbox_make_directory(0, 0755, "build");

        client_expect(ask(alice, PROTOCOL_CHECK, PROTOCOL_PROC, sandbox_open(0, build)), STATUS_OK,
                      0, STATUS_NO_TARGET);
        client_expect(ask(alice, PROTOCOL_CHECK, PROTOCOL_SYSFS, sandbox_open(0, build)), STATUS_OK,
                      0, STATUS_NO_TARGET);
        client_expect(ask(alice, 0, PROTOCOL_PROC, sandbox_open(0, build)), STATUS_WRONG_NAME, 0,
                      0);
        client_expect(ask(alice, PROTOCOL_KEEP, PROTOCOL_PROC, sandbox_open(0, build)),
                      STATUS_WRONG_NAME, 0, 0);
        client_expect(ask(bob, PROTOCOL_CHECK, PROTOCOL_PROC, sandbox_open(0, build)),
                      STATUS_NOT_AUTHORISED, 0, 0);
        /* Directories below it are open as well, and those beside it aren't. */
        client_expect(ask(alice, PROTOCOL_CHECK, PROTOCOL_PROC,
                          sandbox_open(0, sandbox_make_directory(0, 0755, "building"))),
                      STATUS_NOT_AUTHORISED, 0, 0);
        client_expect(ask(alice, PROTOCOL_CHECK, PROTOCOL_PROC,
                          sandbox_open(0, sandbox_make_directory(0, 0755, "build/action"))),
                      STATUS_OK, 0, STATUS_NO_TARGET);
        client_expect(ask(alice, PROTOCOL_CHECK, PROTOCOL_PROC,
                          sandbox_open(0, sandbox_make_directory(0, 0755, "build/proc"))),
                      STATUS_OK, 0, STATUS_NO_TARGET);
        expect_nothing_mounted(&service);
        service_stop(&service);
}

/* A runner that makes its own input roots needs no option. */
SANDBOX_TEST(own_directory_is_accepted_as_what_is_made_in_it_would_be) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int alice = client_connect(&service, USER_ALICE),
                    bob = client_connect(&service, USER_BOB);
        const char *build = sandbox_make_directory(USER_ALICE, 0755, "build");

        client_expect(ask(alice, PROTOCOL_CHECK, PROTOCOL_PROC, sandbox_open(0, build)), STATUS_OK,
                      0, STATUS_NO_TARGET);
        client_expect(ask(alice, 0, PROTOCOL_PROC, sandbox_open(0, build)), STATUS_WRONG_NAME, 0,
                      0);
        client_expect(ask(bob, PROTOCOL_CHECK, PROTOCOL_PROC, sandbox_open(0, build)),
                      STATUS_NOT_AUTHORISED, 0, 0);
        client_expect(ask(alice, PROTOCOL_CHECK, PROTOCOL_PROC,
                          open_tree(AT_FDCWD, build, OPEN_TREE_CLONE | O_CLOEXEC)),
                      STATUS_FOREIGN_NAMESPACE, 0, 0);
        ck_assert_int_eq(mount("build", build, "ramfs", 0, NULL), 0);
        ck_assert_int_eq(chown(build, USER_ALICE, USER_ALICE), 0);
        client_expect(ask(alice, PROTOCOL_CHECK, PROTOCOL_PROC, sandbox_open(0, build)),
                      STATUS_UNSUPPORTED_FILE_SYSTEM, 0, 0);
        expect_nothing_mounted(&service);
        service_stop(&service);
}

/* As with Buildbarn's FUSE: the directory is the root of a mount. */
SANDBOX_TEST(build_directory_that_is_a_mount_is_accepted) {
        const char *build = sandbox_make_directory(0, 0755, "build");
        struct service service = service_start_with("a", "--build-directory", build);
        FD_AUTO int client = client_connect(&service, USER_ALICE);

        ck_assert_int_eq(mount("build", build, "ramfs", 0, NULL), 0);
        client_expect(ask(client, PROTOCOL_CHECK, PROTOCOL_PROC, sandbox_open(0, build)), STATUS_OK,
                      0, STATUS_NO_TARGET);
        client_expect(ask(client, 0, PROTOCOL_PROC, sandbox_open(0, build)), STATUS_ALREADY_MOUNTED,
                      0, 0);
        expect_nothing_mounted(&service);
        service_stop(&service);
}

/* ---- limits ---- */

SANDBOX_TEST(check_costs_nothing_of_the_users_mounts) {
        struct service service =
                service_start_with("a", "--max-mounts-per-user=2", "--max-targets=2");
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        struct wire_request request = {
                .operation = PROTOCOL_MOUNT,
                .flags = PROTOCOL_CHECK,
                .n_targets = 3,
                .targets = {{PROTOCOL_PROC, 0}, {PROTOCOL_SYSFS, 0}, {PROTOCOL_PROC, 0}},
        };
        int targets[3];

        client_hold_root(client, USER_ALICE, sandbox_make_root(USER_ALICE, "held"));
        sandbox_make_root(USER_ALICE, "root");
        sandbox_make_root(USER_ALICE, "more");
        client_expect(client_mount_root(client, USER_ALICE, sandbox_path("root")),
                      STATUS_LIMIT_EXCEEDED, 0, STATUS_NO_TARGET);
        client_expect(ask(client, PROTOCOL_CHECK, PROTOCOL_PROC, open_own()), STATUS_OK, 0,
                      STATUS_NO_TARGET);
        targets[0] = open_own();
        targets[1] = open_sys();
        targets[2] = sandbox_open(USER_ALICE, sandbox_path("more/proc"));
        client_expect(client_call(client, &request, targets, 3), STATUS_LIMIT_EXCEEDED, 0,
                      STATUS_NO_TARGET);
        for (unsigned i = 0; i < 3; i++)
                close(targets[i]);
        service_stop(&service);
}

int main(void) {
        TCase *tests = tcase_create("check");

        tcase_add_test(tests, accepted_target_is_not_mounted_on);
        tcase_add_test(tests, statuses_are_those_of_the_mount);
        tcase_add_test(tests, refusal_names_the_first_target_at_fault);
        tcase_add_test(tests, build_directory_itself_is_accepted_of_who_may_mount_below);
        tcase_add_test(tests, own_directory_is_accepted_as_what_is_made_in_it_would_be);
        tcase_add_test(tests, build_directory_that_is_a_mount_is_accepted);
        tcase_add_test(tests, check_costs_nothing_of_the_users_mounts);
        return sandbox_run(tests);
}
