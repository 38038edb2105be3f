/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Nothing is looked up by name: each fact comes from the descriptor itself, so the directory that
 * is judged is the one to be mounted on.
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
 * A FUSE without allow_other returns EACCES to all but its owner; with an empty mask the kernel
 * returns what it knows itself, the reusable mount id and the attributes of the mount.
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

/* Magics as in linux/magic.h and the file systems' own headers; names as in /proc/filesystems. */
static const struct {
        const char *name;
        uint32_t magic;
} target_file_systems[] = {
        {"ext4", 0x0000ef53},     {"ext3", 0x0000ef53},       {"ext2", 0x0000ef53},
        {"xfs", 0x58465342},      {"btrfs", 0x9123683e},      {"tmpfs", 0x01021994},
        {"overlay", 0x794c7630},  {"f2fs", 0xf2f52010},       {"zfs", 0x2fc12fc1},
        {"bcachefs", 0xca451a4e}, {"fuse", FUSE_SUPER_MAGIC}, {"fuseblk", FUSE_SUPER_MAGIC},
        {"nfs", 0x00006969},      {"nfs4", 0x00006969},       {"cifs", 0xff534d42},
        {"smb3", 0xfe534d42},     {"ceph", 0x00c36400},       {"9p", 0x01021997},
        {"ramfs", 0x858458f6},    {"squashfs", 0x73717368},   {"erofs", 0xe0f5e1e2},
        {"iso9660", 0x00009660},  {"vfat", 0x00004d44},       {"exfat", 0x2011bab0},
        {"ntfs3", 0x7366746e},    {"proc", PROC_SUPER_MAGIC}, {"sysfs", SYSFS_MAGIC},
        {"virtiofs", 0x6a656a63}, {"lustre", 0x0bd00bd0},     {"gfs2", 0x01161970},
        {"ocfs2", 0x7461636f},    {"ecryptfs", 0x0000f15f},
};

enum { TARGET_FILE_SYSTEMS = sizeof(target_file_systems) / sizeof(target_file_systems[0]) };

const char *target_file_system(uint64_t magic) {
        for (unsigned i = 0; i < TARGET_FILE_SYSTEMS; i++)
                if (target_file_systems[i].magic == (uint32_t)magic)
                        return target_file_systems[i].name;
        return NULL;
}

/* A type with a subtype looks like "fuse.sshfs". */
static uint64_t target_magic(const char *type) {
        size_t length = strcspn(type, ".");

        for (unsigned i = 0; i < TARGET_FILE_SYSTEMS; i++)
                if (strlen(target_file_systems[i].name) == length &&
                    strncmp(target_file_systems[i].name, type, length) == 0)
                        return target_file_systems[i].magic;
        return 0;
}

/* A mount that is held open keeps its reusable id, in any namespace. */
static int target_find_in_table(struct target_facts *facts) {
        struct kernel_mountinfo info;
        int r = kernel_mountinfo(facts->mount_id, &info);

        if (r == 0)
                facts->magic = target_magic(info.file_system);
        return r;
}

static int target_find_exactly(struct target_facts *facts) {
        struct kernel_mount mount;
        int r = kernel_statmount(facts->mount_id, &mount);

        if (r == 0)
                facts->magic = mount.magic;
        return r;
}

/*
 * Must be known before anything is attached: since Linux 6.15 move_mount(2) also mounts into
 * another process's detached tree, and nobody can undo that.
 */
static int target_find_mount(int fd, unsigned features, struct target_facts *facts) {
        bool statmount = features & PROTOCOL_FEATURE_STATMOUNT;
        int r;

        if (statmount && !facts->mount_id_unique)
                facts->mount_id_unique = kernel_name_to_handle(fd, &facts->mount_id) == 0;
        r = statmount && facts->mount_id_unique ? target_find_exactly(facts)
                                                : target_find_in_table(facts);
        facts->foreign = r == -ENOENT;
        return facts->foreign ? 0 : r;
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
        return target_find_mount(fd, features, facts);
}
