/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Nothing is looked up: each fact is asked of the descriptor itself, so what is judged is what will
 * be mounted on.
 */

#include "daemon/target.h"

#include "common/fd.h"
#include "common/protocol.h"
#include "daemon/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>

#define TARGET_DELETED " (deleted)"

int target_open_proc(void) {
        FD_AUTO int fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
        uint64_t magic;
        int r;

        if (fd < 0)
                return -errno;
        r = kernel_fstatfs(fd, &magic);
        if (r < 0)
                return r;
        return magic == PROC_SUPER_MAGIC ? fd_take(&fd) : -EXDEV;
}

/*
 * A FUSE without allow_other answers EACCES to all but its owner; with an empty mask the kernel
 * gives what it knows itself, the mount id (the old one) and the attributes of the mount.
 */
static int target_stat(int fd, unsigned id_mask, struct statx *stat) {
        int r = kernel_statx(fd, STATX_TYPE | STATX_MODE | STATX_UID | id_mask, stat);

        return r == -EACCES ? kernel_statx(fd, 0, stat) : r;
}

static enum target_type target_type(const struct statx *stat) {
        if (!(stat->stx_mask & STATX_TYPE))
                return TARGET_HIDDEN;
        return S_ISDIR(stat->stx_mode) ? TARGET_DIRECTORY : TARGET_OTHER;
}

static int target_find_file_system(unsigned features, struct target_facts *facts) {
        struct kernel_mount mount;
        int r;

        /* The hidden kind has no unique id to ask with, nor any need: only FUSE hides. */
        if (facts->type == TARGET_HIDDEN) {
                facts->magic = FUSE_SUPER_MAGIC;
                return 0;
        }
        if (!(features & PROTOCOL_FEATURE_STATMOUNT))
                return 0;

        r = kernel_statmount(facts->mount_id, &mount);
        if (r == -ENOENT) {
                facts->foreign = true;
                return 0;
        }
        if (r == 0)
                facts->magic = mount.magic;
        return r;
}

static bool target_path_is_deleted(const char *path) {
        size_t length = strlen(path), suffix = strlen(TARGET_DELETED);

        return length >= suffix && strcmp(path + length - suffix, TARGET_DELETED) == 0;
}

int target_inspect(int fd, int proc, unsigned features, struct target_facts *facts) {
        unsigned id_mask =
                features & PROTOCOL_FEATURE_STATMOUNT ? KERNEL_STATX_MNT_ID_UNIQUE : STATX_MNT_ID;
        struct statx stat;
        int r;

        r = target_stat(fd, id_mask, &stat);
        if (r < 0)
                return r;

        facts->type = target_type(&stat);
        facts->owner = stat.stx_uid;
        facts->mount_root = stat.stx_attributes & STATX_ATTR_MOUNT_ROOT;
        facts->mount_id = stat.stx_mnt_id;
        facts->mount_id_unique = stat.stx_mask & KERNEL_STATX_MNT_ID_UNIQUE;
        facts->foreign = false;
        facts->deleted = false;
        facts->magic = 0;
        facts->path[0] = '\0';
        if (facts->type == TARGET_OTHER)
                return 0;

        r = kernel_readlink(proc, fd, facts->path, sizeof(facts->path));
        if (r < 0)
                return r;
        facts->deleted = target_path_is_deleted(facts->path);
        return target_find_file_system(features, facts);
}

int target_ask_file_system(int fd, struct target_facts *facts) {
        return kernel_fstatfs(fd, &facts->magic);
}
