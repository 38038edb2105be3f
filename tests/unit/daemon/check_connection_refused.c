/* SPDX-License-Identifier: Apache-2.0 */

/* Connections beyond the limits, and connections for which no thread can be created. */

#include "tests/unit/daemon/connection_fixture.h"

/* ---- refused ---- */

static void is_told(int client, const char *text) {
        struct wire_reply reply = receive(client);

        ck_assert_uint_eq(reply.operation, PROTOCOL_UNASKED);
        ck_assert_uint_eq(reply.cookie, 0);
        ck_assert_uint_eq(reply.lease, 0);
        ck_assert_uint_eq(reply.status, STATUS_LIMIT_EXCEEDED);
        ck_assert_uint_eq(reply.error, 0);
        ck_assert_uint_eq(reply.target, STATUS_NO_TARGET);
        ck_assert_ptr_nonnull(strstr(reply.text, text));
}

START_TEST(connection_beyond_a_limit_is_told_and_closed) {
        static const struct {
                struct quota_limit limit;
                const char *text;
        } rows[] = {
                {{64, 1}, "--max-connections-per-user"},
                {{1, 64}, "--max-connections:"},
                {{1, 1}, "--max-connections-per-user"},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct quota_limit quota[QUOTA_KINDS];
                int first, client;
                char text[64];

                memcpy(quota, fake_context_quota, sizeof(quota));
                quota[QUOTA_CONNECTIONS] = rows[i].limit;
                start_with(quota);
                first = connect_client();
                for (unsigned n = 0; n < 50; n++) {
                        client = connect_client();
                        snprintf(text, sizeof(text), "%.*s", (int)strcspn(rows[i].text, ":"),
                                 rows[i].text);
                        is_told(client, text);
                        receives_the_end(client);
                        fd_close(client);
                        ck_assert_uint_eq(connected(), 1);
                }
                UNTIL(refusing() == 0);
                UNTIL(descriptors_count() == fake.descriptors + 2);
                send_hello(first, 1); /* has no effect */
                ck_assert_uint_eq(receive(first).status, STATUS_OK);
                fd_close(first);
                UNTIL(connected() == 0);
                client = connect_client(); /* and there is room again */
                send_hello(client, 1);
                ck_assert_uint_eq(receive(client).status, STATUS_OK);
                fd_close(client);
                end();
        }
}
END_TEST

/* With a descriptor in its queue, so that its close may block. */
static int connect_with_descriptor(uid_t uid) {
        const int fd = STDERR_FILENO;
        int client;

        ck_assert_int_eq(syscall(SYS_setresuid, -1, uid, -1), 0);
        client = connect_only();
        ck_assert_int_eq(syscall(SYS_setresuid, -1, 0, -1), 0);
        ck_assert_int_eq(fdpass_send(client, "x", 1, &fd, 1), 0);
        ck_assert_int_eq(accept_one(), 0);
        return client;
}

/* All get a reply at once, whichever thread closes them. */
START_TEST(refusals_beyond_a_users_share_of_threads_wait) {
        static const struct quota_limit quota[QUOTA_KINDS] = {{1, 1}, {4, 2}, {64, 64}, {64, 64}};
        int first, clients[9];

        if (geteuid() != 0)
                test_skip("impossible here: needs root");
        start_with(quota);
        first = connect_client();
        block_closes(true);
        for (unsigned i = 0; i < 6; i++)
                clients[i] = connect_with_descriptor(0);
        UNTIL(count_closing() == 2);
        for (unsigned i = 0; i < 6; i++)
                is_told(clients[i], "--max-connections");
        ck_assert_uint_eq(refusing(), 2);

        /* Other users have their own share, within the total. */
        for (unsigned i = 6; i < 9; i++) {
                clients[i] = connect_with_descriptor(SOMEBODY + i);
                is_told(clients[i], "--max-connections");
        }
        UNTIL(count_closing() == 4);
        for (unsigned i = 0; i < 3; i++)
                watch();
        ck_assert_uint_eq(refusing(), 4);
        UNTIL(descriptors_count() == fake.descriptors + 2 + 2 * 9);

        /* Once there are threads, all are closed. */
        block_closes(false);
        UNTIL(refusing() == 0);
        UNTIL(descriptors_count() == fake.descriptors + 2 + 9);
        for (unsigned i = 0; i < 9; i++)
                fd_close(clients[i]);
        send_hello(first, 1);
        ck_assert_uint_eq(receive(first).status, STATUS_OK);
        fd_close(first);
        end();
}
END_TEST

