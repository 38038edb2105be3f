/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The connection that outlives the daemon: a channel that is connected again when it is lost, and
 * the leases that are then offered to the next instance. Where the daemon finds what it is sent in
 * another mount namespace than its own, and can enter that, it is asked to, and then once more. One
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
        char path[CONNECTION_PATH_SIZE]; /* "": was never open */
        uint64_t number;                 /* of this one, counted up */
        uint64_t complete;               /* the number of the last one that has all leases */
        struct instance instance;        /* of the daemon, on this one */
        bool foreign;                    /* one had to enter our mount namespace: it comes first */
        struct holding *holdings;        /* owned */
};

#define CONNECTION_NONE                                                                            \
        { .channel = CHANNEL_CLOSED }

/* What is asked, with its borrowed descriptors, and what came of it. */
struct connection_call {
        struct wire_request request;
        const int *fds;
        uint32_t features; /* PROTOCOL_FEATURE_* that it takes */
        struct wire_reply reply;
        bool in_doubt; /* it reached an instance that died before it answered */
};

/* Connects for the first time, or anew, without the leases of before. As channel_connect(). */
int connection_open(struct connection *connection, const char *path);

void connection_close(struct connection *connection);

/*
 * Connects again if the connection is lost, and offers the leases that it doesn't have. A daemon
 * that isn't there is tried again until `patience`, a time of channel_now(), or the deadline. One
 * that had to enter our mount namespace enters it before that, or closes the connection if it can't
 * now. 0 when all leases are held that are not lost. Negative errno: no connection, or one that
 * lacks a lease.
 */
int connection_recover(struct connection *connection, int64_t patience, struct failure *failure);

/* Whether it is up, as far as known, and has every lease that isn't lost. */
bool connection_is_whole(const struct connection *connection);

/*
 * One request from start to end: 0 when the daemon did what was asked. Recovers first, and after a
 * loss recovers and asks again. An unmount of a lease that was lost on the way isn't asked:
 * -ENOENT. A daemon to which the targets are in another mount namespace is asked to enter it, if it
 * can: once on each connection, and its refusal is that of the request. A daemon that lacks a
 * feature that the call takes isn't asked either: -ENOSYS, or -EOPNOTSUPP for a file system.
 */
int connection_ask(struct connection *connection, struct connection_call *call,
                   struct failure *failure);

void connection_add(struct connection *connection, struct holding *holding);

/* NULL if there is none of that id. */
struct holding *connection_find(const struct connection *connection, uint64_t id);

/* The first that is lost and not forgotten; NULL if there is none. */
struct holding *connection_find_lost(const struct connection *connection);

/* Removes and frees it. */
void connection_forget(struct connection *connection, struct holding *holding);
