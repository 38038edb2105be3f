/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The direct calls, with full privilege, in the sequence of mountatd's predecessor in Go: a
 * superblock per mount, attached by name below the root; unmounted by name, relative to the working
 * directory. The mounts have all the options of the daemon's, so that both do the same work in
 * different ways.
 */

#include "tests/bench/route.h"

#include <err.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

static void direct_must(int result, const char *what) {
        if (result < 0)
                err(EXIT_FAILURE, "direct: %s", what);
}

/* Threads of a process share their working directory by default. */
static void direct_begin(struct route_user *user) {
        (void)user;
        direct_must(unshare(CLONE_FS), "unshare");
}

static void direct_end(struct route_user *user) {
        (void)user;
        direct_must(chdir("/"), "chdir");
}

/* hidepid, and read-only at the superblock: only for procfs, as in the daemon. */
static void direct_restrict(int context) {
        direct_must(fsconfig(context, FSCONFIG_SET_STRING, "hidepid", "ptraceable", 0), "hidepid");
        direct_must(fsconfig(context, FSCONFIG_SET_FLAG, "ro", NULL, 0), "ro");
}

static void direct_mount_one(int root, const char *file_system, const char *name) {
        const unsigned attributes =
                MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY;
        int context, mount;

        context = fsopen(file_system, FSOPEN_CLOEXEC);
        direct_must(context, "fsopen");
        direct_must(fsconfig(context, FSCONFIG_SET_STRING, "source", file_system, 0), "fsconfig");
        if (strcmp(file_system, "proc") == 0)
                direct_restrict(context);
        direct_must(fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "fsconfig");
        mount = fsmount(context, FSMOUNT_CLOEXEC, attributes);
        direct_must(mount, "fsmount");
        direct_must(move_mount(mount, "", root, name, MOVE_MOUNT_F_EMPTY_PATH), "move_mount");
        close(mount);
        close(context);
}

static void direct_mount(struct route_user *user) {
        direct_mount_one(user->root, "proc", "proc");
        direct_mount_one(user->root, "sysfs", "sys");
}

static void direct_unmount(struct route_user *user) {
        direct_must(fchdir(user->root), "fchdir");
        direct_must(umount2("proc", MNT_DETACH | UMOUNT_NOFOLLOW), "umount2");
        direct_must(umount2("sys", MNT_DETACH | UMOUNT_NOFOLLOW), "umount2");
}

const struct route route_direct = {
        .name = "direct",
        .what = "in-process, full privilege: fsopen, fsconfig (source, procfs also hidepid and ro; "
                "create), fsmount, move_mount; fchdir, umount2",
        .stride = 1,
        .begin = direct_begin,
        .end = direct_end,
        .mount = direct_mount,
        .unmount = direct_unmount,
};

static void direct_unmount_in_child(struct route_user *user) {
        pid_t pid = fork();
        int status;

        direct_must(pid, "fork");
        if (pid == 0) {
                direct_unmount(user);
                _exit(EXIT_SUCCESS);
        }
        direct_must(waitpid(pid, &status, 0), "waitpid");
        if (status != 0)
                errx(EXIT_FAILURE, "direct: the child ended with status 0x%x", status);
}

const struct route route_direct_child = {
        .name = "direct, child",
        .what = "the same, but a forked child goes there and unmounts: the parent's working "
                "directory stays",
        .stride = 1,
        .mount = direct_mount,
        .unmount = direct_unmount_in_child,
};
