/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One mutex, one table of objects: directories, mounts, superblock contexts. Calls that the daemon
 * must never make (umount2 in "/", fchdir in a thread that shares its directory) end the test.
 */

#include "tests/unit/daemon/fake_kernel.h"

#include "daemon/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/queue.h>
#include <unistd.h>

enum {
        FAKE_BUCKETS = 1024,
        FAKE_CALLS_MAX = 65536,
        FAKE_UNIQUE = 1000000, /* keeps the two kinds of ids apart */
        FAKE_ROOT = 1,         /* the mount of ordinary directories, */
        FAKE_ROOT_FUSE = 2,    /* that of directories on FUSE, */
        FAKE_ELSEWHERE = 999,  /* and that of foreign directories */
};

enum { FAKE_PARTS_MAX = 8 };

enum fake_type {
        FAKE_TYPE_DIRECTORY,
        FAKE_TYPE_CONTEXT,
        FAKE_TYPE_MOUNT,
        FAKE_TYPE_NAMESPACE,
};

struct fake_part {
        char name[8];
        struct fake_mount mount;
};

/* The host's devices, which are on a mount and can be cloned on every kernel. */
static const struct fake_node {
        const char *path;
        unsigned major, minor;
} fake_nodes[] = {
        {"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
        {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
};

struct fake_object {
        enum fake_type type;
        dev_t device;
        ino_t inode;
        struct fake_directory directory;
        int kind;                /* of a namespace: CLONE_NEW*, */
        uint64_t namespace;      /* and its id, 0 once it has ended */
        struct fake_mount mount; /* of a context: the mount to be */
        bool created;            /* a context's superblock */
        bool idmapped;           /* a mount, see fake_map() */
        const char *failed;      /* a context's message */
        bool stranger;
        const struct fake_node *node; /* of the host */
        struct fake_part parts[FAKE_PARTS_MAX];
        unsigned n_parts;
        bool is_part;
        const struct fake_object *on; /* directory or mount; NULL: not attached */
        struct fake_object *same;     /* another descriptor of the same object */
        LIST_ENTRY(fake_object) by_inode;
        LIST_ENTRY(fake_object) by_table;
};

LIST_HEAD(fake_list, fake_object);

static pthread_mutex_t fake_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct fake_list fake_objects[FAKE_BUCKETS]; /* newest first: inodes can be reused */
static struct fake_list fake_table;                 /* attached mounts */
static unsigned fake_can;
static const char *fake_misplaced;
static uint64_t fake_last_id = FAKE_UNIQUE + FAKE_ELSEWHERE;

static uint8_t fake_log[FAKE_CALLS_MAX];
static unsigned fake_n_calls, fake_n_calls_of[FAKE_ANY];
static enum fake_call fake_fail_kind;
static unsigned fake_fail_first, fake_fail_times;
static int fake_fail_error;
static bool fake_failed[FAKE_ANY];

static pthread_cond_t fake_unblocked = PTHREAD_COND_INITIALIZER;
static enum fake_call fake_block_kind;
static unsigned fake_block_times, fake_n_blocked, fake_n_unblocks;

static pid_t fake_hidden;
static uid_t fake_maker;
static int fake_owner = -EBADF; /* of everything made here, if not ours */
static bool fake_is_nested, fake_lacks_noswap;
static unsigned fake_mapped;
static bool fake_lacks_pidns;

static _Thread_local bool fake_isolated;
static _Thread_local uint64_t fake_here, fake_net;
static _Thread_local const struct fake_object *fake_cwd; /* NULL: "/" */

static void __attribute__((noreturn)) fake_die(const char *what) {
        fprintf(stderr, "fake kernel: %s\n", what);
        abort();
}

/* ---- the log ---- */

/* With the mutex held. */
static void fake_wait_if_blocked(enum fake_call kind) {
        unsigned unblocks = fake_n_unblocks;

        if (fake_block_times == 0 || fake_block_kind != kind)
                return;
        fake_block_times--;
        fake_n_blocked++;
        while (fake_n_unblocks == unblocks)
                pthread_cond_wait(&fake_unblocked, &fake_mutex);
}

/* Logs the call and takes the mutex; returns a negative errno if the call is to fail. */
static int fake_enter(enum fake_call kind) {
        unsigned n;

        pthread_mutex_lock(&fake_mutex);
        if (fake_n_calls == FAKE_CALLS_MAX)
                fake_die("too many calls");
        fake_log[fake_n_calls++] = kind;
        fake_n_calls_of[kind]++;
        fake_wait_if_blocked(kind);

        if (fake_fail_kind != FAKE_ANY && fake_fail_kind != kind)
                return 0;
        n = fake_fail_kind == FAKE_ANY ? fake_n_calls : fake_n_calls_of[kind];
        if (n < fake_fail_first || n - fake_fail_first >= fake_fail_times)
                return 0;
        fake_failed[kind] = true;
        return -fake_fail_error;
}

static int fake_leave(int r) {
        pthread_mutex_unlock(&fake_mutex);
        return r;
}

void fake_block(enum fake_call kind, unsigned times) {
        pthread_mutex_lock(&fake_mutex);
        fake_block_kind = kind;
        fake_block_times = times;
        fake_leave(0);
}

unsigned fake_blocked(void) {
        pthread_mutex_lock(&fake_mutex);
        return fake_leave(fake_n_blocked);
}

void fake_unblock(void) {
        pthread_mutex_lock(&fake_mutex);
        fake_n_unblocks++;
        fake_n_blocked = 0;
        pthread_cond_broadcast(&fake_unblocked);
        fake_leave(0);
}

bool fake_has_failed(enum fake_call kind) {
        pthread_mutex_lock(&fake_mutex);
        return fake_leave(fake_failed[kind]);
}

void fake_calls_reset(void) {
        pthread_mutex_lock(&fake_mutex);
        fake_n_calls = 0;
        memset(fake_n_calls_of, 0, sizeof(fake_n_calls_of));
        memset(fake_failed, 0, sizeof(fake_failed));
        fake_fail_times = 0;
        fake_leave(0);
}

unsigned fake_calls(enum fake_call kind) {
        pthread_mutex_lock(&fake_mutex);
        return fake_leave(kind == FAKE_ANY ? fake_n_calls : fake_n_calls_of[kind]);
}

enum fake_call fake_call_at(unsigned n) {
        if (n < 1 || n > fake_n_calls)
                fake_die("no such call");
        return fake_log[n - 1];
}

void fake_fail(enum fake_call kind, unsigned n, unsigned times, int error) {
        pthread_mutex_lock(&fake_mutex);
        fake_fail_kind = kind;
        fake_fail_first = n;
        fake_fail_times = times;
        fake_fail_error = error;
        fake_leave(0);
}

/* ---- objects ---- */

static struct fake_object *fake_find(int fd) {
        struct fake_object *object;
        struct stat stat;

        if (fstat(fd, &stat) < 0)
                fake_die("not a descriptor");
        LIST_FOREACH(object, &fake_objects[stat.st_ino % FAKE_BUCKETS], by_inode) {
                if (object->inode == stat.st_ino && object->device == stat.st_dev)
                        return object->same ?: object;
        }
        return NULL;
}

static struct fake_object *fake_find_typed(int fd, enum fake_type type) {
        struct fake_object *object = fake_find(fd);

        if (!object || object->type != type)
                fake_die("a descriptor of the wrong type");
        return object;
}

/* Returns a descriptor, and its object in `*ret`. */
static int fake_new(enum fake_type type, struct fake_object **ret) {
        int fd = memfd_create("fake", MFD_CLOEXEC);
        struct fake_object *object = calloc(1, sizeof(*object));
        struct stat stat;

        if (fd < 0 || !object || fstat(fd, &stat) < 0)
                fake_die("out of descriptors or memory");
        object->type = type;
        object->device = stat.st_dev;
        object->inode = stat.st_ino;
        LIST_INSERT_HEAD(&fake_objects[stat.st_ino % FAKE_BUCKETS], object, by_inode);
        *ret = object;
        return fd;
}

/* Another descriptor of the object. */
static int fake_reopen(struct fake_object *object) {
        struct fake_object *alias;
        int fd = fake_new(object->type, &alias);

        alias->same = object;
        return fd;
}

static int fake_new_mount(const struct fake_mount *like, struct fake_object **ret) {
        int fd = fake_new(FAKE_TYPE_MOUNT, ret);

        (*ret)->mount = *like;
        (*ret)->mount.id = ++fake_last_id;
        (*ret)->mount.id_old = fake_last_id - FAKE_UNIQUE;
        return fd;
}

void fake_features(unsigned features) {
        fake_can = features;
}

int fake_directory(const struct fake_directory *directory) {
        struct fake_object *object;
        int fd;

        pthread_mutex_lock(&fake_mutex);
        fd = fake_new(FAKE_TYPE_DIRECTORY, &object);
        object->directory = *directory;
        if (!object->directory.magic)
                object->directory.magic = FAKE_EXT4;
        return fake_leave(fd);
}

void fake_forget(void) {
        pthread_mutex_lock(&fake_mutex);
        LIST_INIT(&fake_table);
        fake_cwd = NULL;
        for (unsigned i = 0; i < FAKE_BUCKETS; i++)
                while (!LIST_EMPTY(&fake_objects[i])) {
                        struct fake_object *object = LIST_FIRST(&fake_objects[i]);

                        LIST_REMOVE(object, by_inode);
                        free(object);
                }
        fake_leave(0);
        fake_calls_reset();
}

/* ---- the mount table ---- */

static struct fake_object *fake_directly_on(const struct fake_object *object) {
        struct fake_object *mount;

        LIST_FOREACH(mount, &fake_table, by_table) {
                if (mount->on == object)
                        break;
        }
        return mount;
}

/* The topmost mount stacked on the directory or mount; NULL: none. */
static struct fake_object *fake_topmost_on(const struct fake_object *object) {
        struct fake_object *topmost = NULL, *next = fake_directly_on(object);

        while (next) {
                topmost = next;
                next = fake_directly_on(topmost);
        }
        return topmost;
}

static void fake_attach(struct fake_object *mount, const struct fake_object *directory) {
        const struct fake_object *topmost = fake_topmost_on(directory);

        mount->on = topmost ?: directory;
        LIST_INSERT_HEAD(&fake_table, mount, by_table);
}

static void fake_detach(struct fake_object *mount) {
        LIST_REMOVE(mount, by_table);
        mount->on = NULL;
}

static unsigned fake_count(bool strangers) {
        struct fake_object *mount;
        unsigned count = 0;

        pthread_mutex_lock(&fake_mutex);
        LIST_FOREACH(mount, &fake_table, by_table) {
                count += mount->stranger == strangers;
        }
        return fake_leave(count);
}

unsigned fake_mounts(void) {
        return fake_count(false);
}

unsigned fake_strangers(void) {
        return fake_count(true);
}

const struct fake_mount *fake_mount_on(int directory) {
        struct fake_object *mount;

        pthread_mutex_lock(&fake_mutex);
        mount = fake_topmost_on(fake_find_typed(directory, FAKE_TYPE_DIRECTORY));
        fake_leave(0);
        return mount ? &mount->mount : NULL;
}

static struct fake_object *fake_put(int directory, const char *options) {
        struct fake_object *mount;
        struct fake_mount like = {0};

        pthread_mutex_lock(&fake_mutex);
        snprintf(like.options, sizeof(like.options), "%s", options);
        close(fake_new_mount(&like, &mount));
        fake_attach(mount, fake_find_typed(directory, FAKE_TYPE_DIRECTORY));
        fake_leave(0);
        return mount;
}

void fake_cover(int directory) {
        fake_put(directory, "stranger")->stranger = true;
}

const struct fake_mount *fake_mount_before(int directory, const char *options) {
        return &fake_put(directory, options)->mount;
}

void fake_mount_again(int directory, const struct fake_mount *mount) {
        size_t offset = offsetof(struct fake_object, mount);

        pthread_mutex_lock(&fake_mutex);
        fake_attach((struct fake_object *)((char *)mount - offset),
                    fake_find_typed(directory, FAKE_TYPE_DIRECTORY));
        fake_leave(0);
}

int fake_open_mount(int directory) {
        struct fake_object *mount;

        pthread_mutex_lock(&fake_mutex);
        mount = fake_topmost_on(fake_find_typed(directory, FAKE_TYPE_DIRECTORY));
        if (!mount)
                fake_die("nothing to open");
        return fake_leave(fake_reopen(mount));
}

void fake_uncover(int directory) {
        struct fake_object *mount;

        pthread_mutex_lock(&fake_mutex);
        mount = fake_topmost_on(fake_find_typed(directory, FAKE_TYPE_DIRECTORY));
        if (!mount)
                fake_die("nothing to uncover");
        fake_detach(mount);
        fake_leave(0);
}

/* The old id of the mount that an object is, or is on; the unique one is FAKE_UNIQUE higher. */
static uint64_t fake_id_of(const struct fake_object *object) {
        if (!object)
                return FAKE_ROOT;
        if (object->type == FAKE_TYPE_MOUNT)
                return object->mount.id_old;
        if ((object->directory.flags & (FAKE_IS_FOREIGN | FAKE_IS_DETACHED)) ||
            object->directory.mount_namespace != fake_here)
                return FAKE_ELSEWHERE;
        return object->directory.magic == FAKE_FUSE ? FAKE_ROOT_FUSE : FAKE_ROOT;
}

/* The directory below the stack of mounts; for a detached mount, the root. */
static const struct fake_directory *fake_place_of(const struct fake_object *mount) {
        static const struct fake_directory nowhere = {.path = "/"};

        while (mount && mount->type == FAKE_TYPE_MOUNT)
                mount = mount->on;
        return mount ? &mount->directory : &nowhere;
}

static uint64_t fake_magic_of(const struct fake_object *object) {
        if (!object)
                return PROC_SUPER_MAGIC; /* of /proc/self/fd */
        if (object->type != FAKE_TYPE_MOUNT)
                return object->directory.magic;
        if (strncmp(object->mount.options, "proc,", 5) == 0)
                return PROC_SUPER_MAGIC;
        if (strncmp(object->mount.options, "tmpfs,", 6) == 0)
                return TMPFS_MAGIC;
        return strncmp(object->mount.options, "sysfs,", 6) == 0 ? SYSFS_MAGIC : FAKE_EXT4;
}

/* ---- facts of a descriptor ---- */

static void fake_stat_mount(const struct fake_object *object, unsigned mask, struct statx *stat) {
        bool unique =
                (mask & KERNEL_STATX_MNT_ID_UNIQUE) && (fake_can & PROTOCOL_FEATURE_UNIQUE_IDS);

        stat->stx_mask |= unique ? KERNEL_STATX_MNT_ID_UNIQUE : STATX_MNT_ID;
        stat->stx_mnt_id = fake_id_of(object) + (unique ? FAKE_UNIQUE : 0);
        stat->stx_attributes_mask |= STATX_ATTR_MOUNT_ROOT;
        if (!object || object->type == FAKE_TYPE_MOUNT || (object->directory.flags & FAKE_IS_ROOT))
                stat->stx_attributes |= STATX_ATTR_MOUNT_ROOT;
}

static void fake_stat_node(const struct fake_node *node, struct statx *stat) {
        bool misplaced = fake_misplaced && strcmp(fake_misplaced, node->path) == 0;

        stat->stx_mode = S_IFCHR | 0666;
        stat->stx_rdev_major = node->major;
        stat->stx_rdev_minor = node->minor + misplaced;
}

int kernel_statx(int fd, unsigned mask, struct statx *stat) {
        int r = fake_enter(FAKE_STATX);
        const struct fake_object *object = fake_find(fd);
        bool hidden = object && (object->directory.flags & FAKE_IS_HIDDEN);

        if (r == 0 && hidden && (mask & STATX_BASIC_STATS))
                r = -EACCES;
        if (r < 0)
                return fake_leave(r);

        *stat = (struct statx){0};
        fake_stat_mount(object, mask, stat);
        if (!hidden && (mask & STATX_BASIC_STATS)) {
                bool file = object && (object->directory.flags & FAKE_IS_FILE);

                stat->stx_mask |= STATX_BASIC_STATS;
                stat->stx_mode = file ? S_IFREG | 0644 : S_IFDIR | 0755;
                if (object && object->node)
                        fake_stat_node(object->node, stat);
                stat->stx_uid = object ? object->directory.owner : 0;
        }
        return fake_leave(0);
}

int kernel_statx_above(int fd, uint64_t *mount_id) {
        int r = fake_enter(FAKE_STATX_ABOVE);
        const struct fake_object *mount = fake_find(fd);

        if (r == 0)
                *mount_id = fake_id_of(mount->on ?: mount);
        return fake_leave(r);
}

int kernel_name_to_handle(int fd, uint64_t *mount_id) {
        int r = fake_enter(FAKE_NAME_TO_HANDLE);

        if (r == 0 && !(fake_can & PROTOCOL_FEATURE_UNIQUE_IDS))
                r = -EINVAL;
        if (r == 0)
                *mount_id = fake_id_of(fake_find(fd)) + FAKE_UNIQUE;
        return fake_leave(r);
}

int kernel_fstatfs(int fd, uint64_t *magic) {
        int r = fake_enter(FAKE_FSTATFS);
        const struct fake_object *object = fake_find(fd);

        if (r == 0)
                *magic = fake_magic_of(object);
        return fake_leave(r);
}

int kernel_readlink(int proc, int fd, char *path, size_t size) {
        int r = fake_enter(FAKE_READLINK);
        const struct fake_directory *place = fake_place_of(fake_find(fd));

        if (fake_find(proc))
                fake_die("not the descriptor of /proc/self/fd");
        if (r == 0 && (size_t)snprintf(path, size, "%s%s", place->path,
                                       place->flags & FAKE_IS_DELETED ? " (deleted)" : "") >= size)
                r = -ENAMETOOLONG;
        return fake_leave(r);
}

static bool fake_is_in(const struct fake_object *mount, uint64_t mount_namespace) {
        const struct fake_directory *place = fake_place_of(mount);

        return !(place->flags & FAKE_IS_DETACHED) && place->mount_namespace == mount_namespace;
}

static struct fake_object *fake_find_attached(uint64_t id, bool unique, uint64_t mount_namespace) {
        struct fake_object *found;

        LIST_FOREACH(found, &fake_table, by_table) {
                if ((unique ? found->mount.id : found->mount.id_old) == id)
                        break;
        }
        return found && fake_is_in(found, mount_namespace) ? found : NULL;
}

int kernel_statmount(uint64_t id, struct kernel_mount *mount) {
        int r = fake_enter(FAKE_STATMOUNT);
        struct fake_object *found;

        if (r == 0 && !(fake_can & PROTOCOL_FEATURE_STATMOUNT))
                r = -ENOSYS;
        if (r < 0)
                return fake_leave(r);
        if (id == FAKE_UNIQUE + FAKE_ROOT || id == FAKE_UNIQUE + FAKE_ROOT_FUSE) {
                *mount = (struct kernel_mount){.magic = id == FAKE_UNIQUE + FAKE_ROOT ? FAKE_EXT4
                                                                                      : FAKE_FUSE};
                return fake_leave(0);
        }
        found = fake_find_attached(id, true, fake_here);
        if (!found)
                return fake_leave(-ENOENT);
        *mount = (struct kernel_mount){
                .parent = fake_id_of(found->on) + FAKE_UNIQUE,
                .parent_old = fake_id_of(found->on),
                .magic = fake_magic_of(found),
        };
        return fake_leave(0);
}

int kernel_statmount_place(uint64_t id, uint64_t mount_namespace, char *path, size_t size) {
        int r = fake_enter(FAKE_STATMOUNT_PLACE);
        const struct fake_object *found =
                fake_find_attached(id, true, mount_namespace ? mount_namespace : fake_here);

        if (r == 0 && !(fake_can & PROTOCOL_FEATURE_STATMOUNT))
                r = -ENOSYS;
        if (r == 0 && !found)
                r = -ENOENT;
        if (r == 0 && (size_t)snprintf(path, size, "%s", fake_place_of(found)->path) >= size)
                r = -EOVERFLOW;
        return fake_leave(r);
}

int kernel_mountinfo(uint64_t old_id, struct kernel_mountinfo *info) {
        int r = fake_enter(FAKE_MOUNTINFO);
        const struct fake_object *found = fake_find_attached(old_id, false, fake_here);
        const char *options, *source;

        if (r == 0 && (old_id == FAKE_ROOT || old_id == FAKE_ROOT_FUSE)) {
                *info = (struct kernel_mountinfo){.place = "/", .file_system = "ext4"};
                if (old_id == FAKE_ROOT_FUSE)
                        strcpy(info->file_system, "fuse.sshfs");
                return fake_leave(0);
        }
        if (r == 0 && !found)
                r = -ENOENT;
        if (r < 0)
                return fake_leave(r);
        options = found->mount.options;
        source = strstr(options, ",source=");
        *info = (struct kernel_mountinfo){.parent = fake_id_of(found->on)};
        snprintf(info->place, sizeof(info->place), "%s", fake_place_of(found)->path);
        snprintf(info->file_system, sizeof(info->file_system), "%.*s", (int)strcspn(options, ","),
                 options);
        if (source) {
                source += strlen(",source=");
                snprintf(info->source, sizeof(info->source), "%.*s", (int)strcspn(source, ","),
                         source);
        }
        return fake_leave(0);
}

/* Returns the topmost mount there. Only mounted directories can be found by path. */
static int fake_open_path(const char *path, uint64_t resolve) {
        struct fake_object *mount;

        LIST_FOREACH(mount, &fake_table, by_table) {
                const struct fake_directory *place = fake_place_of(mount);

                if (strcmp(place->path, path) != 0 || mount->on->type != FAKE_TYPE_DIRECTORY ||
                    place->mount_namespace != fake_here)
                        continue;
                if ((place->flags & FAKE_IS_REMOTE) && (resolve & RESOLVE_CACHED))
                        return -EAGAIN;
                if (place->flags & FAKE_IS_PRIVATE)
                        return -EACCES;
                return fake_reopen(fake_topmost_on(mount) ?: mount);
        }
        return -ENOENT;
}

int kernel_open_place(const char *path, uint64_t resolve) {
        int r = fake_enter(FAKE_OPEN_PLACE);

        return fake_leave(r < 0 ? r : fake_open_path(path, resolve));
}

int kernel_open_below(int directory, const char *name) {
        int r = fake_enter(FAKE_OPEN_BELOW);
        char path[PATH_MAX];

        if (r < 0)
                return fake_leave(r);
        snprintf(path, sizeof(path), "%s/%s",
                 fake_find_typed(directory, FAKE_TYPE_DIRECTORY)->directory.path, name);
        return fake_leave(fake_open_path(path, 0));
}

/* ---- making mounts ---- */

int kernel_fsopen(const char *file_system) {
        int r = fake_enter(FAKE_FSOPEN);
        struct fake_object *context;

        if (r < 0)
                return fake_leave(r);
        r = fake_new(FAKE_TYPE_CONTEXT, &context);
        snprintf(context->mount.options, sizeof(context->mount.options), "%s", file_system);
        return fake_leave(r);
}

/* Shows the maker's namespace. */
static void fake_show_namespace(struct fake_object *context) {
        char *options = context->mount.options;
        size_t used = strlen(options), size = sizeof(context->mount.options);

        if (fake_net && strncmp(options, "sysfs,", 6) == 0)
                snprintf(options + used, size - used, ",net=%u", (unsigned)fake_net);
}

int kernel_fsconfig_fd(int fd, const char *key, int value) {
        int r = fake_enter(FAKE_FSCONFIG_FD);
        struct fake_object *context = fake_find_typed(fd, FAKE_TYPE_CONTEXT);
        const struct fake_object *namespace = fake_find_typed(value, FAKE_TYPE_NAMESPACE);
        char *options = context->mount.options;
        size_t used = strlen(options), size = sizeof(context->mount.options);

        context->failed = r < 0 ? "the fake kernel refuses" : NULL;
        if (r == 0 && fake_lacks_pidns) {
                context->failed = "proc: Unknown parameter 'pidns'";
                r = -EINVAL;
        }
        if (r == 0)
                snprintf(options + used, size - used, ",%s=%u", key,
                         (unsigned)namespace->namespace);
        return fake_leave(r);
}

int kernel_fsconfig(int fd, unsigned command, const char *key, const char *value) {
        int r = fake_enter(FAKE_FSCONFIG);
        struct fake_object *context = fake_find_typed(fd, FAKE_TYPE_CONTEXT);
        char *options = context->mount.options;
        size_t used = strlen(options), size = sizeof(context->mount.options);

        if (r == 0 && key && strcmp(key, "subset") == 0 && !(fake_can & PROTOCOL_FEATURE_PIDS_ONLY))
                r = -EINVAL;
        if (r == 0 && key && strcmp(key, "noswap") == 0 && fake_lacks_noswap)
                r = -EINVAL;
        context->failed = r < 0 ? "the fake kernel refuses" : NULL;
        if (r < 0)
                return fake_leave(r);

        if (command == FSCONFIG_CMD_CREATE) {
                fake_show_namespace(context);
                context->created = true;
        } else
                snprintf(options + used, size - used, ",%s%s%s", key, value ? "=" : "",
                         value ?: "");
        return fake_leave(0);
}

void kernel_fscontext_message(int fd, char *text, size_t size) {
        fake_enter(FAKE_MESSAGE);
        snprintf(text, size, "%s", fake_find_typed(fd, FAKE_TYPE_CONTEXT)->failed ?: "");
        fake_leave(0);
}

int kernel_fsmount(int fd, unsigned attributes) {
        int r = fake_enter(FAKE_FSMOUNT);
        const struct fake_object *context = fake_find_typed(fd, FAKE_TYPE_CONTEXT);
        struct fake_object *mount;

        if (!context->created)
                fake_die("fsmount of a superblock that doesn't exist");
        if (fake_here)
                fake_die("what is masked in a container would be masked in the mount");
        if (r < 0)
                return fake_leave(r);
        r = fake_new_mount(&context->mount, &mount);
        mount->mount.attributes = attributes;
        return fake_leave(r);
}

int kernel_open_tree_clone(int fd) {
        int r = fake_enter(FAKE_OPEN_TREE);
        const struct fake_object *mount = fake_find_typed(fd, FAKE_TYPE_MOUNT);
        struct fake_object *clone;

        if (r == 0 && (mount->node ? fake_here != 0 : !(fake_can & PROTOCOL_FEATURE_CLONES)))
                r = -EINVAL;
        return fake_leave(r < 0 ? r : fake_new_mount(&mount->mount, &clone));
}

int kernel_open_tree_clone_all(int fd) {
        int r = fake_enter(FAKE_OPEN_TREE_ALL);
        const struct fake_object *mount = fake_find_typed(fd, FAKE_TYPE_MOUNT);
        struct fake_object *clone;

        if (r == 0 && !(fake_can & PROTOCOL_FEATURE_CLONES))
                r = -EINVAL;
        if (r < 0)
                return fake_leave(r);
        r = fake_new_mount(&mount->mount, &clone);
        memcpy(clone->parts, mount->parts, sizeof(clone->parts));
        clone->n_parts = mount->n_parts;
        return fake_leave(r);
}

int kernel_mount_setattr(int fd, uint64_t set, uint64_t clear) {
        int r = fake_enter(FAKE_SETATTR);
        struct fake_object *mount = fake_find_typed(fd, FAKE_TYPE_MOUNT);

        if (r == 0)
                mount->mount.attributes = (mount->mount.attributes | set) & ~clear;
        return fake_leave(r);
}

/* ---- our own tree ---- */

int kernel_open_node(const char *path) {
        int r = fake_enter(FAKE_OPEN_NODE);
        const struct fake_node *node = fake_nodes;
        struct fake_mount like = {.attributes = MOUNT_ATTR_NODEV}; /* to be cleared */
        struct fake_object *object;

        while (strcmp(node->path, path) != 0)
                node++;
        if (r < 0)
                return fake_leave(r);
        snprintf(like.options, sizeof(like.options), "%s", path);
        r = fake_new_mount(&like, &object);
        object->node = node;
        return fake_leave(r);
}

void fake_misplace(const char *path) {
        fake_misplaced = path;
}

static int fake_make(int fd, const char *name, const char *target) {
        int r = fake_enter(FAKE_MAKE);
        struct fake_mount *mount = &fake_find_typed(fd, FAKE_TYPE_MOUNT)->mount;
        size_t used = strlen(mount->files);

        if (mount->attributes & MOUNT_ATTR_RDONLY)
                fake_die("made in a read-only mount");
        if (r == 0)
                snprintf(mount->files + used, sizeof(mount->files) - used, "%s%s%s%s",
                         used ? " " : "", name, target ? "=" : "", target ?: "");
        return fake_leave(r);
}

int kernel_make_file(int directory, const char *name) {
        return fake_make(directory, name, NULL);
}

int kernel_make_directory(int directory, const char *name) {
        return fake_make(directory, name, NULL);
}

int kernel_make_link(int directory, const char *name, const char *target) {
        return fake_make(directory, name, target);
}

int kernel_make_read_only(int fd) {
        int r = fake_enter(FAKE_READ_ONLY);
        char *options = fake_find_typed(fd, FAKE_TYPE_MOUNT)->mount.options;

        if (r == 0)
                strcat(options, ",ro");
        return fake_leave(r);
}

static bool fake_has_file(const char *files, const char *name) {
        size_t length = strlen(name);

        for (const char *at = files; (at = strstr(at, name)); at += length)
                if ((at == files || at[-1] == ' ') && (at[length] == ' ' || !at[length]))
                        return true;
        return false;
}

int kernel_move_mount_below(int fd, int directory, const char *name) {
        int r = fake_enter(FAKE_MOVE_BELOW);
        struct fake_object *mount = fake_find_typed(fd, FAKE_TYPE_MOUNT);
        struct fake_object *root = fake_find_typed(directory, FAKE_TYPE_MOUNT);
        struct fake_part *part = &root->parts[root->n_parts];

        if (mount->is_part || mount->on || root->n_parts == FAKE_PARTS_MAX)
                fake_die("a part is attached twice, or there are too many");
        if (r == 0 && !fake_has_file(root->mount.files, name))
                r = -ENOENT;
        if (r == 0 && !root->on && !(fake_can & PROTOCOL_FEATURE_CLONES))
                r = -EINVAL;
        if (r < 0)
                return fake_leave(r);
        snprintf(part->name, sizeof(part->name), "%s", name);
        part->mount = mount->mount;
        root->n_parts++;
        mount->is_part = true;
        return fake_leave(0);
}

const struct fake_mount *fake_part(int fd, const char *name) {
        const struct fake_object *root = fake_find_typed(fd, FAKE_TYPE_MOUNT);

        for (unsigned i = 0; i < root->n_parts; i++)
                if (strcmp(root->parts[i].name, name) == 0)
                        return &root->parts[i].mount;
        return NULL;
}

/* ---- attaching ---- */

int kernel_move_mount(int fd, int target) {
        int r = fake_enter(FAKE_MOVE_MOUNT);
        struct fake_object *mount = fake_find_typed(fd, FAKE_TYPE_MOUNT);
        const struct fake_object *directory = fake_find_typed(target, FAKE_TYPE_DIRECTORY);
        unsigned flags = directory->directory.flags;

        if (mount->on)
                fake_die("a mount is attached twice");
        if (r == 0 && (flags & FAKE_IS_FILE))
                r = -ENOTDIR;
        else if (r == 0 &&
                 ((flags & FAKE_IS_FOREIGN) || directory->directory.mount_namespace != fake_here ||
                  ((flags & FAKE_IS_DETACHED) && !(fake_can & PROTOCOL_FEATURE_CLONES))))
                r = -EINVAL;
        else if (r == 0 && (flags & (FAKE_IS_DELETED | FAKE_VANISHES)))
                r = -ENOENT;
        if (r == 0)
                fake_attach(mount, directory);
        return fake_leave(r);
}

/* ---- working directories ---- */

/* A real directory: only "/", to which daemon/unmount.h returns. */
static bool fake_is_root(int fd) {
        struct stat root, there;

        if (stat("/", &root) < 0 || fstat(fd, &there) < 0)
                fake_die("not a descriptor");
        return there.st_dev == root.st_dev && there.st_ino == root.st_ino;
}

int kernel_unshare_fs(void) {
        int r = fake_enter(FAKE_UNSHARE);

        fake_isolated = fake_isolated || r == 0;
        return fake_leave(r);
}

int kernel_fchdir(int fd) {
        bool root = fake_is_root(fd);
        int r = fake_enter(root ? FAKE_RETURN : FAKE_FCHDIR);

        if (!fake_isolated)
                fake_die("fchdir in a thread that shares its working directory");
        if (r == 0)
                fake_cwd = root ? NULL : fake_find_typed(fd, FAKE_TYPE_MOUNT);
        return fake_leave(r);
}

bool fake_is_in_root(void) {
        return fake_isolated && !fake_cwd;
}

int kernel_umount_here(void) {
        int r = fake_enter(FAKE_UMOUNT);
        struct fake_object *topmost;

        if (!fake_cwd)
                fake_die("umount2 of /");
        if (r < 0)
                return fake_leave(r);
        topmost = fake_topmost_on(fake_cwd) ?: (struct fake_object *)fake_cwd;
        if (!topmost->on || !fake_is_in(topmost, fake_here))
                return fake_leave(-EINVAL);
        fake_detach(topmost);
        return fake_leave(0);
}

/* ---- namespaces ---- */

int fake_namespace(int kind, uint64_t id) {
        struct fake_object *object;
        int fd;

        pthread_mutex_lock(&fake_mutex);
        fd = fake_new(FAKE_TYPE_NAMESPACE, &object);
        object->kind = kind;
        object->namespace = id;
        return fake_leave(fd);
}

/* The mount namespace with the next higher id: all were created after ours. */
static struct fake_object *fake_next_namespace(uint64_t after) {
        struct fake_object *object, *next = NULL;

        for (unsigned i = 0; i < FAKE_BUCKETS; i++)
                LIST_FOREACH(object, &fake_objects[i], by_inode) {
                        if (object->type == FAKE_TYPE_NAMESPACE && !object->same &&
                            object->kind == CLONE_NEWNS && object->namespace > after &&
                            (!next || object->namespace < next->namespace))
                                next = object;
                }
        return next;
}

void fake_end_namespace(uint64_t id) {
        pthread_mutex_lock(&fake_mutex);
        fake_next_namespace(id - 1)->namespace = 0;
        fake_leave(0);
}

void fake_hide_process(pid_t pid) {
        fake_hidden = pid;
}

void fake_forget_pidns(void) {
        fake_lacks_pidns = true;
}

uint64_t fake_where(void) {
        return fake_here;
}

int kernel_prepare(void) {
        return 0;
}

/* The kind of one of this process's own namespaces. */
static int fake_own_kind(int fd) {
        static const struct {
                const char *path;
                int kind;
        } own[] = {
                {"/proc/self/ns/mnt", CLONE_NEWNS},
                {"/proc/self/ns/pid", CLONE_NEWPID},
                {"/proc/self/ns/net", CLONE_NEWNET},
        };
        struct stat one, there;

        if (fstat(fd, &there) < 0)
                fake_die("not a descriptor");
        for (unsigned i = 0; i < 3; i++)
                if (stat(own[i].path, &one) == 0 && there.st_dev == one.st_dev &&
                    there.st_ino == one.st_ino)
                        return own[i].kind;
        return -EINVAL;
}

int kernel_namespace_kind(int fd) {
        int r = fake_enter(FAKE_NAMESPACE);
        const struct fake_object *object = fake_find(fd);

        if (r == 0 && object && object->type == FAKE_TYPE_NAMESPACE)
                r = object->kind;
        else if (r == 0)
                r = object ? -EINVAL : fake_own_kind(fd);
        return fake_leave(r);
}

/* A descriptor from elsewhere is a namespace of this process. */
int kernel_mount_namespace_id(int fd, uint64_t *id) {
        int r = fake_enter(FAKE_NAMESPACE);
        const struct fake_object *object = fake_find(fd);

        *id = object ? object->namespace : FAKE_OWN_NAMESPACE;
        return fake_leave(r);
}

/* Differs from its id. */
int kernel_namespace_inode(int fd, uint64_t *inode) {
        int r = fake_enter(FAKE_NAMESPACE);
        const struct fake_object *object = fake_find(fd);

        *inode = FAKE_INODE(object ? object->namespace : FAKE_OWN_NAMESPACE);
        return fake_leave(r);
}

int kernel_pid_namespace_has(int fd, pid_t pid) {
        int r = fake_enter(FAKE_NAMESPACE);

        if (!fake_find(fd))
                fake_own_kind(fd);
        if (r == 0 && pid == fake_hidden)
                r = -ESRCH;
        return fake_leave(r);
}

int kernel_is_same_namespace(int a, int b) {
        int r = fake_enter(FAKE_NAMESPACE);
        struct stat one, other;

        if (fstat(a, &one) < 0 || fstat(b, &other) < 0)
                fake_die("not a descriptor");
        return fake_leave(r < 0 ? r : one.st_dev == other.st_dev && one.st_ino == other.st_ino);
}

void fake_own_by(uid_t maker, unsigned mapped) {
        if (fake_owner < 0)
                fake_owner = fake_namespace(CLONE_NEWUSER, 0);
        fake_maker = maker;
        fake_mapped = mapped;
}

void fake_nest(void) {
        fake_is_nested = true;
}

void fake_forget_noswap(void) {
        fake_lacks_noswap = true;
}

int kernel_namespace_owner(int fd) {
        int r = fake_enter(FAKE_NAMESPACE);

        fake_find(fd);
        if (r == 0)
                r = fake_owner < 0 ? open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC)
                                   : fcntl(fake_owner, F_DUPFD_CLOEXEC, 0);
        return fake_leave(r);
}

/* Always ours. */
int kernel_namespace_parent(int fd) {
        int r = fake_enter(FAKE_NAMESPACE);

        fake_find_typed(fd, FAKE_TYPE_NAMESPACE);
        return fake_leave(r < 0 ? r : open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC));
}

