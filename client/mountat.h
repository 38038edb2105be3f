/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * libmountat: asks mountatd to mount /proc and /sys in a directory tree that you hold open, and to
 * unmount them again. No privilege is needed.
 *
 *         struct mountat *mountat = mountat_new();
 *         uint64_t lease;
 *
 *         if (mountat_connect(mountat, NULL) < 0 ||
 *             mountat_mount_root(mountat, root_fd, MOUNTAT_PROC | MOUNTAT_SYSFS, &lease) < 0)
 *                 fprintf(stderr, "%s\n", mountat_error_text(mountat));
 *         ...
 *         mountat_unmount(mountat, lease);
 *         mountat_free(mountat);
 *
 * A mount that succeeded is a *lease*. It belongs to the connection: when that closes, for whatever
 * reason, the daemon releases all its leases. So a program that dies leaves nothing behind, and a
 * program that keeps its mounts keeps its connection.
 *
 * Results: 0, or a negative errno; outputs are written on success alone. What failed, why and what
 * to do about it is kept in the connection until its next call: see mountat_error_text().
 *
 *         status                    errno            status                    errno
 *         malformed                 EINVAL           limit-exceeded            EDQUOT
 *         unsupported-version       EPROTONOSUPPORT  no-such-lease             ENOENT
 *         unknown-operation         ENOSYS           host-failed               the daemon's errno
 *         wrong-fd-count            EINVAL           shutting-down             ESHUTDOWN
 *         not-a-directory           ENOTDIR          target-vanished           ESTALE
 *         not-authorised            EPERM            unsupported-file-system   EOPNOTSUPP
 *         wrong-name                EINVAL           client-failed             this process' errno
 *         already-mounted           EBUSY            a number unknown here     EPROTO
 *         foreign-namespace         EXDEV
 *
 * Among client-failed: ENOTCONN (not connected, or no longer), ETIMEDOUT (the daemon didn't answer
 * in time), ECONNRESET (it went away), EPROTO (it broke the protocol). After the last three the
 * connection is closed, and its leases with it.
 *
 * Threads: a connection is used by one thread at a time; different connections are independent.
 * Blocking: calls wait for the daemon up to the timeout; signals don't interrupt them. The file
 * system below a root is waited for as long as it takes (think of FUSE). Never raises SIGPIPE.
 * Descriptors: all are close-on-exec. A forked child that doesn't exec keeps the connection, hence
 * its leases, alive.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/* One connection to the daemon. */
struct mountat;

enum mountat_status {
        MOUNTAT_STATUS_CLIENT_FAILED = -1, /* this library failed; nothing was refused */
        MOUNTAT_STATUS_OK = 0,
        MOUNTAT_STATUS_MALFORMED = 1,
        MOUNTAT_STATUS_UNSUPPORTED_VERSION = 2,
        MOUNTAT_STATUS_UNKNOWN_OPERATION = 3,
        MOUNTAT_STATUS_WRONG_FD_COUNT = 4,
        MOUNTAT_STATUS_NOT_A_DIRECTORY = 5,
        MOUNTAT_STATUS_NOT_AUTHORISED = 6,
        MOUNTAT_STATUS_WRONG_NAME = 7,
        MOUNTAT_STATUS_ALREADY_MOUNTED = 8,
        MOUNTAT_STATUS_FOREIGN_NAMESPACE = 9,
        MOUNTAT_STATUS_LIMIT_EXCEEDED = 10,
        MOUNTAT_STATUS_NO_SUCH_LEASE = 11,
        MOUNTAT_STATUS_HOST_FAILED = 12,
        MOUNTAT_STATUS_SHUTTING_DOWN = 13,
        MOUNTAT_STATUS_TARGET_VANISHED = 14,
        MOUNTAT_STATUS_UNSUPPORTED_FILE_SYSTEM = 15
};

/* Flags of mountat_mount_root(). */
enum mountat_flag {
        MOUNTAT_PROC = 1 << 0,      /* procfs on `proc` below the root */
        MOUNTAT_SYSFS = 1 << 1,     /* sysfs on `sys` below the root */
        MOUNTAT_CREATE = 1 << 2,    /* make the directories that are missing */
        MOUNTAT_READ_ONLY = 1 << 3, /* also where the administrator allows a writable procfs */
        MOUNTAT_PIDS_ONLY = 1 << 4  /* procfs with processes and nothing else: subset=pid */
};

enum mountat_file_system { MOUNTAT_FILE_SYSTEM_PROC = 1, MOUNTAT_FILE_SYSTEM_SYSFS = 2 };

/* Options of a target. */
enum mountat_option {
        MOUNTAT_OPTION_READ_ONLY = 1 << 0,
        MOUNTAT_OPTION_PIDS_ONLY = 1 << 1 /* procfs alone */
};

