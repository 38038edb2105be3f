/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Uses unique ids and statmount(2) where the kernel has them, otherwise the mount table, in
 * reusable ids of mounts that are held open.
 */

#include "daemon/mount.h"

#include "common/fd.h"
#include "common/protocol.h"
#include "daemon/kernel.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>

/* The kernel's MNT_UNIQUE_ID_OFFSET: reusable ids are below, unique ones above. */
#define MOUNT_REUSABLE_MAX (1ULL << 31)

/* The file system that the kernel reports for the root of each. */
static const struct {
        const char *name;
        uint64_t magic;
} mount_types[] = {
        [PROTOCOL_PROC] = {"proc", PROC_SUPER_MAGIC},
        [PROTOCOL_SYSFS] = {"sysfs", SYSFS_MAGIC},
        [PROTOCOL_DEV] = {"tmpfs", TMPFS_MAGIC},
};

int mount_identify(unsigned features, int fd, uint64_t *id) {
        bool unique = features & PROTOCOL_FEATURE_UNIQUE_IDS;
        struct statx stat;
        int r = kernel_statx(fd, unique ? KERNEL_STATX_MNT_ID_UNIQUE : STATX_MNT_ID, &stat);

        if (r < 0)
                return r;
        if (unique && !(stat.stx_mask & KERNEL_STATX_MNT_ID_UNIQUE))
                return -EOPNOTSUPP;
        *id = stat.stx_mnt_id;
        return 0;
}

/*
 * The kernel returns EINVAL for a directory in another namespace, but also (seen on 6.1) when a
 * mount on top of the directory is detached at that moment. Only the former persists.
 */
static int mount_attach_on_top(int mount, int target) {
        int r = -EINVAL;

        for (unsigned tries = 0; tries < MOUNT_ATTACH_TRIES && r == -EINVAL; tries++)
                r = kernel_move_mount(mount, target);
        return r;
}

struct verdict mount_judge(int error) {
        struct verdict verdict;

        switch (error) {
        case -ENOENT:
                return verdict_refuse(STATUS_TARGET_VANISHED, STATUS_NO_TARGET);
        case -EINVAL:
                return verdict_refuse(STATUS_FOREIGN_NAMESPACE, STATUS_NO_TARGET);
        case -ENOTDIR:
                return verdict_refuse(STATUS_NOT_A_DIRECTORY, STATUS_NO_TARGET);
        case -ENOSPC:
                verdict = verdict_host_failed(error, STATUS_NO_TARGET);
                snprintf(verdict.text, sizeof(verdict.text),
                         "the limit of the sysctl fs.mount-max is reached, in mountatd's mount "
                         "namespace or in one that receives its mounts: raise it");
                return verdict;
        default:
                return verdict_host_failed(error, STATUS_NO_TARGET);
        }
}

struct verdict mount_attach(int mount, int target) {
        int r = mount_attach_on_top(mount, target);

        return r < 0 ? mount_judge(r) : VERDICT_OK;
}

/* Both mounts are held open, so their reusable ids can't be reassigned meanwhile. */
static int mount_find_parent_in_table(int mount, uint64_t *parent) {
        struct kernel_mountinfo info;
        uint64_t id;
        int r = mount_identify(0, mount, &id);

        if (r == 0)
                r = kernel_mountinfo(id, &info);
        if (r == 0)
                *parent = info.parent;
        return r;
}

struct verdict mount_verify(unsigned features, int mount, uint64_t id,
                            const struct target_facts *target) {
        struct kernel_mount facts;
        uint64_t parent = 0;
        int r;

        if (features & PROTOCOL_FEATURE_STATMOUNT) {
                r = kernel_statmount(id, &facts);
                if (r == 0)
                        parent = target->mount_id_unique ? facts.parent : facts.parent_old;
        } else
                r = mount_find_parent_in_table(mount, &parent);

        if (r == -ENOENT)
                return verdict_refuse(STATUS_TARGET_VANISHED, STATUS_NO_TARGET);
        if (r < 0)
                return verdict_host_failed(r, STATUS_NO_TARGET);
        return parent == target->mount_id
                       ? VERDICT_OK
                       : verdict_refuse(STATUS_ALREADY_MOUNTED, STATUS_NO_TARGET);
}

/*
 * Without exact ids the mount table must agree on our label, which only root could forge for these
 * types, and on the type.
 */
static int mount_find_in_table(const struct mount_setup *setup, const struct mount_name *name,
                               struct kernel_mountinfo *info) {
        int r;

        /* From an instance that knew unique ids: the mount may be there, but we can't tell. */
        if (name->id > MOUNT_REUSABLE_MAX)
                return -EOPNOTSUPP;
        r = kernel_mountinfo(name->id, info);
        if (r < 0)
                return r;
        return strcmp(info->source, setup->source) == 0 &&
                               strcmp(info->file_system, mount_types[name->file_system].name) == 0
                       ? 0
                       : -ENOENT;
}

int mount_recognise(const struct mount_setup *setup, int fd, uint8_t file_system, uint64_t *id) {
        struct mount_name name = {.file_system = file_system};
        struct kernel_mountinfo info;
        struct statx stat;
        int r = mount_identify(setup->features, fd, &name.id);

        if (r == 0)
                r = kernel_statx(fd, 0, &stat);
        if (r == 0 && !(stat.stx_attributes & STATX_ATTR_MOUNT_ROOT))
                r = -EINVAL;
        if (r == -EACCES || r == -EOPNOTSUPP)
                r = -EINVAL; /* a FUSE that refuses access is no mount of ours */
        if (r == 0 && !(setup->features & PROTOCOL_FEATURE_STATMOUNT))
                r = mount_find_in_table(setup, &name, &info);
        if (r == 0)
                *id = name.id;
        return r;
}

/* The record identifies a mount by its id; its type is asked of the kernel. */
static int mount_locate_exactly(const struct mount_name *name, char *path) {
        struct kernel_mount mount;
        int r = kernel_statmount(name->id, &mount);

        if (r < 0)
                return r;
        return mount.magic == mount_types[name->file_system].magic
                       ? kernel_statmount_place(name->id, 0, path, PATH_MAX)
                       : -ENOENT;
}

int mount_locate(const struct mount_setup *setup, const struct mount_name *name, char *path) {
        struct kernel_mountinfo info;
        int r;

        if (setup->features & PROTOCOL_FEATURE_STATMOUNT)
                return mount_locate_exactly(name, path);
        r = mount_find_in_table(setup, name, &info);
        if (r == 0)
                memcpy(path, info.place, sizeof(info.place));
        return r;
}

int mount_open(const struct mount_setup *setup, uint64_t id, const char *path, uint64_t resolve) {
        FD_AUTO int fd = kernel_open_place(path, resolve);
        uint64_t found;
        int r;

        if (fd < 0)
                return fd;
        r = mount_identify(setup->features, fd, &found);
        if (r < 0)
                return r;
        return found == id ? fd_take(&fd) : -EBUSY;
}
