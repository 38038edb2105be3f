/* SPDX-License-Identifier: Apache-2.0 */

/* On a real directory, with real processes that die. */

#include "daemon/record.h"

#include "common/fd.h"
#include "tests/descriptors.h"
#include "tests/skip.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
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

static int open_records(struct record_file *file, int32_t *pid, unsigned *left) {
        return record_open(directory, CAPACITY, file, pid, left);
}

/* Opens and closes again: the directory is free. Returns what was left. */
static unsigned opens(void) {
        unsigned descriptors = descriptors_count(), left = 99;
        struct record_file file;
        int32_t pid;

        ck_assert_int_eq(open_records(&file, &pid, &left), 0);
        for (unsigned i = 0; i < CAPACITY; i++)
                ck_assert_uint_eq(file.records[i].state, RECORD_FREE);
        record_close(&file);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        return left;
}

static void refuses(int error) {
        unsigned descriptors = descriptors_count(), left;
        struct record_file file;
        int32_t pid;

        ck_assert_int_eq(open_records(&file, &pid, &left), error);
        ck_assert_uint_eq(descriptors_count(), descriptors);
}

/* A process that takes the ledger, sets so many states, and dies without closing it. */
static pid_t spawn(unsigned n_states, const enum record_state *states) {
        siginfo_t info;
        pid_t pid = fork();

        if (pid == 0) {
                struct record_file file;
                unsigned left;
                int32_t owner;

                if (open_records(&file, &owner, &left) < 0)
                        _exit(1);
                for (unsigned i = 0; i < n_states; i++)
                        record_set_state(&file.records[i], states[i]);
                _exit(0);
        }
        ck_assert_int_eq(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
        ck_assert_int_eq(info.si_status, 0);
        return pid;
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
        unsigned left = 99;
        int32_t pid;

        start();
        ck_assert_int_eq(open_records(&file, &pid, &left), 0);
        ck_assert_uint_eq(left, 0);
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
        unsigned left;
        int32_t pid;

        start();
        ck_assert_int_eq(open_records(&file, &pid, &left), 0);
        record_set_state(&file.records[CAPACITY - 1], RECORD_LIVE);
        record_close(&file);
        ck_assert_int_eq(access(path, F_OK), 0);
        end();
}
END_TEST

START_TEST(is_refused_while_another_lives) {
        struct record_file file, other;
        unsigned left;
        int32_t pid = 0;

        start();
        ck_assert_int_eq(open_records(&file, &pid, &left), 0);
        ck_assert_int_eq(open_records(&other, &pid, &left), -EBUSY);
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
        unsigned left;
        int32_t pid;

        start();
        ck_assert_int_eq(open_records(&file, &pid, &left), 0);
        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
        record_close(&file);
        end();
}
END_TEST

START_TEST(directory_that_is_not_there_is_an_errno) {
        struct record_file file;
        unsigned left;
        int32_t pid;

        ck_assert_int_eq(record_open("/nonexistent", 1, &file, &pid, &left), -ENOENT);
        ck_assert_int_eq(record_open("/dev/null", 1, &file, &pid, &left), -ENOTDIR);
}
END_TEST

START_TEST(full_file_system_is_told_at_the_start) {
        static const enum record_state states[] = {RECORD_LIVE};
        struct record_file file;
        unsigned left, descriptors;
        int32_t pid;
        pid_t child;

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                test_skip("a mount namespace of its own needs CAP_SYS_ADMIN");
        start();
        ck_assert_int_eq(mount("none", directory, "tmpfs", 0, "size=64k"), 0);

        child = spawn(1, states);
        waitpid(child, NULL, 0);
        descriptors = descriptors_count();
        ck_assert_int_eq(record_open(directory, 65536, &file, &pid, &left), -ENOSPC);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        ck_assert_int_eq(read_header().instance.pid, child); /* and what was there still is */
        ck_assert_uint_eq(opens(), 1);
        ck_assert_int_eq(umount2(directory, MNT_DETACH), 0);
        ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

START_TEST(takes_the_largest_capacity) {
        struct record_file file;
        unsigned left;
        int32_t pid;

        start();
        ck_assert_int_eq(record_open(directory, RECORD_CAPACITY_MAX, &file, &pid, &left), 0);
        record_set_state(&file.records[RECORD_CAPACITY_MAX - 1], RECORD_LIVE);
        record_close(&file);
        ck_assert_int_eq(access(path, F_OK), 0);
        end();
}
END_TEST

int main(void) {
        return SUITE_RUN("record", writes_who_it_is_and_allocates_all,
                         file_stays_when_a_record_is_in_use, is_refused_while_another_lives,
                         counts_what_a_dead_one_left, counts_up_to_the_last_record,
                         zombie_is_taken_over, other_boot_left_nothing,
                         what_it_does_not_understand_is_nobodys, header_that_lies_is_nobodys,
                         leftover_of_a_take_over_is_in_nobodys_way, follows_no_link,
                         two_that_start_at_once_are_kept_apart, lock_is_not_held_once_it_runs,
                         directory_that_is_not_there_is_an_errno,
                         full_file_system_is_told_at_the_start, takes_the_largest_capacity);
}
