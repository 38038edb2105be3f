/* SPDX-License-Identifier: Apache-2.0 */

/* Files of 0.1, in each condition, beside a state file in each. */

#include "tests/test.h"
#include "tests/unit/daemon/state_files.h"

#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>

enum {
        CAPACITY = 10,
        CAPACITY_1 = 5,
};

/* The layout of 0.1, in numbers: its structs are in the module. */
enum {
        HEADER_1_RECORD_SIZE = 8,
        HEADER_1_CAPACITY = 12,
        HEADER_1_INSTANCE = 16,
        RECORD_1_SIZE = 192,
        FILE_1_SIZE = 4096 + CAPACITY_1 * RECORD_1_SIZE,
};

struct record_of_0_1 {
        uint64_t lease, granted, writer_start_time;
        int32_t writer_pid;
        uint32_t state, uid;
        int32_t pid;
        uint32_t count, origin;
        uint8_t file_systems[16];
        uint64_t mounts[16];
};

static struct record_of_0_1 old_record(uint32_t index, uint32_t state, uint32_t origin) {
        return (struct record_of_0_1){
                .lease = 0x123456789abc0000 | index,
                .granted = 11,
                .writer_start_time = 12,
                .writer_pid = 13,
                .state = state,
                .uid = 1000 + index,
                .pid = 14,
                .count = 2,
                .origin = origin,
                .file_systems = {PROTOCOL_PROC, PROTOCOL_SYSFS},
                .mounts = {100 + index, 200 + index},
        };
}

/* The result of the conversion. */
static struct record new_record(uint32_t index, uint32_t state, uint32_t kept) {
        return (struct record){
                .lease = 0x123456789abc0000 | index,
                .granted = 11,
                .writer_start_time = 12,
                .writer_pid = 13,
                .state = state,
                .uid = 1000 + index,
                .pid = 14,
                .count = 2,
                .kept = kept,
                .mounted = 2,
                .file_systems = {PROTOCOL_PROC, PROTOCOL_SYSFS},
                .mounts = {100 + index, 200 + index},
        };
}

static void wanted_records(struct record wanted[static CAPACITY_1]) {
        wanted[0] = new_record(0, RECORD_LIVE, 0);
        wanted[1] = new_record(1, RECORD_ATTACHING, 0);
        wanted[2] = new_record(2, RECORD_RELEASING, 0);
        wanted[3] = (struct record){0};
        wanted[4] = new_record(4, RECORD_LIVE, 1);
}

static void make_ledger(char bytes[static FILE_1_SIZE], const struct instance *instance) {
        const struct record_of_0_1 records[CAPACITY_1] = {old_record(0, RECORD_LIVE, 0),
                                                          old_record(1, RECORD_ATTACHING, 0),
                                                          old_record(2, RECORD_RELEASING, 0),
                                                          {0},
                                                          old_record(4, RECORD_LIVE, 1)};
        const uint32_t record_size = RECORD_1_SIZE, capacity = CAPACITY_1;

        ck_assert_uint_eq(sizeof(records), CAPACITY_1 * RECORD_1_SIZE);
        memset(bytes, 0, FILE_1_SIZE);
        memcpy(bytes, "MNTLEDG1", 8);
        memcpy(bytes + HEADER_1_RECORD_SIZE, &record_size, sizeof(record_size));
        memcpy(bytes + HEADER_1_CAPACITY, &capacity, sizeof(capacity));
        memcpy(bytes + HEADER_1_INSTANCE, instance, sizeof(*instance));
        memcpy(bytes + 4096, records, sizeof(records));
}

static void write_ledger(const struct state_files *files, const struct instance *instance) {
        char bytes[FILE_1_SIZE];

        make_ledger(bytes, instance);
        state_files_write(files, "ledger", bytes, sizeof(bytes));
}

