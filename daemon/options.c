/* SPDX-License-Identifier: Apache-2.0 */

/* One row per option: its name, its argument, and what it does. */

#include "daemon/options.h"

#include "common/fd.h"
#include "common/fdpass.h"
#include "daemon/kernel.h"
#include "daemon/log.h"
#include "daemon/namespaces.h"
#include "daemon/refusal.h"
#include "daemon/template.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
        OPTIONS_PER_CONNECTION = 1 + FDPASS_MAX, /* its socket, and a message's descriptors */
        OPTIONS_PER_JOINED = NAMESPACES_KINDS - 1 + TEMPLATE_DEV, /* and the templates for them */
        /* For templates, epoll, bus, journal, jobs, and connections being refused. */
        OPTIONS_SPARE = 256 + REFUSALS_CLOSERS_MAX + REFUSALS_WAITING_MAX,
        OPTIONS_INSTANCE_MAX = 32,
        OPTIONS_SHM_DEFAULT = 64 << 20,
        OPTIONS_FIRST = 256, /* getopt_long()'s value for the first row: above any letter */
};

#define OPTIONS_SHM_MAX (1ULL << 40)

struct options_row {
        const char *name;
        const char *argument; /* NULL: takes none */
        const char *help;
        bool (*apply)(struct options *options, const struct options_row *row, const char *value,
                      FILE *errors);
        size_t offset; /* in struct options: of numbers, strings and flags */
        /* of numbers: */
        unsigned min;
        unsigned max;
        int (*add_user)(struct policy *policy, uid_t uid); /* of users */
};

static bool options_refuse(const struct options_row *row, const char *value, const char *why,
                           FILE *errors) {
        fprintf(errors, "--%s=%s: %s\n", row->name, value, why);
        return false;
}

static bool options_apply_number(struct options *options, const struct options_row *row,
                                 const char *value, FILE *errors) {
        unsigned *number = (unsigned *)((char *)options + row->offset);
        unsigned long parsed;
        char *end, why[64];

        errno = 0;
        parsed = strtoul(value, &end, 10);
        if (errno || end == value || *end || value[0] < '0' || value[0] > '9' ||
            parsed < row->min || parsed > row->max) {
                snprintf(why, sizeof(why), "give a number from %u to %u", row->min, row->max);
                return options_refuse(row, value, why, errors);
        }
        *number = parsed;
        options->max_connections_given |= number == &options->limits[QUOTA_CONNECTIONS].total;
        options->max_mounts_given |= number == &options->limits[QUOTA_MOUNTS].total;
        return true;
}

static bool options_apply_string(struct options *options, const struct options_row *row,
                                 const char *value, FILE *errors) {
        if (value[0] != '/')
                return options_refuse(row, value, "give an absolute path", errors);
        *(const char **)((char *)options + row->offset) = value;
        return true;
}

static bool options_apply_listen(struct options *options, const struct options_row *row,
                                 const char *value, FILE *errors) {
        struct options_row next = *row;
        char why[64];
        size_t count = 0;

        while (options->listen[count])
                count++;
        snprintf(why, sizeof(why), "give --listen at most %d times", LISTENER_MAX);
        if (count == LISTENER_MAX)
                return options_refuse(row, value, why, errors);
        next.offset = offsetof(struct options, listen) + count * sizeof(options->listen[0]);
        return options_apply_string(options, &next, value, errors);
}

/* A name or a number; (uid_t)-1 isn't a uid. */
static bool options_parse_user(const char *value, uid_t *uid) {
        const struct passwd *user = getpwnam(value);
        unsigned long number;
        char *end;

        if (user) {
                *uid = user->pw_uid;
                return true;
        }
        errno = 0;
        number = strtoul(value, &end, 10);
        if (errno || end == value || *end || value[0] < '0' || value[0] > '9' ||
            number >= UINT32_MAX)
                return false;
        *uid = number;
        return true;
}

