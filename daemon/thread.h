/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Threads for what may block, perhaps for ever: each connection's, and jobs of the daemon's own. A
 * thread has a file-system context of its own (unmount.h). It is detached, and never cancelled or
 * joined: one that is stuck in the kernel is left there. A few without work are kept for what comes
 * next, and one of them, the spare, for what must be done though no other thread can be made.
 *
 * Beside the log's these are the only threads. Any thread, unless something else is said; nothing
 * here blocks but threads_free().
 */

#include <stdbool.h>
#include <sys/queue.h>

struct threads;

/* Makes the spare. Signals must be blocked and privileges dropped before. Negative errno. */
int threads_new(struct threads **threads);

/*
 * Ends those without work, and waits for the others for a second. False: some are stuck in the
 * kernel, so the process must exit without freeing what they use. NULL-safe. Main thread.
 */
bool threads_free(struct threads *threads);

/* Embedded by its keeper. */
struct work {
        /*
         * On a thread. `error`: 0, or a negative errno if it has no file-system context of its own
         * and so must neither mount nor unmount. Returns what the same thread is to do next, or
         * NULL.
         */
        struct work *(*run)(struct work *work, int error);
};

enum threads_spare {
        THREADS_KEEP_SPARE,
        THREADS_TAKE_SPARE,
};

/* Has a thread do the work, and own it from then on. Negative errno: none can be made. */
int threads_start(struct threads *threads, struct work *work, enum threads_spare spare);

/* Work that the main thread wants to hear of. Embedded by its keeper. */
struct job {
        void (*run)(struct job *job);  /* on a thread; not if there is an error */
        void (*done)(struct job *job); /* after it, by threads_collect() */
        int error;                     /* as above, for `done` */
        /* the module's own: */
        struct work work;
        struct threads *threads;
        STAILQ_ENTRY(job) entry;
};

/* Negative errno: no thread can be made, and `done` won't be called. */
int threads_run(struct threads *threads, struct job *job, enum threads_spare spare);

/*
 * An eventfd(2) that becomes readable when there is something to collect, when threads_are_idle()
 * may have become true, and by threads_wake(); borrowed.
 */
int threads_fd(const struct threads *threads);
void threads_wake(struct threads *threads);

/* Reads it, and calls `done` of the jobs that have been run. Main thread. */
void threads_collect(struct threads *threads);

/* No thread has work, and there is nothing to collect. */
bool threads_are_idle(struct threads *threads);
