/* SPDX-License-Identifier: Apache-2.0 */

/* Work is handed to a thread, not queued: a caller that finds no thread keeps its work. */

#include "daemon/thread.h"

#include "common/fd.h"
#include "daemon/log.h"
#include "daemon/namespaces.h"
#include "daemon/unmount.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
        THREADS_STACK_SIZE = 256 * 1024,
        THREADS_IDLE_MAX = 4, /* including the spare */
        THREADS_STOP_SECONDS = 1,
};

struct thread {
        struct threads *threads;
        struct work *work; /* with the mutex held, while the thread is idle */
        pthread_cond_t wake;
        LIST_ENTRY(thread) entry; /* in the list of idle threads */
};

struct threads {
        int news;

        pthread_mutex_t mutex; /* guards everything below */
        pthread_cond_t ended;  /* a thread has ended */
        unsigned count;
        unsigned n_idle;
        LIST_HEAD(, thread) idle;
        STAILQ_HEAD(, job) jobs_done;
        bool stopping;
};

void threads_wake(struct threads *threads) {
        const uint64_t one = 1;

        if (write(threads->news, &one, sizeof(one)) < 0 && errno != EAGAIN)
                log_write_limited(LOG_ERR, &(struct log_subject){.error = -errno}, "eventfd");
}

/* ---- on a thread ---- */

static struct thread *thread_free(struct thread *thread) {
        pthread_cond_destroy(&thread->wake);
        free(thread);
        return NULL;
}

/* With the mutex held. */
static void thread_retire(struct thread *thread) {
        LIST_REMOVE(thread, entry);
        thread->threads->n_idle--;
}

/* With the mutex held. False: no more work will come. */
static bool thread_await_work(struct thread *thread) {
        struct threads *threads = thread->threads;

        while (!thread->work) {
                if (threads->stopping || threads->n_idle >= THREADS_IDLE_MAX)
                        return false;
                LIST_INSERT_HEAD(&threads->idle, thread, entry);
                threads->n_idle++;
                if (threads->n_idle == threads->count)
                        threads_wake(threads);
                pthread_cond_wait(&thread->wake, &threads->mutex);
                if (!thread->work)
                        thread_retire(thread);
        }
        return true;
}

/* False: the thread can't leave a client's namespace, and so can't serve others. */
static bool thread_do_work(struct work *work, bool *isolated) {
        int r = *isolated ? 0 : unmount_isolate();

        *isolated = r == 0;
        while (work)
                work = work->run(work, r);
        return namespaces_return();
}

static void *thread_run(void *argument) {
        struct thread *thread = argument;
        struct threads *threads = thread->threads;
        bool isolated = false, fit = true;

        pthread_mutex_lock(&threads->mutex);
        while (fit && thread_await_work(thread)) {
                pthread_mutex_unlock(&threads->mutex);
                fit = thread_do_work(thread->work, &isolated);
                pthread_mutex_lock(&threads->mutex);
                thread->work = NULL;
        }
        threads->count--;
        if (threads->n_idle == threads->count)
                threads_wake(threads);
        pthread_cond_signal(&threads->ended);
        pthread_mutex_unlock(&threads->mutex);
        thread_free(thread);
        return NULL;
}

/* ---- starting ---- */

static int thread_start(struct thread *thread) {
        pthread_attr_t attributes;
        pthread_t handle;
        int r;

        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, THREADS_STACK_SIZE);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        r = -pthread_create(&handle, &attributes, thread_run, thread);
        pthread_attr_destroy(&attributes);
        return r;
}

/* With the mutex held; the new thread waits for it. */
static int threads_make(struct threads *threads, struct work *work) {
        struct thread *thread = calloc(1, sizeof(*thread));
        int r;

        if (!thread)
                return -ENOMEM;
        thread->threads = threads;
        thread->work = work;
        pthread_cond_init(&thread->wake, NULL);
        r = thread_start(thread);
        if (r < 0)
                thread_free(thread);
        else
                threads->count++;
        return r;
}

