/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A descriptor whose last close(2) blocks does harm only if the daemon is the last to close it, so
 * each is sent by a process that may itself block.
 */

#include "tests/faults/attack.h"

#include "common/fd.h"
#include "tests/faults/lingering.h"
#include "tests/fixtures/client.h"
#include "tests/fixtures/descriptors.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum {
        ATTACK_DIRTY_FILES = 40,
        ATTACK_STALLS = 24,
        ATTACK_QUEUE = 200, /* messages; fewer if net.unix.max_dgram_qlen is lower */
        ATTACK_PACKET_CONNECTIONS = 16,
        ATTACK_PACKET_SOCKETS = 100, /* per message */
        ATTACK_LINGERING = 40,
        ATTACK_MOUNT_REQUESTS = 128,
        ATTACK_REFUSED = 1600, /* more than the daemon lets wait for the close */
        ATTACK_REFUSED_DIRTY = 24,
};

/* ---- messages ---- */

struct attack_message {
        const char *bytes;
        size_t size;
};

static struct attack_message attack_encode(uint16_t operation, uint32_t n_targets) {
        static char bytes[4][WIRE_REQUEST_MAX];
        static unsigned next;
        char *into = bytes[next++ % 4];
        struct wire_request request = {
                .version = PROTOCOL_VERSION, .operation = operation, .n_targets = n_targets};

        for (uint32_t i = 0; i < n_targets; i++)
                request.targets[i].file_system = PROTOCOL_PROC;
        return (struct attack_message){into, wire_encode_request(&request, (uint8_t *)into)};
}

static int attack_send(int connection, struct attack_message message, const int *fds, size_t n) {
        return client_try_send(connection, message.bytes, message.size, fds, n);
}

static const struct attack_message attack_garbage = {"garbage", 7}, attack_nothing = {"", 0};

static void attack_tell(const struct attacker *attacker) {
        ck_assert_int_eq(write(attacker->ready, "", 1), 1);
}

static void attack_wait(const struct attacker *attacker) {
        attack_tell(attacker);
        for (;;)
                pause();
}

/* True in the child, which dies with the attack. */
static bool attack_fork(void) {
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                prctl(PR_SET_PDEATHSIG, SIGKILL);
        return pid == 0;
}

/* ---- files whose last close writes them back, to a server that doesn't answer ---- */

