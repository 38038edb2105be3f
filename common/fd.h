/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An owned file descriptor. A local that owns one is declared FD_AUTO and starts at -EBADF; it is
 * closed at the end of its scope unless fd_take() has handed it over. Any thread.
 */

#include <errno.h>
#include <unistd.h>

/* Closes `fd` unless it is negative, keeps errno, returns -EBADF: `x = fd_close(x)`. */
static inline int fd_close(int fd) {
        int saved = errno;

        if (fd >= 0)
                close(fd);
        errno = saved;
        return -EBADF;
}

/* Takes the descriptor out of `*fd`; the caller owns what is returned. */
static inline int fd_take(int *fd) {
        int taken = *fd;

        *fd = -EBADF;
        return taken;
}

static inline void fd_cleanup(int *fd) {
        fd_close(*fd);
}

#define FD_AUTO __attribute__((cleanup(fd_cleanup)))
