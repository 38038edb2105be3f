/* SPDX-License-Identifier: Apache-2.0 */

/* Only a connection's own thread closes its descriptor. */

#include "daemon/connection.h"

#include "common/fd.h"
#include "daemon/log.h"
#include "daemon/namespaces.h"
#include "daemon/refusal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
        CONNECTION_WATCHED = 64, /* per poll(2) */
};

struct connection {
        struct refusal refusal; /* first; unused while the connection is served */
        struct work work;
        struct connections *all;
        int fd;
        struct holder holder;
        /* Guarded by the mutex: */
        TAILQ_ENTRY(connection) entry;
        bool left;      /* the client had, at the last connections_watch() */
        bool abandoned; /* its leases are orphans */
};

struct connections {
        struct context *context;
        struct threads *threads;
        struct refusals *refusals;

        pthread_mutex_t mutex;           /* guards all below; taken before that of the threads */
        TAILQ_HEAD(, connection) served; /* until their threads are about to close them */
};

static struct connection *connection_of(struct work *work) {
        return (struct connection *)((char *)work - offsetof(struct connection, work));
}

static struct log_subject connection_subject(const struct connection *connection,
                                             enum log_event event, const char *operation) {
        return (struct log_subject){
                .event = event,
                .has_peer = true,
                .uid = connection->holder.subject.uid,
                .pid = connection->holder.subject.pid,
                .operation = operation,
        };
}

static void connection_return(const struct connection *connection, enum quota_kind kind) {
        quota_return(connection->all->context->quota, connection->holder.subject.uid, kind, 1);
}

/* Doesn't wait for the client: a reply that can't be sent at once is dropped. */
static int connection_send(const struct connection *connection, const struct wire_reply *reply) {
        uint8_t bytes[WIRE_REPLY_MAX];

        return fdpass_send(connection->fd, bytes, wire_encode_reply(reply, bytes), NULL, 0);
}

static struct refusal *connection_prepare_refusal(struct connection *connection,
                                                  const struct verdict *verdict) {
        struct refusal *refusal = &connection->refusal;

        refusal->fd = connection->fd;
        refusal->subject = connection->holder.subject;
        refusal->verdict = *verdict;
        return refusal;
}

/* ---- served ---- */

static void connection_log_garbage(const struct connection *connection, ssize_t size) {
        struct log_subject subject =
                connection_subject(connection, LOG_EVENT_NO_REQUEST, "receive");

        log_write_limited(LOG_INFO, &subject, "%zd bytes are not a request: connection closed",
                          size);
}

static bool connection_answer(struct connection *connection, struct request *request) {
        struct context *context = connection->all->context;
        bool sent;

        request_serve(context, &connection->holder, request);
        sent = connection_send(connection, &request->reply) == 0;
        if (!sent)
                request_take_back(context, &connection->holder, request);
        request_finish(context, request);
        return sent;
}

/* Receives one request and answers it. False: the client is gone, or must go. */
static bool connection_receive(struct connection *connection) {
        uint8_t bytes[WIRE_REQUEST_MAX];
        struct request request;
        ssize_t size = fdpass_wait(connection->fd, bytes, sizeof(bytes), &request.fds);

        if (size > 0 && wire_decode_request(bytes, size, &request.wire, &request.decoded) == 0)
                return connection_answer(connection, &request);
        if (size > 0)
                connection_log_garbage(connection, size);
        fdpass_set_close(&request.fds);
        return false;
}

static void connection_release(struct connection *connection) {
        struct log_subject subject =
                connection_subject(connection, LOG_EVENT_MOUNTS_LEFT, "disconnect");

        subject.error = lease_release_held(connection->all->context->leases, &connection->holder);
        if (subject.error < 0)
                log_write_limited(LOG_ERR, &subject,
                                  "cannot unmount everything, retrying when mountatd stops");
}

static struct work *connection_serve(struct work *work, int error) {
        struct connection *connection = connection_of(work);
        struct connections *all = connection->all;

        if (error < 0) {
                const struct verdict verdict = verdict_host_failed(error, STATUS_NO_TARGET);

                refusal_tell(connection_prepare_refusal(connection, &verdict));
        }
        while (error == 0 && connection_receive(connection))
                continue;

        pthread_mutex_lock(&all->mutex);
        TAILQ_REMOVE(&all->served, connection, entry);
        pthread_mutex_unlock(&all->mutex);
        connection_release(connection);
        request_leave(all->context, &connection->holder);
        /*
         * Also closes the files that the client has queued; until then it counts as its connection.
         */
        fd_close(connection->fd);
        connection_return(connection, QUOTA_CONNECTIONS);
        free(connection);
        return NULL;
}

/* ---- accepted ---- */

/* The credentials are those of connect(2), translated to our namespaces: unix(7). */
static struct verdict connection_identify(struct connection *connection) {
        struct ucred credentials;
        socklen_t size = sizeof(credentials);

