/* SPDX-License-Identifier: Apache-2.0 */

/*
 * receive, decode, (request: authorise, act,) reply. Nothing here waits for the client: what can't
 * be sent at once ends the connection. But descriptors can make us wait: for a file on FUSE that is
 * closed, for a TCP socket that lingers. So they are received only in an attempt that the ledger
 * counts, and the clock runs over all that receives or closes them.
 */

#include "daemon/peer.h"

#include "common/fd.h"
#include "daemon/impatience.h"
#include "daemon/lease.h"
#include "daemon/log.h"
#include "daemon/stall.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct peer {
        int fd;
        struct request_gate *gate;
        struct ledger_owner owner;
};

/* Around what receives or closes a client's descriptors. */
static void peer_begin_blocking(void) {
        stall_begin();
        impatience_begin();
}

static void peer_end_blocking(void) {
        impatience_end();
        stall_end();
}

static int peer_send(int fd, const struct wire_reply *reply) {
        uint8_t bytes[WIRE_REPLY_MAX];

        return fdpass_send(fd, bytes, wire_encode_reply(reply, bytes), NULL, 0);
}

static void peer_refuse(int fd, const struct ucred *credentials, const struct verdict *verdict) {
        struct wire_reply reply = {
                .operation = PROTOCOL_UNASKED,
                .status = verdict->status,
                .error = verdict->error,
                .target = verdict->target,
        };
        struct log_subject subject = {
                .event = LOG_EVENT_REFUSED,
                .has_peer = true,
                .uid = credentials->uid,
                .pid = credentials->pid,
                .operation = "connect",
        };

        snprintf(reply.text, sizeof(reply.text), "%s", verdict->text);
        log_write_limited(LOG_INFO, &subject, "%s", verdict->text);
        peer_send(fd, &reply);
        shutdown(fd, SHUT_RDWR);
}

int peer_new(int fd, struct request_gate *gate, struct peer **ret) {
        struct ucred credentials;
        socklen_t size = sizeof(credentials);
        struct verdict verdict;
        struct peer *peer;

        /* Frozen at connect(2), and translated to our namespaces: unix(7). */
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
                return -errno;
        peer = calloc(1, sizeof(*peer));
        if (!peer)
                return -ENOMEM;
        verdict = ledger_connect(gate->ledger, credentials.uid, credentials.pid, &peer->owner);
        if (verdict.status != STATUS_OK) {
                free(peer);
                peer_refuse(fd, &credentials, &verdict);
                return -EDQUOT;
        }
        peer->fd = fd;
        peer->gate = gate;
        *ret = peer;
        return 0;
}

void peer_dismiss(int fd) {
        peer_begin_blocking();
        fd_close(fd);
        peer_end_blocking();
}

static void peer_release_all(struct peer *peer) {
        struct log_subject subject = {
                .event = LOG_EVENT_MOUNTS_LEFT,
                .has_peer = true,
                .uid = peer->owner.uid,
                .pid = peer->owner.pid,
                .operation = "disconnect",
        };

        subject.error = lease_release_all(peer->gate->templates, peer->gate->ledger, &peer->owner);
        if (subject.error < 0)
                log_write(LOG_ERR, &subject, "mounts are left, to be tried again");
}

void peer_abandon(struct peer *peer) {
        ledger_abandon(peer->gate->ledger, &peer->owner);
        peer_release_all(peer);
}

void peer_close(struct peer *peer) {
        peer_abandon(peer);
        ledger_end_attempt(peer->gate->ledger, &peer->owner);
        peer_begin_blocking();
        peer->fd = fd_close(peer->fd);
        peer_end_blocking();
}

struct peer *peer_free(struct peer *peer) {
        if (!peer)
                return NULL;
        ledger_disconnect(peer->gate->ledger, &peer->owner);
        free(peer);
        return NULL;
}

struct ledger_owner *peer_owner(struct peer *peer) {
        return &peer->owner;
}

int peer_fd(const struct peer *peer) {
        return peer->fd;
}

