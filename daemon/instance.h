/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Identifies a process unambiguously, even after its death and after a reboot. A pid alone is
 * reused; with the start time and the boot id it is unique. proc(5).
 *
 * A process is alive if it can return to user mode. With SIGKILL pending, or once its leader is a
 * zombie or exiting, it can't: a thread that is stuck in the kernel, in a file system that doesn't
 * answer, still holds descriptors and locks, but will not act any more.
 *
 * Everything here reads /proc by path: only for threads whose root is the daemon's own.
 */

#include <stdbool.h>
#include <stdint.h>

/* Also on disk, in every version of the state file: the layout never changes. */
struct instance {
        char boot_id[40];    /* NUL-terminated UUID */
        uint64_t start_time; /* clock ticks since boot */
        int32_t pid;
        uint32_t mount_namespace; /* its inode in nsfs; 0: unknown, from 0.1 */
};

/* The calling process. Negative errno: /proc can't be read; -EXDEV: it shows only processes. */
int instance_self(struct instance *instance);

/*
 * Whether the process can return to user mode; `self` is the calling one. A process whose state
 * can't be read counts as alive.
 */
bool instance_is_alive(const struct instance *instance, const struct instance *self);

/*
 * Whether nothing of the process is left, not even a thread stuck in the kernel: what it has not
 * done by now it never will. A dead process need not be gone: its stuck thread can still complete
 * the current system call.
 */
bool instance_is_gone(const struct instance *instance, const struct instance *self);

/*
 * As !instance_is_alive(), for a process of which only the pid is known: it exists, and can't
 * return to user mode. False if there is no such process, and for pid 0, which SO_PEERCRED returns
 * for a process in a pid namespace that we can't see.
 */
bool instance_pid_is_dead(int32_t pid);
