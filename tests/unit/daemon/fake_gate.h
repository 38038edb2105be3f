/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * All that requests are served from, over the fake kernel and a ledger in a directory of its own.
 * fake_gate_is_clean() is what must hold after each failure and at the end: no mount, no lease in
 * the counts, no record in the file, no descriptor more than at the beginning.
 */

#include "common/fd.h"
#include "daemon/request.h"
#include "daemon/target.h"
#include "daemon/unmount.h"
#include "tests/fixtures/descriptors.h"
#include "tests/unit/daemon/fake_kernel.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the ledgers are. */
#ifndef FAKE_GATE_PARENT
#define FAKE_GATE_PARENT "/tmp"
#endif

struct fake_gate {
        struct request_gate gate;
        struct policy *policy;
        char directory[64]; /* of the ledger */
        unsigned descriptors_before;
        unsigned descriptors; /* since it is there */
        unsigned capacity;
};

static const struct ledger_limits fake_gate_limits = {
        .connections = 64,
        .connections_per_user = 64,
        .mounts = 64,
        .mounts_per_user = 64,
        .workers = 4,
        .lost_workers = 4,
        .lost_workers_per_user = 2,
};

/* What the file says, as the next instance would read it: how many records are not free. */
static inline unsigned fake_gate_records(const struct fake_gate *fake) {
        char path[128];
        struct record record;
        unsigned used = 0;
        FILE *file;

        snprintf(path, sizeof(path), "%s/ledger", fake->directory);
        file = fopen(path, "re");
        ck_assert_ptr_nonnull(file);
        ck_assert_int_eq(fseek(file, RECORD_HEADER_SIZE, SEEK_SET), 0);
        for (unsigned i = 0; i < fake->capacity; i++) {
                ck_assert_uint_eq(fread(&record, sizeof(record), 1, file), 1);
                used += record.state != RECORD_FREE;
        }
        fclose(file);
        return used;
}

/* `expected`: what the test itself has open besides. */
static inline void fake_gate_is_clean(struct fake_gate *fake, unsigned expected) {
        struct ledger_counts counts = ledger_count(fake->gate.ledger);

        ck_assert_uint_eq(fake_mounts(), 0);
        ck_assert_uint_eq(counts.leases, 0);
        ck_assert_uint_eq(counts.mounts, 0);
        ck_assert_uint_eq(fake_gate_records(fake), 0);
        ck_assert_uint_eq(descriptors_count(), fake->descriptors + expected);
}

/* The file of an instance of this boot that is dead and gone, with its records at their indices. */
static inline void fake_gate_leave(const char *directory, uint32_t capacity,
                                   const struct record *records, size_t count) {
        struct record_header header = {
                .magic = "MNTLEDG1", /* no NUL: 8 bytes */
                .record_size = sizeof(struct record),
                .capacity = capacity,
        };
        char path[128];
        FILE *file;

        ck_assert_int_eq(instance_self(&header.instance), 0);
        header.instance.start_time--; /* whoever had our pid before us */
        snprintf(path, sizeof(path), "%s/ledger", directory);
        file = fopen(path, "we");
        ck_assert_ptr_nonnull(file);
        ck_assert_uint_eq(fwrite(&header, sizeof(header), 1, file), 1);
        for (size_t i = 0; i < count; i++) {
                long place = RECORD_HEADER_SIZE +
                             (long)RECORD_INDEX(records[i].lease) * (long)sizeof(records[i]);

                ck_assert_uint_lt(RECORD_INDEX(records[i].lease), capacity);
                ck_assert_int_eq(fseek(file, place, SEEK_SET), 0);
                ck_assert_uint_eq(fwrite(&records[i], sizeof(records[i]), 1, file), 1);
        }
        ck_assert_int_eq(fclose(file), 0);
        ck_assert_int_eq(
                truncate(path, RECORD_HEADER_SIZE + (off_t)capacity * sizeof(struct record)), 0);
}

/* The id under which a record names a mount. */
static inline uint64_t fake_gate_id(unsigned features, const struct fake_mount *mount) {
        return features & PROTOCOL_FEATURE_UNIQUE_IDS ? mount->id : mount->id_old;
}

/* One of the calling user's leases, whose `count` mounts are on these directories: proc, sys, … */
static inline struct record fake_gate_left(unsigned features, uint32_t index, uid_t uid,
                                           enum record_state state, const int *directories,
                                           unsigned count) {
        struct record record = {
                .lease = 0xabcdef0000000000 | index,
                .state = state,
                .uid = uid,
                .pid = 77,
                .count = count,
        };

        for (unsigned i = 0; i < count; i++) {
                record.file_systems[i] = i % 2 ? PROTOCOL_SYSFS : PROTOCOL_PROC;
                record.mounts[i] = fake_gate_id(
                        features,
                        fake_mount_before(directories[i], i % 2 ? "sysfs,source=mountatd"
                                                                : "proc,source=mountatd,ro"));
        }
        return record;
}

/* As the successor of an instance that left these records. */
static inline void fake_gate_start_after(struct fake_gate *fake, unsigned features,
                                         const struct ledger_limits *limits,
                                         const struct record *left, size_t n_left) {
        struct record_file records;
        char text[256];
        int32_t pid;

        *fake = (struct fake_gate){
                .directory = FAKE_GATE_PARENT "/mountatd-check-XXXXXX",
                .descriptors_before = descriptors_count(),
                .capacity = limits->mounts,
        };
        fake_features(features);
        ck_assert_ptr_nonnull(mkdtemp(fake->directory));
        if (n_left > 0)
                fake_gate_leave(fake->directory, limits->mounts, left, n_left);
        ck_assert_int_eq(record_open(fake->directory, limits->mounts, &records, &pid), 0);
        ck_assert_int_eq(ledger_new(limits, &records, &fake->gate.ledger), 0);
        ck_assert_int_eq(mount_templates_new("mountatd", &fake->gate.templates, text, sizeof(text)),
                         0);
        ck_assert_uint_eq(mount_features(fake->gate.templates), features);
        fake->policy = policy_new();
        ck_assert_ptr_nonnull(fake->policy);
        fake->gate.policy = fake->policy;
        fake->gate.proc = target_open_proc();
        ck_assert_int_ge(fake->gate.proc, 0);
        fake->gate.max_targets = PROTOCOL_TARGETS_MAX;
        ck_assert_int_eq(unmount_isolate(), 0);
        /* Every template is there, so that from here on a descriptor is a mount. */
        for (enum mount_kind kind = 0; kind < MOUNT_KINDS; kind++)
                fd_close(mount_create(fake->gate.templates, kind, text, sizeof(text)));
        fake->descriptors = descriptors_count();
        fake_calls_reset();
}

static inline void fake_gate_start(struct fake_gate *fake, unsigned features,
                                   const struct ledger_limits *limits) {
        fake_gate_start_after(fake, features, limits, NULL, 0);
}

static inline void fake_gate_end(struct fake_gate *fake) {
        fake_gate_is_clean(fake, 0);
        ledger_free(fake->gate.ledger);
        mount_templates_free(fake->gate.templates);
        policy_free(fake->policy);
        fd_close(fake->gate.proc);
        ck_assert_int_eq(rmdir(fake->directory), 0); /* the file has gone with the ledger */
        ck_assert_uint_eq(descriptors_count(), fake->descriptors_before);
}
