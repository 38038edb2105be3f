/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The connection across restarts of the daemon: a channel that is reconnected when it is lost, and
 * the leases that are then offered to the next instance for adoption. If the daemon finds a target
 * in another mount namespace and may enter that, it is asked to, and the request is sent again. One
 * thread at a time.
 */

#include "client/channel.h"
#include "client/failure.h"
#include "client/holding.h"
#include "client/instance.h"

#include <stdbool.h>
#include <stdint.h>

enum {
        CONNECTION_PATH_SIZE = 108, /* as in struct sockaddr_un */
};

struct connection {
        struct channel channel;
        char path[CONNECTION_PATH_SIZE]; /* "": never connected */
        uint64_t number;                 /* of the current channel, counted up */
        uint64_t complete;               /* the last number on which all leases were adopted */
        struct instance instance;        /* the daemon at the other end */
        bool foreign;                    /* the daemon has to enter our namespace first */
        struct holding *holdings;        /* owned */
};

#define CONNECTION_NONE                                                                            \
        { .channel = CHANNEL_CLOSED }

/* A request with its borrowed descriptors, and its result. */
struct connection_call {
        struct wire_request request;
        const int *fds;
        uint32_t features; /* PROTOCOL_FEATURE_* that it needs */
        struct wire_reply reply;
        bool in_doubt; /* it was sent to an instance that went away before it answered */
};

/* Connects for the first time, or starts over without the earlier leases. As channel_connect(). */
int connection_open(struct connection *connection, const char *path);

void connection_close(struct connection *connection);

/*
 * Reconnects if the connection is lost, has the daemon enter our mount namespace if it had to
 * before, and offers the leases that the daemon doesn't hold yet. While the daemon is away, retries
 * until `retry_until`, a time of channel_now(), or the deadline. Returns 0 when the daemon holds
 * all leases that aren't lost; a negative errno if there is no connection, or a lease is missing.
 */
int connection_recover(struct connection *connection, int64_t retry_until, struct failure *failure);

/* Whether it is connected, as far as known, and holds every lease that isn't lost. */
bool connection_is_whole(const struct connection *connection);

/*
 * Performs one request: 0 when the daemon did it. Recovers first, and after a loss recovers and
 * sends it again. If a lease is lost meanwhile, its unmount isn't sent: -ENOENT. If the targets are
 * in another mount namespace, asks the daemon to enter it, once per connection; if it refuses, that
 * is the result. If the daemon lacks a feature that the call needs, the request isn't sent:
 * -ENOSYS, or -EOPNOTSUPP for a file system.
 */
int connection_ask(struct connection *connection, struct connection_call *call,
                   struct failure *failure);

void connection_add(struct connection *connection, struct holding *holding);

/* The lease with that id, or NULL. */
struct holding *connection_find(const struct connection *connection, uint64_t id);

/* The first lost lease that isn't forgotten yet, or NULL. */
struct holding *connection_find_lost(const struct connection *connection);

/* Removes and frees it. */
void connection_forget(struct connection *connection, struct holding *holding);
