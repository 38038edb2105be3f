/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A client of the test's own daemon: sends requests, receives replies. */

#include "common/fdpass.h"
#include "common/wire.h"
#include "tests/unit/daemon/until.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>

static inline void send_request(int client, const struct wire_request *request, const int *fds,
                                size_t count) {
        uint8_t bytes[WIRE_REQUEST_MAX];

        ck_assert_int_eq(
                fdpass_send(client, bytes, wire_encode_request(request, bytes), fds, count), 0);
}

static inline const struct wire_request *hello(uint64_t cookie) {
        static _Thread_local struct wire_request request;

        request = (struct wire_request){
                .version = PROTOCOL_VERSION, .operation = PROTOCOL_HELLO, .cookie = cookie};
        return &request;
}

static inline void send_hello(int client, uint64_t cookie) {
        send_request(client, hello(cookie), NULL, 0);
}

static inline bool is_readable(int client, int timeout) {
        return poll(&(struct pollfd){.fd = client, .events = POLLIN}, 1, timeout) == 1;
}

/* The next reply; false: end of file. */
static inline bool receive_or_end(int client, struct wire_reply *reply) {
        uint8_t bytes[WIRE_REPLY_MAX];
        struct fdpass_set fds;
        ssize_t size;

        ck_assert(is_readable(client, UNTIL_PATIENCE * 1000));
        size = fdpass_receive(client, bytes, sizeof(bytes), &fds);
        /* A peer that closes with unread data of ours causes ECONNRESET, before its own data. */
        if (size == -ECONNRESET)
                size = fdpass_receive(client, bytes, sizeof(bytes), &fds);
        ck_assert_uint_eq(fds.count, 0);
        if (size == 0)
                return false;
        ck_assert_int_gt(size, 0);
        ck_assert_int_eq(wire_decode_reply(bytes, size, reply), 0);
        return true;
}

static inline struct wire_reply receive(int client) {
        struct wire_reply reply;

        ck_assert_msg(receive_or_end(client, &reply), "the connection has ended");
        return reply;
}

static inline void receives_the_end(int client) {
        struct wire_reply reply;

        ck_assert_msg(!receive_or_end(client, &reply), "a reply came: %s", reply.text);
}
