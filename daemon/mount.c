/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A template is published by compare-and-swap: two workers may make the same one at once, the loser
 * closes its own. No lock is held while the kernel works.
 */

#include "daemon/mount.h"

#include "common/fd.h"
#include "common/protocol.h"
#include "daemon/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

/* The kernel's MNT_UNIQUE_ID_OFFSET: no reusable id is above, no unique one below. */
#define MOUNT_REUSABLE_MAX (1ULL << 31)

struct mount_templates {
        const char *source;
        unsigned features;
        atomic_int fds[MOUNT_KINDS]; /* -EBADF until made */
};

static const struct mount_recipe {
        const char *file_system;
        unsigned attributes; /* besides the forced ones */
        bool superblock_read_only;
        bool pids_only;
} mount_recipes[MOUNT_KINDS] = {
        [MOUNT_PROC] = {"proc", MOUNT_ATTR_RDONLY, true, false},
        [MOUNT_PROC_PIDS] = {"proc", MOUNT_ATTR_RDONLY, true, true},
        [MOUNT_PROC_WRITABLE] = {"proc", 0, false, false},
        [MOUNT_PROC_WRITABLE_PIDS] = {"proc", 0, false, true},
        [MOUNT_SYSFS] = {"sysfs", MOUNT_ATTR_RDONLY, false, false},
};

static int mount_configure(int context, const struct mount_recipe *recipe, const char *source) {
        int r = kernel_fsconfig(context, FSCONFIG_SET_STRING, "source", source);

        if (r == 0 && strcmp(recipe->file_system, "proc") == 0)
                r = kernel_fsconfig(context, FSCONFIG_SET_STRING, "hidepid", "invisible");
        if (r == 0 && recipe->pids_only)
                r = kernel_fsconfig(context, FSCONFIG_SET_STRING, "subset", "pid");
        if (r == 0 && recipe->superblock_read_only)
                r = kernel_fsconfig(context, FSCONFIG_SET_FLAG, "ro", NULL);
        if (r == 0)
                r = kernel_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL);
        return r;
}

/* A new superblock, mounted nowhere. */
static int mount_make(const struct mount_recipe *recipe, const char *source, char *text,
                      size_t size) {
        const unsigned forced = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
        FD_AUTO int context = kernel_fsopen(recipe->file_system);
        int r;

        text[0] = '\0';
        if (context < 0)
                return context;
        r = mount_configure(context, recipe, source);
        if (r == 0)
                r = kernel_fsmount(context, forced | recipe->attributes);
        if (r < 0)
                kernel_fscontext_message(context, text, size);
        return r;
}

/* The template of `kind`, made now if it is the first time; borrowed. */
static int mount_template(struct mount_templates *templates, enum mount_kind kind, char *text,
                          size_t size) {
        int fd = atomic_load(&templates->fds[kind]), none = -EBADF;

        if (fd >= 0)
                return fd;
        fd = mount_make(&mount_recipes[kind], templates->source, text, size);
        if (fd < 0 || atomic_compare_exchange_strong(&templates->fds[kind], &none, fd))
                return fd;
        fd_close(fd);
        return none;
}

int mount_create(struct mount_templates *templates, enum mount_kind kind, char *text, size_t size) {
        int template;

        text[0] = '\0';
        if (!(templates->features & PROTOCOL_FEATURE_CLONES))
                return mount_make(&mount_recipes[kind], templates->source, text, size);
        template = mount_template(templates, kind, text, size);
        return template <0 ? template : kernel_open_tree_clone(template);
}

/*
 * A shortage that is over in a moment says nothing about what the kernel can do. A daemon that took
 * it for an answer would know no predecessor's mount by its id, and forget them all.
 */
static bool mount_is_shortage(int error) {
        return error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -ENOSPC ||
               error == -EINTR || error == -EAGAIN || error == -EIO;
}

/* Either is of use with the other alone: what names a mount must also find it. */
static int mount_probe_ids(int proc, int root) {
        struct kernel_mount mount;
        uint64_t id;
        int r = mount_identify(PROTOCOL_FEATURE_UNIQUE_IDS, proc, &id);
        if (r == 0)
                r = mount_identify(PROTOCOL_FEATURE_UNIQUE_IDS, root, &id);
        return r < 0 ? r : kernel_statmount(id, &mount);
}

static int mount_probe_clones(int proc) {
        FD_AUTO int clone = kernel_open_tree_clone(proc);

        return clone < 0 ? clone : 0;
}

static int mount_probe_pids_only(const char *source, char *text, size_t size) {
        FD_AUTO int fd = mount_make(&mount_recipes[MOUNT_PROC_PIDS], source, text, size);

        return fd < 0 ? fd : 0;
}

/* `proc` is the detached procfs template. A call that fails for good, however, isn't used. */
static int mount_probe(int proc, const char *source, unsigned *ret, char *text, size_t size) {
        FD_AUTO int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        const int root_error = -errno; /* if it is one */
        const struct {
                int answer;
                unsigned features;
        } probes[] = {
                {mount_probe_clones(proc), PROTOCOL_FEATURE_CLONES},
                {mount_probe_ids(proc, root),
                 PROTOCOL_FEATURE_UNIQUE_IDS | PROTOCOL_FEATURE_STATMOUNT},
                {mount_probe_pids_only(source, text, size), PROTOCOL_FEATURE_PIDS_ONLY},
        };
        unsigned features = 0;

        if (root < 0)
                return root_error;
        for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) {
                if (mount_is_shortage(probes[i].answer))
                        return probes[i].answer;
                if (probes[i].answer == 0)
                        features |= probes[i].features;
        }
        *ret = features;
        return 0;
}