/* Takes no thread, and counts for no limit. */
START_TEST(client_that_has_left_already_is_closed) {
        int client;

        start();
        client = connect_only();
        fd_close(client);
        ck_assert_int_eq(accept_one(), 0);
        ck_assert_uint_eq(connected(), 0);
        UNTIL(descriptors_count() == fake.descriptors);
        end();
}
END_TEST

START_TEST(no_more_are_accepted_when_too_many_wait_to_be_refused) {
        static const struct quota_limit quota[QUOTA_KINDS] = {{1, 1}, {1, 1}, {64, 64}, {64, 64}};
        static int clients[REFUSALS_WAITING_MAX + 1];
        int first, one_more;

        descriptors_raise();
        start_with(quota);
        first = connect_client();
        block_closes(true);
        for (unsigned i = 0; i < REFUSALS_WAITING_MAX + 1; i++) {
                clients[i] = connect_client();
                UNTIL(count_closing() == 1); /* the first, which makes room for the last */
        }
        one_more = connect_only();
        for (unsigned i = 0; i < 3; i++)
                ck_assert_int_eq(accept_one(), -EUSERS);
        ck_assert_uint_eq(connected(), 1);
        ck_assert_uint_eq(refusing(), 0); /* none needs a thread charged to its user */

        block_closes(false);
        for (unsigned i = 0; i < REFUSALS_WAITING_MAX + 1; i++) {
                is_told(clients[i], "--max-connections");
                receives_the_end(clients[i]);
                fd_close(clients[i]);
        }
        UNTIL(descriptors_count() == fake.descriptors + 3);
        ck_assert_int_eq(accept_one(), 0); /* and is refused as well */
        is_told(one_more, "--max-connections");
        fd_close(one_more);
        fd_close(first);
        end();
}
END_TEST

/* ---- when no thread can be created ---- */

static void is_told_of_the_threads(int client) {
        struct wire_reply reply = receive(client);

        ck_assert_uint_eq(reply.operation, PROTOCOL_UNASKED);
        ck_assert_uint_eq(reply.status, STATUS_HOST_FAILED);
        ck_assert_uint_eq(reply.error, EAGAIN);
        ck_assert_uint_eq(reply.target, STATUS_NO_TARGET);
        ck_assert_ptr_nonnull(strstr(reply.text, "TasksMax="));
        receives_the_end(client);
}

START_TEST(connection_without_a_thread_is_refused_by_the_spare) {
        int first, client;

        if (!become_somebody())
                test_skip("impossible here: needs root");
        start();
        first = connect_client();
        send_hello(first, 1);
        ck_assert_uint_eq(receive(first).status, STATUS_OK);
        limit_threads(true);
        for (unsigned i = 0; i < 10; i++) {
                client = connect_client();
                while (!is_readable(client, 10))
                        watch(); /* the spare was still returning */
                is_told_of_the_threads(client);
                ck_assert_uint_eq(connected(), 1);
                fd_close(client);
                UNTIL(refusing() == 0);
        }
        send_hello(first, 2);
        ck_assert_uint_eq(receive(first).status, STATUS_OK);
        limit_threads(false);
        client = connect_client();
        send_hello(client, 1);
        ck_assert_uint_eq(receive(client).status, STATUS_OK);
        fd_close(client);
        fd_close(first);
        end();
}
END_TEST

START_TEST(connections_without_a_thread_wait_for_the_spare) {
        int clients[5];

        if (!become_somebody())
                test_skip("impossible here: needs root");
        start();
        limit_threads(true);
        block_closes(true);
        for (unsigned i = 0; i < 5; i++)
                clients[i] = connect_client();
        UNTIL(count_closing() == 1);
        for (unsigned i = 0; i < 3; i++)
                watch();
        ck_assert_uint_eq(connected(), 0);
        ck_assert_uint_eq(refusing(), 0);
        for (unsigned i = 1; i < 5; i++)
                ck_assert(!is_readable(clients[i], 10));
        block_closes(false);
        for (unsigned i = 0; i < 5; i++) {
                is_told_of_the_threads(clients[i]);
                fd_close(clients[i]);
        }
        limit_threads(false); /* a sanitizer creates one at the end */
        end();
}
END_TEST

