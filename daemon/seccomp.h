/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Confines the daemon, once started, to the system calls that it makes: seccomp(2). Any other call
 * has no part in its work: it is refused with EPERM, and logged by the kernel (an audit record of
 * type 1326; with journald, journalctl _TRANSPORT=audit). The unit's SystemCallFilter= denies some
 * groups from the beginning; this list allows some calls from here on.
 */

enum seccomp_mode {
        SECCOMP_ENFORCE, /* refuse, and log */
        SECCOMP_LOG,     /* allow, and log: to find out what a system needs */
        SECCOMP_OFF,
};

#include <stdbool.h>

/*
 * For all present and future threads; can't be undone. With `join` the calls of namespaces.h are
 * allowed as well. Needs no_new_privs or CAP_SYS_ADMIN. Negative errno; -EINVAL: a kernel without
 * filters.
 */
int seccomp_confine(enum seccomp_mode mode, bool join);

/* "enforce", "log", "off"; -EINVAL. */
int seccomp_mode_from_name(const char *name);
