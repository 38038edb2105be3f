/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A process inside the root may have this process's uid. While this process is dumpable, the other
 * one reaches the outer file system through /proc/<pid>/root and /proc/<pid>/fd (ptrace(2), "access
 * mode checking"). So this process is dumpable only while it opens three files, before execve(2).
 */

#include "client/enter.h"

#include "client/denial.h"
#include "common/fd.h"

#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

enum enter_map {
        ENTER_SETGROUPS,
        ENTER_UID_MAP,
        ENTER_GID_MAP,
        ENTER_MAPS,
};

/* Written in this order. */
static const char *const enter_paths[ENTER_MAPS] = {
        [ENTER_SETGROUPS] = "/proc/self/setgroups",
        [ENTER_UID_MAP] = "/proc/self/uid_map",
        [ENTER_GID_MAP] = "/proc/self/gid_map",
};

static void enter_close_maps(int *fds) {
        for (int i = 0; i < ENTER_MAPS; i++)
                fds[i] = fd_close(fds[i]);
}

/* Prints what was denied while setting up the namespace, why, and what to do. Returns -ECANCELED.
 */
static int enter_complain(enum denial_step step, const char *object, uid_t uid) {
        static const char *const verbs[] = {
                [DENIAL_UNSHARE] = "create",
                [DENIAL_OPEN] = "open",
                [DENIAL_WRITE] = "write",
                [DENIAL_USE] = "chroot in",
        };
        int error = errno;

        warnx("cannot %s %s: %s: %s; or give mountatctl CAP_SYS_CHROOT", verbs[step], object,
              strerror(error), denial_advice(step, error, uid));
        return -ECANCELED;
}

/* root owns the /proc files of a non-dumpable process (proc(5)), hence the window. */
static int enter_open_maps(int *fds, uid_t uid) {
        int result = 0;

        prctl(PR_SET_DUMPABLE, 1);
        for (int i = 0; i < ENTER_MAPS && result == 0; i++) {
                fds[i] = open(enter_paths[i], O_WRONLY | O_CLOEXEC);
                if (fds[i] < 0)
                        result = enter_complain(DENIAL_OPEN, enter_paths[i], uid);
        }
        prctl(PR_SET_DUMPABLE, 0);
        return result;
}

static int enter_write_maps(const int *fds, uid_t uid, gid_t gid) {
        char uid_map[32], gid_map[32];
        /* Without privilege in the parent, a gid_map is accepted only after "deny" in setgroups. */
        const char *const texts[ENTER_MAPS] = {
                [ENTER_SETGROUPS] = "deny",
                [ENTER_UID_MAP] = uid_map,
                [ENTER_GID_MAP] = gid_map,
        };

        snprintf(uid_map, sizeof(uid_map), "%u %u 1", uid, uid);
        snprintf(gid_map, sizeof(gid_map), "%u %u 1", gid, gid);
        for (int i = 0; i < ENTER_MAPS; i++)
                if (write(fds[i], texts[i], strlen(texts[i])) < 0)
                        return enter_complain(DENIAL_WRITE, enter_paths[i], uid);
        return 0;
}

static int enter_user_namespace(uid_t uid, gid_t gid) {
        int fds[ENTER_MAPS] = {-EBADF, -EBADF, -EBADF};
        int result;

        if (unshare(CLONE_NEWUSER) < 0)
                return enter_complain(DENIAL_UNSHARE, "a user namespace", uid);

        result = enter_open_maps(fds, uid);
        if (result == 0)
                result = enter_write_maps(fds, uid, gid);
        enter_close_maps(fds);
        return result;
}

static int enter_chroot(void) {
        uid_t uid = geteuid();

        if (chroot(".") == 0)
                return 0;
        if (errno == EPERM) {
                if (enter_user_namespace(uid, getegid()) < 0)
                        return -ECANCELED;
                if (chroot(".") == 0)
                        return 0;
                if (errno == EPERM)
                        return enter_complain(DENIAL_USE, "a user namespace", uid);
        }
        warn("cannot chroot into the root directory");
        return -ECANCELED;
}

int enter_root(int root) {
        if (fchdir(root) < 0) {
                if (errno == EACCES)
                        warnx("cannot enter the root directory: this user lacks search permission "
                              "(x) on it: chmod it");
                else
                        warn("cannot enter the root directory");
                return -ECANCELED;
        }
        if (enter_chroot() < 0)
                return -ECANCELED;
        /* The working directory already is the new root; this makes its path "/". */
        if (chdir("/") < 0) {
                warn("cannot change to / in the root directory");
                return -ECANCELED;
        }
        return 0;
}
