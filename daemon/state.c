/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A new instance writes a new file and renames it over the old one, so that at any moment there is
 * one whole file. Two that start at once are kept apart by a lock on the directory that is held for
 * the take-over alone, when no thread can be stuck yet.
 */

#include "daemon/state.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATE_MAGIC "MNTSTATE"
#define STATE_VERSION 2
#define STATE_NAME "state"
#define STATE_NAME_NEW "state.new"

/* As 0.1 has it. */
#define STATE_MAGIC_1 "MNTLEDG1"
#define STATE_NAME_1 "ledger"

struct state_header_1 {
        char magic[8];
        uint32_t record_size;
        uint32_t capacity;
        struct instance instance;
};

struct record_1 {
        uint64_t lease;
        uint64_t granted;
        uint64_t writer_start_time;
        int32_t writer_pid;
        uint32_t state;
        uint32_t uid;
        int32_t pid;
        uint32_t count;
        uint32_t origin; /* 0: a connection, 1: D-Bus */
        uint8_t file_systems[PROTOCOL_TARGETS_MAX];
        uint64_t mounts[PROTOCOL_TARGETS_MAX];
};

/* ---- records ---- */

bool record_is_sane(const struct record *record, uint32_t index) {
        if (record->state < RECORD_ATTACHING || record->state > RECORD_RELEASING ||
            record->lease == 0 || RECORD_INDEX(record->lease) != index || record->count < 1 ||
            record->count > PROTOCOL_TARGETS_MAX || record->kept > 1)
                return false;
        for (uint32_t i = 0; i < record->count; i++)
                if (record->file_systems[i] != PROTOCOL_PROC &&
                    record->file_systems[i] != PROTOCOL_SYSFS)
                        return false;
        return true;
}

void record_set_state(struct record *record, enum record_state state) {
        __atomic_store_n(&record->state, (uint32_t)state, __ATOMIC_RELEASE);
}

static struct record record_from_1(const struct record_1 *old) {
        struct record record = {
                .lease = old->lease,
                .granted = old->granted,
                .writer_start_time = old->writer_start_time,
                .writer_pid = old->writer_pid,
                .state = old->state,
                .uid = old->uid,
                .pid = old->pid,
                .count = old->count,
                .kept = old->origin,
        };

        memcpy(record.file_systems, old->file_systems, sizeof(record.file_systems));
        memcpy(record.mounts, old->mounts, sizeof(record.mounts));
        return record;
}

/* ---- files ---- */

static size_t state_file_size(uint32_t capacity, size_t record_size) {
        return STATE_HEADER_SIZE + (size_t)capacity * record_size;
}

static int state_map(int fd, uint32_t capacity, struct state *state) {
        size_t size = state_file_size(capacity, sizeof(struct record));
        char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (map == MAP_FAILED)
                return -errno;
        state->size = size;
        state->capacity = state->used = capacity;
        state->header = (struct state_header *)map;
        state->records = (struct record *)(map + STATE_HEADER_SIZE);
        return 0;
}

static void state_unmap(struct state *state) {
        if (state->header)
                munmap(state->header, state->size);
        state->header = NULL;
}

