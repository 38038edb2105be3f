/* SPDX-License-Identifier: Apache-2.0 */

/* Which descriptors are passed on for MAKEFLAGS and CARGO_MAKEFLAGS. */

#include "client/jobserver.h"
#include "tests/test.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* The descriptors' numbers in the cases. */
enum {
        PIPE_READER = 30,
        PIPE_WRITER,
        OTHER_READER,
        OTHER_WRITER,
        DIRECTORY,
        REGULAR,
        DEVICE,
        FIFO, /* a named one, opened with O_PATH */
        CLOSED,
};

static void place(int fd, int number) {
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(dup3(fd, number, O_CLOEXEC), number);
        ck_assert_int_eq(close(fd), 0);
}

static void open_them(void) {
        char path[] = "/tmp/mountatd-jobserver-XXXXXX";
        int fds[2];

        ck_assert_int_eq(pipe(fds), 0);
        place(fds[0], PIPE_READER);
        place(fds[1], PIPE_WRITER);
        ck_assert_int_eq(pipe(fds), 0);
        place(fds[0], OTHER_READER);
        place(fds[1], OTHER_WRITER);
        place(open("/", O_RDONLY | O_DIRECTORY), DIRECTORY);
        place(mkstemp(path), REGULAR);
        place(open("/dev/null", O_RDWR), DEVICE);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(mkfifo(path, 0600), 0);
        place(open(path, O_PATH), FIFO);
        ck_assert_int_eq(unlink(path), 0);
}

static void set(const char *variable, const char *value) {
        if (value)
                ck_assert_int_eq(setenv(variable, value, 1), 0);
        else
                ck_assert_int_eq(unsetenv(variable), 0);
}

static const struct {
        const char *make, *cargo;
        size_t count;
        int fds[JOBSERVER_FDS_MAX];
} cases[] = {
        /* As written by make 4.2 to 4.4, make 4.1, and cargo. */
        {" -j2 --jobserver-auth=30,31", NULL, 2, {30, 31}},
        {" --jobserver-fds=30,31 -j", NULL, 2, {30, 31}},
        {NULL, "-j --jobserver-fds=32,33 --jobserver-auth=32,33", 2, {32, 33}},
        {"--jobserver-auth=30,31", "--jobserver-auth=32,33", 4, {30, 31, 32, 33}},
        {"--jobserver-auth=30,31 -- A=b", NULL, 2, {30, 31}},
        {"--jobserver-auth=37,37", NULL, 2, {37, 37}},

        /* The last one wins. */
        {"--jobserver-auth=30,31 --jobserver-auth=32,33", NULL, 2, {32, 33}},
        {"--jobserver-auth=30,31 --jobserver-auth=fifo:/tmp/fifo", NULL, 0, {0}},
        {"--jobserver-auth=30,31 --jobserver-auth=-2,-2", NULL, 0, {0}},

        /* No job server. */
        {NULL, NULL, 0, {0}},
        {"", "", 0, {0}},
        {"-j1", NULL, 0, {0}},
        {"--jobserver-auth=fifo:/tmp/fifo", NULL, 0, {0}},
        {"k -- A=b\\ --jobserver-auth=30,31 --jobserver-auth=30,31", NULL, 0, {0}},
        {"X--jobserver-auth=30,31", NULL, 0, {0}},

        /* A descriptor that isn't a pipe isn't passed, nor the other of its pair. */
        {"--jobserver-auth=34,34", NULL, 0, {0}},
        {"--jobserver-auth=30,34", NULL, 0, {0}},
        {"--jobserver-auth=34,31", NULL, 0, {0}},
        {"--jobserver-auth=30,35", NULL, 0, {0}},
        {"--jobserver-auth=36,36", NULL, 0, {0}},
        {"--jobserver-auth=30,38", NULL, 0, {0}},
        {"--jobserver-auth=38,31", NULL, 0, {0}},

        /* Not two numbers. */
        {"--jobserver-auth=", NULL, 0, {0}},
        {"--jobserver-auth=30", NULL, 0, {0}},
        {"--jobserver-auth=30,", NULL, 0, {0}},
        {"--jobserver-auth=,31", NULL, 0, {0}},
        {"--jobserver-auth=30, 31", NULL, 0, {0}},
        {"--jobserver-auth=30,31,32", NULL, 0, {0}},
        {"--jobserver-auth=30,31x", NULL, 0, {0}},
        {"--jobserver-auth=+30,+31", NULL, 0, {0}},
        {"--jobserver-auth=4294967326,4294967327", NULL, 0, {0}},
        {"--jobserver-auth=99999999999999999999,31", NULL, 0, {0}},
};

START_TEST(finds_pipes_that_are_named_and_nothing_else) {
        open_them();
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                const char *make = cases[i].make ?: "-", *cargo = cases[i].cargo ?: "-";
                struct jobserver jobserver;

                set("MAKEFLAGS", cases[i].make);
                set("CARGO_MAKEFLAGS", cases[i].cargo);
                jobserver_find(&jobserver);
                ck_assert_msg(jobserver.count == cases[i].count, "%zu of %s, %s", jobserver.count,
                              make, cargo);
                ck_assert_msg(memcmp(jobserver.fds, cases[i].fds, sizeof(jobserver.fds)) == 0,
                              "others of %s, %s", make, cargo);
        }
}
END_TEST

START_TEST(passes_what_it_found_and_nothing_else) {
        struct jobserver jobserver;

        open_them();
        set("MAKEFLAGS", "--jobserver-auth=30,31");
        set("CARGO_MAKEFLAGS", NULL);
        jobserver_find(&jobserver);
        ck_assert_int_eq(jobserver_pass(&jobserver), 0);
        for (int fd = PIPE_READER; fd < CLOSED; fd++)
                ck_assert_int_eq(fcntl(fd, F_GETFD), fd <= PIPE_WRITER ? 0 : FD_CLOEXEC);
}
END_TEST

int main(void) {
        return SUITE_RUN("jobserver", finds_pipes_that_are_named_and_nothing_else,
                         passes_what_it_found_and_nothing_else);
}
