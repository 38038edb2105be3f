/* SPDX-License-Identifier: Apache-2.0 */

/* What a build action may have put below its root, and what is opened, made and removed there. */

#include "client/root.h"

#include "common/fd.h"
#include "tests/test.h"
#include "tests/unit/client/scripted.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum {
        ALL = MOUNTAT_PROC | MOUNTAT_SYSFS | MOUNTAT_DEV,
        NOBODY = 65534,
};

static struct root root;
static struct root_targets targets;
static struct failure failure;

static void open_root(uint32_t flags) {
        ck_assert_int_eq(root_open(&root, scripted.root, flags, &failure), 0);
}

static void open_targets(uint32_t flags) {
        open_root(flags);
        ck_assert_int_eq(root_open_targets(&root, &targets, &failure), 0);
}

static void close_all(void) {
        root_targets_close(&targets);
        root_close(&root);
}

static void make(const char *name) {
        ck_assert_int_eq(mkdirat(scripted.root, name, 0755), 0);
}

static void put_link(const char *name, const char *target) {
        ck_assert_int_eq(symlinkat(target, scripted.root, name), 0);
}

static void put_file(const char *name) {
        FD_AUTO int fd = openat(scripted.root, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

        ck_assert_int_ge(fd, 0);
}

static bool is_same(int fd, const char *name) {
        struct stat here, there;

        ck_assert_int_eq(fstat(fd, &here), 0);
        ck_assert_int_eq(fstatat(scripted.root, name, &there, AT_SYMLINK_NOFOLLOW), 0);
        return here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

/* ---- the root ---- */

START_TEST(it_has_a_descriptor_of_its_own) {
        open_root(MOUNTAT_PROC | MOUNTAT_CREATE);
        ck_assert_int_ge(root.fd, 3);
        ck_assert_int_ne(root.fd, scripted.root);
        ck_assert_int_eq(fcntl(root.fd, F_GETFD), FD_CLOEXEC);
        ck_assert(is_same(root.fd, "."));
        ck_assert_uint_eq(root.flags, MOUNTAT_PROC | MOUNTAT_CREATE);
        ck_assert_uint_eq(root.created, 0);
        for (int i = 0; i < 2; i++) {
                root_close(&root);
                ck_assert_int_lt(root.fd, 0);
        }
        ck_assert(is_same(scripted.root, "."));
}
END_TEST

START_TEST(a_descriptor_that_is_none_or_one_too_many_is_told) {
        const int *filled;

        ck_assert_int_eq(root_open(&root, -1, MOUNTAT_PROC, &failure), -EBADF);
        ck_assert_int_eq(failure.status, MOUNTAT_STATUS_CLIENT_FAILED);
        ck_assert_uint_eq(failure.target, MOUNTAT_NO_TARGET);
        ck_assert_str_eq(failure.text,
                         "cannot duplicate the root directory's descriptor: Bad file descriptor");
        root_close(&root);

        filled = descriptors_leave(0, scripted.root);
        ck_assert_int_eq(root_open(&root, scripted.root, MOUNTAT_PROC, &failure), -EMFILE);
        root_close(&root);
        descriptors_give_back(filled);
}
END_TEST

/* ---- opening ---- */

static const struct {
        uint32_t flags;
        struct {
                const char *name;
                uint32_t file_system, options;
        } targets[ROOT_TARGETS_MAX];
} selections[] = {
        {MOUNTAT_PROC, {{"proc", MOUNTAT_FILE_SYSTEM_PROC}}},
        {MOUNTAT_SYSFS, {{"sys", MOUNTAT_FILE_SYSTEM_SYSFS}}},
        {MOUNTAT_DEV, {{"dev", MOUNTAT_FILE_SYSTEM_DEV}}},
        {MOUNTAT_PROC | MOUNTAT_DEV,
         {{"proc", MOUNTAT_FILE_SYSTEM_PROC}, {"dev", MOUNTAT_FILE_SYSTEM_DEV}}},
        {ALL,
         {{"proc", MOUNTAT_FILE_SYSTEM_PROC},
          {"sys", MOUNTAT_FILE_SYSTEM_SYSFS},
          {"dev", MOUNTAT_FILE_SYSTEM_DEV}}},
        {ALL | MOUNTAT_READ_ONLY,
         {{"proc", MOUNTAT_FILE_SYSTEM_PROC, MOUNTAT_OPTION_READ_ONLY},
          {"sys", MOUNTAT_FILE_SYSTEM_SYSFS, MOUNTAT_OPTION_READ_ONLY},
          {"dev", MOUNTAT_FILE_SYSTEM_DEV, MOUNTAT_OPTION_READ_ONLY}}},
        {ALL | MOUNTAT_PIDS_ONLY | MOUNTAT_CREATE | MOUNTAT_KEEP,
         {{"proc", MOUNTAT_FILE_SYSTEM_PROC, MOUNTAT_OPTION_PIDS_ONLY},
          {"sys", MOUNTAT_FILE_SYSTEM_SYSFS},
          {"dev", MOUNTAT_FILE_SYSTEM_DEV}}},
};

START_TEST(targets_are_those_of_the_flags_in_their_order) {
        uint32_t n = 0;

        make_mountpoints();
        make("dev");
        open_targets(selections[_i].flags);
        for (; n < targets.count; n++) {
                const struct mountat_target *target = &targets.targets[n];

                ck_assert_ptr_nonnull(selections[_i].targets[n].name);
                ck_assert(is_same(target->fd, selections[_i].targets[n].name));
                ck_assert_uint_eq(target->file_system, selections[_i].targets[n].file_system);
                ck_assert_uint_eq(target->options, selections[_i].targets[n].options);
                ck_assert_int_eq(fcntl(target->fd, F_GETFD), FD_CLOEXEC);
        }
        ck_assert(n == ROOT_TARGETS_MAX || !selections[_i].targets[n].name);
        ck_assert_uint_eq(root.created, 0);
        close_all();
        ck_assert_uint_eq(targets.count, 0);
}
END_TEST

static void nothing(void) {
}

static void links_to_a_directory(void) {
        make("elsewhere");
        put_link("proc", "elsewhere");
}

static void links_to_nothing(void) {
        put_link("proc", "nowhere");
}

static void links_to_the_host(void) {
        put_link("dev", "/dev");
}

static void has_a_file(void) {
        put_file("proc");
}

static void has_only_proc(void) {
        make("proc");
}

static void is_removed(void) {
        char path[100];

        snprintf(path, sizeof(path), "%s/root", scripted.dir);
        ck_assert_int_eq(rmdir(path), 0);
}

static void belongs_to_another(void) {
        ck_assert_int_eq(seteuid(NOBODY), 0);
}

static void is_closed(void) {
        make("proc");
        ck_assert_int_eq(fchmodat(scripted.root, ".", 0700, 0), 0);
        belongs_to_another();
}

static const struct {
        void (*prepare)(void);
        uint32_t flags;
        int error;
        int status;
        uint32_t target;
        const char *text;
} refusals[] = {
        {nothing, MOUNTAT_PROC, ENOENT, MOUNTAT_STATUS_CLIENT_FAILED, 0,
         "no directory proc below the root: create it, or add MOUNTAT_CREATE"},
        {has_only_proc, MOUNTAT_PROC | MOUNTAT_DEV, ENOENT, MOUNTAT_STATUS_CLIENT_FAILED, 1,
         "no directory dev below the root"},
        {links_to_a_directory, MOUNTAT_PROC, ELOOP, MOUNTAT_STATUS_CLIENT_FAILED, 0,
         "proc below the root is a symbolic link"},
        {links_to_nothing, MOUNTAT_PROC | MOUNTAT_CREATE, ELOOP, MOUNTAT_STATUS_CLIENT_FAILED, 0,
         "proc below the root is a symbolic link"},
        {links_to_the_host, ALL | MOUNTAT_CREATE, ELOOP, MOUNTAT_STATUS_CLIENT_FAILED, 2,
         "dev below the root is a symbolic link"},
        {has_a_file, MOUNTAT_PROC | MOUNTAT_CREATE, ENOTDIR, MOUNTAT_STATUS_NOT_A_DIRECTORY, 0,
         "proc below the root, or the root itself, is not a directory"},
        {is_removed, MOUNTAT_PROC | MOUNTAT_CREATE, ENOENT, MOUNTAT_STATUS_CLIENT_FAILED, 0,
         "the root directory was removed: create and open it again"},
        {is_removed, MOUNTAT_SYSFS, ENOENT, MOUNTAT_STATUS_CLIENT_FAILED, 0,
         "the root directory was removed"},
        {belongs_to_another, MOUNTAT_SYSFS | MOUNTAT_CREATE, EACCES, MOUNTAT_STATUS_CLIENT_FAILED,
         0, "cannot create sys below the root: Permission denied"},
        {is_closed, MOUNTAT_PROC, EACCES, MOUNTAT_STATUS_CLIENT_FAILED, 0,
         "cannot open proc below the root: Permission denied"},
};

/* Nothing stays open, and what was made until then is removed when that is asked for. */
static void expect_refusal(int error, int status, uint32_t target, const char *text) {
        unsigned before = descriptors_count();

        targets.count = 77;
        ck_assert_int_eq(root_open_targets(&root, &targets, &failure), -error);
        ck_assert_uint_eq(targets.count, 0);
        ck_assert_uint_eq(descriptors_count(), before);
        ck_assert_int_eq(failure.status, status);
        ck_assert_int_eq(failure.error, error);
        ck_assert_uint_eq(failure.target, target);
        if (!strstr(failure.text, text))
                ck_abort_msg("'%s' is not in '%s'", text, failure.text);
}

START_TEST(what_cannot_be_opened_is_named_with_the_reason) {
        refusals[_i].prepare();
        open_root(refusals[_i].flags);
        expect_refusal(refusals[_i].error, refusals[_i].status, refusals[_i].target,
                       refusals[_i].text);
        root_remove(&root);
        if (refusals[_i].target > 0)
                ck_assert(!is_there("sys"));
        close_all();
        ck_assert_int_eq(seteuid(getuid()), 0);
}
END_TEST

START_TEST(a_root_that_is_no_directory_is_told) {
        FD_AUTO int file = -EBADF;

        put_file("file");
        file = openat(scripted.root, "file", O_PATH | O_CLOEXEC);
        ck_assert_int_eq(root_open(&root, file, MOUNTAT_PROC, &failure), 0);
        expect_refusal(ENOTDIR, MOUNTAT_STATUS_NOT_A_DIRECTORY, 0,
                       "or the root itself, is not a directory");
        close_all();
}
END_TEST

START_TEST(a_shortage_of_descriptors_leaves_none_open) {
        const int *filled;

        open_root(ALL | MOUNTAT_CREATE);
        filled = descriptors_leave((unsigned)_i, scripted.root);
        targets.count = 77;
        ck_assert_int_eq(root_open_targets(&root, &targets, &failure), -EMFILE);
        ck_assert_uint_eq(targets.count, 0);
        ck_assert_uint_eq(failure.target, (unsigned)_i);
        descriptors_give_back(filled);

        root_remove(&root);
        ck_assert(!is_there("proc") && !is_there("sys") && !is_there("dev"));
        close_all();
}
END_TEST

/* As RestrictSUIDSGID= does it (systemd.exec(5)), or a kernel before 5.6. */
static void forbid_openat2(void) {
        struct sock_filter instructions[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {.len = N_ELEMENTS(instructions), .filter = instructions};

        ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

START_TEST(where_openat2_is_missing_it_says_so) {
        make("proc");
        open_root(MOUNTAT_PROC);
        forbid_openat2();
        expect_refusal(ENOSYS, MOUNTAT_STATUS_CLIENT_FAILED, 0, "RestrictSUIDSGID=");
        close_all();
}
END_TEST

MOUNT_TEST(what_is_mounted_on_already_is_told) {
        make_mountpoints();
        mount_on("sys");
        open_root(MOUNTAT_PROC | MOUNTAT_SYSFS);
        expect_refusal(EBUSY, MOUNTAT_STATUS_ALREADY_MOUNTED, 1,
                       "something is already mounted on sys below the root");
        close_all();
        unmount_from("sys");
}

/* ---- making and removing ---- */

static mode_t mode_of(const char *name) {
        struct stat stat;

        ck_assert_int_eq(fstatat(scripted.root, name, &stat, 0), 0);
        return stat.st_mode & 07777;
}

START_TEST(what_is_missing_is_made_with_0555_less_the_umask) {
        static const mode_t masks[] = {0, 022, 0077};

        make("sys");
        umask(masks[_i]);
        open_targets(ALL | MOUNTAT_CREATE);
        ck_assert_uint_eq(root.created, MOUNTAT_PROC | MOUNTAT_DEV);
        ck_assert_uint_eq(mode_of("proc"), 0555 & ~masks[_i]);
        ck_assert_uint_eq(mode_of("dev"), 0555 & ~masks[_i]);
        ck_assert_uint_eq(mode_of("sys"), 0755);
        root_remove(&root);
        ck_assert(!is_there("proc") && !is_there("dev"));
        ck_assert(is_there("sys"));
        ck_assert_uint_eq(root.created, 0);
        close_all();
}
END_TEST

START_TEST(what_was_made_is_removed_once) {
        open_targets(MOUNTAT_PROC | MOUNTAT_CREATE);
        root_remove(&root);
        make("proc"); /* somebody else's */
        root_remove(&root);
        ck_assert(is_there("proc"));
        close_all();
}
END_TEST

START_TEST(what_has_something_in_it_stays) {
        open_targets(MOUNTAT_PROC | MOUNTAT_SYSFS | MOUNTAT_CREATE);
        ck_assert_int_eq(fchmodat(scripted.root, "proc", 0755, 0), 0);
        make("proc/mine");
        root_remove(&root);
        ck_assert(is_there("proc/mine"));
        ck_assert(!is_there("sys"));
        close_all();
}
END_TEST

/* Put there in its place. */
START_TEST(what_is_no_directory_any_more_stays) {
        open_targets(MOUNTAT_PROC | MOUNTAT_SYSFS | MOUNTAT_CREATE);
        ck_assert_int_eq(unlinkat(scripted.root, "proc", AT_REMOVEDIR), 0);
        ck_assert_int_eq(unlinkat(scripted.root, "sys", AT_REMOVEDIR), 0);
        make("elsewhere");
        put_link("proc", "elsewhere");
        put_file("sys");
        root_remove(&root);
        ck_assert(is_there("proc") && is_there("elsewhere") && is_there("sys"));
        close_all();
}
END_TEST

MOUNT_TEST(what_is_mounted_on_stays) {
        open_targets(MOUNTAT_PROC | MOUNTAT_CREATE);
        mount_on("proc");
        root_remove(&root);
        ck_assert(is_there("proc"));
        close_all();
        unmount_from("proc");
        ck_assert(is_there("proc"));
}

/* ---- what is mounted ---- */

MOUNT_TEST(the_mount_is_opened_where_there_is_one) {
        int fd;

        make_mountpoints();
        open_targets(MOUNTAT_PROC);
        mount_on("proc");
        fd = root_open_mount(&root, MOUNTAT_FILE_SYSTEM_PROC);
        ck_assert_int_ge(fd, 0);
        ck_assert(is_same(fd, "proc"));
        ck_assert(!is_same(targets.targets[0].fd, "proc")); /* which is below it */
        ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        ck_assert_int_ne(fcntl(fd, F_GETFL) & O_PATH, 0);
        close(fd);
        unmount_from("proc");

        fd = root_open_mount(&root, MOUNTAT_FILE_SYSTEM_PROC);
        ck_assert(is_same(fd, "proc") && is_same(targets.targets[0].fd, "proc"));
        close(fd);
        close_all();
}

START_TEST(what_is_no_directory_is_opened_as_no_mount) {
        open_root(ALL);
        put_link("sys", "/sys");
        put_file("dev");
        ck_assert_int_eq(root_open_mount(&root, MOUNTAT_FILE_SYSTEM_PROC), -ENOENT);
        ck_assert_int_eq(root_open_mount(&root, MOUNTAT_FILE_SYSTEM_SYSFS), -ELOOP);
        ck_assert_int_eq(root_open_mount(&root, MOUNTAT_FILE_SYSTEM_DEV), -ENOTDIR);
        close_all();
}
END_TEST

int main(void) {
        Suite *suite = suite_create("root");
        TCase *tests = scripted_case(suite, "root");

        scripted_isolate();
        tcase_add_test(tests, it_has_a_descriptor_of_its_own);
        tcase_add_test(tests, a_descriptor_that_is_none_or_one_too_many_is_told);

        tcase_add_loop_test(tests, targets_are_those_of_the_flags_in_their_order, 0,
                            N_ELEMENTS(selections));
        tcase_add_loop_test(tests, what_cannot_be_opened_is_named_with_the_reason, 0,
                            N_ELEMENTS(refusals));
        tcase_add_test(tests, a_root_that_is_no_directory_is_told);
        tcase_add_loop_test(tests, a_shortage_of_descriptors_leaves_none_open, 0, ROOT_TARGETS_MAX);
        tcase_add_test(tests, where_openat2_is_missing_it_says_so);
        tcase_add_test(tests, what_is_mounted_on_already_is_told);

        tcase_add_loop_test(tests, what_is_missing_is_made_with_0555_less_the_umask, 0, 3);
        tcase_add_test(tests, what_was_made_is_removed_once);
        tcase_add_test(tests, what_has_something_in_it_stays);
        tcase_add_test(tests, what_is_no_directory_any_more_stays);
        tcase_add_test(tests, what_is_mounted_on_stays);

        tcase_add_test(tests, the_mount_is_opened_where_there_is_one);
        tcase_add_test(tests, what_is_no_directory_is_opened_as_no_mount);
        return suite_run_all(suite);
}
