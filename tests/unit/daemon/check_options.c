/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/options.h"

#include "common/fdpass.h"
#include "daemon/log.h"
#include "daemon/refusal.h"
#include "tests/test.h"
#include "tests/unit/daemon/log_capture.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <syslog.h>

static char *errors; /* the output of the last parse() */

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
        ck_assert_ptr_null(options.listen[0]);
        ck_assert_ptr_null(options.instance);
        ck_assert_ptr_null(options.runtime_directory);
        ck_assert_uint_eq(options.limits[QUOTA_CONNECTIONS].total, 2048);
        ck_assert_uint_eq(options.limits[QUOTA_CONNECTIONS].per_user, 512);
        ck_assert_uint_eq(options.limits[QUOTA_NAMESPACES].per_user, 256);
        ck_assert_uint_eq(options.limits[QUOTA_MOUNTS].total, 16384);
        ck_assert_uint_eq(options.limits[QUOTA_MOUNTS].per_user, 2048);
        ck_assert(!options.max_connections_given);
        ck_assert(!options.max_mounts_given);
        ck_assert_uint_eq(options.max_targets, 16);
        ck_assert_uint_eq(options.idle_timeout, 60);
        ck_assert_uint_eq(options.adopt_timeout, 30);
        ck_assert_uint_eq(options.dev_shm_size, 64 << 20);
        ck_assert(!options.no_dev);
        ck_assert(!options.sweep);
        ck_assert_int_eq(options.log_level, LOG_INFO);
        ck_assert_uint_eq(options.seccomp_mode, SECCOMP_ENFORCE);
        ck_assert(!policy_allows_writable_proc(options.policy, 0));
        ck_assert(!policy_joins(options.policy));
        options_free(&options);
}
END_TEST

