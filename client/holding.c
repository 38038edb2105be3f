/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A descriptor opened before the mount refers to the directory underneath it: only a path lookup
 * reaches the mount. Below a root the names are known. A target that came as a descriptor is looked
 * up through its parent, "..", which is right even after renames, by the only name that the daemon
 * accepts for its file system. The mountpoint itself can't be renamed (EBUSY).
 */

#include "client/holding.h"

#include "common/fd.h"
#include "common/file_system.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct holding *holding_new(void) {
        struct holding *holding = calloc(1, sizeof(*holding));

        if (holding)
                holding->root.fd = -EBADF;
        return holding;
}

struct holding *holding_free(struct holding *holding) {
        if (holding) {
                for (uint32_t i = 0; i < holding->count; i++)
                        fd_close(holding->targets[i].fd);
                root_remove(&holding->root);
                root_close(&holding->root);
                free(holding);
        }
        return NULL;
}

struct holding *holding_leave(struct holding *holding) {
        holding->root.created = 0;
        return holding_free(holding);
}

void holding_note_targets(struct holding *holding, const struct mountat_target *targets, size_t n) {
        for (uint32_t i = 0; i < n; i++) {
                holding->targets[i] = targets[i];
                holding->targets[i].fd = -EBADF;
        }
        holding->count = (uint32_t)n;
}

int holding_keep_targets(struct holding *holding, const struct mountat_target *targets, size_t n,
                         struct failure *failure) {
        for (uint32_t i = 0; i < n; i++) {
                int fd = fcntl(targets[i].fd, F_DUPFD_CLOEXEC, 3);

                if (fd < 0)
                        return failure_client(failure, errno, i,
                                              "cannot duplicate the directory's descriptor: %s",
                                              strerrordesc_np(errno));
                holding->targets[i] = targets[i];
                holding->targets[i].fd = fd;
                holding->count++;
        }
        return 0;
}

static int holding_open_target(const struct mountat_target *target) {
        const char *name = file_system_directory(target->file_system);
        FD_AUTO int parent = openat(target->fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        int fd;

        if (parent < 0)
                return -errno;
        if (!name) /* a file system that only a newer daemon knows */
                return -EOPNOTSUPP;
        fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* -ENOENT if `fd` isn't a mount's root. Before Linux 5.8, which can't tell, the daemon checks. */
static int holding_check_mount(int fd) {
        struct statx stat;

        if (statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, 0, &stat) < 0)
                return -errno;
        if ((stat.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) &&
            !(stat.stx_attributes & STATX_ATTR_MOUNT_ROOT))
                return -ENOENT;
        return 0;
}

static int holding_open_mount(const struct holding *holding, uint32_t i) {
        const struct mountat_target *target = &holding->targets[i];
        FD_AUTO int fd = -EBADF;
        int result;

        fd = holding->root.fd >= 0 ? root_open_mount(&holding->root, target->file_system)
                                   : holding_open_target(target);
        if (fd < 0)
                return fd;
        result = holding_check_mount(fd);
        return result < 0 ? result : fd_take(&fd);
}

int holding_open_mounts(const struct holding *holding, int *fds) {
        int opened[MOUNTAT_TARGETS_MAX];

        for (uint32_t i = 0; i < holding->count; i++) {
                opened[i] = holding_open_mount(holding, i);
                if (opened[i] >= 0)
                        continue;
                for (uint32_t j = 0; j < i; j++)
                        fd_close(opened[j]);
                return opened[i];
        }
        memcpy(fds, opened, holding->count * sizeof(fds[0]));
        return 0;
}

int holding_check_bare(const struct holding *holding) {
        for (uint32_t i = 0; i < holding->count; i++) {
                FD_AUTO int fd = holding_open_mount(holding, i);

                if (fd >= 0)
                        return -EBUSY;
                if (fd != -ENOENT && fd != -ENOTDIR && fd != -ESTALE)
                        return fd;
        }
        return 0;
}

void holding_lose(struct holding *holding, enum holding_fate fate, int error) {
        holding->fate = fate;
        holding->error = error;
}

/* "no such lease" is dropped: that the lease was lost says more. */
void holding_lose_refused(struct holding *holding, const struct wire_reply *reply) {
        holding_lose(holding, HOLDING_REFUSED, 0);
        if (reply->status != STATUS_NO_SUCH_LEASE)
                snprintf(holding->refusal, sizeof(holding->refusal), "%s",
                         reply->text[0] ? reply->text : status_sentence(reply->status));
}

int holding_explain(const struct holding *holding, struct failure *failure) {
        static const char *const reasons[] = {
                [HOLDING_BARE] = "its mounts are gone",
                [HOLDING_UNREACHABLE] = "its mounts cannot be opened",
                [HOLDING_REFUSED] = "mountatd had released it already",
        };
        bool errno_known = holding->error < 0;
        char refusal[sizeof(failure->text)];

        text_escape(refusal, sizeof(refusal), holding->refusal);
        failure_status(
                failure, MOUNTAT_STATUS_NO_SUCH_LEASE, MOUNTAT_NO_TARGET,
                "lease %016" PRIx64 " was lost with the connection to mountatd: %s%s%s: mountatd "
                "unmounts what is left of it within its --adopt-timeout",
                holding->id, refusal[0] ? refusal : reasons[holding->fate], errno_known ? ": " : "",
                errno_known ? strerrordesc_np(-holding->error) : "");
        return -ENOENT;
}
