/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Unmounting by the mount itself, relative to a descriptor of its root: no path, no lookup, also
 * below directories that the daemon couldn't enter. The kernel has no unmountat(2); a thread whose
 * working directory is its own can go there with fchdir(2) and umount2(2) ".".
 */

#include <stdint.h>

/* Once in the process, before the first unmount_isolate(). Negative errno. */
int unmount_prepare(void);

/* Once in each thread that will call unmount_detach(): a working directory of its own. */
int unmount_isolate(void);

/*
 * Detaches the mount with the id `id` on whose root `fd` (borrowed) is open, with all that is
 * mounted below it, whatever is busy in it (MNT_DETACH): its directory can be removed at once.
 * A mount that is gone already is a success. What others have stacked on its root goes first;
 * `*strangers` counts those. Negative errno: it is still there.
 * In an isolated thread, whose working directory it changes; takes an RCU grace period, 6 to 40
 * microseconds.
 */
int unmount_detach(unsigned features, int fd, uint64_t id, unsigned *strangers);

/*
 * Back to "/", after one unmount_detach() or several: until then the thread keeps the last one's
 * mount from being freed, though not its directory from being removed.
 */
void unmount_return(void);
