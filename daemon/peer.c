/* SPDX-License-Identifier: Apache-2.0 */

/*
 * receive, decode, (request: authorise, act,) reply. Nothing here waits for the client: what can't
 * be sent at once ends the connection.
 */

#include "daemon/peer.h"

#include "common/fd.h"
#include "daemon/lease.h"
#include "daemon/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct peer {
        int fd;
        struct request_gate *gate;
        struct ledger_owner owner;
};

static int peer_send(int fd, const struct wire_reply *reply) {
        uint8_t bytes[WIRE_REPLY_MAX];

        return fdpass_send(fd, bytes, wire_encode_reply(reply, bytes), NULL, 0);
}

static int peer_refuse(int fd, const struct ucred *credentials, const struct verdict *verdict) {
        struct wire_reply reply = {
                .operation = PROTOCOL_UNASKED,
                .status = verdict->status,
                .error = verdict->error,
                .target = verdict->target,
        };
        struct log_subject subject = {
                .has_peer = true,
                .uid = credentials->uid,
                .pid = credentials->pid,
                .operation = "connect",
        };

        snprintf(reply.text, sizeof(reply.text), "%s", verdict->text);
        log_write_limited(LOG_INFO, &subject, "%s", verdict->text);
        peer_send(fd, &reply);
        return -EDQUOT;
}

int peer_new(int connection, struct request_gate *gate, struct peer **ret) {
        FD_AUTO int fd = connection;
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
                return peer_refuse(fd, &credentials, &verdict);
        }
        peer->fd = fd_take(&fd);
        peer->gate = gate;
        *ret = peer;
        return 0;
}

static void peer_release_all(struct peer *peer) {
        struct log_subject subject = {
                .has_peer = true,
                .uid = peer->owner.uid,
                .pid = peer->owner.pid,
                .operation = "disconnect",
        };

        subject.error = lease_release_all(peer->gate->templates, peer->gate->ledger, &peer->owner);
        if (subject.error < 0)
                log_write(LOG_ERR, &subject, "mounts are left, to be tried again at the end");
}

void peer_abandon(struct peer *peer) {
        ledger_abandon(peer->gate->ledger, &peer->owner);
        peer_release_all(peer);
}

struct peer *peer_free(struct peer *peer) {
        if (!peer)
                return NULL;
        peer_abandon(peer);
        ledger_disconnect(peer->gate->ledger, &peer->owner);
        fd_close(peer->fd);
        free(peer);
        return NULL;
}

const struct ledger_owner *peer_owner(const struct peer *peer) {
        return &peer->owner;
}

int peer_fd(const struct peer *peer) {
        return peer->fd;
}

static void peer_log_garbage(const struct peer *peer, ssize_t size) {
        struct log_subject subject = {
                .has_peer = true,
                .uid = peer->owner.uid,
                .pid = peer->owner.pid,
                .operation = "receive",
        };

        log_write_limited(LOG_INFO, &subject, "%zd bytes that are no request: connection closed",
                          size);
}

int peer_serve(struct peer *peer) {
        FDPASS_AUTO struct fdpass_set fds = {0};
        uint8_t bytes[WIRE_REQUEST_MAX];
        struct wire_request request;
        struct wire_reply reply;
        struct verdict decoded;
        ssize_t size;
        int r;

        size = fdpass_receive(peer->fd, bytes, sizeof(bytes), &fds);
        if (size == -EAGAIN)
                return 0;
        if (size < 0)
                return size;
        if (size == 0)
                return -ECONNRESET;

        r = wire_decode_request(bytes, size, &request, &decoded);
        if (r < 0) {
                peer_log_garbage(peer, size);
                return r;
        }
        request_serve(peer->gate, &peer->owner, &request, &decoded, &fds, &reply);
        return peer_send(peer->fd, &reply);
}
