/* SPDX-License-Identifier: Apache-2.0 */

/* The command line: which commands there are, and what all of them need before they start. */

#include "client/command.h"
#include "common/text.h"
#include "common/version.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static const struct command commands[] = {
        {
                .name = "run",
                .synopsis = "[OPTION...] ROOT -- COMMAND [ARGUMENT...]",
                .summary = "mount, run COMMAND with ROOT as its root directory, unmount",
                .options = ARGUMENTS_CONNECTION | ARGUMENTS_MOUNT | ARGUMENTS_COMMAND,
                .operands_min = 2,
                .misuse = COMMAND_RUN_FAILED,
                .act = command_run,
        },
        {
                .name = "hold",
                .synopsis = "[OPTION...] ROOT",
                .summary = "mount, and keep it so until standard input ends or a signal comes",
                .options = ARGUMENTS_CONNECTION | ARGUMENTS_MOUNT,
                .operands_min = 1,
                .operands_max = 1,
                .misuse = COMMAND_MISUSED,
                .act = command_hold,
        },
        {
                .name = "hello",
                .synopsis = "[OPTION...]",
                .summary = "print the daemon's version and its features",
                .options = ARGUMENTS_CONNECTION,
                .misuse = COMMAND_MISUSED,
                .act = command_hello,
        },
        {
                .name = "mount",
                .synopsis = "[OPTION...] ROOT",
                .summary = "mount until unmounted, and print the lease",
                .options = ARGUMENTS_CONNECTION | ARGUMENTS_MOUNT,
                .operands_min = 1,
                .operands_max = 1,
                .misuse = COMMAND_MISUSED,
                .act = command_mount,
        },
        {
                .name = "unmount",
                .synopsis = "[OPTION...] ROOT|LEASE",
                .summary = "unmount what is mounted below ROOT, or that lease",
                .options = ARGUMENTS_CONNECTION,
                .operands_min = 1,
                .operands_max = 1,
                .misuse = COMMAND_MISUSED,
                .act = command_unmount,
        },
        {
                .name = "list",
                .synopsis = "[OPTION...]",
                .summary = "list the leases: your own; as root, all",
                .options = ARGUMENTS_OUTPUT | ARGUMENTS_SCOPE,
                .misuse = COMMAND_MISUSED,
                .act = command_list,
        },
        {
                .name = "status",
                .synopsis = "[OPTION...]",
                .summary = "print what the daemon says of itself, and its limits",
                .options = ARGUMENTS_OUTPUT,
                .misuse = COMMAND_MISUSED,
                .act = command_status,
        },
};

enum {
        COMMANDS = sizeof(commands) / sizeof(commands[0]),
};

static const char help_options[] =
        "\n"
        "Options of run, hold and mount:\n"
        "  --create            make the directories that are missing; run and hold remove them "
        "again\n"
        "  --dev               mount a /dev too: null zero full random urandom tty, ptys, shm\n"
        "  --file-system NAME  mount NAME, proc, sysfs or dev; may be repeated (default: proc "
        "and\n"
        "                      sysfs)\n"
        "  --pids-only         procfs with processes and nothing else\n"
        "  --read-only         even where the administrator allows a writable procfs\n"
        "\n"
        "Option of run:\n"
        "  --keep-fds          the command gets all open descriptors; a directory's is a way out "
        "of\n"
        "                      ROOT (default: 0, 1, 2, and make's job server if it is a pipe)\n"
        "\n"
        "Options of run, hold, hello, mount and unmount:\n"
        "  --socket PATH       of mountatd (default: $MOUNTATD_SOCKET, /run/mountatd/socket)\n"
        "  --timeout SECONDS   for each answer of mountatd (default: 25)\n"
        "\n"
        "Options of list and status:\n"
        "  --all               of list: ask an administrator to let you see all\n"
        "  --json FORMAT       short or pretty; off for tables (default)\n"
        "  --no-legend         no titles, no sum\n"
        "\n"
        "Options of all commands:\n"
        "  --no-pager          does nothing: there is no pager\n"
        "  --quiet, -q         of mount and hold: don't print the lease\n"
        "  --help              print this\n"
        "  --version           print the version and the features of this build\n"
        "\n"
        "list and status speak to mountatd over D-Bus, and unmount does for leases of others and\n"
        "to find ROOT's. LEASE is 16 hexadecimal digits as in the list, or a decimal number as in\n"
        "busctl's answers; give a directory of such a name as ./NAME.\n"
        "\n"
        "ROOT is entered by chroot where this process has CAP_SYS_CHROOT, else through a user\n"
        "namespace of its own in which the user stays who it is. Set-user-id programs gain\n"
        "nothing in there.\n"
        "\n"
        "Exit status of run: COMMAND's own, 128 + N if signal N ended it, 125 if mountatctl\n"
        "failed, 126 if COMMAND can't be executed, 127 if it wasn't found. Else: 0, 1 if it\n"
        "failed, 2 for a wrong command line.\n";

