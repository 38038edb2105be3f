/* SPDX-License-Identifier: Apache-2.0 */

/* On a real directory, with real processes that die. */

#include "daemon/record.h"

#include "common/fd.h"
#include "tests/fixtures/descriptors.h"
#include "tests/fixtures/skip.h"
#include "tests/fixtures/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { CAPACITY = 10 };

static char directory[64], path[128], path_new[128];

static void start(void) {
        strcpy(directory, "/tmp/mountatd-check-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(path, sizeof(path), "%s/ledger", directory);
        snprintf(path_new, sizeof(path_new), "%s/ledger.new", directory);
}

static void end(void) {
        unlink(path);
        unlink(path_new);
        ck_assert_int_eq(rmdir(directory), 0);
}

static int open_records(struct record_file *file, int32_t *pid) {
        return record_open(directory, CAPACITY, file, pid);
}

/* A record such as a mountatd writes at that index. */
static struct record sane(uint32_t index, enum record_state state) {
        return (struct record){
                .lease = 0x123456789abc0000 | index,
                .granted = 1,
                .writer_start_time = 2,
                .writer_pid = 3,
                .state = state,
                .uid = 1000 + index,
                .pid = 5,
                .count = 2,
                .file_systems = {PROTOCOL_PROC, PROTOCOL_SYSFS},
                .mounts = {100 + index, 200 + index},
        };
}

/* Opens and closes again: the directory is free. Returns how many records were left. */
static unsigned opens(void) {
        unsigned descriptors = descriptors_count(), left = 0;
        struct record_file file;
        int32_t pid;

        ck_assert_int_eq(open_records(&file, &pid), 0);
        ck_assert_uint_eq(file.header->capacity, CAPACITY);
        for (unsigned i = 0; i < CAPACITY; i++) {
                left += file.records[i].state != RECORD_FREE;
                record_set_state(&file.records[i], RECORD_FREE);
        }
        record_close(&file);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        return left;
}

static void refuses(int error) {
        unsigned descriptors = descriptors_count();
        struct record_file file;
        int32_t pid;

        ck_assert_int_eq(open_records(&file, &pid), error);
        ck_assert_uint_eq(descriptors_count(), descriptors);
}

/* A process that takes the ledger, fills so many records, and dies without closing it. */
static pid_t spawn_large(uint32_t capacity, unsigned n_states, const enum record_state *states) {
        siginfo_t info;
        pid_t pid = fork();

        if (pid == 0) {
                struct record_file file;
                int32_t owner;

                if (record_open(directory, capacity, &file, &owner) < 0)
                        _exit(1);
                for (unsigned i = 0; i < n_states; i++)
                        if (states[i] != RECORD_FREE)
                                file.records[i] = sane(i, states[i]);
                _exit(0);
        }
        ck_assert_int_eq(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
        ck_assert_int_eq(info.si_status, 0);
        return pid;
}

static pid_t spawn(unsigned n_states, const enum record_state *states) {
        return spawn_large(CAPACITY, n_states, states);
}

/* The same, dead and reaped. */
static void leave(uint32_t capacity, unsigned n_states, const enum record_state *states) {
        pid_t pid = spawn_large(capacity, n_states, states);

        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static void write_file(const void *bytes, size_t size) {
        FD_AUTO int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, bytes, size), size);
}

static struct record_header read_header(void) {
        struct record_header header;
        FD_AUTO int fd = open(path, O_RDONLY | O_CLOEXEC);

        ck_assert_int_eq(pread(fd, &header, sizeof(header), 0), sizeof(header));
        return header;
}

static void change_header(const struct record_header *header) {
        FD_AUTO int fd = open(path, O_WRONLY | O_CLOEXEC);

        ck_assert_int_eq(pwrite(fd, header, sizeof(*header), 0), sizeof(*header));
}

START_TEST(writes_who_it_is_and_allocates_all) {
        struct record_file file;
        struct instance self;
        struct stat stat_of_file;
        struct record_header header;
        int32_t pid;

        start();
        ck_assert_int_eq(open_records(&file, &pid), 0);
        ck_assert_int_eq(stat(path, &stat_of_file), 0);
        ck_assert_uint_eq(stat_of_file.st_mode, S_IFREG | 0600);
        ck_assert_uint_eq(stat_of_file.st_size,
                          RECORD_HEADER_SIZE + CAPACITY * sizeof(struct record));
        ck_assert_uint_ge(stat_of_file.st_blocks * 512, stat_of_file.st_size);
        header = read_header();
        ck_assert_int_eq(instance_self(&self), 0);
        ck_assert_mem_eq(&header.instance, &self, sizeof(self));
        ck_assert_uint_eq(header.capacity, CAPACITY);
        ck_assert_uint_eq(header.record_size, sizeof(struct record));
        ck_assert_int_eq(access(path_new, F_OK), -1);

        record_close(&file);
        ck_assert_int_eq(access(path, F_OK), -1);
        end();
}
END_TEST

START_TEST(file_stays_when_a_record_is_in_use) {
        struct record_file file;
        int32_t pid;

        start();
        ck_assert_int_eq(open_records(&file, &pid), 0);
        ck_assert_uint_eq(file.used, 0);
        record_set_state(&file.records[CAPACITY - 1], RECORD_LIVE);
        file.used = CAPACITY;
        record_close(&file);
        ck_assert_int_eq(access(path, F_OK), 0);
        end();
}
END_TEST

START_TEST(is_refused_while_another_lives) {
        struct record_file file, other;
        int32_t pid = 0;

        start();
        ck_assert_int_eq(open_records(&file, &pid), 0);
        ck_assert_int_eq(open_records(&other, &pid), -EBUSY);
        ck_assert_int_eq(pid, getpid());
        ck_assert_int_eq(read_header().instance.pid, getpid());
        record_close(&file);
        ck_assert_uint_eq(opens(), 0);
        end();
}
END_TEST

START_TEST(counts_what_a_dead_one_left) {
        static const enum record_state states[] = {RECORD_LIVE,      RECORD_FREE, RECORD_ATTACHING,
                                                   RECORD_RELEASING, RECORD_FREE, RECORD_LIVE};

        start();
        for (unsigned n = 0; n <= 6; n++) {
                static const unsigned wanted[] = {0, 1, 1, 2, 3, 3, 4};
                pid_t pid = spawn(n, states);

                ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
                ck_assert_uint_eq(opens(), wanted[n]);
        }
        end();
}
END_TEST

START_TEST(counts_up_to_the_last_record) {
        static const enum record_state states[CAPACITY] = {[CAPACITY - 1] = RECORD_LIVE};
        pid_t pid;

        start();
        pid = spawn(CAPACITY, states);
        waitpid(pid, NULL, 0);
        ck_assert_uint_eq(opens(), 1);
        end();
}
END_TEST

/* The parent has not waited for it: its pid and even its start time are there. */
START_TEST(zombie_is_taken_over) {
        static const enum record_state states[] = {RECORD_LIVE};
        pid_t pid;

        start();
        pid = spawn(1, states);
        ck_assert_int_eq(kill(pid, 0), 0);
        ck_assert_uint_eq(opens(), 1);
        waitpid(pid, NULL, 0);
        end();
}
END_TEST

/* After a reboot the mounts of then are gone, and so is the process, whoever has its pid now. */
START_TEST(other_boot_left_nothing) {
        static const enum record_state states[] = {RECORD_LIVE};
        struct record_header header;
        pid_t pid;

        start();
        pid = spawn(1, states);
        waitpid(pid, NULL, 0);
        header = read_header();
        ck_assert_int_eq(instance_self(&header.instance), 0);
        header.instance.boot_id[0] ^= 1;
        change_header(&header);
        ck_assert_uint_eq(opens(), 0);
        end();
}
END_TEST

START_TEST(what_it_does_not_understand_is_nobodys) {
        static const struct {
                const char *what;
                size_t size;
        } garbage[] = {
                {"", 0},
                {"x", 1},
                {"MNTLEDG1", 8},
                {"MNTLEDG1 and much else", 22},
        };

        start();
        for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
                write_file(garbage[i].what, garbage[i].size);
                ck_assert_uint_eq(opens(), 0);
        }
        end();
}
END_TEST

