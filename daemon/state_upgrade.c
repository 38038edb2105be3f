/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Converts the file of an earlier version into a state file of this one, so that an upgrade in
 * place loses no lease. The new file is in place before the old one is removed.
 */

#include "common/fd.h"
#include "daemon/state_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STATE_MAGIC_1 "MNTLEDG1"

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

static_assert(sizeof(struct state_header_1) == 72 && sizeof(struct record_1) == STATE_RECORD_SIZE_1,
              "0.1 is out");

bool state_translate_header_1(struct state_header *header) {
        struct state_header_1 old;

        memcpy(&old, header, sizeof(old));
        if (memcmp(old.magic, STATE_MAGIC_1, sizeof(old.magic)) != 0)
                return false;
        *header = (struct state_header){
                .version = 1,
                .record_size = old.record_size,
                .capacity = old.capacity,
                .instance = old.instance,
        };
        return true;
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
                .kept = old->origin > 1 ? UINT16_MAX : old->origin, /* damaged stays damaged */
                .mounted = old->count,
        };

        memcpy(record.file_systems, old->file_systems, sizeof(record.file_systems));
        memcpy(record.mounts, old->mounts, sizeof(record.mounts));
        return record;
}

/* Unchanged: the reader checks them. */
static void state_put_records(struct state *state, const struct state *old) {
        const struct record_1 *records = (const struct record_1 *)(const void *)old->records;

        for (uint32_t i = 0; i < old->capacity; i++)
                if (records[i].state != RECORD_FREE)
                        state->records[i] = record_from_1(&records[i]);
}

/*
 * Converts 0.1's file into a state file, which keeps its instance. mountatd --sweep does so as root
 * for a daemon that may run as a user of its own, so the file's owner is kept.
 */
static int state_convert(struct state_takeover *takeover) {
        const struct state_file *from = &takeover->ledger;
        int directory = takeover->directory, r;
        struct state state = {0}, old = {0};

        r = state_map(from->fd, &from->header, &old);
        if (r < 0)
                return r;
        r = state_create(directory, old.capacity, &from->header.instance, &state);
        if (r == 0) {
                state_put_records(&state, &old);
                if (from->uid != geteuid() &&
                    fchownat(directory, STATE_NAME_NEW, from->uid, from->gid, 0) < 0)
                        r = -errno;
        }
        if (r == 0)
                r = state_put_in_place(directory, &state);
        state_unmap(&state);
        state_unmap(&old);
        takeover->state.fd = fd_close(takeover->state.fd);
        return r < 0 ? r : state_find(takeover, STATE_NAME, STATE_VERSION, &takeover->state);
}

int state_upgrade(struct state_takeover *takeover) {
        const struct state_file *state = &takeover->state, *ledger = &takeover->ledger;
        int r = 0;

        if (ledger->finding != STATE_LEFT && ledger->finding != STATE_OUTDATED)
                return 0;
        if (ledger->finding == STATE_LEFT && state->finding != STATE_LEFT &&
            state->finding != STATE_FOREIGN)
                r = state_convert(takeover);
        if (r == 0 && unlinkat(takeover->directory, STATE_NAME_1, 0) < 0)
                r = -errno;
        return r;
}
