/* SPDX-License-Identifier: Apache-2.0 */

/* Each thread keeps track of where it is. A thread that can't get home serves no other client. */

#include "daemon/namespaces.h"

#include "common/fd.h"
#include "common/protocol.h"
#include "daemon/kernel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

enum { NAMESPACES_RETURN_TRIES = 8 };

static const struct {
        const char *name, *path;
        int kind;
} namespaces_kinds[NAMESPACES_KINDS] = {
        [PROTOCOL_NAMESPACE_MOUNT] = {"mount", "/proc/self/ns/mnt", CLONE_NEWNS},
        [PROTOCOL_NAMESPACE_PID] = {"pid", "/proc/self/ns/pid", CLONE_NEWPID},
        [PROTOCOL_NAMESPACE_NETWORK] = {"network", "/proc/self/ns/net", CLONE_NEWNET},
};

#define NAMESPACES_NOWHERE UINT64_MAX /* on the way home */

static int namespaces_root = -EBADF; /* our root, which may not be that of our mount namespace */
static bool namespaces_searches;
static int namespaces_ours[NAMESPACES_KINDS] = {-EBADF, -EBADF, -EBADF, -EBADF};
static int namespaces_our_users = -EBADF; /* our user namespace */

/*
 * The calling thread's current mount namespace (0: ours), and its client's namespaces, to which it
 * returns; borrowed.
 */
static _Thread_local uint64_t namespaces_place;
static _Thread_local const struct namespaces *namespaces_entered;
static _Thread_local bool namespaces_lost; /* stuck in a client's network namespace */

int namespaces_prepare(bool search) {
        namespaces_searches = search;
        namespaces_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (namespaces_root < 0)
                return -errno;
        for (unsigned i = PROTOCOL_NAMESPACE_MOUNT; i < NAMESPACES_KINDS; i++) {
                namespaces_ours[i] = open(namespaces_kinds[i].path, O_RDONLY | O_CLOEXEC);
                if (namespaces_ours[i] < 0)
                        return -errno;
        }
        namespaces_our_users = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
        return namespaces_our_users < 0 ? -errno : 0;
}

/* ---- moving between namespaces ---- */

static int namespaces_try_home(void) {
        int r = kernel_setns(namespaces_ours[PROTOCOL_NAMESPACE_MOUNT], CLONE_NEWNS);

        if (r < 0)
                return r;
        namespaces_place = NAMESPACES_NOWHERE;
        r = kernel_fchdir(namespaces_root);
        return r < 0 ? r : kernel_chroot_here();
}

/* Retries, since memory may be short for only a moment. */
static int namespaces_go_home(void) {
        int r = namespaces_place == 0 ? 0 : -EAGAIN;

        for (int i = 0; i < NAMESPACES_RETURN_TRIES && r < 0; i++)
                r = namespaces_try_home();
        if (r == 0)
                namespaces_place = 0;
        return r;
}

bool namespaces_return(void) {
        return namespaces_go_home() == 0 && !namespaces_lost;
}

/* Looks through the kernel's list of all, in one direction from our own. -ENOENT: not found. */
static int namespaces_walk(uint64_t id, enum kernel_direction direction) {
        FD_AUTO int from = -EBADF;
        uint64_t found;
        int fd = kernel_open_mount_namespace(namespaces_ours[PROTOCOL_NAMESPACE_MOUNT], direction,
                                             &found);

        while (fd >= 0 && found != id) {
                fd_close(from);
                from = fd;
                fd = kernel_open_mount_namespace(from, direction, &found);
        }
        return fd;
}

/* 1: the process is in that namespace, and `*fd` is open on it. */
static int namespaces_look_at(int proc, const char *pid, uint64_t id, int *fd) {
        FD_AUTO int found = -EBADF;
        uint64_t found_id;
        char path[NAME_MAX + sizeof("/ns/mnt")];
        int r;

        snprintf(path, sizeof(path), "%s/ns/mnt", pid);
        found = openat(proc, path, O_RDONLY | O_CLOEXEC);
        if (found < 0)
                return errno == ENOENT || errno == ESRCH ? 0 : -errno; /* it has exited */
        r = kernel_mount_namespace_id(found, &found_id);
        if (r < 0 || found_id != id)
                return r;
        *fd = fd_take(&found);
        return 1;
}

/* Looks through the namespaces of processes. One that can't be examined might be the one. */
static int namespaces_search(uint64_t id) {
        DIR *proc = opendir("/proc");
        struct dirent *entry;
        int fd = -ENOENT, denied = -ENOENT;

        if (!proc)
                return -errno;
        while ((entry = readdir(proc))) {
                int r = entry->d_name[0] >= '1' && entry->d_name[0] <= '9'
                                ? namespaces_look_at(dirfd(proc), entry->d_name, id, &fd)
                                : 0;

                if (r > 0)
                        break;
                if (r < 0)
                        denied = r;
        }
        closedir(proc);
        return fd >= 0 ? fd : denied;
}

