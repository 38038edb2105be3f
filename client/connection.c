/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A lease belongs to a connection, and closing the connection releases it. So if one lease can't be
 * offered, the connection stays open for the leases that were already adopted.
 */

#include "client/connection.h"

#include "client/mountat.h"
#include "common/fd.h"
#include "common/text.h"

#include <errno.h>
#include <string.h>

enum {
        CONNECTION_LOSSES_MAX = 8, /* per call: the request itself might crash the daemon */
        CONNECTION_PAUSE = 5,      /* milliseconds, doubled each time */
        CONNECTION_PAUSE_MAX = 200,
};

/* ---- leases ---- */

void connection_add(struct connection *connection, struct holding *holding) {
        holding->connection = connection->number;
        holding->next = connection->holdings;
        connection->holdings = holding;
}

struct holding *connection_find(const struct connection *connection, uint64_t id) {
        struct holding *holding = connection->holdings;

        while (holding && holding->id != id)
                holding = holding->next;
        return holding;
}

struct holding *connection_find_lost(const struct connection *connection) {
        struct holding *holding = connection->holdings;

        while (holding && holding->fate == HOLDING_KEPT)
                holding = holding->next;
        return holding;
}

void connection_forget(struct connection *connection, struct holding *holding) {
        struct holding **slot = &connection->holdings;

        while (*slot != holding)
                slot = &(*slot)->next;
        *slot = holding->next;
        holding_free(holding);
}

static void connection_forget_all(struct connection *connection) {
        while (connection->holdings)
                connection_forget(connection, connection->holdings);
}

/* ---- connecting ---- */

static void connection_begin(struct connection *connection) {
        connection->number++;
        connection->instance = (struct instance){0};
}

int connection_open(struct connection *connection, const char *path) {
        int result = channel_connect(&connection->channel, path);

        if (result < 0)
                return result;
        connection_forget_all(connection);
        strcpy(connection->path, path); /* fits: channel_connect() refuses longer paths */
        connection_begin(connection);
        if (!connection->foreign)
                connection->complete = connection->number;
        return 0;
}

void connection_close(struct connection *connection) {
        channel_free(&connection->channel);
        connection_forget_all(connection);
}

static int connection_broken(const struct connection *connection, int error,
                             struct failure *failure) {
        if (connection->channel.fd >= 0)
                return failure_client(failure, -error, MOUNTAT_NO_TARGET,
                                      "cannot send a request to mountatd: %s",
                                      strerrordesc_np(-error));
        return failure_client(failure, -error, MOUNTAT_NO_TARGET,
                              "the connection to mountatd %s: the next call connects again",
                              connection->channel.closing);
}

static bool connection_is_absence(int error) {
        return error == -ECONNREFUSED || error == -ENOENT;
}

/* A socket that is being created gets its group and mode last, hence EACCES. */
static bool connection_may_change(int error) {
        return connection_is_absence(error) || error == -EACCES;
}

static int connection_unanswered(const struct connection *connection, int error,
                                 struct failure *failure) {
        char escaped[4 * CONNECTION_PATH_SIZE];

        /* A lost connection is -ECONNRESET, whatever connect(2) returns: see mountat.h. */
        return failure_client(
                failure, connection_is_absence(error) ? ECONNRESET : -error, MOUNTAT_NO_TARGET,
                "the connection to mountatd %s, and reconnecting to %s failed: %s: is mountatd "
                "stopped? The next call tries again",
                connection->channel.closing,
                text_escape(escaped, sizeof(escaped), connection->path), strerrordesc_np(-error));
}

/* While the daemon restarts, the socket refuses connections or is missing. */
static int connection_connect(struct connection *connection, int64_t retry_until,
                              struct failure *failure) {
        struct channel *channel = &connection->channel;
        uint32_t pause = CONNECTION_PAUSE;
        int result;

        for (;;) {
                result = channel_connect(channel, connection->path);
                if (!connection_may_change(result) || channel_now() >= retry_until ||
                    channel_pause(channel, pause) < 0)
                        break;
                pause = pause * 2 < CONNECTION_PAUSE_MAX ? pause * 2 : CONNECTION_PAUSE_MAX;
        }
        if (result < 0)
                return connection_unanswered(connection, result, failure);
        connection_begin(connection);
        return 0;
}

/* ---- entering ---- */

static bool connection_has_leases(const struct connection *connection) {
        const struct holding *holding = connection->holdings;

        while (holding &&
               (holding->fate != HOLDING_KEPT || holding->connection != connection->number))
                holding = holding->next;
        return holding;
}

