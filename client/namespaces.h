/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The namespaces of this process, as they are sent to a daemon that is to mount in them: files in
 * /proc/self/ns (namespaces(7)), which a process has of itself wherever procfs is mounted.
 */

#include "common/wire.h"

enum { NAMESPACES_MAX = 3 };

/*
 * Opens them, and fills in `*request`, whose n_targets are open then; the caller owns `fds` on
 * success. Without a pid or network namespace to be had it is done all the same: the daemon says
 * what it can't mount for want of them. -ENFILE, -EMFILE, -ENOMEM: this process can't now. Else
 * there is no mount namespace to be had.
 */
int namespaces_open(struct wire_request *request, int fds[static NAMESPACES_MAX]);