static int namespaces_find(uint64_t id) {
        int fd;

        if (namespaces_root < 0)
                return -EOPNOTSUPP; /* --join is no longer given */
        fd = namespaces_walk(id, KERNEL_NEXT);
        if (fd == -ENOENT)
                fd = namespaces_walk(id, KERNEL_PREVIOUS);
        /* There is no list before Linux 6.12, and outside the first pid namespace it is denied. */
        if (namespaces_searches && (fd == -ENOTTY || fd == -EPERM))
                fd = namespaces_search(id);
        return fd;
}

static int namespaces_go_to(int fd, uint64_t id) {
        int r = -EAGAIN;

        for (int i = 0; i < NAMESPACES_RETURN_TRIES && r < 0; i++)
                r = kernel_setns(fd, CLONE_NEWNS);
        if (r == 0)
                namespaces_place = id;
        return r;
}

uint64_t namespaces_here(void) {
        return namespaces_place;
}

int namespaces_go(uint64_t id) {
        FD_AUTO int fd = -EBADF;
        int r;

        if (id == namespaces_place)
                return 0;
        r = namespaces_go_home();
        if (r < 0 || id == 0)
                return r;
        if (namespaces_entered && namespaces_entered->id == id)
                return namespaces_go_to(namespaces_entered->fds[PROTOCOL_NAMESPACE_MOUNT], id);
        fd = namespaces_find(id);
        return fd < 0 ? fd : namespaces_go_to(fd, id);
}

int namespaces_run_in_network(const struct namespaces *namespaces, void (*run)(void *argument),
                              void *argument) {
        int r = kernel_setns(namespaces->fds[PROTOCOL_NAMESPACE_NETWORK], CLONE_NEWNET), back = -1;

        if (r < 0)
                return r;
        run(argument);
        for (int i = 0; i < NAMESPACES_RETURN_TRIES && back < 0; i++)
                back = kernel_setns(namespaces_ours[PROTOCOL_NAMESPACE_NETWORK], CLONE_NEWNET);
        namespaces_lost |= back < 0;
        return 0;
}

/* ---- a client's namespaces ---- */

static struct verdict namespaces_judge_kind(unsigned kind, int fd) {
        struct verdict verdict = VERDICT_OK;
        int found = kernel_namespace_kind(fd);

        if (found == namespaces_kinds[kind].kind)
                return verdict;
        if (found < 0 && found != -EINVAL && found != -EBADF && found != -ENOTTY)
                return verdict_host_failed(found, STATUS_NO_TARGET);
        verdict = verdict_refuse(STATUS_MALFORMED, STATUS_NO_TARGET);
        snprintf(verdict.text, sizeof(verdict.text),
                 "the descriptor sent as %s namespace is not one: open %s for reading, and send "
                 "that",
                 namespaces_kinds[kind].name, namespaces_kinds[kind].path);
        return verdict;
}

/*
 * A procfs will show the processes of this pid namespace. Before Linux 6.12 it is enough that the
 * peer could open it.
 */
static struct verdict namespaces_judge_peer(int fd, pid_t peer) {
        int r = peer > 0 ? kernel_pid_namespace_has(fd, peer) : -ENOENT;

        if (r == 0 || r == -ENOTTY)
                return VERDICT_OK;
        if (r == -ENOENT)
                return verdict_explain(
                        STATUS_FOREIGN_NAMESPACE, STATUS_NO_TARGET,
                        "mountatd cannot see your processes: run it in your pid namespace or in "
                        "one above, for example with hostPID or a shared process namespace");
        if (r == -ESRCH)
                return verdict_explain(STATUS_NOT_AUTHORISED, STATUS_NO_TARGET,
                                       "the pid namespace is not yours, or the process that "
                                       "connected has exited: connect again, and send your "
                                       "/proc/self/ns/pid");
        return verdict_host_failed(r, STATUS_NO_TARGET);
}

/*
 * A private tmpfs, whose owner nobody sees. -EOPNOTSUPP before Linux 6.4, the first to know
 * "noswap": a tmpfs can be idmapped from 6.3 on, but that can't be probed by itself.
 */
