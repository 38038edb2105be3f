/* SPDX-License-Identifier: Apache-2.0 */

/* Connections that are served, and how they end; refused ones: check_connection_refused. */

#include "tests/unit/daemon/connection_fixture.h"
#include "tests/unit/daemon/log_capture.h"

/* ---- served ---- */

START_TEST(requests_are_answered_in_order) {
        int client;

        start();
        client = connect_client();
        ck_assert_uint_eq(connected(), 1);
        for (uint64_t cookie = 1; cookie <= 100; cookie++)
                send_hello(client, cookie);
        for (uint64_t cookie = 1; cookie <= 100; cookie++)
                ck_assert_uint_eq(receive(client).cookie, cookie);
        ck_assert(!is_readable(client, 10));
        fd_close(client);
        end();
}
END_TEST

START_TEST(accepts_nothing_where_nobody_connects) {
        FD_AUTO int null = -EBADF, low = -EBADF;
        struct rlimit before, limits;

        start();
        ck_assert_int_eq(accept_one(), -EAGAIN);
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        in_daemon = true;
        ck_assert_int_eq(connections_accept(connections, null), -ENOTSOCK);
        in_daemon = false;
        null = fd_close(null);

        /* A connection that can't be accepted now can be later. */
        low = connect_only();
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
        limits = before;
        limits.rlim_cur = 0;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limits), 0);
        ck_assert_int_eq(accept_one(), -EMFILE);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
        ck_assert_uint_eq(connected(), 0);
        ck_assert_int_eq(accept_one(), 0);
        send_hello(low, 1);
        ck_assert_uint_eq(receive(low).status, STATUS_OK);
        low = fd_close(low);
        end();
        ck_assert_ptr_null(connections_free(NULL));
}
END_TEST

START_TEST(mounts_for_its_client_and_closes_what_came) {
        struct wire_reply reply;
        unsigned descriptors;
        int client;

        start();
        client = connect_client();
        send_hello(client, 1);
        ck_assert_uint_eq(receive(client).status, STATUS_OK);
        descriptors = descriptors_count();
        send_mount(client, 5, "/r/proc");
        reply = receive(client);
        ck_assert_uint_eq(reply.status, STATUS_OK);
        ck_assert_uint_eq(reply.operation, PROTOCOL_MOUNT);
        ck_assert_uint_eq(reply.cookie, 5);
        ck_assert_uint_eq(fake_mounts(), 1);
        UNTIL(descriptors_count() == descriptors + 1); /* the mount's */

        send_unmount(client, reply.lease);
        ck_assert_uint_eq(receive(client).status, STATUS_OK);
        ck_assert_uint_eq(fake_mounts(), 0);
        UNTIL(descriptors_count() == descriptors);
        fd_close(client);
        end();
}
END_TEST

START_TEST(requests_of_all_kinds_can_be_pipelined) {
        int client;

        start();
        client = connect_client();
        send_hello(client, 1);
        send_mount(client, 2, "/a/proc");
        send_mount(client, 3, "/b/proc");
        send_hello(client, 4);
        for (uint64_t cookie = 1; cookie <= 4; cookie++) {
                struct wire_reply reply = receive(client);

                ck_assert_uint_eq(reply.cookie, cookie);
                ck_assert_uint_eq(reply.status, STATUS_OK);
        }
        ck_assert_uint_eq(fake_mounts(), 2);
        fd_close(client);
        end();
}
END_TEST

