/* SPDX-License-Identifier: Apache-2.0 */

/*
 * At most one request is in flight. A timeout closes the channel, so a late reply is never read,
 * and a reply that doesn't match its request is always a protocol error.
 */

#include "client/channel.h"

#include "common/fd.h"
#include "common/fdpass.h"

#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

enum {
        CHANNEL_NS_PER_MS = 1000 * 1000,
        CHANNEL_MS_PER_S = 1000,
        CHANNEL_CONNECT_SLICE = 500, /* milliseconds between looks at `interrupt` */
};

int64_t channel_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * CHANNEL_MS_PER_S * CHANNEL_NS_PER_MS + now.tv_nsec;
}

int64_t channel_after(uint32_t milliseconds) {
        return channel_now() + (int64_t)milliseconds * CHANNEL_NS_PER_MS;
}

/* Milliseconds, rounded up to avoid a busy loop in the last one; 0 after the deadline. */
static int channel_left(const struct channel *channel) {
        int64_t left =
                (channel->deadline - channel_now() + CHANNEL_NS_PER_MS - 1) / CHANNEL_NS_PER_MS;

        return left <= 0 ? 0 : left < INT_MAX ? (int)left : INT_MAX;
}

/*
 * Removes the socket from the epoll set explicitly: close() doesn't, as long as a forked child
 * holds a duplicate.
 */
void channel_close(struct channel *channel, const char *why) {
        int fd = channel->fd;

        if (fd >= 0 && channel->watch >= 0)
                epoll_ctl(channel->watch, EPOLL_CTL_DEL, fd, NULL);
        channel->fd = -EBADF;
        fd_close(fd);
        channel->closing = why;
}

void channel_free(struct channel *channel) {
        channel_close(channel, "was closed");
        channel->watch = fd_close(channel->watch);
}

int channel_watch(struct channel *channel) {
        if (channel->watch < 0)
                channel->watch = epoll_create1(EPOLL_CLOEXEC);
        return channel->watch < 0 ? -errno : 0;
}

/* Waits up to `limit` milliseconds for `events` on `fd`; without an `fd`, sleeps that long. */
static int channel_poll(const struct channel *channel, int fd, short events, int limit) {
        struct pollfd pollers[] = {
                {.fd = fd, .events = events},
                {.fd = channel->interrupt, .events = POLLIN},
        };
        int ready = poll(pollers, 2, limit);

        if (ready < 0)
                return -errno;
        if (pollers[1].revents)
                return -ECANCELED;
        return ready > 0 ? 0 : -ETIMEDOUT;
}

int channel_pause(const struct channel *channel, uint32_t milliseconds) {
        int left = channel_left(channel);
        int limit = (uint32_t)left < milliseconds ? left : (int)milliseconds;
        int result = left > 0 ? channel_poll(channel, -EBADF, 0, limit) : -ETIMEDOUT;

        if (result == -ECANCELED)
                return result;
        return channel_left(channel) > 0 ? 0 : -ETIMEDOUT;
}

/*
 * With a full backlog a non-blocking connect fails at once, and there is nothing to poll for. A
 * blocking connect waits in line for up to SO_SNDTIMEO (unix_wait_for_peer, net/unix/af_unix.c).
 */
static int channel_connect_once(int fd, const struct sockaddr_un *address, int left) {
        struct timeval timeout = {
                .tv_sec = left / CHANNEL_MS_PER_S,
                .tv_usec = left % CHANNEL_MS_PER_S * 1000,
        };

        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
                return -errno;
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
                return errno == EAGAIN ? -ETIMEDOUT : -errno;
        return 0;
}

/* Connects in slices of time, to look at `interrupt` between them. */
static int channel_connect_in_slices(const struct channel *channel, int fd,
                                     const struct sockaddr_un *address) {
        int left, result;

        while ((left = channel_left(channel)) > 0) {
                result = channel_connect_once(
                        fd, address, left < CHANNEL_CONNECT_SLICE ? left : CHANNEL_CONNECT_SLICE);
                if (result != -ETIMEDOUT && result != -EINTR)
                        return result;
                if (channel_poll(channel, -EBADF, 0, 0) == -ECANCELED)
                        return -ECANCELED;
        }
        return -ETIMEDOUT;
}

