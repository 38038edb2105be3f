/* SPDX-License-Identifier: Apache-2.0 */

/* The list of system calls. Each test is a process of its own, which is confined for good. */

#include "daemon/seccomp.h"

#include "daemon/kernel.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

static void confine_to(enum seccomp_mode mode, bool join) {
        ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        ck_assert_int_eq(seccomp_confine(mode, join), 0);
}

static void confine(enum seccomp_mode mode) {
        confine_to(mode, false);
}

START_TEST(off_is_no_filter) {
        FILE *status = fopen("/proc/self/status", "re");
        char line[256];
        int found = -1;

        ck_assert_ptr_nonnull(status);
        confine(SECCOMP_OFF);
        while (fgets(line, sizeof(line), status))
                sscanf(line, "Seccomp: %d", &found);
        fclose(status);
        ck_assert_int_eq(found, 0);
}
END_TEST

START_TEST(modes_have_names) {
        ck_assert_int_eq(seccomp_mode_from_name("enforce"), SECCOMP_ENFORCE);
        ck_assert_int_eq(seccomp_mode_from_name("log"), SECCOMP_LOG);
        ck_assert_int_eq(seccomp_mode_from_name("off"), SECCOMP_OFF);
        ck_assert_int_eq(seccomp_mode_from_name("Enforce"), -EINVAL);
        ck_assert_int_eq(seccomp_mode_from_name(""), -EINVAL);
}
END_TEST

/* A sanitizer's runtime makes calls of its own, so such a build isn't confined. */
#ifdef MOUNTATD_SANITIZED
int main(void) {
        return SUITE_RUN("seccomp", modes_have_names, off_is_no_filter);
}
#else

/* A child runs up to leave(), since Check makes calls of its own after a test. */
static void enter(enum seccomp_mode mode) {
        pid_t child = check_fork();

        if (child != 0)
                check_waitpid_and_exit(child);
        confine(mode);
}

static void leave(void) {
        _exit(EXIT_SUCCESS);
}

/* As in the C library; without a stack of its own it would crash. */
#define A_THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

/* The kernel applies the filter before it looks at the arguments, so none of these does harm. */
static const struct {
        const char *name;
        long number;
        long arguments[4];
} refused[] = {
        {"execve", SYS_execve, {0}},
        {"execveat", SYS_execveat, {-1}},
        {"ptrace", SYS_ptrace, {PTRACE_TRACEME}},
        {"process_vm_writev", SYS_process_vm_writev, {0}},
        {"kill", SYS_kill, {0, 0}},
        {"mount", SYS_mount, {0}},
        {"pivot_root", SYS_pivot_root, {0}},
        {"chroot", SYS_chroot, {0}},
        {"an owner", SYS_fchownat, {-1, 0, 0, 0}},
        {"a directory by its path", SYS_chdir, {0}},
        {"a timer that sends signals", SYS_timer_create, {0}},
        {"setns", SYS_setns, {-1}},
        {"quotactl", SYS_quotactl, {-1}},
        {"open_by_handle_at", SYS_open_by_handle_at, {-1}},
        {"bpf", SYS_bpf, {-1}},
        {"keyctl", SYS_keyctl, {-1}},
        {"init_module", SYS_init_module, {0}},
        {"reboot", SYS_reboot, {0}},
        {"swapon", SYS_swapon, {0}},
        {"sethostname", SYS_sethostname, {0}},
        {"setuid", SYS_setuid, {-1}},
        {"bind", SYS_bind, {-1}},
        {"listen", SYS_listen, {-1}},
        {"a socket of AF_INET", SYS_socket, {AF_INET, SOCK_STREAM, 0}},
        {"a mount namespace", SYS_unshare, {CLONE_NEWNS}},
        {"a directory of its own with a mount namespace", SYS_unshare, {CLONE_FS | CLONE_NEWNS}},
        {"executable memory", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE}},
        {"memory that becomes executable", SYS_mprotect, {0, 4096, PROT_READ | PROT_EXEC}},
#ifdef SYS_fork /* newer architectures have only clone(2) */
        {"fork", SYS_fork, {0}},
        {"vfork", SYS_vfork, {0}},
