/* SPDX-License-Identifier: Apache-2.0 */

/* On real socket pairs; every test ends with as many descriptors as it began with. */

#include "common/fdpass.h"

#include "common/fd.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FDS_MAX = 253 }; /* SCM_MAX_FD of the kernel */

struct pair {
        int near, far;
        unsigned descriptors; /* open before the pair */
};

static struct pair pair_new(void) {
        struct pair pair = {.descriptors = descriptors_count()};
        int fds[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        pair.near = fds[0];
        pair.far = fds[1];
        return pair;
}

static void pair_end(struct pair *pair) {
        fd_close(pair->near);
        fd_close(pair->far);
        ck_assert_uint_eq(descriptors_count(), pair->descriptors);
}

/* Sends /dev/null `count` times, more often than fdpass_send() would. */
static int send_many(int socket, const void *bytes, size_t size, size_t count) {
        static char control[CMSG_SPACE(sizeof(int) * FDS_MAX)];
        FD_AUTO int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        struct iovec vector = {.iov_base = (void *)bytes, .iov_len = size};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

        ck_assert_int_ge(null, 0);
        if (count > 0) {
                struct cmsghdr *c;

                message.msg_control = control;
                message.msg_controllen = CMSG_SPACE(count * sizeof(int));
                c = CMSG_FIRSTHDR(&message);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(count * sizeof(int));
                for (size_t i = 0; i < count; i++)
                        memcpy(CMSG_DATA(c) + i * sizeof(int), &null, sizeof(int));
        }
        return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static const struct {
        size_t sent;
        size_t least, most; /* delivered descriptors */
} counts[] = {
        {0, 0, 0},
        {1, 1, 1},
        {2, 2, 2},
        {15, 15, 15},
        {16, 16, 16},
        {17, FDPASS_ROOM, FDPASS_MAX},
        {18, FDPASS_ROOM, FDPASS_MAX}, /* the alignment has room for one more */
        {19, FDPASS_ROOM, FDPASS_MAX},
        {FDS_MAX, FDPASS_ROOM, FDPASS_MAX},
};

START_TEST(owns_all_that_came_whatever_their_number) {
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
                struct pair pair = pair_new();
                struct fdpass_set set;
                unsigned before = descriptors_count();
                char bytes[8];

                ck_assert_int_eq(send_many(pair.far, "four", 4, counts[i].sent), 0);
                ck_assert_int_eq(fdpass_receive(pair.near, bytes, sizeof(bytes), &set), 4);
                ck_assert_mem_eq(bytes, "four", 4);
                ck_assert_uint_ge(set.count, counts[i].least);
                ck_assert_uint_le(set.count, counts[i].most);
                ck_assert(!set.starved);
                ck_assert_uint_eq(descriptors_count(), before + set.count);
                for (size_t j = 0; j < set.count; j++)
                        ck_assert_int_eq(fcntl(set.fds[j], F_GETFD), FD_CLOEXEC);
                fdpass_set_close(&set);
                ck_assert_uint_eq(set.count, 0);
                ck_assert_uint_eq(descriptors_count(), before);
                pair_end(&pair);
        }
}
END_TEST

/* Otherwise the test of the alignment proves nothing. */
START_TEST(padding_delivers_one_more_than_there_was_room_for) {
        struct pair pair = pair_new();
        FDPASS_AUTO struct fdpass_set set = {0};
        char byte;

        ck_assert_int_eq(send_many(pair.far, "x", 1, FDPASS_ROOM + 1), 0);
        ck_assert_int_eq(fdpass_receive(pair.near, &byte, 1, &set), 1);
        ck_assert_uint_eq(set.count, FDPASS_ROOM + 1);
        ck_assert_uint_eq(set.count, FDPASS_MAX);
        fdpass_set_close(&set);
        pair_end(&pair);
}
END_TEST

START_TEST(sends_up_to_16_in_order) {
        struct pair pair = pair_new();
        int sent[PROTOCOL_TARGETS_MAX][2];

        for (size_t i = 0; i < PROTOCOL_TARGETS_MAX; i++)
                ck_assert_int_eq(pipe2(sent[i], O_CLOEXEC), 0);
        for (size_t count = 0; count <= PROTOCOL_TARGETS_MAX; count++) {
                int fds[PROTOCOL_TARGETS_MAX];
                struct fdpass_set set;
                char byte;

                for (size_t i = 0; i < count; i++)
                        fds[i] = sent[i][1];
                ck_assert_int_eq(fdpass_send(pair.far, "x", 1, fds, count), 0);
                ck_assert_int_eq(fdpass_receive(pair.near, &byte, 1, &set), 1);
                ck_assert_uint_eq(set.count, count);
                for (size_t i = 0; i < count; i++) {
                        uint8_t number = i, read_back = 0xff;

                        ck_assert_int_eq(write(set.fds[i], &number, 1), 1);
                        ck_assert_int_eq(read(sent[i][0], &read_back, 1), 1);
                        ck_assert_uint_eq(read_back, number);
                }
                fdpass_set_close(&set);
        }
        for (size_t i = 0; i < PROTOCOL_TARGETS_MAX; i++) {
                close(sent[i][0]);
                close(sent[i][1]);
        }
        pair_end(&pair);
}
END_TEST

static void limit_descriptors(rlim_t limit) {
        struct rlimit limits;

        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limits), 0);
        limits.rlim_cur = limit;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limits), 0);
}

