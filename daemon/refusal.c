/* SPDX-License-Identifier: Apache-2.0 */

/*
 * After shutdown(2) nothing more can be queued, so a look at the queue stays valid: without
 * descriptors in it, the last close only frees memory.
 */

#include "daemon/refusal.h"

#include "common/fd.h"
#include "common/fdpass.h"
#include "daemon/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
        REFUSALS_LOOSE_MAX = REFUSALS_WAITING_MAX / 2, /* to be closed; then they are bundled */
        REFUSALS_BUNDLE_MIN = PROTOCOL_TARGETS_MAX,    /* of one user */
        REFUSALS_BUNDLE_MAX = 16 * PROTOCOL_TARGETS_MAX,
};

STAILQ_HEAD(refusal_list, refusal);

struct refusals {
        struct context *context;
        struct threads *threads;
        struct work teller;

        pthread_mutex_t mutex; /* guards everything below; taken before that of the threads */
        struct refusal_list untold, unclosed;
        unsigned n_untold, n_unclosed;
        bool telling;
        bool short_of_threads; /* some aren't closed because no thread could be made */
};

static struct refusal *refusal_of(struct work *work) {
        return (struct refusal *)((char *)work - offsetof(struct refusal, work));
}

/* ---- replies ---- */

/* Doesn't wait for the client: a reply that can't be sent at once is dropped. */
void refusal_tell(const struct refusal *refusal) {
        const struct verdict *verdict = &refusal->verdict;
        bool host = verdict->status == STATUS_HOST_FAILED;
        const struct log_subject subject = {
                .event = host ? LOG_EVENT_HOST_FAILED : LOG_EVENT_REFUSED,
                .has_peer = true,
                .uid = refusal->subject.uid,
                .pid = refusal->subject.pid,
                .operation = "connect",
        };
        struct wire_reply reply = {
                .operation = PROTOCOL_UNASKED,
                .status = verdict->status,
                .error = verdict->error,
                .target = verdict->target,
        };
        uint8_t bytes[WIRE_REPLY_MAX];

        snprintf(reply.text, sizeof(reply.text), "%s", verdict->text);
        log_write_limited(host ? LOG_WARNING : LOG_INFO, &subject, "%s", verdict->text);
        fdpass_send(refusal->fd, bytes, wire_encode_reply(&reply, bytes), NULL, 0);
}

/* Whether its queue has descriptors; true if unknown. proc_pid_fdinfo(5). */
static bool refusal_has_descriptors(const struct refusal *refusal) {
        static const char line[] = "\nscm_fds: 0\n";
        FD_AUTO int info = -EBADF;
        char path[32], text[512];
        ssize_t size;

        snprintf(path, sizeof(path), "../fdinfo/%d", refusal->fd);
        info = openat(refusal->all->context->proc, path, O_RDONLY | O_CLOEXEC);
        if (info < 0)
                return true;
        size = read(info, text, sizeof(text));
        return size <= 0 || !memmem(text, size, line, sizeof(line) - 1);
}

static void refusal_end(struct refusal *refusal) {
        fd_close(refusal->fd);
        free(refusal);
}

/* ---- bundling ---- */

static unsigned refusals_count_user(const struct refusals *all, uid_t uid) {
        const struct refusal *refusal;
        unsigned count = 0;

        STAILQ_FOREACH(refusal, &all->unclosed, entry)
                count += refusal->subject.uid == uid;
        return count;
}

/* Takes the user's refusals if there are enough to bundle; with the mutex held. */
static void refusals_take_user(struct refusals *all, uid_t uid, struct refusal_list *bundle) {
        struct refusal_list others = STAILQ_HEAD_INITIALIZER(others);
        struct refusal *refusal;
        unsigned count = 0;

        if (all->n_unclosed < REFUSALS_LOOSE_MAX ||
            refusals_count_user(all, uid) < REFUSALS_BUNDLE_MIN)
                return;
        while ((refusal = STAILQ_FIRST(&all->unclosed))) {
                bool taken = refusal->subject.uid == uid && count < REFUSALS_BUNDLE_MAX;

                STAILQ_REMOVE_HEAD(&all->unclosed, entry);
                if (taken)
                        STAILQ_INSERT_TAIL(bundle, refusal, entry);
                else
                        STAILQ_INSERT_TAIL(&others, refusal, entry);
                count += taken;
        }
        STAILQ_CONCAT(&all->unclosed, &others);
        all->n_unclosed -= count;
}

