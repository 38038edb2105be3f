/* SPDX-License-Identifier: Apache-2.0 */

/* In a real directory, with real processes that die. */

#include "daemon/kernel.h"
#include "tests/test.h"
#include "tests/unit/daemon/state_files.h"

#include <sched.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

enum { CAPACITY = 10, RIVALS = 4, TURNS = 400 };

/* The ids of nobody's mount namespaces. Small ones are taken: newer kernels call the first one 8,
 * MNT_NS_INIT_ID of linux/nsfs.h. */
#define STRANGER (UINT64_C(1) << 40)

static struct state_files files;
static const char *const directory = files.directory;
static char path[128], path_new[128];

static void start(void) {
        state_files_start(&files);
        state_files_path(&files, "state", path);
        state_files_path(&files, "state.new", path_new);
}

static void end(void) {
        unlink(path);
        unlink(path_new);
        ck_assert_int_eq(rmdir(directory), 0);
}

static int open_records(struct state *file, struct state_found *found) {
        return state_open(directory, CAPACITY, file, found);
}

/* A valid record for that index. */
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
                .mounted = 2,
                .file_systems = {PROTOCOL_PROC, PROTOCOL_SYSFS},
                .mounts = {100 + index, 200 + index},
        };
}

/* Opens and closes: the directory is free again. Returns the number of records that were left. */
static unsigned opens(void) {
        unsigned descriptors = descriptors_count(), left = 0;
        struct state file;
        struct state_found found = {0};

        ck_assert_int_eq(open_records(&file, &found), 0);
        ck_assert_uint_eq(file.header->capacity, CAPACITY);
        for (unsigned i = 0; i < CAPACITY; i++) {
                left += file.records[i].state != RECORD_FREE;
                record_set_state(&file.records[i], RECORD_FREE);
        }
        state_close(&file);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        return left;
}

static void refuses(int error) {
        unsigned descriptors = descriptors_count();
        struct state file;
        struct state_found found = {0};

        ck_assert_int_eq(open_records(&file, &found), error);
        ck_assert_uint_eq(descriptors_count(), descriptors);
}

/* A process that takes the state file, fills that many records, and dies without closing it. */
static pid_t spawn_large(uint32_t capacity, unsigned n_states, const enum record_state *states) {
        siginfo_t info;
        pid_t pid = fork();

        if (pid == 0) {
                struct state file;
                struct state_found found = {0};

                if (state_open(directory, capacity, &file, &found) < 0)
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

static struct state_header read_header(void) {
        struct state_header header;
        FD_AUTO int fd = open(path, O_RDONLY | O_CLOEXEC);

        ck_assert_int_eq(pread(fd, &header, sizeof(header), 0), sizeof(header));
        return header;
}

static void change_header(const struct state_header *header) {
        FD_AUTO int fd = open(path, O_WRONLY | O_CLOEXEC);

        ck_assert_int_eq(pwrite(fd, header, sizeof(*header), 0), sizeof(*header));
}

/* Opens and closes; the file that was in the way is kept under `name`, byte by byte. */
static void sets_aside(const char *name, const void *bytes, size_t size) {
        struct state_found found = {0};
        char kept[160], content[256];
        struct state file;
        FILE *stream;

        ck_assert_int_eq(open_records(&file, &found), 0);
        ck_assert_uint_eq(file.used, 0);
        state_close(&file);
        ck_assert_str_eq(found.set_aside, name);
        snprintf(kept, sizeof(kept), "%s/%s", directory, name);
        stream = fopen(kept, "re");
        ck_assert_ptr_nonnull(stream);
        ck_assert_uint_eq(fread(content, 1, sizeof(content), stream), size);
        ck_assert_mem_eq(content, bytes, size);
        fclose(stream);
}

static void remove_set_aside(const char *name) {
        char kept[160];

        snprintf(kept, sizeof(kept), "%s/%s", directory, name);
        ck_assert_int_eq(unlink(kept), 0);
}

START_TEST(writes_who_it_is_and_allocates_all) {
        struct state file;
        struct instance self;
        struct stat stat_of_file;
        struct state_header header;
        struct state_found found = {0};

        start();
        ck_assert_int_eq(open_records(&file, &found), 0);
        ck_assert_int_eq(stat(path, &stat_of_file), 0);
        ck_assert_uint_eq(stat_of_file.st_mode, S_IFREG | 0600);
        ck_assert_uint_eq(stat_of_file.st_size,
                          STATE_HEADER_SIZE + CAPACITY * sizeof(struct record));
        ck_assert_uint_ge(stat_of_file.st_blocks * 512, stat_of_file.st_size);
        header = read_header();
        ck_assert_int_eq(instance_self(&self), 0);
        ck_assert_mem_eq(&header.instance, &self, sizeof(self));
        ck_assert_uint_eq(header.capacity, CAPACITY);
        ck_assert_uint_eq(header.record_size, sizeof(struct record));
        ck_assert_int_eq(access(path_new, F_OK), -1);

        state_close(&file);
        ck_assert_int_eq(access(path, F_OK), -1);
        end();
}
END_TEST

START_TEST(file_stays_when_a_record_is_in_use) {
        struct state file;
        struct state_found found = {0};

        start();
        ck_assert_int_eq(open_records(&file, &found), 0);
        ck_assert_uint_eq(file.used, 0);
        record_set_state(&file.records[CAPACITY - 1], RECORD_LIVE);
        file.used = CAPACITY;
        state_close(&file);
        ck_assert_int_eq(access(path, F_OK), 0);
        end();
}
END_TEST

START_TEST(is_refused_while_another_lives) {
        struct state file, other;
        struct state_found found = {0};

        start();
        ck_assert_int_eq(open_records(&file, &found), 0);
        ck_assert_int_eq(open_records(&other, &found), -EBUSY);
        ck_assert_int_eq(found.pid, getpid());
        ck_assert_int_eq(read_header().instance.pid, getpid());
        state_close(&file);
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

/* The parent hasn't waited for it: its pid and even its start time still exist. */
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

/* A thread stuck in the kernel keeps the process, and its descriptors, for good. */
START_TEST(killed_one_that_stays_is_taken_over) {
        struct state_found found = {0};
        struct state file;
        int ready[2], status;
        char byte;
        pid_t pid;

        start();
        ck_assert_int_eq(pipe(ready), 0);
        pid = fork();
        if (pid == 0) {
                if (open_records(&file, &found) < 0)
                        _exit(1);
                file.records[0] = sane(0, RECORD_LIVE);
                if (write(ready[1], "", 1) != 1)
                        _exit(1);
                for (;;)
                        pause();
        }
        ck_assert_int_eq(read(ready[0], &byte, 1), 1);
        ck_assert_int_eq(ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEEXIT), 0);
        refuses(-EBUSY);
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, &status, __WALL), pid);
        ck_assert(WIFSTOPPED(status)); /* in do_exit() */
        ck_assert_uint_eq(opens(), 1);
        ck_assert_int_eq(ptrace(PTRACE_DETACH, pid, 0, 0), 0);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        end();
}
END_TEST

