/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The thin seam over the mount syscalls: one function a call, under the call's own name, with
 * errors as negative errno. No policy, no state. Tests link another implementation of this header.
 * Sources: open_tree(2), fsopen(2), fsconfig(2), fsmount(2), move_mount(2), umount2(2),
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
 * Opens /proc, once in the process, before the first thread: from a client's mount namespace no
 * path of ours leads there.
 */
int kernel_prepare(void);

/* statx(fd, ""), without asking a server for fresh attributes: does not block. */
int kernel_statx(int fd, unsigned mask, struct statx *stat);

/*
 * The reusable id of the mount that ".." of `fd`, the root of a mount, is on: statx(fd, ".."), of
 * which no server hears. A mount that isn't on another is its own.
 */
int kernel_statx_above(int fd, uint64_t *mount_id);

/*
 * The unique id of the mount that `fd` is on, Linux 6.12, where a server lets nobody stat it: by
 * name_to_handle_at(fd, ""), which does not block. -EINVAL: an older kernel. -EOPNOTSUPP: not for
 * this file system.
 */
int kernel_name_to_handle(int fd, uint64_t *mount_id);

/* The magic of the file system that `fd` is on. Blocks on FUSE; O_PATH will do. */
int kernel_fstatfs(int fd, uint64_t *magic);

/*
 * What the kernel calls the place of `fd`, by readlinkat in `proc`, a descriptor of /proc/self/fd:
 * does not block. NUL-terminated; -ENAMETOOLONG if it doesn't fit.
 */
int kernel_readlink(int proc, int fd, char *path, size_t size);

/* A new superblock's context, close-on-exec; the caller owns it. -ENODEV: no such file system. */
int kernel_fsopen(const char *file_system);

/* `command` is FSCONFIG_SET_STRING, FSCONFIG_SET_FLAG (no value) or FSCONFIG_CMD_CREATE (neither).
 */
int kernel_fsconfig(int context, unsigned command, const char *key, const char *value);

/*
 * What the kernel says about the context's last failure, "proc: Unknown parameter …"; empty where
 * it says nothing.
 */
void kernel_fscontext_message(int context, char *text, size_t size);

/* A detached mount with the MOUNT_ATTR_* `attributes`, close-on-exec; closing it before it is
 * attached destroys it. */
int kernel_fsmount(int context, unsigned attributes);

/* A detached clone of the mount `fd`, or of what `fd` is on, from there. -EINVAL before Linux 6.15
 * when `fd` is detached itself. */
int kernel_open_tree_clone(int fd);

/* The same with all that is mounted below it. */
int kernel_open_tree_clone_all(int fd);

/* Sets and clears MOUNT_ATTR_* of one mount, which is nobody's peer from now on. */
int kernel_mount_setattr(int mount, uint64_t set, uint64_t clear);

/* An O_PATH of a device's node, by a path of ours; the caller owns it. Follows no link. */
int kernel_open_node(const char *path);

/* ---- in a file system of our own, of which `directory` is open ---- */

int kernel_make_file(int directory, const char *name);
int kernel_make_directory(int directory, const char *name);
int kernel_make_link(int directory, const char *name, const char *target);

/* The superblock of `mount` is read-only from now on. */
int kernel_make_read_only(int mount);

/* Attaches the detached `mount` to that file or directory. -EINVAL before Linux 6.15 when
 * `directory` is detached itself. */
int kernel_move_mount_below(int mount, int directory, const char *name);

/* ---- a client's directories ---- */

/*
 * Attaches the detached `mount` to the directory `target`, of which nothing is looked up.
 * -ENOENT: it was removed. -EINVAL: in another mount namespace or a detached tree. -ENOTDIR.
 * Blocks, unkillable, while a FUSE server sits on an operation inside the directory.
 */
int kernel_move_mount(int mount, int target);

/* Detaches the topmost mount on the calling thread's working directory (MNT_DETACH): does not
 * block. -EINVAL: nothing is mounted there any more. */
int kernel_umount_here(void);

/* The calling thread gets a working directory of its own. */
int kernel_unshare_fs(void);

/* Changes the thread's working directory, which pins the mount it is on. Blocks on FUSE; not on the
 * procfs and sysfs of ours. */
int kernel_fchdir(int fd);

/* ---- namespaces ---- */

/* The CLONE_NEW* of the namespace that `fd` is. -EINVAL: it is none; -EBADF: it isn't open for
 * reading. Asks no driver: NS_GET_NSTYPE of ioctl_ns(2), and only of an nsfs. Blocks on FUSE. */
int kernel_namespace_kind(int fd);

/* What a mount namespace is called: its unique id, Linux 6.11 (NS_GET_MNTNS_ID); before, its inode,
 * which is good as long as it lives. */