START_TEST(end_of_a_connection_releases_what_it_holds) {
        int client, other;

        start();
        client = connect_client();
        other = connect_client();
        send_mount(other, 1, "/b/proc");
        ck_assert_uint_eq(receive(other).status, STATUS_OK);
        for (unsigned i = 0; i < 5; i++) {
                send_mount(client, i, "/a/proc");
                ck_assert_uint_eq(receive(client).status, STATUS_OK);
        }
        ck_assert_uint_eq(fake_mounts(), 6);
        ck_assert_int_eq(shutdown(client, SHUT_WR), 0);
        receives_the_end(client);
        UNTIL(connected() == 1);
        ck_assert_uint_eq(fake_mounts(), 1); /* the other client's */
        send_hello(other, 2);
        ck_assert_uint_eq(receive(other).status, STATUS_OK);
        fd_close(client);
        fd_close(other);
        end();
}
END_TEST

/* Requests sent before the end are served before the end. */
START_TEST(requests_before_the_end_are_served) {
        int client;

        start();
        client = connect_only();
        send_mount(client, 1, "/a/proc");
        send_hello(client, 2);
        ck_assert_int_eq(shutdown(client, SHUT_WR), 0);
        ck_assert_int_eq(accept_one(), 0);
        ck_assert_uint_eq(receive(client).cookie, 1);
        ck_assert_uint_eq(receive(client).cookie, 2);
        receives_the_end(client);
        fd_close(client);
        end();
}
END_TEST

static const struct {
        size_t size;
        const char *bytes;
        bool closes;
} garbage[] = {
        {0, "", true},
        {1, "M", true},
        {31, "MNTA\1\0\1\0", true},
        {32, "mnta\1\0\1\0", true},
        {400, "nonsense", true},
        {32, "MNTA\2\0\1\0", false}, /* another version is answered, */
        {33, "MNTA\1\0\1\0", false}, /* and so is a wrong length */
        {400, "MNTA\1\0\2\0", false},
};

START_TEST(garbage_ends_the_connection_and_closes_what_came) {
        start();
        for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++)
                for (unsigned with = 0; with <= 3; with++) {
                        int client = connect_client(), fds[3];
                        uint8_t bytes[400] = {0};
                        struct wire_reply reply;
                        bool closed;

                        memcpy(bytes, garbage[i].bytes, garbage[i].size < 8 ? garbage[i].size : 8);
                        for (unsigned n = 0; n < with; n++)
                                fds[n] =
                                        fake_directory(&(struct fake_directory){.path = "/a/proc"});
                        ck_assert_int_eq(fdpass_send(client, bytes, garbage[i].size, fds, with), 0);
                        for (unsigned n = 0; n < with; n++)
                                fd_close(fds[n]);

                        closed = !receive_or_end(client, &reply);
                        ck_assert_msg(closed == garbage[i].closes, "row %zu", i);
                        if (!closed) {
                                ck_assert_uint_ne(reply.status, STATUS_OK);
                                send_hello(client, 7);
                                ck_assert_uint_eq(receive(client).cookie, 7);
                        }
                        fd_close(client);
                        UNTIL(connected() == 0);
                        UNTIL(descriptors_count() == fake.descriptors);
                }
        end();
}
END_TEST

START_TEST(refused_request_leaves_the_connection) {
        int client;

        start();
        client = connect_client();
        send_mount(client, 1, "/a/dev");
        send_hello(client, 2);
        ck_assert_uint_eq(receive(client).status, STATUS_WRONG_NAME);
        ck_assert_uint_eq(receive(client).status, STATUS_OK);
        fd_close(client);
        end();
}
END_TEST

START_TEST(client_that_does_not_read_is_dropped) {
        uint8_t bytes[WIRE_REQUEST_MAX];
        size_t size = wire_encode_request(hello(1), bytes);
        int client, r;

        start();
        client = connect_client();
        send_mount(client, 1, "/a/proc");
        UNTIL((r = fdpass_send(client, bytes, size, NULL, 0)) != 0 && r != -EAGAIN);
        ck_assert(r == -EPIPE || r == -ECONNRESET);
        UNTIL(connected() == 0);
        ck_assert_uint_eq(fake_mounts(), 0);
        fd_close(client);
        end();
}
END_TEST