#endif
        {"a process of its own", SYS_clone, {SIGCHLD}},
        {"a process with the same memory", SYS_clone, {CLONE_VM | CLONE_VFORK | SIGCHLD}},
        {"a thread with a mount namespace", SYS_clone, {A_THREAD | CLONE_NEWNS}},
        {"a thread with a user namespace", SYS_clone, {A_THREAD | CLONE_NEWUSER}},
        {"a thread with a pid namespace", SYS_clone, {A_THREAD | CLONE_NEWPID}},
        {"a thread with a network", SYS_clone, {A_THREAD | CLONE_NEWNET}},
        {"a thread with a host name", SYS_clone, {A_THREAD | CLONE_NEWUTS}},
        {"a thread with queues of its own", SYS_clone, {A_THREAD | CLONE_NEWIPC}},
        {"a thread with a root of cgroups", SYS_clone, {A_THREAD | CLONE_NEWCGROUP}},
        {"a signal to another process", SYS_tgkill, {1, 1, 0}},
        {"a signal to a thread of any process", SYS_tkill, {1, 0}},
        {"another process's limits", SYS_prlimit64, {1, RLIMIT_NOFILE, 0, 0}},
        {"a capability that comes back", SYS_prctl, {PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21}},
        {"a call that doesn't exist", 100000, {0}},
};

START_TEST(what_is_not_on_the_list_is_refused) {
        enter(SECCOMP_ENFORCE);
        for (size_t i = 0; i < N_ELEMENTS(refused); i++) {
                const long *arguments = refused[i].arguments;
                long r = syscall(refused[i].number, arguments[0], arguments[1], arguments[2],
                                 arguments[3]);

                ck_assert_msg(r == -1 && errno == EPERM, "%s: %ld, %s", refused[i].name, r,
                              strerror(errno));
        }
        leave();
}
END_TEST

/* The kernel's own error for allowed calls, with descriptors and paths that don't exist. */
static const struct {
        const char *name;
        long number;
        long arguments[5];
        int error; /* EPERM: refused by the filter */
} joining[] = {
        {"setns of a mount namespace", SYS_setns, {-1, CLONE_NEWNS}, EBADF},
        {"setns of a pid namespace", SYS_setns, {-1, CLONE_NEWPID}, EPERM},
        {"setns of a network namespace", SYS_setns, {-1, CLONE_NEWNET}, EBADF},
        {"setns of a user namespace", SYS_setns, {-1, CLONE_NEWUSER}, EPERM},
        {"setns of anything", SYS_setns, {-1, 0}, EPERM},
        {"setns of several", SYS_setns, {-1, CLONE_NEWNS | CLONE_NEWUSER}, EPERM},
        {"chroot", SYS_chroot, {0}, EFAULT},
        {"a question about a namespace", SYS_ioctl, {-1, NS_GET_NSTYPE}, EBADF},
        {"an owner of what is open", SYS_fchownat, {-1, 0, 0, 0, AT_EMPTY_PATH}, EFAULT},
        {"an owner by a path", SYS_fchownat, {-1, 0, 0, 0, 0}, EPERM},
        {"an owner by another call", SYS_fchown, {-1, 0, 0}, EPERM},
        {"another ioctl", SYS_ioctl, {-1, 0x5412}, EPERM}, /* TIOCSTI */
        {"a process of its own", SYS_clone, {SIGCHLD}, EPERM},
        {"a child with the same memory", SYS_clone, {CLONE_VM | CLONE_VFORK | CLONE_FILES}, EPERM},
        {"a mount namespace", SYS_unshare, {CLONE_NEWNS}, EPERM},
        {"execve", SYS_execve, {0}, EPERM},
        {"open_by_handle_at", SYS_open_by_handle_at, {-1}, EPERM},
};

START_TEST(what_joining_takes_is_allowed_with_it) {
        pid_t child = check_fork();

        if (child != 0)
                check_waitpid_and_exit(child);
        confine_to(SECCOMP_ENFORCE, true);
        for (size_t i = 0; i < N_ELEMENTS(joining); i++) {
                const long *arguments = joining[i].arguments;
                long r = syscall(joining[i].number, arguments[0], arguments[1], arguments[2],
                                 arguments[3], arguments[4]);

                ck_assert_msg(r == -1 && errno == joining[i].error, "%s: %ld, %s", joining[i].name,
                              r, strerror(errno));
        }
        leave();
}
END_TEST

/*
 * The filter can't look behind pointers; a libc that makes threads copes with kernels without it.
 */
START_TEST(clone3_is_not_there) {
        enter(SECCOMP_ENFORCE);
        ck_assert_int_eq(syscall(SYS_clone3, NULL, 0), -1);
        ck_assert_int_eq(errno, ENOSYS);
        leave();
}
END_TEST

