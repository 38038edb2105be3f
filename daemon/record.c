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

static unsigned record_count_used(int fd, uint32_t capacity) {
        unsigned used = 0;
        struct record record;

        for (uint32_t i = 0; i < capacity; i++)
                if (pread(fd, &record, sizeof(record), record_file_size(i)) == sizeof(record) &&
                    record.state != RECORD_FREE)
                        used++;
        return used;
}

/* What the file of that name tells about its owner; none, or one that isn't sane, tells nothing. */
static int record_read_predecessor(int directory, const struct instance *self, int32_t *pid,
                                   unsigned *left) {
        FD_AUTO int fd = openat(directory, RECORD_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        struct record_header header;
        struct stat stat;

        *left = 0;
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        if (fstat(fd, &stat) < 0)
                return -errno;
        if (pread(fd, &header, sizeof(header), 0) != sizeof(header) ||
            !record_header_is_sane(&header, stat.st_size))
                return 0;
        if (instance_is_alive(&header.instance, self)) {
                *pid = header.instance.pid;
                return -EBUSY;
        }
        if (strncmp(header.instance.boot_id, self->boot_id, sizeof(self->boot_id)) == 0)
                *left = record_count_used(fd, header.capacity);
        return 0;
}

static int record_map(int fd, uint32_t capacity, struct record_file *file) {
        size_t size = record_file_size(capacity);
        char *map;
        int r;

        r = -posix_fallocate(fd, 0, size);
        if (r < 0)
                return r;
        map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
                return -errno;
        file->size = size;
        file->header = (struct record_header *)map;
        file->records = (struct record *)(map + RECORD_HEADER_SIZE);
        return 0;
}

static int record_create(int directory, uint32_t capacity, const struct instance *self,
                         struct record_file *file) {
        FD_AUTO int fd = -EBADF;
        int r;

        if (unlinkat(directory, RECORD_NAME_NEW, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = openat(directory, RECORD_NAME_NEW, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = record_map(fd, capacity, file);
        if (r < 0)
                return r;

        *file->header = (struct record_header){
                .magic = RECORD_MAGIC,
                .record_size = sizeof(struct record),
                .capacity = capacity,
                .instance = *self,
        };
        if (renameat(directory, RECORD_NAME_NEW, directory, RECORD_NAME) < 0) {
                r = -errno;
                munmap(file->header, file->size);
                return r;
        }
        return 0;
}

int record_open(const char *directory, uint32_t capacity, struct record_file *ret, int32_t *pid,
                unsigned *left) {
        FD_AUTO int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct record_file file = {0};
        struct instance self;
        int r;

        if (fd < 0)
                return -errno;
        r = instance_self(&self);
        if (r < 0)
                return r;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return -errno;
        r = record_read_predecessor(fd, &self, pid, left);
        if (r == 0)
                r = record_create(fd, capacity, &self, &file);
        flock(fd, LOCK_UN);
        if (r < 0)
                return r;

        file.directory = fd_take(&fd);
        *ret = file;
        return 0;
}

void record_close(struct record_file *file) {
        bool used = false;

        for (uint32_t i = 0; i < file->header->capacity; i++)
                used = used || file->records[i].state != RECORD_FREE;
        if (!used)
                unlinkat(file->directory, RECORD_NAME, 0);
        munmap(file->header, file->size);
        file->directory = fd_close(file->directory);
}

void record_set_state(struct record *record, enum record_state state) {
        __atomic_store_n(&record->state, (uint32_t)state, __ATOMIC_RELEASE);
}
