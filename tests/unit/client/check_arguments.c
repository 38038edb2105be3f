/* SPDX-License-Identifier: Apache-2.0 */

#include "client/arguments.h"

#include "client/mountat.h"
#include "tests/test.h"
#include "tests/unit/client/capture.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

enum {
        WORDS_MAX = 8,
        ALL = ARGUMENTS_CONNECTION | ARGUMENTS_MOUNT | ARGUMENTS_OUTPUT | ARGUMENTS_SCOPE |
              ARGUMENTS_COMMAND,
        DEFAULT = MOUNTAT_PROC | MOUNTAT_SYSFS,
};

/* Parses "command WORD…". The operands are valid until the next call. */
static int parse(struct arguments *arguments, uint32_t accepted, const char *const *words) {
        static char *argv[WORDS_MAX + 2];
        int argc = 0;

        argv[argc++] = (char *)"command";
        for (; *words; words++)
                argv[argc++] = (char *)*words;
        argv[argc] = NULL;
        optind = 0; /* starts getopt(3) anew */
        return arguments_parse(arguments, accepted, argc, argv);
}

#define PARSE(arguments, ...)                                                                      \
        ck_assert_int_eq(parse(arguments, ALL, (const char *const[]){__VA_ARGS__, NULL}), 0)

/* ---- valid command lines ---- */

START_TEST(defaults_are_as_documented) {
        struct arguments arguments;

        PARSE(&arguments, NULL);
        ck_assert_ptr_null(arguments.socket);
        ck_assert_uint_eq(arguments.timeout, 0);
        ck_assert_uint_eq(arguments.flags, DEFAULT);
        ck_assert_uint_eq(arguments.asked, 0);
        ck_assert_int_eq(arguments.format, TABLE_TEXT);
        ck_assert(arguments.legend);
        ck_assert(!arguments.dev && !arguments.all && !arguments.keep_fds && !arguments.quiet);
        ck_assert_int_eq(arguments.n_operands, 0);
        ck_assert_ptr_null(arguments.operands[0]);
}
END_TEST

static const struct {
        const char *words[WORDS_MAX];
        uint32_t flags;
} selections[] = {
        {{"--create"}, DEFAULT | MOUNTAT_CREATE},
        {{"--read-only"}, DEFAULT | MOUNTAT_READ_ONLY},
        {{"--pids-only"}, DEFAULT | MOUNTAT_PIDS_ONLY},
        {{"--create", "--read-only", "--pids-only"},
         DEFAULT | MOUNTAT_CREATE | MOUNTAT_READ_ONLY | MOUNTAT_PIDS_ONLY},
        {{"--dev"}, DEFAULT | MOUNTAT_DEV},
        {{"--file-system", "proc"}, MOUNTAT_PROC},
        {{"--file-system=sysfs"}, MOUNTAT_SYSFS},
        {{"--file-system", "dev"}, MOUNTAT_DEV},
        {{"--file-system", "dev", "--dev"}, MOUNTAT_DEV},
        {{"--file-system", "proc", "--file-system", "proc"}, MOUNTAT_PROC},
        {{"--file-system", "proc", "--dev"}, MOUNTAT_PROC | MOUNTAT_DEV},
        {{"--file-system", "sysfs", "--dev"}, MOUNTAT_SYSFS | MOUNTAT_DEV},
        {{"--dev", "--file-system", "sysfs", "--file-system", "proc"}, DEFAULT | MOUNTAT_DEV},
        {{"--pids-only", "--file-system", "dev", "--file-system", "proc"},
         MOUNTAT_PIDS_ONLY | MOUNTAT_PROC | MOUNTAT_DEV},
};

START_TEST(mount_options_become_flags) {
        struct arguments arguments;

        for (size_t i = 0; i < N_ELEMENTS(selections); i++) {
                ck_assert_int_eq(parse(&arguments, ALL, selections[i].words), 0);
                ck_assert_msg(arguments.flags == selections[i].flags, "%s: %x",
                              selections[i].words[0], arguments.flags);
        }
}
END_TEST

START_TEST(command_without_mount_options_has_no_flags) {
        struct arguments arguments;

        ck_assert_int_eq(parse(&arguments, ARGUMENTS_CONNECTION, (const char *const[]){NULL}), 0);
        ck_assert_uint_eq(arguments.flags, 0);
}
END_TEST

