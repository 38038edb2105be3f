/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/faults/inject/table.h"

#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>

enum {
        TABLE_STATMOUNT = 457,
};

#define OPENS TABLE_OPENS
#define ALLOCATES TABLE_ALLOCATES
#define FILLS TABLE_FILLS
#define SLEEPS TABLE_SLEEPS

#define CANNOT_FAIL "can't fail as it is called"
#define C_LIBRARY "the C library's own bookkeeping, which can't fail"

static const struct table_row table[] = {
        /* descriptors and files */
        {"openat", {SYS_openat}, OPENS | FILLS | SLEEPS, {EACCES, EIO}},
        {"openat2", {SYS_openat2}, OPENS | SLEEPS, {EACCES, EAGAIN, ELOOP}},
        {"close",
         {SYS_close},
         .never = "closes whatever it answers: not making it would be the leak"},
        {"read", {SYS_read, TRAP_OTHER_FILE}, ALLOCATES | SLEEPS, {EIO, EAGAIN}},
        {"read (eventfd)", {SYS_read, TRAP_EVENTFD}, SLEEPS, {EAGAIN}},
        {"read (timerfd)", {SYS_read, TRAP_TIMERFD}, SLEEPS, {EAGAIN}},
        {"read (signalfd)", {SYS_read, TRAP_SIGNALFD}, SLEEPS, {EAGAIN}},
        {"pread64", {SYS_pread64}, ALLOCATES | SLEEPS, {EIO}},
        {"write", {SYS_write, TRAP_OTHER_FILE}, ALLOCATES | FILLS | SLEEPS, {EIO, EAGAIN, EPIPE}},
        {"write (eventfd)",
         {SYS_write, TRAP_EVENTFD},
         .never = "eventfd(2): only a counter near 2^64 refuses, and neither memory nor sleep is "
                  "needed"},
        {"newfstatat", {SYS_newfstatat}, ALLOCATES | SLEEPS, {EACCES, EIO}},
        {"fstat", {SYS_fstat}, ALLOCATES | SLEEPS, {EIO}},
        {"fstatfs", {SYS_fstatfs}, ALLOCATES | SLEEPS, {EIO, ENOSYS}},
        {"statfs", {SYS_statfs}, ALLOCATES | SLEEPS, {EIO, EACCES}},
        /* EACCES is what a hidden FUSE returns: check_daemon_fuse */
        {"statx", {SYS_statx}, ALLOCATES | SLEEPS, {EIO}},
        {"readlinkat", {SYS_readlinkat}, ALLOCATES, {EACCES, EIO}},
        {"readlink", {SYS_readlink}, ALLOCATES, {EACCES, EIO}},
        {"getdents64", {SYS_getdents64}, ALLOCATES | SLEEPS, {EIO}},
        {"mkdir", {SYS_mkdir}, ALLOCATES | FILLS | SLEEPS, {EACCES, EROFS, EDQUOT}},
        {"mkdirat", {SYS_mkdirat}, ALLOCATES | FILLS | SLEEPS, {EACCES, EROFS, EDQUOT}},
        {"symlinkat", {SYS_symlinkat}, ALLOCATES | FILLS | SLEEPS, {EACCES, EROFS, EDQUOT}},
        {"unlink", {SYS_unlink}, ALLOCATES | SLEEPS, {EACCES, EROFS, EIO}},
        {"unlinkat", {SYS_unlinkat}, ALLOCATES | SLEEPS, {EACCES, EROFS, EIO}},
        {"renameat", {SYS_renameat}, ALLOCATES | FILLS | SLEEPS, {EACCES, EROFS, EIO}},
        {"fallocate", {SYS_fallocate}, ALLOCATES | FILLS | SLEEPS, {EIO, EFBIG}},
        {"flock", {SYS_flock}, SLEEPS, {ENOLCK, EWOULDBLOCK}},
        {"lseek", {SYS_lseek}, 0, {ESPIPE}},
        {"fcntl (dup)", {SYS_fcntl, TRAP_DUPLICATE}, OPENS},
        {"fcntl", {SYS_fcntl}, .never = CANNOT_FAIL}, /* flags of a descriptor */
        {"ioctl", {SYS_ioctl}, 0, {ENOTTY}},
        {"access", {SYS_access}, ALLOCATES, {EACCES}},
        {"fchownat", {SYS_fchownat}, ALLOCATES, {EPERM, EACCES, EOVERFLOW}},
        {"umask", {SYS_umask}, .never = CANNOT_FAIL},

        /* sockets */
        {"socket", {SYS_socket}, OPENS, {ENOBUFS, EACCES}},
        {"bind", {SYS_bind}, ALLOCATES | FILLS | SLEEPS, {EACCES, EROFS}},
        {"listen", {SYS_listen}, 0, {EADDRINUSE, ENOBUFS}},
        {"connect", {SYS_connect}, ALLOCATES | SLEEPS, {EACCES, EAGAIN, ENOENT, ECONNREFUSED}},
        {"accept4", {SYS_accept4}, OPENS | SLEEPS, {EAGAIN, ECONNABORTED, ENOBUFS, EPERM, EPROTO}},
        {"getsockopt", {SYS_getsockopt}, ALLOCATES, {ENOBUFS}},
        {"setsockopt", {SYS_setsockopt}, ALLOCATES, {ENOBUFS}},
        {"getsockname", {SYS_getsockname}, 0, {ENOBUFS}},
        /*
         * no room for descriptors isn't an error, but MSG_CTRUNC: check_fdpass, check_daemon_bytes
         */
        {"recvmsg", {SYS_recvmsg}, ALLOCATES | SLEEPS, {EAGAIN, ENOBUFS, ECONNRESET}},
        {"recvfrom", {SYS_recvfrom}, ALLOCATES | SLEEPS, {EAGAIN, ENOBUFS, ECONNRESET}},
        {"socketpair", {SYS_socketpair}, OPENS, {ENOBUFS, EACCES}},
        {"sendmsg", {SYS_sendmsg}, ALLOCATES | SLEEPS, {EAGAIN, ENOBUFS, EPIPE, ECONNRESET}},
        {"sendto", {SYS_sendto}, ALLOCATES | SLEEPS, {EAGAIN, ENOBUFS, EPIPE, ECONNRESET}},
        {"shutdown", {SYS_shutdown}, 0, {ENOTCONN, ENOBUFS}},

        /* waiting */
        {"epoll_create1", {SYS_epoll_create1}, OPENS},
        {"epoll_ctl", {SYS_epoll_ctl}, ALLOCATES | FILLS},
        {"epoll_ctl (del)", {SYS_epoll_ctl, TRAP_REMOVAL}, .never = CANNOT_FAIL},
        {"epoll_wait", {SYS_epoll_wait}, SLEEPS},
        {"epoll_pwait", {SYS_epoll_pwait}, SLEEPS},
        {"epoll_pwait2", {441}, SLEEPS, {ENOSYS}},
        {"poll", {SYS_poll}, ALLOCATES | SLEEPS},
        {"ppoll", {SYS_ppoll}, ALLOCATES | SLEEPS},
        {"eventfd2", {SYS_eventfd2}, OPENS, {ENODEV}},
        {"signalfd4", {SYS_signalfd4}, OPENS, {ENODEV}},
        {"timerfd_create", {SYS_timerfd_create}, OPENS, {ENODEV}},
        {"timerfd_settime", {SYS_timerfd_settime}, .never = CANNOT_FAIL},
        {"timer_create", {SYS_timer_create}, ALLOCATES, {EAGAIN}},
        {"timer_settime", {SYS_timer_settime}, .never = CANNOT_FAIL},
        {"timer_delete", {SYS_timer_delete}, .never = CANNOT_FAIL},
        {"futex",
         {SYS_futex},
         .never = "a wake-up that isn't made would be lost, a wait is repeated"},

        /* mounts */
        {"fsopen", {SYS_fsopen}, OPENS | SLEEPS, {ENODEV, EPERM}},
        {"fsconfig", {SYS_fsconfig}, ALLOCATES | FILLS | SLEEPS, {EBUSY, EPERM, EINVAL}},
        {"fsmount", {SYS_fsmount}, OPENS | FILLS | SLEEPS, {EPERM, EBUSY}},
        {"fspick", {SYS_fspick}, OPENS | SLEEPS, {EPERM, EACCES}},
        {"mount_setattr", {SYS_mount_setattr}, ALLOCATES | SLEEPS, {EPERM, EINVAL, EBUSY}},
        {"open_tree", {SYS_open_tree}, OPENS | FILLS | SLEEPS, {EPERM, EACCES, EINVAL}},
        {"move_mount",
         {SYS_move_mount},
         ALLOCATES | FILLS | SLEEPS,
         {ENOENT, EINVAL, ENOTDIR, EPERM, EACCES, EBUSY, ELOOP}},
        {"umount2", {SYS_umount2}, ALLOCATES | SLEEPS, {EPERM, EBUSY, EAGAIN, EACCES}},
        {"statmount", {TABLE_STATMOUNT}, ALLOCATES | SLEEPS, {EPERM}},
        {"chdir", {SYS_chdir}, ALLOCATES | SLEEPS, {EACCES, EIO}},
        {"fchdir", {SYS_fchdir}, ALLOCATES | SLEEPS, {EACCES, EIO}},
        {"unshare", {SYS_unshare}, ALLOCATES | FILLS, {EPERM}},
        {"setns", {SYS_setns}, ALLOCATES | FILLS, {EPERM, EINVAL}},
        {"chroot", {SYS_chroot}, ALLOCATES, {EPERM, EACCES}},

        /* the process */
        {"execve", {SYS_execve}, .never = "the daemon begins behind it"},
        {"brk",
         {SYS_brk},
         .never = "answers by an address; malloc(3) goes on with mmap, which is failed"},
        {"mmap", {SYS_mmap}, ALLOCATES, {EAGAIN, ENFILE}},
        {"mprotect", {SYS_mprotect}, ALLOCATES},
        {"munmap", {SYS_munmap}, ALLOCATES},
        {"mremap", {SYS_mremap}, ALLOCATES},
        {"madvise", {SYS_madvise}, ALLOCATES, {EAGAIN}},
        {"clone3", {SYS_clone3}, ALLOCATES | FILLS, {EAGAIN, EPERM}},
        {"clone", {SYS_clone}, ALLOCATES | FILLS, {EAGAIN, EPERM}},
        {"prctl", {SYS_prctl}, ALLOCATES, {EPERM, EINVAL}},
        {"capget", {SYS_capget}, ALLOCATES, {EPERM}},
        {"capset", {SYS_capset}, ALLOCATES, {EPERM}},
        {"prlimit64", {SYS_prlimit64}, 0, {EPERM, EINVAL}},
        {"seccomp", {SYS_seccomp}, ALLOCATES, {EINVAL, EACCES}},
        {"getrandom", {SYS_getrandom}, SLEEPS, {EAGAIN, ENOSYS}},
        {"kill", {SYS_kill}, 0, {EPERM}},
        {"rt_sigaction", {SYS_rt_sigaction}, .never = CANNOT_FAIL},
        {"rt_sigprocmask", {SYS_rt_sigprocmask}, .never = CANNOT_FAIL},
        {"rt_sigtimedwait", {SYS_rt_sigtimedwait}, .never = CANNOT_FAIL},
        {"sigaltstack", {SYS_sigaltstack}, .never = CANNOT_FAIL},
        {"set_tid_address", {SYS_set_tid_address}, .never = C_LIBRARY},
        {"set_robust_list", {SYS_set_robust_list}, .never = C_LIBRARY},
        {"rseq", {334}, .never = C_LIBRARY},
        {"arch_prctl", {SYS_arch_prctl}, .never = C_LIBRARY},
        {"getpid", {SYS_getpid}, .never = CANNOT_FAIL},
        {"gettid", {SYS_gettid}, .never = CANNOT_FAIL},
        {"getuid", {SYS_getuid}, .never = CANNOT_FAIL},
        {"geteuid", {SYS_geteuid}, .never = CANNOT_FAIL},
        {"getgid", {SYS_getgid}, .never = CANNOT_FAIL},
        {"getegid", {SYS_getegid}, .never = CANNOT_FAIL},
        {"sched_yield", {SYS_sched_yield}, .never = CANNOT_FAIL},
        {"sched_getaffinity", {SYS_sched_getaffinity}, .never = CANNOT_FAIL},
        {"clock_gettime", {SYS_clock_gettime}, .never = CANNOT_FAIL},
        {"clock_nanosleep", {SYS_clock_nanosleep}, SLEEPS},
        {"restart_syscall", {SYS_restart_syscall}, .never = "a call that was let go already"},
        {"exit", {SYS_exit}, .never = CANNOT_FAIL},
        {"exit_group", {SYS_exit_group}, .never = CANNOT_FAIL},
};

const struct table_row *table_find(struct trap_call call) {
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
                if (table[i].call.number == call.number && table[i].call.subject == call.subject)
                        return &table[i];
        return NULL;
}

void table_errors(const struct table_row *row, int *errors) {
        static const struct {
                unsigned trait;
                int error;
        } by_trait[] = {
                {TABLE_OPENS, EMFILE},
                {TABLE_OPENS, ENFILE},
                {TABLE_OPENS | TABLE_ALLOCATES, ENOMEM},
                {TABLE_FILLS, ENOSPC},
                {TABLE_SLEEPS, EINTR},
        };

        for (size_t i = 0; i < sizeof(by_trait) / sizeof(by_trait[0]); i++)
                if (row->traits & by_trait[i].trait)
                        *errors++ = by_trait[i].error;
        for (const int *error = row->errors; *error; error++)
                *errors++ = *error;
        *errors = 0;
}

const char *table_name(struct trap_call call) {
        static char number[32];
        const struct table_row *row = table_find(call);

        if (row)
                return row->name;
        snprintf(number, sizeof(number), "call %d/%d", call.number, call.subject);
        return number;
}