        if (getsockopt(connection->fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
                return verdict_host_failed(-errno, STATUS_NO_TARGET);
        connection->holder.socket = connection->fd;
        connection->holder.subject = (struct subject){
                .uid = credentials.uid, .gid = credentials.gid, .pid = credentials.pid};
        return VERDICT_OK;
}

static struct verdict connection_fail(int error) {
        struct verdict verdict = verdict_host_failed(error, STATUS_NO_TARGET);

        snprintf(verdict.text, sizeof(verdict.text),
                 "cannot create a thread: %s: try again, or raise TasksMax= of mountatd.service",
                 strerrordesc_np(-error) ?: "unknown error");
        return verdict;
}

/* STATUS_OK, or why the connection must be refused after all. */
static struct verdict connections_serve(struct connections *all, struct connection *connection) {
        struct verdict verdict = quota_charge(all->context->quota, connection->holder.subject.uid,
                                              QUOTA_CONNECTIONS, 1);
        int r;

        if (verdict.status != STATUS_OK)
                return verdict;
        connection->work.run = connection_serve;
        pthread_mutex_lock(&all->mutex);
        TAILQ_INSERT_TAIL(&all->served, connection, entry);
        r = threads_start(all->threads, &connection->work, THREADS_KEEP_SPARE);
        if (r < 0)
                TAILQ_REMOVE(&all->served, connection, entry);
        pthread_mutex_unlock(&all->mutex);
        if (r == 0)
                return verdict;
        connection_return(connection, QUOTA_CONNECTIONS);
        return connection_fail(r);
}

/*
 * Whether the client has left without sending a request, as clients in a flood do: not worth a
 * thread. Peeking takes nothing out of the queue, and so closes nothing.
 */
static bool connection_is_over(const struct connection *connection) {
        char byte;

        return recv(connection->fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) == 0;
}

int connections_accept(struct connections *all, int socket) {
        struct connection *connection;
        struct verdict verdict;
        int r;

        if (!refusals_have_room(all->refusals))
                return -EUSERS;
        connection = calloc(1, sizeof(*connection));
        if (!connection)
                return -ENOMEM;
        connection->all = all;
        connection->fd = accept4(socket, NULL, NULL, SOCK_CLOEXEC);
        if (connection->fd < 0) {
                r = -errno;
                free(connection);
                return r;
        }

        verdict = connection_identify(connection);
        if (verdict.status == STATUS_OK && !connection_is_over(connection)) {
                verdict = connections_serve(all, connection);
                if (verdict.status == STATUS_OK)
                        return 0;
        }
        refusals_add(all->refusals, connection_prepare_refusal(connection, &verdict));
        return 0;
}

/* ---- abandoned: the client has left, its thread is stuck ---- */

/* With the mutex held. Orphans the client's leases; the thread keeps the descriptor. */
static void connection_abandon(struct connection *connection) {
        struct log_subject subject = connection_subject(connection, LOG_EVENT_STUCK, "disconnect");

        if (connection->abandoned)
                return;
        connection->abandoned = true;
        shutdown(connection->fd, SHUT_RDWR);
        leases_abandon(connection->all->context->leases, &connection->holder);
        /* No warning: clients can cause it at will, and must not hide the host's failures. */
        log_write_limited(LOG_NOTICE, &subject,
                          "the connection's thread is stuck in the kernel: releasing the client's "
                          "other leases");
}

/*
 * Abandons connections whose clients had already left at the previous look: their threads have
 * noticed too, and have had the time to end. With the mutex held.
 */
static void connections_look(struct connection *batch[], struct pollfd *pollers, unsigned count) {
        if (poll(pollers, count, 0) < 0)
                return;
        for (unsigned i = 0; i < count; i++) {
                bool left = pollers[i].revents & (POLLRDHUP | POLLHUP | POLLERR);

                if (left && batch[i]->left)
                        connection_abandon(batch[i]);
                batch[i]->left = left;
        }
}

void connections_watch(struct connections *all) {
        struct connection *batch[CONNECTION_WATCHED], *connection, *next;
        struct pollfd pollers[CONNECTION_WATCHED];
        unsigned count = 0;

        pthread_mutex_lock(&all->mutex);
        for (connection = TAILQ_FIRST(&all->served); connection; connection = next) {
                next = TAILQ_NEXT(connection, entry);
                pollers[count] = (struct pollfd){.fd = connection->fd, .events = POLLRDHUP};
                batch[count++] = connection;
                if (count == CONNECTION_WATCHED || !next) {
                        connections_look(batch, pollers, count);
                        count = 0;
                }
        }
        pthread_mutex_unlock(&all->mutex);
        refusals_retry(all->refusals);
}

/* ---- all of them ---- */

/* With the mutex held. */
static void connections_shut(struct connections *all, int how) {
        struct connection *connection;

        TAILQ_FOREACH(connection, &all->served, entry)
                shutdown(connection->fd, how);
}

void connections_drain(struct connections *all) {
        pthread_mutex_lock(&all->mutex);
        connections_shut(all, SHUT_RD);
        pthread_mutex_unlock(&all->mutex);
}

void connections_hang_up(struct connections *all) {
        pthread_mutex_lock(&all->mutex);
        leases_freeze(all->context->leases);
        connections_shut(all, SHUT_RDWR);
}

void connections_abandon(struct connections *all) {
        struct connection *connection;

        pthread_mutex_lock(&all->mutex);
        TAILQ_FOREACH(connection, &all->served, entry)
                connection_abandon(connection);
        pthread_mutex_unlock(&all->mutex);
}

struct connections *connections_new(struct context *context, struct threads *threads) {
        struct connections *all = calloc(1, sizeof(*all));

        if (!all)
                return NULL;
        all->refusals = refusals_new(context, threads);
        if (!all->refusals) {
                free(all);
                return NULL;
        }
        all->context = context;
        all->threads = threads;
        TAILQ_INIT(&all->served);
        pthread_mutex_init(&all->mutex, NULL);
        return all;
}

struct connections *connections_free(struct connections *all) {
        if (!all)
                return NULL;
        refusals_free(all->refusals);
        pthread_mutex_destroy(&all->mutex);
        free(all);
        return NULL;
}