/* Each header is that of a living process, but the file is not what it says. */
START_TEST(header_that_lies_is_nobodys) {
        for (unsigned lie = 0; lie <= 7; lie++) {
                struct record_header header = {
                        .magic = "MNTLEDG1", /* no NUL: 8 bytes */
                        .record_size = sizeof(struct record),
                        .capacity = CAPACITY,
                };
                off_t size = RECORD_HEADER_SIZE + CAPACITY * sizeof(struct record);

                start();
                ck_assert_int_eq(instance_self(&header.instance), 0);
                switch (lie) {
                case 0: /* the truth: it is in use */
                        break;
                case 1:
                        header.magic[7] = '2';
                        break;
                case 2:
                        header.record_size++;
                        break;
                case 3:
                        header.capacity++;
                        break;
                case 4:
                        header.capacity = UINT32_MAX;
                        break;
                case 5:
                        size--;
                        break;
                case 6:
                        size++;
                        break;
                case 7: /* sparse and huge */
                        header.capacity = RECORD_CAPACITY_MAX + 1;
                        size = RECORD_HEADER_SIZE +
                               (RECORD_CAPACITY_MAX + 1) * (off_t)sizeof(struct record);
                        break;
                }
                write_file(&header, sizeof(header));
                ck_assert_int_eq(truncate(path, size), 0);
                if (lie == 0)
                        refuses(-EBUSY);
                else
                        ck_assert_uint_eq(opens(), 0);
                end();
        }
}
END_TEST

