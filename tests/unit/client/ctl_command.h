/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A command of mountatctl's, called in the scripted fixture's directory, where the root is "root",
 * with the scripted peer for its daemon and bus_peer, if it was started, for its bus.
 */

#include "client/command.h"
#include "tests/unit/client/bus_peer.h"
#include "tests/unit/client/capture.h"
#include "tests/unit/client/scripted.h"

typedef int ctl_act(const struct arguments *arguments);

/* Parses the words up to a NULL, and acts. */
void ctl_command_start(ctl_act *act, const char *const *words);
int ctl_command(ctl_act *act, const char *const *words);

/* The exit status; what was printed is in `captured`. */
#define CTL(act, ...) ctl_command(act, (const char *const[]){__VA_ARGS__, NULL})
#define CTL_START(act, ...) ctl_command_start(act, (const char *const[]){__VA_ARGS__, NULL})

/* Acts, in the command's process, with a standard output that is full. */
int ctl_to_full_device(ctl_act *act, const struct arguments *arguments);

/* Serves all connections of the test from now on with that script. */
void ctl_script(void (*script)(int connection));
