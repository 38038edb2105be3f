/* SPDX-License-Identifier: Apache-2.0 */

/* The contents of new superblocks on the real kernel: our namespaces, or those of a container. */

#include "daemon/superblock.h"

#include "common/fd.h"
#include "common/protocol.h"
#include "daemon/kernel.h"
#include "daemon/namespaces.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

static const struct superblock_recipe proc = {.file_system = "proc",
                                              .attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
                                              .options = {{"hidepid", "ptraceable"}, {"ro", NULL}}},
                                      sysfs = {.file_system = "sysfs",
                                               .attributes = MOUNT_ATTR_RDONLY};

static int make(const struct superblock_recipe *recipe, const struct namespaces *namespaces) {
        int fd = -EBADF;

        ck_assert_uint_eq(superblock_make(recipe, "label", namespaces, &fd).status, STATUS_OK);
        ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        return fd;
}

/* Whether the procfs has a directory for the process. */
static bool shows_pid(int fd, pid_t pid) {
        char name[16];

        snprintf(name, sizeof(name), "%d", pid);
        return faccessat(fd, name, F_OK, 0) == 0;
}

SANDBOX_TEST(applies_the_recipe) {
        FD_AUTO int fd = make(&proc, NULL), target = -EBADF;
        struct sandbox_mount found;

        sandbox_make_directory(0, 0755, "a");
        target = open(sandbox_path("a"), O_PATH | O_CLOEXEC);
        ck_assert_int_eq(kernel_move_mount(fd, target), 0);
        ck_assert(sandbox_find_mount(0, sandbox_path("a"), &found));
        ck_assert_str_eq(found.type, "proc");
        ck_assert_str_eq(found.source, "label");
        ck_assert(sandbox_has_option(found.options, "nosuid"));
        ck_assert(sandbox_has_option(found.options, "nodev"));
        ck_assert(!sandbox_has_option(found.options, "noexec"));
        ck_assert(sandbox_has_option(found.super, "hidepid=ptraceable"));
        ck_assert(sandbox_has_option(found.super, "ro"));
        ck_assert(shows_pid(fd, getpid()));
}

SANDBOX_TEST(each_superblock_is_new) {
        FD_AUTO int one = make(&proc, NULL), other = make(&proc, NULL);
        struct stat a, b;

        ck_assert_int_eq(fstat(one, &a), 0);
        ck_assert_int_eq(fstat(other, &b), 0);
        ck_assert_uint_ne(a.st_dev, b.st_dev);
}

SANDBOX_TEST(returns_the_kernels_error_message) {
        static const struct superblock_recipe wrong = {.file_system = "proc",
                                                       .options = {{"nonsense", "1"}}},
                                              unknown = {.file_system = "nonsense"};
        struct verdict verdict;
        int fd = 4711;

        verdict = superblock_make(&wrong, "label", NULL, &fd);
        ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
        ck_assert_int_eq(verdict.error, EINVAL);
        ck_assert_str_eq(verdict.text, "proc: Unknown parameter 'nonsense'");
        verdict = superblock_make(&unknown, "label", NULL, &fd);
        ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
        ck_assert_int_eq(verdict.error, ENODEV);
        ck_assert_int_eq(fd, 4711);
}

/* Each network namespace has a "lo" of its own. */
static void shows(const struct namespaces *namespaces, const struct container *container) {
        FD_AUTO int processes = make(&proc, namespaces), devices = make(&sysfs, namespaces),
                    own = make(&sysfs, NULL);
        struct stat inside, outside;

        ck_assert(shows_pid(processes, 1));
        ck_assert_int_eq(shows_pid(processes, container->init), !container_has_pids());
        ck_assert_int_eq(fstatat(devices, "class/net/lo", &inside, 0), 0);
        ck_assert_int_eq(fstatat(own, "class/net/lo", &outside, 0), 0);
        ck_assert_uint_ne(inside.st_ino, outside.st_ino);
}

SANDBOX_TEST(shows_the_given_namespaces) {
        const char *lacking = container_lacks(CONTAINER_ROOTFUL);
        struct namespaces namespaces = {.fds = {-EBADF, -EBADF, -EBADF, -EBADF}};
        struct container container;

        if (lacking)
                test_skip(lacking);
        container = container_start(CONTAINER_ROOTFUL);
        namespaces.fds[PROTOCOL_NAMESPACE_PID] = container_open(&container, "pid");
        namespaces.fds[PROTOCOL_NAMESPACE_NETWORK] = container_open(&container, "net");
        namespaces.ours[PROTOCOL_NAMESPACE_PID] = !container_has_pids();
        ck_assert_int_eq(namespaces_prepare(false), 0);
        shows(&namespaces, &container);
        for (unsigned kind = 0; kind < NAMESPACES_KINDS; kind++)
                fd_close(namespaces.fds[kind]);
        container_kill(&container);
}

static void ask_for_one_above(void *argument) {
        const struct namespaces *namespaces = argument;
        struct verdict verdict;
        int fd = 4711;
        pid_t child;

        ck_assert_int_eq(unshare(CLONE_NEWPID), 0);
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child > 0) {
                sandbox_join(child);
                return;
        }
        verdict = superblock_make(&proc, "label", namespaces, &fd);
        ck_assert_uint_eq(verdict.status, STATUS_FOREIGN_NAMESPACE);
        ck_assert_ptr_nonnull(strstr(verdict.text, "non-descendant"));
        ck_assert_int_eq(fd, 4711);
        _exit(EXIT_SUCCESS);
}

/* The kernel's text: neither here nor below. */
SANDBOX_TEST(refuses_a_pid_namespace_that_is_not_below_ours) {
        struct namespaces namespaces = {.fds = {-EBADF, -EBADF, -EBADF, -EBADF}};
        FD_AUTO int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);

        if (!container_has_pids())
                test_skip("impossible here: it takes Linux 6.17");
        namespaces.fds[PROTOCOL_NAMESPACE_PID] = own;
        sandbox_run_as(0, ask_for_one_above, &namespaces);
}

int main(void) {
        TCase *tests = tcase_create("superblock");

        tcase_add_test(tests, applies_the_recipe);
        tcase_add_test(tests, each_superblock_is_new);
        tcase_add_test(tests, returns_the_kernels_error_message);
        tcase_add_test(tests, shows_the_given_namespaces);
        tcase_add_test(tests, refuses_a_pid_namespace_that_is_not_below_ours);
        return sandbox_run(tests);
}
