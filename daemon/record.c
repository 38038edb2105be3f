/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A new instance writes a new file and renames it over the old one, so that at any moment there is
 * one whole file. Two that start at once are kept apart by a lock on the directory that is held for
 * the take-over alone, when no thread can be stuck yet. A file that isn't ours to understand is
 * nobody's.
 */

#include "daemon/record.h"

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

#define RECORD_MAGIC "MNTLEDG1"
#define RECORD_NAME "ledger"
#define RECORD_NAME_NEW "ledger.new"

static size_t record_file_size(uint32_t capacity) {
        return RECORD_HEADER_SIZE + (size_t)capacity * sizeof(struct record);
}

static bool record_header_is_sane(const struct record_header *header, off_t size) {
        return memcmp(header->magic, RECORD_MAGIC, sizeof(header->magic)) == 0 &&
               header->record_size == sizeof(struct record) &&
               header->capacity <= RECORD_CAPACITY_MAX &&
               record_file_size(header->capacity) == (size_t)size;
}

bool record_is_sane(const struct record *record, uint32_t index) {
        if (record->state < RECORD_ATTACHING || record->state > RECORD_RELEASING ||
            record->lease == 0 || RECORD_INDEX(record->lease) != index || record->count < 1 ||
            record->count > PROTOCOL_TARGETS_MAX || record->origin > RECORD_BUS)
                return false;
        for (uint32_t i = 0; i < record->count; i++)
                if (record->file_systems[i] != PROTOCOL_PROC &&
                    record->file_systems[i] != PROTOCOL_SYSFS)
                        return false;
        return true;
}

static int record_map(int fd, uint32_t capacity, struct record_file *file) {
        size_t size = record_file_size(capacity);
        char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (map == MAP_FAILED)
                return -errno;
        file->size = size;
        file->capacity = file->used = capacity;
        file->header = (struct record_header *)map;
        file->records = (struct record *)(map + RECORD_HEADER_SIZE);
        return 0;
}

static void record_unmap(struct record_file *file) {
        if (file->header)
                munmap(file->header, file->size);
        file->header = NULL;
}

/*
 * What a dead predecessor of this boot left. -ENOENT: nothing, or nothing that can be understood,
 * or of an earlier boot, whose mounts are gone. -EBUSY: it lives.
 */
static int record_map_left(int directory, const struct instance *self, struct record_file *file,
                           int32_t *pid) {
        FD_AUTO int fd = openat(directory, RECORD_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        struct record_header header;
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
        if (size != sizeof(header) || !record_header_is_sane(&header, stat.st_size))
                return -ENOENT;
        if (instance_is_alive(&header.instance, self)) {
                *pid = header.instance.pid;
                return -EBUSY;
        }
        if (strncmp(header.instance.boot_id, self->boot_id, sizeof(self->boot_id)) != 0)
                return -ENOENT;
        return record_map(fd, header.capacity, file);
}

/* Room for what is asked, and for the last record that is in use. */
static uint32_t record_capacity(uint32_t capacity, const struct record_file *left) {
        uint32_t used = left->header ? left->capacity : 0;

        while (used > capacity && !record_is_sane(&left->records[used - 1], used - 1))
                used--;
        return used > capacity ? used : capacity;
}

static void record_copy_left(struct record_file *file, const struct record_file *left) {
        file->used = 0;
        if (!left->header)
                return;
        for (uint32_t i = 0; i < left->capacity; i++)
                if (record_is_sane(&left->records[i], i)) {
                        file->records[i] = left->records[i];
                        file->used = i + 1;
                }
}

static int record_create(int directory, uint32_t capacity, const struct instance *self,
                         const struct record_file *left, struct record_file *file) {
        FD_AUTO int fd = -EBADF;
        int r;

        if (unlinkat(directory, RECORD_NAME_NEW, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = openat(directory, RECORD_NAME_NEW, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = -posix_fallocate(fd, 0, record_file_size(capacity));
        if (r == 0)
                r = record_map(fd, capacity, file);
        if (r < 0)
                return r;

        *file->header = (struct record_header){
                .magic = RECORD_MAGIC,
                .record_size = sizeof(struct record),
                .capacity = capacity,
                .instance = *self,
        };
        record_copy_left(file, left);
        if (renameat(directory, RECORD_NAME_NEW, directory, RECORD_NAME) < 0) {
                r = -errno;
                record_unmap(file);
        }
        return r;
}

static int record_open_directory(const char *directory, int *ret) {
        FD_AUTO int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
                return -errno;
        *ret = fd_take(&fd);
        return 0;
}

int record_open(const char *directory, uint32_t capacity, struct record_file *ret, int32_t *pid) {
        FD_AUTO int fd = -EBADF;
        struct record_file file = {0}, left = {0};
        struct instance self;
        int r;

        r = instance_self(&self);
        if (r == 0)
                r = record_open_directory(directory, &fd);
        if (r < 0)
                return r;
        r = record_map_left(fd, &self, &left, pid);
        if (r == 0 || r == -ENOENT)
                r = record_create(fd, record_capacity(capacity, &left), &self, &left, &file);
        record_unmap(&left);
        flock(fd, LOCK_UN);
        if (r < 0)
                return r;

        file.directory = fd_take(&fd);
        *ret = file;
        return 0;
}

int record_open_left(const char *directory, struct record_file *ret, int32_t *pid) {
        FD_AUTO int fd = -EBADF;
        struct record_file file = {0};
        struct instance self;
        int r;

        r = instance_self(&self);
        if (r == 0)
                r = record_open_directory(directory, &fd);
        if (r == 0)
                r = record_map_left(fd, &self, &file, pid);
        if (r < 0)
                return r;
        file.directory = fd_take(&fd); /* stays locked: nobody may take over meanwhile */
        *ret = file;
        return 0;
}

void record_close_left(struct record_file *file) {
        record_unmap(file);
        flock(file->directory, LOCK_UN); /* a child may have the same open file */
        file->directory = fd_close(file->directory);
}

void record_close(struct record_file *file) {
        bool used = false;

        for (uint32_t i = 0; i < file->used; i++)
                used = used || file->records[i].state != RECORD_FREE;
        if (!used)
                unlinkat(file->directory, RECORD_NAME, 0);
        record_unmap(file);
        file->directory = fd_close(file->directory);
}

void record_set_state(struct record *record, enum record_state state) {
        __atomic_store_n(&record->state, (uint32_t)state, __ATOMIC_RELEASE);
}