/* A new file, mapped, that isn't in the old one's place yet. */
static int state_create(int directory, uint32_t capacity, const struct instance *instance,
                        struct state *state) {
        FD_AUTO int fd = -EBADF;
        int r;

        if (unlinkat(directory, STATE_NAME_NEW, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = openat(directory, STATE_NAME_NEW, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = -posix_fallocate(fd, 0, state_file_size(capacity, sizeof(struct record)));
        if (r == 0)
                r = state_map(fd, capacity, state);
        if (r < 0)
                return r;
        *state->header = (struct state_header){
                .version = STATE_VERSION,
                .record_size = sizeof(struct record),
                .capacity = capacity,
                .instance = *instance,
        };
        memcpy(state->header->magic, STATE_MAGIC, sizeof(state->header->magic));
        state->used = 0;
        return 0;
}

static int state_put_in_place(int directory, struct state *state) {
        if (renameat(directory, STATE_NAME_NEW, directory, STATE_NAME) == 0)
                return 0;
        state_unmap(state);
        return -errno;
}

/* Under a name that no other has, but for the last when there are too many. */
static int state_set_aside(int directory, const char *name, struct state_found *found) {
        for (int i = 1; i <= STATE_SET_ASIDE_MAX; i++) {
                unsigned flags = i < STATE_SET_ASIDE_MAX ? RENAME_NOREPLACE : 0;

                snprintf(found->set_aside, sizeof(found->set_aside), "%s.unknown-%d", name, i);
                if (renameat2(directory, name, directory, found->set_aside, flags) == 0)
                        return 0;
                if (errno != EEXIST)
                        return -errno;
        }
        return -EEXIST;
}

/*
 * Opens the file and reads its first bytes. -ENOENT: there is none, or no longer: one that is
 * shorter, or is no file, has been set aside.
 */
static int state_read_header(int directory, const char *name, void *header, size_t header_size,
                             off_t *file_size, struct state_found *found) {
        FD_AUTO int fd = openat(directory, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        struct stat stat;
        ssize_t size;
        int r;

        if (fd < 0 && errno != ELOOP && errno != EISDIR && errno != ENXIO)
                return -errno;
        if (fd >= 0 && fstat(fd, &stat) < 0)
                return -errno;
        if (fd >= 0 && S_ISREG(stat.st_mode)) {
                /* Unreadable is not empty: what it says would be lost for good. */
                size = pread(fd, header, header_size, 0);
                if (size < 0)
                        return -errno;
                *file_size = stat.st_size;
                if ((size_t)size == header_size)
                        return fd_take(&fd);
        }
        r = state_set_aside(directory, name, found);
        return r < 0 ? r : -ENOENT;
}

/* ---- what a predecessor left ---- */

static bool state_is_understood(const struct state_header *header, off_t size) {
        return memcmp(header->magic, STATE_MAGIC, sizeof(header->magic)) == 0 &&
               header->version == STATE_VERSION && header->record_size == sizeof(struct record) &&
               header->capacity <= STATE_RECORDS_MAX &&
               state_file_size(header->capacity, sizeof(struct record)) == (size_t)size;
}

/* -EBUSY: it lives. -ENOENT: it is of an earlier boot, and its mounts are gone. */
static int state_judge_instance(const struct instance *instance, const struct instance *self,
                                struct state_found *found) {
        if (instance_is_alive(instance, self)) {
                found->pid = instance->pid;
                return -EBUSY;
        }
        return strncmp(instance->boot_id, self->boot_id, sizeof(self->boot_id)) == 0 ? 0 : -ENOENT;
}

/* Maps what a dead predecessor of this boot left. -ENOENT: nothing. -EBUSY: it lives. */
static int state_map_left(int directory, const struct instance *self, struct state *state,
                          struct state_found *found) {
        struct state_header header;
        off_t size;
        FD_AUTO int fd = state_read_header(directory, STATE_NAME, &header, sizeof(header), &size,
                                           found);
        int r;

        if (fd < 0)
                return fd;
        if (!state_is_understood(&header, size)) {
                r = state_set_aside(directory, STATE_NAME, found);
                return r < 0 ? r : -ENOENT;
        }
        r = state_judge_instance(&header.instance, self, found);
        return r < 0 ? r : state_map(fd, header.capacity, state);
}

static void state_copy_left(struct state *state, const struct state *left) {
        for (uint32_t i = 0; left->header && i < left->capacity; i++)
                if (record_is_sane(&left->records[i], i)) {
                        state->records[i] = left->records[i];
                        state->used = i + 1;
                }
}

/* ---- what 0.1 left ---- */

static bool state_is_understood_1(const struct state_header_1 *header, off_t size) {
        return memcmp(header->magic, STATE_MAGIC_1, sizeof(header->magic)) == 0 &&
               header->record_size == sizeof(struct record_1) &&
               header->capacity <= STATE_RECORDS_MAX &&
               state_file_size(header->capacity, sizeof(struct record_1)) == (size_t)size;
}

/* Writes its records, and whose they are, to a file of this version, in its place. */
static int state_convert_1(int directory, int fd, const struct state_header_1 *header) {
        size_t size = state_file_size(header->capacity, sizeof(struct record_1));
        char *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        struct state state = {0};
        int r;

        if (map == MAP_FAILED)
                return -errno;
        r = state_create(directory, header->capacity, &header->instance, &state);
        for (uint32_t i = 0; r == 0 && i < header->capacity; i++) {
                const struct record_1 *old = (const struct record_1 *)(map + STATE_HEADER_SIZE) + i;

                if (old->state != RECORD_FREE)
                        state.records[i] = record_from_1(old);
        }
        if (r == 0)
                r = state_put_in_place(directory, &state);
        state_unmap(&state);
        munmap(map, size);
        return r;
}

/* What there is of 0.1 becomes the state file, unless there is one already. */
static int state_upgrade(int directory, const struct instance *self, struct state_found *found) {
        struct state_header_1 header;
        off_t size;
        FD_AUTO int fd = state_read_header(directory, STATE_NAME_1, &header, sizeof(header), &size,
                                           found);
        int r;

        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        if (!state_is_understood_1(&header, size))
                return state_set_aside(directory, STATE_NAME_1, found);
        r = state_judge_instance(&header.instance, self, found);
        if (r == 0 && faccessat(directory, STATE_NAME, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                r = state_convert_1(directory, fd, &header);
        if (r < 0 && r != -ENOENT)
                return r;
        return unlinkat(directory, STATE_NAME_1, 0) < 0 ? -errno : 0;
}

/* ---- opening and closing ---- */

static int state_open_directory(const char *directory, struct instance *self, int *ret) {
        FD_AUTO int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
                return -errno;
        r = instance_self(self);
        if (r == 0)
                *ret = fd_take(&fd);
        return r;
}

/* Room for what is asked, and for the last record that is in use. */
static uint32_t state_capacity(uint32_t capacity, const struct state *left) {
        uint32_t used = left->header ? left->capacity : 0;

        while (used > capacity && !record_is_sane(&left->records[used - 1], used - 1))
                used--;
        return used > capacity ? used : capacity;
}

int state_open(const char *directory, uint32_t capacity, struct state *ret,
               struct state_found *found) {
        FD_AUTO int fd = -EBADF;
        struct state state = {0}, left = {0};
        struct instance self;
        int r;

        r = state_open_directory(directory, &self, &fd);
        if (r == 0)
                r = state_upgrade(fd, &self, found);
        if (r < 0)
                return r;
        r = state_map_left(fd, &self, &left, found);
        if (r == 0 || r == -ENOENT)
                r = state_create(fd, state_capacity(capacity, &left), &self, &state);
        if (r == 0) {
                state_copy_left(&state, &left);
                r = state_put_in_place(fd, &state);
        }
        state_unmap(&left);
        if (r < 0)
                return r;

        flock(fd, LOCK_UN);
        state.directory = fd_take(&fd);
        *ret = state;
        return 0;
}

int state_open_left(const char *directory, struct state *ret, struct state_found *found) {
        FD_AUTO int fd = -EBADF;
        struct state state = {0};
        struct instance self;
        int r;

        r = state_open_directory(directory, &self, &fd);
        if (r == 0)
                r = state_upgrade(fd, &self, found);
        if (r == 0)
                r = state_map_left(fd, &self, &state, found);
        if (r < 0)
                return r;
        state.directory = fd_take(&fd); /* stays locked: nobody may take over meanwhile */
        *ret = state;
        return 0;
}

void state_close_left(struct state *state) {
        state_unmap(state);
        flock(state->directory, LOCK_UN); /* a child may have the same open file */
        state->directory = fd_close(state->directory);
}

void state_close(struct state *state) {
        bool used = false;

        for (uint32_t i = 0; i < state->used; i++)
                used = used || state->records[i].state != RECORD_FREE;
        if (!used)
                unlinkat(state->directory, STATE_NAME, 0);
        state_unmap(state);
        state->directory = fd_close(state->directory);
}
