/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/inject/table.h"

#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>

enum {
        TABLE_STATMOUNT = 457,
};

#define CANNOT_FAIL "can't fail as it is called"
#define C_LIBRARY "the C library's own bookkeeping, which can't fail"

static const struct table_row table[] = {
        /* descriptors and files */
        {"openat", {SYS_openat}, {EMFILE, ENFILE, ENOMEM, EINTR, EACCES, ENOSPC, EIO}},
        {"openat2", {SYS_openat2}, {EMFILE, ENFILE, ENOMEM, EINTR, EACCES, EAGAIN, ELOOP}},
        {"close",
         {SYS_close},
         .never = "closes whatever it answers: not making it would be the leak"},
        {"read", {SYS_read, TRAP_OTHER_FILE}, {EINTR, EIO, ENOMEM, EAGAIN}},
        {"read (eventfd)", {SYS_read, TRAP_EVENTFD}, {EAGAIN, EINTR}},
        {"read (timerfd)", {SYS_read, TRAP_TIMERFD}, {EAGAIN, EINTR}},
        {"read (signalfd)", {SYS_read, TRAP_SIGNALFD}, {EAGAIN, EINTR}},
        {"pread64", {SYS_pread64}, {EINTR, EIO, ENOMEM}},
        {"write", {SYS_write, TRAP_OTHER_FILE}, {EINTR, EIO, ENOSPC, ENOMEM, EAGAIN, EPIPE}},
        {"write (eventfd)",
         {SYS_write, TRAP_EVENTFD},
         .never = "eventfd(2): only a counter near 2^64 refuses, and neither memory nor sleep is "
                  "needed"},
        {"newfstatat", {SYS_newfstatat}, {ENOMEM, EACCES, EIO}},
        {"fstat", {SYS_fstat}, {ENOMEM, EIO}},
        {"fstatfs", {SYS_fstatfs}, {EINTR, EIO, ENOMEM, ENOSYS}},
        {"statfs", {SYS_statfs}, {EINTR, EIO, ENOMEM, EACCES}},
        /* EACCES is what a FUSE hides behind: check_daemon_fuse */
        {"statx", {SYS_statx}, {ENOMEM, EINTR, EIO}},
        {"readlinkat", {SYS_readlinkat}, {ENOMEM, EACCES, EIO}},
        {"readlink", {SYS_readlink}, {ENOMEM, EACCES, EIO}},
        {"getdents64", {SYS_getdents64}, {ENOMEM, EINTR, EIO}},
        {"mkdir", {SYS_mkdir}, {EACCES, ENOSPC, ENOMEM, EROFS, EDQUOT}},
        {"unlink", {SYS_unlink}, {EACCES, ENOMEM, EROFS, EIO, EINTR}},
        {"unlinkat", {SYS_unlinkat}, {EACCES, ENOMEM, EROFS, EIO, EINTR}},
        {"renameat", {SYS_renameat}, {EACCES, ENOMEM, ENOSPC, EROFS, EIO, EINTR}},
        {"fallocate", {SYS_fallocate}, {ENOSPC, EINTR, EIO, ENOMEM, EFBIG}},
        {"flock", {SYS_flock}, {EINTR, ENOLCK, EWOULDBLOCK}},
        {"lseek", {SYS_lseek}, {ESPIPE}},
        {"fcntl", {SYS_fcntl}, .never = CANNOT_FAIL},
        {"ioctl", {SYS_ioctl}, {ENOTTY}},
        {"access", {SYS_access}, {EACCES, ENOMEM}},
        {"umask", {SYS_umask}, .never = CANNOT_FAIL},

        /* sockets */
        {"socket", {SYS_socket}, {EMFILE, ENFILE, ENOBUFS, ENOMEM, EACCES}},
        {"bind", {SYS_bind}, {EACCES, ENOMEM, ENOSPC, EROFS, EINTR}},
        {"listen", {SYS_listen}, {EADDRINUSE, ENOBUFS}},
        {"connect", {SYS_connect}, {EACCES, EAGAIN, EINTR, ENOMEM}},
        {"accept4",
         {SYS_accept4},
         {EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, EPROTO}},
        {"getsockopt", {SYS_getsockopt}, {ENOBUFS, ENOMEM}},
        {"setsockopt", {SYS_setsockopt}, {ENOBUFS, ENOMEM}},
        {"getsockname", {SYS_getsockname}, {ENOBUFS}},
        {"recvmsg", {SYS_recvmsg}, {EAGAIN, EINTR, ENOMEM, ENOBUFS, ECONNRESET}},
        {"sendmsg", {SYS_sendmsg}, {EAGAIN, EINTR, ENOMEM, ENOBUFS, EPIPE, ECONNRESET}},
        {"sendto", {SYS_sendto}, {EAGAIN, EINTR, ENOMEM, ENOBUFS, EPIPE, ECONNRESET}},
        {"shutdown", {SYS_shutdown}, {ENOTCONN, ENOBUFS}},

        /* waiting */
        {"epoll_create1", {SYS_epoll_create1}, {EMFILE, ENFILE, ENOMEM}},
        {"epoll_ctl", {SYS_epoll_ctl}, {ENOMEM, ENOSPC}},
        {"epoll_ctl (del)", {SYS_epoll_ctl, TRAP_REMOVAL}, .never = CANNOT_FAIL},
        {"epoll_wait", {SYS_epoll_wait}, {EINTR}},
        {"epoll_pwait", {SYS_epoll_pwait}, {EINTR}},
        {"epoll_pwait2", {441}, {EINTR, ENOSYS}},
        {"poll", {SYS_poll}, {EINTR, ENOMEM}},
        {"ppoll", {SYS_ppoll}, {EINTR, ENOMEM}},
        {"eventfd2", {SYS_eventfd2}, {EMFILE, ENFILE, ENODEV, ENOMEM}},
        {"signalfd4", {SYS_signalfd4}, {EMFILE, ENFILE, ENODEV, ENOMEM}},
        {"timerfd_create", {SYS_timerfd_create}, {EMFILE, ENFILE, ENODEV, ENOMEM}},
        {"timerfd_settime", {SYS_timerfd_settime}, .never = CANNOT_FAIL},
        {"timer_create", {SYS_timer_create}, {EAGAIN, ENOMEM}},
        {"timer_settime", {SYS_timer_settime}, .never = CANNOT_FAIL},
        {"timer_delete", {SYS_timer_delete}, .never = CANNOT_FAIL},
        {"futex",
         {SYS_futex},
         .never = "a wake-up that isn't made would be lost, a wait is repeated"},

        /* mounts */
        {"fsopen", {SYS_fsopen}, {EMFILE, ENFILE, ENOMEM, ENODEV, EPERM, EINTR}},
        {"fsconfig", {SYS_fsconfig}, {ENOMEM, EBUSY, EPERM, EINTR, EINVAL, ENOSPC}},
        {"fsmount", {SYS_fsmount}, {EMFILE, ENFILE, ENOMEM, EPERM, EBUSY, ENOSPC}},
        {"open_tree",
         {SYS_open_tree},
         {EMFILE, ENFILE, ENOMEM, ENOSPC, EPERM, EACCES, EINVAL, EINTR}},
        {"move_mount",
         {SYS_move_mount},
         {ENOENT, EINVAL, ENOTDIR, ENOSPC, ENOMEM, EPERM, EACCES, EBUSY, EINTR, ELOOP}},
        {"umount2", {SYS_umount2}, {ENOMEM, EPERM, EBUSY, EAGAIN, EINTR, EACCES}},
        {"statmount", {TABLE_STATMOUNT}, {ENOMEM, EPERM, EINTR}},
        {"chdir", {SYS_chdir}, {ENOMEM, EACCES, EINTR, EIO}},
        {"fchdir", {SYS_fchdir}, {ENOMEM, EACCES, EINTR, EIO}},
        {"unshare", {SYS_unshare}, {ENOMEM, EPERM, ENOSPC}},

        /* the process */
        {"execve", {SYS_execve}, .never = "the daemon begins behind it"},
        {"brk",
         {SYS_brk},
         .never = "answers by an address; malloc(3) goes on with mmap, which is failed"},
        {"mmap", {SYS_mmap}, {ENOMEM, EAGAIN, ENFILE}},
        {"mprotect", {SYS_mprotect}, {ENOMEM}},
        {"munmap", {SYS_munmap}, {ENOMEM}},
        {"mremap", {SYS_mremap}, {ENOMEM}},
        {"madvise", {SYS_madvise}, {ENOMEM, EAGAIN}},
        {"clone3", {SYS_clone3}, {EAGAIN, ENOMEM, ENOSPC, EPERM}},
        {"clone", {SYS_clone}, {EAGAIN, ENOMEM, ENOSPC, EPERM}},
        {"prctl", {SYS_prctl}, {EPERM, EINVAL, ENOMEM}},
        {"capget", {SYS_capget}, {EPERM, ENOMEM}},
        {"capset", {SYS_capset}, {EPERM, ENOMEM}},
        {"prlimit64", {SYS_prlimit64}, {EPERM, EINVAL}},
        {"seccomp", {SYS_seccomp}, {EINVAL, ENOMEM, EACCES}},
        {"getrandom", {SYS_getrandom}, {EINTR, EAGAIN, ENOSYS}},
        {"kill", {SYS_kill}, {EPERM}},
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
        {"clock_nanosleep", {SYS_clock_nanosleep}, {EINTR}},
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

const char *table_name(struct trap_call call) {
        static char number[32];
        const struct table_row *row = table_find(call);

        if (row)
                return row->name;
        snprintf(number, sizeof(number), "call %d/%d", call.number, call.subject);
        return number;
}
