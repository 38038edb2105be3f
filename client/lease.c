/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A request that is sent again after a loss can meet the success of its own first attempt. "Already
 * mounted", "no such lease" and the loss of the very lease that is being released are therefore
 * looked into before they are returned.
 */

#include "client/lease.h"

#include "client/mountat.h"
#include "common/fd.h"

#include <errno.h>
#include <inttypes.h>

enum {
        /* Milliseconds: */
        LEASE_SWEEP = 2000, /* for a new instance to undo what the last one left half done */
        LEASE_LOOK_PAUSE = 20,
};

/* ---- mounting ---- */

static int lease_explain_doubt(const struct connection_call *call, struct failure *failure) {
        bool keep = call->request.flags & PROTOCOL_KEEP;

        return failure_status(failure, MOUNTAT_STATUS_ALREADY_MOUNTED, failure->target,
                              "mountatd went away before it answered, and something is mounted "
                              "there now: if it is this mount, %s",
                              keep ? "mountatctl list shows its lease"
                                   : "mountatd unmounts it within its --adopt-timeout");
}

/*
 * If a mount is sent again after a loss, "already mounted" may refer to the first attempt. The next
 * instance undoes half-done requests at its start, so this waits for that.
 */
static int lease_ask_mount(struct connection *connection, struct connection_call *call,
                           struct failure *failure) {
        int64_t sweep = 0;

        for (;;) {
                int result = connection_ask(connection, call, failure);

                if (!call->in_doubt || failure->status != MOUNTAT_STATUS_ALREADY_MOUNTED)
                        return result;
                if (sweep == 0)
                        sweep = channel_after(LEASE_SWEEP);
                if (channel_now() >= sweep ||
                    channel_pause(&connection->channel, LEASE_LOOK_PAUSE) < 0)
                        return lease_explain_doubt(call, failure);
        }
}

/* Fills in the targets and their descriptors; `fds` must outlive `call`. */
static void lease_fill_in(struct connection_call *call, const struct lease_targets *targets,
                          int fds[static PROTOCOL_TARGETS_MAX]) {
        call->request.operation = PROTOCOL_MOUNT;
        call->request.n_targets = (uint32_t)targets->n;
        for (size_t i = 0; i < targets->n; i++) {
                const struct mountat_target *target = &targets->targets[i];

                call->request.targets[i] = (struct wire_target){
                        .file_system = target->file_system,
                        .options = target->options,
                };
                fds[i] = target->fd;
                if (target->file_system == MOUNTAT_FILE_SYSTEM_DEV)
                        call->features |= PROTOCOL_FEATURE_DEV;
        }
        call->fds = fds;
}

int lease_mount(struct connection *connection, const struct lease_targets *targets,
                struct holding *holding, struct failure *failure) {
        struct connection_call call = {0};
        int fds[PROTOCOL_TARGETS_MAX];
        int result;

        if (holding->kept) {
                call.request.flags = PROTOCOL_KEEP;
                call.features = PROTOCOL_FEATURE_KEEP;
        }
        lease_fill_in(&call, targets, fds);
        result = lease_ask_mount(connection, &call, failure);
        if (result == 0)
                holding->id = call.reply.lease;
        return result;
}

int lease_check(struct connection *connection, const struct lease_targets *targets,
                struct failure *failure) {
        struct connection_call call = {
                .request = {.flags = PROTOCOL_CHECK},
                .features = PROTOCOL_FEATURE_CHECK,
        };
        int fds[PROTOCOL_TARGETS_MAX];

        lease_fill_in(&call, targets, fds);
        return connection_ask(connection, &call, failure);
}

/* ---- below a root ---- */

/* The result of the check doesn't matter: only whether the directory can be opened afterwards. */
static void lease_await_release(struct connection *connection, const struct root *root,
                                uint32_t file_system) {
        const struct mountat_target target = {
                .fd = root_open_mount(root, file_system),
                .file_system = file_system,
        };
        struct failure ignored;

        if (target.fd < 0)
                return;
        lease_check(connection, &(struct lease_targets){&target, 1}, &ignored);
        fd_close(target.fd);
}

/*
 * A lease is released a moment after its connection is closed. A client that comes back at once
 * finds its own old mounts; the daemon answers a check of such a mount once it is gone.
 */
static int lease_open_targets(struct connection *connection, struct root *root,
                              struct root_targets *targets, struct failure *failure) {
        int result = root_open_targets(root, targets, failure);

        if (result == 0 || failure->status != MOUNTAT_STATUS_ALREADY_MOUNTED)
                return result;
        for (uint32_t i = FLAG_FIRST; i <= FLAG_LAST; i++)
                if (root->flags & flag_of(i))
                        lease_await_release(connection, root, i);
        return root_open_targets(root, targets, failure);
}

int lease_mount_root(struct connection *connection, struct holding *holding,
                     struct failure *failure) {
        struct root_targets targets;
        int result = lease_open_targets(connection, &holding->root, &targets, failure);

        if (result < 0)
                return result;
        holding_note_targets(holding, targets.targets, targets.count);
        result = lease_mount(connection, &(struct lease_targets){targets.targets, targets.count},
                             holding, failure);
        root_targets_close(&targets);
        return result;
}

/* ---- unmounting ---- */

/*
 * The lease was lost while it was being released: the first attempt may have succeeded; if not, the
 * next instance releases a lease that isn't adopted. Either way, waits until nothing is mounted.
 */
static int lease_await_bare(const struct connection *connection, const struct holding *holding,
                            struct failure *failure) {
        int result;

        while ((result = holding_check_bare(holding)) == -EBUSY)
                if (channel_pause(&connection->channel, LEASE_LOOK_PAUSE) < 0)
                        break;
        if (result < 0)
                return holding_explain(holding, failure);
        failure_clear(failure);
        return 0;
}

/* If an unmount is sent again after a loss, "no such lease" may mean that the first one succeeded.
 */
static int lease_explain_absence(uint64_t id, struct failure *failure) {
        return failure_status(failure, MOUNTAT_STATUS_NO_SUCH_LEASE, MOUNTAT_NO_TARGET,
                              "mountatd went away before it answered, and there is no lease "
                              "%016" PRIx64 " now: either it was unmounted, or it never existed",
                              id);
}

static int lease_ask_unmount(struct connection *connection, uint64_t id,
                             const struct holding *holding, struct failure *failure) {
        struct connection_call call = {
                .request = {.operation = PROTOCOL_UNMOUNT, .lease = id},
        };
        int result = connection_ask(connection, &call, failure);

        if (result < 0 && holding && holding->fate != HOLDING_KEPT)
                return lease_await_bare(connection, holding, failure);
        if (!holding && call.in_doubt && failure->status == MOUNTAT_STATUS_NO_SUCH_LEASE)
                return lease_explain_absence(id, failure);
        return result;
}

int lease_unmount(struct connection *connection, uint64_t id, struct failure *failure) {
        struct holding *holding = connection_find(connection, id);
        bool lost = holding && holding->fate != HOLDING_KEPT;
        int result = lost ? holding_explain(holding, failure)
                          : lease_ask_unmount(connection, id, holding, failure);

        if (holding && (result == 0 || failure->status == MOUNTAT_STATUS_NO_SUCH_LEASE))
                connection_forget(connection, holding);
        return result;
}