/* A socket with the last reference to such a file in its queue. */
static int attack_make_dirty(const struct attacker *attacker, unsigned index) {
        char path[128];
        int pair[2], fd;

        snprintf(path, sizeof(path), "%s/dirty%u", attacker->fuse, index);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        fd = open(path, O_RDWR | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        client_send(pair[0], "x", 1, &fd, 1);
        close(fd); /* writes back, so the file is made dirty afterwards, through another descriptor
                    */
        close(pair[0]);
        fd = open(path, O_RDWR | O_CLOEXEC);
        ck_assert_int_eq(write(fd, "dirty", 5), 5);
        return pair[1];
}

enum attack_end {
        ATTACK_STAYS,
        ATTACK_LEAVES,
};

static void attack_send_dirty(const struct attacker *attacker, unsigned index,
                              struct attack_message message, enum attack_end end) {
        int carrier, connection;

        if (!attack_fork())
                return;
        carrier = attack_make_dirty(attacker, index);
        connection = client_connect(attacker->service, -1);
        for (unsigned i = 0; end == ATTACK_LEAVES && i < ATTACK_QUEUE; i++)
                attack_send(connection, attack_encode(PROTOCOL_HELLO, 0), NULL, 0);
        while (attack_send(connection, message, &carrier, 1) == -EAGAIN)
                usleep(1000);
        close(carrier);
        if (end == ATTACK_LEAVES)
                close(connection);
        for (;;)
                pause();
}

static void attack_with_dirty_files(const struct attacker *attacker, struct attack_message message,
                                    enum attack_end end) {
        for (unsigned i = 0; i < ATTACK_DIRTY_FILES; i++)
                attack_send_dirty(attacker, i, message, end);
        attack_wait(attacker);
}

static void attack_dirty_hello(const struct attacker *attacker) {
        attack_with_dirty_files(attacker, attack_encode(PROTOCOL_HELLO, 0), ATTACK_STAYS);
}

static void attack_dirty_garbage(const struct attacker *attacker) {
        attack_with_dirty_files(attacker, attack_garbage, ATTACK_LEAVES);
}

static void attack_dirty_mount(const struct attacker *attacker) {
        attack_with_dirty_files(attacker, attack_encode(PROTOCOL_MOUNT, 1), ATTACK_STAYS);
}

static void attack_dirty_nothing(const struct attacker *attacker) {
        attack_with_dirty_files(attacker, attack_nothing, ATTACK_STAYS);
}

/* ---- connections beyond the limit ---- */

static void attack_fill_connections(const struct attacker *attacker) {
        descriptors_raise();
        for (unsigned i = 0; i < ATTACK_CONNECTIONS; i++)
                client_connect(attacker->service, -1);
}

/* Connections whose files can't be closed occupy the closing threads, and all others wait. */
static void attack_refused(const struct attacker *attacker) {
        int harmless = eventfd(0, EFD_CLOEXEC);

        attack_fill_connections(attacker);
        for (unsigned i = 0; i < ATTACK_REFUSED_DIRTY; i++)
                attack_send_dirty(attacker, i, attack_garbage, ATTACK_STAYS);
        usleep(300000);
        for (unsigned i = 0; i < ATTACK_REFUSED; i++) {
                FD_AUTO int connection = client_connect(attacker->service, -1);

                attack_send(connection, attack_garbage, &harmless, 1);
        }
        attack_wait(attacker);
}

static void attack_connect_beyond(const struct attacker *attacker) {
        attack_fill_connections(attacker);
        attack_tell(attacker);
        for (;;)
                close(client_connect(attacker->service, -1));
}

/* No attack can be isolated from this: the others' figures are to be compared with these. */
static void attack_nothing_but_spin(const struct attacker *attacker) {
        attack_tell(attacker);
        for (;;)
                getppid();
}

static void attack_connect_and_leave(const struct attacker *attacker) {
        attack_tell(attacker);
        for (;;)
                close(client_connect(attacker->service, -1));
}

/* ---- sockets ---- */

/*
 * A socket with the last references to many in its queue, each of which takes 9 ms to close, for an
 * RCU grace period.
 */
static int attack_make_packet_sockets(void) {
        int pair[2], fds[ATTACK_PACKET_SOCKETS];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        for (unsigned i = 0; i < ATTACK_PACKET_SOCKETS; i++) {
                fds[i] = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
                ck_assert_int_ge(fds[i], 0);
        }
        client_send(pair[0], "x", 1, fds, ATTACK_PACKET_SOCKETS);
        for (unsigned i = 0; i < ATTACK_PACKET_SOCKETS; i++)
                close(fds[i]);
        close(pair[0]);
        return pair[1];
}

/* Over as many connections as allowed, and more. */
static void attack_packet_sockets(const struct attacker *attacker) {
        for (unsigned i = 0;; i++) {
                FD_AUTO int connection = client_connect(attacker->service, -1);
                FD_AUTO int carrier = attack_make_packet_sockets();

                attack_send(connection, attack_encode(PROTOCOL_HELLO, 0), &carrier, 1);
                if (i == ATTACK_PACKET_CONNECTIONS)
                        attack_tell(attacker);
        }
}

static void attack_lingering_sockets(const struct attacker *attacker) {
        const struct sockaddr_in server = lingering_listen(2 * ATTACK_LINGERING);

        for (unsigned i = 0; i < ATTACK_LINGERING; i++) {
                int connection = client_connect(attacker->service, -1), fd;

                if (attack_fork()) {
                        fd = lingering_connect(&server, 100);
                        for (unsigned k = 0; k < ATTACK_QUEUE; k++)
                                attack_send(connection, attack_encode(PROTOCOL_HELLO, 0), &fd, 1);
                        _exit(EXIT_SUCCESS);
                }
        }
        attack_wait(attacker);
}

/* ---- descriptors of every other kind ---- */

static int attack_make_odd(unsigned kind, int connection) {
        static char ring_parameters[256];

        switch (kind) {
        case 0:
                memset(ring_parameters, 0, sizeof(ring_parameters));
                return syscall(SYS_io_uring_setup, 8, ring_parameters);
        case 1:
                return syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY | O_CLOEXEC);
        case 2: /* a user's own mount */
                return syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE | AT_RECURSIVE);
        case 3:
                return pidfd_open(getpid(), 0);
        case 4:
                return dup(connection);
        default:
                return open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
        }
}

