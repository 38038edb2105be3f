/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Threads for work that may block, perhaps for ever: one per connection, and jobs of the daemon's
 * own. Each thread has its own file-system context (unmount.h). It is detached, and never cancelled
 * or joined: one that is stuck in the kernel is abandoned. A few idle ones are kept; one of them,
 * the spare, is for work that must be done even if no other thread can be made.
 *
 * Besides the log's these are the only threads. Any thread, unless stated otherwise; only
 * threads_free() blocks.
 */

#include <stdbool.h>
#include <sys/queue.h>

struct threads;

/* Makes the spare. Block signals and drop privileges before. Negative errno. */
int threads_new(struct threads **threads);

/*
 * Ends the idle threads, and waits a second for the others. False: some are stuck in the kernel, so
 * the process must exit without freeing what they use. Accepts NULL. Main thread.
 */
bool threads_free(struct threads *threads);

/* Embedded by its owner. */
struct work {
        /*
         * On a thread. `error`: 0, or a negative errno if the thread has no file-system context of
         * its own, and so must neither mount nor unmount. Returns the next work of the same thread,
         * or NULL.
         */
        struct work *(*run)(struct work *work, int error);
};

enum threads_spare {
        THREADS_KEEP_SPARE,
        THREADS_TAKE_SPARE,
};

/* Hands the work over to a thread. Negative errno: no thread can be made. */
int threads_start(struct threads *threads, struct work *work, enum threads_spare spare);

/* Work whose end the main thread is notified of. Embedded by its owner. */
struct job {
        void (*run)(struct job *job);  /* on a thread; not on error */
        void (*done)(struct job *job); /* afterwards, by threads_collect() */
        int error;                     /* as above, for `done` */
        /* private: */
        struct work work;
        struct threads *threads;
        STAILQ_ENTRY(job) entry;
};

/* Negative errno: no thread can be made, and `done` won't be called. */
int threads_run(struct threads *threads, struct job *job, enum threads_spare spare);

/*
 * An eventfd(2), borrowed: readable when there is something to collect, when threads_are_idle() may
 * have become true, and after threads_wake().
 */
int threads_fd(const struct threads *threads);
void threads_wake(struct threads *threads);

/* Reads it, and calls `done` of the finished jobs. Main thread. */
void threads_collect(struct threads *threads);

/* No thread has work, and nothing is left to collect. */
bool threads_are_idle(struct threads *threads);