/* After a reboot the mounts are gone, and so is the process, whichever process has its pid now. */
START_TEST(other_boot_left_nothing) {
        static const enum record_state states[] = {RECORD_LIVE};
        struct state_header header;
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

START_TEST(what_it_does_not_understand_is_set_aside) {
        static const struct {
                const char *what;
                size_t size;
        } garbage[] = {
                {"", 0},
                {"x", 1},
                {"MNTSTATE", 8},
                {"MNTSTATE and much else", 22},
        };

        start();
        for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
                write_file(garbage[i].what, garbage[i].size);
                sets_aside("state.unknown-1", garbage[i].what, garbage[i].size);
                remove_set_aside("state.unknown-1");
        }
        end();
}
END_TEST

START_TEST(what_was_set_aside_is_not_overwritten_but_for_the_last) {
        char name[32], content[32];

        start();
        for (int i = 1; i <= STATE_SET_ASIDE_MAX + 1; i++) {
                int number = i < STATE_SET_ASIDE_MAX ? i : STATE_SET_ASIDE_MAX;

                snprintf(name, sizeof(name), "state.unknown-%d", number);
                snprintf(content, sizeof(content), "the file %d", i);
                write_file(content, strlen(content));
                sets_aside(name, content, strlen(content));
        }
        for (int i = 1; i <= STATE_SET_ASIDE_MAX; i++) {
                snprintf(name, sizeof(name), "state.unknown-%d", i);
                remove_set_aside(name);
        }
        end();
}
END_TEST

static struct state_header header_of(const struct instance *instance) {
        struct state_header header = {
                .version = 3,
                .record_size = sizeof(struct record),
                .capacity = CAPACITY,
                .instance = *instance,
        };

        memcpy(header.magic, "MNTSTATE", sizeof(header.magic)); /* no NUL */
        return header;
}

enum { WHOLE = STATE_HEADER_SIZE + CAPACITY * sizeof(struct record) };

/* Each is a header with one wrong field, or a file whose length doesn't match it. */
static const struct {
        const char *what;
        size_t offset;
        uint32_t value;
        off_t size;
        bool has_owner; /* its instance can be identified nevertheless */
} lies[] = {
        {"magic", offsetof(struct state_header, magic), 0x12345678, WHOLE, false},
        {"end of the magic", offsetof(struct state_header, magic) + 4, 0x12345678, WHOLE, false},
        {"version 0", offsetof(struct state_header, version), 0, WHOLE, true},
        {"version 1", offsetof(struct state_header, version), 1, WHOLE,
         false}, /* it has other names */
        {"version 2", offsetof(struct state_header, version), 2, WHOLE, true},
        {"version 4", offsetof(struct state_header, version), 4, WHOLE, true},
        {"version 2^32-1", offsetof(struct state_header, version), UINT32_MAX, WHOLE, true},
        {"record size 0", offsetof(struct state_header, record_size), 0, WHOLE, true},
        {"record size 207", offsetof(struct state_header, record_size), 207, WHOLE, true},
        {"record size 209", offsetof(struct state_header, record_size), 209, WHOLE, true},
        {"capacity 0", offsetof(struct state_header, capacity), 0, WHOLE, true},
        {"capacity 9", offsetof(struct state_header, capacity), 9, WHOLE, true},
        {"capacity 11", offsetof(struct state_header, capacity), 11, WHOLE, true},
        {"capacity 2^32-1", offsetof(struct state_header, capacity), UINT32_MAX, WHOLE, true},
        {"a byte less", offsetof(struct state_header, version), 3, WHOLE - 1, true},
        {"a byte more", offsetof(struct state_header, version), 3, WHOLE + 1, true},
        {"sparse and huge", offsetof(struct state_header, capacity), STATE_RECORDS_MAX + 1,
         STATE_HEADER_SIZE + (STATE_RECORDS_MAX + 1) * (off_t)sizeof(struct record), true},
};