START_TEST(leftover_of_a_take_over_is_in_nobodys_way) {
        start();
        ck_assert_int_eq(symlink("/etc/passwd", path_new), 0);
        ck_assert_uint_eq(opens(), 0);
        ck_assert_int_eq(access(path_new, F_OK), -1);
        end();
}
END_TEST

START_TEST(follows_no_link) {
        start();
        ck_assert_int_eq(symlink("/dev/zero", path), 0);
        refuses(-ELOOP);
        end();
}
END_TEST

START_TEST(two_that_start_at_once_are_kept_apart) {
        FD_AUTO int fd = -EBADF;

        start();
        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_eq(flock(fd, LOCK_EX), 0);
        refuses(-EAGAIN);
        ck_assert_int_eq(flock(fd, LOCK_UN), 0);
        ck_assert_uint_eq(opens(), 0);
        end();
}
END_TEST

/* A process that is killed with a thread stuck in the kernel keeps its descriptors: nothing may
 * rest on their being closed. */
START_TEST(lock_is_not_held_once_it_runs) {
        struct record_file file;
        FD_AUTO int fd = -EBADF;
        int32_t pid;

        start();
        ck_assert_int_eq(open_records(&file, &pid), 0);
        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
        record_close(&file);
        end();
}
END_TEST

/* ---- what is left ---- */

START_TEST(records_are_taken_over_at_their_index) {
        static const enum record_state states[] = {RECORD_LIVE, RECORD_FREE, RECORD_ATTACHING,
                                                   RECORD_RELEASING};
        struct record_file file;
        int32_t pid;

        start();
        leave(CAPACITY, 4, states);
        ck_assert_int_eq(open_records(&file, &pid), 0);
        ck_assert_int_eq(file.header->instance.pid, getpid());
        for (unsigned i = 0; i < CAPACITY; i++) {
                struct record wanted = {0};

                if (i < 4 && states[i] != RECORD_FREE)
                        wanted = sane(i, states[i]);
                ck_assert_mem_eq(&file.records[i], &wanted, sizeof(wanted));
        }
        record_close(&file);
        ck_assert_int_eq(access(path, F_OK), 0); /* for the next one */
        end();
}
END_TEST

