/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Only this module uses paths, since nobody has a descriptor of these mounts any more. A path only
 * leads to the mount; the daemon acts on what it has opened, after comparing its id.
 */

#include "daemon/sweep.h"

#include "common/fd.h"
#include "daemon/kernel.h"
#include "daemon/log.h"
#include "daemon/namespaces.h"
#include "daemon/unmount.h"

#include <errno.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <string.h>

struct sweep {
        const struct mount_setup *setup;
        const struct instance *self;
        enum sweep_patience patience;
        struct leases *leases; /* NULL: no instance runs */
};

/* The mount of index i of a record. */
static struct mount_name sweep_name(const struct record *record, uint32_t i) {
        return (struct mount_name){record->mounts[i], record->file_systems[i]};
}

/*
 * openat2(2) also returns -EAGAIN after a concurrent change elsewhere: a retry tells this from a
 * file system that would have to be asked.
 */
static int sweep_open_quickly(const struct sweep *sweep, uint64_t id, const char *place) {
        int r = -EAGAIN;

        for (unsigned i = 0; r == -EAGAIN && i < SWEEP_TRIES_MAX; i++)
                r = mount_open(sweep->setup, id, place, RESOLVE_CACHED);
        return r;
}

/* A reusable id may belong to a mount of ours by now. */
static bool sweep_is_ours(const struct sweep *sweep, uint64_t id) {
        return sweep->leases && leases_find_mount(sweep->leases, id);
}

/* An O_PATH descriptor of the mount's root. -ENOENT: it isn't mounted. */
static int sweep_open(const struct sweep *sweep, const struct mount_name *name, char *place) {
        int r;

        if (sweep_is_ours(sweep, name->id))
                return -ENOENT;
        r = mount_locate(sweep->setup, name, place);
        if (r < 0)
                return r;
        r = sweep->patience == SWEEP_QUICKLY ? sweep_open_quickly(sweep, name->id, place)
                                             : mount_open(sweep->setup, name->id, place, 0);
        return r == -ENOENT ? -EBUSY : r; /* it is mounted, but the path doesn't lead to it */
}

/* Asks again with the mount open: its id can't be reused any more. */
static int sweep_mount(const struct sweep *sweep, const struct mount_name *name, char *place) {
        FD_AUTO int fd = sweep_open(sweep, name, place);
        unsigned strangers;
        int r;

        if (fd < 0)
                return fd;
        if (sweep_is_ours(sweep, name->id))
                return -ENOENT;
        r = unmount_detach(sweep->setup->features, fd, name->id, &strangers);
        unmount_return();
        return r;
}

static bool sweep_may_appear(const struct record *record, const struct instance *self) {
        struct instance writer = {
                .pid = record->writer_pid,
                .start_time = record->writer_start_time,
        };

        memcpy(writer.boot_id, self->boot_id, sizeof(writer.boot_id));
        return record->state == RECORD_ATTACHING && !instance_is_gone(&writer, self);
}

static int sweep_mounts(const struct sweep *sweep, const struct record *record, bool may_appear,
                        char *place) {
        int result = 0;

        for (uint32_t i = 0; i < record->count; i++) {
                const struct mount_name name = sweep_name(record, i);
                int r = name.id ? sweep_mount(sweep, &name, place) : -ENOENT;

                if (r == -ENOENT)
                        r = may_appear ? -EINPROGRESS : 0;
                if (r < 0 && (result == 0 || result == -EINPROGRESS))
                        result = r;
        }
        return result;
}

static struct log_subject sweep_subject(const struct record *record, enum log_event event) {
        return (struct log_subject){
                .event = event,
                .has_peer = true,
                .uid = record->uid,
                .pid = record->pid,
                .operation = "sweep",
                .lease = record->lease,
        };
}

/* Mounts that have propagated to others outlive their mount namespace. */
static void sweep_log_end(const struct record *record) {
        const struct log_subject subject = sweep_subject(record, LOG_EVENT_MOUNTS_LEFT);

        log_write_limited(
                LOG_NOTICE, &subject,
                "the mount namespace of a lease of the previous instance is gone: if its mounts "
                "had propagated, findmnt --source mountatd shows the copies");
}

/*
 * 0: none of its mounts is left. -EINPROGRESS: one may yet appear. -EAGAIN: only a patient sweep
 * can tell. Otherwise one is out of reach, at `place` of PATH_MAX bytes. Returns at home, where
 * logging works.
 */
static int sweep_record(const struct sweep *sweep, const struct record *record, char *place) {
        int result = namespaces_go(0); /* to read our /proc */
        bool may_appear;

        if (result < 0)
                return result;
        /* Determined first: a mount that is attached at the last moment must be found below. */
        may_appear = sweep_may_appear(record, sweep->self);
        result = namespaces_go(record->mount_namespace);
        if (result == 0)
                result = sweep_mounts(sweep, record, may_appear, place);
        else if (result == -ENOENT) {
                sweep_log_end(record);
                result = 0;
        }
        namespaces_return();
        return result;
}