enum { N_LIES = sizeof(lies) / sizeof(lies[0]) };

static void write_lie(unsigned row, struct instance instance) {
        struct state_header header = header_of(&instance);

        memcpy((char *)&header + lies[row].offset, &lies[row].value, 4);
        write_file(&header, sizeof(header));
        ck_assert_int_eq(truncate(path, lies[row].size), 0);
}

START_TEST(header_that_lies_is_set_aside) {
        for (unsigned row = 0; row < N_LIES; row++) {
                struct state_found found = {0};
                struct state_header before, after;
                char kept[160];
                struct stat stat_of_file;
                struct state file;

                start();
                write_lie(row, state_files_dead_instance());
                before = read_header();
                /* In place the file is useless, and isn't touched. */
                ck_assert_int_eq(state_open_left(directory, &file, &found), -ENOENT);
                ck_assert_str_eq(found.set_aside, "");
                ck_assert_int_eq(open_records(&file, &found), 0);
                ck_assert_msg(strcmp(found.set_aside, "state.unknown-1") == 0, "%s",
                              lies[row].what);
                ck_assert_uint_eq(file.used, 0);
                state_close(&file);

                snprintf(kept, sizeof(kept), "%s/state.unknown-1", directory);
                ck_assert_int_eq(rename(kept, path), 0);
                after = read_header();
                ck_assert_mem_eq(&after, &before, sizeof(before));
                ck_assert_int_eq(stat(path, &stat_of_file), 0);
                ck_assert_int_eq(stat_of_file.st_size, lies[row].size);
                end();
        }
}
END_TEST

/* Written by a dead instance in another mount namespace: records in those namespaces, in order. */
static void write_foreign(unsigned n_places, const uint64_t *places) {
        struct instance instance = state_files_dead_instance();
        struct state_header header;
        char *file = calloc(1, WHOLE);

        ck_assert_ptr_nonnull(file);
        instance.mount_namespace ^= 1;
        header = header_of(&instance);
        memcpy(file, &header, sizeof(header));
        for (uint32_t i = 0; i < n_places; i++) {
                struct record record = sane(i, RECORD_LIVE);

                record.mount_namespace = record.namespace_inode = places[i];
                memcpy(file + STATE_HEADER_SIZE + i * sizeof(record), &record, sizeof(record));
        }
        write_file(file, WHOLE);
        free(file);
}

/* Like a restarted container's: its mounts in clients' namespaces are still there. */
START_TEST(mounts_in_namespaces_of_clients_outlive_that_of_the_daemon) {
        struct state_found found = {0};
        struct record wanted = sane(1, RECORD_LIVE);
        struct state file;

        start();
        write_foreign(2, (const uint64_t[]){STRANGER, STRANGER + 1});
        ck_assert_int_eq(state_open_left(directory, &file, &found), -ENOENT);
        ck_assert_int_eq(open_records(&file, &found), 0);
        ck_assert_str_eq(found.set_aside, "");
        ck_assert_uint_eq(found.damaged, 0);
        ck_assert_uint_eq(file.used, 2);
        wanted.mount_namespace = wanted.namespace_inode = STRANGER + 1;
        ck_assert_mem_eq(&file.records[1], &wanted, sizeof(wanted));
        state_close(&file);
        end();
}
END_TEST

/* Takes the state file in mount and pid namespaces of its own, and lives until told to end. */
static void __attribute__((noreturn)) live_unseen(int ready, int stop) {
        static const uint64_t place = 7;
        struct state_found found = {0};
        struct state file;
        char byte;

        if (mount("proc", "/proc", "proc", 0, NULL) < 0 || open_records(&file, &found) < 0)
                _exit(1);
        file.records[0] = sane(0, RECORD_LIVE);
        file.records[0].mount_namespace = place;
        if (write(ready, "", 1) != 1 || read(stop, &byte, 1) != 0)
                _exit(1);
        record_set_state(&file.records[0], RECORD_FREE);
        state_close(&file);
        _exit(0);
}

