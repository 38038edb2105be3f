/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/options.h"

#include "tests/fixtures/suite.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <syslog.h>

static char *errors; /* what the last parse() said */

/* Arguments up to a NULL; argv must outlive the options. */
static enum options_result parse_all(struct options *options, const char *const *arguments) {
        static char *argv[32];
        enum options_result result;
        size_t size;
        FILE *file;
        int argc = 0;

        free(errors);
        file = open_memstream(&errors, &size);
        argv[argc++] = (char *)"mountatd";
        while (*arguments)
                argv[argc++] = (char *)*arguments++;
        argv[argc] = NULL;
        result = options_parse(options, argc, argv, file);
        fclose(file);
        return result;
}

#define PARSE(options, ...) parse_all(options, (const char *const[]){__VA_ARGS__, NULL})

/* Parses one --NAME=VALUE; a refusal must name the option. */
static enum options_result parse_one(struct options *options, const char *name, const char *value) {
        static char argument[PATH_MAX + 300];
        enum options_result result;

        snprintf(argument, sizeof(argument), "--%s=%s", name, value);
        result = PARSE(options, argument);
        if (result == OPTIONS_WRONG)
                ck_assert_msg(strstr(errors, name), "'%s' is silent about %s", errors, name);
        else
                ck_assert_str_eq(errors, "");
        return result;
}

START_TEST(has_the_documented_defaults) {
        struct options options;

        ck_assert_uint_eq(PARSE(&options, NULL), OPTIONS_RUN);
        ck_assert_ptr_null(options.listen);
        ck_assert_ptr_null(options.instance);
        ck_assert_ptr_null(options.runtime_directory);
        ck_assert_uint_eq(options.limits.connections, 4096);
        ck_assert_uint_eq(options.limits.connections_per_user, 1024);
        ck_assert_uint_eq(options.limits.mounts, 16384);
        ck_assert_uint_eq(options.limits.mounts_per_user, 2048);
        ck_assert(!options.max_mounts_given);
        ck_assert_uint_eq(options.max_targets, 16);
        ck_assert_uint_eq(options.limits.workers, 8);
        ck_assert_uint_eq(options.limits.lost_workers, 16);
        ck_assert_uint_eq(options.limits.lost_workers_per_user, 4);
        ck_assert_uint_eq(options.limits.workers, 8);
        ck_assert_uint_eq(options.idle_timeout, 60);
        ck_assert_uint_eq(options.adopt_timeout, 30);
        ck_assert(!options.sweep);
        ck_assert_int_eq(options.log_level, LOG_INFO);
        ck_assert_uint_eq(options.confinement, CONFINE_ENFORCE);
        ck_assert(!policy_allows_writable_proc(options.policy, 0));
        options_free(&options);
}
END_TEST

static const struct {
        const char *name;
        size_t offset;
        unsigned min, max;
} numbers[] = {
        {"max-connections", offsetof(struct options, limits.connections), 1, 65536},
        {"max-connections-per-user", offsetof(struct options, limits.connections_per_user), 1,
         65536},
        {"max-mounts", offsetof(struct options, limits.mounts), 1, 65536},
        {"max-mounts-per-user", offsetof(struct options, limits.mounts_per_user), 1, 65536},
        {"max-targets", offsetof(struct options, max_targets), 1, 16},
        {"workers", offsetof(struct options, limits.workers), 1, 256},
        {"max-lost-workers", offsetof(struct options, limits.lost_workers), 1, 256},
        {"max-lost-workers-per-user", offsetof(struct options, limits.lost_workers_per_user), 1,
         256},
        {"idle-timeout", offsetof(struct options, idle_timeout), 0, 86400},
        {"adopt-timeout", offsetof(struct options, adopt_timeout), 0, 3600},
};

