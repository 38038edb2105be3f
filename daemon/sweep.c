/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Paths are used here, and here alone: nobody is left who has a descriptor. They only lead to the
 * mount; what is acted on is what was opened, after its id has been compared.
 */

#include "daemon/sweep.h"

#include "common/fd.h"
#include "daemon/lease.h"
#include "daemon/log.h"
#include "daemon/mount.h"
#include "daemon/stall.h"
#include "daemon/unmount.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

/* -ENOENT: it isn't mounted. */
static int sweep_open(unsigned features, uint64_t id, char *place) {
        int fd = mount_locate(features, id, place, PATH_MAX);

        if (fd < 0)
                return fd;
        fd = mount_open(features, id, place);
        return fd == -ENOENT ? -EBUSY : fd; /* it is there, and the path doesn't lead to it */
}

static int sweep_mount(unsigned features, uint64_t id, char *place) {
        FD_AUTO int fd = sweep_open(features, id, place);
        unsigned strangers;

        return fd < 0 ? fd : unmount_detach(features, fd, id, &strangers);
}

static bool sweep_may_appear(const struct record *record, const struct instance *self) {
        struct instance writer = {
                .pid = record->writer_pid,
                .start_time = record->writer_start_time,
        };

        memcpy(writer.boot_id, self->boot_id, sizeof(writer.boot_id));
        return record->state == RECORD_ATTACHING && !instance_is_gone(&writer, self);
}

static int sweep_record(unsigned features, const struct record *record, const struct instance *self,
                        char *place) {
        /* Asked first: what is attached in its last moment must be seen below. */
        bool may_appear = sweep_may_appear(record, self);
        int result = 0;

        for (uint32_t i = 0; i < record->count; i++) {
                int r = record->mounts[i] ? sweep_mount(features, record->mounts[i], place)
                                          : -ENOENT;

                if (r == -ENOENT)
                        r = may_appear ? -EAGAIN : 0;
                if (r < 0 && (result == 0 || result == -EAGAIN))
                        result = r;
        }
        return result;
}

static void sweep_log(const struct record *record, int error, const char *place) {
        struct log_subject subject = {
                .has_peer = true,
                .uid = record->uid,
                .pid = record->pid,
                .operation = "sweep",
                .target = place,
                .lease = record->lease,
                .error = error,
        };

        log_write(LOG_WARNING, &subject,
                  "a mount of a predecessor's is out of reach: unmount it as root, or let "
                  "mountatd --sweep do it");
}

static enum ledger_left sweep_left(enum sweep_scope scope) {
        switch (scope) {
        case SWEEP_FINALLY:
                return LEDGER_LEFT_ALL;
        case SWEEP_UNCLAIMED:
                return LEDGER_LEFT_UNCLAIMED;
        default:
                return LEDGER_LEFT_DEAD;
        }
}

void sweep_ledger(struct ledger *ledger, unsigned features, const struct instance *self,
                  enum sweep_scope scope) {
        struct record record;
        uint32_t cursor = 0;

        while (ledger_take_left(ledger, sweep_left(scope), &cursor, &record)) {
                char place[PATH_MAX] = "";
                int r;

                stall_begin();
                r = sweep_record(features, &record, self, place);
                stall_end();
                if (scope == SWEEP_FINALLY && record.state == RECORD_LIVE)
                        record.state = RECORD_RELEASING;
                if (r == 0)
                        ledger_forget(ledger, record.lease);
                else if (ledger_leave(ledger, &record) && r != -EAGAIN)
                        sweep_log(&record, r, place);
        }
}

/* Opens all mounts of the record that are still mounted. */
static int sweep_open_all(unsigned features, const struct record *record, int *fds, char *place) {
        for (uint32_t i = 0; i < record->count; i++) {
                fds[i] = sweep_open(features, record->mounts[i], place);
                if (fds[i] < 0 && fds[i] != -ENOENT)
                        return fds[i];
        }
        return 0;
}

static void sweep_keep_one(struct ledger *ledger, unsigned features, const struct record *record) {
        int fds[PROTOCOL_TARGETS_MAX], r;
        char place[PATH_MAX] = "";

        for (uint32_t i = 0; i < PROTOCOL_TARGETS_MAX; i++)
                fds[i] = -EBADF;
        stall_begin();
        r = sweep_open_all(features, record, fds, place);
        stall_end();
        if (r == 0)
                r = lease_keep(ledger, record, fds);
        if (r < 0 && ledger_leave(ledger, record))
                sweep_log(record, r, place);
        for (uint32_t i = 0; i < PROTOCOL_TARGETS_MAX; i++)
                fd_close(fds[i]);
}

void sweep_keep(struct ledger *ledger, unsigned features) {
        struct record record;
        uint32_t cursor = 0;

        while (ledger_take_kept(ledger, &cursor, &record))
                sweep_keep_one(ledger, features, &record);
}

/* In a pid namespace that we can't see it may live: 0. The ledger itself keeps a call's lease. */
static bool sweep_holder_lives(const struct record *record) {
        return record->origin == RECORD_BUS || record->pid == 0 || kill(record->pid, 0) == 0 ||
               errno != ESRCH;
}

unsigned sweep_file(struct record_file *file, unsigned features, const struct instance *self) {
        unsigned swept = 0;

        for (uint32_t i = 0; i < file->header->capacity; i++) {
                struct record *record = &file->records[i];
                char place[PATH_MAX] = "";
                int r;

                if (!record_is_sane(record, i) ||
                    (record->state == RECORD_LIVE && sweep_holder_lives(record)))
                        continue;
                r = sweep_record(features, record, self, place);
                if (r == 0) {
                        record_set_state(record, RECORD_FREE);
                        swept++;
                } else if (r != -EAGAIN)
                        sweep_log(record, r, place);
        }
        return swept;
}