/* With a record that 0.1 doesn't have, in use or free. */
static void write_state_with(const struct state_files *files, const struct instance *instance,
                             enum record_state record_state) {
        static union {
                struct state_header header;
                char bytes[STATE_HEADER_SIZE + CAPACITY * sizeof(struct record)];
        } file;
        struct record record = new_record(7, record_state, 0);

        file.header = (struct state_header){
                .version = 3,
                .record_size = sizeof(struct record),
                .capacity = CAPACITY,
                .instance = *instance,
        };
        memcpy(file.header.magic, "MNTSTATE", 8);
        memcpy(file.bytes + STATE_HEADER_SIZE + 7 * sizeof(record), &record, sizeof(record));
        state_files_write(files, "state", &file, sizeof(file));
}

static void write_state(const struct state_files *files, const struct instance *instance) {
        write_state_with(files, instance, RECORD_LIVE);
}

static void is_of_0_1(const struct state *state) {
        struct record wanted[CAPACITY_1];

        wanted_records(wanted);
        ck_assert_uint_ge(state->capacity, CAPACITY_1);
        ck_assert_mem_eq(state->records, wanted, sizeof(wanted));
}

START_TEST(leases_of_0_1_are_taken_over_at_their_index) {
        const struct instance dead = state_files_dead_instance();
        unsigned descriptors = descriptors_count();
        struct state_found found = {0};
        struct state_files files;
        struct state state;

        state_files_start(&files);
        write_ledger(&files, &dead);
        ck_assert_int_eq(state_open(files.directory, CAPACITY, &state, &found), 0);
        ck_assert_str_eq(found.set_aside, "");
        ck_assert_uint_eq(found.damaged, 0);
        ck_assert_uint_eq(state.capacity, CAPACITY);
        ck_assert_uint_eq(state.used, CAPACITY_1);
        ck_assert_int_eq(state.header->instance.pid, getpid());
        is_of_0_1(&state);
        for (uint32_t i = CAPACITY_1; i < CAPACITY; i++)
                ck_assert_uint_eq(state.records[i].state, RECORD_FREE);
        ck_assert(!state_files_has(&files, "ledger"));
        ck_assert(!state_files_has(&files, "state.new"));
        state_close(&state);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        state_files_end(&files);
}
END_TEST

START_TEST(room_is_made_for_the_leases_of_0_1) {
        const struct instance dead = state_files_dead_instance();
        struct state_found found = {0};
        struct state_files files;
        struct state state;

        state_files_start(&files);
        write_ledger(&files, &dead);
        ck_assert_int_eq(state_open(files.directory, 1, &state, &found), 0);
        ck_assert_uint_eq(state.capacity, CAPACITY_1);
        is_of_0_1(&state);
        state_close(&state);
        state_files_end(&files);
}
END_TEST

/* The sweep before the start converts them first, and keeps the dead instance's name on them. */
START_TEST(leases_of_0_1_are_opened_in_place) {
        const struct instance dead = state_files_dead_instance();
        unsigned descriptors = descriptors_count();
        struct state_found found = {0};
        struct state_files files;
        struct state state;

        state_files_start(&files);
        write_ledger(&files, &dead);
        ck_assert_int_eq(state_open_left(files.directory, &state, &found), 0);
        ck_assert_mem_eq(&state.header->instance, &dead, sizeof(dead));
        is_of_0_1(&state);
        ck_assert(!state_files_has(&files, "ledger"));
        record_set_state(&state.records[0], RECORD_FREE);
        state_close_left(&state);

        ck_assert_int_eq(state_open(files.directory, CAPACITY, &state, &found), 0);
        ck_assert_uint_eq(state.records[0].state, RECORD_FREE);
        ck_assert_uint_eq(state.records[4].kept, 1);
        state_close(&state);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        state_files_end(&files);
}
END_TEST

/* mountatd --sweep runs as root, the daemon perhaps as another user. */
START_TEST(sweep_leaves_the_file_to_the_daemons_user) {
        const struct instance dead = state_files_dead_instance();
        struct state_found found = {0};
        struct state_files files;
        struct stat stat_of_file;
        struct state state;
        char path[128];

        state_files_start(&files);
        write_ledger(&files, &dead);
        state_files_path(&files, "ledger", path);
        if (chown(path, 4711, 4712) < 0)
                test_skip("another's file needs CAP_CHOWN");
        ck_assert_int_eq(state_open_left(files.directory, &state, &found), 0);
        state_close_left(&state);
        state_files_path(&files, "state", path);
        ck_assert_int_eq(stat(path, &stat_of_file), 0);
        ck_assert_uint_eq(stat_of_file.st_uid, 4711);
        ck_assert_uint_eq(stat_of_file.st_gid, 4712);
        ck_assert_uint_eq(stat_of_file.st_mode, S_IFREG | 0600);
        state_files_end(&files);
}
END_TEST

