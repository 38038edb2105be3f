/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The order of a grant: reserve a record, make all mounts, write their ids down, attach. So nothing
 * that can be seen in the mount table is ever missing in the ledger.
 */

#include "daemon/lease.h"

#include "common/fd.h"
#include "daemon/stall.h"
#include "daemon/unmount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lease_mount {
        int fd; /* the mount's root; owned */
        bool attached;
        uint64_t id;
};

struct lease {
        struct lease *next; /* among those that lease_release_all() couldn't release */
        uint64_t id;
        size_t count;
        struct lease_mount mounts[];
};

static struct lease *lease_new(size_t count) {
        struct lease *lease = calloc(1, sizeof(*lease) + count * sizeof(lease->mounts[0]));

        if (!lease)
                return NULL;
        lease->count = count;
        for (size_t i = 0; i < count; i++)
                lease->mounts[i].fd = -EBADF;
        return lease;
}

/* Closing a mount that was never attached is its end; the others are no longer held by us. */
static void lease_free(struct lease *lease) {
        for (size_t i = 0; i < lease->count; i++)
                fd_close(lease->mounts[i].fd);
        free(lease);
}

static struct verdict lease_create_mounts(struct lease *lease, struct mount_templates *templates,
                                          struct ledger *ledger, const struct lease_order *orders) {
        for (size_t i = 0; i < lease->count; i++) {
                struct lease_mount *mount = &lease->mounts[i];
                struct verdict verdict;
                char text[sizeof(verdict.text)];
                int r;

                r = mount_create(templates, orders[i].kind, text, sizeof(text));
                if (r >= 0) {
                        mount->fd = r;
                        r = mount_identify(mount_features(templates), mount->fd, &mount->id);
                }
                if (r < 0) {
                        verdict = verdict_host_failed(r, i);
                        if (text[0])
                                memcpy(verdict.text, text, sizeof(text));
                        return verdict;
                }
                ledger_record_mount(ledger, lease->id, i, mount->id);
        }
        return VERDICT_OK;
}

/* What the kernel's answer to attaching means to the client: the one table from errno to status. */
static struct verdict lease_judge_attach(int error, size_t i) {
        struct verdict verdict;

        switch (error) {
        case -ENOENT:
                return verdict_refuse(STATUS_TARGET_VANISHED, i);
        case -EINVAL:
                return verdict_refuse(STATUS_FOREIGN_NAMESPACE, i);
        case -ENOTDIR:
                return verdict_refuse(STATUS_NOT_A_DIRECTORY, i);
        case -ENOSPC:
                verdict = verdict_host_failed(error, i);
                snprintf(verdict.text, sizeof(verdict.text),
                         "the sysctl fs.mount-max is reached, in mountatd's mount namespace or in "
                         "one that receives its mounts");
                return verdict;
        default:
                return verdict_host_failed(error, i);
        }
}

static struct verdict lease_judge_verify(int error, size_t i) {
        if (error == -EBUSY)
                return verdict_refuse(STATUS_ALREADY_MOUNTED, i);
        if (error == -ENOENT)
                return verdict_refuse(STATUS_TARGET_VANISHED, i);
        return error < 0 ? verdict_host_failed(error, i) : VERDICT_OK;
}

static struct verdict lease_attach_mounts(struct lease *lease, unsigned features,
                                          const struct lease_order *orders) {
        for (size_t i = 0; i < lease->count; i++) {
                struct lease_mount *mount = &lease->mounts[i];
                struct verdict verdict;
                int r;

                stall_begin();
                r = mount_attach(mount->fd, orders[i].target);
                stall_end();
                if (r < 0)
                        return lease_judge_attach(r, i);

                mount->attached = true;
                r = mount_verify(features, mount->fd, mount->id, orders[i].facts);
                verdict = lease_judge_verify(r, i);
                if (verdict.status != STATUS_OK)
                        return verdict;
        }
        return VERDICT_OK;
}

/* What is attached, detached, in order: the index at fault is that of the first mount left. */
static struct verdict lease_detach_mounts(struct lease *lease, unsigned features,
                                          unsigned *strangers) {
        *strangers = 0;
        for (size_t i = 0; i < lease->count; i++) {
                struct lease_mount *mount = &lease->mounts[i];
                unsigned found;
                int r;

                if (!mount->attached)
                        continue;
                r = unmount_detach(features, mount->fd, mount->id, &found);
                *strangers += found;
                if (r < 0)
                        return verdict_host_failed(r, i);
                mount->attached = false;
        }
        return VERDICT_OK;
}

/* Detaches and forgets a lease that is the caller's alone. Refused: it still is. */
static struct verdict lease_end(struct lease *lease, unsigned features, struct ledger *ledger,
                                unsigned *strangers) {
        struct verdict verdict = lease_detach_mounts(lease, features, strangers);

        if (verdict.status == STATUS_OK) {
                ledger_forget(ledger, lease->id);
                lease_free(lease);
        }
        return verdict;
}