int kernel_namespace_maker(int fd, uid_t *maker) {
        int r = fake_enter(FAKE_NAMESPACE);

        fake_find_typed(fd, FAKE_TYPE_NAMESPACE);
        *maker = fake_maker;
        return fake_leave(r);
}

int kernel_is_initial_user_namespace(int fd) {
        int r = fake_enter(FAKE_NAMESPACE);

        if (fake_find(fd))
                fake_die("not ours");
        return fake_leave(r < 0 ? r : !fake_is_nested);
}

int kernel_mount_setattr_idmap(int fd, int user_namespace) {
        int r = fake_enter(FAKE_SETATTR);
        struct fake_object *mount = fake_find_typed(fd, FAKE_TYPE_MOUNT);

        if (fake_find_typed(user_namespace, FAKE_TYPE_NAMESPACE)->kind != CLONE_NEWUSER ||
            mount->on || strncmp(mount->mount.options, "tmpfs,", 6) != 0)
                fake_die("no owners to be mapped, or not as in that");
        if (r == 0 && !fake_mapped && !(fake_can & PROTOCOL_FEATURE_STATMOUNT))
                r = -EINVAL; /* an empty map */
        mount->idmapped = r == 0;
        return fake_leave(r);
}

/* Nobody has CAP_CHOWN. */
int kernel_fchownat(int fd, uid_t uid, gid_t gid) {
        int r = fake_enter(FAKE_CHOWN);
        const struct fake_object *mount = fake_find_typed(fd, FAKE_TYPE_MOUNT);
        unsigned needed = (uid == 0 ? FAKE_MAPS_UID_0 : FAKE_MAPS_OTHERS) |
                          (gid == 0 ? FAKE_MAPS_GID_0 : FAKE_MAPS_OTHERS);

        if (r == 0 && mount->idmapped && (fake_mapped & needed) != needed)
                r = -EOVERFLOW;
        else if (r == 0 && (uid != (uid_t)-1 || gid != (gid_t)-1))
                r = -EPERM;
        return fake_leave(r);
}

