/* SPDX-License-Identifier: Apache-2.0 */

/*
 * EPERM has many causes here. If a sysctl denies, the text names it; else it lists the other
 * causes. user_namespaces(7) has the kernel's reasons. Ubuntu's AppArmor adds two: it denies
 * unshare(2), or lets it succeed and denies all capabilities in the new namespace, so that opening
 * setgroups (EACCES) or writing a map (EPERM) fails.
 */

#include "client/denial.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

/* The first digit of the sysctl, enough to see whether it is 0; '\0' if it can't be read. */
static char denial_sysctl(const char *path) {
        FD_AUTO int fd = open(path, O_RDONLY | O_CLOEXEC);
        char digit;

        return fd >= 0 && read(fd, &digit, 1) == 1 ? digit : '\0';
}

static bool denial_by_apparmor(void) {
        static const char path[] = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";

        /* If it can't be read because only root may, it is most likely set. */
        return access(path, F_OK) == 0 && denial_sysctl(path) != '0';
}

static const char denial_apparmor[] = "AppArmor denies user namespaces if the sysctl "
                                      "kernel.apparmor_restrict_unprivileged_userns is 1: load the "
                                      "profile for mountatctl, as described in mountatctl(1)";

static const char *denial_of_unshare(int error) {
        switch (error) {
        case ENOSPC:
        case EUSERS:
                return denial_sysctl("/proc/sys/user/max_user_namespaces") == '0'
                               ? "the sysctl user.max_user_namespaces is 0: raise it"
                               : "the limit on user namespaces (sysctl user.max_user_namespaces) "
                                 "or on their nesting (32) is reached: raise the sysctl, or end "
                                 "some";
        case EINVAL:
                return "this kernel is built without user namespaces (CONFIG_USER_NS)";
        case ENOSYS: /* every kernel has unshare(2) */
                return "a seccomp filter, such as a container's, denies unshare(2): run mountatctl "
                       "outside of it, or allow it there";
        case EPERM:
        case EACCES:
                break;
        default:
                return "the kernel refuses a user namespace";
        }
        if (denial_sysctl("/proc/sys/kernel/unprivileged_userns_clone") == '0')
                return "the sysctl kernel.unprivileged_userns_clone is 0, which denies user "
                       "namespaces: set it to 1";
        if (denial_by_apparmor())
                return denial_apparmor;
        return "possible causes: a chroot, a user or group without an id in the current user "
               "namespace, a container's seccomp filter, SELinux: run mountatctl outside of it, or "
               "allow it there";
}

static const char *denial_of_map(enum denial_step step, int error, uid_t uid) {
        if (error == ENOENT)
                return "is /proc mounted? A user namespace can't be set up without it";
        if (error == EROFS)
                return "/proc is read-only, so a user namespace can't be set up: mount a writable "
                       "procfs";
        if (error != EPERM && error != EACCES)
                return "the user namespace can't be set up";
        if (denial_by_apparmor())
                return denial_apparmor;
        /* user_namespaces(7): "The mapping of user ID 0", since Linux 5.12. */
        if (step == DENIAL_WRITE && uid == 0)
                return "uid 0 needs CAP_SETFCAP to be mapped in a user namespace: grant it, or run "
                       "as another user";
        return "a security module, such as AppArmor or SELinux, denies what a user namespace "
               "needs: allow it for mountatctl";
}

const char *denial_advice(enum denial_step step, int error, uid_t uid) {
        return step == DENIAL_UNSHARE ? denial_of_unshare(error) : denial_of_map(step, error, uid);
}
