/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The functions of mountat.h. The memory and descriptors of a lease are allocated before the
 * request is sent, so running out of them never loses a lease that was granted.
 *
 * The caller and the keeper's thread take turns at the connection. Only the caller uses `failure`.
 */

#include "client/mountat.h"

#include "client/connection.h"
#include "client/failure.h"
#include "client/flag.h"
#include "client/keeper.h"
#include "client/lease.h"
#include "client/root.h"
#include "client/turn.h"
#include "common/text.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static_assert((int)MOUNTAT_FILE_SYSTEM_PROC == (int)PROTOCOL_PROC, "common/protocol.h");
static_assert((int)MOUNTAT_FILE_SYSTEM_SYSFS == (int)PROTOCOL_SYSFS, "common/protocol.h");
static_assert((int)MOUNTAT_FILE_SYSTEM_DEV == (int)PROTOCOL_DEV, "common/protocol.h");
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
static_assert((int)MOUNTAT_FEATURE_ENTER == (int)PROTOCOL_FEATURE_ENTER, "common/protocol.h");
static_assert((int)MOUNTAT_FEATURE_KEEP == (int)PROTOCOL_FEATURE_KEEP, "common/protocol.h");
static_assert((int)MOUNTAT_FEATURE_DEV == (int)PROTOCOL_FEATURE_DEV, "common/protocol.h");
static_assert((int)MOUNTAT_FEATURE_CHECK == (int)PROTOCOL_FEATURE_CHECK, "common/protocol.h");

enum {
        MOUNTAT_FLAGS = FLAG_FILE_SYSTEMS | MOUNTAT_CREATE | MOUNTAT_READ_ONLY | MOUNTAT_PIDS_ONLY |
                        MOUNTAT_KEEP,
        /* Milliseconds: */
        MOUNTAT_KEEPER_PAUSE_MIN = 10, /* between the keeper's tries, doubled each time */
        MOUNTAT_KEEPER_PAUSE_MAX = 500,
        MOUNTAT_KEEPER_WAIT = 500, /* for the caller to finish its turn */
};

struct mountat {
        struct turn turn; /* at the connection */
        struct connection connection;
        struct keeper keeper;
        int keeper_pause; /* used only by the keeper's thread */
        atomic_uint timeout;
        struct failure failure;
        char version[PROTOCOL_TEXT_MAX + 1];
};

struct mountat *mountat_new(void) {
        struct mountat *mountat = calloc(1, sizeof(*mountat));

        if (!mountat)
                return NULL;
        mountat->connection = (struct connection)CONNECTION_NONE;
        mountat->keeper = (struct keeper)KEEPER_NONE;
        mountat->timeout = MOUNTAT_TIMEOUT_DEFAULT;
        turn_init(&mountat->turn);
        failure_clear(&mountat->failure);
        return mountat;
}

struct mountat *mountat_free(struct mountat *mountat) {
        if (mountat) {
                keeper_stop(&mountat->keeper);
                connection_close(&mountat->connection);
                turn_destroy(&mountat->turn);
                free(mountat);
        }
        return NULL;
}

void mountat_set_timeout(struct mountat *mountat, uint32_t milliseconds) {
        mountat->timeout = milliseconds ?: MOUNTAT_TIMEOUT_DEFAULT;
}

/* Starts the timeout, which includes waiting for the keeper. */
static int mountat_enter(struct mountat *mountat) {
        int64_t deadline = channel_after(mountat->timeout);

        failure_clear(&mountat->failure);
        if (turn_take(&mountat->turn, deadline) < 0)
                return failure_client(&mountat->failure, ETIMEDOUT, MOUNTAT_NO_TARGET,
                                      "timed out while the connection to mountatd was being "
                                      "recovered: try again");
        mountat->connection.channel.deadline = deadline;
        return 0;
}

static int mountat_leave(struct mountat *mountat, int result) {
        turn_give(&mountat->turn);
        return result;
}

static const char *mountat_connect_advice(int error, const char *path) {
        struct stat found;

        switch (error) {
        case -EINVAL:
                return "the path is empty";
        case -ECONNREFUSED:
                if (stat(path, &found) == 0 && !S_ISSOCK(found.st_mode))
                        return "this isn't a socket";
                /* fall through */
        case -ENOENT:
                return "is mountatd installed, and is mountatd.socket active?";
        case -EACCES:
                return "is this user in the group mountat, and has it logged in since it was "
                       "added?";
        case -EPROTOTYPE:
                return "this isn't mountatd's socket";
        case -ETIMEDOUT:
                return "mountatd isn't accepting connections: is it stopped or overloaded?";
        case -ENAMETOOLONG:
                return "a socket's path has at most 107 bytes";
        default:
                return "see connect(2)";
        }
}

