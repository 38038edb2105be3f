/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What stands in mountat.h: arguments, the leases with a root of their own, and the sentences about
 * the connection. The memory and the descriptors of a lease are there before the daemon is asked,
 * so nothing that was mounted can be lost for want of them.
 */

#include "client/mountat.h"

#include "client/channel.h"
#include "client/failure.h"
#include "client/root.h"
#include "common/fd.h"
#include "common/text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static_assert((int)MOUNTAT_FILE_SYSTEM_PROC == (int)PROTOCOL_PROC, "common/protocol.h");
static_assert((int)MOUNTAT_FILE_SYSTEM_SYSFS == (int)PROTOCOL_SYSFS, "common/protocol.h");
static_assert((int)MOUNTAT_OPTION_READ_ONLY == (int)PROTOCOL_READ_ONLY, "common/protocol.h");
static_assert((int)MOUNTAT_OPTION_PIDS_ONLY == (int)PROTOCOL_PIDS_ONLY, "common/protocol.h");
static_assert(MOUNTAT_TARGETS_MAX == PROTOCOL_TARGETS_MAX, "common/protocol.h");
static_assert((int)MOUNTAT_FEATURE_CLONES == (int)PROTOCOL_FEATURE_CLONES, "common/protocol.h");
static_assert((int)MOUNTAT_FEATURE_STATMOUNT == (int)PROTOCOL_FEATURE_STATMOUNT,
              "common/protocol.h");
static_assert((int)MOUNTAT_FEATURE_UNIQUE_IDS == (int)PROTOCOL_FEATURE_UNIQUE_IDS,
              "common/protocol.h");
static_assert((int)MOUNTAT_FEATURE_PIDS_ONLY == (int)PROTOCOL_FEATURE_PIDS_ONLY,
              "common/protocol.h");
static_assert((int)MOUNTAT_FEATURE_ADOPT == (int)PROTOCOL_FEATURE_ADOPT, "common/protocol.h");

enum {
        MOUNTAT_FILE_SYSTEM_FLAGS = MOUNTAT_PROC | MOUNTAT_SYSFS,
        MOUNTAT_FLAGS =
                MOUNTAT_FILE_SYSTEM_FLAGS | MOUNTAT_CREATE | MOUNTAT_READ_ONLY | MOUNTAT_PIDS_ONLY,
};

/* A lease that mountat_mount_root() made. It outlives the connection, not the struct mountat. */
struct mountat_lease {
        struct mountat_lease *next;
        uint64_t id;
        struct root root;
};

struct mountat {
        struct channel channel;
        struct failure failure;
        struct mountat_lease *leases;
        char version[PROTOCOL_TEXT_MAX + 1];
};

static struct mountat_lease *mountat_lease_free(struct mountat_lease *lease) {
        if (lease) {
                root_remove(&lease->root);
                root_close(&lease->root);
                free(lease);
        }
        return NULL;
}

static void mountat_forget_leases(struct mountat *mountat) {
        while (mountat->leases) {
                struct mountat_lease *lease = mountat->leases;

                mountat->leases = lease->next;
                mountat_lease_free(lease);
        }
}

static struct mountat_lease **mountat_find_lease(struct mountat *mountat, uint64_t id) {
        struct mountat_lease **slot = &mountat->leases;

        while (*slot && (*slot)->id != id)
                slot = &(*slot)->next;
        return slot;
}

struct mountat *mountat_new(void) {
        struct mountat *mountat = calloc(1, sizeof(*mountat));

        if (!mountat)
                return NULL;
        mountat->channel = CHANNEL_CLOSED;
        mountat->channel.timeout = MOUNTAT_TIMEOUT_DEFAULT;
        failure_clear(&mountat->failure);
        return mountat;
}

struct mountat *mountat_free(struct mountat *mountat) {
        if (mountat) {
                channel_close(&mountat->channel, "was closed");
                mountat_forget_leases(mountat);
                free(mountat);
        }
        return NULL;
}

void mountat_set_timeout(struct mountat *mountat, uint32_t milliseconds) {
        mountat->channel.timeout = milliseconds ?: MOUNTAT_TIMEOUT_DEFAULT;
}