/* It may be alive for all we know, so its mounts are left to it. */
START_TEST(who_can_not_be_seen_is_not_taken_over) {
        struct state_found found = {0};
        int ready[2], stop[2], status;
        struct state file;
        pid_t parent;
        char byte;

        start();
        ck_assert(pipe2(ready, O_CLOEXEC) == 0 && pipe2(stop, O_CLOEXEC) == 0);
        parent = fork();
        if (parent == 0) {
                close(stop[1]);
                if (unshare(CLONE_NEWNS | CLONE_NEWPID) < 0 ||
                    mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
                        _exit(2);
                if (fork() == 0)
                        live_unseen(ready[1], stop[0]);
                wait(&status);
                _exit(WEXITSTATUS(status));
        }
        close(ready[1]);
        if (read(ready[0], &byte, 1) != 1) {
                ck_assert_int_eq(waitpid(parent, &status, 0), parent);
                ck_assert_int_eq(WEXITSTATUS(status), 2);
                rmdir(directory);
                test_skip("namespaces of its own need CAP_SYS_ADMIN");
        }
        ck_assert_int_eq(open_records(&file, &found), 0);
        ck_assert_str_eq(found.set_aside, "state.unknown-1");
        ck_assert_uint_eq(file.used, 0);
        close(stop[1]);
        ck_assert_int_eq(waitpid(parent, &status, 0), parent);
        ck_assert_int_eq(status, 0);
        refuses(-EBUSY); /* our own file is still there */
        state_close(&file);
        remove_set_aside("state.unknown-1");
        end();
}
END_TEST

/* Our own namespace was a client's: its mounts are ours to undo, at home. */
START_TEST(mounts_in_our_namespace_are_at_home) {
        FD_AUTO int namespace = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        struct state_found found = {0};
        struct record wanted = sane(1, RECORD_LIVE);
        struct state file;
        uint64_t own;

        start();
        ck_assert_int_eq(kernel_mount_namespace_id(namespace, &own), 0);
        write_foreign(2, (const uint64_t[]){STRANGER, own});
        ck_assert_int_eq(open_records(&file, &found), 0);
        ck_assert_str_eq(found.set_aside, "");
        ck_assert_uint_eq(file.records[0].mount_namespace, STRANGER);
        ck_assert_mem_eq(&file.records[1], &wanted, sizeof(wanted));
        state_close(&file);
        end();
}
END_TEST

/*
 * Mounts at its home can't be seen from here, so the file that records them is kept; again and
 * again.
 */
START_TEST(mounts_in_another_home_are_set_aside) {
        char kept[160], name[32];

        start();
        for (int i = 1; i <= STATE_SET_ASIDE_MAX + 1; i++) {
                int number = i < STATE_SET_ASIDE_MAX ? i : STATE_SET_ASIDE_MAX;
                struct state_header before, after;
                struct state_found found = {0};
                struct state file;

                write_foreign(2, (const uint64_t[]){0, STRANGER + i});
                before = read_header();
                ck_assert_int_eq(open_records(&file, &found), 0);
                snprintf(name, sizeof(name), "state.unknown-%d", number);
                ck_assert_str_eq(found.set_aside, name);
                ck_assert_uint_eq(file.records[0].state, RECORD_FREE);
                ck_assert_uint_eq(file.records[1].state, RECORD_LIVE);
                ck_assert_uint_eq(file.records[1].mount_namespace, STRANGER + i);
                state_close_left(&file);

                snprintf(kept, sizeof(kept), "%s/%s", directory, name);
                ck_assert_int_eq(rename(kept, path), 0);
                after = read_header();
                ck_assert_mem_eq(&after, &before, sizeof(before));
                ck_assert_int_eq(rename(path, kept), 0);
        }
        for (int i = 1; i <= STATE_SET_ASIDE_MAX; i++) {
                snprintf(name, sizeof(name), "state.unknown-%d", i);
                remove_set_aside(name);
        }
        end();
}
END_TEST

/* For example of a later version: what isn't understood isn't taken from a running process. */
START_TEST(header_that_lies_is_not_taken_from_a_living_one) {
        for (unsigned row = 0; row < N_LIES; row++) {
                struct state_header before, after;

                start();
                write_lie(row, state_files_living_instance());
                before = read_header();
                if (lies[row].has_owner) {
                        refuses(-EBUSY);
                        after = read_header();
                        ck_assert_mem_eq(&after, &before, sizeof(before));
                } else {
                        ck_assert_uint_eq(opens(), 0);
                        remove_set_aside("state.unknown-1");
                }
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

enum kind { LINK, DANGLING, DIRECTORY, FULL_DIRECTORY, FIFO, SOCKET, DEVICE, N_KINDS };

/* False: lacks a privilege. */
static bool make_irregular(enum kind kind) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        FD_AUTO int fd = -EBADF;
        char inner[160];

        switch (kind) {
        case LINK:
                return symlink("/dev/zero", path) == 0;
        case DANGLING:
                return symlink("/nonexistent/state", path) == 0;
        case FULL_DIRECTORY:
        case DIRECTORY:
                snprintf(inner, sizeof(inner), "%s/inner", path);
                return mkdir(path, 0700) == 0 && (kind == DIRECTORY || mkdir(inner, 0700) == 0);
        case FIFO:
                return mkfifo(path, 0600) == 0;
        case SOCKET:
                fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
                snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
                return bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
        default:
                return mknod(path, S_IFCHR | 0600, makedev(1, 3)) == 0;
        }
}

/* It isn't even opened, which the driver of a fifo or a device would notice. */
START_TEST(what_is_no_file_is_set_aside) {
        for (enum kind kind = 0; kind < N_KINDS; kind++) {
                struct state_found found = {0};
                struct stat before, after;
                struct state file;
                char kept[128], inner[160];

                start();
                if (make_irregular(kind)) {
                        ck_assert_int_eq(lstat(path, &before), 0);
                        ck_assert_int_eq(state_open_left(directory, &file, &found), -ENOENT);
                        ck_assert_int_eq(open_records(&file, &found), 0);
                        ck_assert_str_eq(found.set_aside, "state.unknown-1");
                        state_close(&file);
                        snprintf(kept, sizeof(kept), "%s/state.unknown-1", directory);
                        ck_assert_int_eq(lstat(kept, &after), 0);
                        ck_assert_uint_eq(after.st_ino, before.st_ino);
                        snprintf(inner, sizeof(inner), "%s/inner", kept);
                        rmdir(inner);
                        ck_assert_int_eq(remove(kept), 0);
                }
                end();
        }
}
END_TEST

static int open_lock(int flags) {
        char lock[128];
        int fd;

        state_files_path(&files, "state.lock", lock);
        fd = open(lock, O_RDWR | O_CLOEXEC | flags, 0600);
        ck_assert_int_ge(fd, 0);
        return fd;
}

START_TEST(two_that_start_at_once_are_kept_apart) {
        FD_AUTO int fd = -EBADF;

        start();
        fd = open_lock(O_CREAT);
        ck_assert_int_eq(flock(fd, LOCK_EX), 0);
        refuses(-EAGAIN);
        ck_assert_int_eq(flock(fd, LOCK_UN), 0);
        ck_assert_uint_eq(opens(), 0);
        end();
}
END_TEST

/* Whoever may read the directory can lock it. */
START_TEST(lock_on_the_directory_keeps_nobody_from_starting) {
        FD_AUTO int fd = -EBADF;

        start();
        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_eq(flock(fd, LOCK_EX), 0);
        ck_assert_uint_eq(opens(), 0);
        end();
}
END_TEST

/* Each removes the file that the others may have opened already. */
static void take_turns(unsigned *inside, unsigned *turns) {
        while (*turns < TURNS) {
                struct state_found found = {0};
                struct state file;
                int r = state_open_left(directory, &file, &found);

                if (r == -EAGAIN)
                        continue;
                if (r < 0 || __atomic_add_fetch(inside, 1, __ATOMIC_SEQ_CST) != 1)
                        _exit(EXIT_FAILURE);
                sched_yield();
                __atomic_sub_fetch(inside, 1, __ATOMIC_SEQ_CST);
                __atomic_add_fetch(turns, 1, __ATOMIC_SEQ_CST);
                state_close_left(&file);
        }
        _exit(EXIT_SUCCESS);
}

START_TEST(no_two_of_many_have_the_lock) {
        static const enum record_state states[] = {RECORD_LIVE};
        unsigned *shared = mmap(NULL, 2 * sizeof(*shared), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        pid_t children[RIVALS];
        int status;

        ck_assert(shared != MAP_FAILED);
        start();
        leave(CAPACITY, 1, states);
        for (unsigned i = 0; i < RIVALS; i++) {
                children[i] = fork();
                ck_assert_int_ge(children[i], 0);
                if (children[i] == 0)
                        take_turns(&shared[0], &shared[1]);
        }
        for (unsigned i = 0; i < RIVALS; i++) {
                ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
                ck_assert_int_eq(status, 0);
        }
        ck_assert_uint_ge(shared[1], TURNS);
        ck_assert(!state_files_has(&files, "state.lock"));
        munmap(shared, 2 * sizeof(*shared));
        end();
}
END_TEST

/*
 * A process that is killed with a thread stuck in the kernel keeps its descriptors: nothing may
 * rely on their close.
 */
START_TEST(lock_is_not_held_once_it_runs) {
        struct state file;
        struct state_found found = {0};

        start();
        ck_assert_int_eq(open_records(&file, &found), 0);
        ck_assert(!state_files_has(&files, "state.lock"));
        state_close(&file);
        end();
}
END_TEST

/* ---- records ---- */

START_TEST(records_are_taken_over_at_their_index) {
        static const enum record_state states[] = {RECORD_LIVE, RECORD_FREE, RECORD_ATTACHING,
                                                   RECORD_RELEASING};
        struct state file;
        struct state_found found = {0};

        start();
        leave(CAPACITY, 4, states);
        ck_assert_int_eq(open_records(&file, &found), 0);
        ck_assert_int_eq(file.header->instance.pid, getpid());
        for (unsigned i = 0; i < CAPACITY; i++) {
                struct record wanted = {0};

                if (i < 4 && states[i] != RECORD_FREE)
                        wanted = sane(i, states[i]);
                ck_assert_mem_eq(&file.records[i], &wanted, sizeof(wanted));
        }
        state_close(&file);
        ck_assert_int_eq(access(path, F_OK), 0); /* for the next instance */
        end();
}
END_TEST

/* An instance with lower limits makes room for the existing records, and no more. */
START_TEST(room_is_made_for_the_last_record_in_use) {
        static const struct {
                uint32_t before, last; /* 0: none in use */
                uint32_t asked, wanted;
        } rows[] = {
                {100, 0, 10, 10},  {100, 5, 10, 10},    {100, 10, 10, 10},    {100, 11, 10, 11},
                {100, 60, 10, 60}, {100, 100, 10, 100}, {100, 100, 100, 100}, {10, 10, 100, 100},
                {10, 0, 100, 100}, {1, 1, 1, 1},        {100, 1, 1, 1},
        };

        for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
                enum record_state states[100] = {0};
                struct state file;
                struct stat stat_of_file;
                struct state_found found = {0};

                start();
                if (rows[row].last)
                        states[rows[row].last - 1] = RECORD_LIVE;
                leave(rows[row].before, rows[row].before, states);
                ck_assert_int_eq(state_open(directory, rows[row].asked, &file, &found), 0);
                ck_assert_uint_eq(file.header->capacity, rows[row].wanted);
                ck_assert_int_eq(stat(path, &stat_of_file), 0);
                ck_assert_uint_eq(stat_of_file.st_size,
                                  STATE_HEADER_SIZE + rows[row].wanted * sizeof(struct record));
                for (unsigned i = 0; i < rows[row].wanted; i++)
                        ck_assert_uint_eq(file.records[i].state,
                                          i + 1 == rows[row].last ? RECORD_LIVE : RECORD_FREE);
                state_close(&file);
                end();
        }
}
END_TEST

/* Each row is a valid record with one field wrong. */
static const struct {
        const char *what;
        size_t offset, size;
        uint64_t value;
        bool is_sane;
} damages[] = {
        {"nothing", offsetof(struct record, kept), 2, 0, true},
        {"kept", offsetof(struct record, kept), 2, 1, true},
        {"a dev", offsetof(struct record, file_systems), 1, PROTOCOL_DEV, true},
        {"as many as can be", offsetof(struct record, mounted), 2, RECORD_MOUNTED_MAX, true},
        {"pid 0", offsetof(struct record, pid), 4, 0, true},
        {"uid 0", offsetof(struct record, uid), 4, 0, true},
        {"attaching", offsetof(struct record, state), 4, RECORD_ATTACHING, true},
        {"releasing", offsetof(struct record, state), 4, RECORD_RELEASING, true},
        {"one mount", offsetof(struct record, count), 4, 1, true},
        {"no id of a mount", offsetof(struct record, mounts), 8, 0, true},
        {"free", offsetof(struct record, state), 4, RECORD_FREE, false},
        {"state 4", offsetof(struct record, state), 4, RECORD_RELEASING + 1, false},
        {"state -1", offsetof(struct record, state), 4, UINT32_MAX, false},
        {"kept 2", offsetof(struct record, kept), 2, 2, false},
        {"fewer than it names", offsetof(struct record, mounted), 2, 1, false},
        {"more than can be", offsetof(struct record, mounted), 2, RECORD_MOUNTED_MAX + 1, false},
        {"no lease", offsetof(struct record, lease), 8, 0, false},
        {"another's index", offsetof(struct record, lease), 8, 0x123456789abc0004, false},
        {"an index beyond", offsetof(struct record, lease), 8, 0x123456789abcffff, false},
        {"no mounts", offsetof(struct record, count), 4, 0, false},
        {"a mount without a kind", offsetof(struct record, count), 4, 3, false},
        {"17 mounts", offsetof(struct record, count), 4, 17, false},
        {"2^32-1 mounts", offsetof(struct record, count), 4, UINT32_MAX, false},
        {"kind 0", offsetof(struct record, file_systems), 1, 0, false},
        {"kind 4", offsetof(struct record, file_systems) + 1, 1, 4, false},
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
                struct record record = sane(STATE_RECORDS_MAX - 1, RECORD_LIVE);

                record.count = record.mounted = count;
                memset(record.file_systems, PROTOCOL_SYSFS, count);
                ck_assert(record_is_sane(&record, STATE_RECORDS_MAX - 1));
        }
}
END_TEST

static void change_record(uint32_t index, const struct record *record) {
        FD_AUTO int fd = open(path, O_WRONLY | O_CLOEXEC);

        ck_assert_int_eq(
                pwrite(fd, record, sizeof(*record), STATE_HEADER_SIZE + index * sizeof(*record)),
                sizeof(*record));
}

/* Its neighbours are taken over nevertheless. */
START_TEST(damaged_record_is_left_out_and_counted) {
        static const enum record_state states[CAPACITY] = {
                [2] = RECORD_LIVE, [3] = RECORD_LIVE, [CAPACITY - 1] = RECORD_LIVE};

        for (unsigned row = 0; row < N_DAMAGES; row++) {
                struct record record = damaged(row, 3);
                struct state_found found = {0};
                struct state file;

                start();
                leave(CAPACITY, CAPACITY, states);
                change_record(3, &record);
                ck_assert_int_eq(open_records(&file, &found), 0);
                ck_assert_uint_eq(found.damaged,
                                  !damages[row].is_sane && record.state != RECORD_FREE);
                ck_assert_uint_eq(file.records[2].state, RECORD_LIVE);
                ck_assert_uint_eq(file.records[CAPACITY - 1].state, RECORD_LIVE);
                ck_assert_uint_eq(file.records[3].state,
                                  damages[row].is_sane ? record.state : (uint32_t)RECORD_FREE);
                ck_assert_str_eq(found.set_aside, "");
                state_close(&file);
                end();
        }
}
END_TEST

START_TEST(damaged_records_make_no_room) {
        static const enum record_state states[100] = {[20] = RECORD_LIVE};

        for (unsigned row = 0; row < N_DAMAGES; row++) {
                struct record record = damaged(row, 99);
                struct state file;
                struct state_found found = {0};

                start();
                leave(100, 100, states);
                if (record.lease == 0x123456789abc0004)
                        record.lease++; /* no row has it here */
                change_record(99, &record);
                ck_assert_int_eq(open_records(&file, &found), 0);
                ck_assert_uint_eq(file.header->capacity, damages[row].is_sane ? 100 : 21);
                state_close(&file);
                end();
        }
}
END_TEST

START_TEST(truncated_file_is_set_aside) {
        static const enum record_state states[] = {RECORD_LIVE};
        const off_t whole = STATE_HEADER_SIZE + CAPACITY * sizeof(struct record);
        const off_t sizes[] = {0,
                               1,
                               sizeof(struct state_header) - 1,
                               sizeof(struct state_header),
                               STATE_HEADER_SIZE - 1,
                               STATE_HEADER_SIZE,
                               STATE_HEADER_SIZE + sizeof(struct record),
                               whole - (off_t)sizeof(struct record),
                               whole - 1,
                               whole + 1};

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                struct state_found found = {0};
                size_t size, size_kept;
                char *bytes, *kept;
                struct state file;

                start();
                leave(CAPACITY, 1, states);
                ck_assert_int_eq(truncate(path, sizes[i]), 0);
                bytes = state_files_read(&files, "state", &size);
                ck_assert_int_eq(state_open_left(directory, &file, &found), -ENOENT);
                ck_assert_int_eq(open_records(&file, &found), 0);
                ck_assert_uint_eq(file.used, 0);
                state_close(&file);
                ck_assert_str_eq(found.set_aside, "state.unknown-1");
                kept = state_files_read(&files, "state.unknown-1", &size_kept);
                ck_assert_uint_eq(size_kept, size);
                ck_assert_mem_eq(kept, bytes, size);
                free(bytes);
                free(kept);
                remove_set_aside("state.unknown-1");
                end();
        }
}
END_TEST

