/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A daemon whose system calls are seen one by one before they are made: counted, failed, or its
 * last (seccomp_unotify(2)). A thread of the test's answers; a call that is let go is the kernel's
 * own.
 *
 *     struct service_plan plan = {…, .enter = trap_enter, .attend = trap_attend};
 *
 * What a call is about (an eventfd, the log) is told apart where one call serves many purposes.
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

/* In the daemon, before it is one: from here on its calls wait for an answer. */
void trap_enter(void);

/* In the test, for the child that enters: until trap_leave(), one at a time. */
void trap_attend(pid_t pid);

/* After its end. */
void trap_leave(void);

/* Counts from 1 again; what was ordered and not reached is forgotten, and nothing is refused. */
void trap_reset(void);

/* Besides the order: every call that makes a thread fails with that error; 0 ends that. */
void trap_refuse_threads(int error);

/*
 * The n-th such call since the reset fails with the positive `error` without being made; or, if
 * that is 0, the process gets `signal` just before it is made.
 */
void trap_order(struct trap_call call, unsigned n, int error, int signal);

/* The n-th call of all. */
void trap_order_any(unsigned n, int signal);

/* Whether the order was reached. */
bool trap_has_sprung(void);

/* The calls since the reset, in order; at most `max` are written, their number is returned. */
size_t trap_calls(struct trap_call *calls, size_t max);
