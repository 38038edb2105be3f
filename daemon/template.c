/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The mutex guards the clones made ahead, and isn't held during system calls. A template is
 * published by compare-and-swap: if two threads make the same one at once, the loser closes its
 * own.
 */

#include "daemon/template.h"

#include "common/fd.h"
#include "common/protocol.h"
#include "daemon/dev.h"
#include "daemon/kernel.h"
#include "daemon/superblock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mount.h>

struct template_ahead {
        unsigned count;
        struct template_clone clones[TEMPLATE_AHEAD];
};

struct templates {
        struct mount_setup setup;
        struct templates *home;              /* the templates these derive from, NULL: none, */
        const struct namespaces *namespaces; /* and the client's namespaces; both borrowed */
        struct dev *dev;                     /* owned; NULL: dev isn't offered, */
        struct verdict no_dev;               /* for this reason */
        atomic_bool dev_wanted;              /* somebody has asked for a dev */
        atomic_int fds[TEMPLATE_KINDS];      /* -EBADF until made */
        pthread_mutex_t mutex;               /* guards all below */
        struct template_ahead ahead[TEMPLATE_KINDS];
};

#define TEMPLATE_FORCED (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
#define TEMPLATE_HIDEPID                                                                           \
        { "hidepid", "ptraceable" }
#define TEMPLATE_PIDS                                                                              \
        { "subset", "pid" }
#define TEMPLATE_READ_ONLY                                                                         \
        { "ro", NULL }

static const struct superblock_recipe template_recipes[TEMPLATE_KINDS] = {
        [TEMPLATE_PROC] = {"proc",
                           TEMPLATE_FORCED | MOUNT_ATTR_RDONLY,
                           {TEMPLATE_HIDEPID, TEMPLATE_READ_ONLY}},
        [TEMPLATE_PROC_PIDS] = {"proc",
                                TEMPLATE_FORCED | MOUNT_ATTR_RDONLY,
                                {TEMPLATE_HIDEPID, TEMPLATE_PIDS, TEMPLATE_READ_ONLY}},
        [TEMPLATE_PROC_WRITABLE] = {"proc", TEMPLATE_FORCED, {TEMPLATE_HIDEPID}},
        [TEMPLATE_PROC_WRITABLE_PIDS] = {"proc",
                                         TEMPLATE_FORCED,
                                         {TEMPLATE_HIDEPID, TEMPLATE_PIDS}},
        [TEMPLATE_SYSFS] = {"sysfs", TEMPLATE_FORCED | MOUNT_ATTR_RDONLY, {{NULL, NULL}}},
};

/* A /dev doesn't depend on the client's namespaces. */
static struct templates *templates_home(struct templates *templates) {
        return templates->home ?: templates;
}

/* The template of `kind`, made on first use; borrowed. */
static struct verdict template_find(struct templates *templates, enum template_kind kind,
                                    int *ret) {
        int fd = atomic_load(&templates->fds[kind]), none = -EBADF;
        struct verdict verdict;

        if (fd < 0) {
                verdict = superblock_make(&template_recipes[kind], templates->setup.source,
                                          templates->namespaces, &fd);
                if (verdict.status != STATUS_OK)
                        return verdict;
                if (!atomic_compare_exchange_strong(&templates->fds[kind], &none, fd)) {
                        fd_close(fd);
                        fd = none;
                }
        }
        *ret = fd;
        return VERDICT_OK;
}

/* ---- clones ---- */

static struct verdict template_create(struct templates *templates, enum template_kind kind,
                                      int *ret) {
        struct verdict verdict;
        int template, fd;

        if (kind == TEMPLATE_DEV)
                return dev_make(templates->dev, ret);
        if (!(templates->setup.features & PROTOCOL_FEATURE_CLONES))
                return superblock_make(&template_recipes[kind], templates->setup.source,
                                       templates->namespaces, ret);
        verdict = template_find(templates, kind, &template);
        if (verdict.status != STATUS_OK)
                return verdict;
        fd = kernel_open_tree_clone(template);
        if (fd < 0)
                return verdict_host_failed(fd, STATUS_NO_TARGET);
        *ret = fd;
        return VERDICT_OK;
}

