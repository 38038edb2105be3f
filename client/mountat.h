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
 * One connection is used by one thread at a time, that of mountat_keep() apart. Different
 * connections are independent of each other.
 *
 * What a function does stands with it. What holds for all of them is told in libmountat(3): leases,
 * restarts of the daemon, which errno a refusal gives, threads, forks.
 *
 * Results: 0, or a negative errno; outputs are written on success alone.
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
        MOUNTAT_PIDS_ONLY = 1 << 4, /* procfs with processes and nothing else: subset=pid */
        MOUNTAT_KEEP = 1 << 5,      /* the lease outlives the connection: mountat_mount_kept() */
        MOUNTAT_DEV = 1 << 6        /* a /dev of its own on `dev` below the root */
};

enum mountat_file_system {
        MOUNTAT_FILE_SYSTEM_PROC = 1,
        MOUNTAT_FILE_SYSTEM_SYSFS = 2,
        MOUNTAT_FILE_SYSTEM_DEV = 3 /* what is in it: mountatd(8) */
};

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
        MOUNTAT_FEATURE_ADOPT = 1 << 4,
        MOUNTAT_FEATURE_ENTER = 1 << 5, /* for this user: see mountat_new() */
        MOUNTAT_FEATURE_KEEP = 1 << 6,  /* MOUNTAT_KEEP, mountat_mount_kept() */
        MOUNTAT_FEATURE_DEV = 1 << 7,   /* MOUNTAT_DEV, MOUNTAT_FILE_SYSTEM_DEV */
        MOUNTAT_FEATURE_CHECK = 1 << 8  /* mountat_check() */
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

/*
 * A connection that isn't connected yet; NULL without memory. The caller owns it.
 *
 * Where this process is in another mount namespace than the daemon, as in a container, the daemon
 * is asked to enter it, at the first mount or check that is refused for that reason; from then on
 * all mounts of the connection are made there, and procfs shows the processes of this one's pid
 * namespace. It does so for users whom its administrator named with --join (mountatd(8)), and if
 * this process has a procfs on /proc. Else the refusal is the call's: -EXDEV, and the text says
 * what to do.
 */
struct mountat *mountat_new(void);

/*
 * Closes the connection, which releases its leases (not kept ones), and frees it. Does not wait: a
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
 * (ignored in a program with privileges, secure_getenv(3)), or /run/mountatd/socket. Relative paths
 * must stay true, for connecting again. -EISCONN if connected; -EACCES, -ENOENT or -ECONNREFUSED as
 * connect(2) has it, without waiting. A daemon that has too many connections accepts and then
 * refuses: the next call gives -EDQUOT. After a loss it may be called to start over, without the
 * leases of before.
 */
int mountat_connect(struct mountat *mountat, const char *path);

/*
 * A descriptor to watch in an event loop: it becomes readable (POLLIN) when the daemon is gone, and
 * mountat_recover() is to be called. It stays the same until mountat_free(), through all
 * connections. Borrowed, and never to be read, written or closed. -ENOTCONN while there is no
 * connection: then it isn't readable either, and mountat_recover() is to be called after a pause.
 */
int mountat_fd(const struct mountat *mountat);

/*
 * Sees whether the daemon is still there; if not, connects again and has the leases adopted,
 * waiting for the next instance up to the timeout. 0: all leases are held. -ENOENT: a lease was
 * lost, or several, and not yet given to mountat_unmount(); the connection is there again.
 * -ECONNRESET: the daemon isn't back yet, try again. Others: as calls have them; try again.
 */
int mountat_recover(struct mountat *mountat);

/*
 * Starts a thread that does so by itself, for programs without an event loop: from then on a
 * restart is not to be noticed, however long nobody calls. It sleeps until the daemon goes, has all
 * signals blocked, excludes the caller's calls while it recovers (they wait for it, within their
 * timeout), tries for as long as it takes, and ends with mountat_free(). mountat_fd() need not be
 * watched then. To be called once, before or after mountat_connect(); -EAGAIN or -EMFILE if there
 * can be no thread. A forked child doesn't have it: see libmountat(3).
 */
int mountat_keep(struct mountat *mountat);

/*
 * Asks who answers: `*version` is a text such as "mountatd 1.2.3", valid until the next
 * mountat_hello() or mountat_free(); `*features` has bits of enum mountat_feature, and may have
 * others. Either may be NULL.
 */
int mountat_hello(struct mountat *mountat, const char **version, uint32_t *features);