START_TEST(other_options_become_values) {
        struct arguments arguments;

        PARSE(&arguments, "--socket", "/run/a b", "--timeout=1", "--keep-fds", "--quiet");
        ck_assert_str_eq(arguments.socket, "/run/a b");
        ck_assert_uint_eq(arguments.timeout, 1000);
        ck_assert(arguments.keep_fds && arguments.quiet);
        PARSE(&arguments, "-q", "--timeout", "86400", "--all", "--no-legend", "--no-pager");
        ck_assert_uint_eq(arguments.timeout, 86400000);
        ck_assert(arguments.quiet && arguments.all && !arguments.legend);
        PARSE(&arguments, "--json", "short");
        ck_assert_int_eq(arguments.format, TABLE_JSON_SHORT);
        PARSE(&arguments, "--json=pretty");
        ck_assert_int_eq(arguments.format, TABLE_JSON_PRETTY);
        PARSE(&arguments, "--json=pretty", "--json=off");
        ck_assert_int_eq(arguments.format, TABLE_TEXT);
        PARSE(&arguments, "--socket=a", "--socket=b");
        ck_assert_str_eq(arguments.socket, "b");
}
END_TEST

/* Any number of operands may stand beside --help. */
START_TEST(every_command_has_help_and_version) {
        struct arguments arguments;

        ck_assert_int_eq(parse(&arguments, 0, (const char *const[]){"--help", NULL}), 0);
        ck_assert_uint_eq(arguments.asked, ARGUMENTS_HELP);
        ck_assert_int_eq(parse(&arguments, 0, (const char *const[]){"--version", NULL}), 0);
        ck_assert_uint_eq(arguments.asked, ARGUMENTS_VERSION);
        PARSE(&arguments, "a", "b", "c", "--help", "--version");
        ck_assert_uint_eq(arguments.asked, ARGUMENTS_HELP | ARGUMENTS_VERSION);
}
END_TEST

static const struct {
        const char *words[WORDS_MAX];
        const char *operands[WORDS_MAX];
} operands[] = {
        {{"root"}, {"root"}},
        {{"root", "--create"}, {"root"}},
        {{"--create", "root", "--read-only", "other"}, {"root", "other"}},
        {{"root", "--", "--create"}, {"root", "--create"}},
        {{"--", "root", "--", "-x"}, {"root", "--", "-x"}},
        {{"root", "-"}, {"root", "-"}},
        {{""}, {""}},
};

START_TEST(options_may_stand_between_operands) {
        struct arguments arguments;

        for (size_t i = 0; i < N_ELEMENTS(operands); i++) {
                int n = 0;

                ck_assert_int_eq(parse(&arguments, ALL, operands[i].words), 0);
                for (; operands[i].operands[n]; n++)
                        ck_assert_str_eq(arguments.operands[n], operands[i].operands[n]);
                ck_assert_int_eq(arguments.n_operands, n);
                ck_assert_ptr_null(arguments.operands[n]);
        }
}
END_TEST

/* ---- invalid command lines ---- */

struct refusal {
        uint32_t accepted;
        const char *words[WORDS_MAX];
        const char *parts[3]; /* of the message */
};

static int parse_refused(const void *argument) {
        const struct refusal *refusal = argument;
        struct arguments arguments;

        return -parse(&arguments, refusal->accepted, refusal->words);
}

static void expect_refused(const struct refusal *refusal) {
        ck_assert_msg(capture(parse_refused, refusal) == EINVAL, "%s %s is taken",
                      refusal->words[0], refusal->words[1] ?: "");
        ck_assert_str_eq(captured.output, "");
        ck_assert_ptr_eq(strchr(captured.errors, '\n'), strrchr(captured.errors, '\n'));
        expect_errors("mountatctl --help");
        for (size_t i = 0; i < N_ELEMENTS(refusal->parts) && refusal->parts[i]; i++)
                expect_errors(refusal->parts[i]);
}