static void attack_odd_descriptors(const struct attacker *attacker) {
        const struct attack_message messages[] = {attack_encode(PROTOCOL_MOUNT, 1),
                                                  attack_encode(PROTOCOL_HELLO, 0),
                                                  attack_encode(PROTOCOL_ADOPT, 1), attack_garbage};

        attack_tell(attacker);
        for (;;) {
                FD_AUTO int connection = client_connect(attacker->service, -1);

                for (unsigned kind = 0; kind < 6; kind++) {
                        FD_AUTO int fd = attack_make_odd(kind, connection);

                        if (fd >= 0)
                                for (unsigned i = 0; i < 4; i++)
                                        attack_send(connection, messages[i], &fd, 1);
                }
        }
}

/* ---- mounts ---- */

/* Each on a directory of its own, whose lock is held by a lookup. */
static void attack_stalled_roots(const struct attacker *attacker) {
        for (unsigned i = 0; i < ATTACK_STALLS; i++) {
                char path[128], stall[160];
                int target, connection;

                snprintf(path, sizeof(path), "%s/%u/proc", attacker->fuse, i);
                target = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
                ck_assert_int_ge(target, 0);
                snprintf(stall, sizeof(stall), "%s/stall", path);
                if (attack_fork())
                        _exit(access(stall, F_OK));
                usleep(20000);
                connection = client_connect(attacker->service, -1);
                attack_send(connection, attack_encode(PROTOCOL_MOUNT, 1), &target, 1);
                for (unsigned k = 0; k < ATTACK_QUEUE; k++)
                        attack_send(connection, attack_encode(PROTOCOL_MOUNT, 1), &target, 1);
                if (i % 2)
                        close(connection);
        }
        attack_wait(attacker);
}

static void attack_make_targets(const struct attacker *attacker,
                                int targets[][PROTOCOL_TARGETS_MAX]) {
        for (unsigned i = 0; i < ATTACK_MOUNT_REQUESTS; i++)
                for (unsigned k = 0; k < PROTOCOL_TARGETS_MAX; k++) {
                        char path[128];

                        snprintf(path, sizeof(path), "%s/%u-%u", attacker->area, i, k);
                        ck_assert_int_eq(mkdir(path, 0755), 0);
                        strcat(path, "/proc");
                        ck_assert_int_eq(mkdir(path, 0755), 0);
                        targets[i][k] = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
                        ck_assert_int_ge(targets[i][k], 0);
                }
}

/* The most a user may have, over a connection that is then closed. */
static void attack_mass_release(const struct attacker *attacker) {
        static int targets[ATTACK_MOUNT_REQUESTS][PROTOCOL_TARGETS_MAX];
        const struct attack_message mount = attack_encode(PROTOCOL_MOUNT, PROTOCOL_TARGETS_MAX);

        descriptors_raise();
        attack_make_targets(attacker, targets);
        attack_tell(attacker);
        for (;;) {
                FD_AUTO int connection = client_connect(attacker->service, -1);
                char reply[WIRE_REPLY_MAX];

                for (unsigned i = 0; i < ATTACK_MOUNT_REQUESTS; i++) {
                        attack_send(connection, mount, targets[i], PROTOCOL_TARGETS_MAX);
                        if (recv(connection, reply, sizeof(reply), 0) <= 0)
                                break; /* the daemon is being replaced */
                }
        }
}