int kernel_open_mount_namespace(int fd, enum kernel_direction direction, uint64_t *id) {
        int r = fake_enter(FAKE_NAMESPACE);
        const struct fake_object *object = fake_find(fd);
        struct fake_object *next =
                fake_next_namespace(object ? object->namespace : FAKE_OWN_NAMESPACE);

        if (r == 0 && (direction == KERNEL_PREVIOUS || !next))
                r = -ENOENT;
        if (r < 0)
                return fake_leave(r);
        *id = next->namespace;
        return fake_leave(fake_reopen(next));
}

int kernel_setns(int fd, int kind) {
        int r = fake_enter(FAKE_SETNS);
        const struct fake_object *object = fake_find(fd);
        uint64_t id = object ? object->namespace : 0;

        if (object && (object->type != FAKE_TYPE_NAMESPACE || object->kind != kind))
                fake_die("setns into what is none");
        if (kind == CLONE_NEWNS && !fake_isolated)
                fake_die("setns in a thread that shares its root");
        if (r < 0)
                return fake_leave(r);
        if (kind == CLONE_NEWNS) {
                fake_here = id;
                fake_cwd = NULL;
        } else
                fake_net = id;
        return fake_leave(0);
}

int kernel_chroot_here(void) {
        int r = fake_enter(FAKE_CHROOT);

        if (fake_cwd)
                fake_die("a chroot into a mount");
        return fake_leave(r);
}
