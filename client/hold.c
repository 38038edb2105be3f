/* SPDX-License-Identifier: Apache-2.0 */

/* mountatctl hold: mounts, and unmounts at the end of input or at a signal. */

#include "client/command.h"
#include "client/session.h"
#include "client/signals.h"
#include "common/text.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

static const int hold_signals[] = {
        SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM,
};

enum hold_source {
        HOLD_SIGNALS,
        HOLD_INPUT,
        HOLD_DAEMON,
        HOLD_SOURCES,
};

static int hold_announce(const struct session *session) {
        char path[4 * PATH_MAX], file_systems[SESSION_FILE_SYSTEMS_MAX];

        printf("mounted %s below %s, lease %016" PRIx64 "\n",
               session_file_systems(session->flags, file_systems),
               text_escape(path, sizeof(path), session->path), session->lease);
        if (fflush(stdout) == 0)
                return 0;
        warn("cannot write to standard output");
        return -EIO;
}

/* Discards pending input; an input that can't be read counts as ended. */
static int hold_input_ended(void) {
        char bytes[4096];

        return read(STDIN_FILENO, bytes, sizeof(bytes)) <= 0;
}

static int hold_wait(struct session *session, const struct signals *signals) {
        for (;;) {
                struct pollfd pollers[HOLD_SOURCES] = {
                        [HOLD_SIGNALS] = {.fd = signals->fd, .events = POLLIN},
                        [HOLD_INPUT] = {.fd = STDIN_FILENO, .events = POLLIN},
                        [HOLD_DAEMON] = {.fd = session_fd(session), .events = POLLIN},
                };

                if (poll(pollers, HOLD_SOURCES, session_patience(session)) < 0) {
                        if (errno == EINTR)
                                continue;
                        warn("cannot wait for signals and standard input");
                        return -EIO;
                }
                if (pollers[HOLD_DAEMON].revents || session_patience(session) == 0) {
                        int result = session_tend(session);

                        if (result < 0)
                                return result;
                }
                if (pollers[HOLD_SIGNALS].revents)
                        return 0;
                if (pollers[HOLD_INPUT].revents && hold_input_ended())
                        return 0;
        }
}

int command_hold(const struct arguments *arguments) {
        SESSION_AUTO struct session session = SESSION_NONE;
        SIGNALS_AUTO struct signals signals = SIGNALS_NONE;
        int waited = 0;

        /* Signals are blocked before the mount: dying of one would leave created directories. */
        if (session_connect(&session, arguments) < 0 ||
            signals_open(&signals, hold_signals, sizeof(hold_signals) / sizeof(hold_signals[0])) <
                    0 ||
            session_mount(&session, arguments->operands[0]) < 0)
                return COMMAND_FAILED;

        if (!arguments->quiet)
                waited = hold_announce(&session);
        if (waited == 0)
                waited = hold_wait(&session, &signals);
        if (session_unmount(&session) < 0)
                waited = -ECANCELED;
        return waited < 0 ? COMMAND_FAILED : 0;
}
