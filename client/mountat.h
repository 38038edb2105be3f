/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * libmountat: asks mountatd to mount /proc, /sys and /dev in a directory tree that you hold open,
 * and to unmount them again. No privilege is needed.
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
 * A connection may be used by one thread at a time, besides the thread of mountat_keep(). Different
 * connections are independent.
 *
 * Each function is described below. libmountat(3) describes what they share: leases, restarts of
 * the daemon, the errnos of refusals, threads, forks.
 *
 * Functions return 0 or a negative errno, and write their outputs only on success.
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
        MOUNTAT_STATUS_CLIENT_FAILED = -1, /* this library failed; the daemon refused nothing */
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
        MOUNTAT_CREATE = 1 << 2,    /* create missing directories */
        MOUNTAT_READ_ONLY = 1 << 3, /* even if the administrator allows a writable procfs */
        MOUNTAT_PIDS_ONLY = 1 << 4, /* procfs with only processes: subset=pid */
        MOUNTAT_KEEP = 1 << 5,      /* the lease outlives the connection: mountat_mount_kept() */
        MOUNTAT_DEV = 1 << 6        /* a /dev of its own on `dev` below the root */
};

enum mountat_file_system {
        MOUNTAT_FILE_SYSTEM_PROC = 1,
        MOUNTAT_FILE_SYSTEM_SYSFS = 2,
        MOUNTAT_FILE_SYSTEM_DEV = 3 /* its contents: mountatd(8) */
};

/* Options of a target. */
enum mountat_option {
        MOUNTAT_OPTION_READ_ONLY = 1 << 0,
        MOUNTAT_OPTION_PIDS_ONLY = 1 << 1 /* only for procfs */
};

/* What the daemon and its kernel support: mountat_hello(). */
enum mountat_feature {
        MOUNTAT_FEATURE_CLONES = 1 << 0,
        MOUNTAT_FEATURE_STATMOUNT = 1 << 1,
        MOUNTAT_FEATURE_UNIQUE_IDS = 1 << 2,
        MOUNTAT_FEATURE_PIDS_ONLY = 1 << 3,
        MOUNTAT_FEATURE_ADOPT = 1 << 4,
        MOUNTAT_FEATURE_ENTER = 1 << 5, /* for this user: see mountat_new() */
        MOUNTAT_FEATURE_KEEP = 1 << 6,  /* MOUNTAT_KEEP, mountat_mount_kept() */
        MOUNTAT_FEATURE_DEV = 1 << 7,   /* MOUNTAT_DEV, MOUNTAT_FILE_SYSTEM_DEV */
        MOUNTAT_FEATURE_CHECK = 1 << 8  /* mountat_check() */
};

#define MOUNTAT_TARGETS_MAX 16
#define MOUNTAT_NO_TARGET UINT32_MAX
#define MOUNTAT_TIMEOUT_DEFAULT 25000

/* A directory to mount on. The caller keeps the descriptor; O_PATH is enough. */
struct mountat_target {
        int fd;
        uint32_t file_system; /* enum mountat_file_system */
        uint32_t options;     /* of enum mountat_option */
};

/*
 * Returns a new, unconnected connection, which the caller owns, or NULL if out of memory.
 *
 * If this process is in another mount namespace than the daemon, as in a container, the daemon
 * refuses the first mount or check, and the library asks it to enter the namespace. From then on
 * all mounts of the connection are made there, and procfs shows this process's pid namespace. The
 * daemon enters only for users that the administrator named with --join (mountatd(8)), and this
 * process needs a procfs on /proc. Otherwise the call returns -EXDEV, and the text says what to do.
 */
struct mountat *mountat_new(void);

/*
 * Closes and frees the connection, which releases its leases except kept ones. Doesn't wait for the
 * release: a directory created by MOUNTAT_CREATE stays if it is still mounted on. To leave no
 * trace, call mountat_unmount() before. NULL-safe; returns NULL.
 */
struct mountat *mountat_free(struct mountat *mountat);

/*
 * Sets how long each later call may wait for the daemon, in milliseconds; 0 means
 * MOUNTAT_TIMEOUT_DEFAULT.
 */
void mountat_set_timeout(struct mountat *mountat, uint32_t milliseconds);

/*
 * Connects to the daemon's socket: `path`; or, if that is NULL, $MOUNTATD_SOCKET (ignored in a
 * privileged program, secure_getenv(3)); or /run/mountatd/socket. A relative path must stay valid
 * for reconnecting. Returns -EISCONN if connected already; -EINVAL if the path is empty; -EACCES,
 * -ENOENT or -ECONNREFUSED as connect(2), without waiting. A daemon with too many connections
 * accepts and then refuses: the next call returns -EDQUOT. After a loss it may be called to start
 * over without the old leases.
 */
int mountat_connect(struct mountat *mountat, const char *path);

/*
 * Returns a descriptor for an event loop. It becomes readable (POLLIN) when the daemon is gone:
 * then call mountat_recover(). It stays the same until mountat_free(), across reconnects. It is
 * borrowed: don't read, write or close it. While there is no connection, returns -ENOTCONN and the
 * descriptor isn't readable: call mountat_recover() after a pause.
 */
int mountat_fd(const struct mountat *mountat);

/*
 * Checks whether the daemon is still there; if not, reconnects and has the leases adopted, waiting
 * for the next instance up to the timeout. 0: all leases are held. -ENOENT: the connection is back,
 * but at least one lease was lost and not yet passed to mountat_unmount(). -ECONNRESET: the daemon
 * isn't back yet, try again. Other errors are those of any call; try again.
 */