/* Whoever comes after with lower limits has room for what there is, and for no more than that. */
START_TEST(room_is_made_for_the_last_record_in_use) {
        static const struct {
                uint32_t before, last; /* 0: none is in use */
                uint32_t asked, wanted;
        } rows[] = {
                {100, 0, 10, 10},  {100, 5, 10, 10},    {100, 10, 10, 10},    {100, 11, 10, 11},
                {100, 60, 10, 60}, {100, 100, 10, 100}, {100, 100, 100, 100}, {10, 10, 100, 100},
                {10, 0, 100, 100}, {1, 1, 1, 1},        {100, 1, 1, 1},
        };

        for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
                enum record_state states[100] = {0};
                struct record_file file;
                struct stat stat_of_file;
                int32_t pid;

                start();
                if (rows[row].last)
                        states[rows[row].last - 1] = RECORD_LIVE;
                leave(rows[row].before, rows[row].before, states);
                ck_assert_int_eq(record_open(directory, rows[row].asked, &file, &pid), 0);
                ck_assert_uint_eq(file.header->capacity, rows[row].wanted);
                ck_assert_int_eq(stat(path, &stat_of_file), 0);
                ck_assert_uint_eq(stat_of_file.st_size,
                                  RECORD_HEADER_SIZE + rows[row].wanted * sizeof(struct record));
                for (unsigned i = 0; i < rows[row].wanted; i++)
                        ck_assert_uint_eq(file.records[i].state,
                                          i + 1 == rows[row].last ? RECORD_LIVE : RECORD_FREE);
                record_close(&file);
                end();
        }
}
END_TEST

/* Each row is a sane record with one thing wrong. */
static const struct {
        const char *what;
        size_t offset, size;
        uint64_t value;
        bool is_sane;
} damages[] = {
        {"nothing", offsetof(struct record, origin), 4, RECORD_SOCKET, true},
        {"granted over D-Bus", offsetof(struct record, origin), 4, RECORD_BUS, true},
        {"pid 0", offsetof(struct record, pid), 4, 0, true},
        {"uid 0", offsetof(struct record, uid), 4, 0, true},
        {"attaching", offsetof(struct record, state), 4, RECORD_ATTACHING, true},
        {"releasing", offsetof(struct record, state), 4, RECORD_RELEASING, true},
        {"one mount", offsetof(struct record, count), 4, 1, true},
        {"no id of a mount", offsetof(struct record, mounts), 8, 0, true},
        {"free", offsetof(struct record, state), 4, RECORD_FREE, false},
        {"state 4", offsetof(struct record, state), 4, RECORD_RELEASING + 1, false},
        {"state -1", offsetof(struct record, state), 4, UINT32_MAX, false},
        {"origin 2", offsetof(struct record, origin), 4, RECORD_BUS + 1, false},
        {"no lease", offsetof(struct record, lease), 8, 0, false},
        {"another's index", offsetof(struct record, lease), 8, 0x123456789abc0004, false},
        {"an index beyond", offsetof(struct record, lease), 8, 0x123456789abcffff, false},
        {"no mounts", offsetof(struct record, count), 4, 0, false},
        {"a mount without a kind", offsetof(struct record, count), 4, 3, false},
        {"17 mounts", offsetof(struct record, count), 4, 17, false},
        {"2^32-1 mounts", offsetof(struct record, count), 4, UINT32_MAX, false},
        {"kind 0", offsetof(struct record, file_systems), 1, 0, false},
        {"kind 3", offsetof(struct record, file_systems) + 1, 1, 3, false},
        {"kind 255", offsetof(struct record, file_systems) + 1, 1, 255, false},
};

enum { N_DAMAGES = sizeof(damages) / sizeof(damages[0]) };

static struct record damaged(unsigned row, uint32_t index) {
        struct record record = sane(index, RECORD_LIVE);

        memcpy((char *)&record + damages[row].offset, &damages[row].value, damages[row].size);
        return record;
}

START_TEST(record_is_sane_or_not) {
        for (unsigned row = 0; row < N_DAMAGES; row++) {
                struct record record = damaged(row, 3);

                ck_assert_msg(record_is_sane(&record, 3) == damages[row].is_sane, "%s",
                              damages[row].what);
                ck_assert(!record_is_sane(&record, 2));
        }
        for (unsigned count = 1; count <= PROTOCOL_TARGETS_MAX; count++) {
                struct record record = sane(RECORD_CAPACITY_MAX - 1, RECORD_LIVE);

                record.count = count;
                memset(record.file_systems, PROTOCOL_SYSFS, count);
                ck_assert(record_is_sane(&record, RECORD_CAPACITY_MAX - 1));
        }
}
END_TEST

