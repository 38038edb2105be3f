/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A new instance writes a new file and renames it over the old one, so that at any moment there is
 * one whole file. Two that start at once are kept apart by a lock on the directory that is held for
 * the take-over alone, when no thread can be stuck yet. A file that isn't ours to understand is
 * nobody's.
 */

#include "daemon/state.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATE_MAGIC "MNTSTATE"
#define STATE_NAME "state"
#define STATE_NAME_NEW "state.new"

static size_t state_file_size(uint32_t capacity) {
        return STATE_HEADER_SIZE + (size_t)capacity * sizeof(struct record);
}

static bool state_header_is_sane(const struct state_header *header, off_t size) {
        return memcmp(header->magic, STATE_MAGIC, sizeof(header->magic)) == 0 &&
               header->record_size == sizeof(struct record) &&
               header->capacity <= STATE_RECORDS_MAX &&
               state_file_size(header->capacity) == (size_t)size;
}

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

static int state_map(int fd, uint32_t capacity, struct state *file) {
        size_t size = state_file_size(capacity);
        char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (map == MAP_FAILED)
                return -errno;
        file->size = size;
        file->capacity = file->used = capacity;
        file->header = (struct state_header *)map;
        file->records = (struct record *)(map + STATE_HEADER_SIZE);
        return 0;
}

static void state_unmap(struct state *file) {
        if (file->header)
                munmap(file->header, file->size);
        file->header = NULL;
}

/*
 * What a dead predecessor of this boot left. -ENOENT: nothing, or nothing that can be understood,
 * or of an earlier boot, whose mounts are gone. -EBUSY: it lives.
 */
static int state_map_left(int directory, const struct instance *self, struct state *file,
                           struct state_found *found) {
        FD_AUTO int fd = openat(directory, STATE_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        struct state_header header;
        struct stat stat;
        ssize_t size;

        if (fd < 0)
                return -errno;
        if (fstat(fd, &stat) < 0)
                return -errno;
        if (!S_ISREG(stat.st_mode))
                return -ENOENT;
        /* Unreadable is not empty: what it says would be lost for good. */
        size = pread(fd, &header, sizeof(header), 0);
        if (size < 0)
                return -errno;
        if (size != sizeof(header) || !state_header_is_sane(&header, stat.st_size))
                return -ENOENT;
        if (instance_is_alive(&header.instance, self)) {
                found->pid = header.instance.pid;
                return -EBUSY;
        }
        if (strncmp(header.instance.boot_id, self->boot_id, sizeof(self->boot_id)) != 0)
                return -ENOENT;
        return state_map(fd, header.capacity, file);
}

/* Room for what is asked, and for the last record that is in use. */
static uint32_t state_capacity(uint32_t capacity, const struct state *left) {
        uint32_t used = left->header ? left->capacity : 0;

        while (used > capacity && !record_is_sane(&left->records[used - 1], used - 1))
                used--;
        return used > capacity ? used : capacity;
}

static void state_copy_left(struct state *file, const struct state *left) {
        file->used = 0;
        if (!left->header)
                return;
        for (uint32_t i = 0; i < left->capacity; i++)
                if (record_is_sane(&left->records[i], i)) {
                        file->records[i] = left->records[i];
                        file->used = i + 1;
                }
}

static int state_create(int directory, uint32_t capacity, const struct instance *self,
                         const struct state *left, struct state *file) {
        FD_AUTO int fd = -EBADF;
        int r;

        if (unlinkat(directory, STATE_NAME_NEW, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = openat(directory, STATE_NAME_NEW, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = -posix_fallocate(fd, 0, state_file_size(capacity));
        if (r == 0)
                r = state_map(fd, capacity, file);
        if (r < 0)
                return r;

        *file->header = (struct state_header){
                .magic = STATE_MAGIC,
                .record_size = sizeof(struct record),
                .capacity = capacity,
                .instance = *self,
        };
        state_copy_left(file, left);
        if (renameat(directory, STATE_NAME_NEW, directory, STATE_NAME) < 0) {
                r = -errno;
                state_unmap(file);
        }
        return r;
}

static int state_open_directory(const char *directory, int *ret) {
        FD_AUTO int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
                return -errno;
        *ret = fd_take(&fd);
        return 0;
}

int state_open(const char *directory, uint32_t capacity, struct state *ret, struct state_found *found) {
        FD_AUTO int fd = -EBADF;
        struct state file = {0}, left = {0};
        struct instance self;
        int r;

        r = instance_self(&self);
        if (r == 0)
                r = state_open_directory(directory, &fd);
        if (r < 0)
                return r;
        r = state_map_left(fd, &self, &left, found);
        if (r == 0 || r == -ENOENT)
                r = state_create(fd, state_capacity(capacity, &left), &self, &left, &file);
        state_unmap(&left);
        flock(fd, LOCK_UN);
        if (r < 0)
                return r;

        file.directory = fd_take(&fd);
        *ret = file;
        return 0;
}

int state_open_left(const char *directory, struct state *ret, struct state_found *found) {
        FD_AUTO int fd = -EBADF;
        struct state file = {0};
        struct instance self;
        int r;

        r = instance_self(&self);
        if (r == 0)
                r = state_open_directory(directory, &fd);
        if (r == 0)
                r = state_map_left(fd, &self, &file, found);
        if (r < 0)
                return r;
        file.directory = fd_take(&fd); /* stays locked: nobody may take over meanwhile */
        *ret = file;
        return 0;
}

void state_close_left(struct state *file) {
        state_unmap(file);
        flock(file->directory, LOCK_UN); /* a child may have the same open file */
        file->directory = fd_close(file->directory);
}

void state_close(struct state *file) {
        bool used = false;

        for (uint32_t i = 0; i < file->used; i++)
                used = used || file->records[i].state != RECORD_FREE;
        if (!used)
                unlinkat(file->directory, STATE_NAME, 0);
        state_unmap(file);
        file->directory = fd_close(file->directory);
}

void record_set_state(struct record *record, enum record_state state) {
        __atomic_store_n(&record->state, (uint32_t)state, __ATOMIC_RELEASE);
}