START_TEST(client_that_is_gone_is_no_signal) {
        int client;

        start();
        client = connect_only();
        send_mount(client, 1, "/a/proc");
        fd_close(client);
        ck_assert_int_eq(accept_one(), 0);
        UNTIL(connected() == 0);
        ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT), 1); /* it was served nevertheless */
        end();
}
END_TEST

START_TEST(mounts_that_stay_do_not_keep_the_connection) {
        int client;

        start();
        client = connect_client();
        send_mount(client, 1, "/a/proc");
        ck_assert_uint_eq(receive(client).status, STATUS_OK);
        fake_calls_reset();
        fake_fail(FAKE_FCHDIR, 1, 1, EIO);
        fd_close(client);
        UNTIL(connected() == 0);
        UNTIL(threads_are_idle(threads));
        ck_assert_uint_eq(leases_count(fake.context.leases).orphans, 1);
        ck_assert_int_eq(
                lease_release_held(fake.context.leases, leases_orphans(fake.context.leases)), 0);
        end();
}
END_TEST

START_TEST(client_is_who_connected) {
        struct wire_reply reply;
        int client, somebody;

        if (geteuid() != 0)
                test_skip("impossible here: needs root");
        start();
        client = connect_client();
        somebody = connect_as(SOMEBODY);
        send_mount(somebody, 1, "/a/proc"); /* root's */
        ck_assert_uint_eq(receive(somebody).status, STATUS_NOT_AUTHORISED);
        send_mount(client, 1, "/a/proc");
        reply = receive(client);
        ck_assert_uint_eq(reply.status, STATUS_OK);
        ck_assert_uint_eq(fake_context_record(&fake, reply.lease).uid, 0);
        ck_assert_int_eq(fake_context_record(&fake, reply.lease).pid, getpid());
        send_unmount(somebody, reply.lease);
        ck_assert_uint_eq(receive(somebody).status, STATUS_NO_SUCH_LEASE);
        fd_close(somebody);
        fd_close(client);
        end();
}
END_TEST

/* ---- kept ---- */

START_TEST(what_is_kept_outlives_its_connection) {
        struct wire_reply reply;
        int client;

        start();
        client = connect_client();
        send_mount_with(client, 1, "/a/proc", PROTOCOL_KEEP);
        reply = receive(client);
        ck_assert_uint_eq(reply.status, STATUS_OK);
        fd_close(client);
        UNTIL(connected() == 0);
        ck_assert_uint_eq(fake_mounts(), 1);
        ck_assert_uint_eq(leases_count(fake.context.leases).leases, 1);

        client = connect_client();
        send_unmount(client, reply.lease);
        ck_assert_uint_eq(receive(client).status, STATUS_OK);
        ck_assert_uint_eq(fake_mounts(), 0);
        fd_close(client);
        end();
}
END_TEST

START_TEST(what_nobody_knows_of_is_not_kept) {
        int client;

        start();
        client = connect_only();
        send_mount_with(client, 1, "/a/proc", PROTOCOL_KEEP);
        fd_close(client);
        ck_assert_int_eq(accept_one(), 0);
        UNTIL(connected() == 0);
        ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT), 1);
        ck_assert_uint_eq(fake_mounts(), 0);
        end();
}
END_TEST

/* ---- stuck ---- */

/* A client that holds a lease, and whose thread is stuck while mounting another. */
static int connect_stuck(void) {
        int client = connect_client();

        send_mount(client, 1, "/a/proc");
        ck_assert_uint_eq(receive(client).status, STATUS_OK);
        fake_block(FAKE_MOVE_MOUNT, 1);
        send_mount(client, 2, "/hangs/proc");
        UNTIL(fake_blocked() == 1);
        return client;
}

static void others_are_served(void) {
        int other = connect_client();

        send_mount(other, 1, "/b/proc");
        ck_assert_uint_eq(receive(other).status, STATUS_OK);
        fd_close(other);
        UNTIL(connected() == 1);
}