static const struct {
        const char *name;
        size_t offset;
        unsigned min, max;
} numbers[] = {
        {"max-connections", offsetof(struct options, limits[QUOTA_CONNECTIONS].total), 1, 65536},
        {"max-connections-per-user", offsetof(struct options, limits[QUOTA_CONNECTIONS].per_user),
         1, 65536},
        {"max-namespaces-per-user", offsetof(struct options, limits[QUOTA_NAMESPACES].per_user), 1,
         65536},
        {"max-mounts", offsetof(struct options, limits[QUOTA_MOUNTS].total), 1, 65536},
        {"max-mounts-per-user", offsetof(struct options, limits[QUOTA_MOUNTS].per_user), 1, 65536},
        {"max-targets", offsetof(struct options, max_targets), 1, 16},
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
                        /* The error gives the range. */
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

START_TEST(size_has_a_unit_or_none) {
        static const struct {
                const char *value;
                uint64_t size;
        } sizes[] = {{"0", 0},          {"0M", 0},          {"4096", 4096},    {"1K", 1024},
                     {"64M", 64 << 20}, {"3G", 3ULL << 30}, {"1T", 1ULL << 40}};
        struct options options;

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                ck_assert_uint_eq(parse_one(&options, "dev-shm-size", sizes[i].value), OPTIONS_RUN);
                ck_assert_uint_eq(options.dev_shm_size, sizes[i].size);
                options_free(&options);
        }
        ck_assert_uint_eq(PARSE(&options, "--no-dev"), OPTIONS_RUN);
        ck_assert(options.no_dev);
        options_free(&options);
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
        {"dev-shm-size", "0", OPTIONS_RUN},
        {"dev-shm-size", "1T", OPTIONS_RUN},
        {"dev-shm-size", "1099511627776", OPTIONS_RUN},
        {"dev-shm-size", "1099511627777", OPTIONS_WRONG},
        {"dev-shm-size", "1025G", OPTIONS_WRONG},
        {"dev-shm-size", "2T", OPTIONS_WRONG},
        {"dev-shm-size", "18446744073709551615K", OPTIONS_WRONG},
        {"dev-shm-size", "18446744073709551616", OPTIONS_WRONG},
        {"dev-shm-size", "", OPTIONS_WRONG},
        {"dev-shm-size", "M", OPTIONS_WRONG},
        {"dev-shm-size", "64m", OPTIONS_WRONG},
        {"dev-shm-size", "64MB", OPTIONS_WRONG},
        {"dev-shm-size", "-1", OPTIONS_WRONG},
        {"dev-shm-size", " 1", OPTIONS_WRONG},
        {"dev-shm-size", "1 M", OPTIONS_WRONG},
        {"dev-shm-size", "50%", OPTIONS_WRONG},
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
        {"join", "root", OPTIONS_RUN},
        {"join", "4294967294", OPTIONS_RUN},
        {"join", "4294967295", OPTIONS_WRONG},
        {"join", "", OPTIONS_WRONG},
        {"join", "no-such-user-here", OPTIONS_WRONG},
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
        {"build-directory", "/srv/build:4294967295", OPTIONS_WRONG}, /* would mean everybody */
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

/* Each is absolute, and without dots and double slashes. */
START_TEST(build_directory_that_nothing_can_be_below_is_refused_with_the_reason) {
        struct options options;

        ck_assert_uint_eq(parse_one(&options, "build-directory", "/"), OPTIONS_WRONG);
        ck_assert_ptr_nonnull(strstr(errors, "other than \"/\""));
        options_free(&options);
        ck_assert_uint_eq(parse_one(&options, "build-directory", "/srv/latin1-\xe9"),
                          OPTIONS_WRONG);
        ck_assert_ptr_nonnull(strstr(errors, "in UTF-8"));
        options_free(&options);
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
        ck_assert_str_eq(options.listen[0], "/a");
        ck_assert_ptr_null(options.listen[1]);
        ck_assert_str_eq(options.instance, "b");
        ck_assert_str_eq(options.runtime_directory, "/c");
        ck_assert_int_eq(options.log_level, LOG_ERR);
        ck_assert_uint_eq(options.seccomp_mode, SECCOMP_LOG);
        ck_assert(options.max_mounts_given);
        options_free(&options);
}
END_TEST

static enum status judge(const struct options *options, uid_t uid, const char *path) {
        static struct target_facts facts;

        facts = (struct target_facts){.type = TARGET_DIRECTORY, .owner = 5, .magic = 0xef53};
        strcpy(facts.path, path);
        return policy_judge(options->policy, &(struct subject){.uid = uid}, PROTOCOL_PROC, &facts)
                .status;
}

START_TEST(listens_at_as_many_places_as_it_serves) {
        const char *arguments[LISTENER_MAX + 2] = {NULL};
        struct options options;

        for (unsigned i = 0; i <= LISTENER_MAX; i++) {
                static char places[LISTENER_MAX + 1][32];

                snprintf(places[i], sizeof(places[i]), "--listen=/%u", i);
                arguments[i] = places[i];
                ck_assert_uint_eq(parse_all(&options, arguments),
                                  i < LISTENER_MAX ? OPTIONS_RUN : OPTIONS_WRONG);
                for (unsigned j = 0; j <= i && j < LISTENER_MAX; j++)
                        ck_assert_str_eq(options.listen[j], strchr(places[j], '/'));
                ck_assert_ptr_null(options.listen[i < LISTENER_MAX ? i + 1 : LISTENER_MAX]);
                options_free(&options);
        }
        ck_assert_str_eq(errors, "--listen=/8: give --listen at most 8 times\n");
}
END_TEST

START_TEST(repeatable_options_add_up) {
        struct options options;

        ck_assert_uint_eq(PARSE(&options, "--build-directory=/a", "--build-directory=/b:1000",
                                "--writable-proc=1000", "--build-directory", "/c:d:1001",
                                "--writable-proc=root", "--join=1000", "--join=root"),
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
        ck_assert(policy_allows_join(options.policy, 1000));
        ck_assert(policy_allows_join(options.policy, 0));
        ck_assert(!policy_allows_join(options.policy, 1001));
        options_free(&options);
}
END_TEST

START_TEST(last_of_the_others_wins) {
        struct options options;

        ck_assert_uint_eq(PARSE(&options, "--max-targets=3", "--max-targets=4",
                                "--system-calls=off", "--system-calls=enforce"),
                          OPTIONS_RUN);
        ck_assert_uint_eq(options.max_targets, 4);
        ck_assert_uint_eq(options.seccomp_mode, SECCOMP_ENFORCE);
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
                {{"--max-targets"}, "--max-targets"},
                {{"--help=1"}, "--help=1"},
                {{"--version=1"}, "--version=1"},
                {{"--sweep=1"}, "--sweep=1"},
                {{"--sweep="}, "--sweep="},
                {{"--sweep", "now"}, "now"},
                {{"--adopt-timeout"}, "--adopt-timeout"},
                {{"--max-connections"}, "--max-connections"},
                {{"--system-calls"}, "--system-calls"},
                {{"--max=1"}, "--max=1"}, /* of several */
                {{"--max-targets=1", "/run/x"}, "/run/x"},
                /* of 0.1, which had workers */
                {{"--workers=8"}, "--workers=8"},
                {{"--max-lost-workers=16"}, "--max-lost-workers=16"},
                {{"--max-lost-workers-per-user=4"}, "--max-lost-workers-per-user=4"},
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

/* Set by the daemon itself, not by options. */
START_TEST(refusals_and_calls_have_their_limits) {
        struct options options;

        ck_assert_uint_eq(PARSE(&options, NULL), OPTIONS_RUN);
        ck_assert_uint_eq(options.limits[QUOTA_REFUSALS].total, REFUSALS_CLOSERS_MAX);
        ck_assert_uint_eq(options.limits[QUOTA_REFUSALS].per_user, REFUSALS_CLOSERS_PER_USER_MAX);
        for (int kind = 0; kind < QUOTA_KINDS; kind++) {
                ck_assert_uint_gt(options.limits[kind].per_user, 0);
                ck_assert_uint_lt(options.limits[kind].per_user, options.limits[kind].total);
        }
        options_free(&options);
}
END_TEST

START_TEST(help_and_version_are_asked_for) {
        struct options options;

        ck_assert_uint_eq(PARSE(&options, "--help"), OPTIONS_HELP);
        options_free(&options);
        ck_assert_uint_eq(PARSE(&options, "--version"), OPTIONS_VERSION);
        options_free(&options);
        ck_assert_uint_eq(PARSE(&options, "--max-targets=0", "--help"), OPTIONS_WRONG);
        options_free(&options);
        options_free(&options); /* the second call does nothing */
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
        ck_assert_ptr_nonnull(strstr(help, "(default 2048, or what RLIMIT_NOFILE allows)"));
        ck_assert_ptr_nonnull(strstr(help, "(default 512)"));
        ck_assert_ptr_nonnull(strstr(help, "(default 60)"));
        ck_assert_ptr_null(strstr(help, "worker"));
        free(help);
}
END_TEST

/* ---- the host's limits ---- */

enum {
        SOCKET = 1 + FDPASS_MAX, /* with a message's descriptors */
        SPARE = 256 + REFUSALS_CLOSERS_MAX + REFUSALS_WAITING_MAX,
        DEFAULTS = 2048 * SOCKET + 16384,
};

/* 0: not given. */
struct asked {
        unsigned connections, mounts;
};

struct fit {
        int result;
        unsigned connections, mounts;
        char said[512];
};

static struct fit fit(struct asked asked, uint64_t descriptors, uint64_t mount_max) {
        char connections[64], mounts[64];
        const char *arguments[3] = {NULL};
        struct fit result = {0};
        struct options options;
        size_t n = 0;
        FILE *file = fmemopen(result.said, sizeof(result.said), "w");

        snprintf(connections, sizeof(connections), "--max-connections=%u", asked.connections);
        snprintf(mounts, sizeof(mounts), "--max-mounts=%u", asked.mounts);
        if (asked.connections)
                arguments[n++] = connections;
        if (asked.mounts)
                arguments[n++] = mounts;
        ck_assert_uint_eq(parse_all(&options, arguments), OPTIONS_RUN);
        result.result = options_fit(&options, descriptors, mount_max, file);
        fclose(file);
        result.connections = options.limits[QUOTA_CONNECTIONS].total;
        result.mounts = options.limits[QUOTA_MOUNTS].total;
        options_free(&options);
        return result;
}

static const struct {
        struct asked asked;
        uint64_t descriptors, mount_max;
        unsigned connections, mounts; /* 0: refused */
} fits[] = {
        /* The defaults fit exactly. */
        {{0, 0}, 524288, 100000, 2048, 16384},
        {{0, 0}, DEFAULTS + SPARE, 100000, 2048, 16384},
        {{0, 0}, UINT64_MAX, UINT64_MAX, 2048, 16384}, /* RLIM_INFINITY */
        {{0, 0}, INT64_MAX, INT64_MAX, 2048, 16384},
        {{0, 0}, UINT32_MAX, UINT32_MAX, 2048, 16384},

        /* Both are lowered, in proportion: 8 mounts per connection. */
        {{0, 0}, DEFAULTS + SPARE - 1, 100000, 2047, 16384},
        {{0, 0}, DEFAULTS / 2 + SPARE, 100000, 1024, 8192},
        {{0, 0}, DEFAULTS / 1024 + SPARE, 100000, 2, 16},
        {{0, 0}, 4096, 100000, 101, 833},
        {{0, 0}, SOCKET + 1 + SPARE, 100000, 1, 1},
        {{0, 0}, SOCKET + SPARE, 100000, 0, 0},
        {{0, 0}, SPARE, 100000, 0, 0},
        {{0, 0}, SPARE - 1, 100000, 0, 0},
        {{0, 0}, 1024, 100000, 0, 0},
        {{0, 0}, 0, 100000, 0, 0},

        /* fs.mount-max lowers only the mounts, so connections get more room. */
        {{0, 0}, 524288, 16384, 2048, 16384},
        {{0, 0}, 524288, 16383, 2048, 16383},
        {{0, 0}, 524288, 1, 2048, 1},
        {{0, 0}, 524288, 0, 0, 0},
        {{0, 0}, 2048 * SOCKET + 1 + SPARE, 1, 2048, 1},
        {{0, 0}, 2048 * SOCKET + SPARE, 1, 2047, 1},

        /* A given number isn't lowered, and gets its room first. */
        {{0, 100}, 2048 * SOCKET + 100 + SPARE, 100, 2048, 100},
        {{0, 100}, 2048 * SOCKET + 99 + SPARE, 100, 2047, 100},
        {{0, 100}, SOCKET + 100 + SPARE, 100, 1, 100},
        {{0, 100}, SOCKET + 99 + SPARE, 100, 0, 0},
        {{0, 100}, 100 + SPARE, 100, 0, 0},
        {{0, 100}, 524288, 99, 0, 0},
        {{100, 0}, 100 * SOCKET + 16384 + SPARE, 100000, 100, 16384},
        {{100, 0}, 100 * SOCKET + 16383 + SPARE, 100000, 100, 16383},
        {{100, 0}, 100 * SOCKET + 1 + SPARE, 100000, 100, 1},
        {{100, 0}, 100 * SOCKET + SPARE, 100000, 0, 0},
        {{100, 0}, 524288, 1, 100, 1},
        {{100, 100}, 100 * SOCKET + 100 + SPARE, 100, 100, 100},
        {{100, 100}, UINT64_MAX, UINT64_MAX, 100, 100},
        {{100, 100}, 100 * SOCKET + 99 + SPARE, 100, 0, 0},
        {{100, 100}, 524288, 99, 0, 0},
        {{1, 1}, SOCKET + 1 + SPARE, 1, 1, 1},
        {{65536, 65536}, UINT64_MAX, UINT64_MAX, 65536, 65536},
        {{65536, 0}, 524288, 100000, 0, 0},
};

START_TEST(fits_the_limits_into_the_processes) {
        for (size_t i = 0; i < sizeof(fits) / sizeof(fits[0]); i++) {
                struct fit r = fit(fits[i].asked, fits[i].descriptors, fits[i].mount_max);

                if (fits[i].connections == 0) {
                        ck_assert_msg(r.result == -ENOBUFS, "row %zu: %d", i, r.result);
                        ck_assert_ptr_nonnull(strstr(r.said, fits[i].mount_max < 100
                                                                     ? "fs.mount-max"
                                                                     : "RLIMIT_NOFILE"));
                        ck_assert_ptr_nonnull(strstr(r.said, "--max-connections="));
                        ck_assert_ptr_nonnull(strstr(r.said, "--max-mounts="));
                        continue;
                }
                ck_assert_msg(r.connections == fits[i].connections && r.mounts == fits[i].mounts,
                              "row %zu: %u connections, %u mounts, '%s'", i, r.connections,
                              r.mounts, r.said);
                ck_assert_int_eq(r.result, r.connections * SOCKET + r.mounts + SPARE);
                ck_assert_str_eq(r.said, "");
        }
}
END_TEST

/* The limits of what can be given, and one beyond them. */
static void check_fit(struct asked asked, uint64_t descriptors, uint64_t mount_max) {
        struct fit r = fit(asked, descriptors, mount_max);
        uint64_t least = (uint64_t)(asked.connections ?: 1) * SOCKET + (asked.mounts ?: 1) + SPARE;
        bool possible = least <= descriptors && (asked.mounts ?: 1) <= mount_max;

        ck_assert_msg((r.result >= 0) == possible, "%u, %u of %llu, %llu: %d", asked.connections,
                      asked.mounts, (unsigned long long)descriptors, (unsigned long long)mount_max,
                      r.result);
        if (!possible)
                return;
        ck_assert_uint_le((uint64_t)r.result, descriptors);
        ck_assert_int_eq(r.result, r.connections * SOCKET + r.mounts + SPARE);
        ck_assert_uint_le(r.mounts, mount_max);
        ck_assert_uint_ge(r.connections, 1);
        ck_assert_uint_ge(r.mounts, 1);
        ck_assert_uint_le(r.connections, asked.connections ?: 2048);
        ck_assert_uint_le(r.mounts, asked.mounts ?: 16384);
        if (asked.connections)
                ck_assert_uint_eq(r.connections, asked.connections);
        if (asked.mounts)
                ck_assert_uint_eq(r.mounts, asked.mounts);
}

/* As many connections as fit with the descriptors kept for their namespaces. */
START_TEST(connections_that_may_join_take_more_descriptors) {
        enum { JOINED = 3 + 5 }; /* their namespaces, and a template of each kind */
        char *said = NULL;
        size_t size = 0;
        FILE *file = open_memstream(&said, &size);
        struct options options;

        ck_assert_uint_eq(PARSE(&options, "--join=root", "--max-connections=10", "--max-mounts=10"),
                          OPTIONS_RUN);
        ck_assert_int_eq(options_fit(&options, 10 * (SOCKET + JOINED) + 10 + SPARE, 10, file),
                         10 * (SOCKET + JOINED) + 10 + SPARE);
        ck_assert_int_eq(options_fit(&options, 10 * (SOCKET + JOINED) + 9 + SPARE, 10, file),
                         -ENOBUFS);
        fclose(file);
        free(said);
        options_free(&options);
}
END_TEST

START_TEST(fitted_limits_never_exceed_the_processes) {
        static const unsigned counts[] = {0, 1, 2, 100, 2048, 16384, 65535, 65536};
        static const uint64_t limits[] = {0,          1,         2,          99,
                                          100,        16383,     16384,      16385,
                                          65536,      INT32_MAX, UINT32_MAX, 1ULL << 32,
                                          1ULL << 52, INT64_MAX, 1ULL << 63, UINT64_MAX - 1,
                                          UINT64_MAX};
        const size_t n_counts = sizeof(counts) / sizeof(counts[0]);
        const size_t n_limits = sizeof(limits) / sizeof(limits[0]);

        for (size_t i = 0; i < n_counts * n_counts; i++) {
                struct asked asked = {counts[i / n_counts], counts[i % n_counts]};
                uint64_t edge =
                        (uint64_t)(asked.connections ?: 1) * SOCKET + (asked.mounts ?: 1) + SPARE;

                for (size_t m = 0; m < n_limits; m++) {
                        for (size_t d = 0; d < n_limits; d++)
                                check_fit(asked, limits[d], limits[m]);
                        for (uint64_t d = edge - 3; d <= edge + 40; d++)
                                check_fit(asked, d, limits[m]);
                }
        }
        /* Every range up to where nothing is lowered, in steps without a common factor. */
        for (uint64_t d = 0; d < DEFAULTS + SPARE + 1000; d += 37)
                check_fit((struct asked){0, 0}, d, d % 7 ? UINT64_MAX : d / 3);
}
END_TEST

/* More room never lowers a result. */
START_TEST(connections_and_mounts_give_way_together) {
        struct fit before = {.connections = 1, .mounts = 1};

        for (uint64_t d = SOCKET + 1 + SPARE; d < DEFAULTS + SPARE; d += 1009) {
                struct fit r = fit((struct asked){0, 0}, d, UINT64_MAX);

                ck_assert_uint_ge(r.connections, before.connections);
                ck_assert_uint_ge(r.mounts + SOCKET, before.mounts);
                /* All room is used, in the defaults' proportion, up to the division's remainder. */
                if (r.mounts < 16384)
                        ck_assert_uint_eq((uint64_t)r.result, d);
                ck_assert_uint_le(8 * r.connections, r.mounts + SOCKET);
                ck_assert_uint_le(r.mounts, 8 * (r.connections + 1) + SOCKET);
                before = r;
        }
}
END_TEST

/* ---- what they name ---- */

static bool has_openat2(void) {
        return syscall(SYS_openat2, AT_FDCWD, "/", NULL, 0) == 0 || errno != ENOSYS;
}

/* Makes the directory, by a template of mkdtemp(3); returns the log. */
static int make_and_log(char *place) {
        int log = capture();

        log_open(LOG_INFO);
        ck_assert_ptr_nonnull(mkdtemp(place));
        return log;
}

/* What is looked at, and what is said of it. */
START_TEST(looks_at_each_build_directory) {
        static const struct {
                const char *path;
                bool joins, good;
                const char *said, *logged;
        } rows[] = {
                {"directory", false, true, "", ""},
                {"file", false, false, "not a directory", ""},
                {"file/below", false, false, "not a directory", ""},
                {"link", false, false, "/directory\n", ""},
                {"link/below", false, false, "/directory/below\n", ""},
                {"dangling", false, false, "dangling symbolic link", ""},
                {"gone", false, true, "", "create it before clients mount"},
                {"gone", true, true, "", "it only applies in containers"},
        };
        char place[] = "/tmp/mountatd-check-XXXXXX", option[128];
        int log;

        if (!has_openat2())
                test_skip("openat2(2) is missing, as in valgrind");
        log = make_and_log(place);
        ck_assert_int_eq(chdir(place), 0);
        ck_assert_int_eq(mkdir("directory", 0755), 0);
        ck_assert_int_eq(mkdir("directory/below", 0755), 0);
        ck_assert_int_eq(mknod("file", S_IFREG | 0644, 0), 0);
        ck_assert_int_eq(symlink("directory", "link"), 0);
        ck_assert_int_eq(symlink("nothing", "dangling"), 0);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct options options;
                const char *logged;
                FILE *file;
                char *said;
                size_t size;

                snprintf(option, sizeof(option), "--build-directory=%s/%s", place, rows[i].path);
                ck_assert_uint_eq(PARSE(&options, option, rows[i].joins ? "--join=0" : NULL),
                                  OPTIONS_RUN);
                file = open_memstream(&said, &size);
                ck_assert_msg(options_look(&options, file) == rows[i].good, "row %zu", i);
                fclose(file);
                ck_assert_msg(rows[i].said[0] ? strstr(said, rows[i].said) && strstr(said, option)
                                              : said[0] == '\0',
                              "row %zu: %s", i, said);
                free(said);
                logged = captured(log);
                ck_assert_msg(rows[i].logged[0] ? strstr(logged, rows[i].logged) != NULL
                                                : logged[0] == '\0',
                              "row %zu: %s", i, logged);
                options_free(&options);
        }
        for (const char *const *name = (const char *const[]){"dangling", "link", "file", NULL};
             *name; name++)
                ck_assert_int_eq(unlink(*name), 0);
        ck_assert_int_eq(rmdir("directory/below"), 0);
        ck_assert_int_eq(rmdir("directory"), 0);
        ck_assert_int_eq(rmdir(place), 0);
}
END_TEST

/* As the unit's daemon, which has no right to enter others' directories. */
START_TEST(says_which_build_directory_it_may_not_look_at) {
        char place[] = "/tmp/mountatd-check-XXXXXX", option[128];
        struct options options;
        const char *logged;
        bool good;
        int log;

        if (!has_openat2())
                test_skip("openat2(2) is missing, as in valgrind");
        log = make_and_log(place);
        snprintf(option, sizeof(option), "--build-directory=%s/below", place);
        ck_assert_uint_eq(PARSE(&options, option), OPTIONS_RUN);
        ck_assert_int_eq(seteuid(60000), 0);
        good = options_look(&options, stderr);
        ck_assert_int_eq(seteuid(0), 0);
        ck_assert(good);
        logged = captured(log);
        ck_assert_ptr_nonnull(strstr(logged, option));
        ck_assert_ptr_nonnull(strstr(logged, "realpath(1)"));
        ck_assert_ptr_nonnull(strstr(logged, "Permission denied"));
        options_free(&options);
        ck_assert_int_eq(rmdir(place), 0);
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "options", has_the_documented_defaults, takes_each_number_up_to_its_edges,
                size_has_a_unit_or_none, judges_every_string,
                build_directory_that_nothing_can_be_below_is_refused_with_the_reason,
                path_may_be_as_long_as_the_kernels, keeps_what_it_was_given,
                listens_at_as_many_places_as_it_serves, repeatable_options_add_up,
                last_of_the_others_wins, refuses_what_is_no_option,
                sweep_is_asked_for_beside_other_options, refusals_and_calls_have_their_limits,
                help_and_version_are_asked_for, help_lists_every_option_and_default,
                fits_the_limits_into_the_processes, connections_that_may_join_take_more_descriptors,
                fitted_limits_never_exceed_the_processes, connections_and_mounts_give_way_together,
                looks_at_each_build_directory, says_which_build_directory_it_may_not_look_at);
}
