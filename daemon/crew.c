/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A connection is armed for one event (EPOLLONESHOT), so the worker that got it has it alone until
 * it arms it again or ends it. While its worker is lost it is armed for the client's leaving alone.
 * An event names a seat in a table and the seat's use, not a pointer: it may be stale.
 */

#include "daemon/crew.h"

#include "common/fd.h"
#include "daemon/impatience.h"
#include "daemon/instance.h"
#include "daemon/log.h"
#include "daemon/peer.h"
#include "daemon/stall.h"
#include "daemon/unmount.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Events that are no connection's: their use count is never reached. */
#define CREW_STOP UINT64_MAX
#define CREW_JOBS (UINT64_MAX - 1)

enum {
        CREW_STACK_SIZE = 512 * 1024,
        CREW_LOST_AFTER = 100000, /* microseconds in one call */
        CREW_STOP_SECONDS = 1,
        CREW_IN_A_ROW = 16, /* requests of one connection, before all others have their chance */
        CREW_FAREWELLS_MAX = 32, /* each holds a descriptor: OPTIONS_DESCRIPTORS_SPARE */
};

/* A connection's place. Free: no peer. */
struct crew_seat {
        struct peer *peer;
        uint32_t use;   /* counts up when the seat is freed */
        uint32_t next;  /* free seat */
        unsigned users; /* workers: one that serves, and one that abandons while that one is lost */
        bool lost;      /* the one that serves is */
        bool abandoned;
        bool ended; /* its descriptor is no longer ours to touch */
        bool waits; /* for its turn, in the crew's queue */
        TAILQ_ENTRY(crew_seat) queue;
};

TAILQ_HEAD(crew_queue, crew_seat);

enum crew_worker_state {
        CREW_ABSENT,
        CREW_STARTING,
        CREW_FREE,
        CREW_BUSY,
        CREW_LOST,
};

struct crew_worker {
        struct crew *crew;
        enum crew_worker_state state;
        pid_t tid;
        uint64_t key;               /* of the connection that it serves, while busy or lost */
        bool returned;              /* it was lost meanwhile */
        struct ledger_owner *owner; /* of the job, with CREW_JOBS as the key */
        struct stall_clock clock;
};

struct crew {
        struct request_gate *gate;
        struct crew_limits limits;
        int epoll;
        int stop; /* eventfd in the set: workers leave */
        int jobs; /* eventfd in the set, a semaphore: a job waits */
        int news; /* eventfd for the main loop */
        int done; /* eventfd for who collects */

        pthread_mutex_t mutex;  /* guards all below */
        pthread_cond_t changed; /* a worker has started or ended */
        int start_error;
        unsigned n_workers; /* not absent */
        unsigned n_spawned; /* threads beside them */
        unsigned n_lost;
        unsigned n_connections;
        unsigned n_abandoned;
        unsigned n_jobs;      /* waiting, under way, and to be collected */
        unsigned n_farewells; /* of them, those that wait to close what was refused */
        struct crew_job *first_job;
        struct crew_job *first_done; /* to be collected, last one first */
        struct crew_queue queue;     /* whose requests wait for others of their users' to end */
        uint32_t free_seat;
        struct crew_seat *seats;
        struct crew_worker *workers; /* limits.workers + limits.lost_workers */
};

/* ---- seats ---- */

static uint64_t crew_key(const struct crew *crew, const struct crew_seat *seat) {
        return (uint64_t)seat->use << 32 | (uint32_t)(seat - crew->seats);
}

static struct crew_seat *crew_seat(struct crew *crew, uint64_t key) {
        struct crew_seat *seat = &crew->seats[(uint32_t)key];

        return seat->peer && seat->use == key >> 32 ? seat : NULL;
}

static int crew_arm(struct crew *crew, int operation, const struct crew_seat *seat,
                    uint32_t events) {
        struct epoll_event event = {.events = events | EPOLLONESHOT,
                                    .data.u64 = crew_key(crew, seat)};

        return epoll_ctl(crew->epoll, operation, peer_fd(seat->peer), &event) < 0 ? -errno : 0;
}

static void crew_tell(int fd) {
        const uint64_t one = 1;

        if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
                log_write(LOG_ERR, &(struct log_subject){.error = -errno}, "eventfd");
}

