/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Durations that were measured, and what they amount to. Nanoseconds. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct samples {
        size_t count;
        size_t room;
        uint64_t *values;
};

void samples_add(struct samples *samples, uint64_t value);

/* Those of `more` as well. */
void samples_append(struct samples *samples, const struct samples *more);

/* The value below which lies the share `q` of all, 0 to 1; sorts them. 0 if there are none. */
uint64_t samples_quantile(struct samples *samples, double q);

void samples_free(struct samples *samples);

/* CLOCK_MONOTONIC */
uint64_t samples_now(void);

/* Processor time of the calling thread. */
uint64_t samples_cpu(void);

/* Of all threads of a process so far; ends the program if there is none. */
uint64_t samples_cpu_of(pid_t pid);
