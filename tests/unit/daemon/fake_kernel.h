/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * daemon/kernel.h in memory: directories with the facts a test gives them, a mount table that
 * stacks as the kernel's does, a log of the calls, and failures on order. Descriptors are real
 * (memfd_create(2)), so that what leaks is seen in /proc/self/fd; what a descriptor means goes with
 * its inode, and so survives SCM_RIGHTS. A descriptor that isn't of here stands for "/".
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
        FAKE_NAMESPACE, /* a question about one */
        FAKE_SETNS,
        FAKE_CHROOT,
        FAKE_FSCONFIG_FD,
        FAKE_ANY, /* also their number */
};

/* Everything is as at the beginning, but for what is open: who has closed that calls it. */
void fake_forget(void);

/* What the kernel can do, as PROTOCOL_FEATURE_* bits; without a call: none of them. */
void fake_features(unsigned features);

/* ---- directories ---- */

enum fake_flag {
        FAKE_IS_FILE = 1 << 0,
        FAKE_IS_HIDDEN = 1 << 1,   /* a FUSE server's that answers EACCES */
        FAKE_IS_DELETED = 1 << 2,  /* " (deleted)", and not to be mounted on */
        FAKE_IS_FOREIGN = 1 << 3,  /* on a mount that isn't in our namespace */
        FAKE_IS_ROOT = 1 << 4,     /* of a mount */
        FAKE_VANISHES = 1 << 5,    /* removed just before it is mounted on */
        FAKE_IS_PRIVATE = 1 << 6,  /* below a directory that no path leads us through */
        FAKE_IS_REMOTE = 1 << 7,   /* below a FUSE that a path would have to ask */
        FAKE_IS_DETACHED = 1 << 8, /* foreign, and the attach succeeds, to be undone by nobody */
};

struct fake_directory {
        const char *path; /* borrowed */
        uid_t owner;
        uint64_t magic;           /* FAKE_FUSE; 0: FAKE_EXT4 */
        unsigned flags;           /* FAKE_IS_* */
        uint64_t mount_namespace; /* that it is in, and foreign in any other; 0: ours */
};

/* A descriptor of the directory, which the caller owns. */
int fake_directory(const struct fake_directory *directory);

/* ---- namespaces ---- */

/* A descriptor of the namespace of the kind, a CLONE_NEW*, with that id, not 0 or
 * FAKE_OWN_NAMESPACE; the caller owns it. */
enum { FAKE_OWN_NAMESPACE = 1 };
int fake_namespace(int kind, uint64_t id);
#define FAKE_INODE(id) (4026532000 + (id)) /* of the one with that id */

/* A mount namespace is no more. */
void fake_end_namespace(uint64_t id);

/* The process is in none of them; 0: in all, as at the beginning. */
void fake_hide_process(pid_t pid);

/* All that are made here belong to a user namespace that the user has made, in which are those ids
 * of ours. */
enum fake_mapping {
        FAKE_MAPS_UID_0 = 1 << 0,
        FAKE_MAPS_GID_0 = 1 << 1,
        FAKE_MAPS_OTHERS = 1 << 2, /* all of them */
};
void fake_own_by(uid_t maker, unsigned mapped);

/* Our own user namespace isn't the host's. */
void fake_nest(void);

/* The kernel is one before Linux 6.4, whose tmpfs doesn't know "noswap". */
void fake_forget_noswap(void);

/* The kernel is one before Linux 6.17: no procfs is told its pid namespace. */
void fake_forget_pidns(void);

/* The mount namespace that the calling thread is in, 0: ours. */
uint64_t fake_where(void);

/* ---- mounts ---- */

struct fake_mount {
        char options[256]; /* "proc,source=mountatd,ro", in the order they were given, and at the
                              end "pidns=7" or "net=7" if it shows that namespace */
        char files[256]; /* "pts shm null … fd=/proc/self/fd …", in the order they were made */
        unsigned attributes;
        uint64_t id;     /* unique */
        uint64_t id_old; /* the other kind */
};

/* How many of ours are attached, and how many of others. */
unsigned fake_mounts(void);
unsigned fake_strangers(void);

/* The topmost mount on the directory, NULL if there is none. Good until it is detached. */
const struct fake_mount *fake_mount_on(int directory);

/* What was attached to that file or directory of the mount `fd`; NULL: nothing. */
const struct fake_mount *fake_part(int fd, const char *name);

/* The host has another device at that path, from now on; NULL: everything is in its place. */
void fake_misplace(const char *path);

/* Somebody else mounts on the directory, on top of whatever is there already. */
void fake_cover(int directory);

/* A mount that was there before us, on top of whatever is there; options as above. */
const struct fake_mount *fake_mount_before(int directory, const char *options);

/* It was detached, and is attached there after all. */
void fake_mount_again(int directory, const struct fake_mount *mount);

/* A descriptor of the root of the topmost mount on the directory, which the caller owns. */
int fake_open_mount(int directory);

/* Somebody else detaches the topmost mount on the directory. */
void fake_uncover(int directory);

/* ---- calls ---- */

/* The log begins anew, and no failure is ordered any more. */
void fake_calls_reset(void);

/* How many calls of the kind (FAKE_ANY: of all kinds) there were since the reset. */
unsigned fake_calls(enum fake_call kind);

/* The kind of the n-th call since the reset, from 1 on. */
enum fake_call fake_call_at(unsigned n);

/*
 * The n-th call of the kind (FAKE_ANY: whichever it is) since the reset, and `times` - 1 more of
 * the kind, fail with the positive errno. One order at a time.
 */
void fake_fail(enum fake_call kind, unsigned n, unsigned times, int error);

/*
 * The next `times` calls of the kind wait until they are let go, as on a file system that
 * doesn't answer; other threads' calls go on. fake_blocked(): how many wait; those go on by
 * fake_unblock().
 */
void fake_block(enum fake_call kind, unsigned times);
unsigned fake_blocked(void);
void fake_unblock(void);

/* Whether a call of the kind has been made to fail since the reset. */
bool fake_has_failed(enum fake_call kind);

/* Whether the thread is where it must be between two requests: in "/". */
bool fake_is_in_root(void);