START_TEST(damaged_records_of_0_1_are_counted) {
        const struct instance dead = state_files_dead_instance();
        static const struct {
                size_t offset;
                uint32_t value;
        } rows[] = {
                {offsetof(struct record_of_0_1, state), 4},
                {offsetof(struct record_of_0_1, origin), 2},
                {offsetof(struct record_of_0_1, origin), 0x10000}, /* not what its lower half says
                                                                    */
                {offsetof(struct record_of_0_1, count), 17},
                {offsetof(struct record_of_0_1, lease), 1},
                {offsetof(struct record_of_0_1, file_systems), 0},
        };

        for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
                struct state_found found = {0};
                char bytes[FILE_1_SIZE];
                struct state_files files;
                struct state state;

                state_files_start(&files);
                make_ledger(bytes, &dead);
                memcpy(bytes + 4096 + rows[row].offset, &rows[row].value, 4);
                state_files_write(&files, "ledger", bytes, sizeof(bytes));
                ck_assert_int_eq(state_open(files.directory, CAPACITY, &state, &found), 0);
                ck_assert_uint_eq(found.damaged, 1);
                ck_assert_uint_eq(state.records[0].state, RECORD_FREE);
                ck_assert_uint_eq(state.records[1].state, RECORD_ATTACHING);
                state_close(&state);
                state_files_end(&files);
        }
}
END_TEST

START_TEST(ledger_that_is_not_understood_is_set_aside) {
        const struct instance dead = state_files_dead_instance();
        static const struct {
                size_t offset;
                uint32_t value;
                off_t size;
        } rows[] = {
                {0, 0x12345678, FILE_1_SIZE},
                {4, 0x12345678, FILE_1_SIZE},
                {HEADER_1_RECORD_SIZE, RECORD_1_SIZE - 1, FILE_1_SIZE},
                {HEADER_1_RECORD_SIZE, sizeof(struct record), FILE_1_SIZE},
                {HEADER_1_CAPACITY, CAPACITY_1 + 1, FILE_1_SIZE},
                {HEADER_1_CAPACITY, CAPACITY_1 - 1, FILE_1_SIZE},
                {HEADER_1_CAPACITY, UINT32_MAX, FILE_1_SIZE},
                {4095, 0, 0},
                {4095, 0, 1},
                {4095, 0, 71},
                {4095, 0, 72},
                {4095, 0, 80},
                {4095, 0, 4096},
                {4095, 0, FILE_1_SIZE - RECORD_1_SIZE},
                {4095, 0, FILE_1_SIZE - 1},
        };

        for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
                char bytes[FILE_1_SIZE], *kept;
                struct state_found found = {0};
                struct state_files files;
                struct state state;
                size_t size;

                state_files_start(&files);
                make_ledger(bytes, &dead);
                memcpy(bytes + rows[row].offset, &rows[row].value, 4);
                state_files_write(&files, "ledger", bytes, rows[row].size);
                ck_assert_int_eq(state_open(files.directory, CAPACITY, &state, &found), 0);
                ck_assert_str_eq(found.set_aside, "ledger.unknown-1");
                ck_assert_uint_eq(state.used, 0);
                ck_assert(!state_files_has(&files, "ledger"));
                kept = state_files_read(&files, "ledger.unknown-1", &size);
                ck_assert_uint_eq(size, rows[row].size);
                ck_assert_mem_eq(kept, bytes, size);
                free(kept);
                state_close(&state);
                state_files_end(&files);
        }
}
END_TEST

/* ---- both files ---- */

