/* SPDX-License-Identifier: Apache-2.0 */

/* Entered for real, each time by a process of its own, as root and as somebody. */

#include "client/enter.h"

#include "common/fd.h"
#include "tests/test.h"
#include "tests/unit/client/capture.h"
#include "tests/unit/client/scripted.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
        SOMEBODY = 60001,
        GROUP = 60100,
};

/* The sanitizer has a thread, with which there is no unshare(CLONE_NEWUSER). */
#if defined(__SANITIZE_THREAD__)
#define CAN_UNSHARE false
#else
#define CAN_UNSHARE true
#endif

/* Below what is entered, and nowhere else. */
#define SIGN "a sign of the root"

static void become_somebody(void) {
        if (geteuid() == 0 &&
            (setresgid(GROUP, GROUP, GROUP) < 0 || setresuid(SOMEBODY, SOMEBODY, SOMEBODY) < 0))
                abort();
}

/* Of the process' own file, by way of the procfs from before: there is none in the root. */
static const char *read_self(int proc, const char *name) {
        static char text[256];
        char path[64];
        ssize_t size;
        FD_AUTO int fd = -EBADF;

        snprintf(path, sizeof(path), "%d/%s", getpid(), name);
        fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
        size = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
        text[size < 0 ? 0 : size] = '\0';
        return text;
}

static unsigned count_open(int proc) {
        unsigned count = 0;
        char path[64];
        DIR *directory;

        snprintf(path, sizeof(path), "%d/fd", getpid());
        directory = fdopendir(openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        ck_assert_ptr_nonnull(directory);
        while (readdir(directory))
                count++;
        closedir(directory);
        return count;
}

static ino_t user_namespace(int proc) {
        char path[64];
        struct stat stat_of_namespace;

        snprintf(path, sizeof(path), "%d/ns/user", getpid());
        return fstatat(proc, path, &stat_of_namespace, 0) < 0 ? 0 : stat_of_namespace.st_ino;
}

/* In the root, at its top, and closed to others of the same user. */
static void expect_entered(void) {
        char cwd[16];

        ck_assert_ptr_nonnull(getcwd(cwd, sizeof(cwd)));
        ck_assert_str_eq(cwd, "/");
        ck_assert_int_eq(access("/" SIGN, F_OK), 0);
        ck_assert_int_eq(access(SIGN, F_OK), 0);
        ck_assert_int_eq(chdir(".."), 0);
        ck_assert_int_eq(access(SIGN, F_OK), 0);
        ck_assert_int_lt(access("/proc/self", F_OK), 0);
        ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 0);
}

static int enter_with_privilege(const void *root) {
        int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        ino_t before;

        prctl(PR_SET_DUMPABLE, 0);
        before = user_namespace(proc);
        ck_assert_int_eq(enter_root(*(const int *)root), 0);
        expect_entered();
        ck_assert_uint_eq(user_namespace(proc), before);
        return 0;
}

/* One line, of `id` alone. */
static void expect_map(const char *map, unsigned id) {
        unsigned from, to, length;

        ck_assert_int_eq(sscanf(map, "%u %u %u", &from, &to, &length), 3);
        ck_assert_uint_eq(from, id);
        ck_assert_uint_eq(length, 1);
        ck_assert_ptr_eq(strchr(map, '\n'), strrchr(map, '\n'));
}

static int enter_without_privilege(const void *root) {
        int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        unsigned before = count_open(proc);
        uid_t uid;
        gid_t gid;

        become_somebody();
        uid = geteuid();
        gid = getegid();
        prctl(PR_SET_DUMPABLE, 0);
        ck_assert_int_eq(enter_root(*(const int *)root), 0);
        expect_entered();

        ck_assert_uint_eq(geteuid(), uid);
        ck_assert_uint_eq(getegid(), gid);
        prctl(PR_SET_DUMPABLE, 1); /* to read its own files */
        expect_map(read_self(proc, "uid_map"), uid);
        expect_map(read_self(proc, "gid_map"), gid);
        ck_assert_str_eq(read_self(proc, "setgroups"), "deny\n");
        ck_assert_uint_eq(count_open(proc), before);
        return 0;
}