int mountat_recover(struct mountat *mountat);

/*
 * Starts a thread that recovers automatically, for programs without an event loop: leases then
 * survive restarts even if no function is called for long. The thread sleeps until the daemon goes
 * away, has all signals blocked, retries without limit, and ends in mountat_free(). While it
 * recovers, other calls wait for it within their timeout. mountat_fd() need not be watched. Call it
 * once, before or after mountat_connect(). Returns -EAGAIN or -EMFILE if the thread can't be
 * started. A forked child doesn't have the thread: see libmountat(3).
 */
int mountat_keep(struct mountat *mountat);

/*
 * Gets the daemon's version, such as "mountatd 1.2.3", valid until the next mountat_hello() or
 * mountat_free(), and its features: bits of enum mountat_feature, and maybe unknown ones. Either
 * pointer may be NULL.
 */
int mountat_hello(struct mountat *mountat, const char **version, uint32_t *features);

/*
 * Mounts the file systems in `flags`, of enum mountat_flag, below the directory `root_fd` (O_PATH
 * is enough; the caller keeps it): all or none. Opens the mountpoints with this process's rights,
 * and follows no symbolic link (-ELOOP) and crosses no mount (-EBUSY). If one of this user's own
 * mounts is about to go because its connection was closed, waits for that, a second at most.
 *
 * MOUNTAT_CREATE creates missing directories with mode 0555 less the umask, and removes them when
 * the mount fails or mountat_unmount() succeeds. A lease keeps one descriptor open. After a timeout
 * the daemon may still mount: then a created directory can stay. MOUNTAT_KEEP: see
 * mountat_mount_kept(); a directory that was created and mounted on stays.
 *
 * If the daemon goes away before it answers, the request is sent again. If it had granted the first
 * one, nobody knows the lease's id: the call returns -EBUSY, with a text that says so, until the
 * daemon unmounts at the end of its --adopt-timeout.
 *
 * MOUNTAT_DEV: -EOPNOTSUPP if the daemon doesn't offer /dev. One older than 0.2 isn't asked.
 */
int mountat_mount_root(struct mountat *mountat, int root_fd, uint32_t flags, uint64_t *lease);

/*
 * Mounts on `n` directories, 1 to MOUNTAT_TARGETS_MAX: all or none. They must be named `proc`,
 * `sys` or `dev`, and be owned by this user or lie below a build directory set by the
 * administrator. A lease keeps one descriptor per target open. If the daemon goes away, or doesn't
 * offer /dev: as above.
 */
int mountat_mount(struct mountat *mountat, const struct mountat_target *targets, size_t n,
                  uint64_t *lease);

/*
 * The same with a kept lease, which belongs to the user instead of the connection. It outlives the
 * connection and restarts of the daemon, counts against the user's limits, and ends by
 * mountat_unmount() on any connection of this user or when the daemon is stopped. Not available in
 * another mount namespace than the daemon's: -EXDEV, see mountat_new(). Keeps no descriptor open.
 * After a timeout the lease may exist all the same: "mountatctl list" has its id. (mountat_keep()
 * concerns connections, not kept leases.)
 *
 * -ENOSYS, without a request: the daemon is older than 0.2 (MOUNTAT_FEATURE_KEEP).
 */
int mountat_mount_kept(struct mountat *mountat, const struct mountat_target *targets, size_t n,
                       uint64_t *lease);

/*
 * Checks whether the daemon would mount on these directories, 1 to MOUNTAT_TARGETS_MAX: returns 0,
 * or the error of the mount. Mounts nothing. A directory not named `proc`, `sys` or `dev`, and a
 * build directory, are judged as a mountpoint with the same owner directly below them, so that a
 * program can check its setup at the start, before there are mountpoints.
 *
 * -ENOSYS, without a request: the daemon is older than 0.2 (MOUNTAT_FEATURE_CHECK).
 */
int mountat_check(struct mountat *mountat, const struct mountat_target *targets, size_t n);

/*
 * Releases a lease of this connection, or, on any connection, a kept lease of this user. When it
 * returns 0 everything is unmounted, and the directories created by MOUNTAT_CREATE are removed
 * unless they aren't empty (those of a kept lease stay). If the host refuses, the lease stays: try
 * again. If the daemon goes away during the call and the lease can't be adopted, waits up to its
 * timeout until everything is unmounted, which is a success. -ENOENT: there is no such lease, or it
 * was lost.
 */
int mountat_unmount(struct mountat *mountat, uint64_t lease);

/*
 * The error of the last call on this connection; these functions, mountat_fd() and the thread of
 * mountat_keep() don't count as calls. Texts are valid until the next call.
 */

/* An enum mountat_status, or another number from a newer daemon; MOUNTAT_STATUS_OK after success.
 */
int mountat_error_status(const struct mountat *mountat);

/* The status's name, such as "not-authorised": see libmountat(3). Static, never NULL. */
const char *mountat_error_name(const struct mountat *mountat);

/* A message in printable UTF-8: what failed, why, and what to do. Empty after success. */
const char *mountat_error_text(const struct mountat *mountat);

/* The returned errno, positive; 0 after success. */
int mountat_error_errno(const struct mountat *mountat);

/*
 * The index of the target at fault, or MOUNTAT_NO_TARGET. The targets of mountat_mount_root() are
 * those of its flags in the order procfs, sysfs, dev: with only MOUNTAT_SYSFS, sysfs is 0.
 */
uint32_t mountat_error_target(const struct mountat *mountat);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
