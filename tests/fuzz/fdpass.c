/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Datagrams with control data from the input, received in each way: as many descriptors as there
 * was room for, close-on-exec, and none left behind. Also with a limit on descriptors that leaves
 * too little room.
 */

#include "common/fdpass.h"
#include "common/fd.h"
#include "common/wire.h"
#include "tests/fixtures/descriptors.h"
#include "tests/fuzz/script.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
        FDS_MAX = 253, /* SCM_MAX_FD */
        MESSAGES_MAX = 8,
};

struct post {
        struct script script;
        int sockets[2]; /* the sender's, the receiver's */
        bool cramped;   /* RLIMIT_NOFILE is low */
        int fds[FDS_MAX];
        unsigned rights[MESSAGES_MAX]; /* descriptors in each message sent */
        unsigned sent, received;       /* messages */
};

/* One SCM_RIGHTS message with that many descriptors. */
static size_t add_rights(struct post *post, char *control, size_t used, unsigned count) {
        struct cmsghdr header = {
                .cmsg_level = SOL_SOCKET,
                .cmsg_type = SCM_RIGHTS,
                .cmsg_len = CMSG_LEN(count * sizeof(int)),
        };

        memcpy(control + used, &header, sizeof(header));
        memcpy(control + used + CMSG_LEN(0), post->fds, count * sizeof(int));
        return used + CMSG_SPACE(count * sizeof(int));
}

/* As the kernel counts them in control data it has accepted. */
static unsigned count_rights(const char *control, size_t size) {
        unsigned count = 0;
        struct cmsghdr header;

        for (size_t at = 0; at + sizeof(header) <= size; at += CMSG_ALIGN(header.cmsg_len)) {
                memcpy(&header, control + at, sizeof(header));
                if (header.cmsg_level == SOL_SOCKET && header.cmsg_type == SCM_RIGHTS)
                        count += (header.cmsg_len - CMSG_LEN(0)) / sizeof(int);
        }
        return count;
}

/* The kernel refuses most malformed control data; the rest is of interest. */
static void send_one(struct post *post) {
        static char control[2 * CMSG_SPACE(FDS_MAX * sizeof(int)) + 256];
        static uint8_t bytes[512];
        struct iovec vector = {.iov_base = bytes};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control};
        unsigned groups = script_choose(&post->script, 3), raw;

        vector.iov_len = script_byte(&post->script) +
                         script_choose(&post->script, 2) * 128; /* also beyond WIRE_REQUEST_MAX */
        script_read(&post->script, bytes, vector.iov_len < 4 ? vector.iov_len : 4);
        for (unsigned i = 0; i < groups; i++)
                message.msg_controllen = add_rights(post, control, message.msg_controllen,
                                                    script_choose(&post->script, FDS_MAX + 1));
        raw = script_choose(&post->script, 129);
        if (raw <= 128 && groups < 2) {
                script_read(&post->script, control + message.msg_controllen, raw);
                message.msg_controllen += raw;
        }
        if (sendmsg(post->sockets[0], &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
                post->rights[post->sent++] = count_rights(control, message.msg_controllen);
}

/* The number of descriptors that this process can still open, at most FDPASS_MAX. */
static unsigned count_free(const struct post *post) {
        struct rlimit limit;
        unsigned count = 0;

        if (!post->cramped)
                return FDPASS_MAX;
        getrlimit(RLIMIT_NOFILE, &limit);
        for (int fd = 0; fd < (int)limit.rlim_cur; fd++)
                count += fcntl(fd, F_GETFD) < 0;
        return count < FDPASS_MAX ? count : FDPASS_MAX;
}

/* All that were sent, as far as there was room. */
static void check_set(const struct post *post, const struct fdpass_set *set, unsigned sent,
                      unsigned room) {
        ck_assert_uint_eq(set->count, sent < room ? sent : room);
        ck_assert(!set->starved || post->cramped);
        for (size_t i = 0; i < set->count; i++)
                ck_assert_int_eq(fcntl(set->fds[i], F_GETFD), FD_CLOEXEC);
}

static ssize_t receive_one(struct post *post) {
        uint8_t bytes[WIRE_REQUEST_MAX];
        size_t room = script_choose(&post->script, 3) ? sizeof(bytes) : 1;
        bool waits = script_choose(&post->script, 2) && post->received < post->sent;
        unsigned sent = 0, free = count_free(post);
        struct fdpass_set set = {0};
        ssize_t size;

        if (waits) /* not for long: there is a message */
                size = fdpass_wait(post->sockets[1], bytes, room, &set);
        else
                size = fdpass_receive(post->sockets[1], bytes, room, &set);
        ck_assert_int_eq(size == -EAGAIN, post->received == post->sent);
        if (size >= 0)
                sent = post->rights[post->received++];
        check_set(post, &set, sent, free);
        fdpass_set_close(&set);
        ck_assert_uint_eq(set.count, 0);
        return size;
}

/* A waiting receiver sees the end. */
static void receive_the_end(struct post *post) {
        struct fdpass_set set;
        uint8_t byte;

        ck_assert_int_eq(shutdown(post->sockets[0], SHUT_WR), 0);
        ck_assert_int_eq(fdpass_wait(post->sockets[1], &byte, 1, &set), 0);
        ck_assert_uint_eq(set.count, 0);
        ck_assert(!set.starved);
}

static void cramp(struct post *post, struct rlimit *before) {
        struct rlimit low;

        getrlimit(RLIMIT_NOFILE, before);
        low = *before;
        low.rlim_cur = post->sockets[1] + 1 + script_choose(&post->script, FDPASS_MAX + 1);
        post->cramped = true;
        setrlimit(RLIMIT_NOFILE, &low);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct post post = {.script = {data, size}};
        unsigned before = descriptors_count();
        struct rlimit limit;

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, post.sockets), 0);
        for (unsigned i = 0; i < FDS_MAX; i++)
                post.fds[i] = post.sockets[i % 2];

        for (unsigned i = script_choose(&post.script, MESSAGES_MAX); i > 0; i--)
                send_one(&post);
        if (script_choose(&post.script, 2))
                cramp(&post, &limit);
        while (receive_one(&post) != -EAGAIN)
                continue;
        receive_the_end(&post);
        if (post.cramped)
                setrlimit(RLIMIT_NOFILE, &limit);

        fd_close(post.sockets[0]);
        fd_close(post.sockets[1]);
        ck_assert_uint_eq(descriptors_count(), before);
        return 0;
}
