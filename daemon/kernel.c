/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The real kernel. Numbers and layouts missing in Debian 12's headers are defined here as in the
 * kernel's include/uapi/linux/mount.h; they are the same on every architecture.
 */

#include "daemon/kernel.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
        KERNEL_AT_HANDLE_MNT_ID_UNIQUE = 1 << 0,
        KERNEL_STATMOUNT_SB_BASIC = 1 << 0,
        KERNEL_STATMOUNT_MNT_BASIC = 1 << 1,
        KERNEL_STATMOUNT_MNT_POINT = 1 << 4,
};

/* struct mnt_id_req, its second version. */
struct kernel_mnt_id_req {
        uint32_t size;
        uint32_t spare;
        uint64_t mnt_id;
        uint64_t param;
        uint64_t mnt_ns_id; /* not in the first version, the only one before Linux 6.11 */
};

enum { KERNEL_MNT_ID_REQ_SIZE_1 = 24 };

/* The head of struct statmount: 512 bytes, followed by the strings. */
struct kernel_statmount {
        uint32_t size;
        uint32_t mnt_opts;
        uint64_t mask;
        uint32_t sb_dev_major;
        uint32_t sb_dev_minor;
        uint64_t sb_magic;
        uint32_t sb_flags;
        uint32_t fs_type;
        uint64_t mnt_id;
        uint64_t mnt_parent_id;
        uint32_t mnt_id_old;
        uint32_t mnt_parent_id_old;
        uint64_t mnt_attr;
        uint64_t mnt_propagation;
        uint64_t mnt_peer_group;
        uint64_t mnt_master;
        uint64_t propagate_from;
        uint32_t mnt_root; /* like the next, an offset behind this struct */
        uint32_t mnt_point;
        uint8_t rest[512 - 112];
};

_Static_assert(sizeof(struct kernel_statmount) == 512, "the layout of the kernel's header");

/* include/uapi/linux/nsfs.h */
#define KERNEL_NS_GET_MNTNS_ID _IOR(NSIO, 5, uint64_t)
#define KERNEL_NS_GET_TGID_IN_PIDNS _IOR(NSIO, 9, int)
#define KERNEL_USER_NS_INIT_INO 0xeffffffdU /* since Linux 3.8 */

struct kernel_mnt_ns_info {
        uint32_t size;
        uint32_t nr_mounts;
        uint64_t mnt_ns_id;
};

static int kernel_proc = -EBADF;

int kernel_prepare(void) {
        kernel_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        return kernel_proc < 0 ? -errno : 0;
}

static int64_t kernel_count_mapped(void) {
        FILE *map = fopen("/proc/self/uid_map", "re");
        int64_t mapped = 0;
        unsigned count;

        if (!map)
                return -errno;
        while (fscanf(map, "%*u %*u %u", &count) == 1)
                mapped += count;
        fclose(map);
        return mapped;
}

int kernel_unmapped_uid(uid_t *uid) {
        int64_t mapped = kernel_count_mapped();
        FILE *file;
        int r;

        *uid = -1;
        if (mapped < 0 || mapped >= UINT32_MAX)
                return mapped < 0 ? mapped : 0;
        file = fopen("/proc/sys/kernel/overflowuid", "re");
        if (!file)
                return -errno;
        r = fscanf(file, "%u", uid) == 1 ? 0 : -EIO;
        fclose(file);
        return r;
}

int kernel_statx(int fd, unsigned mask, struct statx *stat) {
        return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, mask, stat) < 0 ? -errno : 0;
}

int kernel_statx_above(int fd, uint64_t *mount_id) {
        struct statx stat;

        if (statx(fd, "..", AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, 0, &stat) < 0)
                return -errno;
        *mount_id = stat.stx_mnt_id; /* set whatever the mask is */
        return 0;
}

int kernel_name_to_handle(int fd, uint64_t *mount_id) {
        struct file_handle handle = {0}; /* no room: EOVERFLOW, but with the id */
        uint64_t id = 0;

        if (name_to_handle_at(fd, "", &handle, (int *)&id,
                              AT_EMPTY_PATH | KERNEL_AT_HANDLE_MNT_ID_UNIQUE) < 0 &&
            errno != EOVERFLOW)
                return -errno;
        *mount_id = id;
        return 0;
}

int kernel_fstatfs(int fd, uint64_t *magic) {
        struct statfs stat;

        if (fstatfs(fd, &stat) < 0)
                return -errno;
        *magic = (uint64_t)stat.f_type;
        return 0;
}

