/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The commands of mountatctl. Each is an entry in the table of mountatctl.c and a function, which
 * gets parsed arguments, prints errors to standard error and returns the exit status. main()
 * flushes standard output, and reports if that fails.
 */

#include "client/arguments.h"

enum command_status {
        COMMAND_FAILED = 1,
        COMMAND_MISUSED = 2,
        /* Of `run`, as in env(1) and shells; any other status is the command's own. */
        COMMAND_RUN_FAILED = 125,
        COMMAND_RUN_NOT_EXECUTABLE = 126,
        COMMAND_RUN_NOT_FOUND = 127,
        COMMAND_RUN_SIGNAL = 128, /* plus the signal's number */
};

struct command {
        const char *name;
        const char *synopsis; /* the operands */
        const char *summary;
        uint32_t options; /* of enum arguments_option */
        int operands_min;
        int operands_max; /* below operands_min: any number */
        enum command_status misuse;
        int (*act)(const struct arguments *arguments);
};

int command_run(const struct arguments *arguments);
int command_hold(const struct arguments *arguments);
int command_hello(const struct arguments *arguments);
int command_mount(const struct arguments *arguments);

/* Over the socket, or over D-Bus for leases that the socket can't release: */
int command_unmount(const struct arguments *arguments);

/* Over D-Bus: */
int command_list(const struct arguments *arguments);
int command_status(const struct arguments *arguments);
