/* SPDX-License-Identifier: Apache-2.0 */

/* Real chroots, each in a process of its own, with and without privilege. */

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

/* The sanitizer runs a thread, and unshare(CLONE_NEWUSER) fails in a multithreaded process. */
#if defined(__SANITIZE_THREAD__)
#define CAN_UNSHARE false
#else
#define CAN_UNSHARE true
#endif

/* A file that only the root has. */
#define SIGN "a sign of the root"

static void become_somebody(void) {
        if (geteuid() == 0 &&
            (setresgid(GROUP, GROUP, GROUP) < 0 || setresuid(SOMEBODY, SOMEBODY, SOMEBODY) < 0))
                abort();
}

/* Reads a file of this process through the procfs outside: the root has none. */
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

/* The root is this directory, the working directory is its top, the process is non-dumpable. */
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

/* A single line, which maps only `id`. */
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

static void make_root(void) {
        FD_AUTO int sign = openat(scripted.root, SIGN, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

        ck_assert_int_ge(sign, 0);
}

START_TEST(privileged_process_keeps_its_user_namespace) {
        if (geteuid() != 0)
                test_skip("chroot needs root");
        make_root();
        ck_assert_int_eq(capture(enter_with_privilege, &scripted.root), 0);
        ck_assert_str_eq(captured.errors, "");
}
END_TEST

START_TEST(unprivileged_process_maps_only_its_own_ids) {
        if (!CAN_UNSHARE)
                test_skip("impossible here: the sanitizer has a thread");
        make_root();
        ck_assert_int_eq(capture(enter_without_privilege, &scripted.root), 0);
        ck_assert_str_eq(captured.errors, "");
}
END_TEST

/* ---- failures ---- */

static int enter_as_somebody(const void *root) {
        become_somebody();
        return -enter_root(*(const int *)root);
}

START_TEST(error_names_missing_search_permission) {
        FD_AUTO int closed = -EBADF;

        if (geteuid() != 0)
                test_skip("becoming another user needs root");
        make_mountpoints();
        ck_assert_int_eq(fchmodat(scripted.root, "proc", 0600, 0), 0);
        closed = openat(scripted.root, "proc", O_PATH | O_CLOEXEC);
        ck_assert_int_eq(capture(enter_as_somebody, &closed), ECANCELED);
        expect_errors("search permission (x)");
        expect_errors("chmod");
}
END_TEST

START_TEST(refuses_what_is_no_directory) {
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

/* As execve(2) does for an unprivileged user in a user namespace. */
static void drop_capabilities(void) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

        if (syscall(SYS_capset, &header, none) < 0)
                abort();
}

/* In a user namespace of its own, where this process may set the sysctl. */
static int enter_where_none_is_left(const void *root) {
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

/* The kernel denies user namespaces in a chroot. */
static int enter_in_a_chroot(const void *root) {
        if (fchdir(scripted.root) < 0 || chroot(".") < 0)
                abort();
        return enter_as_somebody(root);
}

START_TEST(error_names_the_cause_of_a_denied_user_namespace) {
        if (!CAN_UNSHARE)
                test_skip("impossible here: the sanitizer has a thread");
        ck_assert_int_eq(capture(enter_where_none_is_left, &scripted.root), ECANCELED);
        expect_errors("a user namespace: No space left on device");
        expect_errors("user.max_user_namespaces is 0");
        expect_errors("or give mountatctl CAP_SYS_CHROOT");

        if (geteuid() != 0)
                test_skip("chroot needs root");
        ck_assert_int_eq(capture(enter_in_a_chroot, &scripted.root), ECANCELED);
        expect_errors("a user namespace: Operation not permitted");
        expect_errors("chroot, ");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("enter");
        TCase *tests = scripted_case(suite, "enter");

        tcase_add_test(tests, privileged_process_keeps_its_user_namespace);
        tcase_add_test(tests, unprivileged_process_maps_only_its_own_ids);
        tcase_add_test(tests, error_names_missing_search_permission);
        tcase_add_test(tests, refuses_what_is_no_directory);
        tcase_add_test(tests, error_names_the_cause_of_a_denied_user_namespace);
        return suite_run_all(suite);
}