static void crew_tell_if_empty(struct crew *crew) {
        if (crew->n_connections == crew->n_abandoned && crew->n_jobs == 0)
                crew_tell(crew->news);
}

/* ---- requests that wait for their turn ---- */

/* Its client's leaving is all that it is armed for. */
static int crew_enqueue(struct crew *crew, struct crew_seat *seat) {
        seat->waits = true;
        TAILQ_INSERT_TAIL(&crew->queue, seat, queue);
        return crew_arm(crew, EPOLL_CTL_MOD, seat, EPOLLRDHUP);
}

static void crew_dequeue(struct crew *crew, struct crew_seat *seat) {
        seat->waits = false;
        TAILQ_REMOVE(&crew->queue, seat, queue);
}

/* The first in the queue of those users who have the fewest attempts under way. */
static struct crew_seat *crew_find_next(struct crew *crew) {
        struct crew_seat *seat, *next = NULL;
        unsigned attempts = 0, fewest = UINT_MAX;
        uid_t uid = (uid_t)-1;

        TAILQ_FOREACH(seat, &crew->queue, queue) {
                struct ledger_owner *owner = peer_owner(seat->peer);

                if (owner->uid == uid)
                        continue;
                uid = owner->uid;
                attempts = ledger_count_attempts(crew->gate->ledger, owner);
                if (attempts < fewest) {
                        fewest = attempts;
                        next = seat;
                }
        }
        return next;
}

/* A user who is refused now is refused whatever waits in the queue. */
static void crew_dequeue_user(struct crew *crew, uid_t uid) {
        struct crew_seat *seat, *next;

        for (seat = TAILQ_FIRST(&crew->queue); seat; seat = next) {
                next = TAILQ_NEXT(seat, queue);
                if (peer_owner(seat->peer)->uid != uid)
                        continue;
                crew_dequeue(crew, seat);
                crew_arm(crew, EPOLL_CTL_MOD, seat, EPOLLIN);
        }
}

/* Whenever a turn may have become free: gives it to the one who is next, who then has it. */
static void crew_serve_queue(struct crew *crew) {
        struct crew_seat *seat;

        while ((seat = crew_find_next(crew))) {
                struct ledger_owner *owner = peer_owner(seat->peer);
                struct verdict refusal;

                switch (ledger_begin_attempt(crew->gate->ledger, owner, &refusal)) {
                case LEDGER_LATER:
                        return;
                case LEDGER_NEVER:
                        crew_dequeue_user(crew, owner->uid);
                        break;
                case LEDGER_NOW:
                        crew_dequeue(crew, seat);
                        crew_arm(crew, EPOLL_CTL_MOD, seat, EPOLLIN);
                }
        }
}

/* ---- what a worker does ---- */

static void crew_regain(struct crew *crew, struct crew_worker *worker, struct ledger_owner *owner) {
        ledger_regain_worker(crew->gate->ledger, owner);
        crew->n_lost--;
        worker->state = CREW_BUSY;
        worker->returned = true;
}

/* After a call that may have blocked. `worker` is NULL on the main thread. */
static void crew_come_back(struct crew *crew, struct crew_worker *worker, struct crew_seat *seat) {
        if (!worker || worker->state != CREW_LOST)
                return;
        crew_regain(crew, worker, peer_owner(seat->peer));
        seat->lost = false;
}

/* The seat is taken until its connection is closed: the worker can be lost in that as well. */
static void crew_end(struct crew *crew, struct crew_worker *worker, struct crew_seat *seat) {
        struct peer *peer = seat->peer;
        bool abandoned = seat->abandoned;

        seat->ended = true;
        pthread_mutex_unlock(&crew->mutex);
        peer_close(peer);
        pthread_mutex_lock(&crew->mutex);
        crew_come_back(crew, worker, seat);

        peer_free(peer);
        *seat = (struct crew_seat){.use = seat->use + 1, .next = crew->free_seat};
        crew->free_seat = seat - crew->seats;
        crew->n_connections--;
        crew->n_abandoned -= abandoned;
        crew_tell_if_empty(crew);
}

