/* SPDX-License-Identifier: Apache-2.0 */

/* The workers: started, watched, replaced when they are lost, and stopped. */

#include "common/fd.h"
#include "daemon/crew_private.h"
#include "daemon/impatience.h"
#include "daemon/instance.h"
#include "daemon/log.h"
#include "daemon/peer.h"
#include "daemon/unmount.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
        CREW_STACK_SIZE = 512 * 1024,
        CREW_LOST_AFTER = 100000, /* microseconds in one call */
        CREW_STOP_SECONDS = 1,
};

/* ---- what is told ---- */

void crew_tell(int fd) {
        const uint64_t one = 1;

        if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
                log_write(LOG_ERR, &(struct log_subject){.error = -errno}, "eventfd");
}

void crew_tell_if_empty(struct crew *crew) {
        if (crew->n_connections == crew->n_abandoned && crew->n_jobs == 0)
                crew_tell(crew->news);
}

void crew_regain(struct crew *crew, struct crew_worker *worker, struct ledger_owner *owner) {
        ledger_regain_worker(crew->gate->ledger, owner);
        crew->n_lost--;
        worker->state = CREW_BUSY;
        worker->returned = true;
}

/* ---- what a worker does ---- */

static void crew_handle(struct crew *crew, struct crew_worker *worker,
                        const struct epoll_event *event) {
        struct crew_seat *seat;

        pthread_mutex_lock(&crew->mutex);
        seat = crew_seat(crew, event->data.u64);
        worker->state = CREW_BUSY;
        worker->key = event->data.u64;
        if (seat)
                crew_dispatch(crew, worker, seat, event->events);
        worker->state = CREW_FREE;
        pthread_mutex_unlock(&crew->mutex);
}

static void crew_tell_return(struct crew_worker *worker) {
        if (worker->returned)
                log_write(LOG_NOTICE, NULL, "worker %d has come back from the kernel", worker->tid);
        worker->returned = false;
}

enum crew_leaving {
        CREW_IF_SURPLUS, /* it was lost, and has been replaced */
        CREW_ANYWAY,
};

/* Gives the worker's place up; true if it did. */
static bool crew_leave(struct crew *crew, struct crew_worker *worker, enum crew_leaving leaving) {
        bool leave;

        pthread_mutex_lock(&crew->mutex);
        leave = leaving == CREW_ANYWAY || crew->n_workers - crew->n_lost > crew->limits->workers;
        if (leave) {
                worker->state = CREW_ABSENT;
                crew->n_workers--;
                pthread_cond_signal(&crew->changed);
        }
        pthread_mutex_unlock(&crew->mutex);
        return leave;
}

static void crew_loop(struct crew *crew, struct crew_worker *worker) {
        while (!crew_leave(crew, worker, CREW_IF_SURPLUS)) {
                struct epoll_event event;
                int n = epoll_wait(crew->epoll, &event, 1, -1);

                if (n > 0 && event.data.u64 == CREW_JOBS)
                        crew_run_job(crew, worker);
                else if (n > 0 && event.data.u64 != CREW_STOP)
                        crew_handle(crew, worker, &event);
                else if (n > 0 || (n < 0 && errno != EINTR)) {
                        crew_leave(crew, worker, CREW_ANYWAY);
                        return;
                }
                crew_tell_return(worker);
        }
}

static void *crew_work(void *argument) {
        struct crew_worker *worker = argument;
        struct crew *crew = worker->crew;
        int r = unmount_isolate();

        stall_use(&worker->clock);
        pthread_mutex_lock(&crew->mutex);
        worker->tid = gettid();
        worker->state = CREW_FREE;
        crew->start_error = crew->start_error ?: r;
        pthread_cond_signal(&crew->changed);
        pthread_mutex_unlock(&crew->mutex);

        if (r == 0)
                crew_loop(crew, worker);
        else
                crew_leave(crew, worker, CREW_ANYWAY);
        impatience_forget();
        return NULL;
}

/* ---- what the main thread does ---- */

/* Detached: one that is stuck is never joined. */
static int crew_start_thread(void *(*run)(void *argument), void *argument) {
        pthread_attr_t attributes;
        pthread_t thread;
        int r;

        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, CREW_STACK_SIZE);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        r = -pthread_create(&thread, &attributes, run, argument);
        pthread_attr_destroy(&attributes);
        return r;
}