static int mountat_open(struct mountat *mountat, const char *path) {
        char escaped[440];
        int result;

        if (mountat->connection.channel.fd >= 0)
                return failure_client(&mountat->failure, EISCONN, MOUNTAT_NO_TARGET,
                                      "already connected to mountatd: use a new struct mountat for "
                                      "another connection");
        result = connection_open(&mountat->connection, path);
        if (result < 0)
                return failure_client(&mountat->failure, -result, MOUNTAT_NO_TARGET,
                                      "cannot connect to mountatd at %s: %s: %s",
                                      text_escape(escaped, sizeof(escaped), path),
                                      strerrordesc_np(-result),
                                      mountat_connect_advice(result, path));
        return 0;
}

int mountat_connect(struct mountat *mountat, const char *path) {
        const char *variable = secure_getenv(PROTOCOL_SOCKET_VARIABLE);
        int result = mountat_enter(mountat);

        if (!path)
                path = variable && *variable ? variable : PROTOCOL_SOCKET_DEFAULT;
        return result < 0 ? result : mountat_leave(mountat, mountat_open(mountat, path));
}

int mountat_fd(const struct mountat *mountat) {
        const struct channel *channel = &mountat->connection.channel;

        return channel->fd >= 0 ? channel->watch : -ENOTCONN;
}

/* ---- recovery ---- */

static int mountat_tell_lost(struct mountat *mountat) {
        const struct holding *lost = connection_find_lost(&mountat->connection);

        return lost ? holding_explain(lost, &mountat->failure) : 0;
}

int mountat_recover(struct mountat *mountat) {
        struct connection *connection = &mountat->connection;
        int result = mountat_enter(mountat);

        if (result < 0)
                return result;
        channel_check(&connection->channel);
        result = connection_recover(connection, connection->channel.deadline, &mountat->failure);
        if (result == 0)
                result = mountat_tell_lost(mountat);
        return mountat_leave(mountat, result);
}

/*
 * On the keeper's thread. Tries to connect once per turn, so that a caller never waits for the
 * keeper while the daemon is away; adoption may take as long as any call.
 */
static int mountat_tend(struct keeper *keeper) {
        struct mountat *mountat =
                (struct mountat *)((char *)keeper - offsetof(struct mountat, keeper));
        struct connection *connection = &mountat->connection;
        struct failure unheard;
        bool whole;

        if (turn_take(&mountat->turn, channel_after(MOUNTAT_KEEPER_WAIT)) < 0)
                return 0;
        connection->channel.deadline = channel_after(mountat->timeout);
        connection->channel.interrupt = keeper->stop;
        channel_check(&connection->channel);
        connection_recover(connection, 0, &unheard);
        connection->channel.interrupt = -EBADF;
        whole = !connection->path[0] || connection_is_whole(connection);
        turn_give(&mountat->turn);

        if (whole) {
                mountat->keeper_pause = MOUNTAT_KEEPER_PAUSE_MIN;
                return -1;
        }
        mountat->keeper_pause = mountat->keeper_pause * 2 < MOUNTAT_KEEPER_PAUSE_MAX
                                        ? mountat->keeper_pause * 2
                                        : MOUNTAT_KEEPER_PAUSE_MAX;
        return mountat->keeper_pause;
}

int mountat_keep(struct mountat *mountat) {
        int result = 0;

        failure_clear(&mountat->failure);
        if (mountat->keeper.running)
                return 0;
        mountat->keeper_pause = MOUNTAT_KEEPER_PAUSE_MIN;
        result = channel_watch(&mountat->connection.channel);
        if (result == 0)
                result = keeper_start(&mountat->keeper, mountat->connection.channel.watch,
                                      mountat_tend);
        if (result < 0)
                return failure_client(&mountat->failure, -result, MOUNTAT_NO_TARGET,
                                      "cannot start a thread for the connection: %s",
                                      strerrordesc_np(-result));
        return 0;
}

/* ---- calls ---- */

int mountat_hello(struct mountat *mountat, const char **version, uint32_t *features) {
        struct connection_call call = {.request.operation = PROTOCOL_HELLO};
        int result = mountat_enter(mountat);

        if (result < 0)
                return result;
        result = mountat_leave(mountat,
                               connection_ask(&mountat->connection, &call, &mountat->failure));
        if (result < 0)
                return result;

        text_escape(mountat->version, sizeof(mountat->version), call.reply.text);
        if (version)
                *version = mountat->version;
        if (features)
                *features = call.reply.flags;
        return 0;
}

static int mountat_grant(struct mountat *mountat, const struct mountat_target *targets, size_t n,
                         struct holding *holding) {
        const struct lease_targets borrowed = {targets, n};

        return lease_mount(&mountat->connection, &borrowed, holding, &mountat->failure);
}

/* Consumes the holding. */
static int mountat_settle(struct mountat *mountat, int result, struct holding *holding,
                          uint64_t *lease) {
        if (result < 0) {
                holding_free(holding);
                return mountat_leave(mountat, result);
        }
        *lease = holding->id;
        if (holding->kept)
                holding_leave(holding);
        else
                connection_add(&mountat->connection, holding);
        return mountat_leave(mountat, 0);
}

