/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A runtime directory of the test's own, with its state files. */

#include "daemon/state.h"

#include "common/fd.h"
#include "tests/fixtures/descriptors.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct state_files {
        char directory[64];
};

static inline void state_files_start(struct state_files *files) {
        strcpy(files->directory, "/tmp/mountatd-check-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(files->directory));
}

static inline void state_files_path(const struct state_files *files, const char *name,
                                    char path[static 128]) {
        snprintf(path, 128, "%s/%s", files->directory, name);
}

static inline bool state_files_has(const struct state_files *files, const char *name) {
        char path[128];
        struct stat stat;

        state_files_path(files, name, path);
        return lstat(path, &stat) == 0;
}

/* Removes the directory; only these files may be there. */
static inline void state_files_end(const struct state_files *files) {
        static const char *const names[] = {"state", "state.new", "ledger", "state.unknown-1",
                                            "ledger.unknown-1"};
        char path[128];

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                state_files_path(files, names[i], path);
                if (unlink(path) < 0 && errno == EISDIR)
                        rmdir(path);
        }
        ck_assert_int_eq(rmdir(files->directory), 0);
}

/* The contents of a file, NUL-terminated; the caller frees it. */
static inline char *state_files_read(const struct state_files *files, const char *name,
                                     size_t *size) {
        char path[128], *bytes;
        struct stat stat;
        FILE *file;

        state_files_path(files, name, path);
        file = fopen(path, "re");
        ck_assert_ptr_nonnull(file);
        ck_assert_int_eq(fstat(fileno(file), &stat), 0);
        *size = stat.st_size;
        bytes = calloc(1, *size + 1);
        ck_assert_ptr_nonnull(bytes);
        ck_assert_uint_eq(fread(bytes, 1, *size, file), *size);
        fclose(file);
        return bytes;
}

/* All names and all bytes; the caller frees it. */
static inline char *state_files_snapshot(const struct state_files *files, size_t *size) {
        struct dirent **entries;
        char *snapshot;
        FILE *stream = open_memstream(&snapshot, size);
        int n = scandir(files->directory, &entries, NULL, alphasort);

        ck_assert_ptr_nonnull(stream);
        ck_assert_int_ge(n, 0);
        for (int i = 0; i < n; i++) {
                fprintf(stream, "%s\n", entries[i]->d_name);
                if (entries[i]->d_type == DT_REG) {
                        size_t length;
                        char *bytes = state_files_read(files, entries[i]->d_name, &length);

                        fwrite(bytes, 1, length, stream);
                        free(bytes);
                }
                free(entries[i]);
        }
        free(entries);
        fclose(stream);
        return snapshot;
}

static inline void state_files_write(const struct state_files *files, const char *name,
                                     const void *bytes, size_t size) {
        char path[128];
        FD_AUTO int fd = -EBADF;

        state_files_path(files, name, path);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, bytes, size), size);
}

/* A dead one of this boot. */
static inline struct instance state_files_dead_instance(void) {
        struct instance instance;

        ck_assert_int_eq(instance_self(&instance), 0);
        instance.start_time--; /* of a process that had our pid before us */
        return instance;
}

static inline struct instance state_files_living_instance(void) {
        struct instance instance;

        ck_assert_int_eq(instance_self(&instance), 0);
        return instance;
}

/* Dead since the last boot, whichever process has its pid now. */
static inline struct instance state_files_earlier_instance(void) {
        struct instance instance = state_files_living_instance();

        instance.boot_id[0] ^= 1;
        return instance;
}
