/* SPDX-License-Identifier: Apache-2.0 */

/* One table of all options; each command accepts some groups of them. */

#include "client/arguments.h"

#include "client/flag.h"
#include "common/file_system.h"
#include "common/text.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
        OPTION_SOCKET = 256,
        OPTION_TIMEOUT,
        OPTION_CREATE,
        OPTION_FILE_SYSTEM,
        OPTION_DEV,
        OPTION_PIDS_ONLY,
        OPTION_READ_ONLY,
        OPTION_KEEP_FDS,
        OPTION_JSON,
        OPTION_NO_LEGEND,
        OPTION_ALL,
        OPTION_NO_PAGER,
        OPTION_QUIET,
        OPTION_HELP,
        OPTION_VERSION,

        TIMEOUT_SECONDS_MAX = 86400,
};

static const struct option arguments_options[] = {
        {"socket", required_argument, NULL, OPTION_SOCKET},
        {"timeout", required_argument, NULL, OPTION_TIMEOUT},
        {"create", no_argument, NULL, OPTION_CREATE},
        {"file-system", required_argument, NULL, OPTION_FILE_SYSTEM},
        {"dev", no_argument, NULL, OPTION_DEV},
        {"pids-only", no_argument, NULL, OPTION_PIDS_ONLY},
        {"read-only", no_argument, NULL, OPTION_READ_ONLY},
        {"keep-fds", no_argument, NULL, OPTION_KEEP_FDS},
        {"json", required_argument, NULL, OPTION_JSON},
        {"no-legend", no_argument, NULL, OPTION_NO_LEGEND},
        {"all", no_argument, NULL, OPTION_ALL},
        {"no-pager", no_argument, NULL, OPTION_NO_PAGER},
        {"quiet", no_argument, NULL, OPTION_QUIET},
        {"help", no_argument, NULL, OPTION_HELP},
        {"version", no_argument, NULL, OPTION_VERSION},
        {0},
};

/* The group of an option; 0 for the options that every command has. */
static uint32_t arguments_group(int option) {
        switch (option) {
        case OPTION_SOCKET:
        case OPTION_TIMEOUT:
                return ARGUMENTS_CONNECTION;
        case OPTION_CREATE:
        case OPTION_FILE_SYSTEM:
        case OPTION_DEV:
        case OPTION_PIDS_ONLY:
        case OPTION_READ_ONLY:
                return ARGUMENTS_MOUNT;
        case OPTION_KEEP_FDS:
                return ARGUMENTS_COMMAND;
        case OPTION_JSON:
        case OPTION_NO_LEGEND:
                return ARGUMENTS_OUTPUT;
        case OPTION_ALL:
                return ARGUMENTS_SCOPE;
        default:
                return 0;
        }
}

static int arguments_complain(const char *what, const char *culprit) {
        char escaped[256];

        warnx("%s %s: see mountatctl --help", what, text_escape(escaped, sizeof(escaped), culprit));
        return -EINVAL;
}

static const char arguments_lacked[] = "this command has no option";

/* The unknown option is argv's last one, unless it is a letter in a cluster such as -qx. */
static int arguments_complain_unknown(const char *last) {
        char letter[] = {'-', (char)optopt, '\0'};

        return arguments_complain(arguments_lacked,
                                  optopt > 0 && optopt < OPTION_SOCKET ? letter : last);
}

/* An option of other commands. argv's last one may be its value. */
static int arguments_complain_foreign(const char *name) {
        char option[32];

        snprintf(option, sizeof(option), "--%s", name);
        return arguments_complain(arguments_lacked, option);
}

static int arguments_timeout(struct arguments *arguments, const char *text) {
        char *end;
        unsigned long seconds;

        errno = 0;
        seconds = strtoul(text, &end, 10);
        if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || seconds < 1 ||
            seconds > TIMEOUT_SECONDS_MAX)
                return arguments_complain("--timeout takes 1 to 86400 seconds, not", text);
        arguments->timeout = (uint32_t)seconds * 1000;
        return 0;
}