/* The last of a seat's users says how it goes on. */
static void crew_settle(struct crew *crew, struct crew_worker *worker, struct crew_seat *seat,
                        enum peer_progress progress) {
        int r = 0;

        seat->users--;
        if (seat->users > 0)
                return;
        if (progress == PEER_MUST_WAIT && !seat->abandoned)
                r = crew_enqueue(crew, seat);
        else if (progress == PEER_GOES_ON && !seat->abandoned)
                r = crew_arm(crew, EPOLL_CTL_MOD, seat, EPOLLIN);
        else
                r = -ECONNRESET;
        if (r < 0) {
                if (seat->waits)
                        crew_dequeue(crew, seat);
                crew_end(crew, worker, seat);
        }
        crew_serve_queue(crew);
}

/*
 * What is there already is served by the same worker: to arm the connection for it would wake
 * another one. But not while others wait for their turn.
 */
static bool crew_may_stay(const struct crew *crew, const struct crew_worker *worker,
                          const struct crew_seat *seat) {
        return !seat->abandoned && !worker->returned && TAILQ_EMPTY(&crew->queue);
}

static void crew_serve(struct crew *crew, struct crew_worker *worker, struct crew_seat *seat) {
        enum peer_progress progress;
        unsigned served = 0;
        bool more;

        seat->users++;
        do {
                pthread_mutex_unlock(&crew->mutex);
                progress = peer_serve(seat->peer);
                more = progress == PEER_GOES_ON && ++served < CREW_IN_A_ROW &&
                       peer_has_more(seat->peer);
                pthread_mutex_lock(&crew->mutex);
                crew_come_back(crew, worker, seat);
        } while (more && crew_may_stay(crew, worker, seat));
        crew_settle(crew, worker, seat, progress);
}

/* The client has left while a worker is lost in its request. */
static void crew_abandon(struct crew *crew, struct crew_worker *worker, struct crew_seat *seat) {
        seat->abandoned = true;
        seat->users++;
        pthread_mutex_unlock(&crew->mutex);
        peer_abandon(seat->peer);
        pthread_mutex_lock(&crew->mutex);
        crew->n_abandoned++;
        crew_tell_if_empty(crew);
        crew_settle(crew, worker, seat, PEER_ENDED);
}

/* An event may be stale: armed for a worker that was lost, or for a wait that is over. */
static void crew_dispatch(struct crew *crew, struct crew_worker *worker, struct crew_seat *seat,
                          uint32_t events) {
        if (seat->ended)
                return;
        if (seat->users > 0) {
                if (seat->lost && !seat->abandoned)
                        crew_abandon(crew, worker, seat);
        } else if (!seat->waits)
                crew_serve(crew, worker, seat);
        else if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
                crew_dequeue(crew, seat);
                crew_end(crew, worker, seat);
        }
}

static void crew_handle(struct crew *crew, struct crew_worker *worker,
                        const struct epoll_event *event) {
        struct crew_seat *seat;
        bool returned;

        pthread_mutex_lock(&crew->mutex);
        seat = crew_seat(crew, event->data.u64);
        worker->state = CREW_BUSY;
        worker->key = event->data.u64;
        worker->returned = false;
        if (seat)
                crew_dispatch(crew, worker, seat, event->events);
        worker->state = CREW_FREE;
        returned = worker->returned;
        pthread_mutex_unlock(&crew->mutex);

        if (returned)
                log_write(LOG_NOTICE, &(struct log_subject){.event = LOG_EVENT_WORKER_BACK},
                          "worker %d has come back from the kernel", worker->tid);
}

/* With the mutex held: a job without `done` is no longer ours when it has run. */
static void crew_finish_job(struct crew *crew, struct crew_job *job) {
        if (job) {
                job->next = crew->first_done;
                crew->first_done = job;
                crew_tell(crew->done);
        } else {
                crew->n_jobs--;
                crew_tell_if_empty(crew);
        }
}

/* It was given up when its worker was lost; now there is something to finish. */
static void crew_regain_job(struct crew *crew, struct crew_worker *worker,
                            struct ledger_owner *owner) {
        crew_regain(crew, worker, owner);
        crew->n_jobs++;
}

