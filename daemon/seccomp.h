/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The system calls that the daemon makes once it has started, and no other: seccomp(2). A call that
 * isn't on the list has no part in mounting procfs: it is refused with EPERM, and the kernel logs
 * it (an audit record of type 1326; with journald, journalctl _TRANSPORT=audit). The unit's
 * SystemCallFilter= denies a few groups from the beginning; this allows a few calls from here on.
 */

enum seccomp_mode {
        SECCOMP_ENFORCE, /* refuse, and log */
        SECCOMP_LOG,     /* allow, and log: to find out what is missing on some system */
        SECCOMP_OFF,
};

#include <stdbool.h>

/*
 * For all threads that there are and will be; it can't be undone. With `join` what namespaces.h
 * calls is allowed as well. Needs no_new_privs or
 * CAP_SYS_ADMIN. Negative errno, -EINVAL of a kernel without filters.
 */
int seccomp_confine(enum seccomp_mode mode, bool join);

/* "enforce", "log", "off"; -EINVAL. */
int seccomp_mode_from_name(const char *name);
