/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The parsed command line of one mountatctl command. */

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
        const char *socket; /* NULL: the library's default */
        uint32_t timeout;   /* milliseconds; 0: the library's default */
        uint32_t flags;     /* of enum mountat_flag */
        uint32_t asked;     /* of enum arguments_asked */
        enum table_format format;
        bool dev;      /* a /dev in addition to the other file systems */
        bool legend;   /* column titles and a total */
        bool all;      /* polkit may ask an administrator to show other users' leases */
        bool keep_fds; /* the command inherits every descriptor */
        bool quiet;    /* success prints nothing */
        int n_operands;
        char **operands; /* NULL-terminated; points into argv */
};

enum arguments_asked {
        ARGUMENTS_HELP = 1 << 0,
        ARGUMENTS_VERSION = 1 << 1,
};

/*
 * Parses `argv`, whose first string is the command's name; `accepted` is the set of enum
 * arguments_option that the command takes. Options may stand before and after operands, up to "--".
 * Returns -EINVAL after printing what is wrong to standard error.
 */
int arguments_parse(struct arguments *arguments, uint32_t accepted, int argc, char **argv);