START_TEST(takes_each_number_up_to_its_edges) {
        static const char *const garbage[] = {"",
                                              " ",
                                              "x",
                                              "1x",
                                              "x1",
                                              "1 ",
                                              " 1",
                                              "+1",
                                              "-1",
                                              "1.0",
                                              "1,",
                                              "0x1",
                                              "1e1",
                                              "\xc2\xb2",
                                              "4294967297",
                                              "18446744073709551617",
                                              "99999999999999999999999"};

        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
                const unsigned values[] = {numbers[i].min, numbers[i].max, numbers[i].max - 1};
                const long long beyond[] = {(long long)numbers[i].min - 1,
                                            (long long)numbers[i].max + 1};
                struct options options;
                char text[32];

                for (size_t j = 0; j < 3; j++) {
                        snprintf(text, sizeof(text), "%u", values[j]);
                        ck_assert_uint_eq(parse_one(&options, numbers[i].name, text), OPTIONS_RUN);
                        ck_assert_uint_eq(*(unsigned *)((char *)&options + numbers[i].offset),
                                          values[j]);
                        options_free(&options);
                }
                for (size_t j = 0; j < 2; j++) {
                        snprintf(text, sizeof(text), "%lld", beyond[j]);
                        ck_assert_uint_eq(parse_one(&options, numbers[i].name, text),
                                          OPTIONS_WRONG);
                        options_free(&options);
                        /* It says what it takes. */
                        snprintf(text, sizeof(text), "from %u to %u", numbers[i].min,
                                 numbers[i].max);
                        ck_assert_ptr_nonnull(strstr(errors, text));
                }
                for (size_t j = 0; j < sizeof(garbage) / sizeof(garbage[0]); j++) {
                        ck_assert_msg(parse_one(&options, numbers[i].name, garbage[j]) ==
                                              OPTIONS_WRONG,
                                      "--%s=%s", numbers[i].name, garbage[j]);
                        options_free(&options);
                }
        }
}
END_TEST

static const struct {
        const char *name;
        const char *value;
        enum options_result result;
} strings[] = {
        {"listen", "/run/x", OPTIONS_RUN},
        {"listen", "/", OPTIONS_RUN},
        {"listen", "", OPTIONS_WRONG},
        {"listen", "run/x", OPTIONS_WRONG},
        {"listen", "./x", OPTIONS_WRONG},
        {"runtime-directory", "/run/x", OPTIONS_RUN},
        {"runtime-directory", "", OPTIONS_WRONG},
        {"runtime-directory", "x", OPTIONS_WRONG},
        {"instance", "a", OPTIONS_RUN},
        {"instance", "abcdefghijklmnopqrstuvwxyz_-0123", OPTIONS_RUN},    /* 32 */
        {"instance", "abcdefghijklmnopqrstuvwxyz_-01234", OPTIONS_WRONG}, /* 33 */
        {"instance", "ABCXYZ789", OPTIONS_RUN},
        {"instance", "", OPTIONS_WRONG},
        {"instance", "a/b", OPTIONS_WRONG},
        {"instance", "..", OPTIONS_WRONG},
        {"instance", "a b", OPTIONS_WRONG},
        {"instance", "a:b", OPTIONS_WRONG},
        {"instance", "\xc3\xa9", OPTIONS_WRONG},
        {"log-level", "debug", OPTIONS_RUN},
        {"log-level", "emerg", OPTIONS_RUN},
        {"log-level", "", OPTIONS_WRONG},
        {"log-level", "DEBUG", OPTIONS_WRONG},
        {"log-level", "7", OPTIONS_WRONG},
        {"log-level", "debugs", OPTIONS_WRONG},
        {"system-calls", "enforce", OPTIONS_RUN},
        {"system-calls", "log", OPTIONS_RUN},
        {"system-calls", "off", OPTIONS_RUN},
        {"system-calls", "", OPTIONS_WRONG},
        {"system-calls", "OFF", OPTIONS_WRONG},
        {"system-calls", "offs", OPTIONS_WRONG},
        {"system-calls", "2", OPTIONS_WRONG},
        {"writable-proc", "root", OPTIONS_RUN},
        {"writable-proc", "0", OPTIONS_RUN},
        {"writable-proc", "4294967294", OPTIONS_RUN},
        {"writable-proc", "4294967295", OPTIONS_WRONG}, /* no uid */
        {"writable-proc", "4294967296", OPTIONS_WRONG},
        {"writable-proc", "18446744073709551616", OPTIONS_WRONG},
        {"writable-proc", "", OPTIONS_WRONG},
        {"writable-proc", "-1", OPTIONS_WRONG},
        {"writable-proc", "+0", OPTIONS_WRONG},
        {"writable-proc", " 0", OPTIONS_WRONG},
        {"writable-proc", "0 ", OPTIONS_WRONG},
        {"writable-proc", "no-such-user-here", OPTIONS_WRONG},
        {"build-directory", "/srv/build", OPTIONS_RUN},
        {"build-directory", "/srv/build/", OPTIONS_RUN},
        {"build-directory", "/srv/build:root", OPTIONS_RUN},
        {"build-directory", "/srv/build:1000", OPTIONS_RUN},
        {"build-directory", "/srv/a:b:1000", OPTIONS_RUN}, /* the last colon counts */
        {"build-directory", "", OPTIONS_WRONG},
        {"build-directory", ":", OPTIONS_WRONG},
        {"build-directory", ":root", OPTIONS_WRONG},
        {"build-directory", "/", OPTIONS_WRONG},
        {"build-directory", "/:root", OPTIONS_WRONG},
        {"build-directory", "srv/build", OPTIONS_WRONG},
        {"build-directory", "/srv/../build", OPTIONS_WRONG},
        {"build-directory", "/srv//build", OPTIONS_WRONG},
        {"build-directory", "/srv/build:", OPTIONS_WRONG},
        {"build-directory", "/srv/build:no-such-user-here", OPTIONS_WRONG},
        {"build-directory", "/srv/build:4294967295", OPTIONS_WRONG}, /* would be everybody */
        {"build-directory", "/srv/a:b", OPTIONS_WRONG},
};