/* ---- opened in place ---- */

START_TEST(what_was_left_is_opened_in_place) {
        static const enum record_state states[] = {RECORD_FREE, RECORD_LIVE, RECORD_ATTACHING};
        unsigned descriptors = descriptors_count();
        struct state_header before, after;
        struct stat stat;
        struct state file;
        struct state_found found = {0};
        int lock;

        start();
        leave(CAPACITY, 3, states);
        before = read_header();
        ck_assert_int_eq(state_open_left(directory, &file, &found), 0);
        ck_assert_uint_eq(file.header->capacity, CAPACITY);
        for (unsigned i = 0; i < 3; i++)
                ck_assert_uint_eq(file.records[i].state, states[i]);
        /* Nobody can take over meanwhile, and nobody but root can lock it. */
        lock = open_lock(0);
        ck_assert_int_eq(fstat(lock, &stat), 0);
        ck_assert_uint_eq(stat.st_mode, S_IFREG | 0600);
        lock = fd_close(lock);
        ck_assert_int_eq(state_open_left(directory, &(struct state){0}, &found), -EAGAIN);
        refuses(-EAGAIN);
        record_set_state(&file.records[1], RECORD_FREE);
        state_close_left(&file);
        ck_assert_uint_eq(descriptors_count(), descriptors);

        after = read_header();
        ck_assert_mem_eq(&after, &before, sizeof(before));
        ck_assert_uint_eq(opens(), 1);
        end();
}
END_TEST

