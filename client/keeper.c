/* SPDX-License-Identifier: Apache-2.0 */

#include "client/keeper.h"

#include "common/fd.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void *keeper_run(void *userdata) {
        struct keeper *keeper = userdata;
        struct pollfd pollers[] = {
                {.fd = keeper->stop, .events = POLLIN},
                {.fd = keeper->watch, .events = POLLIN},
        };
        int pause = keeper->tend(keeper);

        for (;;) {
                poll(pollers, 2, pause);
                if (pollers[0].revents)
                        return NULL;
                pause = keeper->tend(keeper);
        }
}

/* A new thread inherits its creator's signal mask: pthread_create(3). */
static int keeper_create_thread(struct keeper *keeper) {
        sigset_t all, original;
        int error;

        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, &original);
        error = pthread_create(&keeper->thread, NULL, keeper_run, keeper);
        pthread_sigmask(SIG_SETMASK, &original, NULL);
        return -error;
}

int keeper_start(struct keeper *keeper, int watch, int (*tend)(struct keeper *keeper)) {
        int result;

        keeper->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (keeper->stop < 0)
                return -errno;
        keeper->watch = watch;
        keeper->tend = tend;
        keeper->process = getpid();
        result = keeper_create_thread(keeper);
        if (result < 0) {
                keeper->stop = fd_close(keeper->stop);
                return result;
        }
        keeper->running = true;
        return 0;
}

void keeper_stop(struct keeper *keeper) {
        if (keeper->running && keeper->process == getpid()) {
                eventfd_write(keeper->stop, 1);
                pthread_join(keeper->thread, NULL);
        }
        keeper->running = false;
        keeper->stop = fd_close(keeper->stop);
}
