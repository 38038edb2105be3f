/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A process that can't create threads. RLIMIT_NPROC counts those of a user, so the test becomes a
 * user without other processes. The limit must be lifted before the end, since a sanitizer creates
 * a thread.
 */

#include <check.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static inline void limit_threads(bool limit) {
        struct rlimit limits;

        ck_assert_int_eq(getrlimit(RLIMIT_NPROC, &limits), 0);
        limits.rlim_cur = limit ? 1 : limits.rlim_max;
        ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &limits), 0);
}

/* False: only root can. */
static inline bool become_somebody(void) {
        uid_t uid = 0x70000000 + getpid();

        if (geteuid() != 0)
                return false;
        ck_assert_int_eq(setresuid(uid, uid, uid), 0);
        ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0); /* or /proc/self is root's */
        return true;
}