/* An abandoned child, stuck in the kernel, shares the lock. */
START_TEST(in_place_the_lock_ends_with_the_sweep) {
        static const enum record_state states[] = {RECORD_LIVE};
        FD_AUTO int childs = -EBADF;
        struct state file;
        struct state_found found = {0};

        start();
        leave(CAPACITY, 1, states);
        ck_assert_int_eq(state_open_left(directory, &file, &found), 0);
        childs = fcntl(file.lock, F_DUPFD_CLOEXEC, 0);
        ck_assert_int_ge(childs, 0);
        state_close_left(&file);
        ck_assert_uint_eq(opens(), 1);
        end();
}
END_TEST

START_TEST(in_place_is_nothing_to_be_had) {
        static const enum record_state states[] = {RECORD_LIVE};
        struct state file = {.size = 4711}, other;
        unsigned descriptors = descriptors_count();
        struct state_header header;
        struct state_found found = {0};

        ck_assert_int_eq(state_open_left("/nonexistent", &file, &found), -ENOENT);
        start();
        ck_assert_int_eq(state_open_left(directory, &file, &found), -ENOENT);
        ck_assert_int_eq(access(path, F_OK), -1); /* none is created */

        ck_assert_int_eq(open_records(&other, &found), 0);
        ck_assert_int_eq(state_open_left(directory, &file, &found), -EBUSY);
        ck_assert_int_eq(found.pid, getpid());
        state_close(&other);

        leave(CAPACITY, 1, states);
        header = read_header();
        header.instance.boot_id[0] ^= 1;
        change_header(&header);
        ck_assert_int_eq(state_open_left(directory, &file, &found), -ENOENT);
        ck_assert_uint_eq(file.size, 4711);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        end();
}
END_TEST

