/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Signals that are read from a signalfd(2) instead of interrupting the program. */

#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>

struct signals {
        int fd;            /* owned; readable when a signal is pending */
        sigset_t original; /* the signal mask before */
};

#define SIGNALS_NONE                                                                               \
        { .fd = -EBADF }

/* Blocks the `n` signals of `list` and opens the descriptor. Prints an error if that fails. */
int signals_open(struct signals *signals, const int *list, size_t n);

void signals_close(struct signals *signals);

#define SIGNALS_AUTO __attribute__((cleanup(signals_close)))

/* Reads the next signal without blocking; -EAGAIN if none is pending. */
int signals_next(struct signals *signals, struct signalfd_siginfo *info);

/*
 * Ignores SIGPIPE from now on: a write to a pipe without a reader fails with EPIPE, and doesn't end
 * a process that holds mounts.
 */
void signals_ignore_pipe(void);

/* Restores the signal mask and SIGPIPE, in a child before it calls execve(2). */
void signals_restore(const struct signals *signals);