static struct verdict template_clone(struct templates *templates, enum template_kind kind,
                                     struct template_clone *clone) {
        FD_AUTO int fd = -EBADF;
        struct verdict verdict = template_create(templates, kind, &fd);
        int r;

        if (verdict.status != STATUS_OK)
                return verdict;
        r = mount_identify(templates->setup.features, fd, &clone->id);
        if (r < 0)
                return verdict_host_failed(r, STATUS_NO_TARGET);
        clone->fd = fd_take(&fd);
        return VERDICT_OK;
}

static bool template_take(struct templates *templates, enum template_kind kind,
                          struct template_clone *clone) {
        struct template_ahead *ahead = &templates->ahead[kind];
        bool found;

        pthread_mutex_lock(&templates->mutex);
        found = ahead->count > 0;
        if (found)
                *clone = ahead->clones[--ahead->count];
        pthread_mutex_unlock(&templates->mutex);
        return found;
}

/* False: no room; `clone` stays the caller's. */
static bool template_put(struct templates *templates, enum template_kind kind,
                         const struct template_clone *clone) {
        struct template_ahead *ahead = &templates->ahead[kind];
        bool room;

        pthread_mutex_lock(&templates->mutex);
        room = ahead->count < TEMPLATE_AHEAD;
        if (room)
                ahead->clones[ahead->count++] = *clone;
        pthread_mutex_unlock(&templates->mutex);
        return room;
}

static bool template_is_short(struct templates *templates, enum template_kind kind) {
        bool room;

        pthread_mutex_lock(&templates->mutex);
        room = templates->ahead[kind].count < TEMPLATE_AHEAD;
        pthread_mutex_unlock(&templates->mutex);
        return room;
}

struct verdict template_obtain(struct templates *templates, enum template_kind kind,
                               struct template_clone *clone) {
        if (kind == TEMPLATE_DEV) {
                templates = templates_home(templates);
                atomic_store_explicit(&templates->dev_wanted, true, memory_order_relaxed);
        }
        if (template_take(templates, kind, clone))
                return VERDICT_OK;
        return template_clone(templates, kind, clone);
}

/*
 * Whether to make clones ahead: of a /dev only once one was asked for, since each has memory of its
 * own.
 */
static bool template_is_usual(struct templates *templates, enum template_kind kind) {
        if (kind == TEMPLATE_DEV)
                return atomic_load_explicit(&templates->dev_wanted, memory_order_relaxed);
        return kind == TEMPLATE_PROC || kind == TEMPLATE_SYSFS;
}

static bool template_replenish(struct templates *templates, enum template_kind kind) {
        struct template_clone clone;

        while (template_is_short(templates, kind)) {
                if (template_clone(templates, kind, &clone).status != STATUS_OK)
                        return false;
                if (!template_put(templates, kind, &clone))
                        fd_close(clone.fd);
        }
        return true;
}

void templates_replenish(struct templates *templates) {
        if (!(templates->setup.features & PROTOCOL_FEATURE_CLONES))
                return;
        for (int kind = 0; kind < TEMPLATE_KINDS; kind++)
                if (template_is_usual(templates, kind) && !template_replenish(templates, kind))
                        return;
}

/* ---- probing the kernel ---- */

/*
 * A temporary shortage says nothing about the kernel. A daemon that took it for an answer would
 * recognise no mount of the previous instance by its id, and forget them all.
 */
static bool template_is_shortage(int error) {
        return error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -ENOSPC ||
               error == -EINTR || error == -EAGAIN || error == -EIO;
}

/* Each is useful only with the other: an id must name a mount and find it. */
static int template_probe_ids(int proc, int root) {
        struct kernel_mount mount;
        uint64_t id;
        int r = mount_identify(PROTOCOL_FEATURE_UNIQUE_IDS, proc, &id);

        if (r == 0)
                r = mount_identify(PROTOCOL_FEATURE_UNIQUE_IDS, root, &id);
        return r < 0 ? r : kernel_statmount(id, &mount);
}

static int template_probe_clones(int proc) {
        FD_AUTO int clone = kernel_open_tree_clone(proc);

        return clone < 0 ? clone : 0;
}

static int template_probe_pids_only(const char *source) {
        FD_AUTO int fd = -EBADF;

        return -superblock_make(&template_recipes[TEMPLATE_PROC_PIDS], source, NULL, &fd).error;
}

