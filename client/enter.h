/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Makes a directory this process' root directory, with privilege or without. */

/*
 * Enters the directory `root` (borrowed, O_PATH is enough) by chroot(2) and goes to its top: with
 * CAP_SYS_CHROOT where there is one, else in a new user namespace in which only the caller's own
 * user and group exist. For a process with a single thread that is going to execute something else;
 * it must be non-dumpable, and is so afterwards. Tells standard error if it fails.
 */
int enter_root(int root);