static void sweep_log(const struct record *record, int error, const char *place) {
        struct log_subject subject = sweep_subject(record, LOG_EVENT_OUT_OF_REACH);

        subject.target = place;
        subject.error = error;
        log_write_limited(LOG_WARNING, &subject,
                          "cannot reach a mount of the previous instance (unmount it as root, or "
                          "run mountatd --sweep)");
}

static bool sweep_is_out_of_reach(int error) {
        return error != 0 && error != -EINPROGRESS && error != -EAGAIN;
}

static enum leases_left sweep_left(enum sweep_scope scope) {
        switch (scope) {
        case SWEEP_FINALLY:
                return LEASES_LEFT_ALL;
        case SWEEP_UNCLAIMED:
                return LEASES_LEFT_UNCLAIMED;
        default:
                return LEASES_LEFT_DEAD;
        }
}

void sweep_leases(struct leases *leases, const struct instance *self, enum sweep_scope scope,
                  enum sweep_patience patience) {
        const struct sweep sweep = {templates_setup(leases_templates(leases)), self, patience,
                                    leases};
        struct record record;
        uint32_t cursor = 0;

        while (leases_take_left(leases, sweep_left(scope), &cursor, &record)) {
                char place[PATH_MAX] = "";
                int r = sweep_record(&sweep, &record, place);

                if (scope == SWEEP_FINALLY && record.state == RECORD_LIVE)
                        record.state = RECORD_RELEASING;
                if (r == 0)
                        leases_forget(leases, record.lease);
                else if (leases_leave(leases, &record, sweep_is_out_of_reach(r)))
                        sweep_log(&record, r, place);
        }
}

/* Opens all mounts of the record that still exist, `*count` in number. */
static int sweep_open_all(const struct sweep *sweep, const struct record *record, int *fds,
                          unsigned *count, char *place) {
        *count = 0;
        for (uint32_t i = 0; i < record->count; i++) {
                const struct mount_name name = sweep_name(record, i);

                fds[i] = sweep_open(sweep, &name, place);
                if (fds[i] >= 0)
                        ++*count;
                else if (fds[i] != -ENOENT)
                        return fds[i];
        }
        return 0;
}

static void sweep_keep_one(const struct sweep *sweep, const struct record *record) {
        int fds[PROTOCOL_TARGETS_MAX], r;
        char place[PATH_MAX] = "";
        unsigned count;

        for (uint32_t i = 0; i < PROTOCOL_TARGETS_MAX; i++)
                fds[i] = -EBADF;
        r = namespaces_go(record->mount_namespace); /* our own: nothing is kept in others */
        if (r == 0)
                r = sweep_open_all(sweep, record, fds, &count, place);
        if (r == 0 && count == 0)
                leases_forget(sweep->leases, record->lease); /* somebody else unmounted it */
        else if (r == 0)
                leases_keep(sweep->leases, record->lease, fds);
        else if (leases_leave(sweep->leases, record, sweep_is_out_of_reach(r)))
                sweep_log(record, r, place);
        for (uint32_t i = 0; i < PROTOCOL_TARGETS_MAX; i++)
                fd_close(fds[i]);
}

void sweep_keep(struct leases *leases, enum sweep_patience patience) {
        const struct sweep sweep = {templates_setup(leases_templates(leases)), NULL, patience,
                                    leases};
        struct record record;
        uint32_t cursor = 0;

        while (leases_take_left(leases, LEASES_LEFT_KEPT, &cursor, &record))
                sweep_keep_one(&sweep, &record);
}

/* With pid 0, in a pid namespace that we can't see, it may be alive. A kept lease has no holder. */
static bool sweep_holder_lives(const struct record *record) {
        return record->kept || record->pid == 0 || kill(record->pid, 0) == 0 || errno != ESRCH;
}

static unsigned sweep_state_with(const struct sweep *sweep, struct state *state) {
        unsigned swept = 0;

        for (uint32_t i = 0; i < state->capacity; i++) {
                struct record *record = &state->records[i];
                char place[PATH_MAX] = "";
                int r;

                if (!record_is_sane(record, i) ||
                    (record->state == RECORD_LIVE && sweep_holder_lives(record)))
                        continue;
                r = sweep_record(sweep, record, place);
                if (r == 0) {
                        record_set_state(record, RECORD_FREE);
                        swept++;
                } else if (sweep_is_out_of_reach(r))
                        sweep_log(record, r, place);
        }
        return swept;
}

unsigned sweep_state(struct state *state, const struct mount_setup *setup,
                     const struct instance *self) {
        const struct sweep quick = {setup, self, SWEEP_QUICKLY, NULL};
        const struct sweep patient = {setup, self, SWEEP_PATIENTLY, NULL};
        unsigned swept = sweep_state_with(&quick, state);

        return swept + sweep_state_with(&patient, state);
}
