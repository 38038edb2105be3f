/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One datagram with its file descriptors, over a Unix socket: only this module builds or parses
 * control messages (cmsg(3), unix(7)). Both sides use it. Only fdpass_wait() blocks.
 */

#include "common/protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum {
        /*
         * Room for one more than the protocol allows, to tell "too many" from "no room"; rounding
         * up to the alignment can deliver yet another one.
         */
        FDPASS_ROOM = PROTOCOL_TARGETS_MAX + 1,
        FDPASS_MAX = FDPASS_ROOM + 1,
};

/* Owns its first `count` descriptors, all close-on-exec. */
struct fdpass_set {
        size_t count;
        int fds[FDPASS_MAX];
        bool starved; /* descriptors were lost because this process could open no more */
};

/* Closes the remaining ones; entries taken with fd_take() are skipped. */
void fdpass_set_close(struct fdpass_set *set);

#define FDPASS_AUTO __attribute__((cleanup(fdpass_set_close)))

/*
 * Receives one datagram without blocking. Returns its real size, which may exceed `size` (the rest
 * is lost); 0: end of file or an empty datagram. Negative errno: -EAGAIN if there is none. In any
 * case `*set` is filled in, and owns each descriptor received.
 */
ssize_t fdpass_receive(int socket, void *bytes, size_t size, struct fdpass_set *set);

/*
 * The same, waiting for a datagram. The kernel drops descriptors for which there is no room, and
 * the last close of a file can take its time: the thread waits for that too.
 */
ssize_t fdpass_wait(int socket, void *bytes, size_t size, struct fdpass_set *set);

/*
 * Whether a socket that is shut down for reading has nothing left to receive. Takes nothing out of
 * the queue; false if unknown.
 */
bool fdpass_is_drained(int socket);

/*
 * Sends one datagram with `count` borrowed descriptors (0 to PROTOCOL_TARGETS_MAX) without
 * blocking and without SIGPIPE. 0, or a negative errno: -EAGAIN when the peer doesn't read.
 */
int fdpass_send(int socket, const void *bytes, size_t size, const int *fds, size_t count);