/* The lowest free number: as the limit, it prevents any further open. */
static int first_free(void) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        close(fd);
        return fd;
}

START_TEST(says_when_this_process_could_open_no_more) {
        for (unsigned room = 0; room <= 3; room++) {
                struct pair pair = pair_new();
                struct fdpass_set set;
                struct rlimit saved;
                char byte;
                ssize_t size;

                ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &saved), 0);
                ck_assert_int_eq(send_many(pair.far, "x", 1, 3), 0);
                limit_descriptors(first_free() + room);
                size = fdpass_receive(pair.near, &byte, 1, &set);
                limit_descriptors(saved.rlim_cur);

                ck_assert_int_eq(size, 1);
                ck_assert_uint_eq(set.count, room);
                ck_assert_int_eq(set.starved, room < 3);
                fdpass_set_close(&set);
                pair_end(&pair);
        }
}
END_TEST

START_TEST(empty_datagram_can_bring_descriptors) {
        static const size_t numbers[] = {0, 1, 16, FDS_MAX};

        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
                struct pair pair = pair_new();
                struct fdpass_set set;
                char byte;

                ck_assert_int_eq(send_many(pair.far, "", 0, numbers[i]), 0);
                ck_assert_int_eq(fdpass_receive(pair.near, &byte, 1, &set), 0);
                ck_assert_int_eq(set.count > 0, numbers[i] > 0);
                fdpass_set_close(&set);
                pair_end(&pair);
        }
}
END_TEST

START_TEST(end_of_file_is_0_bytes_and_no_descriptors) {
        struct pair pair = pair_new();
        struct fdpass_set set = {.count = 7, .starved = true};
        char byte;

        pair.far = fd_close(pair.far);
        ck_assert_int_eq(fdpass_receive(pair.near, &byte, 1, &set), 0);
        ck_assert_uint_eq(set.count, 0);
        ck_assert(!set.starved);
        pair_end(&pair);
}
END_TEST

START_TEST(long_datagram_has_its_real_size) {
        static uint8_t large[100000];
        struct pair pair = pair_new();
        uint8_t bytes[160 + 1];
        struct fdpass_set set;

        memset(large, 'x', sizeof(large));
        bytes[160] = '#';
        ck_assert_int_eq(send_many(pair.far, large, sizeof(large), 2), 0);
        ck_assert_int_eq(fdpass_send(pair.far, "next", 4, NULL, 0), 0);
        ck_assert_int_eq(fdpass_receive(pair.near, bytes, 160, &set), sizeof(large));
        ck_assert_mem_eq(bytes, large, 160);
        ck_assert_int_eq(bytes[160], '#');
        ck_assert_uint_eq(set.count, 2);
        ck_assert(!set.starved);
        fdpass_set_close(&set);
        ck_assert_int_eq(fdpass_receive(pair.near, bytes, 160, &set), 4);
        ck_assert_mem_eq(bytes, "next", 4);
        pair_end(&pair);
}
END_TEST

START_TEST(does_not_wait_for_a_datagram) {
        struct pair pair = pair_new();
        struct fdpass_set set = {.count = 7};
        char byte;

        ck_assert_int_eq(fdpass_receive(pair.near, &byte, 1, &set), -EAGAIN);
        ck_assert_uint_eq(set.count, 0);
        pair_end(&pair);
}
END_TEST

