/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who runs: a process named so that it can be told from every other one, also after its death and
 * after a reboot. A pid alone is reused; with its start time and the boot's id it isn't. proc(5).
 *
 * A process is alive if it can return to user mode. With SIGKILL pending, or once its leader is a
 * zombie or on its way there, it can't: a thread of it that is stuck in the kernel, in a file
 * system that doesn't answer, stays there, and holds descriptors and locks, but will not act any
 * more.
 *
 * Everything here reads /proc by path, so on a thread whose root is the daemon's own.
 */

#include <stdbool.h>
#include <stdint.h>

/* Also on disk, in the state file of every version: the layout stays. */
struct instance {
        char boot_id[40];    /* NUL-terminated UUID */
        uint64_t start_time; /* clock ticks since boot */
        int32_t pid;
        uint32_t mount_namespace; /* its inode in nsfs; 0: of 0.1, which did not say */
};

/* The calling process. Negative errno if /proc can't be read; -EXDEV: it shows processes alone. */
int instance_self(struct instance *instance);

/*
 * Whether that process can return to user mode, asked from `self`. One whose state can't be read is
 * taken to be alive.
 */
bool instance_is_alive(const struct instance *instance, const struct instance *self);

/*
 * Whether nothing of that process is left, no thread that is stuck in the kernel either: what it
 * has not done by now it will never do. A dead one may not be gone yet: its stuck thread can still
 * finish the system call that it is in.
 */
bool instance_is_gone(const struct instance *instance, const struct instance *self);

/*
 * The same as !instance_is_alive() for a process of which only the pid is known: it is there and
 * can't return to user mode. False if there is no such process, so also for pid 0, which
 * SO_PEERCRED returns for a process in a pid namespace that we can't see.
 */
bool instance_pid_is_dead(int32_t pid);
