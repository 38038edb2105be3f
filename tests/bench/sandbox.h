/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The benchmark's environment: a mount namespace of its own, so that nothing is visible on the
 * machine or outlives the process, with a directory in memory. A failure ends the program: an
 * incomplete benchmark would be wrong.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Enters the namespace and makes the directory. Before the first thread. */
void sandbox_enter(void);

/* Removes the directory. */
void sandbox_leave(void);

/* The absolute path of a file in it; the caller frees it. */
char *sandbox_path(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Makes the input root ROOT-`number` with empty proc and sys; returns an O_PATH descriptor, owned
 * by the caller.
 */
int sandbox_make_root(unsigned number);

/* Whether anything is mounted below it. */
bool sandbox_is_covered(int root);

/* Makes `count` more mounts in the namespace, until the next call; 0 removes them. */
void sandbox_crowd(unsigned count);

/* Makes `count` more namespaces that receive the mounts made here, until the next call. */
void sandbox_enslave(unsigned count);