/* Of mode 0755, with the sign in it. */
static void make_root(void) {
        FD_AUTO int sign = openat(scripted.root, SIGN, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

        ck_assert_int_ge(sign, 0);
}

START_TEST(with_privilege_it_stays_in_its_user_namespace) {
        if (geteuid() != 0)
                test_skip("chroot needs root");
        make_root();
        ck_assert_int_eq(capture(enter_with_privilege, &scripted.root), 0);
        ck_assert_str_eq(captured.errors, "");
}
END_TEST

START_TEST(without_privilege_only_its_own_user_and_group_exist) {
        if (!CAN_UNSHARE)
                test_skip("impossible here: the sanitizer has a thread");
        make_root();
        ck_assert_int_eq(capture(enter_without_privilege, &scripted.root), 0);
        ck_assert_str_eq(captured.errors, "");
}
END_TEST

/* ---- failures: the process ends, so all that it leaves is the message ---- */

static int enter_as_somebody(const void *root) {
        become_somebody();
        return -enter_root(*(const int *)root);
}

START_TEST(a_root_that_may_not_be_searched_is_told) {
        FD_AUTO int closed = -EBADF;

        if (geteuid() != 0)
                test_skip("becoming another user needs root");
        make_mountpoints();
        ck_assert_int_eq(fchmodat(scripted.root, "proc", 0600, 0), 0);
        closed = openat(scripted.root, "proc", O_PATH | O_CLOEXEC);
        ck_assert_int_eq(capture(enter_as_somebody, &closed), ECANCELED);
        expect_errors("search permission");
        expect_errors("chmod");
}
END_TEST

START_TEST(what_is_no_directory_is_told) {
        FD_AUTO int file = open("/dev/null", O_PATH | O_CLOEXEC);

        ck_assert_int_eq(capture(enter_as_somebody, &file), ECANCELED);
        expect_errors("cannot enter the root directory: Not a directory");
}
END_TEST

static void write_text(const char *path, const char *text) {
        FD_AUTO int fd = open(path, O_WRONLY | O_CLOEXEC);

        if (fd < 0 || write(fd, text, strlen(text)) < 0)
                abort();
}

/* As execve(2) leaves a user in a namespace. */
static void drop_capabilities(void) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

        if (syscall(SYS_capset, &header, none) < 0)
                abort();
}

/* In a user namespace of its own, whose sysctl it may set. */
static int enter_where_there_are_no_more(const void *root) {
        char map[32];

        become_somebody();
        snprintf(map, sizeof(map), "%u %u 1", geteuid(), geteuid());
        prctl(PR_SET_DUMPABLE, 1);
        if (unshare(CLONE_NEWUSER) < 0)
                abort();
        write_text("/proc/self/uid_map", map);
        write_text("/proc/sys/user/max_user_namespaces", "0");
        drop_capabilities();
        return -enter_root(*(const int *)root);
}

/* The kernel lets no process in a chroot have one. */
static int enter_in_a_chroot(const void *root) {
        if (fchdir(scripted.root) < 0 || chroot(".") < 0)
                abort();
        return enter_as_somebody(root);
}

START_TEST(a_user_namespace_that_is_denied_is_told_with_the_cause) {
        if (!CAN_UNSHARE)
                test_skip("impossible here: the sanitizer has a thread");
        ck_assert_int_eq(capture(enter_where_there_are_no_more, &scripted.root), ECANCELED);
        expect_errors("cannot make a user namespace: No space left on device");
        expect_errors("user.max_user_namespaces is 0");
        expect_errors("or give mountatctl CAP_SYS_CHROOT");

        if (geteuid() != 0)
                test_skip("chroot needs root");
        ck_assert_int_eq(capture(enter_in_a_chroot, &scripted.root), ECANCELED);
        expect_errors("cannot make a user namespace: Operation not permitted");
        expect_errors("a process in a chroot");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("enter");
        TCase *tests = scripted_case(suite, "enter");

        tcase_add_test(tests, with_privilege_it_stays_in_its_user_namespace);
        tcase_add_test(tests, without_privilege_only_its_own_user_and_group_exist);
        tcase_add_test(tests, a_root_that_may_not_be_searched_is_told);
        tcase_add_test(tests, what_is_no_directory_is_told);
        tcase_add_test(tests, a_user_namespace_that_is_denied_is_told_with_the_cause);
        return suite_run_all(suite);
}