int mount_templates_new(const char *source, struct mount_templates **ret, char *text, size_t size) {
        struct mount_templates *templates = calloc(1, sizeof(*templates));
        int proc, sysfs, r;

        text[0] = '\0';
        if (!templates)
                return -ENOMEM;
        templates->source = source;
        for (int kind = 0; kind < MOUNT_KINDS; kind++)
                atomic_init(&templates->fds[kind], -EBADF);

        proc = mount_template(templates, MOUNT_PROC, text, size);
        sysfs = proc < 0 ? proc : mount_template(templates, MOUNT_SYSFS, text, size);
        r = sysfs < 0 ? sysfs : mount_probe(proc, source, &templates->features, text, size);
        if (r < 0) {
                mount_templates_free(templates);
                return r;
        }
        *ret = templates;
        return 0;
}

struct mount_templates *mount_templates_free(struct mount_templates *templates) {
        if (!templates)
                return NULL;
        for (int kind = 0; kind < MOUNT_KINDS; kind++)
                fd_close(atomic_load(&templates->fds[kind]));
        free(templates);
        return NULL;
}

unsigned mount_features(const struct mount_templates *templates) {
        return templates->features;
}

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

int mount_attach(int mount, int target) {
        return kernel_move_mount(mount, target);
}

/* Without statmount the mount table tells, in reusable ids: both mounts are held open, so theirs
 * are not given to others meanwhile. */
static int mount_verify_by_table(int mount, const struct target_facts *target) {
        struct kernel_mountinfo info;
        uint64_t id;
        int r = mount_identify(0, mount, &id);

        if (r == 0)
                r = kernel_mountinfo(id, &info);
        if (r < 0)
                return r;
        return info.parent == target->mount_id ? 0 : -EBUSY;
}

int mount_verify(unsigned features, int mount, uint64_t id, const struct target_facts *target) {
        struct kernel_mount mount_facts;
        uint64_t parent;
        int r;

        if (!(features & PROTOCOL_FEATURE_STATMOUNT))
                return mount_verify_by_table(mount, target);
        r = kernel_statmount(id, &mount_facts);
        if (r < 0)
                return r;
        parent = target->mount_id_unique ? mount_facts.parent : mount_facts.parent_old;
        return parent == target->mount_id ? 0 : -EBUSY;
}

static const char *mount_type(uint8_t file_system) {
        return file_system == PROTOCOL_PROC ? "proc" : "sysfs";
}

/*
 * Without exact ids the mount table must agree: our label, which none but root could forge for
 * these types, and the type.
 */
static int mount_find_in_table(const struct mount_templates *templates, uint64_t id,
                               uint8_t file_system, struct kernel_mountinfo *info) {
        int r;

        /* Of a predecessor that knew unique ids: it may be there, but we can't tell. */
        if (id > MOUNT_REUSABLE_MAX)
                return -EOPNOTSUPP;
        r = kernel_mountinfo(id, info);
        if (r < 0)
                return r;
        return strcmp(info->source, templates->source) == 0 &&
                               strcmp(info->file_system, mount_type(file_system)) == 0
                       ? 0
                       : -ENOENT;
}

int mount_recognise(const struct mount_templates *templates, int fd, uint8_t file_system,
                    uint64_t *id) {
        struct kernel_mountinfo info;
        struct statx stat;
        uint64_t found;
        int r = mount_identify(templates->features, fd, &found);

        if (r == 0)
                r = kernel_statx(fd, 0, &stat);
        if (r == 0 && !(stat.stx_attributes & STATX_ATTR_MOUNT_ROOT))
                r = -EINVAL;
        if (r == -EACCES || r == -EOPNOTSUPP)
                r = -EINVAL; /* a FUSE that keeps to itself is no mount of ours */
        if (r == 0 && !(templates->features & PROTOCOL_FEATURE_STATMOUNT))
                r = mount_find_in_table(templates, found, file_system, &info);
        if (r == 0)
                *id = found;
        return r;
}

/* The record names a mount by its id; that it is procfs or sysfs is asked of the kernel. */
static int mount_locate_exactly(uint64_t id, uint8_t file_system, char *path, size_t size) {
        uint64_t magic = file_system == PROTOCOL_PROC ? PROC_SUPER_MAGIC : SYSFS_MAGIC;
        struct kernel_mount mount;
        int r = kernel_statmount(id, &mount);

        if (r < 0)
                return r;
        return mount.magic == magic ? kernel_statmount_place(id, path, size) : -ENOENT;
}

int mount_locate(const struct mount_templates *templates, uint64_t id, uint8_t file_system,
                 char *path, size_t size) {
        struct kernel_mountinfo info;
        int r;

        if (templates->features & PROTOCOL_FEATURE_STATMOUNT)
                return mount_locate_exactly(id, file_system, path, size);
        r = mount_find_in_table(templates, id, file_system, &info);
        if (r < 0)
                return r;
        if (strlen(info.place) >= size)
                return -EOVERFLOW;
        strcpy(path, info.place);
        return 0;
}

int mount_open(const struct mount_templates *templates, uint64_t id, const char *path,
               uint64_t resolve) {
        FD_AUTO int fd = kernel_open_place(path, resolve);
        uint64_t found;
        int r;

        if (fd < 0)
                return fd;
        r = mount_identify(templates->features, fd, &found);
        if (r < 0)
                return r;
        return found == id ? fd_take(&fd) : -EBUSY;
}
