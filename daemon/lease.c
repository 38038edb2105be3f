/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A grant charges the user, reserves a record, makes all mounts, writes down their ids, and
 * attaches them, in this order. So no mount that appears in the mount table is ever missing on
 * record.
 */

#include "daemon/lease.h"

#include "common/fd.h"
#include "daemon/namespaces.h"
#include "daemon/unmount.h"

#include <errno.h>

/* ---- the mounts of a lease that this thread owns ---- */

static struct verdict lease_create(struct lease *lease, struct templates *templates,
                                   const struct lease_orders *orders) {
        for (unsigned i = 0; i < orders->count; i++) {
                struct template_clone clone;
                struct verdict verdict = template_obtain(templates, orders->orders[i].kind, &clone);

                if (verdict.status != STATUS_OK) {
                        verdict.target = i;
                        return verdict;
                }
                lease->fds[i] = clone.fd;
                __atomic_store_n(&lease->record->mounts[i], clone.id, __ATOMIC_RELEASE);
        }
        return VERDICT_OK;
}

static struct verdict lease_attach(struct lease *lease, struct templates *templates,
                                   const struct lease_orders *orders) {
        unsigned features = templates_setup(templates)->features;

        for (unsigned i = 0; i < orders->count; i++) {
                const struct lease_order *order = &orders->orders[i];
                struct verdict verdict = mount_attach(lease->fds[i], order->target);

                if (verdict.status == STATUS_OK) {
                        lease->attached |= 1U << i;
                        verdict = mount_verify(features, lease->fds[i], lease->record->mounts[i],
                                               order->facts);
                }
                if (verdict.status == STATUS_OK)
                        verdict = template_complete(templates, order->kind, lease->fds[i]);
                if (verdict.status != STATUS_OK) {
                        verdict.target = i;
                        return verdict;
                }
        }
        return VERDICT_OK;
}

/* Detaches the attached mounts in order: the index at fault is that of the first mount left. */
static struct verdict lease_detach_all(struct lease *lease, unsigned features,
                                       unsigned *strangers) {
        for (unsigned i = 0; i < lease->record->count; i++) {
                unsigned found;
                int r;

                if (!(lease->attached & 1U << i))
                        continue;
                r = unmount_detach(features, lease->fds[i], lease->record->mounts[i], &found);
                *strangers += found;
                if (r < 0) {
                        unmount_return();
                        return verdict_host_failed(r, i);
                }
                lease->attached &= ~(1U << i);
        }
        return VERDICT_OK;
}

/* From another namespace the kernel would report each of them as not mounted. */
static struct verdict lease_detach(struct lease *lease, unsigned features, unsigned *strangers) {
        int r = namespaces_go(lease->record->mount_namespace);

        *strangers = 0;
        if (r == -ENOENT)
                lease->attached = 0; /* the namespace is gone, and the mounts with it */
        else if (r < 0)
                return verdict_host_failed(r, STATUS_NO_TARGET);
        return lease_detach_all(lease, features, strangers);
}

/* Detaches and drops the lease. On failure it stays this thread's. */
static struct verdict lease_end(struct leases *leases, struct lease *lease,
                                struct lease_remains *remains) {
        unsigned features = templates_setup(leases_templates(leases))->features;
        struct verdict verdict = lease_detach(lease, features, &remains->strangers);

        remains->count = 0;
        if (verdict.status != STATUS_OK)
                return verdict;
        for (unsigned i = 0; i < lease->record->count; i++)
                remains->fds[remains->count++] = fd_take(&lease->fds[i]);
        leases_drop(leases, lease);
        return verdict;
}

void lease_dispose(struct lease_remains *remains) {
        if (remains->count == 0)
                return;
        unmount_return();
        while (remains->count > 0)
                fd_close(remains->fds[--remains->count]);
}

/* ---- operations ---- */

struct verdict lease_grant(struct leases *leases, struct holder *holder,
                           const struct lease_orders *orders, uint64_t *id) {
        struct templates *templates = holder->templates ?: leases_templates(leases);
        struct lease_remains remains;
        struct lease *lease;
        struct verdict verdict = leases_reserve(leases, holder, orders, &lease);

        if (verdict.status != STATUS_OK)
                return verdict;
        verdict = lease_create(lease, templates, orders);
        if (verdict.status == STATUS_OK)
                verdict = lease_attach(lease, templates, orders);
        if (verdict.status == STATUS_OK) {
                uint64_t granted = lease->record->lease; /* once published, it may be gone */

                if (leases_publish(leases, lease)) {
                        *id = granted;
                        return verdict;
                }
                verdict = verdict_host_failed(-ECONNRESET, STATUS_NO_TARGET);
        }
        /* What can't be undone is on record, and will be retried. */
        if (lease_end(leases, lease, &remains).status == STATUS_OK)
                lease_dispose(&remains);
        else
                leases_orphan(leases, lease);
        return verdict;
}

/* A descriptor that isn't one of our mounts is the client's mistake; failing to find out is not. */
struct verdict lease_adopt(struct leases *leases, struct holder *holder,
                           const struct lease_claim *claim, int *fds) {
        const struct mount_setup *setup = templates_setup(leases_templates(leases));
        uint64_t mounts[PROTOCOL_TARGETS_MAX];

        for (unsigned i = 0; i < claim->count; i++) {
                int r = mount_recognise(setup, fds[i], claim->file_systems[i], &mounts[i]);

                if (r == -EINVAL || r == -ENOENT)
                        return verdict_refuse(STATUS_NO_SUCH_LEASE, i);
                if (r < 0)
                        return verdict_host_failed(r, i);
        }
        return leases_hand_over(leases, holder, claim, &(struct lease_roots){mounts, fds})
                       ? VERDICT_OK
                       : verdict_refuse(STATUS_NO_SUCH_LEASE, STATUS_NO_TARGET);
}

struct verdict lease_release(struct leases *leases, struct holder *holder, uint64_t id,
                             struct lease_remains *remains) {
        struct verdict verdict;
        struct lease *lease;
        uint64_t place;
        int r;

        remains->strangers = remains->count = 0;
        if (!leases_find_place(leases, holder, id, &place))
                return verdict_refuse(STATUS_NO_SUCH_LEASE, STATUS_NO_TARGET);
        /* First: a lease that can't be reached stays with its holder, which still exists. */
        r = namespaces_go(place);
        if (r < 0 && r != -ENOENT)
                return verdict_host_failed(r, STATUS_NO_TARGET);
        lease = leases_take(leases, holder, id);
        if (!lease)
                return verdict_refuse(STATUS_NO_SUCH_LEASE, STATUS_NO_TARGET);
        verdict = lease_end(leases, lease, remains);
        if (verdict.status != STATUS_OK)
                leases_give_back(leases, lease);
        return verdict;
}

int lease_release_held(struct leases *leases, struct holder *holder) {
        struct lease *lease, *stuck = NULL;
        int r = 0;

        /* The holder may be the orphans' own: a lease returned at once would be taken again. */
        while ((lease = leases_take_next(leases, holder))) {
                struct lease_remains remains;
                struct verdict verdict = lease_end(leases, lease, &remains);

                if (verdict.status == STATUS_OK) {
                        lease_dispose(&remains);
                        continue;
                }
                r = -verdict.error;
                lease->next = stuck;
                stuck = lease;
        }
        while ((lease = stuck)) {
                stuck = lease->next;
                leases_orphan(leases, lease);
        }
        return r;
}
