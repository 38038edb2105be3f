/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A new instance writes a new file and renames it over the old one, so that there is one complete
 * file at any moment. A locked file keeps two starting instances apart; it is there only for the
 * take-over, when no thread can be stuck yet. Everything found is checked before anything is
 * changed: a refused start changes nothing.
 */

#include "common/fd.h"
#include "common/file_system.h"
#include "daemon/kernel.h"
#include "daemon/state_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATE_MAGIC "MNTSTATE"

static_assert(sizeof(struct state_header) == 80 && sizeof(struct record) == 208,
              "what differs is another version");

/* ---- records ---- */

bool record_is_sane(const struct record *record, uint32_t index) {
        if (record->state < RECORD_ATTACHING || record->state > RECORD_RELEASING ||
            record->lease == 0 || RECORD_INDEX(record->lease) != index || record->count < 1 ||
            record->count > PROTOCOL_TARGETS_MAX || record->kept > 1 ||
            record->mounted < record->count || record->mounted > RECORD_MOUNTED_MAX)
                return false;
        for (uint32_t i = 0; i < record->count; i++)
                if (!file_system_name(record->file_systems[i]))
                        return false;
        return true;
}

void record_set_state(struct record *record, enum record_state state) {
        __atomic_store_n(&record->state, (uint32_t)state, __ATOMIC_RELEASE);
}

/* ---- existing files ---- */

static size_t state_record_size(uint32_t version) {
        return version == 1 ? STATE_RECORD_SIZE_1 : sizeof(struct record);
}

static size_t state_file_size(const struct state_header *header) {
        return STATE_HEADER_SIZE + header->capacity * state_record_size(header->version);
}

/* False: an unknown version. Otherwise the instance is in its usual place. */
static bool state_is_ours(struct state_header *header) {
        if (memcmp(header->magic, STATE_MAGIC, sizeof(header->magic)) == 0)
                return header->version != 1;
        return state_translate_header_1(header);
}

static bool state_is_understood(const struct state_header *header, uint32_t version, off_t size) {
        return header->version == version &&
               header->record_size == state_record_size(header->version) &&
               header->capacity <= STATE_RECORDS_MAX && state_file_size(header) == (size_t)size;
}

/* Whether the file's pids are of our pid namespace; true if it doesn't say. */
static bool state_has_our_pids(const struct state_takeover *takeover,
                               const struct state_header *header) {
        return !header->pid_namespace || header->pid_namespace == takeover->pid_namespace;
}

