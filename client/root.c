/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The tree below a root belongs to a build action, or an attacker. No function follows a symbolic
 * link or leaves the root's mount; removal is an rmdir, by name, of an empty directory created
 * here.
 */

#include "client/root.h"

#include "common/fd.h"
#include "common/file_system.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum {
        ROOT_MODE = 0555, /* as on a real system: nobody writes underneath a mount */
};

int root_open(struct root *root, int fd, uint32_t flags, struct failure *failure) {
        *root = (struct root){.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3), .flags = flags};
        if (root->fd < 0)
                return failure_client(failure, errno, MOUNTAT_NO_TARGET,
                                      "cannot duplicate the root directory's descriptor: %s",
                                      strerrordesc_np(errno));
        return 0;
}

void root_close(struct root *root) {
        root->fd = fd_close(root->fd);
}

enum root_side {
        ROOT_BENEATH_MOUNT = RESOLVE_NO_XDEV, /* the directory; -EXDEV if it is mounted on */
        ROOT_ON_TOP = 0,                      /* the mount on it, or else the directory */
};

static int root_openat(const struct root *root, const char *name, enum root_side side) {
        struct open_how how = {
                .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
                           (uint64_t)side,
        };
        long fd = syscall(SYS_openat2, root->fd, name, &how, sizeof(how));

        return fd < 0 ? -errno : (int)fd;
}

static int root_make(struct root *root, uint32_t file_system) {
        if (mkdirat(root->fd, file_system_directory(file_system), ROOT_MODE) == 0)
                root->created |= flag_of(file_system);
        else if (errno != EEXIST)
                return -errno;
        return 0;
}

static bool root_is_removed(const struct root *root) {
        struct stat stat;

        return fstat(root->fd, &stat) == 0 && stat.st_nlink == 0;
}

static int root_open_failed(const char *name, int error, uint32_t target, struct failure *failure) {
        switch (error) {
        case -ENOENT:
                return failure_client(failure, ENOENT, target,
                                      "there is no directory %s below the root: create it, or add "
                                      "MOUNTAT_CREATE (mountatctl --create)",
                                      name);
        case -ELOOP:
                return failure_client(failure, ELOOP, target,
                                      "%s below the root is a symbolic link, which is not "
                                      "followed: replace it with a directory",
                                      name);
        case -ENOTDIR:
                return failure_status(failure, MOUNTAT_STATUS_NOT_A_DIRECTORY, target,
                                      "%s below the root, or the root itself, is not a directory",
                                      name);
        case -EXDEV: /* RESOLVE_NO_XDEV, openat2(2) */
                return failure_status(
                        failure, MOUNTAT_STATUS_ALREADY_MOUNTED, target,
                        "something is already mounted on %s below the root: unmount it first",
                        name);
        case -ENOSYS:
                return failure_client(failure, ENOSYS, target,
                                      "cannot open %s below the root: openat2 doesn't work here: "
                                      "use Linux 5.6 or later, and no seccomp filter that denies "
                                      "it, such as RestrictSUIDSGID= in a unit",
                                      name);
        default:
                return failure_client(failure, -error, target, "cannot open %s below the root: %s",
                                      name, strerrordesc_np(-error));
        }
}

static int root_open_target(struct root *root, uint32_t file_system, uint32_t target,
                            struct failure *failure) {
        const char *name = file_system_directory(file_system);
        int fd = root_openat(root, name, ROOT_BENEATH_MOUNT);
        int result;

        if (fd == -ENOENT && root_is_removed(root))
                return failure_client(failure, ENOENT, target,
                                      "the root directory was removed: create and open it again");
        if (fd == -ENOENT && (root->flags & MOUNTAT_CREATE)) {
                result = root_make(root, file_system);
                if (result < 0)
                        return failure_client(failure, -result, target,
                                              "cannot create %s below the root: %s", name,
                                              strerrordesc_np(-result));
                fd = root_openat(root, name, ROOT_BENEATH_MOUNT);
        }
        return fd < 0 ? root_open_failed(name, fd, target, failure) : fd;
}

static uint32_t root_options(const struct root *root, uint32_t file_system) {
        uint32_t options = 0;

        if (root->flags & MOUNTAT_READ_ONLY)
                options |= MOUNTAT_OPTION_READ_ONLY;
        if ((root->flags & MOUNTAT_PIDS_ONLY) && file_system == MOUNTAT_FILE_SYSTEM_PROC)
                options |= MOUNTAT_OPTION_PIDS_ONLY;
        return options;
}

int root_open_targets(struct root *root, struct root_targets *targets, struct failure *failure) {
        *targets = (struct root_targets){0};
        for (uint32_t i = FLAG_FIRST; i <= FLAG_LAST; i++) {
                int fd;

                if (!(root->flags & flag_of(i)))
                        continue;
                fd = root_open_target(root, i, targets->count, failure);
                if (fd < 0) {
                        root_targets_close(targets);
                        return fd;
                }
                targets->targets[targets->count++] = (struct mountat_target){
                        .fd = fd,
                        .file_system = i,
                        .options = root_options(root, i),
                };
        }
        return 0;
}

void root_targets_close(struct root_targets *targets) {
        while (targets->count > 0)
                fd_close(targets->targets[--targets->count].fd);
}

int root_open_mount(const struct root *root, uint32_t file_system) {
        return root_openat(root, file_system_directory(file_system), ROOT_ON_TOP);
}

void root_remove(struct root *root) {
        for (uint32_t i = FLAG_LAST; i >= FLAG_FIRST; i--)
                if (root->created & flag_of(i))
                        unlinkat(root->fd, file_system_directory(i), AT_REMOVEDIR);
        root->created = 0;
}