static void change_record(uint32_t index, const struct record *record) {
        FD_AUTO int fd = open(path, O_WRONLY | O_CLOEXEC);

        ck_assert_int_eq(
                pwrite(fd, record, sizeof(*record), RECORD_HEADER_SIZE + index * sizeof(*record)),
                sizeof(*record));
}

/* Its neighbours are taken over all the same. */
START_TEST(damaged_record_is_dropped) {
        static const enum record_state states[CAPACITY] = {
                [2] = RECORD_LIVE, [3] = RECORD_LIVE, [CAPACITY - 1] = RECORD_LIVE};

        for (unsigned row = 0; row < N_DAMAGES; row++) {
                struct record record = damaged(row, 3);

                start();
                leave(CAPACITY, CAPACITY, states);
                change_record(3, &record);
                ck_assert_uint_eq(opens(), damages[row].is_sane ? 3 : 2);
                end();
        }
}
END_TEST

START_TEST(damaged_records_make_no_room) {
        static const enum record_state states[100] = {[20] = RECORD_LIVE};

        for (unsigned row = 0; row < N_DAMAGES; row++) {
                struct record record = damaged(row, 99);
                struct record_file file;
                int32_t pid;

                start();
                leave(100, 100, states);
                if (record.lease == 0x123456789abc0004)
                        record.lease++; /* that is no row's here */
                change_record(99, &record);
                ck_assert_int_eq(open_records(&file, &pid), 0);
                ck_assert_uint_eq(file.header->capacity, damages[row].is_sane ? 100 : 21);
                record_close(&file);
                end();
        }
}
END_TEST

START_TEST(truncated_file_is_nobodys) {
        static const enum record_state states[] = {RECORD_LIVE};
        const off_t whole = RECORD_HEADER_SIZE + CAPACITY * sizeof(struct record);
        const off_t sizes[] = {0,
                               1,
                               sizeof(struct record_header) - 1,
                               sizeof(struct record_header),
                               RECORD_HEADER_SIZE - 1,
                               RECORD_HEADER_SIZE,
                               RECORD_HEADER_SIZE + sizeof(struct record),
                               whole - (off_t)sizeof(struct record),
                               whole - 1,
                               whole + 1};

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                struct record_file file;
                int32_t pid;

                start();
                leave(CAPACITY, 1, states);
                ck_assert_int_eq(truncate(path, sizes[i]), 0);
                ck_assert_int_eq(record_open_left(directory, &file, &pid), -ENOENT);
                ck_assert_uint_eq(opens(), 0);
                end();
        }
}
END_TEST

/* ---- in place ---- */

START_TEST(what_was_left_is_opened_in_place) {
        static const enum record_state states[] = {RECORD_FREE, RECORD_LIVE, RECORD_ATTACHING};
        unsigned descriptors = descriptors_count();
        struct record_header before, after;
        struct record_file file;
        int32_t pid;

        start();
        leave(CAPACITY, 3, states);
        before = read_header();
        ck_assert_int_eq(record_open_left(directory, &file, &pid), 0);
        ck_assert_uint_eq(file.header->capacity, CAPACITY);
        for (unsigned i = 0; i < 3; i++)
                ck_assert_uint_eq(file.records[i].state, states[i]);
        /* Nobody takes over meanwhile. */
        ck_assert_int_eq(record_open_left(directory, &(struct record_file){0}, &pid), -EAGAIN);
        refuses(-EAGAIN);
        record_set_state(&file.records[1], RECORD_FREE);
        record_close_left(&file);
        ck_assert_uint_eq(descriptors_count(), descriptors);

        after = read_header();
        ck_assert_mem_eq(&after, &before, sizeof(before));
        ck_assert_uint_eq(opens(), 1);
        end();
}
END_TEST

