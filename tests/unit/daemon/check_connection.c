/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Connections over a listening socket, with real threads over the fake kernel. The test's thread
 * stands for the daemon's main thread, which must never close a client's file: a close(2) of our
 * own, put in place of the C library's by the linker, checks that.
 */

#include "daemon/connection.h"
#include "daemon/refusal.h"

#include "daemon/log.h"
#include "tests/test.h"
#include "tests/unit/daemon/fake_context.h"
#include "tests/unit/daemon/no_threads.h"
#include "tests/unit/daemon/socket_client.h"
#include "tests/unit/daemon/until.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
        SOMEBODY = 4711,
};

static struct fake_context fake;
static struct threads *threads;
static struct connections *connections;
static int listening = -EBADF;
static struct sockaddr_un address;
static socklen_t address_size;

/* As the main loop does. */
#undef UNTIL
#define UNTIL(condition) UNTIL_BY(condition, (usleep(1000), collect()))

/* ---- close(2) ---- */

int __real_close(int fd);
int __wrap_close(int fd);

static _Thread_local bool in_daemon; /* on the main thread, in a function of connection.h */
static atomic_uint closed_by_main;
static pthread_mutex_t closing = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t may_close = PTHREAD_COND_INITIALIZER;
static bool closes_blocked;
static unsigned n_closing; /* blocked */

/* Only the daemon's end of a connection has the name of the listening socket. */
static bool is_accepted(int fd) {
        struct sockaddr_un name;
        socklen_t size = sizeof(name);
        int listens = 1;
        socklen_t listens_size = sizeof(listens);

        return getsockname(fd, (struct sockaddr *)&name, &size) == 0 && size == address_size &&
               memcmp(&name, &address, size) == 0 &&
               getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_size) == 0 && !listens;
}

int __wrap_close(int fd) {
        closed_by_main += in_daemon;
        if (address_size > 0 && is_accepted(fd)) {
                pthread_mutex_lock(&closing);
                n_closing++;
                while (closes_blocked)
                        pthread_cond_wait(&may_close, &closing);
                n_closing--;
                pthread_mutex_unlock(&closing);
        }
        return __real_close(fd);
}

/* Makes the last close of a connection block, or lets it go on. */
static void block_closes(bool block) {
        pthread_mutex_lock(&closing);
        closes_blocked = block;
        pthread_cond_broadcast(&may_close);
        pthread_mutex_unlock(&closing);
}

static unsigned count_closing(void) {
        unsigned count;

        pthread_mutex_lock(&closing);
        count = n_closing;
        pthread_mutex_unlock(&closing);
        return count;
}

/* ---- the main thread ---- */

static void collect(void) {
        in_daemon = true;
        if (threads)
                threads_collect(threads);
        in_daemon = false;
}

static int accept_one(void) {
        int r;

        in_daemon = true;
        r = connections_accept(connections, listening);
        in_daemon = false;
        return r;
}

static struct job orphans;
static bool releasing;

static void release_orphans_run(struct job *job) {
        (void)job;
        lease_release_held(fake.context.leases, leases_orphans(fake.context.leases));
}

static void release_orphans_done(struct job *job) {
        (void)job;
        releasing = false;
}

/* As the server's loop does. */
static void release_orphans(void) {
        if (releasing || leases_count(fake.context.leases).orphans == 0)
                return;
        orphans = (struct job){.run = release_orphans_run, .done = release_orphans_done};
        releasing = threads_run(threads, &orphans, THREADS_KEEP_SPARE) == 0;
}

static void watch(void) {
        in_daemon = true;
        connections_watch(connections);
        release_orphans();
        in_daemon = false;
        collect();
}

static void listen_here(void) {
        struct sockaddr_un any = {.sun_family = AF_UNIX};

        listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ck_assert_int_ge(listening, 0);
        ck_assert_int_eq(bind(listening, (struct sockaddr *)&any, sizeof(any.sun_family)), 0);
        ck_assert_int_eq(listen(listening, 64), 0);
        address_size = sizeof(address);
        ck_assert_int_eq(getsockname(listening, (struct sockaddr *)&address, &address_size), 0);
}

static void start_with(const struct quota_limit *quota) {
        log_open(LOG_EMERG);
        fake_context_start_as(&fake,
                              &(struct fake_setup){.features = FAKE_ALL_FEATURES, .quota = quota});
        templates_replenish(fake.context.templates); /* as after every request */
        fake_calls_reset();
        listen_here();
        ck_assert_int_eq(threads_new(&threads), 0);
        UNTIL(threads_are_idle(threads));
        connections = connections_new(&fake.context, threads);
        ck_assert_ptr_nonnull(connections);
        fake.descriptors = descriptors_count();
}