/* Puts as many in flight as a message can carry. False: there were none. */
static bool refusals_send(struct refusal_list *list, int socket) {
        struct refusal *refusal;
        int fds[PROTOCOL_TARGETS_MAX];
        unsigned count = 0;

        STAILQ_FOREACH(refusal, list, entry)
                if (count < PROTOCOL_TARGETS_MAX)
                        fds[count++] = refusal->fd;
        if (count == 0 || fdpass_send(socket, "", 1, fds, count) < 0)
                return false;
        while (count-- > 0) {
                refusal = STAILQ_FIRST(list);
                STAILQ_REMOVE_HEAD(list, entry);
                refusal_end(refusal); /* not the last reference */
        }
        return true;
}

/* Bundles as many of the user's as fit into one refusal, whose close closes them all. */
static void refusals_bundle(struct refusals *all, uid_t uid) {
        struct refusal_list list = STAILQ_HEAD_INITIALIZER(list);
        struct refusal *bundle = calloc(1, sizeof(*bundle)), *refusal;
        int ends[2];

        if (!bundle || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
                free(bundle);
                return;
        }
        *bundle = (struct refusal){.fd = ends[1], .subject.uid = uid, .all = all};
        pthread_mutex_lock(&all->mutex);
        refusals_take_user(all, uid, &list);
        pthread_mutex_unlock(&all->mutex);
        if (refusals_send(&list, ends[0])) {
                while (refusals_send(&list, ends[0]))
                        continue;
                STAILQ_INSERT_TAIL(&list, bundle, entry);
        } else
                refusal_end(bundle);
        fd_close(ends[0]);

        pthread_mutex_lock(&all->mutex);
        STAILQ_FOREACH(refusal, &list, entry)
                all->n_unclosed++;
        STAILQ_CONCAT(&all->unclosed, &list);
        pthread_mutex_unlock(&all->mutex);
}

/* ---- closing, by a thread charged to the user ---- */

static bool refusal_charge(const struct refusal *refusal) {
        return quota_charge(refusal->all->context->quota, refusal->subject.uid, QUOTA_REFUSALS, 1)
                       .status == STATUS_OK;
}

static void refusal_uncharge(const struct refusal *refusal) {
        quota_return(refusal->all->context->quota, refusal->subject.uid, QUOTA_REFUSALS, 1);
}

/*
 * The first waiting one whose user has not used up its share of threads, charged; NULL: none. With
 * the mutex held.
 */
static struct refusal *refusals_next_unclosed(struct refusals *all) {
        struct refusal *refusal;

        STAILQ_FOREACH(refusal, &all->unclosed, entry)
                if (refusal_charge(refusal))
                        break;
        if (refusal) {
                STAILQ_REMOVE(&all->unclosed, refusal, refusal, entry);
                all->n_unclosed--;
        }
        return refusal;
}

static struct work *refusal_close(struct work *work, int error) {
        struct refusal *refusal = refusal_of(work), *next;
        struct refusals *all = refusal->all;

        (void)error; /* nothing is unmounted here */
        refusal->fd = fd_close(refusal->fd);
        refusal_uncharge(refusal);
        refusal_end(refusal);

        pthread_mutex_lock(&all->mutex);
        next = refusals_next_unclosed(all);
        pthread_mutex_unlock(&all->mutex);
        if (!next)
                return NULL;
        next->work.run = refusal_close;
        return &next->work;
}

/* For one that has been charged. With the mutex held. */
static void refusals_start_close(struct refusals *all, struct refusal *refusal) {
        refusal->work.run = refusal_close;
        if (threads_start(all->threads, &refusal->work, THREADS_KEEP_SPARE) == 0)
                return;
        refusal_uncharge(refusal);
        STAILQ_INSERT_HEAD(&all->unclosed, refusal, entry);
        all->n_unclosed++;
        all->short_of_threads = true;
}

