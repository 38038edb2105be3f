/* SPDX-License-Identifier: Apache-2.0 */

/* main(): the table of commands, and what all of them need before they start. */

#include "client/command.h"
#include "client/signals.h"
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
                .summary = "mount, and unmount at the end of standard input or at a signal",
                .options = ARGUMENTS_CONNECTION | ARGUMENTS_MOUNT,
                .operands_min = 1,
                .operands_max = 1,
                .misuse = COMMAND_MISUSED,
                .act = command_hold,
        },
        {
                .name = "hello",
                .synopsis = "[OPTION...]",
                .summary = "print the daemon's version and features",
                .options = ARGUMENTS_CONNECTION,
                .misuse = COMMAND_MISUSED,
                .act = command_hello,
        },
        {
                .name = "mount",
                .synopsis = "[OPTION...] ROOT",
                .summary = "mount until unmounted, and print the lease's number",
                .options = ARGUMENTS_CONNECTION | ARGUMENTS_MOUNT,
                .operands_min = 1,
                .operands_max = 1,
                .misuse = COMMAND_MISUSED,
                .act = command_mount,
        },
        {
                .name = "unmount",
                .synopsis = "[OPTION...] ROOT|LEASE",
                .summary = "unmount the leases below ROOT, or the lease LEASE",
                .options = ARGUMENTS_CONNECTION,
                .operands_min = 1,
                .operands_max = 1,
                .misuse = COMMAND_MISUSED,
                .act = command_unmount,
        },
        {
                .name = "list",
                .synopsis = "[OPTION...]",
                .summary = "list your own leases; as root, all",
                .options = ARGUMENTS_OUTPUT | ARGUMENTS_SCOPE,
                .misuse = COMMAND_MISUSED,
                .act = command_list,
        },
        {
                .name = "status",
                .synopsis = "[OPTION...]",
                .summary = "print the daemon's version, counters and limits",
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
        "  --create            create missing directories; run and hold remove them afterwards\n"
        "  --dev               mount a /dev too: null zero full random urandom tty, ptys, shm\n"
        "  --file-system NAME  mount NAME, proc, sysfs or dev; may be repeated (default: proc and\n"
        "                      sysfs)\n"
        "  --pids-only         mount a procfs that shows only processes\n"
        "  --read-only         mount procfs read-only even if the administrator allows a writable "
        "one\n"
        "\n"
        "Option of run:\n"
        "  --keep-fds          pass all open descriptors to COMMAND; one of a directory is a way "
        "out\n"
        "                      of ROOT (default: 0, 1, 2, and make's job server if it is a pipe)\n"
        "\n"
        "Options of run, hold, hello, mount and unmount:\n"
        "  --socket PATH       mountatd's socket (default: $MOUNTATD_SOCKET, "
        "/run/mountatd/socket)\n"
        "  --timeout SECONDS   how long to wait for each answer of mountatd (default: 25)\n"
        "\n"
        "Options of list and status:\n"
        "  --all               of list: show all leases, if an administrator consents\n"
        "  --json FORMAT       short or pretty; off for a table (default)\n"
        "  --no-legend         omit the titles and the total\n"
        "\n"
        "Options of all commands:\n"
        "  --no-pager          does nothing: there is no pager\n"
        "  --quiet, -q         print nothing on success\n"
        "  --help              print this help\n"
        "  --version           print the version and features of this build\n"
        "\n"
        "list and status use D-Bus; so does unmount for other users' leases and to look up ROOT.\n"
        "LEASE is 16 hexadecimal digits as printed by list, or a decimal number as printed by\n"
        "busctl; give a directory with such a name as ./NAME.\n"
        "\n"
        "run enters ROOT by chroot with CAP_SYS_CHROOT, else in a new user namespace that keeps\n"
        "the user's id. Set-user-id programs gain no privilege in it.\n"
        "\n"
        "Exit status of run: COMMAND's own, 128 + N if signal N killed it, 125 if mountatctl\n"
        "failed, 126 if COMMAND can't be executed, 127 if it wasn't found. Other commands: 0, 1 "
        "on\n"
        "failure, 2 for a wrong command line.\n";

static int help_print(void) {
        for (size_t i = 0; i < COMMANDS; i++)
                printf("%s mountatctl %s %s\n", i == 0 ? "Usage:" : "      ", commands[i].name,
                       commands[i].synopsis);

        printf("\nMounts /proc, /sys and with --dev /dev in the directory tree ROOT through "
               "mountatd,\nwithout privilege.\n\n");
        for (size_t i = 0; i < COMMANDS; i++)
                printf("  %-8s %s\n", commands[i].name, commands[i].summary);
        fputs(help_options, stdout);
        return 0;
}

static int version_print(void) {
        fputs(VERSION_TEXT("mountatctl"), stdout);
        return 0;
}

static int usage_error(const struct command *command) {
        warnx("usage: mountatctl %s %s: see mountatctl --help", command->name, command->synopsis);
        return command->misuse;
}

/* Skips a "--" that getopt left in place: `run ROOT -- COMMAND` with POSIXLY_CORRECT set. */
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

/*
 * If a standard stream is closed, the socket would get its number, and be sent messages. What takes
 * its place fails like a closed one: it can't be read as input, nor written as output.
 */
static void streams_open(void) {
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                if (fcntl(fd, F_GETFD) < 0)
                        (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

/* Turns success into a failure if output was lost, on the way or now. Returns the exit status. */
static int streams_close(int status) {
        bool lost = ferror(stdout);

        errno = 0;
        if ((fclose(stdout) == 0 && !lost) || status != 0)
                return status;
        warnx("cannot write to standard output: %s", errno ? strerror(errno) : "it is incomplete");
        return COMMAND_FAILED;
}

static int mountatctl(int argc, char **argv) {
        char escaped[64];

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

int main(int argc, char **argv) {
        streams_open();
        signals_ignore_pipe();
        /*
         * A command inside a root may have the uid of this process outside. If this process were
         * dumpable, /proc/<its pid>/root would be a way out (proc(5), ptrace(2)).
         */
        prctl(PR_SET_DUMPABLE, 0);
        return streams_close(mountatctl(argc, argv));
}