START_TEST(limits_of_its_own_can_be_asked_for) {
        struct rlimit limits;

        enter(SECCOMP_ENFORCE);
        ck_assert_int_eq(getrlimit(RLIMIT_STACK, &limits), 0);
        leave();
}
END_TEST

/* If abort(3) may not raise its signal, it ends the process with SIGSEGV. */
START_TEST(failed_assertion_ends_it_by_its_own_signal) {
        pid_t child = fork();
        int status;

        if (child == 0) {
                prctl(PR_SET_DUMPABLE, 0); /* no core */
                confine(SECCOMP_ENFORCE);
                abort();
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFSIGNALED(status));
        ck_assert_int_eq(WTERMSIG(status), SIGABRT);
}
END_TEST

static int root; /* a thread returns there by descriptor: unmount.h */

static void *work(void *argument) {
        *(int *)argument = unshare(CLONE_FS) == 0 && fchdir(root) == 0 &&
                           syscall(SYS_setns, -1, 0) < 0 && errno == EPERM;
        return NULL;
}

START_TEST(threads_are_made_and_confined) {
        int is_confined = 0;
        pthread_t thread;

        root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_ge(root, 0);
        enter(SECCOMP_ENFORCE);
        ck_assert_int_eq(pthread_create(&thread, NULL, work, &is_confined), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert(is_confined);
        leave();
}
END_TEST

START_TEST(call_that_the_library_has_no_name_for_is_allowed) {
        enter(SECCOMP_ENFORCE);
        ck_assert_int_lt(syscall(KERNEL_SYS_STATMOUNT, NULL, NULL, 0, ~0U), 0);
        ck_assert_int_ne(errno, EPERM); /* ENOSYS, EINVAL: the kernel's own answer */
        leave();
}
END_TEST

START_TEST(logging_alone_refuses_nothing) {
        enter(SECCOMP_LOG);
        ck_assert_int_lt(syscall(SYS_setns, -1, 0), 0);
        ck_assert_int_eq(errno, EBADF);
        ck_assert_int_lt(syscall(SYS_clone3, NULL, 0), 0);
        ck_assert_int_eq(errno, EINVAL);
        leave();
}
END_TEST

/* Whether the kernel's log has a new line about that call of a thread of that name. */
static bool has_told(int log, const char *name, long call) {
        char comm[32], wanted[32], line[1024];
        ssize_t length;

        snprintf(comm, sizeof(comm), " comm=\"%s\" ", name);
        snprintf(wanted, sizeof(wanted), " syscall=%ld ", call);
        while ((length = read(log, line, sizeof(line) - 1)) > 0) {
                line[length] = '\0';
                if (strstr(line, "type=1326") && strstr(line, comm) && strstr(line, wanted))
                        return true;
        }
        return false;
}

/* By its name: the pids in the log are those of the first pid namespace. */
static void expect_told(enum seccomp_mode mode) {
        int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        bool told = false;
        char name[16];

        if (log < 0 || access("/proc/self/loginuid", F_OK) < 0)
                test_skip("impossible here: this kernel has no audit, or its log can't be read");
        lseek(log, 0, SEEK_END);
        snprintf(name, sizeof(name), "told-%d", (int)getpid());
        ck_assert_int_eq(prctl(PR_SET_NAME, name), 0);
        enter(mode);
        for (int i = 0; i < 100 && !told;
             i++) { /* the kernel prints ten in five seconds, of all processes */
                syscall(SYS_setns, -1, 0);
                usleep(100000);
                told = has_told(log, name, SYS_setns);
        }
        ck_assert_msg(told, "the kernel has logged nothing");
        leave();
}

START_TEST(refusal_is_logged_by_the_kernel) {
        expect_told(SECCOMP_ENFORCE);
}
END_TEST

START_TEST(call_that_would_be_refused_is_logged_by_the_kernel) {
        expect_told(SECCOMP_LOG);
}
END_TEST

int main(void) {
        return SUITE_RUN("seccomp", modes_have_names, off_is_no_filter,
                         what_is_not_on_the_list_is_refused, what_joining_takes_is_allowed_with_it,
                         clone3_is_not_there, limits_of_its_own_can_be_asked_for,
                         failed_assertion_ends_it_by_its_own_signal, threads_are_made_and_confined,
                         call_that_the_library_has_no_name_for_is_allowed,
                         logging_alone_refuses_nothing, refusal_is_logged_by_the_kernel,
                         call_that_would_be_refused_is_logged_by_the_kernel);
}
#endif