static int namespaces_make_probe(void) {
        FD_AUTO int context = kernel_fsopen("tmpfs"), mount = -EBADF;
        int r;

        if (context < 0)
                return context;
        r = kernel_fsconfig(context, FSCONFIG_SET_FLAG, "noswap", NULL);
        if (r < 0)
                return r == -EINVAL ? -EOPNOTSUPP : r;
        r = kernel_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL);
        mount = r < 0 ? r : kernel_fsmount(context, 0);
        if (mount < 0)
                return mount;
        /* If the call itself is denied, all ids would seem to be mapped. */
        r = kernel_fchownat(mount, -1, -1);
        return r < 0 ? r : fd_take(&mount);
}

/*
 * Whether both ids are mapped. EPERM means that they are: without CAP_CHOWN an owner can't be
 * changed, except to itself.
 */
static int namespaces_has_ids(int probe, uid_t uid, gid_t gid) {
        int r = kernel_fchownat(probe, uid, gid);

        return r == 0 || r == -EPERM ? 1 : r == -EOVERFLOW ? 0 : r;
}

/*
 * Whether the host's uid 0 or gid 0 is mapped in the user namespace. Maps are written only once, so
 * the answer is final, provided they have been written: then the peer's own ids are mapped. Those
 * are checked first, since before Linux 6.8 a map written in between takes effect. -EOVERFLOW: they
 * aren't mapped, so the maps may not be written yet.
 */
static int namespaces_has_root(int users, const struct ucred *peer) {
        FD_AUTO int probe = namespaces_make_probe();
        int r;

        if (probe < 0)
                return probe;
        r = kernel_mount_setattr_idmap(probe, users);
        if (r == 0)
                r = namespaces_has_ids(probe, peer->uid, peer->gid);
        if (r <= 0)
                return r == 0 || r == -EINVAL ? -EOVERFLOW : r;
        r = namespaces_has_ids(probe, 0, peer->gid);
        return r == 0 ? namespaces_has_ids(probe, peer->uid, 0) : r;
}

/*
 * Where ids can't be checked: a creator other than root can map root only with root's permission.
 */
static struct verdict namespaces_judge_maker(int users) {
        uid_t maker;
        int r = kernel_namespace_maker(users, &maker);

        if (r < 0)
                return verdict_host_failed(r, STATUS_NO_TARGET);
        return maker != 0
                       ? VERDICT_OK
                       : verdict_explain(
                                 STATUS_NOT_AUTHORISED, STATUS_NO_TARGET,
                                 "root created your user namespace or one above, and mountatd "
                                 "cannot check that the host's uid 0 is not mapped in it: run it "
                                 "on Linux 6.4 or later, in the host's user namespace");
}

/*
 * CAP_SYS_ADMIN in the user namespace that owns a namespace, or in one above it, can lift what is
 * forced on a mount in there: for a pid or network namespace, the options of the superblock that
 * shows it (s_user_ns in fs/proc/root.c and fs/sysfs/mount.c); for a mount namespace, the
 * attributes of the mount. A process that is the host's root could then use root's access to the
 * files; if the host's root isn't mapped there, no process is. (If the host's uid 0 created such a
 * namespace, it can enter from outside, unmapped and without capabilities; but the container's own
 * procfs gives it the same access.) In a daemon that runs in a user namespace, EOVERFLOW can also
 * mean that an id isn't mapped in that one.
 */
static struct verdict namespaces_judge_users(int users, const struct ucred *peer) {
        struct verdict verdict;
        int r = kernel_is_initial_user_namespace(namespaces_our_users);

        if (r >= 0)
                r = r ? namespaces_has_root(users, peer) : -EOPNOTSUPP;
        if (r == 0)
                return VERDICT_OK;
        if (r == -EOPNOTSUPP)
                return namespaces_judge_maker(users);
        if (r == -EOVERFLOW)
                return verdict_explain(STATUS_NOT_AUTHORISED, STATUS_NO_TARGET,
                                       "your uid or gid is not mapped in the user namespace that "
                                       "owns your namespaces, or in one above: connect after its "
                                       "uid_map and gid_map are written");
        if (r > 0)
                return verdict_explain(
                        STATUS_NOT_AUTHORISED, STATUS_NO_TARGET,
                        "the host's uid 0 or gid 0 is mapped in your user namespace or one above, "
                        "where mountatd's mounts could be made writable: leave both out of its "
                        "maps: see mountatd(8)");
        verdict = verdict_host_failed(r, STATUS_NO_TARGET);
        snprintf(verdict.text, sizeof(verdict.text),
                 "cannot read the id maps of your user namespace: %s (is the unit's drop-in, "
                 "join.conf, of this version?)",
                 strerrordesc_np(-r) ?: "?");
        return verdict;
}

/*
 * 0: `*ret` is open on the topmost user namespace below ours among the owner of a namespace and its
 * ancestors: the others never map an id that this one doesn't. 1: the owner is ours.
 */
