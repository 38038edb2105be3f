/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The listener is taken from the child's table with pidfd_getfd(2): any message from the child
 * would be a call to answer.
 */

#include "tests/faults/inject/trap.h"

#include "common/fd.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
        TRAP_CALLS_MAX = 16384,
        TRAP_LISTENER = 3, /* in the child, which has only the standard descriptors */
        TRAP_ANY_CALL = -1,
};

/* SECCOMP_IOCTL_NOTIF_SET_FLAGS and its flag, missing in the baseline's headers. */
#define TRAP_SET_FLAGS SECCOMP_IOW(4, uint64_t)
#define TRAP_SYNC_WAKE_UP 1UL

static struct {
        pthread_t thread;
        pid_t pid;
        int listener;
        int stop; /* eventfd */

        pthread_mutex_t mutex; /* guards everything below */
        bool answering;
        size_t n_calls;
        struct trap_call calls[TRAP_CALLS_MAX];
        struct trap_call order;
        unsigned n; /* calls until the order is reached; 0: none */
        int error;
        int signal;
        bool sprung;
        int refusal; /* of new threads; 0: none */
        void (*watch)(const struct seccomp_notif *call);
} trap = {.listener = -EBADF, .mutex = PTHREAD_MUTEX_INITIALIZER};

void trap_enter(void) {
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 1, 0),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        const struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
        unsigned flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;

        if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) != TRAP_LISTENER)
                _exit(127);
}

static enum trap_subject trap_find_subject(const struct seccomp_notif *notification) {
        char path[64], target[64] = "";
        ssize_t length;

        if (notification->data.nr == SYS_epoll_ctl && notification->data.args[1] == EPOLL_CTL_DEL)
                return TRAP_REMOVAL;
        if (notification->data.nr == SYS_fcntl && (notification->data.args[1] == F_DUPFD_CLOEXEC ||
                                                   notification->data.args[1] == F_DUPFD))
                return TRAP_DUPLICATE;
        if (notification->data.nr != SYS_read && notification->data.nr != SYS_write)
                return TRAP_ANYTHING;
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", notification->pid,
                 (int)notification->data.args[0]);
        length = readlink(path, target, sizeof(target) - 1);
        if (length > 0)
                target[length] = '\0';
        if (strcmp(target, "anon_inode:[eventfd]") == 0)
                return TRAP_EVENTFD;
        if (strcmp(target, "anon_inode:[timerfd]") == 0)
                return TRAP_TIMERFD;
        if (strcmp(target, "anon_inode:[signalfd]") == 0)
                return TRAP_SIGNALFD;
        return TRAP_OTHER_FILE;
}

static bool trap_matches(struct trap_call call) {
        return trap.order.number == TRAP_ANY_CALL ||
               (trap.order.number == call.number && trap.order.subject == call.subject);
}

static void trap_fail(struct seccomp_notif_resp *answer, int error) {
        answer->flags = 0;
        answer->error = -error;
}

/* The answer. False: none, since the process has ended. */
static bool trap_judge(struct trap_call call, struct seccomp_notif_resp *answer) {
        answer->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        if (trap.n_calls < TRAP_CALLS_MAX)
                trap.calls[trap.n_calls++] = call;
        if (trap.refusal > 0 && (call.number == SYS_clone || call.number == SYS_clone3))
                trap_fail(answer, trap.refusal);
        if (trap.n == 0 || !trap_matches(call) || --trap.n > 0)
                return true;

        trap.sprung = true;
        if (trap.error > 0) {
                trap_fail(answer, trap.error);
                return true;
        }
        kill(trap.pid, trap.signal);
        return trap.signal != SIGKILL;
}