int kernel_mount_namespace_id(int fd, uint64_t *id);

/* The inode of a namespace, which is what people know it by: lsns(8), /proc/PID/ns. Does not block.
 */
int kernel_namespace_inode(int fd, uint64_t *inode);

/* 0: the process with that pid, to us, is in the pid namespace; or below it, where /proc hides the
 * process from us (hidepid). -ESRCH: it isn't. -ENOTTY before Linux 6.12. NS_GET_TGID_IN_PIDNS. */
int kernel_pid_namespace_has(int fd, pid_t pid);

/* Opens a mount namespace beside the one that `fd` is, with its id; Linux 6.12. NS_MNT_GET_NEXT and
 * _PREV: between them, all that there are. -ENOENT: no more. -ENOTTY: an older kernel. */
enum kernel_direction {
        KERNEL_NEXT = 11,
        KERNEL_PREVIOUS = 12,
};
int kernel_open_mount_namespace(int fd, enum kernel_direction direction, uint64_t *id);

/* Whether both descriptors are the same namespace. */
int kernel_is_same_namespace(int a, int b);

/* Opens the user namespace that a namespace belongs to, ours or one below it; the caller owns it.
 * NS_GET_USERNS. */
int kernel_namespace_owner(int fd);

/* Opens the user namespace that a user namespace below ours was made in; the caller owns it.
 * NS_GET_PARENT. */
int kernel_namespace_parent(int fd);

/* The uid that made a user namespace. NS_GET_OWNER_UID. */
int kernel_namespace_maker(int fd, uid_t *maker);

/* Whether that is the host's user namespace. */
int kernel_is_initial_user_namespace(int fd);

/* Owners of files in a detached mount of ours are mapped as in that user namespace from now on:
 * MOUNT_ATTR_IDMAP, of a tmpfs Linux 6.3. -EINVAL: its maps aren't written yet (Linux 6.8). */
int kernel_mount_setattr_idmap(int mount, int user_namespace);

/* fchownat(2) of a mount's root, -1: not that one. -EOVERFLOW: an id has no mapping there, or the
 * root's own one that stays. That is found before any right is asked for: notify_change() in
 * fs/attr.c. */
int kernel_fchownat(int mount, uid_t uid, gid_t gid);

/* setns(2): the calling thread is in there from now on; of a mount namespace, at its root. */
int kernel_setns(int fd, int kind);

/* The calling thread's root becomes its working directory. */
int kernel_chroot_here(void);

/* FSCONFIG_SET_FD. -EINVAL also of a key that the kernel doesn't know. */
int kernel_fsconfig_fd(int context, const char *key, int fd);

struct kernel_mount {
        uint64_t parent;     /* its unique mount id */
        uint64_t parent_old; /* its reusable one */
        uint64_t magic;      /* of the file system */
};

/*
 * Facts of an attached mount by its unique id, Linux 6.8. -ENOENT: no such mount in this mount
 * namespace. -ENOSYS or -EPERM: not to be had (a seccomp filter that doesn't know the call says
 * EPERM).
 */
int kernel_statmount(uint64_t id, struct kernel_mount *mount);

/*
 * Where the mount with that unique id is, as a path from our root; errors as kernel_statmount(),
 * and -EOVERFLOW if it doesn't fit. In the mount namespace of that unique id, Linux 6.11, as a path
 * from that one's root; 0: the calling thread's.
 */
int kernel_statmount_place(uint64_t id, uint64_t mount_namespace, char *path, size_t size);

struct kernel_mountinfo {
        uint64_t parent; /* its reusable id */
        char place[PATH_MAX];
        char file_system[32];
        char source[64];
};

/*
 * The line of the mount with that reusable id in mountinfo, proc(5): for kernels without statmount.
 * Reads the whole table of the calling thread's mount namespace. -ENOENT: no such mount there.
 */
int kernel_mountinfo(uint64_t old_id, struct kernel_mountinfo *info);

/*
 * The directory at the absolute `path`, as O_PATH, never through a link; the caller owns it. Blocks
 * on FUSE, unless `resolve` is RESOLVE_CACHED: -EAGAIN then if a file system would have to be asked
 * (a mount pins the names above it, so on local ones it needn't be).
 */
int kernel_open_place(const char *path, uint64_t resolve);

/* The directory `name` of `directory`, as O_PATH, the root of what is mounted on it if anything is;
 * never through a link. Blocks on FUSE. */
int kernel_open_below(int directory, const char *name);

/* STATX_MNT_ID_UNIQUE, which the baseline's headers don't know. */
#define KERNEL_STATX_MNT_ID_UNIQUE 0x4000U