static int namespaces_open_users(int fd, int *ret) {
        FD_AUTO int users = kernel_namespace_owner(fd), above = -EBADF;
        int r = users < 0 ? users : kernel_is_same_namespace(users, namespaces_our_users);

        if (r != 0)
                return r;
        while (r == 0) {
                above = kernel_namespace_parent(users);
                r = above < 0 ? above : kernel_is_same_namespace(above, namespaces_our_users);
                if (r == 0) {
                        fd_close(users);
                        users = fd_take(&above);
                }
        }
        if (r < 0)
                return r;
        *ret = fd_take(&users);
        return 0;
}

/* `*judged` is the user namespace that was judged last, usually the next one's owner too. */
static struct verdict namespaces_judge_owner(int fd, const struct ucred *peer, int *judged) {
        FD_AUTO int users = -EBADF;
        int r = namespaces_open_users(fd, &users);

        if (r == 0 && *judged >= 0)
                r = kernel_is_same_namespace(users, *judged);
        if (r != 0)
                return r < 0 ? verdict_host_failed(r, STATUS_NO_TARGET) : VERDICT_OK;
        fd_close(*judged);
        *judged = fd_take(&users);
        return namespaces_judge_users(*judged, peer);
}

static struct verdict namespaces_judge(const int *fds, const struct ucred *peer) {
        struct verdict verdict = VERDICT_OK;
        FD_AUTO int judged = -EBADF;

        for (unsigned i = PROTOCOL_NAMESPACE_MOUNT;
             verdict.status == STATUS_OK && i < NAMESPACES_KINDS; i++)
                if (fds[i] >= 0)
                        verdict = namespaces_judge_kind(i, fds[i]);
        if (verdict.status == STATUS_OK && fds[PROTOCOL_NAMESPACE_PID] >= 0)
                verdict = namespaces_judge_peer(fds[PROTOCOL_NAMESPACE_PID], peer->pid);
        for (unsigned i = PROTOCOL_NAMESPACE_MOUNT;
             verdict.status == STATUS_OK && i < NAMESPACES_KINDS; i++)
                if (fds[i] >= 0)
                        verdict = namespaces_judge_owner(fds[i], peer, &judged);
        return verdict;
}

static int namespaces_identify(struct namespaces *namespaces) {
        int r = 0;

        for (unsigned i = PROTOCOL_NAMESPACE_MOUNT; r >= 0 && i < NAMESPACES_KINDS; i++)
                if (namespaces->fds[i] >= 0) {
                        r = kernel_is_same_namespace(namespaces->fds[i], namespaces_ours[i]);
                        namespaces->ours[i] = r > 0;
                }
        if (r < 0 || namespaces->ours[PROTOCOL_NAMESPACE_MOUNT])
                return r < 0 ? r : 0;
        r = kernel_namespace_inode(namespaces->fds[PROTOCOL_NAMESPACE_MOUNT], &namespaces->inode);
        return r < 0 ? r
                     : kernel_mount_namespace_id(namespaces->fds[PROTOCOL_NAMESPACE_MOUNT],
                                                 &namespaces->id);
}

struct verdict namespaces_enter(int fds[static NAMESPACES_KINDS], const struct ucred *peer,
                                struct namespaces **ret) {
        struct verdict verdict = namespaces_judge(fds, peer);
        struct namespaces *namespaces;
        int r;

        if (verdict.status != STATUS_OK)
                return verdict;
        namespaces = calloc(1, sizeof(*namespaces));
        if (!namespaces)
                return verdict_host_failed(-ENOMEM, STATUS_NO_TARGET);
        for (unsigned i = 0; i < NAMESPACES_KINDS; i++)
                namespaces->fds[i] = fds[i];
        r = namespaces_identify(namespaces);
        if (r == 0 && namespaces->id)
                r = namespaces_go_to(namespaces->fds[PROTOCOL_NAMESPACE_MOUNT], namespaces->id);
        if (r < 0) {
                free(namespaces);
                return verdict_host_failed(r, STATUS_NO_TARGET);
        }
        for (unsigned i = 0; i < NAMESPACES_KINDS; i++)
                fds[i] = -EBADF;
        namespaces_entered = namespaces;
        *ret = namespaces;
        return VERDICT_OK;
}

struct namespaces *namespaces_free(struct namespaces *namespaces) {
        if (!namespaces)
                return NULL;
        namespaces_go_home();
        namespaces_entered = NULL;
        for (unsigned i = 0; i < NAMESPACES_KINDS; i++)
                fd_close(namespaces->fds[i]);
        free(namespaces);
        return NULL;
}