int kernel_readlink(int proc, int fd, char *path, size_t size) {
        char name[16];
        ssize_t length;

        snprintf(name, sizeof(name), "%d", fd);
        length = readlinkat(proc, name, path, size);
        if (length < 0)
                return -errno;
        if ((size_t)length >= size)
                return -ENAMETOOLONG;
        path[length] = '\0';
        return 0;
}

int kernel_fsopen(const char *file_system) {
        int fd = fsopen(file_system, FSOPEN_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

int kernel_fsconfig(int context, unsigned command, const char *key, const char *value) {
        return fsconfig(context, command, key, value, 0) < 0 ? -errno : 0;
}

void kernel_fscontext_message(int context, char *text, size_t size) {
        char line[256];
        ssize_t length;

        text[0] = '\0';
        /* One message per read, prefixed with "e " if it is an error; ENODATA: no more. */
        while ((length = read(context, line, sizeof(line) - 1)) > 0) {
                line[length] = '\0';
                line[strcspn(line, "\n")] = '\0';
                if (line[0] == 'e' && line[1] == ' ')
                        snprintf(text, size, "%s", line + 2);
        }
}

int kernel_fsmount(int context, unsigned attributes) {
        int fd = fsmount(context, FSMOUNT_CLOEXEC, attributes);

        return fd < 0 ? -errno : fd;
}

int kernel_open_tree_clone(int fd) {
        int clone = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

        return clone < 0 ? -errno : clone;
}

int kernel_open_tree_clone_all(int fd) {
        int clone = open_tree(fd, "",
                              OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);

        return clone < 0 ? -errno : clone;
}

int kernel_mount_setattr(int mount, uint64_t set, uint64_t clear) {
        struct mount_attr attr = {.attr_set = set, .attr_clr = clear, .propagation = MS_PRIVATE};

        return mount_setattr(mount, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

int kernel_open_node(const char *path) {
        int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

int kernel_make_file(int directory, const char *name) {
        int fd = openat(directory, name, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

        if (fd < 0)
                return -errno;
        close(fd);
        return 0;
}

int kernel_make_directory(int directory, const char *name) {
        return mkdirat(directory, name, 0) < 0 ? -errno : 0;
}

int kernel_make_link(int directory, const char *name, const char *target) {
        return symlinkat(target, directory, name) < 0 ? -errno : 0;
}

int kernel_make_read_only(int mount) {
        FD_AUTO int context = fspick(mount, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);

        if (context < 0 || fsconfig(context, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
            fsconfig(context, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
                return -errno;
        return 0;
}

int kernel_move_mount_below(int mount, int directory, const char *name) {
        return move_mount(mount, "", directory, name, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

int kernel_move_mount(int mount, int target) {
        unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;

        return move_mount(mount, "", target, "", flags) < 0 ? -errno : 0;
}

int kernel_umount_here(void) {
        return umount2(".", MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
}

int kernel_unshare_fs(void) {
        return unshare(CLONE_FS) < 0 ? -errno : 0;
}

int kernel_fchdir(int fd) {
        return fchdir(fd) < 0 ? -errno : 0;
}

int kernel_namespace_kind(int fd) {
        uint64_t magic = 0;
        int r = kernel_fstatfs(fd, &magic);

        if (r < 0)
                return r;
        if (magic != NSFS_MAGIC)
                return -EINVAL;
        r = ioctl(fd, NS_GET_NSTYPE);
        return r < 0 ? -errno : r;
}

int kernel_namespace_inode(int fd, uint64_t *inode) {
        struct stat stat;

        if (fstat(fd, &stat) < 0)
                return -errno;
        *inode = stat.st_ino;
        return 0;
}

int kernel_mount_namespace_id(int fd, uint64_t *id) {
        if (ioctl(fd, KERNEL_NS_GET_MNTNS_ID, id) == 0)
                return 0;
        return errno == ENOTTY ? kernel_namespace_inode(fd, id) : -errno;
}

/* How many levels the pid namespace is below ours. -ESRCH: it isn't below. */
static int kernel_pid_namespace_depth(int fd) {
        FD_AUTO int own = openat(kernel_proc, "self/ns/pid", O_RDONLY | O_CLOEXEC), at = -EBADF;
        int depth = 0, same = own < 0 ? -errno : kernel_is_same_namespace(fd, own);

        for (; same == 0; depth++) {
                int parent = ioctl(at < 0 ? fd : at, NS_GET_PARENT);

                if (parent < 0)
                        return errno == EPERM ? -ESRCH : -errno;
                fd_close(at);
                at = parent;
                same = kernel_is_same_namespace(at, own);
        }
        return same < 0 ? same : depth;
}

/* The same for a process, which has a pid in each namespace on the way: proc_pid_status(5). */
static int kernel_process_depth(FILE *status) {
        int r = -EIO, length, number;
        char *line = NULL;
        size_t size = 0;

        errno = 0;
        while (r == -EIO && getline(&line, &size, status) > 0)
                if (strncmp(line, "NSpid:", strlen("NSpid:")) == 0) {
                        const char *rest = line + strlen("NSpid:");

                        for (r = -1; sscanf(rest, "%d%n", &number, &length) == 1; r++)
                                rest += length;
                }
        if (r < 0)
                r = errno > 0 ? -errno : -EIO;
        free(line);
        return r;
}

int kernel_pid_namespace_has(int fd, pid_t pid) {
        FD_AUTO int status = -EBADF;
        char path[32];
        int depth, r;
        FILE *file;

        if (ioctl(fd, KERNEL_NS_GET_TGID_IN_PIDNS, pid) < 0)
                return -errno;
        snprintf(path, sizeof(path), "%d/status", pid);
        status = openat(kernel_proc, path, O_RDONLY | O_CLOEXEC);
        if (status < 0 && errno != ENOENT && errno != EPERM && errno != EACCES)
                return -errno;
        if (status < 0) /* hidden, or gone by now */
                return ioctl(fd, KERNEL_NS_GET_TGID_IN_PIDNS, pid) < 0 ? -errno : 0;
        file = fdopen(status, "r");
        if (!file)
                return -errno;
        fd_take(&status);
        r = kernel_process_depth(file);
        fclose(file);
        depth = r < 0 ? r : kernel_pid_namespace_depth(fd);
        return depth < 0 ? depth : depth == r ? 0 : -ESRCH;
}

int kernel_open_mount_namespace(int fd, enum kernel_direction direction, uint64_t *id) {
        struct kernel_mnt_ns_info info = {.size = sizeof(info)};
        int next = ioctl(fd, _IOR(NSIO, direction, struct kernel_mnt_ns_info), &info);

        if (next < 0)
                return -errno;
        *id = info.mnt_ns_id;
        return next;
}

int kernel_is_same_namespace(int a, int b) {
        struct stat one, other;

        if (fstat(a, &one) < 0 || fstat(b, &other) < 0)
                return -errno;
        return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

int kernel_namespace_owner(int fd) {
        int owner = ioctl(fd, NS_GET_USERNS); /* close-on-exec */

        return owner < 0 ? -errno : owner;
}

int kernel_namespace_parent(int fd) {
        int parent = ioctl(fd, NS_GET_PARENT);

        return parent < 0 ? -errno : parent;
}

int kernel_namespace_maker(int fd, uid_t *maker) {
        return ioctl(fd, NS_GET_OWNER_UID, maker) < 0 ? -errno : 0;
}

int kernel_is_initial_user_namespace(int fd) {
        struct stat stat;

        return fstat(fd, &stat) < 0 ? -errno : stat.st_ino == KERNEL_USER_NS_INIT_INO;
}

int kernel_mount_setattr_idmap(int mount, int user_namespace) {
        struct mount_attr attr = {
                .attr_set = MOUNT_ATTR_IDMAP,
                .userns_fd = (uint64_t)user_namespace,
        };

        return mount_setattr(mount, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

int kernel_fchownat(int mount, uid_t uid, gid_t gid) {
        return fchownat(mount, "", uid, gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

int kernel_setns(int fd, int kind) {
        return setns(fd, kind) < 0 ? -errno : 0;
}

int kernel_chroot_here(void) {
        return chroot(".") < 0 ? -errno : 0;
}

int kernel_fsconfig_fd(int context, const char *key, int fd) {
        return fsconfig(context, FSCONFIG_SET_FD, key, NULL, fd) < 0 ? -errno : 0;
}

int kernel_statmount(uint64_t id, struct kernel_mount *mount) {
        struct kernel_mnt_id_req request = {
                .size = KERNEL_MNT_ID_REQ_SIZE_1,
                .mnt_id = id,
                .param = KERNEL_STATMOUNT_SB_BASIC | KERNEL_STATMOUNT_MNT_BASIC,
        };
        struct kernel_statmount reply;

        if (syscall(KERNEL_SYS_STATMOUNT, &request, &reply, sizeof(reply), 0) < 0)
                return -errno;
        if ((reply.mask & request.param) != request.param)
                return -ENOSYS;
        *mount = (struct kernel_mount){
                .parent = reply.mnt_parent_id,
                .parent_old = reply.mnt_parent_id_old,
                .magic = reply.sb_magic,
        };
        return 0;
}

int kernel_statmount_place(uint64_t id, uint64_t mount_namespace, char *path, size_t size) {
        struct kernel_mnt_id_req request = {
                .size = mount_namespace ? sizeof(request) : KERNEL_MNT_ID_REQ_SIZE_1,
                .mnt_id = id,
                .param = KERNEL_STATMOUNT_MNT_POINT,
                .mnt_ns_id = mount_namespace,
        };
        struct {
                struct kernel_statmount fixed;
                char strings[PATH_MAX];
        } reply;
        const char *place;

        if (syscall(KERNEL_SYS_STATMOUNT, &request, &reply, sizeof(reply), 0) < 0)
                return -errno;
        if (!(reply.fixed.mask & KERNEL_STATMOUNT_MNT_POINT) ||
            reply.fixed.mnt_point >= sizeof(reply.strings))
                return -ENOSYS;
        place = reply.strings + reply.fixed.mnt_point;
        if (strnlen(place, size) >= size)
                return -EOVERFLOW;
        strcpy(path, place);
        return 0;
}

static bool kernel_is_octal(const char *text) {
        return text[0] >= '0' && text[0] <= '3' && text[1] >= '0' && text[1] <= '7' &&
               text[2] >= '0' && text[2] <= '7';
}

/*
 * Reads the next field of a mountinfo line, and skips the space behind it. Space, tab, newline and
 * backslash are written as \ooo there. Returns the whole length, also of a truncated field.
 */
static size_t kernel_read_field(const char **line, char *field, size_t size) {
        const char *from = *line;
        size_t length = 0;

        while (*from && *from != ' ') {
                bool escaped = from[0] == '\\' && kernel_is_octal(from + 1);

                if (length + 1 < size)
                        field[length] = escaped ? (from[1] - '0') * 64 + (from[2] - '0') * 8 +
                                                          (from[3] - '0')
                                                : *from;
                length++;
                from += escaped ? 4 : 1;
        }
        field[length < size ? length : size - 1] = '\0';
        *line = from + (*from == ' ');
        return length;
}

/* "36 35 98:0 /root /place options optional… - type source super-options"; the source can be empty.
 */
static bool kernel_parse_mountinfo(const char *line, uint64_t id, struct kernel_mountinfo *info) {
        const char *place = line, *rest;
        unsigned long long parent;
        int length = 0;

        if (strtoull(line, NULL, 10) != id) /* parse only the line we want */
                return false;
        rest = strstr(line, " - ");
        if (!rest || sscanf(line, "%*u %llu %*s %*s %n", &parent, &length) != 1 || length == 0)
                return false;
        info->parent = parent;
        place += length;
        if (kernel_read_field(&place, info->place, sizeof(info->place)) >= sizeof(info->place))
                info->place[0] = '\0'; /* a prefix would be another path */
        rest += strlen(" - ");
        kernel_read_field(&rest, info->file_system, sizeof(info->file_system));
        kernel_read_field(&rest, info->source, sizeof(info->source));
        return true;
}

/* By a descriptor: the thread's own /proc may be anything. */
static FILE *kernel_open_mountinfo(void) {
        FD_AUTO int fd =
                openat(kernel_proc, "thread-self/mountinfo", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        FILE *table = fd < 0 ? NULL : fdopen(fd, "r");

        if (table)
                fd_take(&fd);
        return table;
}

int kernel_mountinfo(uint64_t old_id, struct kernel_mountinfo *info) {
        FILE *table = kernel_open_mountinfo();
        char *line = NULL;
        size_t size = 0;
        int r = -ENOENT;

        if (!table)
                return -errno;
        errno = 0;
        while (r == -ENOENT && getline(&line, &size, table) > 0 && !ferror(table))
                if (kernel_parse_mountinfo(line, old_id, info))
                        r = 0;
        /* Only a complete table proves that the mount isn't there. */
        if (r == -ENOENT && (ferror(table) || !feof(table)))
                r = errno > 0 ? -errno : -EIO;

        free(line);
        fclose(table);
        return r;
}

static int kernel_openat2(int directory, const char *path, uint64_t resolve) {
        const struct open_how how = {
                .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | resolve,
        };
        int fd = syscall(SYS_openat2, directory, path, &how, sizeof(how));

        return fd < 0 ? -errno : fd;
}

int kernel_open_place(const char *path, uint64_t resolve) {
        return kernel_openat2(AT_FDCWD, path, resolve);
}

int kernel_open_below(int directory, const char *name) {
        return kernel_openat2(directory, name, RESOLVE_BENEATH);
}
