/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The ledger's file as somebody left it: damaged, cut, of another program's, or with records that
 * nobody wrote. It is taken over, swept and adopted from over the fake kernel, before a start as
 * well. Mounts that no sound record names must stay; what is counted must be what was sound.
 *
 * With the lowest bit of the first byte the input is the file. Else the input is what is wrong with
 * one that is in order, so that the records are reached.
 */

#include "daemon/lease.h"
#include "daemon/log.h"
#include "daemon/sweep.h"
#include "tests/fuzz/script.h"
#include "tests/unit/daemon/fake_gate.h"

#include <sys/syslog.h>

enum {
        CAPACITY = 8,
        MOUNTS = 4, /* that the records may name */
        RAW_MAX = 16384,
};

static const struct ledger_limits limits = {
        .connections = 4,
        .connections_per_user = 4,
        .mounts = CAPACITY,
        .mounts_per_user = CAPACITY,
        .workers = 2,
        .lost_workers = 2,
        .lost_workers_per_user = 2,
};

struct left {
        char directory[64];
        int directories[MOUNTS + 1]; /* and one whose mount nobody may touch */
        const struct fake_mount *mounts[MOUNTS + 1];
        unsigned features;
};

static void put_mounts(struct left *left) {
        static const struct fake_directory places[MOUNTS + 1] = {
                {.path = "/a/proc"},
                {.path = "/a/sys", .flags = FAKE_IS_REMOTE},
                {.path = "/b/proc", .flags = FAKE_IS_PRIVATE},
                {.path = "/b/sys"},
                {.path = "/proc"},
        };

        for (unsigned i = 0; i <= MOUNTS; i++) {
                left->directories[i] = fake_directory(&places[i]);
                left->mounts[i] =
                        fake_mount_before(left->directories[i], i % 2 ? "sysfs,source=mountatd"
                                                                      : "proc,source=mountatd,ro");
        }
}

/* XOR: an input of zeroes is a file that is in order. */
static void disturb(struct script *script, void *bytes, size_t size) {
        uint8_t *p = bytes;

        for (size_t i = 0; i < size && script_goes_on(script); i++)
                p[i] ^= script_byte(script);
}

static struct record sound_record(const struct left *left, uint32_t index) {
        struct record record = {
                .lease = 0xabcdef0000000000 | index,
                .state = RECORD_LIVE,
                .uid = getuid(),
                .pid = getpid(),
                .count = 1,
        };

        record.file_systems[0] = index % 2 ? PROTOCOL_SYSFS : PROTOCOL_PROC;
        record.mounts[0] = fake_gate_id(left->features, left->mounts[index % MOUNTS]);
        return record;
}

/* Its magic, sizes, and whose it is. */
static void disturb_header(FILE *file, struct script *script) {
        struct record_header header;

        ck_assert_uint_eq(fread(&header, sizeof(header), 1, file), 1);
        disturb(script, &header, 32);
        rewind(file);
        fwrite(&header, sizeof(header), 1, file);
}

static void write_records(struct left *left, struct script *script, bool header_too) {
        struct record records[CAPACITY];
        unsigned count = script_choose(script, CAPACITY + 1);
        char path[128];
        FILE *file;

        for (unsigned i = 0; i < count; i++)
                records[i] = sound_record(left, i);
        fake_gate_leave(left->directory, CAPACITY, records, count);
        for (unsigned i = 0; i < count; i++)
                disturb(script, &records[i], 64);

        snprintf(path, sizeof(path), "%s/ledger", left->directory);
        file = fopen(path, "r+e");
        ck_assert_ptr_nonnull(file);
        if (header_too)
                disturb_header(file, script);
        fseek(file, RECORD_HEADER_SIZE, SEEK_SET);
        fwrite(records, sizeof(records[0]), count, file);
        ck_assert_int_eq(fclose(file), 0);
}

static void write_raw(struct left *left, struct script *script) {
        char path[128], bytes[RAW_MAX];
        size_t size = script->left < sizeof(bytes) ? script->left : sizeof(bytes);
        FILE *file;

        script_read(script, bytes, size);
        snprintf(path, sizeof(path), "%s/ledger", left->directory);
        file = fopen(path, "we");
        ck_assert_ptr_nonnull(file);
        fwrite(bytes, size, 1, file);
        ck_assert_int_eq(fclose(file), 0);
}

/* `mount_templates_new` needs a kernel that makes mounts: the fake one does. */
static struct mount_templates *make_templates(void) {
        struct mount_templates *templates;
        char text[256];

        ck_assert_int_eq(mount_templates_new("mountatd", &templates, text, sizeof(text)), 0);
        return templates;
}

static void sweep_before_start(struct left *left, struct mount_templates *templates,
                               const struct instance *self) {
        struct record_file file;
        int32_t pid;

        if (record_open_left(left->directory, &file, &pid) < 0)
                return;
        sweep_file(&file, templates, self);
        record_close_left(&file);
}

