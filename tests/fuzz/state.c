/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The state file, and 0.1's ledger, in any condition: damaged, truncated, another program's, or
 * both present. They are opened in place and taken over. What comes out is valid, what was valid
 * comes out, and a file that isn't understood is kept byte by byte.
 *
 * The first byte says for each of the two whether it exists, and whether the input is the file, or
 * the changes to a valid one, so that the records are reached.
 */

#include "tests/fuzz/script.h"
#include "tests/unit/daemon/state_files.h"

enum {
        CAPACITY = 8,
        LEDGER_HEADER_SIZE = 72,
        LEDGER_RECORD_SIZE = 192,
        FILE_MAX = STATE_HEADER_SIZE + CAPACITY * sizeof(struct record),
};

enum shape { ABSENT, RAW, HEADER_TOO, RECORDS_ALONE };

struct found_file {
        const char *name;
        enum shape shape;
        size_t size;
        char bytes[FILE_MAX];
};

/* XOR: an input of zeroes is a valid file. */
static void disturb(struct script *script, char *bytes, size_t size) {
        for (size_t i = 0; i < size && script_goes_on(script); i++)
                bytes[i] ^= (char)script_byte(script);
}

/*
 * 0.1's record is ours without the fourth and fifth eight bytes, the namespace and its inode, and
 * has four bytes for `kept`, where ours has `mounted` after it.
 */
static void put_records(struct found_file *file, size_t record_size, unsigned count) {
        for (uint32_t i = 0; i < count; i++) {
                struct record record = {
                        .lease = 0xabcdef0000000000 | i,
                        .state = RECORD_ATTACHING + i % 3,
                        .uid = 1000,
                        .pid = 77,
                        .count = 1 + i % PROTOCOL_TARGETS_MAX,
                        .kept = i % 2,
                };
                char *place = file->bytes + STATE_HEADER_SIZE + i * record_size;

                if (record_size != LEDGER_RECORD_SIZE)
                        record.mounted = record.count;
                memset(record.file_systems, PROTOCOL_SYSFS, sizeof(record.file_systems));
                memcpy(place, &record, 24);
                memcpy(place + record_size - sizeof(record) + 40, (char *)&record + 40,
                       sizeof(record) - 40);
        }
}

static void make_state(struct found_file *file) {
        struct state_header header = {
                .version = 3,
                .record_size = sizeof(struct record),
                .capacity = CAPACITY,
                .instance = state_files_dead_instance(),
        };

        memcpy(header.magic, "MNTSTATE", sizeof(header.magic));
        memcpy(file->bytes, &header, sizeof(header));
        file->size = STATE_HEADER_SIZE + CAPACITY * sizeof(struct record);
}

static void make_ledger(struct found_file *file) {
        const struct instance instance = state_files_dead_instance();
        const uint32_t numbers[] = {LEDGER_RECORD_SIZE, CAPACITY};

        memcpy(file->bytes, "MNTLEDG1", 8);
        memcpy(file->bytes + 8, numbers, sizeof(numbers));
        memcpy(file->bytes + 16, &instance, sizeof(instance));
        file->size = STATE_HEADER_SIZE + CAPACITY * LEDGER_RECORD_SIZE;
}

static void make(struct found_file *file, struct script *script, size_t record_size) {
        unsigned count = script_choose(script, CAPACITY + 1);

        if (file->shape == RAW) {
                size_t half = script->left / 2;

                file->size = half < sizeof(file->bytes) ? half : sizeof(file->bytes);
                script_read(script, file->bytes, file->size);
                return;
        }
        put_records(file, record_size, count);
        for (unsigned i = 0; i < count; i++)
                disturb(script, file->bytes + STATE_HEADER_SIZE + i * record_size, 64);
        if (file->shape == HEADER_TOO) {
                disturb(script, file->bytes, 32);
                file->size -= script_byte(script);
        }
}

static void expected_of_0_1(struct record *record) {
        uint32_t kept;

        memcpy(&kept, &record->kept, sizeof(kept));
        record->kept = kept <= 1 ? kept : UINT16_MAX;
        record->mounted = record->count <= PROTOCOL_TARGETS_MAX ? record->count : 0;
}

