/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Why a user namespace was denied, and what its user or administrator can do about that. */

#include <sys/types.h>

enum denial_step {
        DENIAL_UNSHARE, /* unshare(2) */
        DENIAL_OPEN,    /* open(2) of a map in /proc/self */
        DENIAL_WRITE,   /* write(2) to it */
        DENIAL_USE,     /* a system call that needs a capability in the namespace */
};

/*
 * One clause without a full stop, for the positive errno that the step failed with; never NULL.
 * `uid` is the effective one before the step: in a namespace without maps nobody has his own. It
 * looks at the sysctls that deny, so it must be called where /proc is still the machine's.
 */
const char *denial_advice(enum denial_step step, int error, uid_t uid);
