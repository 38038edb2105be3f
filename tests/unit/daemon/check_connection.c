/* SPDX-License-Identifier: Apache-2.0 */

/* A connection over a real socket pair, with the fake kernel behind it. */

#include "daemon/peer.h"

#include "daemon/lease.h"
#include "daemon/log.h"
#include "tests/fixtures/suite.h"
#include "tests/unit/daemon/fake_gate.h"

#include <errno.h>
#include <sys/socket.h>

static struct fake_gate fake;
static struct peer *peer;
static int client; /* our end */

static void connect_peer(void) {
        int pair[2];

        ck_assert_int_eq(
                socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        client = pair[0];
        ck_assert_int_eq(peer_new(pair[1], &fake.gate, &peer), 0);
        ck_assert_int_eq(peer_fd(peer), pair[1]);
}

static void start_with(const struct ledger_limits *limits) {
        log_open(LOG_EMERG);
        fake_gate_start(&fake, FAKE_ALL_FEATURES, limits);
        mount_restock(fake.gate.templates); /* as it is after every request */
        fake_calls_reset();
        fake.descriptors = descriptors_count();
        connect_peer();
}

static void start(void) {
        start_with(&fake_gate_limits);
}

static void disconnect(void) {
        if (peer)
                peer_close(peer);
        peer = peer_free(peer);
}

static void end(void) {
        disconnect();
        client = fd_close(client);
        ck_assert_uint_eq(ledger_count(fake.gate.ledger).connections, 0);
        fake_gate_end(&fake);
}

static void send_request(const struct wire_request *request, const int *fds, size_t count) {
        uint8_t bytes[WIRE_REQUEST_MAX];

        ck_assert_int_eq(
                fdpass_send(client, bytes, wire_encode_request(request, bytes), fds, count), 0);
}

static void send_hello(uint64_t cookie) {
        send_request(&(struct wire_request){.version = PROTOCOL_VERSION,
                                            .operation = PROTOCOL_HELLO,
                                            .cookie = cookie},
                     NULL, 0);
}

/* A directory of ours, of which our own descriptor is closed when it is sent. */
static void send_mount(uint64_t cookie, const char *path) {
        struct wire_request request = {
                .version = PROTOCOL_VERSION,
                .operation = PROTOCOL_MOUNT,
                .cookie = cookie,
                .n_targets = 1,
                .targets = {{.file_system = PROTOCOL_PROC}},
        };
        FD_AUTO int fd = fake_directory(&(struct fake_directory){.path = path, .owner = getuid()});

        send_request(&request, &fd, 1);
}

static struct wire_reply receive(void) {
        struct wire_reply reply;
        struct fdpass_set fds;
        uint8_t bytes[WIRE_REPLY_MAX];
        ssize_t size = fdpass_receive(client, bytes, sizeof(bytes), &fds);

        ck_assert_int_gt(size, 0);
        ck_assert_uint_eq(fds.count, 0);
        ck_assert_int_eq(wire_decode_reply(bytes, size, &reply), 0);
        return reply;
}

static void receives_nothing(void) {
        struct fdpass_set fds;
        uint8_t byte;

        ck_assert_int_eq(fdpass_receive(client, &byte, 1, &fds), -EAGAIN);
}

START_TEST(serves_one_request_at_a_time_and_in_order) {
        start();
        for (uint64_t cookie = 1; cookie <= 20; cookie++)
                send_hello(cookie);
        for (uint64_t cookie = 1; cookie <= 20; cookie++) {
                ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
                ck_assert_uint_eq(receive().cookie, cookie);
                receives_nothing();
        }
        end();
}
END_TEST

START_TEST(has_nothing_to_do_without_a_request) {
        start();
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        receives_nothing();
        end();
}
END_TEST

START_TEST(knows_whether_there_is_more) {
        start();
        ck_assert(!peer_has_more(peer));
        send_hello(1);
        send_hello(2);
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        ck_assert(peer_has_more(peer));
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        ck_assert(!peer_has_more(peer));
        ck_assert_uint_eq(receive().cookie, 1);
        ck_assert_uint_eq(receive().cookie, 2);
        client = fd_close(client);
        ck_assert(peer_has_more(peer)); /* its end */
        ck_assert_uint_eq(peer_serve(peer), PEER_ENDED);
        end();
}
END_TEST

START_TEST(mounts_for_its_client_and_closes_what_came) {
        struct wire_reply reply;
        unsigned descriptors;

        start();
        descriptors = descriptors_count();
        send_mount(5, "/r/proc");
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        reply = receive();
        ck_assert_uint_eq(reply.status, STATUS_OK);
        ck_assert_uint_eq(reply.operation, PROTOCOL_MOUNT);
        ck_assert_uint_eq(reply.cookie, 5);
        ck_assert_uint_eq(fake_mounts(), 1);
        ck_assert_uint_eq(descriptors_count(), descriptors + 1); /* the mount's */

        send_request(&(struct wire_request){.version = PROTOCOL_VERSION,
                                            .operation = PROTOCOL_UNMOUNT,
                                            .lease = reply.lease},
                     NULL, 0);
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        ck_assert_uint_eq(receive().status, STATUS_OK);
        ck_assert_uint_eq(fake_mounts(), 0);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        end();
}
END_TEST

START_TEST(mount_then_unmount_can_be_pipelined_with_others) {
        start();
        send_hello(1);
        send_mount(2, "/a/proc");
        send_mount(3, "/b/proc");
        send_hello(4);
        for (uint64_t cookie = 1; cookie <= 4; cookie++) {
                struct wire_reply reply;

                ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
                reply = receive();
                ck_assert_uint_eq(reply.cookie, cookie);
                ck_assert_uint_eq(reply.status, STATUS_OK);
        }
        ck_assert_uint_eq(fake_mounts(), 2);
        end();
}
END_TEST

START_TEST(disconnect_releases_all) {
        struct fdpass_set fds;
        uint8_t byte;

        start();
        for (unsigned i = 0; i < 5; i++) {
                send_mount(i, "/a/proc");
                ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
                ck_assert_uint_eq(receive().status, STATUS_OK);
        }
        ck_assert_uint_eq(fake_mounts(), 5);
        ck_assert_int_eq(shutdown(client, SHUT_WR), 0);
        ck_assert_uint_eq(peer_serve(peer), PEER_ENDED);
        disconnect();
        ck_assert_uint_eq(fake_mounts(), 0);
        ck_assert_int_eq(fdpass_receive(client, &byte, 1, &fds), 0);
        end();
}
END_TEST

/* What was sent before the end is served before the end. */
START_TEST(requests_before_the_end_are_served) {
        start();
        send_mount(1, "/a/proc");
        send_hello(2);
        ck_assert_int_eq(shutdown(client, SHUT_WR), 0);
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        ck_assert_uint_eq(peer_serve(peer), PEER_ENDED);
        ck_assert_uint_eq(receive().cookie, 1);
        ck_assert_uint_eq(receive().cookie, 2);
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
        for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++)
                for (unsigned with = 0; with <= 3; with++) {
                        uint8_t bytes[400] = {0};
                        unsigned descriptors;
                        int fds[3], r;

                        start();
                        descriptors = descriptors_count();
                        memcpy(bytes, garbage[i].bytes, garbage[i].size < 8 ? garbage[i].size : 8);
                        for (unsigned n = 0; n < with; n++)
                                fds[n] =
                                        fake_directory(&(struct fake_directory){.path = "/a/proc"});
                        ck_assert_int_eq(fdpass_send(client, bytes, garbage[i].size, fds, with), 0);
                        for (unsigned n = 0; n < with; n++)
                                close(fds[n]);

                        r = peer_serve(peer);
                        ck_assert_msg(r == (garbage[i].closes ? PEER_ENDED : PEER_GOES_ON),
                                      "row %zu: %d", i, r);
                        if (garbage[i].closes)
                                receives_nothing();
                        else
                                ck_assert_uint_ne(receive().status, STATUS_OK);
                        ck_assert_uint_eq(descriptors_count(), descriptors);
                        end();
                }
}
END_TEST

