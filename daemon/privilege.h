/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Keeping one capability: CAP_SYS_ADMIN, and nothing else; or with it CAP_SYS_CHROOT, without which
 * no mount namespace can be entered. capabilities(7), setns(2), prctl(2).
 *
 * The end state, which is what counts, however the process was started: permitted, effective and
 * bounding set are exactly those; inheritable and ambient set are empty; no_new_privs is
 * set; the securebits are locked so that neither a uid nor an execve gives anything back.
 */

#include <stdbool.h>

/*
 * Drops all else. Call it once, before the first thread: threads keep the capabilities they have.
 * Steps that need a capability which is gone already are left to privilege_check() to judge.
 * Negative errno with the step's name in `*step` (static) if the kernel refuses one.
 */
int privilege_drop(bool join, const char **step);

/*
 * 0 if every thread of this process is in the end state. -EPERM if not, or an errno of reading
 * /proc/self/task; `*what` (static) then says which part of it is missing.
 */
int privilege_check(const char **what);