static int mountat_enter_with(struct mountat *mountat, struct holding **holding) {
        int result = mountat_enter(mountat);

        if (result < 0)
                return result;
        *holding = holding_new();
        if (*holding)
                return 0;
        return mountat_leave(mountat, failure_client(&mountat->failure, ENOMEM, MOUNTAT_NO_TARGET,
                                                     "cannot allocate a lease: out of memory"));
}

static int mountat_check_count(struct mountat *mountat, size_t n) {
        if (n >= 1 && n <= MOUNTAT_TARGETS_MAX)
                return 0;
        return failure_client(&mountat->failure, EINVAL, MOUNTAT_NO_TARGET,
                              "a request takes 1 to %d targets, not %zu: make several requests",
                              MOUNTAT_TARGETS_MAX, n);
}

static int mountat_enter_for(struct mountat *mountat, size_t n, struct holding **holding) {
        int result;

        failure_clear(&mountat->failure);
        result = mountat_check_count(mountat, n);
        return result < 0 ? result : mountat_enter_with(mountat, holding);
}

int mountat_mount(struct mountat *mountat, const struct mountat_target *targets, size_t n,
                  uint64_t *lease) {
        struct holding *holding;
        int result = mountat_enter_for(mountat, n, &holding);

        if (result < 0)
                return result;
        result = holding_keep_targets(holding, targets, n, &mountat->failure);
        if (result == 0)
                result = mountat_grant(mountat, targets, n, holding);
        return mountat_settle(mountat, result, holding, lease);
}

int mountat_mount_kept(struct mountat *mountat, const struct mountat_target *targets, size_t n,
                       uint64_t *lease) {
        struct holding *holding;
        int result = mountat_enter_for(mountat, n, &holding);

        if (result < 0)
                return result;
        holding->kept = true;
        result = mountat_grant(mountat, targets, n, holding);
        return mountat_settle(mountat, result, holding, lease);
}

int mountat_check(struct mountat *mountat, const struct mountat_target *targets, size_t n) {
        const struct lease_targets borrowed = {targets, n};
        int result;

        failure_clear(&mountat->failure);
        result = mountat_check_count(mountat, n);
        if (result == 0)
                result = mountat_enter(mountat);
        if (result < 0)
                return result;

        return mountat_leave(mountat,
                             lease_check(&mountat->connection, &borrowed, &mountat->failure));
}

static int mountat_check_flags(struct mountat *mountat, uint32_t flags) {
        if (flags & ~(uint32_t)MOUNTAT_FLAGS)
                return failure_client(
                        &mountat->failure, EINVAL, MOUNTAT_NO_TARGET,
                        "unknown flags 0x%x: this libmountat is too old for them: upgrade it",
                        flags & ~(uint32_t)MOUNTAT_FLAGS);
        if (!(flags & FLAG_FILE_SYSTEMS))
                return failure_client(
                        &mountat->failure, EINVAL, MOUNTAT_NO_TARGET,
                        "nothing to mount: add MOUNTAT_PROC, MOUNTAT_SYSFS or MOUNTAT_DEV");
        if ((flags & MOUNTAT_PIDS_ONLY) && !(flags & MOUNTAT_PROC))
                return failure_client(&mountat->failure, EINVAL, MOUNTAT_NO_TARGET,
                                      "MOUNTAT_PIDS_ONLY needs procfs: add MOUNTAT_PROC");
        return 0;
}

static int mountat_check_opened(struct mountat *mountat) {
        if (mountat->connection.path[0])
                return 0;
        return failure_client(&mountat->failure, ENOTCONN, MOUNTAT_NO_TARGET,
                              "not connected to mountatd: the connection was never opened: connect "
                              "first");
}

int mountat_mount_root(struct mountat *mountat, int root_fd, uint32_t flags, uint64_t *lease) {
        struct holding *holding;
        int result;

        failure_clear(&mountat->failure);
        result = mountat_check_flags(mountat, flags);
        if (result == 0)
                result = mountat_enter_with(mountat, &holding);
        if (result < 0)
                return result;

        result = mountat_check_opened(mountat); /* before a directory is made */
        if (result == 0)
                result = root_open(&holding->root, root_fd, flags, &mountat->failure);
        holding->kept = flags & MOUNTAT_KEEP;
        if (result == 0)
                result = lease_mount_root(&mountat->connection, holding, &mountat->failure);
        return mountat_settle(mountat, result, holding, lease);
}

int mountat_unmount(struct mountat *mountat, uint64_t lease) {
        int result = mountat_enter(mountat);

        return result < 0 ? result
                          : mountat_leave(mountat, lease_unmount(&mountat->connection, lease,
                                                                 &mountat->failure));
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
