/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The namespaces of this process, as sent to a daemon that is to mount in them: the files of
 * /proc/self/ns (namespaces(7)).
 */

#include "common/wire.h"

enum { NAMESPACES_MAX = 3 };

/*
 * Opens them and fills in an enter request with n_targets of them; the caller owns `fds` on
 * success. The pid and network namespaces are optional: the daemon refuses mounts that need them.
 * -ENFILE, -EMFILE, -ENOMEM: try again later. Other errors: the mount namespace can't be opened.
 */
int namespaces_open(struct wire_request *request, int fds[static NAMESPACES_MAX]);