/* Of the only lease. */
static enum record_state state_of_the_lease(void) {
        struct record record = {0};
        uint32_t cursor = 0;
        int root;

        ck_assert(leases_next(fake.context.leases, &cursor, &record, &root));
        fd_close(root);
        return record.state;
}

/* As what clients can cause, not as the host's failure. */
START_TEST(client_that_leaves_while_its_thread_is_stuck_is_logged) {
        static const int levels[] = {LOG_NOTICE, LOG_WARNING};
        int log = capture();

        start();
        for (unsigned i = 0; i < 2; i++) {
                const char *logged;

                log_set_level(levels[i]);
                fd_close(connect_stuck());
                for (unsigned k = 0; k < 3; k++)
                        watch();
                UNTIL(fake_mounts() == 0);
                logged = captured(log);
                if (i == 0)
                        ck_assert_ptr_nonnull(strstr(logged, "stuck in the kernel"));
                else
                        ck_assert_str_eq(logged, "");
                fake_unblock();
                UNTIL(connected() == 0);
        }
        end();
}
END_TEST

START_TEST(client_that_leaves_while_its_thread_is_stuck_holds_nothing_more) {
        start();
        for (unsigned i = 0; i < 4; i++) {
                int client = connect_stuck();

                others_are_served();
                for (unsigned k = 0; k < 10; k++)
                        watch(); /* still connected, and waiting */
                usleep(20000);
                ck_assert_uint_eq(fake_mounts(), 1);

                if (i % 2)
                        ck_assert_int_eq(shutdown(client, SHUT_WR), 0);
                else
                        client = fd_close(client);
                watch(); /* its thread has until the next call */
                usleep(20000);
                ck_assert_uint_eq(fake_mounts(), 1);
                watch();
                UNTIL(fake_mounts() == 0);
                watch();
                ck_assert_uint_eq(connected(), 1); /* the thread and the descriptor count */
                UNTIL(leases_count(fake.context.leases).leases == 1);
                others_are_served();
                if (i % 2)
                        receives_the_end(client);

                /* A lease mounted now has no holder, and is undone before it gets one. */
                fake_block(FAKE_UMOUNT, 1);
                fake_unblock();
                UNTIL(fake_blocked() == 1);
                ck_assert_uint_eq(state_of_the_lease(), RECORD_ATTACHING);
                fake_unblock();
                UNTIL(connected() == 0);
                ck_assert_uint_eq(fake_mounts(), 0);
                fd_close(client);
        }
        end();
}
END_TEST

START_TEST(many_that_left_are_released_by_one_thread) {
        enum { MANY = 20 };
        int clients[MANY];

        start();
        for (unsigned i = 0; i < MANY; i++) {
                clients[i] = connect_client();
                send_mount(clients[i], 1, "/a/proc");
                ck_assert_uint_eq(receive(clients[i]).status, STATUS_OK);
        }
        fake_block(FAKE_MOVE_MOUNT, MANY);
        for (unsigned i = 0; i < MANY; i++)
                send_mount(clients[i], 2, "/b/proc");
        UNTIL(fake_blocked() == MANY);
        for (unsigned i = 0; i < MANY; i++)
                fd_close(clients[i]);
        watch();
        watch();
        UNTIL(fake_mounts() == 0);
        ck_assert_uint_eq(connected(), MANY);
        fake_unblock();
        end();
}
END_TEST

