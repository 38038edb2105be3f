/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * daemon/kernel.h in memory: directories with facts set by the test, a mount table that stacks as
 * the kernel's does, a log of the calls, and failures on demand. Descriptors are real
 * (memfd_create(2)), so a leak is visible in /proc/self/fd; what a descriptor means is tied to its
 * inode, and so survives SCM_RIGHTS. Any other descriptor stands for "/".
 *
 * Each Check test is a process, so nothing is left over from the test before. Any thread.
 */

#include "common/protocol.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
        FAKE_ALL_FEATURES = PROTOCOL_FEATURE_CLONES | PROTOCOL_FEATURE_STATMOUNT |
                            PROTOCOL_FEATURE_UNIQUE_IDS | PROTOCOL_FEATURE_PIDS_ONLY,
        FAKE_EXT4 = 0xef53,
        FAKE_FUSE = 0x65735546,
};

enum fake_call {
        FAKE_STATX,
        FAKE_STATX_ABOVE,
        FAKE_NAME_TO_HANDLE,
        FAKE_FSTATFS,
        FAKE_READLINK,
        FAKE_FSOPEN,
        FAKE_FSCONFIG,
        FAKE_MESSAGE,
        FAKE_FSMOUNT,
        FAKE_OPEN_TREE,
        FAKE_OPEN_TREE_ALL,
        FAKE_SETATTR,
        FAKE_CHOWN,
        FAKE_OPEN_NODE,
        FAKE_MAKE, /* a file, a directory, a link */
        FAKE_READ_ONLY,
        FAKE_MOVE_BELOW,
        FAKE_MOVE_MOUNT,
        FAKE_UMOUNT,
        FAKE_UNSHARE,
        FAKE_FCHDIR, /* to a mount */
        FAKE_RETURN, /* fchdir to "/" */
        FAKE_STATMOUNT,
        FAKE_STATMOUNT_PLACE,
        FAKE_MOUNTINFO,
        FAKE_OPEN_PLACE,
        FAKE_OPEN_BELOW,
        FAKE_NAMESPACE, /* a query about one */
        FAKE_SETNS,
        FAKE_CHROOT,
        FAKE_FSCONFIG_FD,
        FAKE_ANY, /* also the number of kinds */
};

/* Resets everything, except open descriptors, which the caller must have closed. */
void fake_forget(void);

/* The kernel's features, as PROTOCOL_FEATURE_* bits; none before this call. */
void fake_features(unsigned features);

/* ---- directories ---- */

enum fake_flag {
        FAKE_IS_FILE = 1 << 0,
        FAKE_IS_HIDDEN = 1 << 1,   /* on a FUSE whose server returns EACCES */
        FAKE_IS_DELETED = 1 << 2,  /* " (deleted)", and can't be mounted on */
        FAKE_IS_FOREIGN = 1 << 3,  /* on a mount that isn't in our namespace */
        FAKE_IS_ROOT = 1 << 4,     /* the root of a mount */
        FAKE_VANISHES = 1 << 5,    /* removed just before it is mounted on */
        FAKE_IS_PRIVATE = 1 << 6,  /* below a directory that no path of ours can enter */
        FAKE_IS_REMOTE = 1 << 7,   /* below a FUSE that a path would have to ask */
        FAKE_IS_DETACHED = 1 << 8, /* foreign, but the attach succeeds, and can't be undone */
};

struct fake_directory {
        const char *path; /* borrowed */
        uid_t owner;
        uint64_t magic;           /* FAKE_FUSE; 0: FAKE_EXT4 */
        unsigned flags;           /* FAKE_IS_* */
        uint64_t mount_namespace; /* its own, foreign to any other; 0: ours */
};

/* A descriptor of the directory, which the caller owns. */
int fake_directory(const struct fake_directory *directory);

/* ---- namespaces ---- */

