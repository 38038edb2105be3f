/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Why a user namespace was denied, and what the user or administrator can do about it. */

#include <sys/types.h>

enum denial_step {
        DENIAL_UNSHARE, /* unshare(2) */
        DENIAL_OPEN,    /* open(2) of a map in /proc/self */
        DENIAL_WRITE,   /* write(2) to it */
        DENIAL_USE,     /* a system call that needs a capability in the namespace */
};

/*
 * One clause without a full stop, for the positive errno of the failed step; never NULL. `uid` is
 * the effective uid before the step: in a namespace without maps, geteuid() returns the overflow
 * uid. Reads sysctls, so it must be called while /proc is still the host's.
 */
const char *denial_advice(enum denial_step step, int error, uid_t uid);