int channel_connect(struct channel *channel, const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct epoll_event event = {.events = EPOLLRDHUP};
        FD_AUTO int fd = -EBADF;
        int result;

        if (!*path) /* would be an abstract socket, which anybody may listen on: unix(7) */
                return -EINVAL;
        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        strcpy(address.sun_path, path);

        result = channel_watch(channel);
        if (result < 0)
                return result;
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        result = channel_connect_in_slices(channel, fd, &address);
        if (result < 0)
                return result;
        /* Only hang-ups: replies are read by the call that waits for them. */
        if (epoll_ctl(channel->watch, EPOLL_CTL_ADD, fd, &event) < 0)
                return -errno;
        channel->fd = fd_take(&fd);
        return 0;
}

void channel_check(struct channel *channel) {
        struct pollfd poller = {.fd = channel->fd, .events = POLLRDHUP};

        if (poller.fd >= 0 && poll(&poller, 1, 0) > 0)
                channel_close(channel, "was closed by mountatd");
}

static int channel_wait(const struct channel *channel, short events) {
        int left, result;

        do {
                left = channel_left(channel);
                result = left > 0 ? channel_poll(channel, channel->fd, events, left) : -ETIMEDOUT;
        } while (result == -EINTR);
        return result;
}

static int channel_send(const struct channel *channel, const struct wire_request *request,
                        const int *fds) {
        uint8_t bytes[WIRE_REQUEST_MAX];
        size_t size = wire_encode_request(request, bytes);
        int result;

        for (;;) {
                result = fdpass_send(channel->fd, bytes, size, fds, request->n_targets);
                if (result != -EAGAIN)
                        return result;
                result = channel_wait(channel, POLLOUT);
                if (result < 0)
                        return result;
        }
}

/*
 * If the peer closes its end with a request unread, recvmsg() fails with ECONNRESET once, before
 * it returns the replies that are queued (sock_error() in __skb_try_recv_datagram()).
 */
static int channel_receive(const struct channel *channel, struct wire_reply *reply) {
        bool reset = false;

        for (;;) {
                uint8_t bytes[WIRE_REPLY_MAX];
                FDPASS_AUTO struct fdpass_set set;
                ssize_t size = fdpass_receive(channel->fd, bytes, sizeof(bytes), &set);
                int result;

                if (size == 0)
                        return -ECONNRESET;
                if (size > 0)
                        return set.count > 0 ? -EBADMSG : wire_decode_reply(bytes, size, reply);
                if (size == -ECONNRESET && !reset) {
                        reset = true;
                        continue;
                }
                if (size != -EAGAIN)
                        return (int)size;

                result = channel_wait(channel, POLLIN);
                if (result < 0)
                        return result;
        }
}

static bool channel_reply_fits(const struct wire_request *request, const struct wire_reply *reply) {
        if (reply->operation == PROTOCOL_UNASKED)
                return reply->cookie == 0 && reply->status != STATUS_OK;
        if (reply->operation != request->operation || reply->cookie != request->cookie)
                return false;
        if (reply->operation != PROTOCOL_MOUNT || reply->status != STATUS_OK)
                return true;
        return (reply->lease == 0) == (request->flags == PROTOCOL_CHECK);
}

static int channel_fail(struct channel *channel, int error) {
        switch (error) {
        case -ETIMEDOUT:
                channel_close(channel, "was closed because mountatd didn't answer in time");
                return error;
        case -EBADMSG:
                channel_close(channel, "was closed because mountatd broke the protocol");
                return -EPROTO;
        case -ECONNRESET:
                channel_close(channel, "was closed by mountatd");
                return error;
        case -ECANCELED:
                channel_close(channel, "was closed");
                return error;
        default:
                channel_close(channel, "was closed because an answer could not be received");
                return error;
        }
}

int channel_exchange(struct channel *channel, struct wire_request *request, const int *fds,
                     struct wire_reply *reply) {
        int result;

        request->version = PROTOCOL_VERSION;
        request->cookie = ++channel->cookie;
        result = channel_send(channel, request, fds);
        channel->delivered = result == 0;
        if (result == -ETIMEDOUT || result == -ECANCELED)
                return channel_fail(channel, result);
        /* A peer that hung up may have sent the reason: try to read it. */
        if (result < 0 && result != -EPIPE && result != -ECONNRESET)
                return result;

        result = channel_receive(channel, reply);
        if (result < 0)
                return channel_fail(channel, result);
        if (!channel_reply_fits(request, reply))
                return channel_fail(channel, -EBADMSG);
        if (reply->operation == PROTOCOL_UNASKED)
                channel_close(channel, "was refused by mountatd");
        return 0;
}