static void refusals_close(struct refusals *all, struct refusal *refusal) {
        uid_t uid = refusal->subject.uid;
        bool many;

        pthread_mutex_lock(&all->mutex);
        if (refusal_charge(refusal))
                refusals_start_close(all, refusal);
        else {
                STAILQ_INSERT_TAIL(&all->unclosed, refusal, entry);
                all->n_unclosed++;
        }
        many = all->n_unclosed >= REFUSALS_LOOSE_MAX;
        pthread_mutex_unlock(&all->mutex);
        if (many)
                refusals_bundle(all, uid);
}

/* ---- all of them ---- */

static struct refusal *refusals_next_untold(struct refusals *all) {
        struct refusal *refusal;

        pthread_mutex_lock(&all->mutex);
        refusal = STAILQ_FIRST(&all->untold);
        if (refusal) {
                STAILQ_REMOVE_HEAD(&all->untold, entry);
                all->n_untold--;
        } else
                all->telling = false;
        pthread_mutex_unlock(&all->mutex);
        return refusal;
}

static struct work *refusals_tell(struct work *work, int error) {
        struct refusals *all =
                (struct refusals *)((char *)work - offsetof(struct refusals, teller));
        struct refusal *refusal;

        (void)error;
        while ((refusal = refusals_next_untold(all))) {
                if (refusal->verdict.status != STATUS_OK)
                        refusal_tell(refusal);
                shutdown(refusal->fd, SHUT_RDWR);
                if (fdpass_is_drained(refusal->fd) || !refusal_has_descriptors(refusal))
                        refusal_end(refusal);
                else
                        refusals_close(all, refusal);
        }
        return NULL;
}

/* With the mutex held. */
static void refusals_start_telling(struct refusals *all) {
        if (!all->telling && !STAILQ_EMPTY(&all->untold))
                all->telling = threads_start(all->threads, &all->teller, THREADS_TAKE_SPARE) == 0;
}

void refusals_add(struct refusals *all, struct refusal *refusal) {
        refusal->all = all;
        pthread_mutex_lock(&all->mutex);
        STAILQ_INSERT_TAIL(&all->untold, refusal, entry);
        all->n_untold++;
        refusals_start_telling(all);
        pthread_mutex_unlock(&all->mutex);
}

bool refusals_have_room(struct refusals *all) {
        bool room;

        pthread_mutex_lock(&all->mutex);
        room = all->n_untold + all->n_unclosed < REFUSALS_WAITING_MAX;
        pthread_mutex_unlock(&all->mutex);
        return room;
}

void refusals_retry(struct refusals *all) {
        struct refusal *refusal;

        pthread_mutex_lock(&all->mutex);
        refusals_start_telling(all);
        if (all->short_of_threads && (refusal = refusals_next_unclosed(all))) {
                all->short_of_threads = false;
                refusals_start_close(all, refusal);
        }
        pthread_mutex_unlock(&all->mutex);
}

struct refusals *refusals_new(struct context *context, struct threads *threads) {
        struct refusals *all = calloc(1, sizeof(*all));

        if (!all)
                return NULL;
        all->context = context;
        all->threads = threads;
        all->teller.run = refusals_tell;
        STAILQ_INIT(&all->untold);
        STAILQ_INIT(&all->unclosed);
        pthread_mutex_init(&all->mutex, NULL);
        return all;
}

/* Not closed: the main thread must never wait for a client's file. */
static void refusals_forget(struct refusal_list *list) {
        struct refusal *refusal;

        while ((refusal = STAILQ_FIRST(list))) {
                STAILQ_REMOVE_HEAD(list, entry);
                free(refusal);
        }
}

struct refusals *refusals_free(struct refusals *all) {
        if (!all)
                return NULL;
        refusals_forget(&all->untold);
        refusals_forget(&all->unclosed);
        pthread_mutex_destroy(&all->mutex);
        free(all);
        return NULL;
}
