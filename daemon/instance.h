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
 * Whether that process still runs, asked from `self`: whether it can return to user mode. One that
 * is dead can't, see below.
 */
bool instance_is_alive(const struct instance *instance, const struct instance *self);

/*
 * Whether nothing of that process is left, no thread that is stuck in the kernel either: what it
 * has not done by now it will never do.
 */
bool instance_is_gone(const struct instance *instance, const struct instance *self);

/*
 * Whether the process that has this pid now, if any, is dead though it may be there: a zombie, which
 * waits for its parent or for a thread that is stuck in the kernel; or one with SIGKILL pending,
 * whose first thread is stuck itself. proc_pid_status(5): State, SigPnd, ShdPnd.
 */
bool instance_process_is_dead(int32_t pid);
