/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Files, mounts and processes to test the wrappers of daemon/kernel.h with, on the real kernel. */

#include "daemon/kernel.h"

#include "common/fd.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

enum { NOWHERE = 0x7fffffff }; /* neither a mount id nor a descriptor in use */
#define NOWHERE_UNIQUE UINT64_C(0x7fffffffffff)

static inline bool is_linux(unsigned major, unsigned minor) {
        unsigned version = 0, patchlevel = 0;
        struct utsname name;

        ck_assert_int_eq(uname(&name), 0);
        ck_assert_int_eq(sscanf(name.release, "%u.%u", &version, &patchlevel), 2);
        return version > major || (version == major && patchlevel >= minor);
}

/* ---- files and mounts to ask about ---- */

static inline int open_path(const char *path) {
        int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

        ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
        return fd;
}

/* A new directory below the sandbox's. */
static inline int directory(const char *name) {
        return open_path(sandbox_make_directory(0, 0755, name));
}

static inline int file(const char *name) {
        FD_AUTO int fd =
                open(sandbox_path("%s", name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

        ck_assert_int_ge(fd, 0);
        return open_path(sandbox_path("%s", name));
}

/* A detached tmpfs. */
static inline int detached(unsigned attributes) {
        FD_AUTO int context = kernel_fsopen("tmpfs");
        int mount;

        ck_assert_int_ge(context, 0);
        ck_assert_int_eq(kernel_fsconfig(context, FSCONFIG_SET_STRING, "source", "check"), 0);
        ck_assert_int_eq(kernel_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL), 0);
        mount = kernel_fsmount(context, attributes);
        ck_assert_int_ge(mount, 0);
        return mount;
}

/* Mounts a tmpfs on a new directory; returns its root. */
static inline int mounted(const char *name) {
        FD_AUTO int target = directory(name);
        int mount = detached(0);

        ck_assert_int_eq(kernel_move_mount(mount, target), 0);
        return mount;
}

static inline uint64_t old_id(int fd) {
        struct statx stat;

        ck_assert_int_eq(kernel_statx(fd, STATX_MNT_ID, &stat), 0);
        return stat.stx_mnt_id;
}

/* 0 before Linux 6.8. */
static inline uint64_t unique_id(int fd) {
        struct statx stat;

        ck_assert_int_eq(kernel_statx(fd, KERNEL_STATX_MNT_ID_UNIQUE, &stat), 0);
        return stat.stx_mask & KERNEL_STATX_MNT_ID_UNIQUE ? stat.stx_mnt_id : 0;
}

static inline bool is_closed_on_exec(int fd) {
        return fcntl(fd, F_GETFD) & FD_CLOEXEC;
}

/* ---- other processes ---- */

/* A failed assertion in the child fails the test. */
static inline void in_child(void (*act)(void *argument), void *argument) {
        sandbox_run_as(0, act, argument);
}

/* Starts a child that sleeps in new namespaces of those kinds. */
static inline pid_t asleep_in(int namespaces) {
        int ready[2];
        pid_t pid;
        char byte;

        ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
        pid = syscall(SYS_clone, namespaces | SIGCHLD, NULL, NULL, NULL, NULL);
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                while (write(ready[1], "", 1) == 1)
                        pause();
                _exit(EXIT_FAILURE);
        }
        close(ready[1]);
        ck_assert_int_eq(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        return pid;
}

static inline int namespace_of(pid_t pid, const char *name) {
        char path[64];
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
        return fd;
}

/* What a child is to look at. */
struct visit {
        int fd;      /* a mount namespace */
        uint64_t id; /* its id, or that of a mount */
        int result;  /* a pipe: the child writes the id of its mount to it */
};
