/* SPDX-License-Identifier: Apache-2.0 */

/* A timer for each thread, made when it is first needed: timer_create(2) with SIGEV_THREAD_ID. */

#include "daemon/impatience.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

enum {
        IMPATIENCE_NS = 500000, /* again and again: the first may come before the wait begins */
};

static _Thread_local struct {
        bool tried;
        bool made;
        timer_t timer;
} impatience;

static void impatience_on_signal(int signal) {
        (void)signal;
}

static void impatience_make(void) {
        const struct sigaction action = {
                .sa_handler = impatience_on_signal,
                .sa_flags = SA_RESTART,
        };
        struct sigevent event = {
                .sigev_notify = SIGEV_THREAD_ID,
                .sigev_signo = SIGUSR2,
                ._sigev_un._tid = gettid(),
        };

        impatience.tried = true;
        impatience.made = sigaction(SIGUSR2, &action, NULL) == 0 &&
                          timer_create(CLOCK_MONOTONIC, &event, &impatience.timer) == 0;
}

static void impatience_set(long nanoseconds) {
        const struct itimerspec times = {
                .it_value.tv_nsec = nanoseconds,
                .it_interval.tv_nsec = nanoseconds,
        };

        if (impatience.made)
                timer_settime(impatience.timer, 0, &times, NULL);
}

void impatience_begin(void) {
        if (!impatience.tried)
                impatience_make();
        impatience_set(IMPATIENCE_NS);
}

void impatience_end(void) {
        impatience_set(0);
}

void impatience_forget(void) {
        if (impatience.made)
                timer_delete(impatience.timer);
        impatience.tried = impatience.made = false;
}
