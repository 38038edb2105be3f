/* SPDX-License-Identifier: Apache-2.0 */

/* The advice for each step, errno and state of the sysctls. */

#include "client/denial.h"

#include "common/fd.h"
#include "tests/test.h"
#include "tests/unit/client/scripted.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
        SOMEBODY = 1000,
};

#define CLONE "/proc/sys/kernel/unprivileged_userns_clone"
#define APPARMOR "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
#define MAXIMUM "/proc/sys/user/max_user_namespaces"

/* open(2) fails, as for a sysctl that only root may read. */
#define UNREADABLE "unreadable"

static void write_sysctl(const char *path, const char *text) {
        FD_AUTO int fd = -EBADF;

        if (!text)
                return;
        if (strcmp(text, UNREADABLE) == 0) {
                ck_assert_int_eq(mknod(path, S_IFSOCK | 0600, 0), 0); /* ENXIO */
                return;
        }
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, text, strlen(text)), strlen(text));
}

static const struct {
        enum denial_step step;
        int error;
        uid_t uid;
        const char *clone, *apparmor, *maximum; /* NULL: missing */
        const char *advice;
} cases[] = {
        {DENIAL_UNSHARE, ENOSPC, SOMEBODY, NULL, NULL, "0\n", "max_user_namespaces is 0: raise it"},
        {DENIAL_UNSHARE, EUSERS, SOMEBODY, NULL, NULL, "0\n", "max_user_namespaces is 0: raise it"},
        {DENIAL_UNSHARE, ENOSPC, SOMEBODY, NULL, NULL, "99\n", "32"},
        {DENIAL_UNSHARE, ENOSPC, SOMEBODY, NULL, NULL, NULL, "32"},
        {DENIAL_UNSHARE, EINVAL, SOMEBODY, "0\n", "1\n", "0\n", "CONFIG_USER_NS"},
        {DENIAL_UNSHARE, ENOSYS, SOMEBODY, "0\n", "1\n", "0\n", "a seccomp filter"},
        {DENIAL_UNSHARE, ENOMEM, SOMEBODY, "0\n", "1\n", "0\n", "the kernel "},

        /* Debian's sysctl takes precedence over AppArmor's. */
        {DENIAL_UNSHARE, EPERM, SOMEBODY, "0\n", NULL, NULL, "unprivileged_userns_clone is 0"},
        {DENIAL_UNSHARE, EACCES, SOMEBODY, "0\n", "1\n", NULL, "unprivileged_userns_clone is 0"},
        {DENIAL_UNSHARE, EPERM, SOMEBODY, "1\n", "1\n", NULL, "profile for mountatctl"},
        {DENIAL_UNSHARE, EACCES, SOMEBODY, NULL, "2\n", NULL, "profile for mountatctl"},
        {DENIAL_UNSHARE, EPERM, SOMEBODY, NULL, UNREADABLE, NULL, "profile for mountatctl"},
        {DENIAL_UNSHARE, EPERM, SOMEBODY, "1\n", "0\n", NULL, "chroot"},
        {DENIAL_UNSHARE, EPERM, SOMEBODY, NULL, NULL, NULL, "chroot"},
        {DENIAL_UNSHARE, EPERM, SOMEBODY, "", "", NULL, "profile for mountatctl"},
        {DENIAL_UNSHARE, EPERM, 0, NULL, NULL, NULL, "chroot"},

        {DENIAL_OPEN, ENOENT, SOMEBODY, NULL, "1\n", NULL, "is /proc mounted"},
        {DENIAL_OPEN, EROFS, SOMEBODY, NULL, "1\n", NULL, "/proc is read-only"},
        {DENIAL_OPEN, EMFILE, SOMEBODY, NULL, "1\n", NULL, "the user namespace can't be set up"},
        {DENIAL_OPEN, EACCES, SOMEBODY, NULL, "1\n", NULL, "profile for mountatctl"},
        {DENIAL_OPEN, EACCES, SOMEBODY, "0\n", NULL, NULL, "a security module"},
        {DENIAL_OPEN, EPERM, 0, NULL, NULL, NULL, "a security module"},

        {DENIAL_WRITE, EPERM, 0, NULL, NULL, NULL, "CAP_SETFCAP"},
        {DENIAL_WRITE, EACCES, 0, NULL, "0\n", NULL, "CAP_SETFCAP"},
        {DENIAL_WRITE, EPERM, 0, NULL, "1\n", NULL, "profile for mountatctl"},
        {DENIAL_WRITE, EPERM, SOMEBODY, NULL, NULL, NULL, "a security module"},
        {DENIAL_WRITE, EINVAL, 0, NULL, NULL, NULL, "the user namespace can't be set up"},

        {DENIAL_USE, EPERM, SOMEBODY, NULL, "1\n", NULL, "profile for mountatctl"},
        {DENIAL_USE, EPERM, SOMEBODY, NULL, NULL, NULL, "a security module"},
        {DENIAL_USE, EPERM, 0, NULL, NULL, NULL, "a security module"},
};

static void expect_advice(size_t i) {
        const char *advice;

        ck_assert_int_eq(mount("none", "/proc/sys/kernel", "tmpfs", 0, NULL), 0);
        ck_assert_int_eq(mount("none", "/proc/sys/user", "tmpfs", 0, NULL), 0);
        write_sysctl(CLONE, cases[i].clone);
        write_sysctl(APPARMOR, cases[i].apparmor);
        write_sysctl(MAXIMUM, cases[i].maximum);
        advice = denial_advice(cases[i].step, cases[i].error, cases[i].uid);
        ck_assert_int_eq(umount2("/proc/sys/user", MNT_DETACH), 0);
        ck_assert_int_eq(umount2("/proc/sys/kernel", MNT_DETACH), 0);

        ck_assert_ptr_nonnull(advice);
        ck_assert_msg(strstr(advice, cases[i].advice) != NULL, "%zu: no \"%s\" in: %s", i,
                      cases[i].advice, advice);
        ck_assert_int_ne(advice[strlen(advice) - 1], '.');
}

MOUNT_TEST(advice_names_the_sysctl_that_denies) {
        for (size_t i = 0; i < N_ELEMENTS(cases); i++)
                expect_advice(i);
}

int main(void) {
        scripted_isolate();
        return SUITE_RUN("denial", advice_names_the_sysctl_that_denies);
}