static int help_print(void) {
        for (size_t i = 0; i < COMMANDS; i++)
                printf("%s mountatctl %s %s\n", i == 0 ? "Usage:" : "      ", commands[i].name,
                       commands[i].synopsis);

        printf("\nMounts /proc, /sys and with --dev /dev in the directory tree ROOT through "
               "mountatd,\nwithout privilege.\n\n");
        for (size_t i = 0; i < COMMANDS; i++)
                printf("  %-8s %s\n", commands[i].name, commands[i].summary);
        fputs(help_options, stdout);
        return fflush(stdout) == 0 ? 0 : COMMAND_FAILED;
}

static int version_print(void) {
        fputs(VERSION_TEXT("mountatctl"), stdout);
        return fflush(stdout) == 0 ? 0 : COMMAND_FAILED;
}

static int usage_error(const struct command *command) {
        warnx("usage: mountatctl %s %s: see mountatctl --help", command->name, command->synopsis);
        return command->misuse;
}

/* A "--" that getopt did not take as its own: `run ROOT -- COMMAND` with POSIXLY_CORRECT set. */
static void command_skip_dashes(struct arguments *arguments) {
        if (arguments->n_operands < 2 || strcmp(arguments->operands[1], "--") != 0)
                return;
        arguments->operands[1] = arguments->operands[0];
        arguments->operands++;
        arguments->n_operands--;
}

static int command_start(const struct command *command, int argc, char **argv) {
        struct arguments arguments;

        if (arguments_parse(&arguments, command->options, argc, argv) < 0)
                return command->misuse;
        if (arguments.asked & ARGUMENTS_HELP)
                return help_print();
        if (arguments.asked & ARGUMENTS_VERSION)
                return version_print();

        command_skip_dashes(&arguments);
        if (arguments.n_operands < command->operands_min)
                return usage_error(command);
        if (command->operands_max >= command->operands_min &&
            arguments.n_operands > command->operands_max)
                return usage_error(command);
        return command->act(&arguments);
}

/* A missing standard stream's number would go to the socket, and messages with it. */
static void streams_open(void) {
        int fd;

        do
                fd = open("/dev/null", O_RDWR);
        while (fd >= 0 && fd <= STDERR_FILENO);
        if (fd >= 0)
                close(fd);
}

int main(int argc, char **argv) {
        char escaped[64];

        streams_open();
        /*
         * What runs in a root may have the same uid as this process outside of it. Were this one
         * dumpable, /proc/<its pid>/root would be a way out (proc(5), ptrace(2)).
         */
        prctl(PR_SET_DUMPABLE, 0);

        if (argc < 2) {
                warnx("no command given: see mountatctl --help");
                return COMMAND_MISUSED;
        }
        if (strcmp(argv[1], "--help") == 0)
                return help_print();
        if (strcmp(argv[1], "--version") == 0)
                return version_print();
        for (size_t i = 0; i < COMMANDS; i++)
                if (strcmp(argv[1], commands[i].name) == 0)
                        return command_start(&commands[i], argc - 1, argv + 1);

        warnx("unknown command %s: see mountatctl --help",
              text_escape(escaped, sizeof(escaped), argv[1]));
        return COMMAND_MISUSED;
}