START_TEST(judges_every_string) {
        for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
                struct options options;

                ck_assert_msg(parse_one(&options, strings[i].name, strings[i].value) ==
                                      strings[i].result,
                              "--%s=%s", strings[i].name, strings[i].value);
                options_free(&options);
        }
}
END_TEST

START_TEST(path_may_be_as_long_as_the_kernels) {
        static char path[PATH_MAX + 2];
        struct options options;

        memset(path, 'a', sizeof(path));
        path[0] = '/';
        path[PATH_MAX] = '\0';
        ck_assert_uint_eq(parse_one(&options, "build-directory", path), OPTIONS_WRONG);
        options_free(&options);
        path[PATH_MAX - 1] = '\0';
        ck_assert_uint_eq(parse_one(&options, "build-directory", path), OPTIONS_RUN);
        options_free(&options);
}
END_TEST

START_TEST(keeps_what_it_was_given) {
        struct options options;

        ck_assert_uint_eq(PARSE(&options, "--listen", "/a", "--instance=b",
                                "--runtime-directory=/c", "--log-level=err", "--max-mounts=16384",
                                "--system-calls=log"),
                          OPTIONS_RUN);
        ck_assert_str_eq(options.listen, "/a");
        ck_assert_str_eq(options.instance, "b");
        ck_assert_str_eq(options.runtime_directory, "/c");
        ck_assert_int_eq(options.log_level, LOG_ERR);
        ck_assert_uint_eq(options.confinement, CONFINE_LOG);
        ck_assert(options.max_mounts_given);
        options_free(&options);
}
END_TEST

static enum status judge(const struct options *options, uid_t uid, const char *path) {
        static struct target_facts facts;

        facts = (struct target_facts){.type = TARGET_DIRECTORY, .owner = 5, .magic = 0xef53};
        strcpy(facts.path, path);
        return policy_judge(options->policy, &(struct policy_subject){.uid = uid}, PROTOCOL_PROC,
                            &facts);
}

