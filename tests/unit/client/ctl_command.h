/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Runs a command of mountatctl in the scripted fixture's directory, where the root is "root". Its
 * daemon is the scripted peer, its bus is bus_peer, if that was started.
 */

#include "client/command.h"
#include "tests/unit/client/bus_peer.h"
#include "tests/unit/client/capture.h"
#include "tests/unit/client/scripted.h"

typedef int ctl_act(const struct arguments *arguments);

/* Parses the NULL-terminated words and calls `act`. */
void ctl_command_start(ctl_act *act, const char *const *words);
int ctl_command(ctl_act *act, const char *const *words);

/* Returns the exit status; `captured` has the output. */
#define CTL(act, ...) ctl_command(act, (const char *const[]){__VA_ARGS__, NULL})
#define CTL_START(act, ...) ctl_command_start(act, (const char *const[]){__VA_ARGS__, NULL})

/* Called in the command's process: acts with a full device as standard output. */
int ctl_to_full_device(ctl_act *act, const struct arguments *arguments);

/* Every command from now on gets a new peer with that script. */
void ctl_script(void (*script)(int connection));