static void trap_answer(void) {
        struct seccomp_notif notification = {0};
        struct seccomp_notif_resp answer = {0};
        struct trap_call call;
        bool answered;

        if (ioctl(trap.listener, SECCOMP_IOCTL_NOTIF_RECV, &notification) < 0)
                return; /* the process that made the call is gone */
        call = (struct trap_call){notification.data.nr, trap_find_subject(&notification)};
        answer.id = notification.id;
        pthread_mutex_lock(&trap.mutex);
        if (trap.watch)
                trap.watch(&notification);
        answered = trap_judge(call, &answer);
        pthread_mutex_unlock(&trap.mutex);
        if (answered)
                ioctl(trap.listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

static void trap_set_answering(bool answering) {
        pthread_mutex_lock(&trap.mutex);
        trap.answering = answering;
        pthread_mutex_unlock(&trap.mutex);
}

static void *trap_serve(void *argument) {
        struct pollfd fds[] = {{.fd = trap.listener, .events = POLLIN},
                               {.fd = trap.stop, .events = POLLIN}};

        (void)argument;
        while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
                if (fds[1].revents || (fds[0].revents & (POLLHUP | POLLNVAL)))
                        break;
                if (fds[0].revents & POLLIN) {
                        trap_set_answering(true);
                        trap_answer();
                        trap_set_answering(false);
                }
        }
        return NULL;
}

/* The child blocks at its next call, so there is time to take it. */
static int trap_take_listener(pid_t pid) {
        int process = pidfd_open(pid, 0), listener = -1;

        ck_assert_int_ge(process, 0);
        for (int i = 0; listener < 0 && i < 10000; i++) {
                char path[64], target[64] = "";

                snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, TRAP_LISTENER);
                if (readlink(path, target, sizeof(target) - 1) > 0 &&
                    strcmp(target, "anon_inode:seccomp notify") == 0)
                        listener = pidfd_getfd(process, TRAP_LISTENER, 0);
                else
                        usleep(100);
        }
        close(process);
        ck_assert_msg(listener >= 0, "no listener for seccomp notifications: %s", strerror(errno));
        return listener;
}

/*
 * Linux 6.6: the answering thread runs at once, on the caller's processor. Otherwise it is slower.
 */
static void trap_hurry(void) {
        ioctl(trap.listener, TRAP_SET_FLAGS, TRAP_SYNC_WAKE_UP);
}

void trap_attend(pid_t pid) {
        trap.pid = pid;
        trap.listener = trap_take_listener(pid);
        trap_hurry();
        trap.stop = eventfd(0, EFD_CLOEXEC);
        ck_assert_int_ge(trap.stop, 0);
        ck_assert_int_eq(pthread_create(&trap.thread, NULL, trap_serve, NULL), 0);
}

void trap_leave(void) {
        ck_assert_int_eq(eventfd_write(trap.stop, 1), 0);
        ck_assert_int_eq(pthread_join(trap.thread, NULL), 0);
        trap.listener = fd_close(trap.listener);
        close(trap.stop);
}

/* A call waiting for its answer came earlier: it must not count as a later one. */
static void trap_lock_when_quiet(void) {
        struct pollfd asked = {.fd = trap.listener, .events = POLLIN};

        pthread_mutex_lock(&trap.mutex);
        while (trap.answering || (poll(&asked, 1, 0) == 1 && (asked.revents & POLLIN))) {
                pthread_mutex_unlock(&trap.mutex);
                sched_yield();
                pthread_mutex_lock(&trap.mutex);
        }
}

static void trap_set(struct trap_call call, unsigned n, int error, int signal) {
        trap_lock_when_quiet();
        trap.n_calls = 0;
        trap.order = call;
        trap.n = n;
        trap.error = error;
        trap.signal = signal;
        trap.sprung = false;
        trap.refusal = 0;
        pthread_mutex_unlock(&trap.mutex);
}

void trap_watch(void (*watch)(const struct seccomp_notif *call)) {
        trap_lock_when_quiet();
        trap.watch = watch;
        pthread_mutex_unlock(&trap.mutex);
}

void trap_refuse_threads(int error) {
        pthread_mutex_lock(&trap.mutex);
        trap.refusal = error;
        pthread_mutex_unlock(&trap.mutex);
}

void trap_reset(void) {
        trap_set((struct trap_call){0}, 0, 0, 0);
}

void trap_order(struct trap_call call, unsigned n, int error, int signal) {
        trap_set(call, n, error, signal);
}

void trap_order_any(unsigned n, int signal) {
        trap_set((struct trap_call){.number = TRAP_ANY_CALL}, n, 0, signal);
}

bool trap_has_sprung(void) {
        bool sprung;

        pthread_mutex_lock(&trap.mutex);
        sprung = trap.sprung;
        pthread_mutex_unlock(&trap.mutex);
        return sprung;
}

size_t trap_calls(struct trap_call *calls, size_t max) {
        size_t n;

        pthread_mutex_lock(&trap.mutex);
        n = trap.n_calls;
        memcpy(calls, trap.calls, (n < max ? n : max) * sizeof(*calls));
        pthread_mutex_unlock(&trap.mutex);
        return n;
}