static bool options_apply_build_directory(struct options *options, const struct options_row *row,
                                          const char *value, FILE *errors) {
        const char *colon = strrchr(value, ':');
        uid_t uid = POLICY_ANY_USER;
        char path[PATH_MAX];
        int r;

        if (snprintf(path, sizeof(path), "%.*s", (int)(colon ? colon - value : PATH_MAX), value) >=
            (int)sizeof(path))
                return options_refuse(row, value, "the path is too long", errors);
        if (colon && !options_parse_user(colon + 1, &uid))
                return options_refuse(row, value, "no such user", errors);
        r = policy_add_build_directory(options->policy, path, uid);
        if (r == -EINVAL)
                return options_refuse(row, value,
                                      "give an absolute path other than \"/\", in UTF-8, without "
                                      "\".\", \"..\" and double slashes, as realpath(1) prints it",
                                      errors);
        return r == 0 || options_refuse(row, value, "out of memory", errors);
}

static bool options_apply_user(struct options *options, const struct options_row *row,
                               const char *value, FILE *errors) {
        uid_t uid;

        if (!options_parse_user(value, &uid))
                return options_refuse(row, value, "no such user", errors);
        return row->add_user(options->policy, uid) == 0 ||
               options_refuse(row, value, "out of memory", errors);
}

static bool options_apply_instance(struct options *options, const struct options_row *row,
                                   const char *value, FILE *errors) {
        size_t length = strlen(value);

        if (length < 1 || length > OPTIONS_INSTANCE_MAX ||
            strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") !=
                    length)
                return options_refuse(row, value,
                                      "give 1 to 32 characters of a-z, A-Z, 0-9, _ and -", errors);
        options->instance = value;
        return true;
}

static bool options_apply_log_level(struct options *options, const struct options_row *row,
                                    const char *value, FILE *errors) {
        int level = log_level_from_name(value);

        if (level < 0)
                return options_refuse(row, value,
                                      "give one of emerg, alert, crit, err, warning, notice, "
                                      "info, debug",
                                      errors);
        options->log_level = level;
        return true;
}

static bool options_apply_system_calls(struct options *options, const struct options_row *row,
                                       const char *value, FILE *errors) {
        int mode = seccomp_mode_from_name(value);

        if (mode < 0)
                return options_refuse(row, value, "give one of enforce, log, off", errors);
        options->seccomp_mode = mode;
        return true;
}

/* In bytes, or in units of 1024 with the suffix K, M, G or T, as in tmpfs(5). */
static bool options_apply_dev_shm_size(struct options *options, const struct options_row *row,
                                       const char *value, FILE *errors) {
        static const char units[] = "KMGT";
        unsigned long long parsed;
        const char *unit;
        unsigned shift = 0;
        char *end;

        errno = 0;
        parsed = strtoull(value, &end, 10);
        unit = *end ? strchr(units, *end) : NULL;
        if (unit) {
                shift = 10 * (unit - units + 1);
                end++;
        }
        if (errno || value[0] < '0' || value[0] > '9' || *end || parsed > OPTIONS_SHM_MAX >> shift)
                return options_refuse(row, value,
                                      "give a size of at most 1T, such as 64M, or 0 for no shm",
                                      errors);
        options->dev_shm_size = parsed << shift;
        return true;
}

static bool options_apply_flag(struct options *options, const struct options_row *row,
                               const char *value, FILE *errors) {
        (void)value;
        (void)errors;
        *(bool *)((char *)options + row->offset) = true;
        return true;
}

#define NUMBER(name, field, min, max, help)                                                        \
        { name, "N", help, options_apply_number, offsetof(struct options, field), min, max }