/* `proc` is the detached procfs template. A call that fails permanently isn't used. */
static struct verdict template_probe(struct mount_setup *setup, int proc) {
        FD_AUTO int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        const int root_error = -errno; /* if it is one */
        const struct {
                int answer;
                unsigned features;
        } probes[] = {
                {root < 0 ? root_error : template_probe_ids(proc, root),
                 PROTOCOL_FEATURE_UNIQUE_IDS | PROTOCOL_FEATURE_STATMOUNT},
                {template_probe_clones(proc), PROTOCOL_FEATURE_CLONES},
                {template_probe_pids_only(setup->source), PROTOCOL_FEATURE_PIDS_ONLY},
        };

        if (root < 0)
                return verdict_host_failed(root_error, STATUS_NO_TARGET);
        for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) {
                if (template_is_shortage(probes[i].answer))
                        return verdict_host_failed(probes[i].answer, STATUS_NO_TARGET);
                if (probes[i].answer == 0)
                        setup->features |= probes[i].features;
        }
        return VERDICT_OK;
}

/* ---- all of them ---- */

static struct templates *templates_alloc(const char *source) {
        struct templates *templates = calloc(1, sizeof(*templates));

        if (!templates)
                return NULL;
        templates->setup.source = source;
        templates->no_dev =
                verdict_explain(STATUS_UNSUPPORTED_FILE_SYSTEM, STATUS_NO_TARGET,
                                "this mountatd doesn't offer dev: see --no-dev in mountatd(8)");
        pthread_mutex_init(&templates->mutex, NULL);
        for (int kind = 0; kind < TEMPLATE_KINDS; kind++)
                atomic_init(&templates->fds[kind], -EBADF);
        return templates;
}

struct verdict templates_new(const char *source, struct templates **ret) {
        struct templates *templates = templates_alloc(source);
        struct verdict verdict;
        int proc, sysfs;

        if (!templates)
                return verdict_host_failed(-ENOMEM, STATUS_NO_TARGET);
        verdict = template_find(templates, TEMPLATE_PROC, &proc);
        if (verdict.status == STATUS_OK)
                verdict = template_find(templates, TEMPLATE_SYSFS, &sysfs);
        if (verdict.status == STATUS_OK)
                verdict = template_probe(&templates->setup, proc);
        if (verdict.status != STATUS_OK)
                templates_free(templates);
        else
                *ret = templates;
        return verdict;
}

struct verdict templates_offer_dev(struct templates *templates, uint64_t shm_size) {
        struct verdict verdict = dev_new(&templates->setup, shm_size, &templates->dev);

        if (verdict.status == STATUS_OK)
                templates->setup.features |= PROTOCOL_FEATURE_DEV;
        if (verdict.status == STATUS_OK || template_is_shortage(-verdict.error))
                return verdict;
        templates->no_dev =
                verdict_explain(STATUS_UNSUPPORTED_FILE_SYSTEM, STATUS_NO_TARGET, verdict.text);
        return templates->no_dev;
}

struct templates *templates_derive(struct templates *home, const struct namespaces *namespaces) {
        struct templates *templates = templates_alloc(home->setup.source);

        if (!templates)
                return NULL;
        templates->setup = home->setup;
        templates->home = home;
        templates->namespaces = namespaces;
        return templates;
}

struct verdict templates_judge(const struct templates *templates, uint32_t file_system) {
        return file_system == PROTOCOL_DEV && !templates->dev ? templates->no_dev : VERDICT_OK;
}

unsigned templates_mounts(const struct templates *templates, enum template_kind kind) {
        return kind == TEMPLATE_DEV ? dev_mounts(templates->dev) : 1;
}

struct verdict template_complete(struct templates *templates, enum template_kind kind, int mount) {
        return kind == TEMPLATE_DEV ? dev_complete(templates_home(templates)->dev, mount)
                                    : VERDICT_OK;
}

struct templates *templates_free(struct templates *templates) {
        if (!templates)
                return NULL;
        for (int kind = 0; kind < TEMPLATE_KINDS; kind++) {
                struct template_ahead *ahead = &templates->ahead[kind];

                while (ahead->count > 0)
                        fd_close(ahead->clones[--ahead->count].fd);
                fd_close(atomic_load(&templates->fds[kind]));
        }
        dev_free(templates->dev);
        pthread_mutex_destroy(&templates->mutex);
        free(templates);
        return NULL;
}

const struct mount_setup *templates_setup(const struct templates *templates) {
        return &templates->setup;
}