/* What the daemon and its kernel can do: mountat_hello(). */
enum mountat_feature {
        MOUNTAT_FEATURE_CLONES = 1 << 0,
        MOUNTAT_FEATURE_STATMOUNT = 1 << 1,
        MOUNTAT_FEATURE_UNIQUE_IDS = 1 << 2,
        MOUNTAT_FEATURE_PIDS_ONLY = 1 << 3,
        MOUNTAT_FEATURE_ADOPT = 1 << 4
};

#define MOUNTAT_TARGETS_MAX 16
#define MOUNTAT_NO_TARGET UINT32_MAX
#define MOUNTAT_TIMEOUT_DEFAULT 25000

/* A directory to mount on. The descriptor stays the caller's; O_PATH is enough. */
struct mountat_target {
        int fd;
        uint32_t file_system; /* enum mountat_file_system */
        uint32_t options;     /* of enum mountat_option */
};

/* A connection that isn't connected yet; NULL without memory. The caller owns it. */
struct mountat *mountat_new(void);

/*
 * Closes the connection, which releases its leases, and frees it. Does not wait for that: a
 * directory made by MOUNTAT_CREATE is removed if its mount is gone by then, and stays otherwise,
 * so mountat_unmount() what should leave no trace. NULL is fine. Returns NULL.
 */
struct mountat *mountat_free(struct mountat *mountat);

/*
 * How long each call may wait for the daemon, in milliseconds; 0 is MOUNTAT_TIMEOUT_DEFAULT. From
 * the next call on.
 */
void mountat_set_timeout(struct mountat *mountat, uint32_t milliseconds);

/*
 * Connects to the daemon's socket: `path`, or if that is NULL the environment's MOUNTATD_SOCKET
 * (ignored in a program with privileges, secure_getenv(3)), or /run/mountatd/socket. After a loss
 * it may be called again, and starts without leases. -EISCONN if connected; -EACCES, -ENOENT or
 * -ECONNREFUSED as connect(2) has it. A daemon that has too many connections accepts and then
 * refuses: the next call gives -EDQUOT.
 */
int mountat_connect(struct mountat *mountat, const char *path);

/*
 * The connection's descriptor, to watch in an event loop while no call is under way: if it becomes
 * readable or hangs up, the daemon is gone and the leases are released; mountat_hello() then says
 * why. Borrowed, and never to be read, written or closed. -ENOTCONN if there is none.
 */
int mountat_fd(const struct mountat *mountat);

/*
 * Asks who answers: `*version` is a text such as "mountatd 1.2.3", valid until the next
 * mountat_hello() or mountat_free(); `*features` has bits of enum mountat_feature, and may have
 * others. Either may be NULL.
 */
int mountat_hello(struct mountat *mountat, const char **version, uint32_t *features);

/*
 * Mounts below the directory `root_fd` (O_PATH is enough, and it stays the caller's) what `flags`
 * of enum mountat_flag say: all of it or nothing. The mountpoints are opened with this process'
 * rights, never through a symbolic link (-ELOOP) or into another mount (-EBUSY).
 *
 * With MOUNTAT_CREATE, directories that are missing are made with mode 0555 less the umask, and
 * removed when the mount fails or mountat_unmount() succeeds. A lease keeps one descriptor. After
 * a timeout the daemon may still be about to mount: then a directory that was made can stay.
 */
int mountat_mount_root(struct mountat *mountat, int root_fd, uint32_t flags, uint64_t *lease);

/*
 * Mounts on `n` directories, 1 to MOUNTAT_TARGETS_MAX, all of them or none. The daemon wants them
 * named `proc` or `sys`, and owned by this user or below a build directory of the administrator's.
 */
int mountat_mount(struct mountat *mountat, const struct mountat_target *targets, size_t n,
                  uint64_t *lease);

/*
 * Releases a lease. When it returns 0 the directories are bare again, and those that
 * MOUNTAT_CREATE made are gone unless somebody put something there. If the host refuses, the lease
 * stays and may be tried again.
 */
int mountat_unmount(struct mountat *mountat, uint64_t lease);

/*
 * What the last call on this connection came to (mountat_fd() and these apart); texts are valid
 * until the next one.
 */

/* Of enum mountat_status, or another number from a newer daemon; MOUNTAT_STATUS_OK after a success.
 */
int mountat_error_status(const struct mountat *mountat);

/* As in the table above: "not-authorised". Static, never NULL. */
const char *mountat_error_name(const struct mountat *mountat);

/* For a person, in printable UTF-8: the thing, the reason, what to do. Empty after a success. */
const char *mountat_error_text(const struct mountat *mountat);

/* The errno that was returned, positive; 0 after a success. */
int mountat_error_errno(const struct mountat *mountat);

/*
 * The index of the target at fault, or MOUNTAT_NO_TARGET. In mountat_mount_root() procfs comes
 * first: with MOUNTAT_SYSFS alone sysfs is 0.
 */
uint32_t mountat_error_target(const struct mountat *mountat);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