static void adopt_all(struct left *left, struct ledger *ledger, struct mount_templates *templates) {
        struct ledger_owner owner;

        ck_assert_uint_eq(ledger_connect(ledger, getuid(), getpid(), &owner).status, STATUS_OK);
        for (uint32_t i = 0; i < CAPACITY; i++) {
                uint8_t file_system = i % 2 ? PROTOCOL_SYSFS : PROTOCOL_PROC;
                int directory = left->directories[i % MOUNTS], fd;

                if (!fake_mount_on(directory))
                        continue;
                fd = fake_open_mount(directory);
                lease_adopt(templates, ledger, &owner, 0xabcdef0000000000 | i, &file_system, &fd,
                            1);
                fd_close(fd);
        }
        lease_release_all(templates, ledger, &owner);
        ledger_disconnect(ledger, &owner);
}

static void check_counts(struct ledger *ledger, const struct record_file *records) {
        struct ledger_counts counts = ledger_count(ledger);
        unsigned leases = 0, mounts = 0;

        for (uint32_t i = 0; i < records->capacity; i++) {
                const struct record *record = &records->records[i];

                if (record->state == RECORD_FREE)
                        continue;
                ck_assert(record_is_sane(record, i));
                leases++;
                mounts += record->count;
        }
        ck_assert_uint_eq(counts.leases, leases);
        ck_assert_uint_eq(counts.mounts, mounts);
        ck_assert_uint_eq(counts.left, leases);
}

static void take_over(struct left *left, struct script *script, struct mount_templates *templates,
                      const struct instance *self) {
        struct record_file records;
        struct ledger *ledger;
        int32_t pid = 0;
        int r = record_open(left->directory, CAPACITY, &records, &pid);

        ck_assert(r == 0 || r == -EBUSY);
        if (r < 0)
                return;
        ck_assert_int_eq(ledger_new(&limits, &records, &ledger), 0);
        check_counts(ledger, &records);
        if (script_choose(script, 2))
                adopt_all(left, ledger, templates);
        sweep_ledger(ledger, templates, self, SWEEP_UNADOPTABLE, SWEEP_QUICKLY);
        sweep_ledger(ledger, templates, self, SWEEP_UNCLAIMED, SWEEP_PATIENTLY);
        sweep_ledger(ledger, templates, self, SWEEP_FINALLY, SWEEP_PATIENTLY);
        check_counts(ledger, &records);
        ledger_free(ledger);
}

static void remove_file(const struct left *left, const char *name) {
        char path[128];

        snprintf(path, sizeof(path), "%s/%s", left->directory, name);
        unlink(path);
}

/* An id of the input's may happen to be the bystander's own: then a record does name it. */
static bool is_named(const struct left *left) {
        uint64_t id = fake_gate_id(left->features, left->mounts[MOUNTS]);
        char path[128];
        struct record record;
        bool named = false;
        FILE *file;

        snprintf(path, sizeof(path), "%s/ledger", left->directory);
        file = fopen(path, "re");
        ck_assert_ptr_nonnull(file);
        fseek(file, RECORD_HEADER_SIZE, SEEK_SET);
        while (fread(&record, sizeof(record), 1, file) == 1)
                for (unsigned i = 0; i < PROTOCOL_TARGETS_MAX; i++)
                        named = named || record.mounts[i] == id;
        fclose(file);
        return named;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct left left = {.directory = FAKE_GATE_PARENT "/mountatd-fuzz-XXXXXX"};
        struct script script = {data, size};
        unsigned before = descriptors_count(), flags = script_byte(&script);
        struct mount_templates *templates;
        struct instance self;
        bool named;

        log_set_level(LOG_EMERG);
        ck_assert_int_eq(unmount_isolate(), 0);
        ck_assert_int_eq(instance_self(&self), 0);
        ck_assert_ptr_nonnull(mkdtemp(left.directory));
        left.features = flags & 2 ? 0 : FAKE_ALL_FEATURES;
        fake_features(left.features);
        templates = make_templates();
        put_mounts(&left);

        if (flags & 1)
                write_raw(&left, &script);
        else
                write_records(&left, &script, flags & 8);
        named = is_named(&left);
        if (flags & 4)
                sweep_before_start(&left, templates, &self);
        take_over(&left, &script, templates, &self);
        ck_assert(named || fake_mount_on(left.directories[MOUNTS]));

        mount_templates_free(templates);
        for (unsigned i = 0; i <= MOUNTS; i++)
                fd_close(left.directories[i]);
        remove_file(&left, "ledger");
        ck_assert_int_eq(rmdir(left.directory), 0); /* no other file either */
        fake_forget();
        ck_assert_uint_eq(descriptors_count(), before);
        return 0;
}
