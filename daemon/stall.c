/* SPDX-License-Identifier: Apache-2.0 */

/* Written by its own thread, read by the one that watches; clock_gettime(2) is no syscall here. */

#include "daemon/stall.h"

#include <stddef.h>
#include <time.h>

static _Thread_local struct stall_clock *stall_clock;

static uint64_t stall_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void stall_use(struct stall_clock *clock) {
        stall_clock = clock;
}

void stall_begin(void) {
        if (stall_clock)
                atomic_store(&stall_clock->since, stall_now());
}

void stall_end(void) {
        if (stall_clock)
                atomic_store(&stall_clock->since, 0);
}

uint64_t stall_elapsed(const struct stall_clock *clock) {
        uint64_t since = atomic_load(&clock->since);

        return since ? stall_now() - since : 0;
}