int state_find(struct state_takeover *takeover, const char *name, uint32_t version,
               struct state_file *file) {
        const struct instance *self = &takeover->self, *owner = &file->header.instance;
        struct stat stat;
        ssize_t size;

        if (fstatat(takeover->directory, name, &stat, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : -errno;
        file->finding = STATE_UNKNOWN;
        file->uid = stat.st_uid;
        file->gid = stat.st_gid;
        if (!S_ISREG(stat.st_mode))
                return 0;
        /* A file that can't be read isn't set aside: its contents would be lost for good. */
        file->fd = openat(takeover->directory, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (file->fd < 0)
                return -errno;
        size = pread(file->fd, &file->header, sizeof(file->header), 0);
        if (size < 0)
                return -errno;
        if (size != sizeof(file->header) || !state_is_ours(&file->header))
                return 0;
        if (instance_is_alive(owner, self)) {
                takeover->found->pid = owner->pid;
                return -EBUSY;
        }
        if (!state_is_understood(&file->header, version, stat.st_size))
                return 0;
        if (strncmp(owner->boot_id, self->boot_id, sizeof(self->boot_id)) != 0)
                file->finding = STATE_OUTDATED;
        else if (!owner->mount_namespace || owner->mount_namespace == self->mount_namespace)
                file->finding = STATE_LEFT;
        else if (file->header.version == STATE_VERSION &&
                 state_has_our_pids(takeover, &file->header))
                file->finding = STATE_FOREIGN;
        return 0;
}

static bool state_move(int directory, const char *name, const char *to, bool stays, bool replace) {
        if (!stays)
                return renameat2(directory, name, directory, to, replace ? 0 : RENAME_NOREPLACE) ==
                       0;
        if (replace)
                unlinkat(directory, to, 0);
        return linkat(directory, name, directory, to, 0) == 0;
}

/*
 * Renames the file to the first free name or, if there are too many, to the last. If it `stays`, it
 * keeps its old name as well, for its replacement.
 */
static int state_set_aside(const struct state_takeover *takeover, const char *name, bool stays) {
        char *told = takeover->found->set_aside;
        size_t length = strlen(told), size = sizeof(takeover->found->set_aside) - length;
        char kept[32];

        for (int i = 1; i <= STATE_SET_ASIDE_MAX; i++) {
                snprintf(kept, sizeof(kept), "%s.unknown-%d", name, i);
                if (state_move(takeover->directory, name, kept, stays, i == STATE_SET_ASIDE_MAX)) {
                        snprintf(told + length, size, "%s%s", length > 0 ? ", " : "", kept);
                        return 0;
                }
                if (errno != EEXIST)
                        return -errno;
        }
        return -EEXIST;
}

/* ---- the file ---- */

int state_map(int fd, const struct state_header *header, struct state *state) {
        size_t size = state_file_size(header);
        char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (map == MAP_FAILED)
                return -errno;
        state->size = size;
        state->capacity = state->used = header->capacity;
        state->header = (struct state_header *)map;
        state->records = (struct record *)(map + STATE_HEADER_SIZE);
        return 0;
}

void state_unmap(struct state *state) {
        if (state->header)
                munmap(state->header, state->size);
        state->header = NULL;
}

int state_create(int directory, uint32_t capacity, const struct instance *instance,
                 struct state *state) {
        FD_AUTO int fd = -EBADF;
        struct stat stat;
        struct state_header header = {
                .version = STATE_VERSION,
                .record_size = sizeof(struct record),
                .capacity = capacity,
                .instance = *instance,
        };
        int r;

        memcpy(header.magic, STATE_MAGIC, sizeof(header.magic)); /* without the NUL */
        if (unlinkat(directory, STATE_NAME_NEW, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = openat(directory, STATE_NAME_NEW, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = fstat(fd, &stat) < 0 ? -errno : -posix_fallocate(fd, 0, state_file_size(&header));
        if (r == 0)
                r = state_map(fd, &header, state);
        if (r < 0) {
                unlinkat(directory, STATE_NAME_NEW, 0);
                return r;
        }
        *state->header = header;
        state->inode = stat.st_ino;
        state->used = 0;
        return 0;
}

int state_put_in_place(int directory, struct state *state) {
        int r;

        if (renameat(directory, STATE_NAME_NEW, directory, STATE_NAME) == 0)
                return 0;
        r = -errno;
        unlinkat(directory, STATE_NAME_NEW, 0);
        state_unmap(state);
        return r;
}

/* ---- opening and closing ---- */

/*
 * Nobody but root can open the file, and so lock it. Its directory would be anybody's to lock. An
 * instance that opened it before its predecessor removed it tries again.
 */
static int state_lock(int directory) {
        for (;;) {
                FD_AUTO int fd =
                        openat(directory, STATE_NAME_LOCK,
                               O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
                struct stat stat;

                if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &stat) < 0)
                        return -errno;
                if (stat.st_nlink > 0)
                        return fd_take(&fd);
        }
}

static int state_unlock(int directory, int lock) {
        if (lock >= 0)
                unlinkat(directory, STATE_NAME_LOCK, 0);
        return fd_close(lock);
}

static void state_end(struct state_takeover *takeover) {
        takeover->lock = state_unlock(takeover->directory, takeover->lock);
        takeover->state.fd = fd_close(takeover->state.fd);
        takeover->ledger.fd = fd_close(takeover->ledger.fd);
        takeover->directory = fd_close(takeover->directory);
}

static int state_identify(struct state_takeover *takeover) {
        struct stat namespace;
        int r = instance_self(&takeover->self);

        if (r == 0 && stat("/proc/self/ns/pid", &namespace) < 0)
                r = -errno;
        if (r == 0)
                takeover->pid_namespace = namespace.st_ino; /* 32 bits wide in the kernel */
        return r;
}

static bool state_is_in_use(const struct state *state) {
        for (uint32_t i = 0; i < state->used; i++)
                if (state->records[i].state != RECORD_FREE)
                        return true;
        return false;
}

/* If 0.1 has run since, its records count, and it knew nothing of the records here. */
static int state_judge_outlived(struct state_takeover *takeover) {
        struct state_file *file = &takeover->state;
        const struct state_file *ledger = &takeover->ledger;
        struct state state = {0};
        int r;

        if (ledger->finding != STATE_LEFT ||
            (file->finding != STATE_LEFT && file->finding != STATE_FOREIGN) ||
            ledger->header.instance.start_time <= file->header.instance.start_time)
                return 0;
        r = state_map(file->fd, &file->header, &state);
        if (r < 0)
                return r;
        file->finding = state_is_in_use(&state) ? STATE_UNKNOWN : STATE_OUTDATED;
        state_unmap(&state);
        return 0;
}

/* Takes the lock, and examines the files. The caller calls state_end(), on failure as well. */
static int state_begin(const char *directory, struct state_found *found,
                       struct state_takeover *takeover) {
        int r;

        *takeover = (struct state_takeover){
                .lock = -EBADF,
                .state.fd = -EBADF,
                .ledger.fd = -EBADF,
                .found = found,
        };
        takeover->directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (takeover->directory < 0)
                return -errno;
        r = takeover->lock = state_lock(takeover->directory);
        if (r >= 0)
                r = state_identify(takeover);
        if (r == 0)
                r = state_find(takeover, STATE_NAME, STATE_VERSION, &takeover->state);
        if (r == 0)
                r = state_find(takeover, STATE_NAME_1, 1, &takeover->ledger);
        return r == 0 ? state_judge_outlived(takeover) : r;
}

/* Room for the number requested, and for the last record in use. */
static uint32_t state_capacity(uint32_t capacity, const struct state *left) {
        uint32_t used = left->header ? left->capacity : 0;

        while (used > capacity && !record_is_sane(&left->records[used - 1], used - 1))
                used--;
        return used > capacity ? used : capacity;
}

/* Copies a record of the previous instance, if a mountatd can have written it. */
static void state_put_record(struct state *state, uint32_t index, const struct record *record,
                             struct state_found *found) {
        if (record_is_sane(record, index)) {
                state->records[index] = *record;
                state->used = index + 1;
        } else if (record->state != RECORD_FREE)
                found->damaged++;
}

/*
 * The other instance, in another mount namespace, recorded ours as a client's; now it is the
 * daemon's own.
 */
static int state_bring_home(struct state *state) {
        FD_AUTO int fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        uint64_t home = 0;
        int r = fd < 0 ? -errno : kernel_mount_namespace_id(fd, &home);

        for (uint32_t i = 0; r == 0 && i < state->used; i++)
                if (state->records[i].mount_namespace == home)
                        state->records[i].mount_namespace = state->records[i].namespace_inode = 0;
        return r;
}

/*
 * Rewrites the file as ours, with the remaining records. Mounts of an instance in another mount
 * namespace in its own namespace would seem to be gone: the old file is kept for those. Its mounts
 * in clients' namespaces are unaffected: a restarted container is such an instance.
 */
static int state_replace(const struct state_takeover *takeover, uint32_t capacity,
                         struct state *state) {
        bool foreign = takeover->state.finding == STATE_FOREIGN, keep = false;
        struct state left = {0};
        int r = 0;

        if (foreign || takeover->state.finding == STATE_LEFT)
                r = state_map(takeover->state.fd, &takeover->state.header, &left);
        if (r == 0)
                r = state_create(takeover->directory, state_capacity(capacity, &left),
                                 &takeover->self, state);
        if (r == 0)
                state->header->pid_namespace = takeover->pid_namespace;
        for (uint32_t i = 0; r == 0 && left.header && i < left.capacity; i++)
                if (foreign && !left.records[i].mount_namespace)
                        keep |= left.records[i].state != RECORD_FREE;
                else
                        state_put_record(state, i, &left.records[i], takeover->found);
        if (r == 0 && foreign)
                r = state_bring_home(state);
        if (r == 0 && keep)
                r = state_set_aside(takeover, STATE_NAME, true);
        if (r == 0)
                r = state_put_in_place(takeover->directory, state);
        state_unmap(&left);
        return r;
}

int state_open(const char *directory, uint32_t capacity, struct state *ret,
               struct state_found *found) {
        struct state_takeover takeover;
        struct state state = {0};
        int r;

        assert(capacity <= STATE_RECORDS_MAX);
        r = state_begin(directory, found, &takeover);
        if (r == 0 && takeover.state.finding == STATE_UNKNOWN)
                r = state_set_aside(&takeover, STATE_NAME, false);
        if (r == 0 && takeover.ledger.finding == STATE_UNKNOWN)
                r = state_set_aside(&takeover, STATE_NAME_1, false);
        if (r == 0)
                r = state_upgrade(&takeover);
        if (r == 0)
                r = state_replace(&takeover, capacity, &state);
        if (r == 0) {
                takeover.lock = state_unlock(takeover.directory, takeover.lock);
                state.directory = fd_take(&takeover.directory);
                *ret = state;
        }
        state_end(&takeover);
        return r;
}

int state_open_left(const char *directory, struct state *ret, struct state_found *found) {
        struct state_takeover takeover;
        struct state state = {0};
        int r;

        r = state_begin(directory, found, &takeover);
        if (r == 0 && takeover.state.finding == STATE_UNKNOWN)
                r = -ENOENT;
        if (r == 0)
                r = state_upgrade(&takeover);
        if (r == 0 && takeover.state.finding != STATE_LEFT) {
                found->foreign = takeover.state.finding == STATE_FOREIGN;
                r = -ENOENT;
        }
        if (r == 0)
                r = state_map(takeover.state.fd, &takeover.state.header, &state);
        if (r == 0) { /* stays locked: nobody may take over meanwhile */
                state.lock = fd_take(&takeover.lock);
                state.directory = fd_take(&takeover.directory);
                *ret = state;
        }
        state_end(&takeover);
        return r;
}

void state_close_left(struct state *state) {
        state_unmap(state);
        state->lock = state_unlock(state->directory, state->lock);
        state->directory = fd_close(state->directory);
}

/*
 * Not if an instance that couldn't see us has set the file aside: then the name belongs to that
 * one.
 */
static bool state_is_in_place(const struct state *state) {
        struct stat stat;

        return fstatat(state->directory, STATE_NAME, &stat, AT_SYMLINK_NOFOLLOW) < 0 ||
               stat.st_ino == state->inode;
}

void state_close(struct state *state) {
        if (!state_is_in_use(state) && state_is_in_place(state))
                unlinkat(state->directory, STATE_NAME, 0);
        state_unmap(state);
        state->directory = fd_close(state->directory);
}
