/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A lock that may be held across blocking calls, and waited for with a deadline. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct turn {
        pthread_mutex_t mutex;
        pthread_cond_t free;
        bool taken;
};

void turn_init(struct turn *turn);
void turn_destroy(struct turn *turn);

/* Waits until `deadline`, in nanoseconds of CLOCK_MONOTONIC. 0 or -ETIMEDOUT. */
int turn_take(struct turn *turn, int64_t deadline);

void turn_give(struct turn *turn);
