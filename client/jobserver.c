/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A descriptor passed into a root must not be a way out of it. A pipe is safe: it has no parent
 * directory, and opening it through /proc/self/fd yields the same pipe. Any other descriptor that
 * the variable names, above all a directory, isn't passed.
 */

#include "client/jobserver.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const jobserver_variables[JOBSERVER_FDS_MAX / 2] = {
        "MAKEFLAGS",
        "CARGO_MAKEFLAGS",
};

/* The first is make's since 4.2. */
static const char *const jobserver_options[] = {"--jobserver-auth=", "--jobserver-fds="};

static const char *jobserver_value(const char *word) {
        for (size_t i = 0; i < sizeof(jobserver_options) / sizeof(jobserver_options[0]); i++) {
                size_t length = strlen(jobserver_options[i]);

                if (strncmp(word, jobserver_options[i], length) == 0)
                        return word + length;
        }
        return NULL;
}

/* The last option wins. After "--" come make's variables, which may contain anything. */
static const char *jobserver_last(const char *flags) {
        const char *last = NULL;

        while (*flags) {
                size_t length = strcspn(flags, " ");
                const char *value = jobserver_value(flags);

                if (length == 2 && strncmp(flags, "--", 2) == 0)
                        break;
                if (value)
                        last = value;
                flags += length + strspn(flags + length, " ");
        }
        return last;
}

/* Parses a descriptor's number and moves `*text` past it. -1 if there is none. */
static int jobserver_number(const char **text) {
        char *end;
        long number;

        if (**text < '0' || **text > '9')
                return -1;
        errno = 0;
        number = strtol(*text, &end, 10);
        *text = end;
        return errno == 0 && number <= INT_MAX ? (int)number : -1;
}

static bool jobserver_is_pipe(int fd) {
        struct stat stat;

        return fstat(fd, &stat) == 0 && S_ISFIFO(stat.st_mode);
}

/* "3,4" */
static void jobserver_add(struct jobserver *jobserver, const char *value) {
        int reader = jobserver_number(&value);
        int writer = -1;

        if (reader >= 0 && *value++ == ',')
                writer = jobserver_number(&value);
        if (writer < 0 || (*value != '\0' && *value != ' '))
                return;
        if (!jobserver_is_pipe(reader) || !jobserver_is_pipe(writer))
                return;
        jobserver->fds[jobserver->count++] = reader;
        jobserver->fds[jobserver->count++] = writer;
}

void jobserver_find(struct jobserver *jobserver) {
        *jobserver = (struct jobserver){0};
        for (size_t i = 0; i < JOBSERVER_FDS_MAX / 2; i++) {
                const char *value = jobserver_last(getenv(jobserver_variables[i]) ?: "");

                if (value)
                        jobserver_add(jobserver, value);
        }
}

int jobserver_pass(const struct jobserver *jobserver) {
        for (size_t i = 0; i < jobserver->count; i++)
                if (fcntl(jobserver->fds[i], F_SETFD, 0) < 0)
                        return -errno;
        return 0;
}
