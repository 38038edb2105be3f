/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/refusal.h"

#include "common/fdpass.h"
#include "daemon/log.h"
#include "daemon/target.h"
#include "tests/test.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
        USER = 1000,
        MANY = 3000, /* more than may wait, with one descriptor each */
        PATIENCE = 30000,
};

static struct context context;
static struct threads *threads;
static struct refusals *refusals;

/* With that many closing threads. */
static void start(unsigned closers) {
        const struct quota_limit limits[QUOTA_KINDS] = {[QUOTA_REFUSALS] = {closers, closers}};

        log_open(LOG_ERR);
        context.proc = target_open_proc();
        ck_assert_int_ge(context.proc, 0);
        context.quota = quota_new(limits);
        ck_assert_int_eq(threads_new(&threads), 0);
        refusals = refusals_new(&context, threads);
        ck_assert_ptr_nonnull(refusals);
}

static void stop(void) {
        ck_assert(threads_free(threads));
        refusals_free(refusals);
        quota_free(context.quota);
        close(context.proc);
}

/* Returns the client's end, which has sent `messages`, each with the descriptor if one is given. */
static int connect_one(unsigned messages, int fd, int *daemon) {
        int ends[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        for (unsigned i = 0; i < messages; i++)
                ck_assert_int_eq(fdpass_send(ends[1], "x", i % 2, &fd, fd >= 0), 0);
        *daemon = ends[0];
        return ends[1];
}

static void refuse(int fd, enum status status) {
        struct refusal *refusal = calloc(1, sizeof(*refusal));

        ck_assert_ptr_nonnull(refusal);
        refusal->fd = fd;
        refusal->subject.uid = USER;
        if (status != STATUS_OK)
                refusal->verdict = verdict_refuse(status, STATUS_NO_TARGET);
        refusals_add(refusals, refusal);
}

static ssize_t receive(int client, void *bytes, size_t size) {
        struct pollfd readable = {.fd = client, .events = POLLIN};
        ssize_t received;

        ck_assert_int_eq(poll(&readable, 1, PATIENCE), 1);
        do /* ECONNRESET once, if data that the client sent was not read */
                received = recv(client, bytes, size, 0);
        while (received < 0);
        return received;
}

static void expect_told(int client) {
        uint8_t bytes[WIRE_REPLY_MAX];
        struct wire_reply reply;
        ssize_t size = receive(client, bytes, sizeof(bytes));

        ck_assert_int_gt(size, 0);
        ck_assert_int_eq(wire_decode_reply(bytes, size, &reply), 0);
        ck_assert_uint_eq(reply.operation, PROTOCOL_UNASKED);
        ck_assert_uint_eq(reply.status, STATUS_LIMIT_EXCEEDED);
        ck_assert_int_eq(receive(client, bytes, sizeof(bytes)), 0);
}

static void await_descriptors(unsigned count) {
        for (unsigned i = 0; descriptors_count() != count; i++) {
                ck_assert_uint_lt(i, PATIENCE);
                usleep(1000);
        }
}

START_TEST(tells_and_closes) {
        unsigned before;
        int client, daemon;

        start(1);
        before = descriptors_count();
        client = connect_one(0, -EBADF, &daemon);
        refuse(daemon, STATUS_LIMIT_EXCEEDED);
        expect_told(client);
        close(client);
        await_descriptors(before);
        stop();
}
END_TEST

START_TEST(tells_nothing_where_nobody_is_to_be_told) {
        char byte;
        int client, daemon;

        start(1);
        client = connect_one(0, -EBADF, &daemon);
        refuse(daemon, STATUS_OK);
        ck_assert_int_eq(receive(client, &byte, 1), 0);
        close(client);
        stop();
}
END_TEST

/* Including empty messages. */
START_TEST(messages_without_descriptors_need_no_closer) {
        unsigned before;
        int client, daemon;

        start(0);
        before = descriptors_count();
        for (unsigned messages = 1; messages < 5; messages++) {
                client = connect_one(messages, -EBADF, &daemon);
                refuse(daemon, STATUS_LIMIT_EXCEEDED);
                expect_told(client);
                close(client);
                await_descriptors(before);
        }
        stop();
}
END_TEST

/* Even behind others, and with an empty message. */
START_TEST(descriptors_are_left_to_a_closer) {
        unsigned before;
        int client, daemon;

        start(0);
        before = descriptors_count();
        for (unsigned messages = 1; messages < 5; messages++) {
                client = connect_one(messages, STDERR_FILENO, &daemon);
                refuse(daemon, STATUS_LIMIT_EXCEEDED);
                expect_told(client);
                close(client);
        }
        await_descriptors(before + 4);
        stop();
}
END_TEST

START_TEST(closer_closes_all_that_wait) {
        unsigned before;
        int daemon;

        descriptors_raise();
        start(1);
        before = descriptors_count();
        for (unsigned i = 0; i < 100; i++) {
                close(connect_one(1, STDERR_FILENO, &daemon));
                refuse(daemon, STATUS_LIMIT_EXCEEDED);
        }
        await_descriptors(before);
        while (!threads_are_idle(threads)) /* a closer returns its quota after its last close */
                usleep(1000);
        ck_assert_uint_eq(quota_used(context.quota, QUOTA_REFUSALS), 0);
        stop();
}
END_TEST

/* Each with a descriptor, so that it waits for a closer. */
static void refuse_many(void) {
        int daemon;

        for (unsigned i = 0; i < MANY; i++) {
                while (!refusals_have_room(refusals))
                        usleep(100); /* the replies lag behind */
                close(connect_one(1, STDERR_FILENO, &daemon));
                refuse(daemon, STATUS_LIMIT_EXCEEDED);
        }
        while (!threads_are_idle(threads))
                usleep(1000);
}

/* Whatever one user queues, others are still accepted, though none of it can be closed. */
START_TEST(room_is_left_however_many_wait) {
        unsigned before;

        descriptors_raise();
        start(0);
        before = descriptors_count();
        refuse_many();
        ck_assert(refusals_have_room(refusals));
        ck_assert_uint_lt(descriptors_count() - before, REFUSALS_WAITING_MAX);
        stop();
}
END_TEST

/* More than wait singly: a bundle of them is closed like a single one. */
START_TEST(closer_closes_however_many_wait) {
        unsigned before;
        int daemon;

        descriptors_raise();
        start(1);
        before = descriptors_count();
        ck_assert_int_eq(quota_charge(context.quota, USER, QUOTA_REFUSALS, 1).status, STATUS_OK);
        refuse_many();
        ck_assert_uint_gt(descriptors_count(), before);
        quota_return(context.quota, USER, QUOTA_REFUSALS, 1);
        close(connect_one(1, STDERR_FILENO, &daemon));
        refuse(daemon, STATUS_LIMIT_EXCEEDED);
        await_descriptors(before);
        while (!threads_are_idle(threads))
                usleep(1000);
        ck_assert_uint_eq(quota_used(context.quota, QUOTA_REFUSALS), 0);
        stop();
}
END_TEST

int main(void) {
        return SUITE_RUN("refusal", tells_and_closes, tells_nothing_where_nobody_is_to_be_told,
                         messages_without_descriptors_need_no_closer,
                         descriptors_are_left_to_a_closer, closer_closes_all_that_wait,
                         room_is_left_however_many_wait, closer_closes_however_many_wait);
}
