/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who runs: a process named so that it can be told from every other one, also after its death and
 * after a reboot. A pid alone is reused; with its start time and the boot's id it isn't. proc(5).
 */

#include <stdbool.h>
#include <stdint.h>

struct instance {
        char boot_id[40];    /* NUL-terminated UUID */
        uint64_t start_time; /* clock ticks since boot */
        int32_t pid;
        uint32_t padding;
};

/* The calling process. Negative errno if /proc can't be read. */
int instance_self(struct instance *instance);

/*
 * Whether nothing of that process is left, no thread that is stuck in the kernel either: what it
 * has not done by now it will never do.
 */
bool instance_is_gone(const struct instance *instance, const struct instance *self);

/*
 * The state of a process or thread as /proc/PID/stat has it: 'R' running, 'S' and 'D' asleep, the
 * latter beyond the reach of signals, 'Z' zombie. Negative errno.
 */
int instance_state(int32_t pid, char *state);

/*
 * Whether that process still runs, asked from `self`. A zombie doesn't: it is only waiting for its
 * parent, or for a thread that is stuck in the kernel and will never come back to user space.
 */
bool instance_is_alive(const struct instance *instance, const struct instance *self);

bool instance_process_is_dead(int32_t pid);
