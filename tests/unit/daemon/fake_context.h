/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The context of requests, over the fake kernel and a state file in a directory of its own.
 * fake_context_is_clean() must hold after each failure and at the end: no mount, no lease, nothing
 * charged for one, no record in the file, no more descriptors than at the beginning.
 */

#include "common/fd.h"
#include "daemon/namespaces.h"
#include "daemon/request.h"
#include "daemon/target.h"
#include "daemon/unmount.h"
#include "tests/fixtures/descriptors.h"
#include "tests/unit/daemon/fake_kernel.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The parent of the test directories. */
#ifndef FAKE_CONTEXT_PARENT
#define FAKE_CONTEXT_PARENT "/tmp"
#endif

/* The file's name there. */
#define FAKE_CONTEXT_STATE "state"

/* Parameters of a fake context. */
struct fake_setup {
        unsigned features;               /* of the fake kernel */
        const struct quota_limit *quota; /* QUOTA_KINDS of them; NULL: 64 of each */
        bool no_dev;                     /* don't offer dev */
        const struct record *left;       /* of a previous instance */
        size_t n_left;
};

struct fake_context {
        struct context context;
        struct policy *policy; /* the context's, to be added to */
        char directory[64];    /* of the state file */
        unsigned descriptors_before;
        unsigned descriptors; /* open since its start */
        unsigned capacity;    /* records */
};

static const struct quota_limit fake_context_quota[QUOTA_KINDS] = {
        {64, 64}, {64, 64}, {64, 64}, {64, 64}, {64, 64}};

/* ---- the file ---- */

static inline FILE *fake_context_open(const struct fake_context *fake) {
        char path[128];
        FILE *file;

        snprintf(path, sizeof(path), "%s/" FAKE_CONTEXT_STATE, fake->directory);
        file = fopen(path, "re");
        ck_assert_ptr_nonnull(file);
        return file;
}

/* Where no end of the leases does it, which would release them first. */
static inline void fake_context_remove_file(const struct fake_context *fake) {
        char path[128];

        snprintf(path, sizeof(path), "%s/" FAKE_CONTEXT_STATE, fake->directory);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(rmdir(fake->directory), 0);
}

static inline long fake_context_offset(uint32_t index) {
        return STATE_HEADER_SIZE + (long)index * (long)sizeof(struct record);
}

static inline struct record fake_context_read(FILE *file, uint32_t index) {
        struct record record;

        ck_assert_int_eq(fseek(file, fake_context_offset(index), SEEK_SET), 0);
        ck_assert_uint_eq(fread(&record, sizeof(record), 1, file), 1);
        return record;
}

/* The lease's record as the next instance would read it. */
static inline struct record fake_context_record(const struct fake_context *fake, uint64_t lease) {
        FILE *file = fake_context_open(fake);
        struct record record = fake_context_read(file, RECORD_INDEX(lease));

        fclose(file);
        return record;
}

/* Writes what the daemon reads at once: it has the file mapped. */
static inline void fake_context_write(const struct fake_context *fake,
                                      const struct record *record) {
        char path[128];
        FILE *file;

        snprintf(path, sizeof(path), "%s/" FAKE_CONTEXT_STATE, fake->directory);
        file = fopen(path, "r+e");
        ck_assert_ptr_nonnull(file);
        ck_assert_int_eq(fseek(file, fake_context_offset(RECORD_INDEX(record->lease)), SEEK_SET),
                         0);
        ck_assert_uint_eq(fwrite(record, sizeof(*record), 1, file), 1);
        ck_assert_int_eq(fclose(file), 0);
}

/* The number of records in use that it would find. */
static inline unsigned fake_context_records(const struct fake_context *fake) {
        FILE *file = fake_context_open(fake);
        unsigned used = 0;

        for (uint32_t i = 0; i < fake->capacity; i++)
                used += fake_context_read(file, i).state != RECORD_FREE;
        fclose(file);
        return used;
}

/* The file of a dead instance of this boot, with its records at their indices. */
static inline void fake_context_leave(const char *directory, uint32_t capacity,
                                      const struct record *records, size_t count) {
        struct state_found found = {0};
        struct state state;

        ck_assert_int_eq(state_open(directory, capacity, &state, &found), 0);
        for (size_t i = 0; i < count; i++) {
                ck_assert_uint_lt(RECORD_INDEX(records[i].lease), capacity);
                state.records[RECORD_INDEX(records[i].lease)] = records[i];
        }
        state.used = capacity;
        state.header->instance.start_time--; /* of a process that had our pid before us */
        state_close(&state);                 /* leaves it, since records are in use */
}

/* The id by which a record names a mount. */
static inline uint64_t fake_context_id(unsigned features, const struct fake_mount *mount) {
        return features & PROTOCOL_FEATURE_UNIQUE_IDS ? mount->id : mount->id_old;
}

/* A lease of the user's with that many mounts: proc, sys, dev, proc, … */
static inline struct record fake_context_left_at(uint32_t index, uid_t uid, enum record_state state,
                                                 unsigned count) {
        struct record record = {
                .lease = 0xabcdef0000000000 | index,
                .state = state,
                .uid = uid,
                .pid = 77,
                .count = count,
                .mounted = count + count / 3 * 8, /* a dev is nine */
        };

        for (unsigned i = 0; i < count; i++) {
                record.file_systems[i] = PROTOCOL_PROC + i % 3;
                record.mounts[i] = index * 100 + i + 1;
        }
        return record;
}