static const char *mountat_connect_advice(int error) {
        switch (error) {
        case -ENOENT:
        case -ECONNREFUSED:
                return "is mountatd installed and its socket started (mountatd.socket)?";
        case -EACCES:
                return "is this user in the group mountat, and its session newer than that?";
        case -EPROTOTYPE:
                return "this is no socket of mountatd";
        case -ETIMEDOUT:
                return "mountatd accepts no connection: is it stopped, or overloaded?";
        case -ENAMETOOLONG:
                return "the path of a socket has at most 107 bytes";
        default:
                return "see connect(2)";
        }
}

int mountat_connect(struct mountat *mountat, const char *path) {
        const char *variable = secure_getenv(PROTOCOL_SOCKET_VARIABLE);
        char escaped[440];
        int result;

        failure_clear(&mountat->failure);
        if (mountat->channel.fd >= 0)
                return failure_client(&mountat->failure, EISCONN, MOUNTAT_NO_TARGET,
                                      "already connected to mountatd: one connection each");
        if (!path)
                path = variable && *variable ? variable : PROTOCOL_SOCKET_DEFAULT;

        result = channel_connect(&mountat->channel, path);
        if (result < 0)
                return failure_client(&mountat->failure, -result, MOUNTAT_NO_TARGET,
                                      "cannot connect to %s: %s: %s",
                                      text_escape(escaped, sizeof(escaped), path),
                                      strerrordesc_np(-result), mountat_connect_advice(result));
        mountat_forget_leases(mountat);
        return 0;
}

int mountat_fd(const struct mountat *mountat) {
        return mountat->channel.fd >= 0 ? mountat->channel.fd : -ENOTCONN;
}

static int mountat_check_connected(struct mountat *mountat) {
        if (mountat->channel.fd >= 0)
                return 0;
        return failure_client(&mountat->failure, ENOTCONN, MOUNTAT_NO_TARGET,
                              "not connected to mountatd: the connection %s: connect again",
                              mountat->channel.closing);
}

static int mountat_exchange_failed(struct mountat *mountat, int error) {
        if (mountat->channel.fd >= 0)
                return failure_client(&mountat->failure, -error, MOUNTAT_NO_TARGET,
                                      "cannot send a request to mountatd: %s",
                                      strerrordesc_np(-error));
        return failure_client(&mountat->failure, -error, MOUNTAT_NO_TARGET,
                              "the connection to mountatd %s: its leases are released, connect "
                              "again",
                              mountat->channel.closing);
}

/* One request from start to end: 0 when the daemon did what was asked. */
static int mountat_ask(struct mountat *mountat, struct wire_request *request, const int *fds,
                       struct wire_reply *reply) {
        int result = mountat_check_connected(mountat);

        if (result < 0)
                return result;
        result = channel_exchange(&mountat->channel, request, fds, reply);
        if (result < 0)
                return mountat_exchange_failed(mountat, result);
        if (reply->status != STATUS_OK)
                return failure_reply(&mountat->failure, reply, request->n_targets);
        return 0;
}

int mountat_hello(struct mountat *mountat, const char **version, uint32_t *features) {
        struct wire_request request = {.operation = PROTOCOL_HELLO};
        struct wire_reply reply;
        int result;

        failure_clear(&mountat->failure);
        result = mountat_ask(mountat, &request, NULL, &reply);
        if (result < 0)
                return result;

        text_escape(mountat->version, sizeof(mountat->version), reply.text);
        if (version)
                *version = mountat->version;
        if (features)
                *features = reply.flags;
        return 0;
}

static int mountat_ask_mount(struct mountat *mountat, const struct mountat_target *targets,
                             size_t n, uint64_t *lease) {
        struct wire_request request = {.operation = PROTOCOL_MOUNT, .n_targets = (uint32_t)n};
        struct wire_reply reply;
        int fds[PROTOCOL_TARGETS_MAX];
        int result;

        for (size_t i = 0; i < n; i++) {
                request.targets[i] = (struct wire_target){
                        .file_system = targets[i].file_system,
                        .options = targets[i].options,
                };
                fds[i] = targets[i].fd;
        }

        result = mountat_ask(mountat, &request, fds, &reply);
        if (result == 0)
                *lease = reply.lease;
        return result;
}

