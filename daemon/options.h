/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The command line, parsed and checked: one table in options.c has the names, defaults and ranges
 * of all options, and --help is made from it.
 */

#include "daemon/listener.h"
#include "daemon/policy.h"
#include "daemon/quota.h"
#include "daemon/seccomp.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct options {
        struct policy *policy; /* owned */
        /* Paths, up to a NULL; none: socket activation. */
        const char *listen[LISTENER_MAX + 1];
        const char *instance;          /* NULL: the one without a name */
        const char *runtime_directory; /* NULL: main.c decides */
        struct quota_limit limits[QUOTA_KINDS];
        bool max_connections_given;
        bool max_mounts_given;
        unsigned max_targets;
        unsigned idle_timeout;  /* seconds, 0: never */
        unsigned adopt_timeout; /* seconds */
        uint64_t dev_shm_size;  /* bytes, 0: none */
        bool no_dev;
        bool sweep;
        int log_level;
        enum seccomp_mode seccomp_mode;
};

enum options_result {
        OPTIONS_RUN,
        OPTIONS_HELP,
        OPTIONS_VERSION,
        OPTIONS_WRONG,
};

/*
 * Parses into `*options`, whose strings borrow from `argv`. OPTIONS_WRONG: a message with the
 * option at fault and the values it takes has been written to `errors`. Call options_free() in any
 * case.
 */
enum options_result options_parse(struct options *options, int argc, char **argv, FILE *errors);
void options_free(struct options *options);

/*
 * Checks the directories given as options: a build directory behind a symbolic link would never
 * match, so it is refused (false, with a message in `errors`); a missing one is logged. Waits for
 * the file systems on the way, perhaps for ever: call it in a process of its own.
 */
bool options_look(const struct options *options, FILE *errors);

void options_print_help(FILE *file);

/*
 * Checks the limits against the process's: `descriptors` is the hard RLIMIT_NOFILE, `mount_max` the
 * sysctl fs.mount-max. Default numbers of connections and mounts are lowered to fit; given ones are
 * not. Returns the number of descriptors to allow, or -ENOBUFS with a message in `errors`.
 */
int options_fit(struct options *options, uint64_t descriptors, uint64_t mount_max, FILE *errors);