START_TEST(refused_request_leaves_the_connection) {
        start();
        send_mount(1, "/a/dev");
        send_hello(2);
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        ck_assert_uint_eq(receive().status, STATUS_WRONG_NAME);
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        ck_assert_uint_eq(receive().status, STATUS_OK);
        end();
}
END_TEST

START_TEST(client_that_does_not_read_is_dropped) {
        unsigned served = 0;
        enum peer_progress progress;

        start();
        do {
                ck_assert_uint_lt(served++, 100000);
                send_hello(served);
        } while ((progress = peer_serve(peer)) == PEER_GOES_ON);
        ck_assert_uint_eq(progress, PEER_ENDED);
        end();
}
END_TEST

START_TEST(client_that_is_gone_is_no_signal) {
        start();
        send_mount(1, "/a/proc");
        client = fd_close(client);
        ck_assert_uint_eq(peer_serve(peer), PEER_ENDED); /* it was served all the same */
        ck_assert_uint_eq(fake_mounts(), 1);
        end();
}
END_TEST

START_TEST(mounts_that_stay_do_not_keep_the_connection) {
        start();
        send_mount(1, "/a/proc");
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        fake_calls_reset();
        fake_fail(FAKE_FCHDIR, 1, 1, EIO);
        disconnect();
        ck_assert_uint_eq(ledger_count(fake.gate.ledger).connections, 0);
        ck_assert_uint_eq(ledger_count(fake.gate.ledger).leases, 1);
        ck_assert_int_eq(lease_release_all(fake.gate.templates, fake.gate.ledger,
                                           ledger_orphans(fake.gate.ledger)),
                         0);
        end();
}
END_TEST