START_TEST(repeatable_options_add_up) {
        struct options options;

        ck_assert_uint_eq(PARSE(&options, "--build-directory=/a", "--build-directory=/b:1000",
                                "--writable-proc=1000", "--build-directory", "/c:d:1001",
                                "--writable-proc=root"),
                          OPTIONS_RUN);
        ck_assert_uint_eq(judge(&options, 1, "/a/proc"), STATUS_OK);
        ck_assert_uint_eq(judge(&options, 1000, "/b/proc"), STATUS_OK);
        ck_assert_uint_eq(judge(&options, 1001, "/b/proc"), STATUS_NOT_AUTHORISED);
        ck_assert_uint_eq(judge(&options, 1001, "/c:d/proc"), STATUS_OK);
        ck_assert_uint_eq(judge(&options, 1000, "/c:d/proc"), STATUS_NOT_AUTHORISED);
        ck_assert_uint_eq(judge(&options, 1, "/b:1000/proc"), STATUS_NOT_AUTHORISED);
        ck_assert(policy_allows_writable_proc(options.policy, 1000));
        ck_assert(policy_allows_writable_proc(options.policy, 0));
        ck_assert(!policy_allows_writable_proc(options.policy, 1001));
        options_free(&options);
}
END_TEST

START_TEST(last_of_the_others_wins) {
        struct options options;

        ck_assert_uint_eq(PARSE(&options, "--workers=3", "--workers=4", "--system-calls=off",
                                "--system-calls=enforce"),
                          OPTIONS_RUN);
        ck_assert_uint_eq(options.limits.workers, 4);
        ck_assert_uint_eq(options.confinement, CONFINE_ENFORCE);
        options_free(&options);
}
END_TEST

START_TEST(refuses_what_is_no_option) {
        static const struct {
                const char *arguments[3];
                const char *named;
        } wrong[] = {
                {{"--nonsense"}, "--nonsense"},
                {{"--nonsense=1"}, "--nonsense=1"},
                {{"nonsense"}, "nonsense"},
                {{"-x"}, "-x"},
                {{"-xyz"}, "-x"},
                {{"--", "nonsense"}, "nonsense"},
                {{"--listen"}, "--listen"},
                {{"--workers"}, "--workers"},
                {{"--help=1"}, "--help=1"},
                {{"--version=1"}, "--version=1"},
                {{"--sweep=1"}, "--sweep=1"},
                {{"--sweep="}, "--sweep="},
                {{"--sweep", "now"}, "now"},
                {{"--adopt-timeout"}, "--adopt-timeout"},
                {{"--max-lost-workers"}, "--max-lost-workers"},
                {{"--system-calls"}, "--system-calls"},
                {{"--max=1"}, "--max=1"}, /* of several */
                {{"--workers=1", "/run/x"}, "/run/x"},
        };

        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                struct options options;

                ck_assert_msg(parse_all(&options, wrong[i].arguments) == OPTIONS_WRONG, "%s",
                              wrong[i].named);
                ck_assert_msg(strncmp(errors, wrong[i].named, strlen(wrong[i].named)) == 0,
                              "%s: '%s'", wrong[i].named, errors);
                options_free(&options);
        }
}
END_TEST

START_TEST(sweep_is_asked_for_beside_other_options) {
        struct options options;

        ck_assert_uint_eq(PARSE(&options, "--sweep"), OPTIONS_RUN);
        ck_assert(options.sweep);
        options_free(&options);
        ck_assert_uint_eq(PARSE(&options, "--instance=a", "--sweep", "--runtime-directory=/r"),
                          OPTIONS_RUN);
        ck_assert(options.sweep);
        ck_assert_str_eq(options.instance, "a");
        ck_assert_str_eq(options.runtime_directory, "/r");
        options_free(&options);
}
END_TEST

START_TEST(ledger_is_told_of_the_workers) {
        struct options options;

        ck_assert_uint_eq(PARSE(&options, "--workers=3", "--max-lost-workers=5"), OPTIONS_RUN);
        ck_assert_uint_eq(options.limits.workers, 3);
        ck_assert_uint_eq(options.limits.lost_workers, 5);
        options_free(&options);
}
END_TEST

START_TEST(help_and_version_are_asked_for) {
        struct options options;

        ck_assert_uint_eq(PARSE(&options, "--help"), OPTIONS_HELP);
        options_free(&options);
        ck_assert_uint_eq(PARSE(&options, "--version"), OPTIONS_VERSION);
        options_free(&options);
        ck_assert_uint_eq(PARSE(&options, "--workers=0", "--help"), OPTIONS_WRONG);
        options_free(&options);
        options_free(&options); /* twice is once */
}
END_TEST