/* A child that has been given up, stuck in the kernel, has the same open directory. */
START_TEST(in_place_the_lock_ends_with_the_sweep) {
        static const enum record_state states[] = {RECORD_LIVE};
        FD_AUTO int childs = -EBADF;
        struct record_file file;
        int32_t pid;

        start();
        leave(CAPACITY, 1, states);
        ck_assert_int_eq(record_open_left(directory, &file, &pid), 0);
        childs = fcntl(file.directory, F_DUPFD_CLOEXEC, 0);
        ck_assert_int_ge(childs, 0);
        record_close_left(&file);
        ck_assert_uint_eq(opens(), 1);
        end();
}
END_TEST

START_TEST(in_place_is_nothing_to_be_had) {
        static const enum record_state states[] = {RECORD_LIVE};
        struct record_file file = {.size = 4711}, other;
        unsigned descriptors = descriptors_count();
        struct record_header header;
        int32_t pid = 0;

        ck_assert_int_eq(record_open_left("/nonexistent", &file, &pid), -ENOENT);
        start();
        ck_assert_int_eq(record_open_left(directory, &file, &pid), -ENOENT);
        ck_assert_int_eq(access(path, F_OK), -1); /* none is made */

        ck_assert_int_eq(open_records(&other, &pid), 0);
        ck_assert_int_eq(record_open_left(directory, &file, &pid), -EBUSY);
        ck_assert_int_eq(pid, getpid());
        record_close(&other);

        leave(CAPACITY, 1, states);
        header = read_header();
        header.instance.boot_id[0] ^= 1;
        change_header(&header);
        ck_assert_int_eq(record_open_left(directory, &file, &pid), -ENOENT);
        ck_assert_uint_eq(file.size, 4711);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        end();
}
END_TEST

START_TEST(directory_that_is_not_there_is_an_errno) {
        struct record_file file;
        int32_t pid;

        ck_assert_int_eq(record_open("/nonexistent", 1, &file, &pid), -ENOENT);
        ck_assert_int_eq(record_open("/dev/null", 1, &file, &pid), -ENOTDIR);
}
END_TEST

START_TEST(full_file_system_is_told_at_the_start) {
        static const enum record_state states[] = {RECORD_LIVE};
        struct record_file file;
        unsigned descriptors;
        int32_t pid;
        pid_t child;

        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
                test_skip("a mount namespace of its own needs CAP_SYS_ADMIN");
        start();
        ck_assert_int_eq(mount("none", directory, "tmpfs", 0, "size=64k"), 0);

        child = spawn(1, states);
        waitpid(child, NULL, 0);
        descriptors = descriptors_count();
        ck_assert_int_eq(record_open(directory, 65536, &file, &pid), -ENOSPC);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        ck_assert_int_eq(read_header().instance.pid, child); /* and what was there still is */
        ck_assert_uint_eq(opens(), 1);
        ck_assert_int_eq(umount2(directory, MNT_DETACH), 0);
        ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

START_TEST(takes_the_largest_capacity) {
        struct record_file file;
        int32_t pid;

        start();
        ck_assert_int_eq(record_open(directory, RECORD_CAPACITY_MAX, &file, &pid), 0);
        record_set_state(&file.records[RECORD_CAPACITY_MAX - 1], RECORD_LIVE);
        file.used = RECORD_CAPACITY_MAX;
        record_close(&file);
        ck_assert_int_eq(access(path, F_OK), 0);
        end();
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "record", writes_who_it_is_and_allocates_all, file_stays_when_a_record_is_in_use,
                is_refused_while_another_lives, counts_what_a_dead_one_left,
                counts_up_to_the_last_record, records_are_taken_over_at_their_index,
                room_is_made_for_the_last_record_in_use, record_is_sane_or_not,
                damaged_record_is_dropped, damaged_records_make_no_room, truncated_file_is_nobodys,
                what_was_left_is_opened_in_place, in_place_the_lock_ends_with_the_sweep,
                in_place_is_nothing_to_be_had, zombie_is_taken_over, other_boot_left_nothing,
                what_it_does_not_understand_is_nobodys, header_that_lies_is_nobodys,
                leftover_of_a_take_over_is_in_nobodys_way, follows_no_link,
                two_that_start_at_once_are_kept_apart, lock_is_not_held_once_it_runs,
                directory_that_is_not_there_is_an_errno, full_file_system_is_told_at_the_start,
                takes_the_largest_capacity);
}