static const struct options_row options_table[] = {
        {"listen", "PATH", "listen on PATH instead of systemd's sockets; repeatable",
         options_apply_listen, 0, 0, 0},
        {"build-directory", "DIR[:USER]",
         "let clients (only USER's, if given) mount on any user's directories below DIR; "
         "repeatable",
         options_apply_build_directory, 0, 0, 0},
        {"writable-proc", "USER", "let USER mount a writable procfs; repeatable",
         options_apply_user, .add_user = policy_add_writable_proc},
        {"join", "USER",
         "enter the mount namespaces of USER's clients, such as containers, to mount there; "
         "repeatable",
         options_apply_user, .add_user = policy_add_join},
        NUMBER("max-connections", limits[QUOTA_CONNECTIONS].total, 1, 65536,
               "maximum connections (default 2048, or what RLIMIT_NOFILE allows)"),
        NUMBER("max-connections-per-user", limits[QUOTA_CONNECTIONS].per_user, 1, 65536,
               "maximum connections of one user (default 512)"),
        NUMBER("max-namespaces-per-user", limits[QUOTA_NAMESPACES].per_user, 1, 65536,
               "maximum connections of one user in mount namespaces entered by --join (default "
               "256)"),
        NUMBER("max-mounts", limits[QUOTA_MOUNTS].total, 1, STATE_RECORDS_MAX,
               "maximum mounts (default 16384, or what RLIMIT_NOFILE allows)"),
        NUMBER("max-mounts-per-user", limits[QUOTA_MOUNTS].per_user, 1, STATE_RECORDS_MAX,
               "maximum mounts of one user (default 2048)"),
        NUMBER("max-targets", max_targets, 1, PROTOCOL_TARGETS_MAX,
               "maximum targets of one request (default 16)"),
        NUMBER("idle-timeout", idle_timeout, 0, 86400,
               "seconds without connections and leases before a socket-activated daemon exits; "
               "0: never (default 60)"),
        NUMBER("adopt-timeout", adopt_timeout, 0, 3600,
               "seconds after the start in which clients can adopt their leases of the previous "
               "instance (default 30)"),
        {"dev-shm-size", "SIZE",
         "size of the shm of a dev, in bytes or with K, M, G or T; 0: no shm (default 64M)",
         options_apply_dev_shm_size, 0, 0, 0},
        {"no-dev", NULL, "refuse to mount dev", options_apply_flag,
         offsetof(struct options, no_dev), 0, 0},
        {"instance", "NAME", "run beside other instances, with mount source mountatd:NAME",
         options_apply_instance, 0, 0, 0},
        {"runtime-directory", "DIR",
         "directory of the state file (default $RUNTIME_DIRECTORY, else /run/mountatd[-NAME])",
         options_apply_string, offsetof(struct options, runtime_directory), 0, 0},
        {"log-level", "LEVEL", "least urgent level to log (default info)", options_apply_log_level,
         0, 0, 0},
        {"system-calls", "MODE",
         "system calls not on the daemon's list: enforce: refuse and log them; log: only log them; "
         "off: allow them (default enforce)",
         options_apply_system_calls, 0, 0, 0},
        {"sweep", NULL,
         "don't serve: unmount, with root's rights, what a dead instance left that no client can "
         "adopt",
         options_apply_flag, offsetof(struct options, sweep), 0, 0},
        {"help", NULL, "print this help", NULL, 0, 0, 0},
        {"version", NULL, "print the version and build features", NULL, 0, 0, 0},
};

enum { OPTIONS_COUNT = sizeof(options_table) / sizeof(options_table[0]) };

void options_print_help(FILE *file) {
        fputs("mountatd [OPTION…]\n\n"
              "Mounts procfs, sysfs and a /dev for unprivileged clients, on directories that they "
              "send as\n"
              "file descriptors. See mountatd(8).\n\n",
              file);
        for (size_t i = 0; i < OPTIONS_COUNT; i++) {
                const struct options_row *row = &options_table[i];
                char name[64];

                snprintf(name, sizeof(name), "--%s%s%s", row->name, row->argument ? "=" : "",
                         row->argument ?: "");
                fprintf(file, "  %-32s %s\n", name, row->help);
        }
}