static void crew_run_job(struct crew *crew, struct crew_worker *worker) {
        struct crew_job *job, *collected;
        struct ledger_owner *owner;
        uint64_t one;

        if (read(crew->jobs, &one, sizeof(one)) < 0)
                return; /* another worker was quicker */

        pthread_mutex_lock(&crew->mutex);
        job = crew->first_job;
        crew->first_job = job->next;
        collected = job->done ? job : NULL;
        owner = job->owner;
        worker->owner = owner;
        worker->state = CREW_BUSY;
        worker->key = CREW_JOBS;
        pthread_mutex_unlock(&crew->mutex);

        job->run(job);

        pthread_mutex_lock(&crew->mutex);
        if (worker->state == CREW_LOST)
                crew_regain_job(crew, worker, owner);
        worker->state = CREW_FREE;
        if (owner) {
                ledger_end_attempt(crew->gate->ledger, owner);
                crew_serve_queue(crew);
        }
        crew_finish_job(crew, collected);
        pthread_mutex_unlock(&crew->mutex);
}

enum crew_leaving {
        CREW_IF_SURPLUS, /* it was lost, and has been replaced */
        CREW_ANYWAY,
};

/* Gives the worker's place up; true if it did. */
static bool crew_leave(struct crew *crew, struct crew_worker *worker, enum crew_leaving leaving) {
        bool leave;

        pthread_mutex_lock(&crew->mutex);
        leave = leaving == CREW_ANYWAY || crew->n_workers - crew->n_lost > crew->limits.workers;
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
        for (unsigned i = 0; i < crew->limits.workers; i++)
                if (crew->workers[i].state == CREW_STARTING)
                        return true;
        return false;
}