/* The same, with the mounts made on these directories. */
static inline struct record fake_context_left(unsigned features, uint32_t index, uid_t uid,
                                              enum record_state state, const int *directories,
                                              unsigned count) {
        static const char *const options[] = {"proc,source=mountatd,ro", "sysfs,source=mountatd",
                                              "tmpfs,source=mountatd,ro"};
        struct record record = fake_context_left_at(index, uid, state, count);

        for (unsigned i = 0; i < count; i++)
                record.mounts[i] = fake_context_id(
                        features, fake_mount_before(directories[i], options[i % 3]));
        return record;
}

/* ---- the context ---- */

/* A holder that holds nothing yet, and has no socket. */
static inline struct holder holder_of(uid_t uid) {
        return (struct holder){.subject = {.uid = uid, .pid = 1}, .socket = -EBADF};
}

/* `expected`: further descriptors that the test itself has open. */
static inline void fake_context_is_clean(struct fake_context *fake, unsigned expected) {
        struct leases_counts counts = leases_count(fake->context.leases);

        ck_assert_uint_eq(fake_mounts(), 0);
        ck_assert_uint_eq(counts.leases, 0);
        ck_assert_uint_eq(counts.left, 0);
        ck_assert_uint_eq(counts.orphans, 0);
        ck_assert_uint_eq(quota_used(fake->context.quota, QUOTA_MOUNTS), 0);
        ck_assert_uint_eq(quota_used(fake->context.quota, QUOTA_NAMESPACES), 0);
        ck_assert_uint_eq(fake_context_records(fake), 0);
        ck_assert_uint_eq(descriptors_count(), fake->descriptors + expected);
}

/* The table of leases, over a file in the directory of its own. */
static inline void fake_context_start_leases(struct fake_context *fake,
                                             const struct fake_setup *setup) {
        struct leases_setup leases = {.quota = fake->context.quota,
                                      .templates = fake->context.templates};
        struct state_found found = {0};

        ck_assert_ptr_nonnull(mkdtemp(fake->directory));
        if (setup->n_left > 0)
                fake_context_leave(fake->directory, fake->capacity, setup->left, setup->n_left);
        ck_assert_int_eq(state_open(fake->directory, fake->capacity, &leases.state, &found), 0);
        ck_assert_int_eq(leases_new(&leases, &fake->context.leases), 0);
}

/* Once per process; descriptors of "/" and of our namespaces are open from then on. */
static inline void fake_context_prepare(void) {
        static bool prepared;

        if (!prepared)
                ck_assert_int_eq(unmount_prepare(), 0);
        if (!prepared)
                ck_assert_int_eq(namespaces_prepare(false), 0);
        prepared = true;
}

/* Makes every template, so that from here on a new descriptor is a mount. */
static inline void fake_context_make_templates(struct fake_context *fake) {
        for (enum template_kind kind = 0; kind < TEMPLATE_DEV; kind++) { /* a dev's was offered */
                struct template_clone clone = {.fd = -EBADF};

                template_obtain(fake->context.templates, kind, &clone);
                fd_close(clone.fd);
        }
}

static inline void fake_context_start_as(struct fake_context *fake,
                                         const struct fake_setup *setup) {
        const struct quota_limit *quota = setup->quota ?: fake_context_quota;
        struct context *context = &fake->context;

        memset(fake, 0, sizeof(*fake));
        strcpy(fake->directory, FAKE_CONTEXT_PARENT "/mountatd-check-XXXXXX");
        fake_context_prepare();
        fake->descriptors_before = descriptors_count();
        fake->capacity = quota[QUOTA_MOUNTS].total;
        fake_features(setup->features);
        context->policy = fake->policy = policy_new();
        ck_assert_ptr_nonnull(fake->policy);
        context->quota = quota_new(quota);
        ck_assert_ptr_nonnull(context->quota);
        ck_assert_uint_eq(templates_new("mountatd", &context->templates).status, STATUS_OK);
        ck_assert_uint_eq(templates_setup(context->templates)->features, setup->features);
        if (!setup->no_dev)
                ck_assert_uint_eq(templates_offer_dev(context->templates, 64 << 20).status,
                                  STATUS_OK);
        fake_context_start_leases(fake, setup);
        context->proc = target_open_proc();
        ck_assert_int_ge(context->proc, 0);
        context->max_targets = PROTOCOL_TARGETS_MAX;
        ck_assert_int_eq(unmount_isolate(), 0);
        fake_context_make_templates(fake);
        fake->descriptors = descriptors_count();
        fake_calls_reset();
}

static inline void fake_context_start(struct fake_context *fake, unsigned features) {
        fake_context_start_as(fake, &(struct fake_setup){.features = features});
}

/* With nothing left, the file is removed as well. */
static inline void fake_context_end(struct fake_context *fake) {
        fake_context_is_clean(fake, 0);
        ck_assert_ptr_null(leases_free(fake->context.leases));
        ck_assert_ptr_null(templates_free(fake->context.templates));
        ck_assert_ptr_null(quota_free(fake->context.quota));
        policy_free(fake->policy);
        fd_close(fake->context.proc);
        ck_assert_int_eq(rmdir(fake->directory), 0);
        ck_assert_uint_eq(descriptors_count(), fake->descriptors_before);
}