static enum options_result options_walk(struct options *options, int argc, char **argv,
                                        const struct option *longs, FILE *errors) {
        int c;

        while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
                const struct options_row *row =
                        c >= OPTIONS_FIRST ? &options_table[c - OPTIONS_FIRST] : NULL;

                if (!row) {
                        const char letter[] = {'-', (char)optopt, '\0'};
                        bool is_letter = optopt > 0 && optopt < OPTIONS_FIRST;

                        /* Within "-xy", optind has not advanced yet. */
                        fprintf(errors, "%s: %s: see --help\n",
                                is_letter ? letter : argv[optind - 1],
                                "no such option, or a missing or unneeded argument");
                        return OPTIONS_WRONG;
                }
                if (!row->apply)
                        return strcmp(row->name, "help") == 0 ? OPTIONS_HELP : OPTIONS_VERSION;
                if (!row->apply(options, row, optarg, errors))
                        return OPTIONS_WRONG;
        }
        if (optind < argc) {
                fprintf(errors, "%s: mountatd takes only options: see --help\n", argv[optind]);
                return OPTIONS_WRONG;
        }
        return OPTIONS_RUN;
}

enum options_result options_parse(struct options *options, int argc, char **argv, FILE *errors) {
        struct option longs[OPTIONS_COUNT + 1] = {0};
        enum options_result result;

        *options = (struct options){
                .policy = policy_new(),
                .limits =
                        {
                                [QUOTA_CONNECTIONS] = {2048, 512},
                                [QUOTA_REFUSALS] = {REFUSALS_CLOSERS_MAX,
                                                    REFUSALS_CLOSERS_PER_USER_MAX},
                                [QUOTA_MOUNTS] = {16384, 2048},
                                [QUOTA_CALLS] = {256, 32},
                                /*
                                 * The pods of a node often share a uid, and mountat-runner connects
                                 * for each action: there is room for two of them with 64
                                 * simultaneous actions each, and for a readiness check of each of
                                 * 110 pods, Kubernetes' maximum per node. Half of a user's
                                 * connections are left for the host. The total is not limited: each
                                 * connection already has the descriptors for it,
                                 * OPTIONS_PER_JOINED.
                                 */
                                [QUOTA_NAMESPACES] = {65536, 256},
                        },
                .max_targets = PROTOCOL_TARGETS_MAX,
                .idle_timeout = 60,
                .adopt_timeout = 30,
                .dev_shm_size = OPTIONS_SHM_DEFAULT,
                .log_level = LOG_INFO,
        };
        if (!options->policy) {
                fputs("out of memory\n", errors);
                return OPTIONS_WRONG;
        }

        for (size_t i = 0; i < OPTIONS_COUNT; i++)
                longs[i] = (struct option){
                        .name = options_table[i].name,
                        .has_arg = options_table[i].argument ? required_argument : no_argument,
                        .val = OPTIONS_FIRST + i, /* distinct, so that "--max" is ambiguous */
                };
        opterr = 0;
        optind = 0;
        result = options_walk(options, argc, argv, longs, errors);
        return result;
}

/* ---- the host's directories ---- */