bool peer_has_more(const struct peer *peer) {
        struct pollfd poller = {.fd = peer->fd, .events = POLLIN};

        return poll(&poller, 1, 0) > 0;
}

static void peer_log_garbage(const struct peer *peer, ssize_t size) {
        struct log_subject subject = {
                .event = LOG_EVENT_NO_REQUEST,
                .has_peer = true,
                .uid = peer->owner.uid,
                .pid = peer->owner.pid,
                .operation = "receive",
        };

        log_write_limited(LOG_INFO, &subject, "%zd bytes that are no request: connection closed",
                          size);
}

/* Whether what comes next is a request that would have us receive descriptors. */
static bool peer_next_has_targets(const struct peer *peer) {
        uint8_t bytes[WIRE_REQUEST_MAX];
        struct wire_request request;
        struct verdict verdict;
        bool dropped;
        ssize_t size = fdpass_receive_bytes(peer->fd, bytes, sizeof(bytes), MSG_PEEK, &dropped);

        return size > 0 && wire_decode_request(bytes, size, &request, &verdict) == 0 &&
               verdict.status == STATUS_OK && request.n_targets > 0;
}

/* Without a turn no descriptor is received, so none can make us wait. */
static ssize_t peer_receive(struct peer *peer, enum ledger_turn turn, uint8_t *bytes,
                            struct fdpass_set *fds, bool *dropped) {
        ssize_t size;

        *dropped = false;
        if (turn == LEDGER_NOW) {
                stall_begin();
                size = fdpass_receive(peer->fd, bytes, WIRE_REQUEST_MAX, fds);
                stall_end();
        } else {
                peer_begin_blocking();
                size = fdpass_receive_bytes(peer->fd, bytes, WIRE_REQUEST_MAX, 0, dropped);
                peer_end_blocking();
        }
        if (fds->count == 0)
                ledger_end_attempt(peer->gate->ledger, &peer->owner);
        return size;
}

static void peer_close_received(struct peer *peer, struct fdpass_set *fds) {
        if (fds->count == 0)
                return;
        peer_begin_blocking();
        fdpass_set_close(fds);
        peer_end_blocking();
        ledger_end_attempt(peer->gate->ledger, &peer->owner);
}

static enum peer_progress peer_answer(struct peer *peer, const uint8_t *bytes, ssize_t size,
                                      struct fdpass_set *fds, const struct verdict *instead) {
        struct wire_request request;
        struct wire_reply reply;
        struct verdict verdict;
        struct request_rest rest;
        int sent;

        if (wire_decode_request(bytes, size, &request, &verdict) < 0) {
                peer_log_garbage(peer, size);
                return PEER_ENDED;
        }
        if (verdict.status == STATUS_OK && instead->status != STATUS_OK)
                verdict = *instead;
        request_serve(peer->gate, &peer->owner, &request, &verdict, fds, &reply, &rest);
        sent = peer_send(peer->fd, &reply);
        request_finish(peer->gate, &rest);
        return sent < 0 ? PEER_ENDED : PEER_GOES_ON;
}

enum peer_progress peer_serve(struct peer *peer) {
        struct fdpass_set fds = {0};
        struct verdict instead = VERDICT_OK, refusal;
        uint8_t bytes[WIRE_REQUEST_MAX];
        enum peer_progress progress;
        enum ledger_turn turn;
        bool dropped, has_targets;
        ssize_t size;

        turn = ledger_begin_attempt(peer->gate->ledger, &peer->owner, &refusal);
        has_targets = turn != LEDGER_NOW && peer_next_has_targets(peer);
        if (turn == LEDGER_LATER && has_targets)
                return PEER_MUST_WAIT;

        size = peer_receive(peer, turn, bytes, &fds, &dropped);
        if (size == -EAGAIN)
                return PEER_GOES_ON;
        if (has_targets)
                instead = refusal;
        else if (dropped)
                instead = verdict_refuse(STATUS_WRONG_FD_COUNT, STATUS_NO_TARGET);
        progress = size > 0 ? peer_answer(peer, bytes, size, &fds, &instead) : PEER_ENDED;
        peer_close_received(peer, &fds);
        return progress;
}
