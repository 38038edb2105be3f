/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The command line of one command of mountatctl, as values. */

#include "client/table.h"

#include <stdbool.h>
#include <stdint.h>

enum arguments_option {
        ARGUMENTS_CONNECTION = 1 << 0, /* --socket, --timeout */
        ARGUMENTS_MOUNT = 1 << 1,   /* --create, --dev, --file-system, --pids-only, --read-only */
        ARGUMENTS_OUTPUT = 1 << 2,  /* --json, --no-legend */
        ARGUMENTS_SCOPE = 1 << 3,   /* --all */
        ARGUMENTS_COMMAND = 1 << 4, /* --keep-fds */
};

struct arguments {
        const char *socket; /* NULL: the library's own choice */
        uint32_t timeout;   /* milliseconds; 0: the library's default */
        uint32_t flags;     /* of enum mountat_flag */
        uint32_t asked;     /* of enum arguments_asked */
        enum table_format format;
        bool dev;      /* besides what is mounted by default, or was asked for */
        bool legend;   /* titles and a sum, for people */
        bool all;      /* an administrator may be asked for what is others' */
        bool keep_fds; /* the command inherits every descriptor */
        bool quiet;    /* success is told by the exit status alone */
        int n_operands;
        char **operands; /* what is no option; ends with NULL; points into argv */
};

enum arguments_asked {
        ARGUMENTS_HELP = 1 << 0,
        ARGUMENTS_VERSION = 1 << 1,
};

/*
 * Parses `argv`, whose first string is the command's name; `accepted` are the enum
 * arguments_option that it has. Options may stand before and after operands, up to a "--".
 * -EINVAL after it has told standard error what is wrong.
 */
int arguments_parse(struct arguments *arguments, uint32_t accepted, int argc, char **argv);
