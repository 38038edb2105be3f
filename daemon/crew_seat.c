/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A connection is armed for one event (EPOLLONESHOT), so the worker that got it has it alone until
 * it arms it again or ends it. While its worker is lost it is armed for the client's leaving alone.
 * An event names a seat in a table and the seat's use, not a pointer: it may be stale.
 */

#include "common/fd.h"
#include "daemon/crew_private.h"
#include "daemon/peer.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
        CREW_IN_A_ROW = 16, /* requests of one connection, before all others have their chance */
        CREW_FAREWELLS_MAX = 32, /* each holds a descriptor: OPTIONS_DESCRIPTORS_SPARE */
};

/* ---- seats ---- */

static uint64_t crew_key(const struct crew *crew, const struct crew_seat *seat) {
        return (uint64_t)seat->use << 32 | (uint32_t)(seat - crew->seats);
}

struct crew_seat *crew_seat(struct crew *crew, uint64_t key) {
        struct crew_seat *seat = &crew->seats[(uint32_t)key];

        return seat->peer && seat->use == key >> 32 ? seat : NULL;
}

int crew_arm(struct crew *crew, int operation, const struct crew_seat *seat, uint32_t events) {
        struct epoll_event event = {.events = events | EPOLLONESHOT,
                                    .data.u64 = crew_key(crew, seat)};

        return epoll_ctl(crew->epoll, operation, peer_fd(seat->peer), &event) < 0 ? -errno : 0;
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

void crew_serve_queue(struct crew *crew) {
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

/* ---- what a worker does with one ---- */

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
void crew_dispatch(struct crew *crew, struct crew_worker *worker, struct crew_seat *seat,
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

/* ---- new ones ---- */

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

/* ---- all of them ---- */

static void crew_shut(struct crew *crew, int how) {
        for (unsigned i = 0; i < crew->limits->connections; i++)
                if (crew->seats[i].peer && !crew->seats[i].ended)
                        shutdown(peer_fd(crew->seats[i].peer), how);
}

void crew_drain(struct crew *crew) {
        pthread_mutex_lock(&crew->mutex);
        crew_shut(crew, SHUT_RD);
        pthread_mutex_unlock(&crew->mutex);
}

void crew_hang_up(struct crew *crew) {
        pthread_mutex_lock(&crew->mutex);
        crew_shut(crew, SHUT_RDWR);
}

static void crew_finish_seat(struct crew *crew, struct crew_seat *seat) {
        if (seat->waits)
                crew_dequeue(crew, seat);
        if (seat->users == 0)
                crew_end(crew, NULL, seat);
        else if (!seat->abandoned)
                crew_abandon(crew, NULL, seat);
}

void crew_finish(struct crew *crew) {
        crew_shut(crew, SHUT_RDWR);
        for (unsigned i = 0; i < crew->limits->connections; i++)
                if (crew->seats[i].peer && !crew->seats[i].ended)
                        crew_finish_seat(crew, &crew->seats[i]);
}