enum condition {
        ABSENT,
        CUT,
        EARLIER, /* of an earlier boot */
        DEAD,
        ALIVE,
        N_CONDITIONS,
};

static void put(const struct state_files *files, const char *name, enum condition condition) {
        struct instance instance = condition == ALIVE     ? state_files_living_instance()
                                   : condition == EARLIER ? state_files_earlier_instance()
                                                          : state_files_dead_instance();
        char path[128];

        if (condition == ABSENT)
                return;
        if (strcmp(name, "state") == 0)
                write_state(files, &instance);
        else
                write_ledger(files, &instance);
        state_files_path(files, name, path);
        if (condition == CUT)
                ck_assert_int_eq(truncate(path, 4096 + 1), 0);
}

static void put_both(struct state_files *files, enum condition state, enum condition ledger) {
        state_files_start(files);
        put(files, "state", state);
        put(files, "ledger", ledger);
}

/* The records come from the file that wins. */
static void is_taken_from(const struct state *opened, enum condition state, enum condition ledger) {
        if (state == DEAD) {
                ck_assert_uint_eq(opened->records[7].state, RECORD_LIVE);
                ck_assert_uint_eq(opened->records[0].state, RECORD_FREE);
        } else if (ledger == DEAD)
                is_of_0_1(opened);
        else
                ck_assert_uint_eq(opened->used, 0);
}

START_TEST(each_is_judged_beside_the_other) {
        static const char *const set_aside[] = {"", "state.unknown-1", "ledger.unknown-1",
                                                "state.unknown-1, ledger.unknown-1"};

        for (unsigned i = 0; i < N_CONDITIONS * N_CONDITIONS; i++) {
                enum condition state = i / N_CONDITIONS, ledger = i % N_CONDITIONS;
                bool busy = state == ALIVE || ledger == ALIVE;
                unsigned descriptors = descriptors_count();
                struct state_found found = {0};
                struct state_files files;
                struct state opened;
                char *before, *after;
                size_t size, size_after;
                int r;

                put_both(&files, state, ledger);
                before = state_files_snapshot(&files, &size);
                r = state_open(files.directory, CAPACITY, &opened, &found);
                ck_assert_msg(r == (busy ? -EBUSY : 0), "%d beside %d: %d", state, ledger, r);
                if (busy) {
                        after = state_files_snapshot(&files, &size_after);
                        ck_assert_uint_eq(size_after, size);
                        ck_assert_mem_eq(after, before, size);
                        ck_assert_int_eq(found.pid, getpid());
                        ck_assert_str_eq(found.set_aside, "");
                        free(after);
                } else {
                        ck_assert_str_eq(found.set_aside,
                                         set_aside[(state == CUT) + 2 * (ledger == CUT)]);
                        is_taken_from(&opened, state, ledger);
                        ck_assert(!state_files_has(&files, "ledger"));
                        state_close(&opened);
                }
                free(before);
                ck_assert_uint_eq(descriptors_count(), descriptors);
                state_files_end(&files);
        }
}
END_TEST

START_TEST(in_place_each_is_judged_beside_the_other) {
        for (unsigned i = 0; i < N_CONDITIONS * N_CONDITIONS; i++) {
                enum condition state = i / N_CONDITIONS, ledger = i % N_CONDITIONS;
                bool busy = state == ALIVE || ledger == ALIVE;
                bool useful = state == DEAD || (state != CUT && ledger == DEAD);
                unsigned descriptors = descriptors_count();
                struct state_found found = {0};
                struct state_files files;
                struct state opened;
                char *before, *after;
                size_t size, size_after;
                int r;

                put_both(&files, state, ledger);
                before = state_files_snapshot(&files, &size);
                r = state_open_left(files.directory, &opened, &found);
                ck_assert_msg(r == (busy     ? -EBUSY
                                    : useful ? 0
                                             : -ENOENT),
                              "%d beside %d: %d", state, ledger, r);
                ck_assert_str_eq(found.set_aside, "");
                if (r == 0) {
                        is_taken_from(&opened, state, ledger);
                        state_close_left(&opened);
                } else if (busy || state == CUT || ledger == CUT) {
                        after = state_files_snapshot(&files, &size_after);
                        ck_assert_uint_eq(size_after, size);
                        ck_assert_mem_eq(after, before, size);
                        free(after);
                }
                free(before);
                ck_assert_uint_eq(descriptors_count(), descriptors);
                state_files_end(&files);
        }
}
END_TEST