struct verdict lease_grant(struct mount_templates *templates, struct ledger *ledger,
                           struct ledger_owner *owner, const struct lease_order *orders,
                           size_t count, uint64_t *id) {
        struct lease *lease = lease_new(count);
        uint8_t file_systems[PROTOCOL_TARGETS_MAX];
        struct verdict verdict;
        unsigned strangers;

        if (!lease)
                return verdict_host_failed(-ENOMEM, STATUS_NO_TARGET);
        for (size_t i = 0; i < count; i++)
                file_systems[i] = orders[i].file_system;

        verdict = ledger_reserve(ledger, owner, count, file_systems, &lease->id);
        if (verdict.status != STATUS_OK) {
                lease_free(lease);
                return verdict;
        }

        verdict = lease_create_mounts(lease, templates, ledger, orders);
        if (verdict.status == STATUS_OK)
                verdict = lease_attach_mounts(lease, mount_features(templates), orders);
        if (verdict.status == STATUS_OK) {
                uint64_t granted = lease->id; /* once published, the lease is the ledger's */

                if (ledger_publish(ledger, granted, lease)) {
                        *id = granted;
                        return verdict;
                }
                verdict = verdict_host_failed(-ECONNRESET, STATUS_NO_TARGET);
        }
        /* What can't be undone is on record, and is tried again. */
        if (lease_end(lease, mount_features(templates), ledger, &strangers).status != STATUS_OK)
                ledger_orphan(ledger, lease->id, lease);
        return verdict;
}

/* What isn't a mount of ours is the client's mistake; that we could not look is not. */
static struct verdict lease_judge_recognise(int error, size_t i) {
        switch (error) {
        case -EINVAL:
        case -ENOENT:
                return verdict_refuse(STATUS_NO_SUCH_LEASE, i);
        default:
                return verdict_host_failed(error, i);
        }
}

static struct verdict lease_recognise_mounts(struct lease *lease,
                                             const struct mount_templates *templates,
                                             const int *fds, struct record *claim) {
        for (size_t i = 0; i < lease->count; i++) {
                int r = mount_recognise(templates, fds[i], claim->file_systems[i],
                                        &claim->mounts[i]);

                if (r < 0)
                        return lease_judge_recognise(r, i);
                lease->mounts[i].id = claim->mounts[i];
                lease->mounts[i].attached = true;
        }
        return VERDICT_OK;
}

struct verdict lease_adopt(struct mount_templates *templates, struct ledger *ledger,
                           struct ledger_owner *owner, uint64_t id, const uint8_t *file_systems,
                           int *fds, size_t count) {
        struct record claim = {.lease = id, .count = count};
        struct lease *lease = lease_new(count);
        struct verdict verdict;

        if (!lease)
                return verdict_host_failed(-ENOMEM, STATUS_NO_TARGET);
        lease->id = id;
        memcpy(claim.file_systems, file_systems, count);
        verdict = lease_recognise_mounts(lease, templates, fds, &claim);

        /* Before it is the ledger's: from then on another worker may release it. */
        for (size_t i = 0; verdict.status == STATUS_OK && i < count; i++)
                lease->mounts[i].fd = fds[i];
        if (verdict.status == STATUS_OK && !ledger_adopt(ledger, owner, &claim, lease))
                verdict = verdict_refuse(STATUS_NO_SUCH_LEASE, STATUS_NO_TARGET);
        if (verdict.status != STATUS_OK) {
                free(lease); /* its descriptors are still the caller's */
                return verdict;
        }
        for (size_t i = 0; i < count; i++)
                fd_take(&fds[i]);
        return verdict;
}

int lease_keep(struct ledger *ledger, const struct record *record, int *fds) {
        struct lease *lease = lease_new(record->count);

        if (!lease)
                return -ENOMEM;
        lease->id = record->lease;
        for (size_t i = 0; i < lease->count; i++) {
                lease->mounts[i].attached = fds[i] >= 0;
                lease->mounts[i].fd = fd_take(&fds[i]);
                lease->mounts[i].id = record->mounts[i];
        }
        ledger_keep(ledger, lease->id);
        ledger_publish(ledger, lease->id, lease);
        return 0;
}

int lease_duplicate(const struct lease *lease) {
        for (size_t i = 0; i < lease->count; i++)
                if (lease->mounts[i].fd >= 0)
                        return fcntl(lease->mounts[i].fd, F_DUPFD_CLOEXEC, 3);
        return -EBADF;
}

struct verdict lease_release(struct mount_templates *templates, struct ledger *ledger,
                             struct ledger_owner *owner, uint64_t id, unsigned *strangers) {
        struct lease *lease = id ? ledger_take(ledger, owner, id) : NULL;
        struct verdict verdict;

        *strangers = 0;
        if (!lease)
                return verdict_refuse(STATUS_NO_SUCH_LEASE, STATUS_NO_TARGET);

        verdict = lease_end(lease, mount_features(templates), ledger, strangers);
        if (verdict.status != STATUS_OK && !ledger_publish(ledger, lease->id, lease))
                ledger_orphan(ledger, lease->id, lease);
        return verdict;
}

int lease_release_all(struct mount_templates *templates, struct ledger *ledger,
                      struct ledger_owner *owner) {
        struct lease *lease, *stuck = NULL;
        int r = 0;

        /* The owner may be the orphans' own: what is handed back at once would come again. */
        while ((lease = ledger_take(ledger, owner, 0))) {
                unsigned strangers;
                struct verdict verdict =
                        lease_end(lease, mount_features(templates), ledger, &strangers);

                if (verdict.status != STATUS_OK) {
                        r = -verdict.error;
                        lease->next = stuck;
                        stuck = lease;
                }
        }
        while ((lease = stuck)) {
                stuck = lease->next;
                ledger_orphan(ledger, lease->id, lease);
        }
        return r;
}
