/* SPDX-License-Identifier: Apache-2.0 */

#include "client/signals.h"

#include "tests/test.h"
#include "tests/unit/client/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

static const int list[] = {SIGUSR1, SIGUSR2};

static bool is_blocked(int number) {
        sigset_t set;

        ck_assert_int_eq(sigprocmask(SIG_BLOCK, NULL, &set), 0);
        return sigismember(&set, number) == 1;
}

static bool is_readable(const struct signals *signals) {
        struct pollfd poller = {.fd = signals->fd, .events = POLLIN};

        return poll(&poller, 1, 0) == 1 && poller.revents == POLLIN;
}

START_TEST(returns_pending_signals_one_by_one) {
        SIGNALS_AUTO struct signals signals = SIGNALS_NONE;
        struct signalfd_siginfo info;

        ck_assert_int_eq(signals_open(&signals, list, 2), 0);
        ck_assert(!is_readable(&signals));
        ck_assert_int_eq(signals_next(&signals, &info), -EAGAIN);

        ck_assert_int_eq(kill(getpid(), SIGUSR2), 0);
        ck_assert_int_eq(kill(getpid(), SIGUSR1), 0);
        ck_assert(is_readable(&signals));
        ck_assert_int_eq(signals_next(&signals, &info), 0);
        ck_assert_int_eq(info.ssi_signo, SIGUSR1);
        ck_assert_int_eq(info.ssi_code, SI_USER);
        ck_assert_int_eq(info.ssi_pid, getpid());
        ck_assert_int_eq(signals_next(&signals, &info), 0);
        ck_assert_int_eq(info.ssi_signo, SIGUSR2);
        ck_assert_int_eq(signals_next(&signals, &info), -EAGAIN);
}
END_TEST

START_TEST(descriptor_is_close_on_exec) {
        SIGNALS_AUTO struct signals signals = SIGNALS_NONE;

        ck_assert_int_eq(signals_open(&signals, list, 2), 0);
        ck_assert_int_eq(fcntl(signals.fd, F_GETFD), FD_CLOEXEC);
}
END_TEST

/* Also of signals that were blocked before, in the list or not. */
START_TEST(restores_the_original_mask) {
        SIGNALS_AUTO struct signals signals = SIGNALS_NONE;
        sigset_t before;

        sigemptyset(&before);
        sigaddset(&before, SIGUSR2);
        sigaddset(&before, SIGWINCH);
        ck_assert_int_eq(sigprocmask(SIG_SETMASK, &before, NULL), 0);

        ck_assert_int_eq(signals_open(&signals, list, 2), 0);
        ck_assert(is_blocked(SIGUSR1) && is_blocked(SIGUSR2) && is_blocked(SIGWINCH));
        ck_assert(!is_blocked(SIGTERM));
        signals_restore(&signals);
        ck_assert(!is_blocked(SIGUSR1) && is_blocked(SIGUSR2) && is_blocked(SIGWINCH));
}
END_TEST

/* As nohup(1) has it. */
START_TEST(ignored_signals_stay_ignored) {
        SIGNALS_AUTO struct signals signals = SIGNALS_NONE;
        struct signalfd_siginfo info;

        ck_assert(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
        ck_assert_int_eq(signals_open(&signals, list, 2), 0);
        signals_restore(&signals);
        ck_assert_int_eq(kill(getpid(), SIGUSR1), 0);
        ck_assert_int_eq(signals_next(&signals, &info), -EAGAIN);
}
END_TEST

static void (*pipe_action(void))(int) {
        struct sigaction action;

        ck_assert_int_eq(sigaction(SIGPIPE, NULL, &action), 0);
        return action.sa_handler;
}

/* Ignored from the start, as some programs leave it to their children, it stays so. */
START_TEST(broken_pipe_is_an_error_until_restored) {
        void (*const actions[])(int) = {SIG_DFL, SIG_IGN};

        for (size_t i = 0; i < 2; i++) {
                SIGNALS_AUTO struct signals signals = SIGNALS_NONE;
                int fds[2];

                ck_assert(signal(SIGPIPE, actions[i]) != SIG_ERR);
                signals_ignore_pipe();
                ck_assert_int_eq(signals_open(&signals, list, 2), 0);
                ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
                close(fds[0]);
                ck_assert_int_eq(write(fds[1], "", 1), -1);
                ck_assert_int_eq(errno, EPIPE);
                close(fds[1]);
                signals_restore(&signals);
                ck_assert(pipe_action() == actions[i]);
        }
}
END_TEST

START_TEST(may_be_closed_unopened_and_twice) {
        struct signals signals = SIGNALS_NONE;
        unsigned before = descriptors_count();

        signals_close(&signals);
        ck_assert_int_eq(signals_open(&signals, list, 2), 0);
        signals_close(&signals);
        ck_assert_int_lt(signals.fd, 0);
        signals_close(&signals);
        ck_assert_uint_eq(descriptors_count(), before);
}
END_TEST

static int open_without_descriptors(const void *argument) {
        SIGNALS_AUTO struct signals signals = SIGNALS_NONE;
        const struct rlimit none = {0, 0};
        sigset_t empty;

        (void)argument;
        sigemptyset(&empty);
        sigprocmask(SIG_SETMASK, &empty, NULL);
        signals_ignore_pipe();
        if (setrlimit(RLIMIT_NOFILE, &none) < 0 || signals_open(&signals, list, 2) != -EMFILE ||
            pipe_action() != SIG_IGN)
                return 1;
        return signals.fd < 0 && !is_blocked(SIGUSR1) ? 0 : 2;
}

START_TEST(failure_is_reported_and_blocks_nothing) {
        ck_assert_int_eq(capture(open_without_descriptors, NULL), 0);
        expect_errors("signals");
        expect_errors("Too many open files");
}
END_TEST

int main(void) {
        return SUITE_RUN("signals", returns_pending_signals_one_by_one, descriptor_is_close_on_exec,
                         restores_the_original_mask, ignored_signals_stay_ignored,
                         broken_pipe_is_an_error_until_restored, may_be_closed_unopened_and_twice,
                         failure_is_reported_and_blocks_nothing);
}
