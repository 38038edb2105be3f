/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/bench/samples.h"

#include <err.h>
#include <stdlib.h>
#include <time.h>

void samples_add(struct samples *samples, uint64_t value) {
        if (samples->count == samples->room) {
                samples->room = samples->room ? samples->room * 2 : 1024;
                samples->values = reallocarray(samples->values, samples->room, sizeof(value));
                if (!samples->values)
                        err(EXIT_FAILURE, "samples");
        }
        samples->values[samples->count++] = value;
}

void samples_append(struct samples *samples, const struct samples *more) {
        for (size_t i = 0; i < more->count; i++)
                samples_add(samples, more->values[i]);
}

static int samples_compare(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return (x > y) - (x < y);
}

uint64_t samples_quantile(struct samples *samples, double q) {
        size_t index;

        if (samples->count == 0)
                return 0;
        qsort(samples->values, samples->count, sizeof(samples->values[0]), samples_compare);
        index = (size_t)(q * (double)samples->count);
        return samples->values[index < samples->count ? index : samples->count - 1];
}

void samples_free(struct samples *samples) {
        free(samples->values);
        *samples = (struct samples){0};
}

static uint64_t samples_read(clockid_t clock) {
        struct timespec now;

        if (clock_gettime(clock, &now) < 0)
                err(EXIT_FAILURE, "clock_gettime");
        return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

uint64_t samples_now(void) {
        return samples_read(CLOCK_MONOTONIC);
}

uint64_t samples_cpu(void) {
        return samples_read(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t samples_cpu_of(pid_t pid) {
        clockid_t clock;

        if (clock_getcpuclockid(pid, &clock) != 0)
                errx(EXIT_FAILURE, "no processor time of process %d", pid);
        return samples_read(clock);
}
