/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Keeps one capability, CAP_SYS_ADMIN, and no other; or also CAP_SYS_CHROOT, which entering a mount
 * namespace takes. capabilities(7), setns(2), prctl(2).
 *
 * The end state is the same however the process was started: the permitted, effective and bounding
 * sets are exactly those; the inheritable and ambient sets are empty; no_new_privs is set; the
 * securebits are locked, so that neither a uid nor an execve gives anything back.
 */

#include <stdbool.h>

/*
 * Drops all other capabilities. Call it once, before the first thread: threads keep the
 * capabilities they have. A step that lacks a capability for itself is skipped, and left to
 * privilege_check() to judge. Negative errno with a message about the step in `*step` (static) if
 * the kernel refuses one.
 */
int privilege_drop(bool join, const char **step);

/*
 * 0 if every thread of this process is in the end state. Otherwise -EPERM, or an errno of reading
 * /proc/self/task, and `*what` (static) says what is wrong.
 */
int privilege_check(const char **what);