/* 0.1 has been installed again, and knew nothing of the state file. */
START_TEST(later_ledger_wins_and_records_beside_it_are_kept) {
        static const struct {
                int later; /* by so many ticks the ledger's instance started later */
                enum record_state state;
                bool wins;
                const char *set_aside;
        } rows[] = {
                {-2, RECORD_LIVE, false, ""},
                {0, RECORD_LIVE, false, ""}, /* half a take-over */
                {0, RECORD_FREE, false, ""},
                {1, RECORD_FREE, true, ""},
                {1, RECORD_LIVE, true, "state.unknown-1"},
                {1, RECORD_RELEASING, true, "state.unknown-1"},
        };

        for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
                struct instance instance = state_files_dead_instance();
                unsigned descriptors = descriptors_count();
                struct state_found found = {0};
                struct state_files files;
                struct state state;
                int r;

                state_files_start(&files);
                write_ledger(&files, &instance);
                instance.start_time -= rows[row].later;
                write_state_with(&files, &instance, rows[row].state);

                r = state_open_left(files.directory, &state, &found);
                ck_assert_int_eq(r, rows[row].set_aside[0] ? -ENOENT : 0);
                ck_assert_str_eq(found.set_aside, "");
                if (r == 0)
                        state_close_left(&state);
                ck_assert_int_eq(state_open(files.directory, CAPACITY, &state, &found), 0);
                ck_assert_str_eq(found.set_aside, rows[row].set_aside);
                if (rows[row].wins)
                        is_of_0_1(&state);
                else
                        ck_assert_uint_eq(state.records[0].state, RECORD_FREE);
                ck_assert_uint_eq(state.records[7].state,
                                  rows[row].wins ? RECORD_FREE : rows[row].state);
                ck_assert(!state_files_has(&files, "ledger"));
                ck_assert(state_files_has(&files, "state.unknown-1") == !!rows[row].set_aside[0]);
                state_close(&state);
                ck_assert_uint_eq(descriptors_count(), descriptors);
                state_files_end(&files);
        }
}
END_TEST

START_TEST(full_file_system_costs_0_1_no_lease) {
        struct instance dead;
        struct state_found found = {0};
        struct state_files files;
        struct state state;
        unsigned descriptors;

        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
                test_skip("a mount namespace of its own needs CAP_SYS_ADMIN");
        dead = state_files_dead_instance();
        state_files_start(&files);
        ck_assert_int_eq(mount("none", files.directory, "tmpfs", 0, "size=12k"), 0);
        write_ledger(&files, &dead);
        descriptors = descriptors_count();
        ck_assert_int_eq(state_open(files.directory, CAPACITY, &state, &found), -ENOSPC);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        ck_assert(!state_files_has(&files, "state.new"));
        ck_assert_int_eq(mount("none", files.directory, "tmpfs", MS_REMOUNT, "size=1m"), 0);
        ck_assert_int_eq(state_open(files.directory, CAPACITY, &state, &found), 0);
        is_of_0_1(&state);
        state_close(&state);
        ck_assert_int_eq(umount2(files.directory, MNT_DETACH), 0);
        ck_assert_int_eq(rmdir(files.directory), 0);
}
END_TEST

int main(void) {
        return SUITE_RUN("state_upgrade", leases_of_0_1_are_taken_over_at_their_index,
                         room_is_made_for_the_leases_of_0_1, leases_of_0_1_are_opened_in_place,
                         sweep_leaves_the_file_to_the_daemons_user,
                         damaged_records_of_0_1_are_counted,
                         ledger_that_is_not_understood_is_set_aside,
                         each_is_judged_beside_the_other, in_place_each_is_judged_beside_the_other,
                         later_ledger_wins_and_records_beside_it_are_kept,
                         full_file_system_costs_0_1_no_lease);
}
