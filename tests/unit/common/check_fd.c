/* SPDX-License-Identifier: Apache-2.0 */

#include "common/fd.h"

#include "tests/test.h"

#include <fcntl.h>

static int open_one(void) {
        int fd = open("/", O_PATH | O_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        return fd;
}

static bool is_open(int fd) {
        return fcntl(fd, F_GETFD) >= 0;
}

START_TEST(closing_closes_and_leaves_none_and_errno) {
        int fd = open_one(), closed = fd;

        errno = ENOSPC;
        fd = fd_close(fd);
        ck_assert_int_eq(errno, ENOSPC);
        ck_assert_int_eq(fd, -EBADF);
        ck_assert(!is_open(closed));
}
END_TEST

/* Any negative number is none; a close(2) that fails would show in errno. */
START_TEST(closing_none_does_nothing) {
        static const int none[] = {-EBADF, -1, -ENOENT};

        errno = ENOSPC;
        for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++)
                ck_assert_int_eq(fd_close(none[i]), -EBADF);
        ck_assert_int_eq(errno, ENOSPC);
}
END_TEST

START_TEST(descriptor_0_is_one) {
        int spare = fcntl(0, F_DUPFD_CLOEXEC, 3);

        close(0);
        ck_assert_int_eq(open_one(), 0);
        fd_close(0);
        ck_assert(!is_open(0));
        if (spare >= 0) {
                dup2(spare, 0);
                close(spare);
        }
}
END_TEST

static int leave_scope(bool take, int *seen) {
        FD_AUTO int fd = open_one();

        *seen = fd;
        return take ? fd_take(&fd) : -1;
}

START_TEST(an_owned_local_is_closed_unless_it_is_taken) {
        int seen, taken;

        leave_scope(false, &seen);
        ck_assert(!is_open(seen));
        taken = leave_scope(true, &seen);
        ck_assert_int_eq(taken, seen);
        ck_assert(is_open(seen));
        close(taken);
}
END_TEST

START_TEST(what_is_taken_is_not_there_any_more) {
        int fd = open_one(), taken = fd_take(&fd);

        ck_assert(is_open(taken));
        ck_assert_int_eq(fd, -EBADF);
        ck_assert_int_eq(fd_take(&fd), -EBADF);
        close(taken);
}
END_TEST

int main(void) {
        return SUITE_RUN("fd", closing_closes_and_leaves_none_and_errno, closing_none_does_nothing,
                         descriptor_0_is_one, an_owned_local_is_closed_unless_it_is_taken,
                         what_is_taken_is_not_there_any_more);
}