/* More than one poll(2) takes, of which those in the middle have left. */
START_TEST(all_are_watched) {
        static const struct quota_limit quota[QUOTA_KINDS] = {
                {200, 200}, {64, 64}, {512, 512}, {64, 64}};
        enum { ALL = 150 };
        static int clients[ALL];

        descriptors_raise();
        start_with(quota);
        for (unsigned i = 0; i < ALL; i++) {
                clients[i] = connect_client();
                send_mount(clients[i], 1, "/a/proc");
                ck_assert_uint_eq(receive(clients[i]).status, STATUS_OK);
        }
        for (unsigned i = 0; i < ALL; i += 5) {
                fake_block(FAKE_MOVE_MOUNT, 1);
                send_mount(clients[i], 2, "/b/proc");
                UNTIL(fake_blocked() == i / 5 + 1);
        }
        for (unsigned i = 0; i < ALL; i += 5)
                clients[i] = fd_close(clients[i]);
        watch();
        ck_assert_uint_eq(fake_mounts(), ALL);
        watch();
        UNTIL(fake_mounts() == ALL - ALL / 5);
        fake_unblock();
        UNTIL(connected() == ALL - ALL / 5);
        for (unsigned i = 0; i < ALL; i++)
                fd_close(clients[i]);
        end();
}
END_TEST

/* Files that its client has queued, and nobody has received, are closed with its last close. */
START_TEST(connection_that_takes_its_time_to_close_keeps_nobody) {
        int client;

        start();
        client = connect_client();
        send_mount(client, 1, "/a/proc");
        ck_assert_uint_eq(receive(client).status, STATUS_OK);
        block_closes(true);
        fd_close(client);
        UNTIL(count_closing() == 1);
        ck_assert_uint_eq(fake_mounts(), 0);
        ck_assert_uint_eq(connected(), 1); /* until the close returns */
        for (unsigned i = 0; i < 3; i++)
                watch();
        client = connect_client();
        send_hello(client, 1);
        ck_assert_uint_eq(receive(client).status, STATUS_OK);
        block_closes(false);
        UNTIL(connected() == 1);
        fd_close(client);
        end();
}
END_TEST

/* ---- the end of all ---- */

START_TEST(drained_connections_are_served_what_they_have_sent) {
        uint8_t bytes[WIRE_REQUEST_MAX];
        size_t size = wire_encode_request(hello(9), bytes);
        int busy, idle;

        start();
        idle = connect_client();
        busy = connect_stuck();
        send_hello(busy, 3);
        send_mount(busy, 4, "/c/proc");
        in_daemon = true;
        connections_drain(connections);
        in_daemon = false;
        receives_the_end(idle);
        ck_assert_int_eq(fdpass_send(busy, bytes, size, NULL, 0),
                         -EPIPE); /* it can't send any more */
        ck_assert_int_eq(fdpass_send(idle, bytes, size, NULL, 0), -EPIPE);
        fake_unblock();
        for (uint64_t cookie = 2; cookie <= 4; cookie++) {
                struct wire_reply reply = receive(busy);

                ck_assert_uint_eq(reply.cookie, cookie);
                ck_assert_uint_eq(reply.status, STATUS_OK);
        }
        receives_the_end(busy);
        UNTIL(connected() == 0);
        fd_close(busy);
        fd_close(idle);
        end();
}
END_TEST

START_TEST(abandoned_connections_are_hung_up_on_and_released) {
        int busy, idle;

        start();
        idle = connect_client();
        send_mount(idle, 1, "/b/proc");
        ck_assert_uint_eq(receive(idle).status, STATUS_OK);
        busy = connect_stuck();
        ck_assert_uint_eq(fake_mounts(), 2);
        in_daemon = true;
        connections_abandon(connections);
        release_orphans();
        in_daemon = false;
        receives_the_end(idle);
        receives_the_end(busy); /* though its thread is stuck */
        UNTIL(fake_mounts() == 0);
        UNTIL(connected() == 1);
        in_daemon = true;
        connections_abandon(connections); /* the second call does nothing */
        in_daemon = false;
        fake_unblock();
        UNTIL(connected() == 0);
        ck_assert_uint_eq(fake_mounts(), 0);
        fd_close(busy);
        fd_close(idle);
        end();
}
END_TEST