int mountat_mount(struct mountat *mountat, const struct mountat_target *targets, size_t n,
                  uint64_t *lease) {
        failure_clear(&mountat->failure);
        if (n < 1 || n > MOUNTAT_TARGETS_MAX)
                return failure_client(&mountat->failure, EINVAL, MOUNTAT_NO_TARGET,
                                      "a request has 1 to %d targets, not %zu: make several",
                                      MOUNTAT_TARGETS_MAX, n);
        return mountat_ask_mount(mountat, targets, n, lease);
}

static int mountat_check_flags(struct mountat *mountat, uint32_t flags) {
        if (flags & ~(uint32_t)MOUNTAT_FLAGS)
                return failure_client(&mountat->failure, EINVAL, MOUNTAT_NO_TARGET,
                                      "unknown flags 0x%x: this libmountat is older than they are",
                                      flags & ~(uint32_t)MOUNTAT_FLAGS);
        if (!(flags & MOUNTAT_FILE_SYSTEM_FLAGS))
                return failure_client(&mountat->failure, EINVAL, MOUNTAT_NO_TARGET,
                                      "nothing to mount: give MOUNTAT_PROC, MOUNTAT_SYSFS or both");
        if ((flags & MOUNTAT_PIDS_ONLY) && !(flags & MOUNTAT_PROC))
                return failure_client(&mountat->failure, EINVAL, MOUNTAT_NO_TARGET,
                                      "MOUNTAT_PIDS_ONLY is about procfs: give MOUNTAT_PROC too");
        return 0;
}

static int mountat_mount_targets(struct mountat *mountat, struct mountat_lease *lease) {
        struct root_targets targets;
        int result = root_open_targets(&lease->root, &targets, &mountat->failure);

        if (result < 0)
                return result;
        result = mountat_ask_mount(mountat, targets.targets, targets.count, &lease->id);
        root_targets_close(&targets);
        return result;
}

int mountat_mount_root(struct mountat *mountat, int root_fd, uint32_t flags, uint64_t *lease) {
        struct mountat_lease *made;
        int result;

        failure_clear(&mountat->failure);
        result = mountat_check_flags(mountat, flags);
        if (result == 0)
                result = mountat_check_connected(mountat);
        if (result < 0)
                return result;

        made = calloc(1, sizeof(*made));
        if (!made)
                return failure_client(&mountat->failure, ENOMEM, MOUNTAT_NO_TARGET,
                                      "no memory for a lease");

        result = root_open(&made->root, root_fd, flags, &mountat->failure);
        if (result == 0)
                result = mountat_mount_targets(mountat, made);
        if (result < 0) {
                mountat_lease_free(made);
                return result;
        }

        made->next = mountat->leases;
        mountat->leases = made;
        *lease = made->id;
        return 0;
}

int mountat_unmount(struct mountat *mountat, uint64_t lease) {
        struct wire_request request = {.operation = PROTOCOL_UNMOUNT, .lease = lease};
        struct mountat_lease **slot, *released;
        struct wire_reply reply;
        int result;

        failure_clear(&mountat->failure);
        result = mountat_ask(mountat, &request, NULL, &reply);
        if (result < 0)
                return result;

        slot = mountat_find_lease(mountat, lease);
        released = *slot;
        if (released) {
                *slot = released->next;
                mountat_lease_free(released);
        }
        return 0;
}

int mountat_error_status(const struct mountat *mountat) {
        return mountat->failure.status;
}

const char *mountat_error_name(const struct mountat *mountat) {
        return failure_name(&mountat->failure);
}

const char *mountat_error_text(const struct mountat *mountat) {
        return mountat->failure.text;
}

int mountat_error_errno(const struct mountat *mountat) {
        return mountat->failure.error;
}

uint32_t mountat_error_target(const struct mountat *mountat) {
        return mountat->failure.target;
}
