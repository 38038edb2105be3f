/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A connection is armed for one event (EPOLLONESHOT), so the worker that got it has it alone until
 * it arms it again or frees it. The list of connections exists for the end, when all must go.
 */

#include "daemon/crew.h"

#include "common/fd.h"
#include "daemon/log.h"
#include "daemon/peer.h"
#include "daemon/unmount.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>

enum {
        CREW_STACK_SIZE = 512 * 1024,
};

struct crew_member {
        struct peer *peer;
        atomic_bool handed_on; /* from one worker to the next */
        LIST_ENTRY(crew_member) link;
};

struct crew {
        struct request_gate *gate;
        int epoll;
        int stop;  /* eventfd in the set: workers leave */
        int empty; /* eventfd for the main loop */

        pthread_mutex_t mutex; /* guards all below */
        pthread_cond_t started;
        unsigned n_started;
        int start_error;
        unsigned n_members;
        LIST_HEAD(, crew_member) members;

        unsigned n_workers;
        pthread_t workers[];
};

/*
 * Whoever waits in epoll_wait(2) sees what was done before the epoll_ctl(2) that armed the event:
 * the kernel's lock of the set is between them. C knows nothing of that, so it is said by an
 * atomic; and ThreadSanitizer takes epoll_ctl() itself for a use of the descriptor that nothing
 * orders before its close by the next worker.
 */
#if defined(__SANITIZE_THREAD__)
const char *__tsan_default_suppressions(void);
const char *__tsan_default_options(void);

__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void) {
        return "race:crew_watch\n";
}

/* The longest memory: a suppression works on a stack that can still be told. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void) {
        return "history_size=7";
}
#endif

static int crew_watch(struct crew *crew, int operation, struct crew_member *member) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.ptr = member};
        int fd = peer_fd(member->peer);

        atomic_store_explicit(&member->handed_on, true, memory_order_release);
        return epoll_ctl(crew->epoll, operation, fd, &event) < 0 ? -errno : 0;
}

static void crew_remove(struct crew *crew, struct crew_member *member) {
        const uint64_t one = 1;

        /* Still in the list and still open while its leases go: crew_drain() may look at it. */
        pthread_mutex_lock(&crew->mutex);
        LIST_REMOVE(member, link);
        pthread_mutex_unlock(&crew->mutex);

        peer_free(member->peer);
        free(member);

        pthread_mutex_lock(&crew->mutex);
        crew->n_members--;
        if (crew->n_members == 0 && write(crew->empty, &one, sizeof(one)) < 0)
                log_write(LOG_ERR, &(struct log_subject){.error = -errno}, "eventfd");
        pthread_mutex_unlock(&crew->mutex);
}

static void crew_serve(struct crew *crew, struct crew_member *member) {
        (void)atomic_load_explicit(&member->handed_on, memory_order_acquire);
        if (peer_serve(member->peer) < 0 || crew_watch(crew, EPOLL_CTL_MOD, member) < 0)
                crew_remove(crew, member);
}

static void crew_report_start(struct crew *crew, int error) {
        pthread_mutex_lock(&crew->mutex);
        crew->n_started++;
        crew->start_error = crew->start_error ?: error;
        pthread_cond_signal(&crew->started);
        pthread_mutex_unlock(&crew->mutex);
}

static void *crew_work(void *argument) {
        struct crew *crew = argument;
        int r = unmount_isolate();

        crew_report_start(crew, r);
        while (r == 0) {
                struct epoll_event event;
                int n = epoll_wait(crew->epoll, &event, 1, -1);

                if (n < 0 && errno != EINTR)
                        break;
                if (n > 0 && !event.data.ptr)
                        break;
                if (n > 0)
                        crew_serve(crew, event.data.ptr);
        }
        return NULL;
}

static int crew_start(struct crew *crew, unsigned count) {
        pthread_attr_t attributes;
        int r = 0;

        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, CREW_STACK_SIZE);
        while (r == 0 && crew->n_workers < count) {
                r = -pthread_create(&crew->workers[crew->n_workers], &attributes, crew_work, crew);
                if (r == 0)
                        crew->n_workers++;
        }
        pthread_attr_destroy(&attributes);

        pthread_mutex_lock(&crew->mutex);
        while (crew->n_started < crew->n_workers)
                pthread_cond_wait(&crew->started, &crew->mutex);
        r = r ?: crew->start_error;
        pthread_mutex_unlock(&crew->mutex);
        return r;
}

static int crew_open(struct crew *crew) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

        crew->epoll = epoll_create1(EPOLL_CLOEXEC);
        crew->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        crew->empty = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (crew->epoll < 0 || crew->stop < 0 || crew->empty < 0 ||
            epoll_ctl(crew->epoll, EPOLL_CTL_ADD, crew->stop, &event) < 0)
                return -errno;
        return 0;
}

int crew_new(struct request_gate *gate, unsigned count, struct crew **ret) {
        struct crew *crew = calloc(1, sizeof(*crew) + count * sizeof(crew->workers[0]));
        int r;

        if (!crew)
                return -ENOMEM;
        crew->gate = gate;
        pthread_mutex_init(&crew->mutex, NULL);
        pthread_cond_init(&crew->started, NULL);

        r = crew_open(crew);
        if (r == 0)
                r = crew_start(crew, count);
        if (r < 0) {
                crew_free(crew);
                return r;
        }
        *ret = crew;
        return 0;
}

int crew_add(struct crew *crew, int connection) {
        FD_AUTO int fd = connection;
        struct crew_member *member = calloc(1, sizeof(*member));
        int r;

        if (!member)
                return -ENOMEM;
        r = peer_new(fd_take(&fd), crew->gate, &member->peer);
        if (r < 0) {
                free(member);
                return r;
        }

        pthread_mutex_lock(&crew->mutex);
        crew->n_members++;
        LIST_INSERT_HEAD(&crew->members, member, link);
        pthread_mutex_unlock(&crew->mutex);

        r = crew_watch(crew, EPOLL_CTL_ADD, member);
        if (r < 0)
                crew_remove(crew, member); /* holds no lease yet: nothing here needs a worker */
        return r;
}

static void crew_shutdown(struct crew *crew, int how) {
        struct crew_member *member;

        pthread_mutex_lock(&crew->mutex);
        LIST_FOREACH(member, &crew->members, link)
        shutdown(peer_fd(member->peer), how);
        pthread_mutex_unlock(&crew->mutex);
}

void crew_drain(struct crew *crew) {
        crew_shutdown(crew, SHUT_RD);
}

int crew_fd(const struct crew *crew) {
        return crew->empty;
}

unsigned crew_connections(struct crew *crew) {
        unsigned n;

        pthread_mutex_lock(&crew->mutex);
        n = crew->n_members;
        pthread_mutex_unlock(&crew->mutex);
        return n;
}

struct crew *crew_free(struct crew *crew) {
        const uint64_t one = 1;
        struct crew_member *member;

        if (!crew)
                return NULL;
        crew_shutdown(crew, SHUT_RDWR);
        if (crew->n_workers > 0 && write(crew->stop, &one, sizeof(one)) < 0)
                abort(); /* an eventfd of ours that is written once can't be full */
        for (unsigned i = 0; i < crew->n_workers; i++)
                pthread_join(crew->workers[i], NULL);

        while ((member = LIST_FIRST(&crew->members)))
                crew_remove(crew, member);
        fd_close(crew->epoll);
        fd_close(crew->stop);
        fd_close(crew->empty);
        pthread_cond_destroy(&crew->started);
        pthread_mutex_destroy(&crew->mutex);
        free(crew);
        return NULL;
}