static struct work *hang(struct work *work, int error) {
        (void)work;
        (void)error;
        pthread_mutex_lock(&closing);
        n_closing++;
        while (closes_blocked)
                pthread_cond_wait(&may_close, &closing);
        n_closing--;
        pthread_mutex_unlock(&closing);
        return NULL;
}

/* Not even the spare is free. */
START_TEST(connections_that_nobody_can_refuse_are_tried_again) {
        static struct work other = {.run = hang};
        int clients[5];

        if (!become_somebody())
                test_skip("impossible here: needs root");
        start();
        limit_threads(true);
        block_closes(true);
        ck_assert_int_eq(threads_start(threads, &other, THREADS_TAKE_SPARE), 0);
        UNTIL(count_closing() == 1);
        for (unsigned i = 0; i < 5; i++)
                clients[i] = connect_client();
        for (unsigned i = 0; i < 3; i++)
                watch();
        ck_assert_uint_eq(connected(), 0);
        ck_assert_uint_eq(refusing(), 0); /* waiting ones are charged nothing */
        for (unsigned i = 0; i < 5; i++)
                ck_assert(!is_readable(clients[i], 10));
        block_closes(false);
        UNTIL(threads_are_idle(threads));
        watch();
        for (unsigned i = 0; i < 5; i++) {
                is_told_of_the_threads(clients[i]);
                fd_close(clients[i]);
        }
        limit_threads(false); /* a sanitizer creates one at the end */
        end();
}
END_TEST

/* Connections that are waiting when the daemon ends are closed with the process. */
START_TEST(connections_that_wait_for_their_refusal_do_not_outlive_the_end) {
        static struct work other = {.run = hang};
        int client;

        if (!become_somebody())
                test_skip("impossible here: needs root");
        start();
        limit_threads(true);
        block_closes(true);
        ck_assert_int_eq(threads_start(threads, &other, THREADS_TAKE_SPARE), 0);
        UNTIL(count_closing() == 1);
        client = connect_client();
        block_closes(false);
        UNTIL(threads_are_idle(threads));
        fd_close(client);
        fake.descriptors++; /* of the connection, which this thread must not close */
        fake.descriptors_before++;
        limit_threads(false); /* a sanitizer creates one at the end */
        end();
}
END_TEST

START_TEST(thread_that_shares_its_directory_serves_nobody) {
        struct wire_reply reply;
        int client;

        start();
        fake_fail(FAKE_UNSHARE, 1, 1, ENOMEM);
        client = connect_only();
        send_mount(client, 1, "/a/proc");
        ck_assert_int_eq(accept_one(), 0);
        reply = receive(client);
        ck_assert_uint_eq(reply.operation, PROTOCOL_UNASKED);
        ck_assert_uint_eq(reply.status, STATUS_HOST_FAILED);
        ck_assert_uint_eq(reply.error, ENOMEM);
        receives_the_end(client);
        UNTIL(connected() == 0);
        ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT), 0);
        fd_close(client);
        UNTIL(threads_are_idle(threads));

        /* Requested again, by each connection. */
        for (unsigned i = 0; i < 4; i++) {
                client = connect_client();
                send_mount(client, 1, "/a/proc");
                ck_assert_uint_eq(receive(client).status, STATUS_OK);
                fd_close(client);
                UNTIL(threads_are_idle(threads));
        }
        end();
}
END_TEST

int main(void) {
        return SUITE_RUN("connection_refused", connection_beyond_a_limit_is_told_and_closed,
                         refusals_beyond_a_users_share_of_threads_wait,
                         client_that_has_left_already_is_closed,
                         no_more_are_accepted_when_too_many_wait_to_be_refused,
                         connection_without_a_thread_is_refused_by_the_spare,
                         connections_without_a_thread_wait_for_the_spare,
                         connections_that_nobody_can_refuse_are_tried_again,
                         connections_that_wait_for_their_refusal_do_not_outlive_the_end,
                         thread_that_shares_its_directory_serves_nobody);
}