/* As instance_enter(). All leases of a connection are in one namespace. */
static int connection_enter(struct connection *connection, struct wire_reply *reply) {
        int result;

        if (connection_has_leases(connection))
                return 0;
        result = instance_enter(&connection->instance, &connection->channel, reply);
        connection->foreign |= result > 0;
        return result;
}

/* Enters first, if an earlier connection had to. */
static int connection_arrive(struct connection *connection, struct failure *failure) {
        struct wire_reply reply = {.status = STATUS_OK};
        int result;

        if (!connection->foreign || connection->instance.entered)
                return 0;
        result = connection_enter(connection, &reply);
        if (result < 0)
                return connection_broken(connection, result, failure);
        /* A final refusal, or the feature is gone: the next request's error says why. */
        if (reply.status == STATUS_OK || connection->channel.fd >= 0)
                return 0;
        return failure_reply(failure, &reply, 0);
}

/* As channel_exchange(); if the daemon has to enter the namespace first, sends the request again.
 */
static int connection_exchange(struct connection *connection, struct wire_request *request,
                               const int *fds, struct wire_reply *reply) {
        struct channel *channel = &connection->channel;
        int result;

        if (request->operation == PROTOCOL_HELLO)
                return instance_hello(&connection->instance, channel, request, reply);
        result = channel_exchange(channel, request, fds, reply);
        if (result < 0 || reply->status != STATUS_FOREIGN_NAMESPACE ||
            (reply->operation != PROTOCOL_MOUNT && reply->operation != PROTOCOL_ADOPT))
                return result;
        result = connection_enter(connection, reply);
        return result > 0 ? channel_exchange(channel, request, fds, reply) : result;
}

/* ---- adopting ---- */

static bool connection_is_shortage(int error) {
        return error == -EMFILE || error == -ENFILE || error == -ENOMEM;
}

/* If the daemon isn't in our namespace, the reason is that, and not its answer about the lease. */
static void connection_lose(const struct connection *connection, struct holding *holding,
                            const struct wire_reply *reply) {
        const struct wire_reply foreign = {.status = STATUS_FOREIGN_NAMESPACE};
        const struct instance *instance = &connection->instance;

        if (connection->foreign && !instance_is_inside(instance))
                reply = instance->entered ? &instance->entering : &foreign;
        holding_lose_refused(holding, reply);
}

/* On failure the lease is lost, or can be offered again: on this channel, or if it closed, the
 * next.
 */
static int connection_offer(struct connection *connection, struct holding *holding,
                            struct failure *failure) {
        struct wire_request request = {
                .operation = PROTOCOL_ADOPT,
                .lease = holding->id,
                .n_targets = holding->count,
        };
        int fds[MOUNTAT_TARGETS_MAX];
        struct wire_reply reply;
        int result = holding_open_mounts(holding, fds);

        if (connection_is_shortage(result))
                return failure_client(
                        failure, -result, MOUNTAT_NO_TARGET,
                        "cannot open a lease's mounts to hand them to mountatd again: %s",
                        strerrordesc_np(-result));
        if (result < 0) {
                holding_lose(holding, result == -ENOENT ? HOLDING_BARE : HOLDING_UNREACHABLE,
                             result == -ENOENT ? 0 : result);
                return result;
        }

        for (uint32_t i = 0; i < holding->count; i++)
                request.targets[i].file_system = holding->targets[i].file_system;
        result = connection_exchange(connection, &request, fds, &reply);
        for (uint32_t i = 0; i < holding->count; i++)
                fd_close(fds[i]);

        if (result < 0)
                return connection_broken(connection, result, failure);
        if (reply.status == STATUS_OK) {
                holding->connection = connection->number;
                return 0;
        }
        if ((reply.operation == PROTOCOL_ADOPT || reply.operation == PROTOCOL_ENTER) &&
            !instance_is_passing(reply.status))
                connection_lose(connection, holding, &reply);
        return failure_reply(failure, &reply, 0);
}

/* Stops when the channel is lost; continues after any other failure. */
static int connection_offer_all(struct connection *connection, struct failure *failure) {
        int result = 0;

        for (struct holding *holding = connection->holdings; holding; holding = holding->next) {
                int r;

                if (holding->fate != HOLDING_KEPT || holding->connection == connection->number)
                        continue;
                r = connection_offer(connection, holding, failure);
                if (connection->channel.fd < 0)
                        return r;
                if (r < 0 && holding->fate == HOLDING_KEPT)
                        result = r;
        }
        if (result == 0)
                connection->complete = connection->number;
        return result;
}

