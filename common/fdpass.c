/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Received descriptors are adopted before anything is checked, by cmsg_len and not by the room that
 * was given, so that no path can lose one.
 */

#include "common/fdpass.h"

#include "common/fd.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

union fdpass_control {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * FDPASS_ROOM)];
};

static_assert((sizeof(union fdpass_control) - CMSG_LEN(0)) / sizeof(int) == FDPASS_MAX,
              "the set holds all that the control buffer can deliver");

void fdpass_set_close(struct fdpass_set *set) {
        for (size_t i = 0; i < set->count; i++)
                set->fds[i] = fd_close(set->fds[i]);
        set->count = 0;
}

static void fdpass_adopt(struct msghdr *message, struct fdpass_set *set) {
        for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                size_t count;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                assert(set->count + count <= FDPASS_MAX);
                memcpy(set->fds + set->count, CMSG_DATA(c), count * sizeof(int));
                set->count += count;
        }
}

static ssize_t fdpass_take(int socket, const struct iovec *vector, int flags,
                           struct fdpass_set *set) {
        union fdpass_control control;
        struct msghdr message = {
                .msg_iov = (struct iovec *)vector,
                .msg_iovlen = 1,
                .msg_control = control.bytes,
                .msg_controllen = sizeof(control.bytes),
        };
        ssize_t received;

        *set = (struct fdpass_set){0};
        do
                received = recvmsg(socket, &message, flags | MSG_TRUNC | MSG_CMSG_CLOEXEC);
        while (received < 0 && errno == EINTR);
        if (received < 0)
                return -errno;

        fdpass_adopt(&message, set);
        set->starved = (message.msg_flags & MSG_CTRUNC) && set->count < FDPASS_ROOM;
        return received;
}

ssize_t fdpass_receive(int socket, void *bytes, size_t size, struct fdpass_set *set) {
        const struct iovec vector = {.iov_base = bytes, .iov_len = size};

        return fdpass_take(socket, &vector, MSG_DONTWAIT, set);
}

ssize_t fdpass_wait(int socket, void *bytes, size_t size, struct fdpass_set *set) {
        const struct iovec vector = {.iov_base = bytes, .iov_len = size};

        return fdpass_take(socket, &vector, 0, set);
}

/*
 * End of file looks like an empty message, but a message has its sender's credentials, for which
 * there is no room here: MSG_CTRUNC, unix(7).
 */
bool fdpass_is_drained(int socket) {
        char byte;
        struct iovec vector = {.iov_base = &byte, .iov_len = sizeof(byte)};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
        const int on = 1;

        return setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0 &&
               recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT) == 0 &&
               !(message.msg_flags & MSG_CTRUNC);
}

int fdpass_send(int socket, const void *bytes, size_t size, const int *fds, size_t count) {
        union fdpass_control control = {0};
        struct iovec vector = {.iov_base = (void *)bytes, .iov_len = size};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
        ssize_t sent;

        assert(count <= PROTOCOL_TARGETS_MAX);
        if (count > 0) {
                struct cmsghdr *c;

                message.msg_control = control.bytes;
                message.msg_controllen = CMSG_SPACE(count * sizeof(int));
                c = CMSG_FIRSTHDR(&message);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(count * sizeof(int));
                memcpy(CMSG_DATA(c), fds, count * sizeof(int));
        }

        do
                sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        return sent < 0 ? -errno : 0;
}