/* ---- turns ---- */

static struct ledger_owner others[2];

/* As many attempts as a user may have are under way, on other connections. */
static void take_all_turns(void) {
        struct verdict refusal;

        for (unsigned i = 0; i < 2; i++) {
                ck_assert_uint_eq(ledger_connect(fake.gate.ledger, getuid(), 1, &others[i]).status,
                                  STATUS_OK);
                ck_assert_uint_eq(ledger_begin_attempt(fake.gate.ledger, &others[i], &refusal),
                                  LEDGER_NOW);
        }
}

static void give_turns_back(void) {
        for (unsigned i = 0; i < 2; i++) {
                ledger_end_attempt(fake.gate.ledger, &others[i]);
                ledger_disconnect(fake.gate.ledger, &others[i]);
        }
}

START_TEST(attempt_ends_with_the_request) {
        start();
        send_mount(1, "/a/proc");
        send_hello(2);
        for (unsigned i = 0; i < 2; i++) {
                ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
                ck_assert_uint_eq(ledger_count(fake.gate.ledger).attempts, 0);
        }
        end();
}
END_TEST

START_TEST(request_with_descriptors_waits_for_its_turn) {
        unsigned descriptors;

        start();
        take_all_turns();
        send_mount(1, "/a/proc");
        descriptors = descriptors_count();
        for (unsigned i = 0; i < 3; i++) {
                ck_assert_uint_eq(peer_serve(peer), PEER_MUST_WAIT);
                receives_nothing();
                ck_assert_uint_eq(descriptors_count(), descriptors);
        }
        ledger_end_attempt(fake.gate.ledger, &others[0]);
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        ck_assert_uint_eq(receive().status, STATUS_OK);
        ck_assert_uint_eq(fake_mounts(), 1);
        give_turns_back();
        end();
}
END_TEST

START_TEST(request_without_descriptors_waits_for_no_turn) {
        start();
        take_all_turns();
        send_hello(1);
        send_hello(2);
        for (uint64_t cookie = 1; cookie <= 2; cookie++) {
                ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
                ck_assert_uint_eq(receive().cookie, cookie);
        }
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        client = fd_close(client);
        ck_assert_uint_eq(peer_serve(peer), PEER_ENDED);
        give_turns_back();
        end();
}
END_TEST

/* Descriptors with what should have none are given up unseen, and that is told. */
START_TEST(unasked_descriptors_are_not_received_without_a_turn) {
        struct wire_request hello = {.version = PROTOCOL_VERSION, .operation = PROTOCOL_HELLO};
        unsigned descriptors;

        start();
        take_all_turns();
        descriptors = descriptors_count();
        send_request(&hello, &client, 1);
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        ck_assert_uint_eq(receive().status, STATUS_WRONG_FD_COUNT);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        give_turns_back();
        end();
}
END_TEST

