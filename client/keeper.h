/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A thread that polls a descriptor and calls a function. It has all signals blocked. */

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

struct keeper {
        bool running;
        pid_t process; /* that has the thread; a forked child doesn't */
        pthread_t thread;
        int stop;  /* owned eventfd(2): readable once the thread is to end */
        int watch; /* borrowed */
        int (*tend)(struct keeper *keeper);
};

#define KEEPER_NONE                                                                                \
        { .stop = -EBADF, .watch = -EBADF }

/*
 * Starts the thread, which calls `tend` once, and then whenever `watch` is readable. `tend` returns
 * the milliseconds after which to call it again in any case, or -1 for never. 0 or a negative
 * errno.
 */
int keeper_start(struct keeper *keeper, int watch, int (*tend)(struct keeper *keeper));

/*
 * Ends the thread and waits for it, so `tend` must return once `stop` is readable. Does nothing
 * without a thread.
 */
void keeper_stop(struct keeper *keeper);
