/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The verdict on a target: may this peer have this file system mounted there? Default deny. Pure:
 * no syscall, no clock, so that a table can test all of it. Any thread once the policy is built.
 *
 * A target must be an existing directory, not itself the root of a mount, and named "proc" for
 * procfs, "sys" for sysfs or "dev" for a /dev. The security is in the rest: it is owned by the peer
 * and on a local file system (ext4, xfs, btrfs, tmpfs, overlayfs, f2fs, zfs, bcachefs), or it is
 * below a build directory that the administrator opened to the peer. And its path is text, as
 * defined in text.h: service managers list every mount, and the whole list fails for a name that
 * isn't.
 *
 * The rule of ownership keeps users out of each other's directories: a request that an
 * administrator vouches for is exempt from it. All other rules apply.
 */

#include "common/status.h"
#include "daemon/target.h"

#include <stddef.h>
#include <sys/types.h>

/* Instead of a uid: everybody who can connect. */
#define POLICY_ANY_USER ((uid_t)-1)

struct policy;

/* The trust in a caller, from D-Bus to the verdict. */
enum trust {
        TRUST_USER,          /* it is who the kernel or the bus says */
        TRUST_ADMINISTRATOR, /* root or an administrator vouches for the request */
};

/* The client. */
struct subject {
        uid_t uid;
        gid_t gid; /* of a connection; used only as namespaces.h says */
        pid_t pid; /* 0: in a pid namespace that we can't see */
        enum trust trust;
};

/* NULL: out of memory. An empty policy: only own directories, and procfs read-only for all. */
struct policy *policy_new(void);
struct policy *policy_free(struct policy *policy);

/*
 * Opens the tree below `path` to `uid`. The path is compared with the kernel's path of a target, so
 * -EINVAL unless it is text, absolute and without empty, "." and ".." components (a trailing "/" is
 * dropped), or if it is "/" itself. -ENOMEM.
 */
int policy_add_build_directory(struct policy *policy, const char *path, uid_t uid);

/*
 * The next build directory from `*cursor` on, which starts at 0; the path is the policy's. False:
 * no more.
 */
bool policy_next_build_directory(const struct policy *policy, size_t *cursor, const char **path,
                                 uid_t *uid);

/* Lets `uid` have a writable procfs. -ENOMEM. */
int policy_add_writable_proc(struct policy *policy, uid_t uid);

bool policy_allows_writable_proc(const struct policy *policy, uid_t uid);

/* Lets the daemon enter the namespaces of `uid`'s clients. -ENOMEM. */
int policy_add_join(struct policy *policy, uid_t uid);

bool policy_allows_join(const struct policy *policy, uid_t uid);

/* Whether the daemon may enter the namespaces of any client. */
bool policy_joins(const struct policy *policy);

/* From now on that owner may be anybody: kernel_unmapped_uid(). (uid_t)-1, the default: nobody. */
void policy_distrust_owner(struct policy *policy, uid_t uid);

/* Whether the file system with this magic is one of the local ones. */
bool policy_is_local(uint64_t magic);

/*
 * VERDICT_OK, or the protocol's first reason that applies, with the facts that were compared where
 * they aren't obvious. `file_system` is one of the protocol's.
 */
struct verdict policy_judge(const struct policy *policy, const struct subject *subject,
                            uint32_t file_system, const struct target_facts *facts);

/*
 * The same for a request that only checks, and may come before the targets exist. A directory not
 * named proc, sys or dev, or a build directory that is open to the subject, is judged as the parent
 * of mounts to come: like a mountpoint of the same owner right below it. So it may itself be the
 * root of a mount, as Buildbarn's FUSE is.
 */
struct verdict policy_judge_check(const struct policy *policy, const struct subject *subject,
                                  uint32_t file_system, const struct target_facts *facts);