/* As at a restart: nothing is unmounted, whatever the threads see. */
START_TEST(hangs_up_and_leaves_the_mounts) {
        int busy, idle;

        start();
        idle = connect_client();
        send_mount(idle, 1, "/b/proc");
        ck_assert_uint_eq(receive(idle).status, STATUS_OK);
        busy = connect_stuck();
        in_daemon = true;
        connections_hang_up(connections);
        in_daemon = false;
        receives_the_end(idle);
        receives_the_end(busy);
        fake_unblock();
        usleep(100000);
        ck_assert_uint_ge(fake_mounts(), 2);
        ck_assert_uint_eq(fake_calls(FAKE_UMOUNT), 0);
        ck_assert_uint_eq(closed_by_main, 0);

        /* Everything is locked for good: the rest ends with the process. */
        fake_context_remove_file(&fake);
        _exit(EXIT_SUCCESS);
}
END_TEST

/* ---- many at once ---- */

enum { CLIENTS = 8, ROUNDS = 40 };

static atomic_uint n_ended;

static void *be_a_client(void *argument) {
        unsigned number = (uintptr_t)argument;

        for (unsigned i = 0; i < ROUNDS; i++) {
                int client = connect_only();
                struct wire_reply reply;

                for (unsigned n = 0; n <= i % 4; n++)
                        send_mount(client, n, "/a/proc");
                for (unsigned n = 0; n <= i % 4; n++) {
                        reply = receive(client);
                        ck_assert_uint_eq(reply.status, STATUS_OK);
                        ck_assert_uint_eq(reply.cookie, n);
                }
                if ((i + number) % 2) {
                        send_unmount(client, reply.lease);
                        ck_assert_uint_eq(receive(client).status, STATUS_OK);
                }
                if ((i + number) % 3 == 0) /* leaves with a request pending */
                        send_mount(client, 9, "/b/proc");
                fd_close(client);
        }
        n_ended++;
        return NULL;
}

START_TEST(many_clients_at_once_leave_nothing) {
        /* Connections that are about to end count as well. */
        static const struct quota_limit quota[QUOTA_KINDS] = {
                {512, 512}, {64, 64}, {2048, 2048}, {64, 64}};
        pthread_t clients[CLIENTS];
        unsigned accepted = 0;

        descriptors_raise();
        start_with(quota);
        for (uintptr_t i = 0; i < CLIENTS; i++)
                ck_assert_int_eq(pthread_create(&clients[i], NULL, be_a_client, (void *)i), 0);
        while (n_ended < CLIENTS || accepted < CLIENTS * ROUNDS) {
                if (is_readable(listening, 10) && accept_one() == 0)
                        accepted++;
                watch();
        }
        for (unsigned i = 0; i < CLIENTS; i++)
                ck_assert_int_eq(pthread_join(clients[i], NULL), 0);
        end();
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "connection", requests_are_answered_in_order, accepts_nothing_where_nobody_connects,
                mounts_for_its_client_and_closes_what_came, requests_of_all_kinds_can_be_pipelined,
                end_of_a_connection_releases_what_it_holds, requests_before_the_end_are_served,
                garbage_ends_the_connection_and_closes_what_came,
                refused_request_leaves_the_connection, client_that_does_not_read_is_dropped,
                client_that_is_gone_is_no_signal, mounts_that_stay_do_not_keep_the_connection,
                client_is_who_connected, what_is_kept_outlives_its_connection,
                what_nobody_knows_of_is_not_kept,
                client_that_leaves_while_its_thread_is_stuck_is_logged,
                client_that_leaves_while_its_thread_is_stuck_holds_nothing_more,
                many_that_left_are_released_by_one_thread, all_are_watched,
                connection_that_takes_its_time_to_close_keeps_nobody,
                drained_connections_are_served_what_they_have_sent,
                abandoned_connections_are_hung_up_on_and_released, hangs_up_and_leaves_the_mounts,
                many_clients_at_once_leave_nothing);
}
