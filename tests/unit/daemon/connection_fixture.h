/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Connections over a listening socket, with real threads over the fake kernel. The test's thread
 * stands for the daemon's main thread, which must never close a client's file: a close(2) of our
 * own, put in place of the C library's by the linker, checks that.
 */

#include "daemon/connection.h"

#include "daemon/log.h"
#include "daemon/refusal.h"
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
static inline bool is_accepted(int fd) {
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
static inline void block_closes(bool block) {
        pthread_mutex_lock(&closing);
        closes_blocked = block;
        pthread_cond_broadcast(&may_close);
        pthread_mutex_unlock(&closing);
}

static inline unsigned count_closing(void) {
        unsigned count;

        pthread_mutex_lock(&closing);
        count = n_closing;
        pthread_mutex_unlock(&closing);
        return count;
}

/* ---- the main thread ---- */

static inline void collect(void) {
        in_daemon = true;
        if (threads)
                threads_collect(threads);
        in_daemon = false;
}

static inline int accept_one(void) {
        int r;

        in_daemon = true;
        r = connections_accept(connections, listening);
        in_daemon = false;
        return r;
}

static struct job orphans;
static bool releasing;

static inline void release_orphans_run(struct job *job) {
        (void)job;
        lease_release_held(fake.context.leases, leases_orphans(fake.context.leases));
}

static inline void release_orphans_done(struct job *job) {
        (void)job;
        releasing = false;
}

/* As the server's loop does. */
static inline void release_orphans(void) {
        if (releasing || leases_count(fake.context.leases).orphans == 0)
                return;
        orphans = (struct job){.run = release_orphans_run, .done = release_orphans_done};
        releasing = threads_run(threads, &orphans, THREADS_KEEP_SPARE) == 0;
}

static inline void watch(void) {
        in_daemon = true;
        connections_watch(connections);
        release_orphans();
        in_daemon = false;
        collect();
}

static inline void listen_here(void) {
        struct sockaddr_un any = {.sun_family = AF_UNIX};

        listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ck_assert_int_ge(listening, 0);
        ck_assert_int_eq(bind(listening, (struct sockaddr *)&any, sizeof(any.sun_family)), 0);
        ck_assert_int_eq(listen(listening, 64), 0);
        address_size = sizeof(address);
        ck_assert_int_eq(getsockname(listening, (struct sockaddr *)&address, &address_size), 0);
}

static inline void start_with(const struct quota_limit *quota) {
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

static inline void start(void) {
        start_with(NULL);
}

/* Waits for the end of all, which have returned their charges. */
static inline void end(void) {
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

static inline int connect_only(void) {
        int client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        ck_assert_int_ge(client, 0);
        ck_assert_int_eq(connect(client, (struct sockaddr *)&address, address_size), 0);
        return client;
}

static inline int connect_client(void) {
        int client = connect_only();

        ck_assert_int_eq(accept_one(), 0);
        return client;
}

/* As root; only this thread changes its uid meanwhile. */
static inline int connect_as(uid_t uid) {
        int client;

        ck_assert_int_eq(syscall(SYS_setresuid, -1, uid, -1), 0);
        client = connect_only();
        ck_assert_int_eq(syscall(SYS_setresuid, -1, 0, -1), 0);
        ck_assert_int_eq(accept_one(), 0);
        return client;
}

/* A directory of the calling user's; our own descriptor is closed after sending. */
static inline void send_mount_with(int client, uint64_t cookie, const char *path, uint16_t flags) {
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

static inline void send_mount(int client, uint64_t cookie, const char *path) {
        send_mount_with(client, cookie, path, 0);
}

static inline void send_unmount(int client, uint64_t lease) {
        send_request(client,
                     &(struct wire_request){.version = PROTOCOL_VERSION,
                                            .operation = PROTOCOL_UNMOUNT,
                                            .lease = lease},
                     NULL, 0);
}

static inline unsigned connected(void) {
        return quota_used(fake.context.quota, QUOTA_CONNECTIONS);
}

static inline unsigned refusing(void) {
        return quota_used(fake.context.quota, QUOTA_REFUSALS);
}
