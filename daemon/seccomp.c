/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The list comes from strace(1) of all tests of the daemon, from the start of the first thread on,
 * plus the calls that other versions of libc and libsystemd make for the same functions. A call
 * that could do much more than is needed is allowed only with the arguments needed. A pointer's
 * target can't be examined, so nothing here knows a path.
 */

#include "daemon/seccomp.h"

#include "daemon/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECCOMP_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* SCMP_SYS() is negative where an architecture has no such call. */
static const int seccomp_calls[] = {
        /* reading, writing, and the end of a descriptor */
        SCMP_SYS(read),
        SCMP_SYS(readv),
        SCMP_SYS(write),
        SCMP_SYS(writev),
        SCMP_SYS(close),
        SCMP_SYS(fcntl),
        SCMP_SYS(lseek),

        /* mounting and unmounting: kernel.h */
        SCMP_SYS(fsopen),
        SCMP_SYS(fsconfig),
        SCMP_SYS(fsmount),
        SCMP_SYS(fspick),
        SCMP_SYS(open_tree),
        SCMP_SYS(move_mount),
        SCMP_SYS(mount_setattr),
        SCMP_SYS(umount2),
        SCMP_SYS(fchdir),

        /* in a tmpfs of its own: dev.h */
        SCMP_SYS(mkdirat),
        SCMP_SYS(symlinkat),

        /* asking what a descriptor is, and where: kernel.h */
        KERNEL_SYS_STATMOUNT,
        SCMP_SYS(statx),
        SCMP_SYS(fstat),
        SCMP_SYS(newfstatat),
        SCMP_SYS(fstatfs),
        SCMP_SYS(name_to_handle_at),
        SCMP_SYS(readlink),
        SCMP_SYS(readlinkat),
        SCMP_SYS(openat2),

        /* the state file, a client's /proc, the boot id */
        SCMP_SYS(openat),
        SCMP_SYS(getdents64),
        SCMP_SYS(pread64),
        SCMP_SYS(unlink),
        SCMP_SYS(unlinkat),
        SCMP_SYS(getrandom),

        /* clients, the service manager, the journal, the bus */
        SCMP_SYS(accept4),
        SCMP_SYS(connect),
        SCMP_SYS(sendmsg),
        SCMP_SYS(sendto),
        SCMP_SYS(recvmsg),
        SCMP_SYS(recvfrom),
        SCMP_SYS(shutdown),
        SCMP_SYS(getsockopt),
        SCMP_SYS(setsockopt),
        SCMP_SYS(getsockname),
        SCMP_SYS(getpeername),
        SCMP_SYS(memfd_create),
        SCMP_SYS(ftruncate),

        /* waiting and waking up */
        SCMP_SYS(futex),
        SCMP_SYS(poll),
        SCMP_SYS(ppoll),
        SCMP_SYS(epoll_create1),
        SCMP_SYS(epoll_ctl),
        SCMP_SYS(epoll_wait),
        SCMP_SYS(epoll_pwait),
        SCMP_SYS(epoll_pwait2),
        SCMP_SYS(eventfd2),
        SCMP_SYS(signalfd4),
        SCMP_SYS(timerfd_create),
        SCMP_SYS(timerfd_settime),
        SCMP_SYS(inotify_init1),
        SCMP_SYS(inotify_add_watch),
        SCMP_SYS(inotify_rm_watch),
        SCMP_SYS(nanosleep),
        SCMP_SYS(clock_nanosleep),
        SCMP_SYS(clock_gettime),
        SCMP_SYS(restart_syscall),

        SCMP_SYS(rt_sigaction),
        SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigreturn),

        /* threads: clone is below */
        SCMP_SYS(clone3), /* seccomp_hide_clone3() */
        SCMP_SYS(set_robust_list),
        SCMP_SYS(rseq),
        SCMP_SYS(sched_yield),
        SCMP_SYS(sched_getaffinity),
        SCMP_SYS(gettid),
        SCMP_SYS(getpid),
        SCMP_SYS(exit),
        SCMP_SYS(exit_group),

        /* memory, without anything newly executable: mmap and mprotect are below */
        SCMP_SYS(brk),
        SCMP_SYS(munmap),
        SCMP_SYS(mremap),
        SCMP_SYS(madvise),

        /* this process's ids, for the bus */
        SCMP_SYS(getuid),
        SCMP_SYS(geteuid),
        SCMP_SYS(getgid),
        SCMP_SYS(getegid),
        SCMP_SYS(uname),
};