START_TEST(does_not_wait_for_a_reader) {
        struct pair pair = pair_new();
        unsigned sent = 0;
        int r;

        while ((r = fdpass_send(pair.near, "0123456789", 10, NULL, 0)) == 0)
                ck_assert_uint_lt(++sent, 1000000);
        ck_assert_int_eq(r, -EAGAIN);
        ck_assert_uint_gt(sent, 0);
        pair_end(&pair);
}
END_TEST

/* Datagrams never raise the signal; streams do, unless told not to. */
START_TEST(peer_that_is_gone_is_an_errno_and_no_signal) {
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        struct pair pair = pair_new();
        int stream[2];

        ck_assert_ptr_ne(signal(SIGPIPE, SIG_DFL), SIG_ERR);
        pair.far = fd_close(pair.far);
        ck_assert_int_eq(fdpass_send(pair.near, "x", 1, NULL, 0), -EPIPE);
        ck_assert_int_eq(fdpass_send(pair.near, "x", 1, &null, 1), -EPIPE);
        pair_end(&pair);

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
        close(stream[1]);
        ck_assert_int_eq(fdpass_send(stream[0], "x", 1, NULL, 0), -EPIPE);
        close(stream[0]);
        close(null);
}
END_TEST

START_TEST(what_is_no_socket_is_an_errno) {
        FD_AUTO int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        struct fdpass_set set = {.count = 7};
        char byte;

        ck_assert_int_eq(fdpass_receive(null, &byte, 1, &set), -ENOTSOCK);
        ck_assert_uint_eq(set.count, 0);
        ck_assert_int_eq(fdpass_send(null, "x", 1, NULL, 0), -ENOTSOCK);
}
END_TEST

START_TEST(set_forgets_what_was_taken) {
        struct pair pair = pair_new();
        struct fdpass_set set;
        char byte;
        int taken;

        ck_assert_int_eq(send_many(pair.far, "x", 1, 3), 0);
        ck_assert_int_eq(fdpass_receive(pair.near, &byte, 1, &set), 1);
        taken = fd_take(&set.fds[1]);
        fdpass_set_close(&set);
        ck_assert_int_ge(fcntl(taken, F_GETFD), 0);
        close(taken);
        pair_end(&pair);
}
END_TEST

START_TEST(closing_keeps_errno) {
        errno = ENOTTY;
        ck_assert_int_eq(fd_close(-EBADF), -EBADF);
        ck_assert_int_eq(fd_close(99999), -EBADF);
        ck_assert_int_eq(errno, ENOTTY);
}
END_TEST

START_TEST(knows_whether_a_socket_that_is_shut_down_is_drained) {
        struct pair pair = pair_new();
        struct fdpass_set set;
        char byte;

        ck_assert(!fdpass_is_drained(pair.near)); /* the other end may still send */
        ck_assert_int_eq(fdpass_send(pair.far, "a", 1, NULL, 0), 0);
        ck_assert_int_eq(fdpass_send(pair.far, "", 0, NULL, 0), 0);
        ck_assert_int_eq(shutdown(pair.near, SHUT_RDWR), 0);
        ck_assert(!fdpass_is_drained(pair.near));
        ck_assert_int_eq(fdpass_receive(pair.near, &byte, 1, &set), 1);
        ck_assert(!fdpass_is_drained(pair.near)); /* an empty message counts */
        ck_assert_int_eq(fdpass_receive(pair.near, &byte, 1, &set), 0);
        ck_assert(fdpass_is_drained(pair.near));
        pair_end(&pair);
}
END_TEST

int main(void) {
        return SUITE_RUN("fdpass", owns_all_that_came_whatever_their_number,
                         padding_delivers_one_more_than_there_was_room_for, sends_up_to_16_in_order,
                         says_when_this_process_could_open_no_more,
                         empty_datagram_can_bring_descriptors,
                         end_of_file_is_0_bytes_and_no_descriptors, long_datagram_has_its_real_size,
                         does_not_wait_for_a_datagram, does_not_wait_for_a_reader,
                         peer_that_is_gone_is_an_errno_and_no_signal, what_is_no_socket_is_an_errno,
                         set_forgets_what_was_taken, closing_keeps_errno,
                         knows_whether_a_socket_that_is_shut_down_is_drained);
}
