/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Stops each system call of a daemon before it is made, to count it, to fail it, or to end the
 * process there (seccomp_unotify(2)). A thread of the test's answers; a call that is let go on is
 * the kernel's own.
 *
 *     struct service_plan plan = {…, .enter = trap_enter, .attend = trap_attend};
 *
 * Where one call serves many purposes, its subject (an eventfd, the log) is told apart.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum trap_subject {
        TRAP_ANYTHING,
        TRAP_EVENTFD,
        TRAP_TIMERFD,
        TRAP_SIGNALFD,
        TRAP_OTHER_FILE,
        TRAP_REMOVAL,   /* from an epoll set */
        TRAP_DUPLICATE, /* of a descriptor */
};

struct trap_call {
        int number;
        enum trap_subject subject; /* of read, write, fcntl and epoll_ctl */
};

/* In the child, just before it becomes the daemon: from here on its calls wait for an answer. */
void trap_enter(void);

/* In the test, for the child that enters: until trap_leave(), one at a time. */
void trap_attend(pid_t pid);

/* After its end. */
void trap_leave(void);

/* Restarts the count at 1; cancels an order that was not reached, and the refusal of threads. */
void trap_reset(void);

/*
 * From the next call on, `watch` is called before each, by the thread that answers, while the
 * calling thread is stopped; NULL ends that. It must not call functions of this module.
 */
struct seccomp_notif; /* seccomp_unotify(2) */
void trap_watch(void (*watch)(const struct seccomp_notif *call));

/* In addition to the order: every call that creates a thread fails with that error; 0 ends that. */
void trap_refuse_threads(int error);

/*
 * The n-th such call since the reset fails with the positive `error`, without being made; or, if
 * that is 0, the process gets `signal` just before the call.
 */
void trap_order(struct trap_call call, unsigned n, int error, int signal);

/* The same for the n-th call of any kind. */
void trap_order_any(unsigned n, int signal);

/* Whether the order was reached. */
bool trap_has_sprung(void);

/* The calls since the reset, in order; writes at most `max`, returns their number. */
size_t trap_calls(struct trap_call *calls, size_t max);