START_TEST(directory_that_is_not_there_is_an_errno) {
        struct state file;
        struct state_found found = {0};

        ck_assert_int_eq(state_open("/nonexistent", 1, &file, &found), -ENOENT);
        ck_assert_int_eq(state_open("/dev/null", 1, &file, &found), -ENOTDIR);
}
END_TEST

START_TEST(full_file_system_is_told_at_the_start) {
        static const enum record_state states[] = {RECORD_LIVE};
        struct state file;
        unsigned descriptors;
        struct state_found found = {0};
        pid_t child;

        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
                test_skip("a mount namespace of its own needs CAP_SYS_ADMIN");
        start();
        ck_assert_int_eq(mount("none", directory, "tmpfs", 0, "size=64k"), 0);

        child = spawn(1, states);
        waitpid(child, NULL, 0);
        descriptors = descriptors_count();
        ck_assert_int_eq(state_open(directory, 65536, &file, &found), -ENOSPC);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        ck_assert_int_eq(read_header().instance.pid,
                         child); /* and the old contents are still there */
        ck_assert_uint_eq(opens(), 1);
        ck_assert_int_eq(umount2(directory, MNT_DETACH), 0);
        ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

START_TEST(without_a_whole_proc_nothing_is_taken_over) {
        static const enum record_state states[] = {RECORD_LIVE};
        struct state_found found = {0};
        struct state file;
        char *before, *after;
        size_t size, size_after;

        start();
        leave(CAPACITY, 1, states);
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0) {
                end();
                test_skip("a mount namespace of its own needs CAP_SYS_ADMIN");
        }
        before = state_files_snapshot(&files, &size);
        ck_assert_int_eq(mount("proc", "/proc", "proc", 0, "subset=pid"), 0);
        ck_assert_int_eq(open_records(&file, &found), -EXDEV);
        ck_assert_int_eq(state_open_left(directory, &file, &found), -EXDEV);
        ck_assert_int_eq(umount2("/proc", MNT_DETACH), 0);
        after = state_files_snapshot(&files, &size_after);
        ck_assert_uint_eq(size, size_after);
        ck_assert_mem_eq(before, after, size);
        free(before);
        free(after);
        end();
}
END_TEST

