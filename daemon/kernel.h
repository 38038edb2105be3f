/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A thin layer over the mount system calls: one function per call, under the call's own name, with
 * errors as negative errno. No policy, no state. Unit tests link another implementation of this
 * header. Sources: open_tree(2), fsopen(2), fsconfig(2), fsmount(2), move_mount(2), umount2(2),
 * statmount(2), statx(2); Documentation/filesystems/mount_api.rst in the kernel.
 *
 * Any thread. "Blocks" below means: can wait for a file system's server, perhaps for ever.
 */

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* statmount(2), by number: newer than libc's and libseccomp's tables. */
enum { KERNEL_SYS_STATMOUNT = 457 };

/*
 * Opens /proc, once per process, before the first thread: from within a client's mount namespace it
 * can't be reached by path.
 */
int kernel_prepare(void);

/*
 * The uid as which all appear that this process's user namespace doesn't map: user_namespaces(7).
 * (uid_t)-1: it maps all.
 */
int kernel_unmapped_uid(uid_t *uid);

/* statx(fd, ""), without asking a server for fresh attributes: does not block. */
int kernel_statx(int fd, unsigned mask, struct statx *stat);

/*
 * The reusable id of the mount below the one with the root `fd`: statx(fd, ".."), without asking a
 * server. For a mount that isn't on another, its own id.
 */
int kernel_statx_above(int fd, uint64_t *mount_id);

/*
 * The unique id of the mount that `fd` is on, even if its server lets nobody stat it; Linux 6.12:
 * name_to_handle_at(fd, ""), which does not block. -EINVAL: an older kernel. -EOPNOTSUPP: not
 * supported by this file system.
 */
int kernel_name_to_handle(int fd, uint64_t *mount_id);

/* The magic of the file system that `fd` is on. Blocks on FUSE; O_PATH is enough. */
int kernel_fstatfs(int fd, uint64_t *magic);

/*
 * The kernel's path of `fd`, by readlinkat in `proc`, a descriptor of /proc/self/fd: does not
 * block. NUL-terminated; -ENAMETOOLONG if it doesn't fit.
 */
int kernel_readlink(int proc, int fd, char *path, size_t size);

/* A new superblock's context, close-on-exec; the caller owns it. -ENODEV: no such file system. */
int kernel_fsopen(const char *file_system);

/* `command` is FSCONFIG_SET_STRING, FSCONFIG_SET_FLAG (no value) or FSCONFIG_CMD_CREATE (neither).
 */
int kernel_fsconfig(int context, unsigned command, const char *key, const char *value);

/*
 * The kernel's message about the context's last failure, "proc: Unknown parameter …"; empty if
 * there is none.
 */
void kernel_fscontext_message(int context, char *text, size_t size);

/* A detached mount with the MOUNT_ATTR_* `attributes`, close-on-exec; closing it before it is
 * attached destroys it. */
int kernel_fsmount(int context, unsigned attributes);

/*
 * A detached clone of the mount `fd`, or from the directory `fd` on. -EINVAL before Linux 6.15 if
 * `fd` is detached itself.
 */
int kernel_open_tree_clone(int fd);

/* The same, with all mounts below it. */
int kernel_open_tree_clone_all(int fd);

/* Sets and clears MOUNT_ATTR_* of one mount, and makes it private. */
int kernel_mount_setattr(int mount, uint64_t set, uint64_t clear);

/* Opens a device node by one of our own paths, as O_PATH; the caller owns it. Follows no link. */
int kernel_open_node(const char *path);

/* ---- in one of our own file systems, with `directory` open ---- */

int kernel_make_file(int directory, const char *name);

/*
 * A mountpoint, with mode 0: who reads a directory into memory that a FUSE of his doesn't deliver
 * keeps everybody from mounting on it, so nobody else may open it.
 */
int kernel_make_directory(int directory, const char *name);

int kernel_make_link(int directory, const char *name, const char *target);

/* Makes the superblock of `mount` read-only. */
int kernel_make_read_only(int mount);

/*
 * Attaches the detached `mount` to that file or directory. -EINVAL: one is a directory and the
 * other isn't; before Linux 6.15 also if `directory` is detached itself.
 */
int kernel_move_mount_below(int mount, int directory, const char *name);

/* ---- a client's directories ---- */

/*
 * Attaches the detached `mount` to the directory `target`, without a lookup. -ENOENT: it was
 * removed. -EINVAL: not a directory, in another mount namespace, or before Linux 6.15 in a detached
 * tree. Blocks, unkillable, while a FUSE server holds up an operation inside the directory.
 */
int kernel_move_mount(int mount, int target);

/*
 * Detaches the topmost mount on the calling thread's working directory (MNT_DETACH): does not
 * block. -EINVAL: nothing is mounted there any more.
 */
int kernel_umount_here(void);

/* Gives the calling thread its own working directory. */
int kernel_unshare_fs(void);

/*
 * Changes the thread's working directory, which pins its mount. Blocks on FUSE, but not on our own
 * procfs and sysfs.
 */
int kernel_fchdir(int fd);

/* ---- namespaces ---- */

/*
 * The CLONE_NEW* type of the namespace `fd`. -EINVAL: not a namespace; -EBADF: not open for
 * reading. Asks only nsfs, and no other driver: NS_GET_NSTYPE of ioctl_ns(2). Blocks on FUSE.
 */
