/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The signals that mountatctl waits for instead of being interrupted by them: signalfd(2). */

#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>

struct signals {
        int fd;            /* owned; readable when one is there */
        sigset_t original; /* the mask before */
};

#define SIGNALS_NONE                                                                               \
        { .fd = -EBADF }

/* Blocks the `n` signals of `list` and opens the descriptor. Tells standard error if it fails. */
int signals_open(struct signals *signals, const int *list, size_t n);

void signals_close(struct signals *signals);

#define SIGNALS_AUTO __attribute__((cleanup(signals_close)))

/* Takes the next one without blocking. -EAGAIN if there is none. */
int signals_next(struct signals *signals, struct signalfd_siginfo *info);

/* Gives the process the mask that it had: for a child, before it executes something else. */
void signals_restore(const struct signals *signals);
