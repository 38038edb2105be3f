/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A thread that looks after a descriptor for somebody who sleeps. It has all signals blocked, and
 * does nothing but wait and call.
 */

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

struct keeper {
        bool running;
        pid_t process; /* that has the thread: a forked child hasn't */
        pthread_t thread;
        int stop;  /* owned eventfd(2): readable when the thread is to end, and stays so */
        int watch; /* borrowed */
        int (*tend)(struct keeper *keeper);
};

#define KEEPER_NONE                                                                                \
        { .stop = -EBADF, .watch = -EBADF }

/*
 * Starts the thread: it calls `tend` whenever `watch` is readable, and once at first. What that
 * returns is the number of milliseconds after which to call again in any case, or -1. Negative
 * errno.
 */
int keeper_start(struct keeper *keeper, int watch, int (*tend)(struct keeper *keeper));

/*
 * Ends the thread and waits for it: what `tend` waits for must end when `stop` becomes readable.
 * Fine without one.
 */
void keeper_stop(struct keeper *keeper);
