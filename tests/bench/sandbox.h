/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where the benchmark takes place: a mount namespace of its own, so that nothing of it is seen on
 * the machine or outlives the process, and a directory in memory in it. What fails ends the
 * program: a benchmark with a part missing would be a wrong one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Enters the namespace and makes the directory. Before there are threads. */
void sandbox_enter(void);

/* Takes the directory away again. */
void sandbox_leave(void);

/* The absolute path of something in it; the caller frees. */
char *sandbox_path(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Makes the input root ROOT-`number` with empty proc and sys; an O_PATH of it, the caller's. */
int sandbox_make_root(unsigned number);

/* Whether something is mounted below it. */
bool sandbox_is_covered(int root);

/* `count` more mounts in the namespace, until the next call; 0 takes them away. */
void sandbox_crowd(unsigned count);

/* `count` more namespaces that receive what is mounted here, until the next call. */
void sandbox_enslave(unsigned count);