/* ---- requests ---- */

static void attack_bad_requests(const struct attacker *attacker) {
        attack_tell(attacker);
        for (;;) {
                FD_AUTO int connection = client_connect(attacker->service, -1);

                for (unsigned i = 0; i < ATTACK_QUEUE; i++)
                        attack_send(connection, attack_encode(PROTOCOL_ADOPT + 7, 0), NULL, 0);
                attack_send(connection, attack_garbage, NULL, 0);
        }
}

/* Over as many connections as a user may have, each served by a thread of the daemon. */
static void attack_every_connection(const struct attacker *attacker) {
        static int connections[ATTACK_CONNECTIONS];
        char reply[WIRE_REPLY_MAX];

        descriptors_raise();
        for (unsigned i = 0; i < ATTACK_CONNECTIONS; i++)
                connections[i] = client_connect(attacker->service, -1);
        attack_tell(attacker);
        for (;;)
                for (unsigned i = 0; i < ATTACK_CONNECTIONS; i++) {
                        for (unsigned k = 0; k < ATTACK_QUEUE; k++)
                                if (client_try_send(
                                            connections[i], attack_encode(PROTOCOL_HELLO, 0).bytes,
                                            attack_encode(PROTOCOL_HELLO, 0).size, NULL, 0) < 0)
                                        break;
                        while (recv(connections[i], reply, sizeof(reply), MSG_DONTWAIT) > 0)
                                continue;
                }
}

const struct attack attacks[] = {
        {"none, but busy processors", attack_nothing_but_spin, 3, 0, 0},
        {"dirty files with hello", attack_dirty_hello, 1, ATTACK_WANTS_FUSE | ATTACK_LEAVES_DIRTY,
         10},
        {"dirty files with garbage, and leaves", attack_dirty_garbage, 1,
         ATTACK_WANTS_FUSE | ATTACK_LEAVES_DIRTY, 10},
        {"dirty files with mounts", attack_dirty_mount, 1, ATTACK_WANTS_FUSE | ATTACK_LEAVES_DIRTY,
         10},
        {"dirty files with nothing", attack_dirty_nothing, 1,
         ATTACK_WANTS_FUSE | ATTACK_LEAVES_DIRTY, 10},
        {"dirty files beyond the limit", attack_refused, 1, ATTACK_WANTS_FUSE | ATTACK_LEAVES_DIRTY,
         4},
        {"dirty files beyond the limit, 3 users", attack_refused, 3,
         ATTACK_WANTS_FUSE | ATTACK_LEAVES_DIRTY, 4},
        {"packet sockets", attack_packet_sockets, 1, ATTACK_WANTS_NETWORK, 4},
        {"lingering sockets", attack_lingering_sockets, 1, 0, 0},
        {"descriptors of every other kind", attack_odd_descriptors, 1, ATTACK_WANTS_NETWORK, 0},
        {"roots that stall", attack_stalled_roots, 1, ATTACK_WANTS_FUSE, 20},
        {"2048 mounts released at once", attack_mass_release, 1, 0, 0},
        {"connects and leaves", attack_connect_and_leave, 2, 0, 0},
        {"connects beyond the limit", attack_connect_beyond, 1, 0, 0},
        {"requests on every connection", attack_every_connection, 1, 0, 0},
        {"bad requests, nobody reads the log", attack_bad_requests, 1, ATTACK_FILLS_LOG, 0},
};
const unsigned attacks_count = sizeof(attacks) / sizeof(attacks[0]);
