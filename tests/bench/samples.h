/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Measured durations and their statistics, in nanoseconds. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct samples {
        size_t count;
        size_t room;
        uint64_t *values;
};

void samples_add(struct samples *samples, uint64_t value);

/* Appends those of `more`. */
void samples_append(struct samples *samples, const struct samples *more);

/* The `q` quantile (0 to 1); sorts the samples. 0 if there are none. */
uint64_t samples_quantile(struct samples *samples, double q);

void samples_free(struct samples *samples);

/* CLOCK_MONOTONIC */
uint64_t samples_now(void);

/* Processor time of the calling thread. */
uint64_t samples_cpu(void);

/* Of all threads of a process so far; ends the program if there is no such process. */
uint64_t samples_cpu_of(pid_t pid);
