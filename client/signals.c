/* SPDX-License-Identifier: Apache-2.0 */

/* A signal that is ignored at the start (nohup) stays ignored: a signalfd never returns it. */

#include "client/signals.h"

#include "common/fd.h"

#include <err.h>

/* What SIGPIPE did before. */
static void (*signals_pipe)(int) = SIG_DFL;

int signals_open(struct signals *signals, const int *list, size_t n) {
        sigset_t set;

        sigemptyset(&set);
        for (size_t i = 0; i < n; i++)
                sigaddset(&set, list[i]);

        sigprocmask(SIG_BLOCK, &set, &signals->original);
        signals->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (signals->fd < 0) {
                int error = errno;

                sigprocmask(SIG_SETMASK, &signals->original, NULL);
                warn("cannot wait for signals");
                return -error;
        }
        return 0;
}

void signals_close(struct signals *signals) {
        signals->fd = fd_close(signals->fd);
}

int signals_next(struct signals *signals, struct signalfd_siginfo *info) {
        return read(signals->fd, info, sizeof(*info)) == (ssize_t)sizeof(*info) ? 0 : -EAGAIN;
}

void signals_ignore_pipe(void) {
        signals_pipe = signal(SIGPIPE, SIG_IGN);
}

void signals_restore(const struct signals *signals) {
        sigprocmask(SIG_SETMASK, &signals->original, NULL);
        signal(SIGPIPE, signals_pipe);
}