START_TEST(takes_the_largest_capacity) {
        struct state file;
        struct state_found found = {0};

        start();
        ck_assert_int_eq(state_open(directory, STATE_RECORDS_MAX, &file, &found), 0);
        record_set_state(&file.records[STATE_RECORDS_MAX - 1], RECORD_LIVE);
        file.used = STATE_RECORDS_MAX;
        state_close(&file);
        ck_assert_int_eq(access(path, F_OK), 0);
        end();
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "state", writes_who_it_is_and_allocates_all, file_stays_when_a_record_is_in_use,
                is_refused_while_another_lives, counts_what_a_dead_one_left,
                counts_up_to_the_last_record, records_are_taken_over_at_their_index,
                room_is_made_for_the_last_record_in_use, record_is_sane_or_not,
                damaged_record_is_left_out_and_counted, damaged_records_make_no_room,
                truncated_file_is_set_aside, what_was_left_is_opened_in_place,
                in_place_the_lock_ends_with_the_sweep, in_place_is_nothing_to_be_had,
                zombie_is_taken_over, killed_one_that_stays_is_taken_over, other_boot_left_nothing,
                what_it_does_not_understand_is_set_aside, header_that_lies_is_set_aside,
                mounts_in_namespaces_of_clients_outlive_that_of_the_daemon,
                mounts_in_our_namespace_are_at_home, who_can_not_be_seen_is_not_taken_over,
                mounts_in_another_home_are_set_aside,
                header_that_lies_is_not_taken_from_a_living_one,
                what_was_set_aside_is_not_overwritten_but_for_the_last,
                leftover_of_a_take_over_is_in_nobodys_way, what_is_no_file_is_set_aside,
                two_that_start_at_once_are_kept_apart,
                lock_on_the_directory_keeps_nobody_from_starting, no_two_of_many_have_the_lock,
                lock_is_not_held_once_it_runs, directory_that_is_not_there_is_an_errno,
                full_file_system_is_told_at_the_start, takes_the_largest_capacity,
                without_a_whole_proc_nothing_is_taken_over);
}