static int arguments_file_system(struct arguments *arguments, const char *text) {
        uint32_t flag = flag_of(file_system_from_name(text));

        if (!flag)
                return arguments_complain("--file-system takes proc, sysfs or dev, not", text);
        arguments->flags |= flag;
        return 0;
}

static int arguments_json(struct arguments *arguments, const char *text) {
        if (strcmp(text, "short") == 0)
                arguments->format = TABLE_JSON_SHORT;
        else if (strcmp(text, "pretty") == 0)
                arguments->format = TABLE_JSON_PRETTY;
        else if (strcmp(text, "off") == 0)
                arguments->format = TABLE_TEXT;
        else
                return arguments_complain("--json takes short, pretty or off, not", text);
        return 0;
}

static int arguments_set(struct arguments *arguments, int option) {
        switch (option) {
        case OPTION_SOCKET:
                if (!*optarg)
                        return arguments_complain("--socket takes a path, not", "an empty string");
                arguments->socket = optarg;
                return 0;
        case OPTION_TIMEOUT:
                return arguments_timeout(arguments, optarg);
        case OPTION_CREATE:
                arguments->flags |= MOUNTAT_CREATE;
                return 0;
        case OPTION_FILE_SYSTEM:
                return arguments_file_system(arguments, optarg);
        case OPTION_DEV:
                arguments->dev = true;
                return 0;
        case OPTION_PIDS_ONLY:
                arguments->flags |= MOUNTAT_PIDS_ONLY;
                return 0;
        case OPTION_READ_ONLY:
                arguments->flags |= MOUNTAT_READ_ONLY;
                return 0;
        case OPTION_KEEP_FDS:
                arguments->keep_fds = true;
                return 0;
        case OPTION_JSON:
                return arguments_json(arguments, optarg);
        case OPTION_NO_LEGEND:
                arguments->legend = false;
                return 0;
        case OPTION_ALL:
                arguments->all = true;
                return 0;
        case OPTION_NO_PAGER: /* accepted out of habit from systemctl: there is no pager */
                return 0;
        case OPTION_QUIET:
        case 'q':
                arguments->quiet = true;
                return 0;
        case OPTION_HELP:
                arguments->asked |= ARGUMENTS_HELP;
                return 0;
        default:
                arguments->asked |= ARGUMENTS_VERSION;
                return 0;
        }
}

static int arguments_finish(struct arguments *arguments, uint32_t accepted) {
        if (!(accepted & ARGUMENTS_MOUNT))
                return 0;
        if (!(arguments->flags & FLAG_FILE_SYSTEMS))
                arguments->flags |= MOUNTAT_PROC | MOUNTAT_SYSFS;
        if (arguments->dev)
                arguments->flags |= MOUNTAT_DEV;
        if ((arguments->flags & MOUNTAT_PIDS_ONLY) && !(arguments->flags & MOUNTAT_PROC))
                return arguments_complain("--pids-only needs procfs: add", "--file-system proc");
        return 0;
}

int arguments_parse(struct arguments *arguments, uint32_t accepted, int argc, char **argv) {
        int option, index = 0;

        *arguments = (struct arguments){.legend = true};
        opterr = 0;
        while ((option = getopt_long(argc, argv, ":q", arguments_options, &index)) >= 0) {
                uint32_t group = arguments_group(option);

                if (option == ':')
                        return arguments_complain("missing value for", argv[optind - 1]);
                if (option == '?')
                        return arguments_complain_unknown(argv[optind - 1]);
                if (group & ~accepted)
                        return arguments_complain_foreign(arguments_options[index].name);
                if (arguments_set(arguments, option) < 0)
                        return -EINVAL;
        }

        arguments->operands = argv + optind;
        arguments->n_operands = argc - optind;
        return arguments_finish(arguments, accepted);
}
