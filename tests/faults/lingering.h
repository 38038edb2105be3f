/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Sockets whose last close(2) blocks, except in a process that exits: SO_LINGER. */

#include <check.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* A TCP server that accepts nobody, and so reads nothing. */
static inline struct sockaddr_in lingering_listen(int backlog) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof(address);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, size), 0);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
        ck_assert_int_eq(listen(fd, backlog), 0);
        return address;
}

/* A client with more to send than that accepts, whose close waits for so many seconds. */
static inline int lingering_connect(const struct sockaddr_in *server, int seconds) {
        const struct linger linger = {.l_onoff = 1, .l_linger = seconds};
        static char data[1 << 16];
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_eq(connect(fd, (const struct sockaddr *)server, sizeof(*server)), 0);
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
        while (send(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
                continue;
        return fd;
}