int threads_start(struct threads *threads, struct work *work, enum threads_spare spare) {
        struct thread *thread;
        int r = 0;

        pthread_mutex_lock(&threads->mutex);
        if (threads->n_idle <= (spare == THREADS_KEEP_SPARE))
                r = threads_make(threads, work);
        else {
                thread = LIST_FIRST(&threads->idle);
                thread_retire(thread);
                thread->work = work;
                pthread_cond_signal(&thread->wake);
        }
        pthread_mutex_unlock(&threads->mutex);
        return r;
}

/* ---- jobs ---- */

static struct work *job_run(struct work *work, int error) {
        struct job *job = (struct job *)((char *)work - offsetof(struct job, work));
        struct threads *threads = job->threads;

        job->error = error;
        if (error == 0)
                job->run(job);
        pthread_mutex_lock(&threads->mutex);
        STAILQ_INSERT_TAIL(&threads->jobs_done, job, entry);
        pthread_mutex_unlock(&threads->mutex);
        threads_wake(threads);
        return NULL;
}

int threads_run(struct threads *threads, struct job *job, enum threads_spare spare) {
        job->threads = threads;
        job->work.run = job_run;
        return threads_start(threads, &job->work, spare);
}

int threads_fd(const struct threads *threads) {
        return threads->news;
}

static struct job *threads_next_done(struct threads *threads) {
        struct job *job;

        pthread_mutex_lock(&threads->mutex);
        job = STAILQ_FIRST(&threads->jobs_done);
        if (job)
                STAILQ_REMOVE_HEAD(&threads->jobs_done, entry);
        pthread_mutex_unlock(&threads->mutex);
        return job;
}

void threads_collect(struct threads *threads) {
        struct job *job;
        uint64_t count;

        if (read(threads->news, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
                log_write_limited(LOG_ERR, &(struct log_subject){.error = -errno}, "eventfd");
        while ((job = threads_next_done(threads)))
                job->done(job);
}

/* ---- all of them ---- */

bool threads_are_idle(struct threads *threads) {
        bool idle;

        pthread_mutex_lock(&threads->mutex);
        idle = threads->n_idle == threads->count && STAILQ_EMPTY(&threads->jobs_done);
        pthread_mutex_unlock(&threads->mutex);
        return idle;
}

static struct threads *threads_destroy(struct threads *threads) {
        fd_close(threads->news);
        pthread_cond_destroy(&threads->ended);
        pthread_mutex_destroy(&threads->mutex);
        free(threads);
        return NULL;
}

int threads_new(struct threads **ret) {
        struct threads *threads = calloc(1, sizeof(*threads));
        int r;

        if (!threads)
                return -ENOMEM;
        LIST_INIT(&threads->idle);
        STAILQ_INIT(&threads->jobs_done);
        pthread_mutex_init(&threads->mutex, NULL);
        pthread_cond_init(&threads->ended, NULL);
        threads->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = threads->news < 0 ? -errno : 0;
        if (r == 0) {
                pthread_mutex_lock(&threads->mutex);
                r = threads_make(threads, NULL);
                pthread_mutex_unlock(&threads->mutex);
        }
        if (r < 0) {
                threads_destroy(threads);
                return r;
        }
        *ret = threads;
        return 0;
}

bool threads_free(struct threads *threads) {
        struct timespec deadline;
        struct thread *thread;
        bool ended;

        if (!threads)
                return true;
        clock_gettime(CLOCK_MONOTONIC, &deadline);
        deadline.tv_sec += THREADS_STOP_SECONDS;

        pthread_mutex_lock(&threads->mutex);
        threads->stopping = true;
        LIST_FOREACH(thread, &threads->idle, entry)
                pthread_cond_signal(&thread->wake);
        while (threads->count > 0 && pthread_cond_clockwait(&threads->ended, &threads->mutex,
                                                            CLOCK_MONOTONIC, &deadline) == 0)
                continue;
        ended = threads->count == 0;
        pthread_mutex_unlock(&threads->mutex);
        if (ended)
                threads_destroy(threads);
        return ended;
}