/* Neither a process nor a namespace of its own. */
#define SECCOMP_CLONE_MASK                                                                         \
        (CLONE_THREAD | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |              \
         CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

enum {
#ifdef __s390__
        SECCOMP_CLONE_FLAGS = 1, /* clone(2): the order of the arguments differs */
#else
        SECCOMP_CLONE_FLAGS = 0,
#endif
};

/* The bits of `mask` in the argument must be `value`. */
static const struct seccomp_argument {
        int call;
        unsigned argument;
        scmp_datum_t mask, value;
} seccomp_arguments[] = {
        {SCMP_SYS(clone), SECCOMP_CLONE_FLAGS, SECCOMP_CLONE_MASK, CLONE_THREAD},
        {SCMP_SYS(mmap), 2, PROT_EXEC, 0},
        {SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
        {SCMP_SYS(socket), 0, UINT32_MAX, AF_UNIX},
        {SCMP_SYS(socketpair), 0, UINT32_MAX, AF_UNIX},
        {SCMP_SYS(unshare), 0, UINT32_MAX, CLONE_FS}, /* a thread's own working directory */
        /* privilege_check(); not PR_GET_NAME, by which newer sd-bus would bind(2) its socket. */
        {SCMP_SYS(prctl), 0, UINT32_MAX, PR_GET_SECUREBITS},
        {SCMP_SYS(prlimit64), 0, UINT32_MAX, 0}, /* its own limits: the C library's stacks */
};

/*
 * With --join. Only ioctls of nsfs: ioctl_ns(2). Without CAP_CHOWN, fchownat(2) changes no owner:
 * kernel.h.
 */
static const int seccomp_join_calls[] = {SCMP_SYS(chroot)};
static const struct seccomp_argument seccomp_join_arguments[] = {
        {SCMP_SYS(setns), 1, UINT32_MAX, CLONE_NEWNS},
        {SCMP_SYS(setns), 1, UINT32_MAX, CLONE_NEWNET},
        {SCMP_SYS(ioctl), 1, 0xff00, NSIO << 8},
        {SCMP_SYS(fchownat), 4, UINT32_MAX, AT_EMPTY_PATH},
};

static int seccomp_allow_argument(scmp_filter_ctx filter, const struct seccomp_argument *row) {
        const struct scmp_arg_cmp equal = {
                .arg = row->argument,
                .op = SCMP_CMP_MASKED_EQ,
                .datum_a = row->mask,
                .datum_b = row->value,
        };

        return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, row->call, 1, &equal);
}

static int seccomp_allow_all(scmp_filter_ctx filter, const int *calls, size_t n_calls,
                             const struct seccomp_argument *arguments, size_t n_arguments) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < n_calls; i++)
                if (calls[i] >= 0)
                        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
        for (size_t i = 0; r == 0 && i < n_arguments; i++)
                r = seccomp_allow_argument(filter, &arguments[i]);
        return r;
}

static int seccomp_allow(scmp_filter_ctx filter, bool join) {
        /* abort(3), of this process alone */
        const struct seccomp_argument tgkill = {SCMP_SYS(tgkill), 0, UINT32_MAX, getpid()};
        int r = seccomp_allow_all(filter, seccomp_calls, SECCOMP_COUNT(seccomp_calls),
                                  seccomp_arguments, SECCOMP_COUNT(seccomp_arguments));

        if (r == 0 && join)
                r = seccomp_allow_all(filter, seccomp_join_calls, SECCOMP_COUNT(seccomp_join_calls),
                                      seccomp_join_arguments,
                                      SECCOMP_COUNT(seccomp_join_arguments));
        return r < 0 ? r : seccomp_allow_argument(filter, &tgkill);
}

/*
 * The flags of clone3(2) are behind a pointer, so a thread can't be told from a fork or a new
 * namespace. The C library falls back to clone(2) on ENOSYS. In a filter of its own, so that
 * creating a thread logs nothing.
 */
static int seccomp_hide_clone3(void) {
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
        int r;

        if (!filter)
                return -ENOMEM;
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
        if (r == 0)
                r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
        if (r == 0)
                r = seccomp_load(filter);
        seccomp_release(filter);
        return r;
}

#ifdef MOUNTATD_SANITIZED
/* The sanitizers' runtime makes additional calls. */
int seccomp_confine(enum seccomp_mode mode, bool join) {
        (void)mode;
        (void)join;
        (void)seccomp_allow;
        (void)seccomp_hide_clone3;
        return 0;
}
#else
static int seccomp_confine_to_list(enum seccomp_mode mode, bool join) {
        scmp_filter_ctx filter =
                seccomp_init(mode == SECCOMP_LOG ? SCMP_ACT_LOG : SCMP_ACT_ERRNO(EPERM));
        int r;

        if (!filter)
                return -ENOMEM;
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);
        if (r == 0)
                r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
        if (r == 0)
                r = seccomp_allow(filter, join);
        if (r == 0)
                r = seccomp_load(filter);
        seccomp_release(filter);
        return r;
}

int seccomp_confine(enum seccomp_mode mode, bool join) {
        int r = 0;

        if (mode == SECCOMP_OFF)
                return 0;
        if (mode == SECCOMP_ENFORCE)
                r = seccomp_hide_clone3();
        return r < 0 ? r : seccomp_confine_to_list(mode, join);
}
#endif

int seccomp_mode_from_name(const char *name) {
        static const char *const names[] = {
                [SECCOMP_ENFORCE] = "enforce",
                [SECCOMP_LOG] = "log",
                [SECCOMP_OFF] = "off",
        };

        for (int i = 0; i < (int)(sizeof(names) / sizeof(names[0])); i++)
                if (strcmp(name, names[i]) == 0)
                        return i;
        return -EINVAL;
}
