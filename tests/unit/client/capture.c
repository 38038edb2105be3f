/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/unit/client/capture.h"

#include "common/fd.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct captured captured = {.input = -EBADF, .streams = {-EBADF, -EBADF}};

static void capture_pipe(int *reader, int *writer) {
        int fds[2];

        ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
        *reader = fds[0];
        *writer = fds[1];
}

__attribute__((noreturn)) static void capture_run(int (*act)(const void *argument),
                                                  const void *argument, const int streams[3]) {
        static char name[] = "mountatctl";
        int status;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        program_invocation_short_name = name;
        fd_close(captured.input);
        for (int i = 0; i < 3; i++)
                if (dup2(streams[i], i) < 0)
                        abort();
        status = act(argument);
        fflush(stdout);
        _exit(status);
}

void capture_start(int (*act)(const void *argument), const void *argument) {
        int streams[3];

        captured = (struct captured){0};
        capture_pipe(&streams[0], &captured.input);
        capture_pipe(&captured.streams[0], &streams[1]);
        capture_pipe(&captured.streams[1], &streams[2]);
        fflush(NULL);
        captured.pid = fork();
        ck_assert_int_ge(captured.pid, 0);
        if (captured.pid == 0)
                capture_run(act, argument, streams);
        for (int i = 0; i < 3; i++)
                fd_close(streams[i]);
}

/* Reads from one stream; closes it at its end. */
static void capture_read(int i) {
        char *text = i == 0 ? captured.output : captured.errors;
        size_t room = CAPTURE_MAX - 1 - captured.lengths[i];
        ssize_t size = read(captured.streams[i], text + captured.lengths[i], room);

        ck_assert_uint_gt(room, 0);
        ck_assert_int_ge(size, 0);
        captured.lengths[i] += (size_t)size;
        if (size == 0)
                captured.streams[i] = fd_close(captured.streams[i]);
}

/* Waits for more output. 0 if both streams have ended. */
static int capture_more(void) {
        struct pollfd pollers[] = {
                {.fd = captured.streams[0], .events = POLLIN},
                {.fd = captured.streams[1], .events = POLLIN},
        };

        if (captured.streams[0] < 0 && captured.streams[1] < 0)
                return 0;
        ck_assert_int_gt(poll(pollers, 2, -1), 0);
        for (int i = 0; i < 2; i++)
                if (pollers[i].revents)
                        capture_read(i);
        return 1;
}

static void capture_await_in(const char *stream, const char *text) {
        while (!strstr(stream, text))
                ck_assert_msg(capture_more(), "it ended without \"%s\": %s%s", text,
                              captured.output, captured.errors);
}

void capture_await(const char *text) {
        capture_await_in(captured.output, text);
}

void capture_await_errors(const char *text) {
        capture_await_in(captured.errors, text);
}

void capture_await_end(void) {
        while (capture_more())
                ;
}

int capture_end(void) {
        int status;

        captured.input = fd_close(captured.input);
        capture_await_end();
        ck_assert_int_eq(waitpid(captured.pid, &status, 0), captured.pid);
        ck_assert_msg(WIFEXITED(status), "signal %d: %s", WTERMSIG(status), captured.errors);
        return WEXITSTATUS(status);
}

int capture(int (*act)(const void *argument), const void *argument) {
        capture_start(act, argument);
        return capture_end();
}

void expect_errors(const char *part) {
        ck_assert_msg(strstr(captured.errors, part) != NULL, "no \"%s\" in: %s", part,
                      captured.errors);
}