static const struct refusal refusals[] = {
        {ALL, {"--timeout", "0"}, {"--timeout", "1 to 86400 seconds", "not 0"}},
        {ALL, {"--timeout", "86401"}, {"not 86401"}},
        {ALL, {"--timeout", "18446744073709551617"}, {"not 18446744073709551617"}},
        {ALL, {"--timeout", "4294967297"}, {"not 4294967297"}},
        {ALL, {"--timeout", "-1"}, {"not -1"}},
        {ALL, {"--timeout", "+1"}, {"not +1"}},
        {ALL, {"--timeout", " 1"}, {"not  1"}},
        {ALL, {"--timeout", "1s"}, {"not 1s"}},
        {ALL, {"--timeout", "1.5"}, {"not 1.5"}},
        {ALL, {"--timeout", "0x10"}, {"not 0x10"}},
        {ALL, {"--timeout="}, {"--timeout", "seconds"}},
        {ALL, {"--file-system", "devpts"}, {"--file-system", "proc, sysfs or dev", "devpts"}},
        {ALL, {"--file-system", "PROC"}, {"PROC"}},
        {ALL, {"--file-system", "proc,sysfs"}, {"proc,sysfs"}},
        {ALL, {"--file-system", "1"}, {"not 1"}},
        {ALL, {"--file-system="}, {"--file-system"}},
        {ALL, {"--json", "long"}, {"--json", "short, pretty or off", "long"}},
        {ALL, {"--json="}, {"--json"}},
        {ALL, {"--pids-only", "--file-system", "dev"}, {"--pids-only", "--file-system proc"}},
        {ALL, {"--pids-only", "--file-system", "sysfs", "--dev"}, {"--file-system proc"}},

        {ALL, {"--socket="}, {"--socket", "empty"}},
        {ALL, {"--timeout"}, {"missing", "--timeout"}},
        {ALL, {"root", "--socket"}, {"missing", "--socket"}},
        {ALL, {"--unknown"}, {"--unknown:"}},
        {ALL, {"--unknown=value"}, {"--unknown=value"}},
        {ALL, {"-x"}, {"-x:"}},
        {ALL, {"-qxy"}, {"-x:"}},
        {ALL, {"--quiet=yes"}, {"--quiet=yes"}},
        {ALL, {"--no-"}, {"--no-"}}, /* ambiguous */

        /* Options of other commands. */
        {0, {"--socket", "/a"}, {"option", "--socket:"}},
        {0, {"--timeout", "1"}, {"option", "--timeout:"}},
        {ALL & ~ARGUMENTS_CONNECTION, {"--timeout=1"}, {"--timeout:"}},
        {ALL & ~ARGUMENTS_MOUNT, {"--create"}, {"--create:"}},
        {ALL & ~ARGUMENTS_MOUNT, {"--dev"}, {"--dev:"}},
        {ALL & ~ARGUMENTS_MOUNT, {"--file-system=proc"}, {"--file-system:"}},
        {ALL & ~ARGUMENTS_MOUNT, {"--pids-only"}, {"--pids-only:"}},
        {ALL & ~ARGUMENTS_MOUNT, {"--read-only"}, {"--read-only:"}},
        {ALL & ~ARGUMENTS_OUTPUT, {"--json=short"}, {"--json:"}},
        {ALL & ~ARGUMENTS_OUTPUT, {"--no-legend"}, {"--no-legend:"}},
        {ALL & ~ARGUMENTS_SCOPE, {"--all"}, {"--all:"}},
        {ALL & ~ARGUMENTS_COMMAND, {"--keep-fds"}, {"--keep-fds:"}},
};

START_TEST(error_names_the_culprit_and_the_alternatives) {
        for (size_t i = 0; i < N_ELEMENTS(refusals); i++)
                expect_refused(&refusals[i]);
}
END_TEST

START_TEST(culprit_is_escaped) {
        static const struct refusal refusal = {
                ALL,
                {"--json", "\x1b[31m\n\xe2\x80\xae"},
                {"\\x1b[31m\\x0a\\xe2\\x80\\xae"},
        };

        expect_refused(&refusal);
}
END_TEST

int main(void) {
        return SUITE_RUN("arguments", defaults_are_as_documented, mount_options_become_flags,
                         command_without_mount_options_has_no_flags, other_options_become_values,
                         every_command_has_help_and_version, options_may_stand_between_operands,
                         error_names_the_culprit_and_the_alternatives, culprit_is_escaped);
}
