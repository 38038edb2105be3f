/* SPDX-License-Identifier: Apache-2.0 */

#include "client/turn.h"

#include <errno.h>
#include <time.h>

enum {
        TURN_NS_PER_S = 1000 * 1000 * 1000,
};

void turn_init(struct turn *turn) {
        pthread_condattr_t attributes;

        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&turn->free, &attributes);
        pthread_condattr_destroy(&attributes);
        pthread_mutex_init(&turn->mutex, NULL);
        turn->taken = false;
}

void turn_destroy(struct turn *turn) {
        pthread_cond_destroy(&turn->free);
        pthread_mutex_destroy(&turn->mutex);
}

int turn_take(struct turn *turn, int64_t deadline) {
        struct timespec when = {
                .tv_sec = deadline / TURN_NS_PER_S,
                .tv_nsec = deadline % TURN_NS_PER_S,
        };
        int error = 0;

        pthread_mutex_lock(&turn->mutex);
        while (turn->taken && error == 0)
                error = pthread_cond_timedwait(&turn->free, &turn->mutex, &when);
        if (!turn->taken) {
                turn->taken = true;
                error = 0;
        }
        pthread_mutex_unlock(&turn->mutex);
        return -error;
}

void turn_give(struct turn *turn) {
        pthread_mutex_lock(&turn->mutex);
        turn->taken = false;
        pthread_cond_signal(&turn->free);
        pthread_mutex_unlock(&turn->mutex);
}