static void start(void) {
        start_with(NULL);
}

/* Waits for the end of all, which have returned their charges. */
static void end(void) {
        UNTIL(threads_are_idle(threads));
        ck_assert_uint_eq(quota_used(fake.context.quota, QUOTA_CONNECTIONS), 0);
        ck_assert_uint_eq(quota_used(fake.context.quota, QUOTA_REFUSALS), 0);
        ck_assert_uint_eq(closed_by_main, 0);
        fake_context_is_clean(&fake, 0);
        ck_assert(threads_free(threads));
        threads = NULL;
        ck_assert_ptr_null(connections_free(connections));
        listening = fd_close(listening);
        fake.descriptors = descriptors_count();
        fake_context_end(&fake);
}

/* ---- clients ---- */

static int connect_only(void) {
        int client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        ck_assert_int_ge(client, 0);
        ck_assert_int_eq(connect(client, (struct sockaddr *)&address, address_size), 0);
        return client;
}

static int connect_client(void) {
        int client = connect_only();

        ck_assert_int_eq(accept_one(), 0);
        return client;
}

/* As root; only this thread changes its uid meanwhile. */
static int connect_as(uid_t uid) {
        int client;

        ck_assert_int_eq(syscall(SYS_setresuid, -1, uid, -1), 0);
        client = connect_only();
        ck_assert_int_eq(syscall(SYS_setresuid, -1, 0, -1), 0);
        ck_assert_int_eq(accept_one(), 0);
        return client;
}

/* A directory of the calling user's; our own descriptor is closed after sending. */
static void send_mount_with(int client, uint64_t cookie, const char *path, uint16_t flags) {
        struct wire_request request = {
                .version = PROTOCOL_VERSION,
                .operation = PROTOCOL_MOUNT,
                .flags = flags,
                .cookie = cookie,
                .n_targets = 1,
                .targets = {{.file_system = PROTOCOL_PROC}},
        };
        FD_AUTO int fd = fake_directory(&(struct fake_directory){.path = path, .owner = getuid()});

        send_request(client, &request, &fd, 1);
}

static void send_mount(int client, uint64_t cookie, const char *path) {
        send_mount_with(client, cookie, path, 0);
}

static void send_unmount(int client, uint64_t lease) {
        send_request(client,
                     &(struct wire_request){.version = PROTOCOL_VERSION,
                                            .operation = PROTOCOL_UNMOUNT,
                                            .lease = lease},
                     NULL, 0);
}

static unsigned connected(void) {
        return quota_used(fake.context.quota, QUOTA_CONNECTIONS);
}

static unsigned refusing(void) {
        return quota_used(fake.context.quota, QUOTA_REFUSALS);
}

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
                ck_assert_uint_eq(leases_count(fake.context.leases).leases, 1);
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
        char path[128];

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
        snprintf(path, sizeof(path), "%s/" FAKE_CONTEXT_STATE, fake.directory);
        ck_assert_int_eq(unlink(path) + rmdir(fake.directory), 0);
        _exit(EXIT_SUCCESS);
}
END_TEST

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
        for (unsigned i = 0; i < REFUSALS_WAITING_MAX + 1; i++) /* one is being closed */
                clients[i] = connect_client();
        UNTIL(count_closing() == 1);
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
                client_that_leaves_while_its_thread_is_stuck_holds_nothing_more,
                many_that_left_are_released_by_one_thread, all_are_watched,
                connection_that_takes_its_time_to_close_keeps_nobody,
                drained_connections_are_served_what_they_have_sent,
                abandoned_connections_are_hung_up_on_and_released, hangs_up_and_leaves_the_mounts,
                connection_beyond_a_limit_is_told_and_closed,
                refusals_beyond_a_users_share_of_threads_wait,
                client_that_has_left_already_is_closed,
                no_more_are_accepted_when_too_many_wait_to_be_refused,
                connection_without_a_thread_is_refused_by_the_spare,
                connections_without_a_thread_wait_for_the_spare,
                connections_that_nobody_can_refuse_are_tried_again,
                connections_that_wait_for_their_refusal_do_not_outlive_the_end,
                thread_that_shares_its_directory_serves_nobody, many_clients_at_once_leave_nothing);
}
