/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The clock over the calls that can block on a client's file system: it runs during such a call
 * alone, not during a whole request, so whoever reads it sees how long one call has taken.
 */

#include <stdatomic.h>
#include <stdint.h>

struct stall_clock {
        atomic_uint_least64_t since; /* microseconds of CLOCK_MONOTONIC, 0: stopped */
};

/* The clock of the calling thread; borrowed. Without one, begin and end do nothing. */
void stall_use(struct stall_clock *clock);

/* Around one call. Any thread. */
void stall_begin(void);
void stall_end(void);

/* Microseconds since the call that is under way began, 0 if there is none. Any thread. */
uint64_t stall_elapsed(const struct stall_clock *clock);
