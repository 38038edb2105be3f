/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What runs inside may have this process' uid. As long as this process is dumpable, such a
 * neighbour reaches the outer file system through /proc/<pid>/root and /proc/<pid>/fd (ptrace(2),
 * "access mode checking"); so it is dumpable for three opens and never again before execve(2).
 */

#include "client/enter.h"

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

static const char *const enter_paths[ENTER_MAPS] = {
        [ENTER_SETGROUPS] = "/proc/self/setgroups",
        [ENTER_UID_MAP] = "/proc/self/uid_map",
        [ENTER_GID_MAP] = "/proc/self/gid_map",
};

static void enter_close_maps(int *fds) {
        for (int i = 0; i < ENTER_MAPS; i++)
                fds[i] = fd_close(fds[i]);
}

/* The files of a process that isn't dumpable are root's (proc(5)), hence the window. */
static int enter_open_maps(int *fds) {
        int result = 0;

        prctl(PR_SET_DUMPABLE, 1);
        for (int i = 0; i < ENTER_MAPS && result == 0; i++) {
                fds[i] = open(enter_paths[i], O_WRONLY | O_CLOEXEC);
                if (fds[i] < 0) {
                        result = -errno;
                        warn("cannot open %s: is /proc mounted here?", enter_paths[i]);
                }
        }
        prctl(PR_SET_DUMPABLE, 0);
        return result;
}

static int enter_write_map(int fd, enum enter_map map, const char *text) {
        if (write(fd, text, strlen(text)) >= 0)
                return 0;
        warn("cannot write %s", enter_paths[map]);
        return -ECANCELED;
}

static int enter_write_maps(const int *fds, uid_t uid, gid_t gid) {
        char uid_map[32], gid_map[32];

        snprintf(uid_map, sizeof(uid_map), "%u %u 1", uid, uid);
        snprintf(gid_map, sizeof(gid_map), "%u %u 1", gid, gid);
        /* Without a privilege outside, a gid_map is accepted only after setgroups is given up. */
        if (enter_write_map(fds[ENTER_SETGROUPS], ENTER_SETGROUPS, "deny") < 0 ||
            enter_write_map(fds[ENTER_UID_MAP], ENTER_UID_MAP, uid_map) < 0 ||
            enter_write_map(fds[ENTER_GID_MAP], ENTER_GID_MAP, gid_map) < 0)
                return -ECANCELED;
        return 0;
}

static int enter_user_namespace(void) {
        int fds[ENTER_MAPS] = {-EBADF, -EBADF, -EBADF};
        uid_t uid = geteuid();
        gid_t gid = getegid();
        int result;

        if (unshare(CLONE_NEWUSER) < 0) {
                warn("cannot make a user namespace, and there is no CAP_SYS_CHROOT: allow one of "
                     "them (a process inside a chroot can't have the first)");
                return -ECANCELED;
        }

        result = enter_open_maps(fds);
        if (result == 0)
                result = enter_write_maps(fds, uid, gid);
        enter_close_maps(fds);
        return result;
}

static int enter_chroot(void) {
        if (chroot(".") == 0)
                return 0;
        if (errno == EPERM) {
                if (enter_user_namespace() < 0)
                        return -ECANCELED;
                if (chroot(".") == 0)
                        return 0;
        }
        warn("cannot make the root directory this process' own");
        return -ECANCELED;
}

int enter_root(int root) {
        if (fchdir(root) < 0) {
                warn("cannot enter the root directory");
                return -ECANCELED;
        }
        if (enter_chroot() < 0)
                return -ECANCELED;
        /* The working directory is the new root already; this gives it its name. */
        return chdir("/") < 0 ? -errno : 0;
}
