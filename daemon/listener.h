/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The listening socket: handed over by the service manager (sd_listen_fds(3)), or bound here for a
 * daemon that is run by hand. On the main thread, at start.
 */

#include <stdio.h>

/*
 * Takes the socket that the service manager passed, or with `path` binds one there, mode 0660. The
 * caller owns it; it is non-blocking and close-on-exec. -EINVAL and the like: a sentence about what
 * is wrong and what to do has been written to `errors`.
 */
int listener_open(const char *path, FILE *errors);