int kernel_namespace_kind(int fd);

/*
 * The id of a mount namespace: unique since Linux 6.11 (NS_GET_MNTNS_ID); before, its inode, which
 * is valid as long as it lives.
 */
int kernel_mount_namespace_id(int fd, uint64_t *id);

/* The inode of a namespace, as lsns(8) and /proc/PID/ns show it. Does not block. */
int kernel_namespace_inode(int fd, uint64_t *inode);

/*
 * 0: the process with that pid in our namespace is in the given pid namespace, or in one below it
 * if /proc hides the process from us (hidepid). -ESRCH: it isn't. -ENOTTY before Linux 6.12.
 * NS_GET_TGID_IN_PIDNS.
 */
int kernel_pid_namespace_has(int fd, pid_t pid);

/*
 * Opens the mount namespace next to `fd` in the kernel's list of all, and returns its id; Linux
 * 6.12, NS_MNT_GET_NEXT and _PREV. -ENOENT: no more. -EPERM: outside the first pid namespace.
 * -ENOTTY: an older kernel.
 */
enum kernel_direction {
        KERNEL_NEXT = 11,
        KERNEL_PREVIOUS = 12,
};
int kernel_open_mount_namespace(int fd, enum kernel_direction direction, uint64_t *id);

/* Whether both descriptors refer to the same namespace. */
int kernel_is_same_namespace(int a, int b);

/*
 * Opens the user namespace that owns a namespace, ours or one below it; the caller owns the
 * descriptor. NS_GET_USERNS.
 */
int kernel_namespace_owner(int fd);

/*
 * Opens the parent of a user namespace below ours; the caller owns the descriptor. NS_GET_PARENT.
 */
int kernel_namespace_parent(int fd);

/* The uid of the creator of a user namespace. NS_GET_OWNER_UID. */
int kernel_namespace_maker(int fd, uid_t *maker);

/* Whether it is the host's user namespace. */
int kernel_is_initial_user_namespace(int fd);

/*
 * Maps the owners of files in a detached mount of ours as in that user namespace: MOUNT_ATTR_IDMAP,
 * for a tmpfs since Linux 6.3. -EINVAL: its maps aren't written yet (Linux 6.8).
 */
int kernel_mount_setattr_idmap(int mount, int user_namespace);

/*
 * fchownat(2) of a mount's root; -1 keeps an id. -EOVERFLOW: an id, or the root's id that is kept,
 * has no mapping there. The kernel checks that before any permission: notify_change() in fs/attr.c.
 */
int kernel_fchownat(int mount, uid_t uid, gid_t gid);

/* setns(2): moves the calling thread; into a mount namespace, to its root. */
int kernel_setns(int fd, int kind);

/* Makes the calling thread's working directory its root. */
int kernel_chroot_here(void);

/* FSCONFIG_SET_FD. -EINVAL also for a key that the kernel doesn't know. */
int kernel_fsconfig_fd(int context, const char *key, int fd);

struct kernel_mount {
        uint64_t parent;     /* its unique mount id */
        uint64_t parent_old; /* its reusable one */
        uint64_t magic;      /* of the file system */
};

/*
 * Facts about an attached mount by its unique id, Linux 6.8. -ENOENT: no such mount in this mount
 * namespace. -EINVAL: a reusable id, on newer kernels. -ENOSYS or -EPERM: not available (a seccomp
 * filter that doesn't know the call returns EPERM).
 */
int kernel_statmount(uint64_t id, struct kernel_mount *mount);

/*
 * The path, from our root, of the mount with that unique id; errors as kernel_statmount(), and
 * -EOVERFLOW if it doesn't fit. In the mount namespace with that unique id, Linux 6.11, the path is
 * from that one's root; 0: the calling thread's. Empty if the mount can't be reached from that
 * root, for which Linux 6.12 takes another one in a machine that booted from an initramfs.
 */
int kernel_statmount_place(uint64_t id, uint64_t mount_namespace, char *path, size_t size);

struct kernel_mountinfo {
        uint64_t parent;      /* its reusable id */
        char place[PATH_MAX]; /* from our root; empty if it doesn't fit */
        char file_system[32]; /* truncated if it doesn't fit */
        char source[64];      /* the same */
};

/*
 * The line in mountinfo, proc(5), of the mount with that reusable id: for kernels without
 * statmount. Reads the whole table of the calling thread's mount namespace. -ENOENT: no such mount
 * there.
 */
int kernel_mountinfo(uint64_t old_id, struct kernel_mountinfo *info);

/*
 * Opens the directory at the absolute `path` as O_PATH, never through a link; the caller owns it.
 * Blocks on FUSE, unless `resolve` is RESOLVE_CACHED: then -EAGAIN if a file system would have to
 * be asked (a mount pins the names above it, so local ones need not be).
 */
int kernel_open_place(const char *path, uint64_t resolve);

/*
 * Opens the directory `name` of `directory` as O_PATH, or the root of the mount on it; never
 * through a link. Blocks on FUSE.
 */
int kernel_open_below(int directory, const char *name);

/* STATX_MNT_ID_UNIQUE, missing in the baseline's headers. */
#define KERNEL_STATX_MNT_ID_UNIQUE 0x4000U