/* With the mutex held. */
static int crew_start_worker(struct crew *crew) {
        struct crew_worker *worker = crew->workers;
        int r;

        while (worker->state != CREW_ABSENT)
                worker++;
        worker->crew = crew;

        r = crew_start_thread(crew_work, worker);
        if (r < 0)
                return r;
        worker->state = CREW_STARTING;
        crew->n_workers++;
        return 0;
}

static bool crew_is_starting(const struct crew *crew) {
        for (unsigned i = 0; i < crew->limits->workers; i++)
                if (crew->workers[i].state == CREW_STARTING)
                        return true;
        return false;
}

static int crew_start(struct crew *crew) {
        int r = 0;

        pthread_mutex_lock(&crew->mutex);
        while (r == 0 && crew->n_workers < crew->limits->workers)
                r = crew_start_worker(crew);
        while (crew_is_starting(crew))
                pthread_cond_wait(&crew->changed, &crew->mutex);
        r = r ?: crew->start_error;
        pthread_mutex_unlock(&crew->mutex);
        return r;
}

static int crew_open(struct crew *crew) {
        struct epoll_event stop = {.events = EPOLLIN, .data.u64 = CREW_STOP};
        struct epoll_event jobs = {.events = EPOLLIN, .data.u64 = CREW_JOBS};

        crew->epoll = epoll_create1(EPOLL_CLOEXEC);
        crew->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        crew->jobs = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
        crew->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        crew->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (crew->epoll < 0 || crew->stop < 0 || crew->jobs < 0 || crew->news < 0 ||
            crew->done < 0 || epoll_ctl(crew->epoll, EPOLL_CTL_ADD, crew->stop, &stop) < 0 ||
            epoll_ctl(crew->epoll, EPOLL_CTL_ADD, crew->jobs, &jobs) < 0)
                return -errno;
        return 0;
}

static void crew_destroy(struct crew *crew) {
        fd_close(crew->epoll);
        fd_close(crew->stop);
        fd_close(crew->jobs);
        fd_close(crew->news);
        fd_close(crew->done);
        pthread_cond_destroy(&crew->changed);
        pthread_mutex_destroy(&crew->mutex);
        free(crew->workers);
        free(crew->seats);
        free(crew);
}

int crew_new(struct request_gate *gate, struct crew **ret) {
        const struct ledger_limits *limits = ledger_limits(gate->ledger);
        struct crew *crew = calloc(1, sizeof(*crew));
        int r;

        if (!crew)
                return -ENOMEM;
        crew->gate = gate;
        crew->limits = limits;
        crew->epoll = crew->stop = crew->jobs = crew->news = crew->done = -EBADF;
        TAILQ_INIT(&crew->queue);
        STAILQ_INIT(&crew->jobs_waiting);
        STAILQ_INIT(&crew->jobs_done);
        pthread_mutex_init(&crew->mutex, NULL);
        pthread_cond_init(&crew->changed, NULL);
        crew->seats = calloc(limits->connections, sizeof(*crew->seats));
        crew->workers = calloc(limits->workers + limits->lost_workers, sizeof(*crew->workers));
        if (!crew->seats || !crew->workers) {
                crew_destroy(crew);
                return -ENOMEM;
        }
        for (uint32_t i = 0; i < limits->connections; i++)
                crew->seats[i].next = i + 1;

        r = crew_open(crew);
        if (r == 0)
                r = crew_start(crew);
        if (r < 0) {
                crew_free(crew);
                return r;
        }
        *ret = crew;
        return 0;
}

/* 100 ms in one call may be a busy machine, if the thread wants to run; asleep, it is stuck. */
static bool crew_is_stuck(const struct crew_worker *worker) {
        char state;

        return worker->state == CREW_BUSY && stall_elapsed(&worker->clock) >= CREW_LOST_AFTER &&
               instance_state(worker->tid, &state) == 0 && state != 'R';
}

