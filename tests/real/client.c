/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/real/client.h"

#include "common/fd.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum {
        CLIENT_FDS_MAX = 253, /* SCM_MAX_FD */
};

static int client_try_connect(int fd, const struct service *service, uid_t uid) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        bool borrow = geteuid() == 0;
        int r;

        strncpy(address.sun_path, service->socket, sizeof(address.sun_path) - 1);
        if (borrow)
                world_borrow(uid);
        r = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
        if (borrow)
                world_return();
        return r;
}

int client_connect(const struct service *service, uid_t uid) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r;

        ck_assert_int_ge(fd, 0);
        r = client_try_connect(fd, service, uid);
        ck_assert_msg(r == 0, "connecting to %s: %s", service->socket, strerror(-r));
        return fd;
}

int client_try_send(int client, const void *bytes, size_t size, const int *fds, size_t n_fds) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(CLIENT_FDS_MAX * sizeof(int))];
        } control = {0};
        struct iovec vector = {.iov_base = (void *)bytes, .iov_len = size};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

        ck_assert_uint_le(n_fds, CLIENT_FDS_MAX);
        if (n_fds > 0) {
                struct cmsghdr *c;

                message.msg_control = control.bytes;
                message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                c = CMSG_FIRSTHDR(&message);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
        }
        return sendmsg(client, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

void client_send(int client, const void *bytes, size_t size, const int *fds, size_t n_fds) {
        int r = client_try_send(client, bytes, size, fds, n_fds);

        ck_assert_msg(r == 0, "sending: %s", strerror(-r));
}

/* A daemon that closes with bytes of ours unread leaves ECONNRESET before what it had said. */
static ssize_t client_receive_bytes(int client, void *bytes, size_t size) {
        struct pollfd readable = {.fd = client, .events = POLLIN};
        ssize_t received;

        ck_assert_msg(poll(&readable, 1, WORLD_PATIENCE_MS) == 1, "the daemon doesn't answer");
        received = recv(client, bytes, size, MSG_TRUNC);
        if (received < 0 && errno == ECONNRESET)
                received = recv(client, bytes, size, MSG_TRUNC | MSG_DONTWAIT);
        return received < 0 ? -errno : received;
}

struct wire_reply client_receive(int client) {
        uint8_t bytes[WIRE_REPLY_MAX];
        ssize_t size = client_receive_bytes(client, bytes, sizeof(bytes));
        struct wire_reply reply;

        ck_assert_msg(size > 0, "the daemon has closed the connection: %zd", size);
        ck_assert_int_eq(wire_decode_reply(bytes, size, &reply), 0);
        return reply;
}

struct wire_reply client_call(int client, struct wire_request *request, const int *fds,
                              size_t n_fds) {
        static uint64_t cookies = 0x0123456789abcdef;
        uint8_t bytes[WIRE_REQUEST_MAX];
        struct wire_reply reply;

        request->version = request->version ?: PROTOCOL_VERSION;
        request->cookie = request->cookie ?: cookies++;
        client_send(client, bytes, wire_encode_request(request, bytes), fds, n_fds);
        reply = client_receive(client);
        ck_assert_uint_eq(reply.cookie, request->cookie);
        ck_assert_uint_eq(reply.operation, request->operation & ~PROTOCOL_REPLY_BIT);
        return reply;
}

void client_expect_closed(int client) {
        uint8_t bytes[WIRE_REPLY_MAX];
        ssize_t size = client_receive_bytes(client, bytes, sizeof(bytes));

        ck_assert_msg(size == 0, "instead of the end came %zd", size);
}

void client_judge(struct wire_reply reply, uint32_t status, uint32_t error, uint32_t target,
                  const char *file, int line) {
        char escaped[4 * PROTOCOL_TEXT_MAX + 1];

        ck_assert_msg(reply.status == status, "%s:%d: status %u (%s: %s), not %u", file, line,
                      reply.status, status_name(reply.status), reply.text, status);
        ck_assert_msg(reply.error == error, "%s:%d: errno %u, not %u", file, line, reply.error,
                      error);
        ck_assert_msg(reply.target == target, "%s:%d: target %u, not %u", file, line, reply.target,
                      target);
        if (status == STATUS_OK)
                return;
        ck_assert_msg(reply.lease == 0, "%s:%d: a refusal with a lease", file, line);
        ck_assert_msg(reply.text[0], "%s:%d: a refusal without a text", file, line);
        text_escape(escaped, sizeof(escaped), reply.text);
        ck_assert_str_eq(escaped, reply.text);
}

void client_hello(int client) {
        struct wire_request request = {.operation = PROTOCOL_HELLO};
        struct wire_reply reply = client_call(client, &request, NULL, 0);

        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
}

struct wire_reply client_mount(int client, uint32_t file_system, uint32_t options, int target) {
        struct wire_request request = {
                .operation = PROTOCOL_MOUNT,
                .n_targets = 1,
                .targets = {{file_system, options}},
        };

        return client_call(client, &request, &target, 1);
}

uint64_t client_hold(int client, uid_t uid, const char *path, uint32_t file_system,
                     uint32_t options) {
        FD_AUTO int target = world_open(uid, path);
        struct wire_reply reply = client_mount(client, file_system, options, target);

        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        return reply.lease;
}

static int client_open(uid_t uid, const char *root, const char *name) {
        char path[512];

        snprintf(path, sizeof(path), "%s/%s", root, name);
        if (geteuid() == 0)
                return world_open(uid, path);
        return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

struct wire_reply client_mount_root(int client, uid_t uid, const char *root) {
        struct wire_request request = {
                .operation = PROTOCOL_MOUNT,
                .n_targets = 2,
                .targets = {{PROTOCOL_PROC, 0}, {PROTOCOL_SYSFS, 0}},
        };
        int targets[] = {client_open(uid, root, "proc"), client_open(uid, root, "sys")};
        struct wire_reply reply = client_call(client, &request, targets, 2);

        close(targets[0]);
        close(targets[1]);
        return reply;
}

uint64_t client_hold_root(int client, uid_t uid, const char *root) {
        struct wire_reply reply = client_mount_root(client, uid, root);

        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_ne(reply.lease, 0);
        return reply.lease;
}

struct wire_reply client_unmount(int client, uint64_t lease) {
        struct wire_request request = {.operation = PROTOCOL_UNMOUNT, .lease = lease};

        return client_call(client, &request, NULL, 0);
}