/* A record of the valid file, as it must come out. */
static struct record expected(const struct found_file *file, size_t record_size, uint32_t index) {
        const char *place = file->bytes + STATE_HEADER_SIZE + index * record_size;
        struct record record = {0};

        memcpy(&record, place, 24);
        memcpy((char *)&record + 40, place + record_size - sizeof(record) + 40,
               sizeof(record) - 40);
        memcpy((char *)&record + 24, place + 24, record_size - LEDGER_RECORD_SIZE);
        if (record_size == LEDGER_RECORD_SIZE)
                expected_of_0_1(&record);
        if (!record_is_sane(&record, index))
                record = (struct record){0};
        return record;
}

static void check_kept(const struct state_files *files, const struct found_file *file,
                       const struct state_found *found) {
        char name[32], *kept;
        size_t size;

        snprintf(name, sizeof(name), "%s.unknown-1", file->name);
        ck_assert(state_files_has(files, name) == !!strstr(found->set_aside, name));
        if (!state_files_has(files, name))
                return;
        ck_assert_int_ne(file->shape, ABSENT);
        ck_assert_int_ne(file->shape, RECORDS_ALONE);
        kept = state_files_read(files, name, &size);
        ck_assert_uint_eq(size, file->size);
        ck_assert_mem_eq(kept, file->bytes, size);
        free(kept);
}

static void check_records(const struct state *state, const struct found_file *file,
                          size_t record_size) {
        for (uint32_t i = 0; i < state->capacity; i++) {
                const struct record *record = &state->records[i];

                ck_assert(record->state == RECORD_FREE || record_is_sane(record, i));
                ck_assert(record->state == RECORD_FREE || i < state->used);
                if (file && i < CAPACITY) {
                        struct record wanted = expected(file, record_size, i);

                        ck_assert_mem_eq(record, &wanted, sizeof(wanted));
                }
        }
}

/* The file whose records must come out; NULL: depends on the input. */
static const struct found_file *winner(const struct found_file *state,
                                       const struct found_file *ledger) {
        if (state->shape == RECORDS_ALONE)
                return state;
        return state->shape == ABSENT && ledger->shape == RECORDS_ALONE ? ledger : NULL;
}

static void take_over(const struct state_files *files, const struct found_file *state,
                      const struct found_file *ledger) {
        const struct found_file *wins = winner(state, ledger);
        size_t record_size = wins == ledger ? LEDGER_RECORD_SIZE : sizeof(struct record);
        struct state_found found = {0};
        struct state opened;
        int r = state_open(files->directory, CAPACITY, &opened, &found);

        ck_assert(r == 0 || r == -EBUSY);
        if (r < 0)
                return;
        check_records(&opened, wins, record_size);
        check_kept(files, state, &found);
        check_kept(files, ledger, &found);
        ck_assert(!state_files_has(files, "ledger"));
        state_close(&opened);
}

/* Nothing is changed, except that one becomes the other. */
static void open_in_place(const struct state_files *files) {
        struct state_found found = {0};
        struct state opened;
        int r = state_open_left(files->directory, &opened, &found);

        ck_assert(r == 0 || r == -EBUSY || r == -ENOENT);
        ck_assert_str_eq(found.set_aside, "");
        if (r == 0)
                state_close_left(&opened);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct state_files files = {"/dev/shm/mountatd-fuzz-XXXXXX"}; /* in memory */
        struct found_file state = {.name = "state"}, ledger = {.name = "ledger"};
        struct script script = {data, size};
        unsigned before = descriptors_count(), flags = script_byte(&script);

        ck_assert_ptr_nonnull(mkdtemp(files.directory));
        state.shape = flags & 3;
        ledger.shape = flags >> 2 & 3;
        if (state.shape != RAW)
                make_state(&state);
        if (ledger.shape != RAW)
                make_ledger(&ledger);
        make(&state, &script, sizeof(struct record));
        make(&ledger, &script, LEDGER_RECORD_SIZE);
        if (state.shape != ABSENT)
                state_files_write(&files, "state", state.bytes, state.size);
        if (ledger.shape != ABSENT)
                state_files_write(&files, "ledger", ledger.bytes, ledger.size);

        if (flags & 16)
                open_in_place(&files);
        take_over(&files, &state, &ledger);
        state_files_end(&files); /* without other files */
        ck_assert_uint_eq(descriptors_count(), before);
        return 0;
}