/*
 * A descriptor of the namespace of that kind (CLONE_NEW*) and id, not 0 or FAKE_OWN_NAMESPACE; the
 * caller owns it.
 */
enum { FAKE_OWN_NAMESPACE = 1 };
int fake_namespace(int kind, uint64_t id);
#define FAKE_INODE(id) (4026532000 + (id)) /* of the namespace with that id */

/* Ends a mount namespace. */
void fake_end_namespace(uint64_t id);

/* Puts the process outside all of the namespaces; 0: into all, as at the beginning. */
void fake_hide_process(pid_t pid);

/*
 * All namespaces made from now on belong to a user namespace created by that user, which maps these
 * ids of ours.
 */
enum fake_mapping {
        FAKE_MAPS_UID_0 = 1 << 0,
        FAKE_MAPS_GID_0 = 1 << 1,
        FAKE_MAPS_OTHERS = 1 << 2, /* all of them */
};
void fake_own_by(uid_t maker, unsigned mapped);

/* Makes our own user namespace differ from the host's. */
void fake_nest(void);

/* Makes the kernel older than Linux 6.4, whose tmpfs doesn't know "noswap". */
void fake_forget_noswap(void);

/* Makes the kernel older than Linux 6.17: a procfs can't be given a pid namespace. */
void fake_forget_pidns(void);

/* The calling thread's mount namespace, 0: ours. */
uint64_t fake_where(void);

/* ---- mounts ---- */

struct fake_mount {
        char options[256]; /* "proc,source=mountatd,ro", in the order given, followed by "pidns=7"
                              or "net=7" if it shows that namespace */
        char files[256];   /* "pts shm null … fd=/proc/self/fd …", in the order made */
        unsigned attributes;
        uint64_t id;     /* unique */
        uint64_t id_old; /* reusable */
};

/* The number of our attached mounts, and of others'. */
unsigned fake_mounts(void);
unsigned fake_strangers(void);

/* The topmost mount on the directory, NULL: none. Valid until it is detached. */
const struct fake_mount *fake_mount_on(int directory);

/* The mount attached to that file or directory of the mount `fd`; NULL: none. */
const struct fake_mount *fake_part(int fd, const char *name);

/* Puts another device at that path of the host; NULL: everything is in place again. */
void fake_misplace(const char *path);

/* Somebody else mounts on the directory, on top of any other mount. */
void fake_cover(int directory);

/* A mount from before our start, on top of any other; options as above. */
const struct fake_mount *fake_mount_before(int directory, const char *options);

/* Attaches the detached mount there after all. */
void fake_mount_again(int directory, const struct fake_mount *mount);

/* A descriptor of the root of the topmost mount on the directory; the caller owns it. */
int fake_open_mount(int directory);

/* Somebody else detaches the topmost mount on the directory. */
void fake_uncover(int directory);

/* ---- calls ---- */

/* Clears the log, and cancels ordered failures. */
void fake_calls_reset(void);

/* The number of calls of the kind (FAKE_ANY: of all kinds) since the reset. */
unsigned fake_calls(enum fake_call kind);

/* The kind of the n-th call since the reset, from 1 on. */
enum fake_call fake_call_at(unsigned n);

/*
 * Makes the n-th call of the kind (FAKE_ANY: any) since the reset fail with the positive errno, and
 * `times` - 1 more of that kind. One order at a time.
 */
void fake_fail(enum fake_call kind, unsigned n, unsigned times, int error);

/*
 * Blocks the next `times` calls of the kind, as on a file system that doesn't answer; other
 * threads' calls go on. fake_blocked() returns the number of blocked calls; fake_unblock() lets
 * them go on.
 */
void fake_block(enum fake_call kind, unsigned times);
unsigned fake_blocked(void);
void fake_unblock(void);

/* Whether an ordered failure of the kind has happened since the reset. */
bool fake_has_failed(enum fake_call kind);

/* Whether the thread is in "/", where it must be between two requests. */
bool fake_is_in_root(void);
