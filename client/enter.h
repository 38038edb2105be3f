/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* chroot(2) with or without privilege. */

/*
 * Makes the directory `root` (borrowed, O_PATH is enough) the root and working directory: with
 * CAP_SYS_CHROOT if the process has it, else in a new user namespace that maps only the caller's
 * user and group. Only for a single-threaded, non-dumpable process that is about to execve(2); it
 * stays non-dumpable. Prints errors to standard error.
 */
int enter_root(int root);