START_TEST(help_lists_every_option_and_default) {
        char *help = NULL;
        size_t size;
        FILE *file = open_memstream(&help, &size);

        options_print_help(file);
        fclose(file);
        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
                ck_assert_ptr_nonnull(strstr(help, numbers[i].name));
        for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
                ck_assert_ptr_nonnull(strstr(help, strings[i].name));
        ck_assert_ptr_nonnull(strstr(help, "--sweep"));
        ck_assert_ptr_nonnull(strstr(help, "--help"));
        ck_assert_ptr_nonnull(strstr(help, "--version"));
        ck_assert_ptr_nonnull(strstr(help, "(default 4096)"));
        ck_assert_ptr_nonnull(strstr(help, "(default 60)"));
        free(help);
}
END_TEST

/* Connections, workers, lost ones too, D-Bus calls, and the rest, for the default limits. */
enum { OTHERS = 4096 + (8 + 16) * (18 + 4) + 256 * 16 + 64 };

static const struct {
        unsigned mounts; /* 0: the default */
        uint64_t descriptors, mount_max;
        int result;
        unsigned fitted;
} fits[] = {
        {0, 524288, 100000, OTHERS + 16384, 16384},
        {0, OTHERS + 16384, 100000, OTHERS + 16384, 16384},
        {0, OTHERS + 16383, 100000, OTHERS + 16383, 16383}, /* gives way */
        {0, OTHERS + 1, 100000, OTHERS + 1, 1},
        {0, OTHERS, 100000, -ENOBUFS, 0},
        {0, 0, 100000, -ENOBUFS, 0},
        {0, 524288, 16384, OTHERS + 16384, 16384},
        {0, 524288, 16383, OTHERS + 16383, 16383},
        {0, 524288, 1, OTHERS + 1, 1},
        {0, 524288, 0, -ENOBUFS, 0},
        {0, UINT64_MAX, UINT64_MAX, OTHERS + 16384, 16384}, /* RLIM_INFINITY */
        {100, OTHERS + 100, 100, OTHERS + 100, 100},
        {100, OTHERS + 99, 100000, -ENOBUFS, 0}, /* what was asked for doesn't give way */
        {100, 524288, 99, -ENOBUFS, 0},
        {65536, UINT64_MAX, UINT64_MAX, OTHERS + 65536, 65536},
};

START_TEST(fits_the_limits_into_the_processes) {
        for (size_t i = 0; i < sizeof(fits) / sizeof(fits[0]); i++) {
                struct options options;
                char text[32], *said = NULL;
                size_t size;
                FILE *file = open_memstream(&said, &size);
                int r;

                snprintf(text, sizeof(text), "%u", fits[i].mounts);
                ck_assert_uint_eq(fits[i].mounts ? parse_one(&options, "max-mounts", text)
                                                 : PARSE(&options, NULL),
                                  OPTIONS_RUN);
                r = options_fit(&options, fits[i].descriptors, fits[i].mount_max, file);
                fclose(file);
                ck_assert_msg(r == fits[i].result, "row %zu: %d, '%s'", i, r, said);
                if (r >= 0) {
                        ck_assert_uint_eq(options.limits.mounts, fits[i].fitted);
                        ck_assert_str_eq(said, "");
                } else
                        ck_assert_ptr_nonnull(strstr(said, fits[i].mount_max < 100000
                                                                   ? "fs.mount-max"
                                                                   : "RLIMIT_NOFILE"));
                free(said);
                options_free(&options);
        }
}
END_TEST

int main(void) {
        return SUITE_RUN("options", has_the_documented_defaults, takes_each_number_up_to_its_edges,
                         judges_every_string, path_may_be_as_long_as_the_kernels,
                         keeps_what_it_was_given, repeatable_options_add_up,
                         last_of_the_others_wins, refuses_what_is_no_option,
                         sweep_is_asked_for_beside_other_options, ledger_is_told_of_the_workers,
                         help_and_version_are_asked_for, help_lists_every_option_and_default,
                         fits_the_limits_into_the_processes);
}