/*
 * Pauses before the next try: a daemon that is being killed closes its connections one by one, and
 * its listening socket accepts new ones until it is closed too.
 */
static int connection_pause(const struct connection *connection, unsigned losses) {
        uint32_t pause = CONNECTION_PAUSE << (losses - 1);

        return channel_pause(&connection->channel,
                             pause < CONNECTION_PAUSE_MAX ? pause : CONNECTION_PAUSE_MAX);
}

bool connection_is_whole(const struct connection *connection) {
        return connection->channel.fd >= 0 && connection->complete == connection->number;
}

int connection_recover(struct connection *connection, int64_t retry_until,
                       struct failure *failure) {
        int result;

        if (connection_is_whole(connection))
                return 0;
        if (!connection->path[0])
                return failure_client(failure, ENOTCONN, MOUNTAT_NO_TARGET,
                                      "not connected to mountatd: the connection %s: connect first",
                                      connection->channel.closing);

        for (unsigned losses = 1;; losses++) {
                result = connection->channel.fd >= 0
                                 ? 0
                                 : connection_connect(connection, retry_until, failure);
                if (result < 0)
                        return result;
                result = connection_arrive(connection, failure);
                if (result == 0)
                        result = connection_offer_all(connection, failure);
                if (result != -ECONNRESET || connection->channel.fd >= 0 ||
                    losses >= CONNECTION_LOSSES_MAX || connection_pause(connection, losses) < 0)
                        return result;
        }
}

/* ---- asking ---- */

/* 0: the request can go to the connection as it is. */
static int connection_prepare(struct connection *connection, const struct connection_call *call,
                              struct failure *failure) {
        const struct holding *holding;
        int result = connection_recover(connection, connection->channel.deadline, failure);

        if (connection->channel.fd < 0)
                return result;
        holding = call->request.operation == PROTOCOL_UNMOUNT
                          ? connection_find(connection, call->request.lease)
                          : NULL;
        if (!holding || holding->connection == connection->number)
                return 0; /* if recovery failed, it was for another lease */
        return holding->fate == HOLDING_KEPT ? result : holding_explain(holding, failure);
}

/*
 * Asks for the daemon's features once per connection: after a restart it may be another version. If
 * a feature is missing, asks again, to get the version for the message. As channel_exchange().
 */
static int connection_greet(struct connection *connection, struct connection_call *call) {
        struct wire_request hello = {.operation = PROTOCOL_HELLO};

        if (connection->instance.greeted && !instance_lacks(&connection->instance, call->features))
                return 0;
        return instance_hello(&connection->instance, &connection->channel, &hello, &call->reply);
}

/*
 * One try, as channel_exchange(). The request isn't sent if the daemon refuses hello, whose reply
 * then becomes the call's, or if it lacks a feature.
 */
static int connection_try(struct connection *connection, struct connection_call *call) {
        struct channel *channel = &connection->channel;
        int result;

        call->reply.status = STATUS_OK;
        result = call->features ? connection_greet(connection, call) : 0;
        if (result < 0 || call->reply.status != STATUS_OK ||
            instance_lacks(&connection->instance, call->features))
                return result;
        result = connection_exchange(connection, &call->request, call->fds, &call->reply);
        /* Only if the request itself was sent, not hello or enter before it. */
        if (result == -ECONNRESET && channel->fd < 0 && call->request.cookie == channel->cookie)
                call->in_doubt |= channel->delivered;
        return result;
}

int connection_ask(struct connection *connection, struct connection_call *call,
                   struct failure *failure) {
        struct channel *channel = &connection->channel;
        int result;

        for (unsigned losses = 1;; losses++) {
                result = connection_prepare(connection, call, failure);
                if (result < 0)
                        return result;
                result = connection_try(connection, call);
                if (result != -ECONNRESET || channel->fd >= 0)
                        break;
                if (losses >= CONNECTION_LOSSES_MAX || connection_pause(connection, losses) < 0)
                        break;
        }

        if (result < 0)
                return connection_broken(connection, result, failure);
        failure_clear(failure);
        if (call->reply.status != STATUS_OK)
                return failure_reply(failure, &call->reply, call->request.n_targets);
        if (instance_lacks(&connection->instance, call->features))
                return instance_explain_lack(&connection->instance, call->features,
                                             call->reply.text, failure);
        return 0;
}
