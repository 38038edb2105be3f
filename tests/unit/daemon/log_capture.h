/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Captures the log for check_log and check_log_line: standard error and the journal's socket. The
 * process, and so its standard error, is the test's own.
 */

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Redirects standard error to a file in memory. */
static inline int capture(void) {
        int fd = memfd_create("stderr", MFD_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
        setvbuf(stderr, NULL, _IONBF, 0);
        return fd;
}

/* What has been written since the last call. */
static inline const char *captured(int fd) {
        static char text[65536];
        ssize_t length = pread(fd, text, sizeof(text) - 1, 0);

        ck_assert_int_ge(length, 0);
        text[length] = '\0';
        ck_assert_int_eq(ftruncate(fd, 0), 0);
        lseek(fd, 0, SEEK_SET);
        return text;
}

static inline unsigned count_lines(const char *text) {
        unsigned lines = 0;

        for (; *text; text++)
                lines += *text == '\n';
        return lines;
}

/* Redirects standard error to a pipe with room for one page; returns the reading end. */
static inline int capture_in_pipe(int flags) {
        int ends[2];

        ck_assert_int_eq(pipe2(ends, O_CLOEXEC | flags), 0);
        ck_assert_int_gt(fcntl(ends[1], F_SETPIPE_SZ, 1), 0);
        ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
        close(ends[1]);
        return ends[0];
}

/* The next line, without its prefix. Waits for it. */
static inline const char *read_line(FILE *file) {
        static char line[2048];
        size_t prefix = strlen(program_invocation_short_name) + 2;

        ck_assert_ptr_nonnull(fgets(line, sizeof(line), file));
        ck_assert_uint_gt(strlen(line), prefix);
        line[strcspn(line, "\n")] = '\0';
        return line + prefix;
}

/* A socket in place of the journal's, in a mount namespace of our own; -1: not possible. */
static inline int journal_new(void) {
        struct sockaddr_un journal = {.sun_family = AF_UNIX,
                                      .sun_path = "/run/systemd/journal/socket"};
        int fd;

        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
                return -1;
        ck_assert_int_eq(mount("none", "/run", "tmpfs", 0, NULL), 0);
        ck_assert_int_eq(mkdir("/run/systemd", 0755), 0);
        ck_assert_int_eq(mkdir("/run/systemd/journal", 0755), 0);
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&journal, sizeof(journal)), 0);
        return fd;
}

static inline void set_journal_stream(int offset) {
        struct stat stat;
        char text[64];

        ck_assert_int_eq(fstat(STDERR_FILENO, &stat), 0);
        snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)stat.st_dev,
                 (unsigned long long)stat.st_ino + offset);
        ck_assert_int_eq(setenv("JOURNAL_STREAM", text, 1), 0);
}