START_TEST(user_who_has_lost_too_many_workers_is_refused_unseen) {
        struct wire_reply reply;
        unsigned descriptors;

        start();
        take_all_turns();
        for (unsigned i = 0; i < 2; i++)
                ledger_lose_worker(fake.gate.ledger, &others[i]);
        descriptors = descriptors_count();
        send_mount(1, "/a/proc");
        send_hello(2);
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        reply = receive();
        ck_assert_uint_eq(reply.status, STATUS_LIMIT_EXCEEDED);
        ck_assert_uint_eq(reply.cookie, 1);
        ck_assert_ptr_nonnull(strstr(reply.text, "--max-lost-workers-per-user"));
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        ck_assert_uint_eq(receive().status, STATUS_OK);

        for (unsigned i = 0; i < 2; i++)
                ledger_regain_worker(fake.gate.ledger, &others[i]);
        give_turns_back();
        send_mount(3, "/a/proc");
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        ck_assert_uint_eq(receive().status, STATUS_OK);
        end();
}
END_TEST

START_TEST(abandoned_peer_holds_nothing_and_gets_nothing) {
        start();
        send_mount(1, "/a/proc");
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        peer_abandon(peer);
        ck_assert_uint_eq(fake_mounts(), 0);
        ck_assert_uint_eq(ledger_count(fake.gate.ledger).leases, 0);
        ck_assert_uint_eq(ledger_count(fake.gate.ledger).connections, 1);
        send_mount(2, "/b/proc"); /* as if a worker had been stuck in it */
        peer_serve(peer);
        ck_assert_uint_eq(fake_mounts(), 0);
        end();
}
END_TEST

START_TEST(connection_beyond_the_limit_is_told_and_closed) {
        struct ledger_limits limits = fake_gate_limits;
        struct peer *first;
        struct wire_reply reply;
        struct fdpass_set fds;
        uint8_t byte;
        int first_client, pair[2];
        unsigned descriptors;

        limits.connections_per_user = 1;
        start_with(&limits);
        first = peer;
        first_client = client;

        descriptors = descriptors_count();
        ck_assert_int_eq(
                socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        client = pair[0];
        peer = NULL;
        ck_assert_int_eq(peer_new(pair[1], &fake.gate, &peer), -EDQUOT);
        ck_assert_ptr_null(peer);
        ck_assert_uint_eq(descriptors_count(), descriptors + 2); /* both ends are still ours */
        reply = receive();
        ck_assert_uint_eq(reply.operation, PROTOCOL_UNASKED);
        ck_assert_uint_eq(reply.cookie, 0);
        ck_assert_uint_eq(reply.status, STATUS_LIMIT_EXCEEDED);
        ck_assert_uint_eq(reply.target, STATUS_NO_TARGET);
        ck_assert_ptr_nonnull(strstr(reply.text, "--max-connections-per-user"));
        ck_assert_int_eq(fdpass_receive(client, &byte, 1, &fds), 0); /* shut down */
        fd_close(client);
        fd_close(pair[1]);

        peer = first;
        client = first_client;
        send_hello(1);
        ck_assert_uint_eq(peer_serve(peer), PEER_GOES_ON);
        ck_assert_uint_eq(receive().status, STATUS_OK);
        end();
}
END_TEST

START_TEST(what_is_no_socket_is_refused) {
        FD_AUTO int null = -EBADF;
        struct peer *none = NULL;

        start();
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        ck_assert_int_eq(peer_new(null, &fake.gate, &none), -ENOTSOCK);
        ck_assert_ptr_null(none);
        ck_assert_int_eq(fcntl(null, F_GETFD), FD_CLOEXEC); /* still ours */
        null = fd_close(null);
        ck_assert_ptr_null(peer_free(NULL));
        end();
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "peer", serves_one_request_at_a_time_and_in_order,
                has_nothing_to_do_without_a_request, knows_whether_there_is_more,
                mounts_for_its_client_and_closes_what_came,
                mount_then_unmount_can_be_pipelined_with_others, disconnect_releases_all,
                requests_before_the_end_are_served,
                garbage_ends_the_connection_and_closes_what_came,
                refused_request_leaves_the_connection, client_that_does_not_read_is_dropped,
                client_that_is_gone_is_no_signal, mounts_that_stay_do_not_keep_the_connection,
                attempt_ends_with_the_request, request_with_descriptors_waits_for_its_turn,
                request_without_descriptors_waits_for_no_turn,
                unasked_descriptors_are_not_received_without_a_turn,
                user_who_has_lost_too_many_workers_is_refused_unseen,
                abandoned_peer_holds_nothing_and_gets_nothing,
                connection_beyond_the_limit_is_told_and_closed, what_is_no_socket_is_refused);
}
