/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Leases left by a previous instance over the fake kernel, and sweeping them. */

#include "daemon/sweep.h"

#include "daemon/lease.h"
#include "daemon/log.h"
#include "tests/test.h"
#include "tests/unit/daemon/fake_context.h"
#include "tests/unit/daemon/feature_sets.h"

#include <errno.h>
#include <sched.h>
#include <sys/wait.h>

static const enum record_state states[] = {RECORD_ATTACHING, RECORD_LIVE, RECORD_RELEASING};

enum {
        N_LEFT_MAX = 3,
        COUNT = 2, /* mounts of a lease */
};

#undef FOR_ALL
#define FOR_ALL(f, s) FOR_ALL_OF(f, s, 3) /* states */

/*
 * Leases of the previous instance, at the indices 10, 11, …, each with mounts on its own
 * directories.
 */
static struct {
        struct fake_context fake;
        unsigned features;
        uint64_t in; /* the mount namespace of the next lease */
        struct instance self;
        unsigned n_left;
        struct record left[N_LEFT_MAX];
        int directories[N_LEFT_MAX][COUNT];
        const struct fake_mount *mounts[N_LEFT_MAX][COUNT];
        FILE *log; /* the log's lines */
} predecessor;

static inline void predecessor_leave(enum record_state state, unsigned flags) {
        static char paths[N_LEFT_MAX][COUNT][32];
        unsigned n = predecessor.n_left++;

        for (unsigned i = 0; i < COUNT; i++) {
                snprintf(paths[n][i], sizeof(paths[n][i]), "/left%u/%s", n, i ? "sys" : "proc");
                predecessor.directories[n][i] =
                        fake_directory(&(struct fake_directory){.path = paths[n][i],
                                                                .owner = 1000,
                                                                .flags = flags,
                                                                .mount_namespace = predecessor.in});
        }
        predecessor.left[n] = fake_context_left(predecessor.features, 10 + n, 1000, state,
                                                predecessor.directories[n], COUNT);
        /* By a process that had our pid before us, and is gone. */
        predecessor.left[n].writer_pid = predecessor.self.pid;
        predecessor.left[n].writer_start_time = predecessor.self.start_time - 1;
        predecessor.left[n].mount_namespace = predecessor.in;
        for (unsigned i = 0; i < COUNT; i++)
                predecessor.mounts[n][i] = fake_mount_on(predecessor.directories[n][i]);
}

/* Before predecessor_start(): creates what is left. */
static inline void predecessor_begin(unsigned features) {
        predecessor.features = features;
        predecessor.n_left = 0;
        predecessor.in = 0;
        ck_assert_int_eq(instance_self(&predecessor.self), 0);
}

static inline void predecessor_start(void) {
        if (!predecessor.log) {
                predecessor.log = tmpfile();
                ck_assert_ptr_nonnull(predecessor.log);
                ck_assert_int_eq(dup2(fileno(predecessor.log), STDERR_FILENO), STDERR_FILENO);
                log_open(LOG_DEBUG);
        }
        ck_assert_int_eq(ftruncate(fileno(predecessor.log), 0), 0);
        ck_assert_int_eq(lseek(fileno(predecessor.log), 0, SEEK_SET), 0);
        fake_context_start_as(&predecessor.fake,
                              &(struct fake_setup){.features = predecessor.features,
                                                   .left = predecessor.left,
                                                   .n_left = predecessor.n_left});
}

/* Everything has been swept, or `expected` more descriptors are open. */
static inline void predecessor_end(void) {
        predecessor.fake.descriptors -= predecessor.n_left * COUNT;
        predecessor.fake.descriptors_before -= predecessor.n_left * COUNT;
        for (unsigned n = 0; n < predecessor.n_left; n++)
                for (unsigned i = 0; i < COUNT; i++)
                        fd_close(predecessor.directories[n][i]);
        fake_context_end(&predecessor.fake);
}

static inline void start_with(unsigned features, enum record_state state, unsigned flags) {
        predecessor_begin(features);
        predecessor_leave(state, flags);
        predecessor_start();
}

static inline void sweep(enum sweep_scope scope, enum sweep_patience patience) {
        unsigned before = descriptors_count();

        sweep_leases(predecessor.fake.context.leases, &predecessor.self, scope, patience);
        ck_assert_uint_eq(descriptors_count(), before);
        ck_assert(fake_is_in_root());
}

static inline unsigned left(void) {
        struct leases_counts counts = leases_count(predecessor.fake.context.leases);

        ck_assert_uint_eq(counts.leases, counts.left);
        ck_assert_uint_eq(fake_context_records(&predecessor.fake), counts.left);
        return counts.left;
}

/* The record in the file. */
static inline struct record read_record(unsigned n) {
        return fake_context_record(&predecessor.fake, 10 + n);
}

/* The number of log lines that contain `text`. */
static inline unsigned logged(const char *text) {
        char line[1024];
        unsigned lines = 0;
        FILE *file;

        fflush(stderr);
        snprintf(line, sizeof(line), "/proc/self/fd/%d", fileno(predecessor.log));
        file = fopen(line, "re");
        ck_assert_ptr_nonnull(file);
        while (fgets(line, sizeof(line), file))
                lines += strstr(line, text) != NULL;
        fclose(file);
        return lines;
}