/*
 * Mounts below the directory `root_fd` (O_PATH is enough, and it stays the caller's) what `flags`
 * of enum mountat_flag say: all of it or nothing. The mountpoints are opened with this process'
 * rights, never through a symbolic link (-ELOOP) or into another mount (-EBUSY); one of this user's
 * own that is about to go, because its connection was closed, is waited for, a second at most.
 *
 * With MOUNTAT_CREATE, directories that are missing are made with mode 0555 less the umask, and
 * removed when the mount fails or mountat_unmount() succeeds. A lease keeps one descriptor. After
 * a timeout the daemon may still be about to mount: then a directory that was made can stay.
 * MOUNTAT_KEEP: as mountat_mount_kept() has it; a directory that was made and mounted on stays.
 *
 * If the daemon goes away before it answers, it is asked again. It may have granted the lease at
 * the very end, with nobody left to be told its id: then -EBUSY, and the text says so, until the
 * mount is released at the end of the --adopt-timeout.
 *
 * MOUNTAT_DEV: -EOPNOTSUPP if the daemon has no /dev to give. One older than 0.2 isn't asked.
 */
int mountat_mount_root(struct mountat *mountat, int root_fd, uint32_t flags, uint64_t *lease);

/*
 * Mounts on `n` directories, 1 to MOUNTAT_TARGETS_MAX, all of them or none. The daemon wants them
 * named `proc`, `sys` or `dev`, and owned by this user or below a build directory of the
 * administrator's. A lease keeps a descriptor per target. If the daemon goes away, or has no /dev:
 * as above.
 */
int mountat_mount(struct mountat *mountat, const struct mountat_target *targets, size_t n,
                  uint64_t *lease);

/*
 * The same with a lease that is the user's and not the connection's: it outlives both the
 * connection and restarts of the daemon, which keeps it by itself, counts against the user's
 * limits, and ends by mountat_unmount() on any connection of this user, or with the daemon's stop.
 * In another mount namespace than the daemon's there is none, -EXDEV: see mountat_new().
 * No descriptor is kept. After a timeout there may be a lease all the same, whose id nobody was
 * told: "mountatctl list" has it. (mountat_keep() is about connections, not about this.)
 *
 * -ENOSYS, before anything is asked: the daemon is older than 0.2 (MOUNTAT_FEATURE_KEEP).
 */
int mountat_mount_kept(struct mountat *mountat, const struct mountat_target *targets, size_t n,
                       uint64_t *lease);

/*
 * Would the daemon mount on these directories, 1 to MOUNTAT_TARGETS_MAX? 0, or what the mount would
 * give; nothing is mounted. A directory by another name than `proc`, `sys` and `dev`, or a build
 * directory of the administrator's, is judged as a mountpoint of the same owner right below it
 * would be, so that a program can see at its start whether it is set up, while there is nothing
 * below yet.
 *
 * -ENOSYS, before anything is asked: the daemon is older than 0.2 (MOUNTAT_FEATURE_CHECK).
 */
int mountat_check(struct mountat *mountat, const struct mountat_target *targets, size_t n);

/*
 * Releases a lease: one of this connection's, or a kept one of this user's, on any connection. When
 * it returns 0 the directories are bare again, and those that MOUNTAT_CREATE made are gone unless
 * somebody put something there (for a kept lease they stay). If the host refuses, the lease stays
 * and may be tried again. If the daemon goes away during the call and the lease can't be adopted,
 * it waits until the directories are bare, which is a success, or for its timeout. -ENOENT: there
 * is no such lease, or it was lost.
 */
int mountat_unmount(struct mountat *mountat, uint64_t lease);

/*
 * What the last call on this connection came to (mountat_fd(), these and the thread apart); texts
 * are valid until the next one.
 */

/* Of enum mountat_status, or another number from a newer daemon; MOUNTAT_STATUS_OK after a success.
 */
int mountat_error_status(const struct mountat *mountat);

/* As libmountat(3) has it: "not-authorised". Static, never NULL. */
const char *mountat_error_name(const struct mountat *mountat);

/* For a person, in printable UTF-8: the thing, the reason, what to do. Empty after a success. */
const char *mountat_error_text(const struct mountat *mountat);

/* The errno that was returned, positive; 0 after a success. */
int mountat_error_errno(const struct mountat *mountat);

/*
 * The index of the target at fault, or MOUNTAT_NO_TARGET. mountat_mount_root() has those of its
 * flags in the order procfs, sysfs, dev: with MOUNTAT_SYSFS alone sysfs is 0.
 */
uint32_t mountat_error_target(const struct mountat *mountat);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
