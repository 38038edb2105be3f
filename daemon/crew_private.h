/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* For crew*.c alone: what they share. All functions: with the mutex held, where nothing is said. */

#include "daemon/crew.h"
#include "daemon/stall.h"

#include <pthread.h>
#include <sys/queue.h>

/* Events that are no connection's: their use count is never reached. */
#define CREW_STOP UINT64_MAX
#define CREW_JOBS (UINT64_MAX - 1)

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
STAILQ_HEAD(crew_jobs, crew_job);

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
        bool returned;              /* it was lost meanwhile; its own */
        struct ledger_owner *owner; /* of the job, with CREW_JOBS as the key */
        struct stall_clock clock;
};

struct crew {
        struct request_gate *gate;
        const struct ledger_limits *limits;
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
        struct crew_jobs jobs_waiting;
        struct crew_jobs jobs_done; /* to be collected */
        struct crew_queue queue;    /* whose requests wait for others of their users' to end */
        uint32_t free_seat;
        struct crew_seat *seats;
        struct crew_worker *workers; /* limits.workers + limits.lost_workers */
};

/* Makes an eventfd readable. With or without the mutex. */
void crew_tell(int fd);

/* To be called when crew_is_idle() may have become true. */
void crew_tell_if_empty(struct crew *crew);

/* The worker, which is lost, has come back. `owner` answers for it; NULL: nobody does. */
void crew_regain(struct crew *crew, struct crew_worker *worker, struct ledger_owner *owner);

/* ---- connections: crew_seat.c ---- */

/* The seat that an event names; NULL: the event is stale. */
struct crew_seat *crew_seat(struct crew *crew, uint64_t key);

int crew_arm(struct crew *crew, int operation, const struct crew_seat *seat, uint32_t events);

/* Whenever a turn may have become free: gives it to the one who is next, who then has it. */
void crew_serve_queue(struct crew *crew);

/* Does what an event asks for. Gives the mutex up meanwhile. */
void crew_dispatch(struct crew *crew, struct crew_worker *worker, struct crew_seat *seat,
                   uint32_t events);

/*
 * Ends every connection when nobody serves any more but the lost, and whoever was busy for longer
 * than we wait: what they don't hold ends here.
 */
void crew_finish(struct crew *crew);

/* ---- jobs: crew_job.c ---- */

/* The next job, if there still is one. Without the mutex. */
void crew_run_job(struct crew *crew, struct crew_worker *worker);