static void crew_lose(struct crew *crew, struct crew_worker *worker) {
        struct crew_seat *seat = worker->key == CREW_JOBS ? NULL : crew_seat(crew, worker->key);
        struct ledger_owner *owner = seat ? peer_owner(seat->peer) : worker->owner;
        struct log_subject subject = {.event = LOG_EVENT_STUCK, .has_peer = owner};

        worker->state = CREW_LOST;
        crew->n_lost++;
        if (worker->key == CREW_JOBS) { /* nobody waits for it any more */
                crew->n_jobs--;
                crew_tell_if_empty(crew);
        }
        ledger_lose_worker(crew->gate->ledger, owner);
        if (owner) {
                subject.uid = owner->uid;
                subject.pid = owner->pid;
        }
        if (seat) {
                seat->lost = true;
                if (!seat->ended)
                        crew_arm(crew, EPOLL_CTL_MOD, seat, EPOLLRDHUP);
        }
        log_write(LOG_WARNING, &subject, "worker %d is stuck on a file system, %u are", worker->tid,
                  crew->n_lost);
}

/* As many workers as there should be, if the host lets us. */
static void crew_replace(struct crew *crew) {
        const unsigned max = crew->limits->workers + crew->limits->lost_workers;
        int r = 0;

        while (r == 0 && crew->n_workers - crew->n_lost < crew->limits->workers &&
               crew->n_workers < max)
                r = crew_start_worker(crew);
        if (r < 0)
                log_write_limited(LOG_ERR, &(struct log_subject){.error = r}, "replacing a worker");
}

void crew_watch(struct crew *crew) {
        pthread_mutex_lock(&crew->mutex);
        for (unsigned i = 0; i < crew->limits->workers + crew->limits->lost_workers; i++)
                if (crew_is_stuck(&crew->workers[i]))
                        crew_lose(crew, &crew->workers[i]);
        crew_replace(crew);
        crew_serve_queue(crew);
        pthread_mutex_unlock(&crew->mutex);
}

int crew_fd(const struct crew *crew) {
        return crew->news;
}

void crew_wake(struct crew *crew) {
        crew_tell(crew->news);
}

struct crew_thread {
        struct crew *crew;
        void (*run)(void *argument);
        void *argument;
};

static void *crew_run_thread(void *argument) {
        struct crew_thread thread = *(struct crew_thread *)argument;

        free(argument);
        thread.run(thread.argument);
        impatience_forget();
        pthread_mutex_lock(&thread.crew->mutex);
        thread.crew->n_spawned--;
        pthread_cond_signal(&thread.crew->changed);
        pthread_mutex_unlock(&thread.crew->mutex);
        return NULL;
}

int crew_spawn(struct crew *crew, void (*run)(void *argument), void *argument) {
        struct crew_thread *thread = malloc(sizeof(*thread));
        int r;

        if (!thread)
                return -ENOMEM;
        *thread = (struct crew_thread){.crew = crew, .run = run, .argument = argument};
        pthread_mutex_lock(&crew->mutex);
        r = crew_start_thread(crew_run_thread, thread);
        if (r == 0)
                crew->n_spawned++;
        pthread_mutex_unlock(&crew->mutex);
        if (r < 0)
                free(thread);
        return r;
}

bool crew_is_idle(struct crew *crew) {
        bool idle;

        pthread_mutex_lock(&crew->mutex);
        idle = crew->n_connections == crew->n_abandoned && crew->n_jobs == 0;
        pthread_mutex_unlock(&crew->mutex);
        return idle;
}

bool crew_is_able(struct crew *crew) {
        bool able;

        pthread_mutex_lock(&crew->mutex);
        able = crew->n_workers > crew->n_lost;
        pthread_mutex_unlock(&crew->mutex);
        return able;
}

/* Until all workers have left that can, or the patience with the others is at its end. */
static void crew_wait_for_workers(struct crew *crew) {
        struct timespec deadline;

        clock_gettime(CLOCK_REALTIME, &deadline);
        deadline.tv_sec += CREW_STOP_SECONDS;
        while ((crew->n_workers > crew->n_lost || crew->n_spawned > 0) &&
               pthread_cond_timedwait(&crew->changed, &crew->mutex, &deadline) == 0)
                continue;
}

bool crew_free(struct crew *crew) {
        const uint64_t one = 1;
        bool all;

        if (!crew)
                return true;
        pthread_mutex_lock(&crew->mutex);
        if (crew->n_workers > 0 && write(crew->stop, &one, sizeof(one)) < 0)
                abort(); /* an eventfd of ours that is written once can't be full */
        crew_wait_for_workers(crew);
        if (unmount_isolate() == 0)
                crew_finish(crew);
        all = crew->n_workers == 0 && crew->n_connections == 0 && crew->n_spawned == 0;
        pthread_mutex_unlock(&crew->mutex);

        if (all)
                crew_destroy(crew);
        return all;
}