static bool options_look_at(const char *path, bool joins, FILE *errors) {
        FD_AUTO int fd = kernel_open_place(path, 0);
        char real[PATH_MAX];

        if (fd == -ENOENT && joins)
                log_write(LOG_INFO, NULL,
                          "--build-directory=%s: no such directory in mountatd's mount namespace: "
                          "it only applies in containers",
                          path);
        else if (fd == -ENOENT)
                log_write(LOG_WARNING, NULL,
                          "--build-directory=%s: no such directory: create it before clients mount "
                          "below it",
                          path);
        else if (fd < 0 && fd != -ENOTDIR && fd != -ELOOP)
                log_write(LOG_NOTICE, &(struct log_subject){.error = fd},
                          "--build-directory=%s: cannot check it for symbolic links: nothing can "
                          "be mounted below it unless realpath(1) prints the same path",
                          path);
        if (fd == -ENOTDIR)
                fprintf(errors, "--build-directory=%s: not a directory\n", path);
        if (fd == -ELOOP && realpath(path, real))
                fprintf(errors,
                        "--build-directory=%s: the path contains a symbolic link: give %s\n", path,
                        real);
        else if (fd == -ELOOP)
                fprintf(errors,
                        "--build-directory=%s: the path contains a dangling symbolic link: give "
                        "the path of a directory\n",
                        path);
        return fd != -ENOTDIR && fd != -ELOOP;
}

bool options_look(const struct options *options, FILE *errors) {
        const char *path;
        size_t cursor = 0;
        bool good = true;
        uid_t uid;

        while (good && policy_next_build_directory(options->policy, &cursor, &path, &uid))
                good = options_look_at(path, policy_joins(options->policy), errors);
        return good;
}

void options_free(struct options *options) {
        options->policy = policy_free(options->policy);
}

/* ---- the host's limits ---- */

/*
 * A connection takes a descriptor for its socket, those that a message brings, and with --join
 * those kept of its client's namespaces; a mount takes one.
 */
static uint64_t options_of_connections(const struct options *options) {
        unsigned each =
                OPTIONS_PER_CONNECTION + (policy_joins(options->policy) ? OPTIONS_PER_JOINED : 0);

        return (uint64_t)options->limits[QUOTA_CONNECTIONS].total * each;
}

static uint64_t options_descriptors(const struct options *options) {
        return options_of_connections(options) + options->limits[QUOTA_MOUNTS].total;
}

/* The limit's share of `room`, in proportion to its part in `needed`. */
static unsigned options_share(unsigned limit, uint64_t room, uint64_t needed) {
        uint64_t share = limit * room / needed;

        return share > 0 ? share : 1;
}

static int options_complain(const struct options *options, const char *limit, uint64_t value,
                            FILE *errors) {
        fprintf(errors,
                "--max-connections=%u and --max-mounts=%u need more than %s of %llu allows: lower "
                "them, or raise it\n",
                options->limits[QUOTA_CONNECTIONS].total, options->limits[QUOTA_MOUNTS].total,
                limit, (unsigned long long)value);
        return -ENOBUFS;
}

int options_fit(struct options *options, uint64_t descriptors, uint64_t mount_max, FILE *errors) {
        unsigned *connections = &options->limits[QUOTA_CONNECTIONS].total;
        unsigned *mounts = &options->limits[QUOTA_MOUNTS].total;
        uint64_t room = descriptors > OPTIONS_SPARE ? descriptors - OPTIONS_SPARE : 0;
        uint64_t fixed = 0, needed;

        if (!options->max_mounts_given && *mounts > mount_max)
                *mounts = options_share(*mounts, mount_max, *mounts);
        if (*mounts > mount_max)
                return options_complain(options, "the sysctl fs.mount-max", mount_max, errors);

        /*
         * Given numbers get their room first; default ones share the rest in proportion, and mounts
         * get the remainder of the division.
         */
        if (options->max_connections_given)
                fixed += options_of_connections(options);
        if (options->max_mounts_given)
                fixed += *mounts;
        needed = options_descriptors(options) - fixed;
        if (!options->max_connections_given && fixed < room && needed > room - fixed)
                *connections = options_share(*connections, room - fixed, needed);
        needed = options_descriptors(options) - *mounts;
        if (!options->max_mounts_given && room > needed && room - needed < *mounts)
                *mounts = room - needed;
        if (options_descriptors(options) > room)
                return options_complain(options, "RLIMIT_NOFILE", descriptors, errors);
        return options_descriptors(options) + OPTIONS_SPARE;
}