static int crew_start(struct crew *crew) {
        int r = 0;

        pthread_mutex_lock(&crew->mutex);
        while (r == 0 && crew->n_workers < crew->limits.workers)
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

int crew_new(struct request_gate *gate, const struct crew_limits *limits, struct crew **ret) {
        struct crew *crew = calloc(1, sizeof(*crew));
        int r;

        if (!crew)
                return -ENOMEM;
        crew->gate = gate;
        crew->limits = *limits;
        crew->epoll = crew->stop = crew->jobs = crew->news = crew->done = -EBADF;
        TAILQ_INIT(&crew->queue);
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

struct crew_farewell {
        struct crew_job job; /* first: a job is its farewell */
        struct crew *crew;
        int fd;
};

static void crew_count_farewell(struct crew *crew, int change) {
        pthread_mutex_lock(&crew->mutex);
        crew->n_farewells += change;
        pthread_mutex_unlock(&crew->mutex);
}

static void crew_close_refused(struct crew_job *job) {
        struct crew_farewell *farewell = (struct crew_farewell *)job;

        crew_count_farewell(farewell->crew, -1);
        peer_dismiss(farewell->fd);
        free(farewell);
}

/* Not on the main thread: what the client has queued already is disposed of with the connection. */
static void crew_dismiss(struct crew *crew, int fd) {
        struct crew_farewell *farewell = calloc(1, sizeof(*farewell));

        if (!farewell) {
                fd_close(fd);
                return;
        }
        farewell->crew = crew;
        farewell->fd = fd;
        farewell->job.run = crew_close_refused;
        crew_count_farewell(crew, 1);
        crew_submit(crew, &farewell->job);
}

bool crew_is_flooded(struct crew *crew) {
        bool flooded;

        pthread_mutex_lock(&crew->mutex);
        flooded = crew->n_farewells >= CREW_FAREWELLS_MAX;
        pthread_mutex_unlock(&crew->mutex);
        return flooded;
}

int crew_add(struct crew *crew, int fd) {
        struct crew_seat *seat;
        struct peer *peer;
        int r;

        r = peer_new(fd, crew->gate, &peer);
        if (r < 0) {
                crew_dismiss(crew, fd);
                return r;
        }

        pthread_mutex_lock(&crew->mutex);
        /* There is one: the ledger has counted the connection against the same limit. */
        seat = &crew->seats[crew->free_seat];
        crew->free_seat = seat->next;
        seat->peer = peer;
        crew->n_connections++;
        r = crew_arm(crew, EPOLL_CTL_ADD, seat, EPOLLIN);
        if (r < 0)
                crew_end(crew, NULL, seat); /* holds no lease yet: no worker is needed */
        pthread_mutex_unlock(&crew->mutex);
        return r;
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
        struct log_subject subject = {.event = LOG_EVENT_WORKER_LOST, .has_peer = owner};

        worker->state = CREW_LOST;
        crew->n_lost++;
        if (worker->key == CREW_JOBS)
                crew->n_jobs--; /* nobody waits for it any more */
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
        const unsigned max = crew->limits.workers + crew->limits.lost_workers;
        int r = 0;

        while (r == 0 && crew->n_workers - crew->n_lost < crew->limits.workers &&
               crew->n_workers < max)
                r = crew_start_worker(crew);
        if (r < 0)
                log_write_limited(LOG_ERR, &(struct log_subject){.error = r}, "replacing a worker");
}

void crew_watch(struct crew *crew) {
        pthread_mutex_lock(&crew->mutex);
        for (unsigned i = 0; i < crew->limits.workers + crew->limits.lost_workers; i++)
                if (crew_is_stuck(&crew->workers[i]))
                        crew_lose(crew, &crew->workers[i]);
        crew_replace(crew);
        crew_serve_queue(crew);
        pthread_mutex_unlock(&crew->mutex);
}

/* For each seat that is taken, with the mutex held. */
static void crew_for_each(struct crew *crew, void (*act)(struct crew *, struct crew_seat *)) {
        for (unsigned i = 0; i < crew->limits.connections; i++)
                if (crew->seats[i].peer)
                        act(crew, &crew->seats[i]);
}

static void crew_shut_reading(struct crew *crew, struct crew_seat *seat) {
        (void)crew;
        if (!seat->ended)
                shutdown(peer_fd(seat->peer), SHUT_RD);
}

void crew_drain(struct crew *crew) {
        pthread_mutex_lock(&crew->mutex);
        crew_for_each(crew, crew_shut_reading);
        pthread_mutex_unlock(&crew->mutex);
}

static void crew_shut(struct crew *crew, struct crew_seat *seat) {
        (void)crew;
        if (!seat->ended)
                shutdown(peer_fd(seat->peer), SHUT_RDWR);
}

void crew_hang_up(struct crew *crew) {
        pthread_mutex_lock(&crew->mutex);
        crew_for_each(crew, crew_shut);
}

int crew_fd(const struct crew *crew) {
        return crew->news;
}

void crew_wake(struct crew *crew) {
        crew_tell(crew->news);
}

int crew_done_fd(const struct crew *crew) {
        return crew->done;
}

void crew_collect(struct crew *crew) {
        struct crew_job *job;
        uint64_t count;

        if (read(crew->done, &count, sizeof(count)) < 0 && errno != EAGAIN)
                log_write(LOG_ERR, &(struct log_subject){.error = -errno}, "eventfd");

        pthread_mutex_lock(&crew->mutex);
        while ((job = crew->first_done)) {
                crew->first_done = job->next;
                pthread_mutex_unlock(&crew->mutex);
                job->done(job);
                pthread_mutex_lock(&crew->mutex);
                crew->n_jobs--;
                crew_tell_if_empty(crew);
        }
        pthread_mutex_unlock(&crew->mutex);
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

void crew_submit(struct crew *crew, struct crew_job *job) {
        const uint64_t one = 1;
        struct crew_job **last = &crew->first_job;

        pthread_mutex_lock(&crew->mutex);
        while (*last)
                last = &(*last)->next;
        job->next = NULL;
        *last = job;
        crew->n_jobs++;
        if (write(crew->jobs, &one, sizeof(one)) < 0)
                abort(); /* it counts to 2^64 - 2 */
        pthread_mutex_unlock(&crew->mutex);
}

bool crew_is_able(struct crew *crew) {
        bool able;

        pthread_mutex_lock(&crew->mutex);
        able = crew->n_workers > crew->n_lost;
        pthread_mutex_unlock(&crew->mutex);
        return able;
}

/*
 * By now nobody serves but the lost, and whoever was busy for longer than we wait: what they don't
 * hold ends here.
 */
static void crew_finish(struct crew *crew, struct crew_seat *seat) {
        if (seat->ended)
                return;
        if (seat->waits)
                crew_dequeue(crew, seat);
        shutdown(peer_fd(seat->peer), SHUT_RDWR);
        if (seat->users == 0)
                crew_end(crew, NULL, seat);
        else if (!seat->abandoned)
                crew_abandon(crew, NULL, seat);
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
                crew_for_each(crew, crew_finish);
        all = crew->n_workers == 0 && crew->n_connections == 0 && crew->n_spawned == 0;
        pthread_mutex_unlock(&crew->mutex);

        if (all)
                crew_destroy(crew);
        return all;
}
