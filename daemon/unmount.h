/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Unmounts a mount by a descriptor of its root: no path, no lookup, even below directories that the
 * daemon can't enter. The kernel has no unmountat(2), but a thread with a working directory of its
 * own can fchdir(2) to the root and umount2(2) ".".
 */

#include <stdint.h>

/* Once per process, before the first unmount_isolate(). Negative errno. */
int unmount_prepare(void);

/*
 * Gives the calling thread a working directory of its own; once in each thread that will call
 * unmount_detach().
 */
int unmount_isolate(void);

/*
 * Detaches the mount with the id `id`, whose root is open as `fd` (borrowed), with all mounts below
 * it, even if it is busy (MNT_DETACH): its directory can be removed at once. A mount that is
 * already gone is a success. Others' mounts stacked on its root are detached first; `*strangers`
 * counts them. Negative errno: it is still there. In an isolated thread, whose working directory it
 * changes; takes an RCU grace period, 6 to 40 microseconds.
 */
int unmount_detach(unsigned features, int fd, uint64_t id, unsigned *strangers);

/*
 * Moves the thread back to "/", after one or more unmount_detach(): until then it keeps the last
 * mount from being freed, though not its directory from being removed.
 */
void unmount_return(void);
