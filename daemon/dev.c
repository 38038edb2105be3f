/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/dev.h"

#include "common/fd.h"
#include "common/protocol.h"
#include "daemon/kernel.h"
#include "daemon/namespaces.h"
#include "daemon/superblock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

/* Documentation/admin-guide/devices.txt in the kernel. */
static const struct dev_node {
        const char *name, *path;
        unsigned major, minor;
} dev_nodes[] = {
        {"null", "/dev/null", 1, 3},       {"zero", "/dev/zero", 1, 5},
        {"full", "/dev/full", 1, 7},       {"random", "/dev/random", 1, 8},
        {"urandom", "/dev/urandom", 1, 9}, {"tty", "/dev/tty", 5, 0},
};

static const struct {
        const char *name, *target;
} dev_links[] = {
        {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
        {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
};

enum {
        DEV_NODES = sizeof(dev_nodes) / sizeof(dev_nodes[0]),
        DEV_LINKS = sizeof(dev_links) / sizeof(dev_links[0]),
        DEV_NODE_ATTRIBUTES = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,

        DEV_SHM_FILE = 4096, /* bytes of the size for each file, which takes kernel memory */
        DEV_SHM_FILES = 16,  /* at least */
};

struct dev {
        const struct mount_setup *setup;
        int nodes[DEV_NODES];
        int tree; /* the template; -EBADF: could not be cloned */
        bool has_shm;
        char shm_size[24];
        char shm_files[24];
};

static const struct superblock_recipe dev_root = {
        .file_system = "tmpfs",
        .attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
        .options = {{"mode", "0755"}, {"size", "64k"}, {"nr_inodes", "32"}},
};

/*
 * The group tty, which has this number in all distributions: the owner of a pty need not change its
 * group. All ptys of the machine count for the sysctl kernel.pty.max, 4096 by default, and those of
 * an instance made in the first mount namespace may use the last 1024, kept for the host:
 * fs/devpts.
 */
static const struct superblock_recipe dev_pts = {
        .file_system = "devpts",
        .attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
        .options = {{"newinstance", NULL},
                    {"ptmxmode", "0666"},
                    {"mode", "0620"},
                    {"gid", "5"},
                    {"max", "256"}},
};

/* ---- the host's nodes ---- */

static struct verdict dev_lacks(int error, const char *path, const char *what) {
        struct verdict verdict = verdict_host_failed(error, STATUS_NO_TARGET);

        snprintf(verdict.text, sizeof(verdict.text), "cannot use %s of mountatd's host: %s", path,
                 what);
        return verdict;
}

static struct verdict dev_open_node(const struct dev_node *node, int *ret) {
        FD_AUTO int fd = kernel_open_node(node->path);
        struct statx stat;
        int r;

        if (fd < 0)
                return dev_lacks(fd, node->path, fd == -ENOENT ? "no such device" : strerror(-fd));
        r = kernel_statx(fd, STATX_TYPE, &stat);
        if (r < 0)
                return dev_lacks(r, node->path, strerror(-r));
        if ((stat.stx_mode & S_IFMT) != S_IFCHR || stat.stx_rdev_major != node->major ||
            stat.stx_rdev_minor != node->minor)
                return dev_lacks(-ENODEV, node->path, "it is a different device");
        *ret = fd_take(&fd);
        return VERDICT_OK;
}

/* ---- a tree and its parts ---- */

static int dev_populate(const struct dev *dev, int root) {
        int r = kernel_make_directory(root, "pts");

        if (r == 0 && dev->has_shm)
                r = kernel_make_directory(root, "shm");
        for (int i = 0; r == 0 && i < DEV_NODES; i++)
                r = kernel_make_file(root, dev_nodes[i].name);
        for (int i = 0; r == 0 && i < DEV_LINKS; i++)
                r = kernel_make_link(root, dev_links[i].name, dev_links[i].target);
        if (r == 0)
                r = kernel_mount_setattr(root, MOUNT_ATTR_RDONLY, 0);
        return r < 0 ? r : kernel_make_read_only(root);
}

static struct verdict dev_make_root(const struct dev *dev, int *ret) {
        FD_AUTO int root = -EBADF;
        struct verdict verdict = superblock_make(&dev_root, dev->setup->source, NULL, &root);
        int r;

        if (verdict.status != STATUS_OK)
                return verdict;
        r = dev_populate(dev, root);
        if (r < 0)
                return verdict_host_failed(r, STATUS_NO_TARGET);
        *ret = fd_take(&root);
        return VERDICT_OK;
}

/* Somebody else can detach an attached tree at any moment, but never a detached one. */
static struct verdict dev_attach(const struct dev *dev, int mount, int root, const char *name) {
        bool attached = !(dev->setup->features & PROTOCOL_FEATURE_CLONES);
        int r = kernel_move_mount_below(mount, root, name);

        if (r == 0)
                return VERDICT_OK;
        if (attached && (r == -EINVAL || r == -ENOENT))
                return verdict_refuse(STATUS_TARGET_VANISHED, STATUS_NO_TARGET);
        return r == -ENOSPC ? mount_judge(r) : verdict_host_failed(r, STATUS_NO_TARGET);
}

/* The host's node can be cloned only from its own mount namespace. */
static int dev_clone_node(const struct dev *dev, int i) {
        uint64_t place = namespaces_here();
        FD_AUTO int node = -EBADF;
        int r = namespaces_go(0), back;

        if (r == 0)
                r = node = kernel_open_tree_clone(dev->nodes[i]);
        if (r >= 0)
                r = kernel_mount_setattr(node, DEV_NODE_ATTRIBUTES, MOUNT_ATTR_NODEV);
        back = namespaces_go(place);
        if (r == 0)
                r = back;
        return r < 0 ? r : fd_take(&node);
}

static struct verdict dev_add_node(const struct dev *dev, int i, int root) {
        FD_AUTO int node = dev_clone_node(dev, i);

        return node < 0 ? verdict_host_failed(node, STATUS_NO_TARGET)
                        : dev_attach(dev, node, root, dev_nodes[i].name);
}

static struct verdict dev_add_nodes(const struct dev *dev, int root) {
        struct verdict verdict = VERDICT_OK;

        for (int i = 0; verdict.status == STATUS_OK && i < DEV_NODES; i++)
                verdict = dev_add_node(dev, i, root);
        return verdict;
}

static struct verdict dev_add_superblock(const struct dev *dev,
                                         const struct superblock_recipe *recipe, int root,
                                         const char *name) {
        FD_AUTO int fd = -EBADF;
        struct verdict verdict = superblock_make(recipe, dev->setup->source, NULL, &fd);

        return verdict.status == STATUS_OK ? dev_attach(dev, fd, root, name) : verdict;
}

/* The parts that no two leases share. */
static struct verdict dev_add_own(const struct dev *dev, int root) {
        const struct superblock_recipe shm = {
                .file_system = "tmpfs",
                .attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
                .options = {{"mode", "1777"},
                            {"size", dev->shm_size},
                            {"nr_inodes", dev->shm_files}},
        };
        struct verdict verdict = dev_add_superblock(dev, &dev_pts, root, "pts");

        if (verdict.status == STATUS_OK && dev->has_shm)
                verdict = dev_add_superblock(dev, &shm, root, "shm");
        return verdict;
}

struct verdict dev_make(struct dev *dev, int *ret) {
        FD_AUTO int root = -EBADF;
        struct verdict verdict;

        if (dev->tree < 0)
                return dev_make_root(dev, ret);
        root = kernel_open_tree_clone_all(dev->tree);
        if (root < 0)
                return verdict_host_failed(root, STATUS_NO_TARGET);
        verdict = dev_add_own(dev, root);
        if (verdict.status == STATUS_OK)
                *ret = fd_take(&root);
        return verdict;
}

struct verdict dev_complete(struct dev *dev, int root) {
        struct verdict verdict = VERDICT_OK;

        if (dev->tree >= 0)
                return verdict;
        verdict = dev_add_nodes(dev, root);
        return verdict.status == STATUS_OK ? dev_add_own(dev, root) : verdict;
}

/* ---- all of it ---- */

static struct verdict dev_make_template(struct dev *dev) {
        FD_AUTO int root = -EBADF;
        struct verdict verdict = dev_make_root(dev, &root);

        if (verdict.status == STATUS_OK)
                verdict = dev_add_nodes(dev, root);
        if (verdict.status == STATUS_OK)
                dev->tree = fd_take(&root);
        return verdict;
}

/* Makes a tree, and the parts that a host can refuse, and keeps none of them. */
static struct verdict dev_try(struct dev *dev) {
        FD_AUTO int root = -EBADF, node = -EBADF, pts = -EBADF;
        struct verdict verdict = dev_make(dev, &root);

        if (verdict.status != STATUS_OK || dev->tree >= 0)
                return verdict;
        node = dev_clone_node(dev, 0);
        return node < 0 ? verdict_host_failed(node, STATUS_NO_TARGET)
                        : superblock_make(&dev_pts, dev->setup->source, NULL, &pts);
}

struct verdict dev_new(const struct mount_setup *setup, uint64_t shm_size, struct dev **ret) {
        struct dev *dev = calloc(1, sizeof(*dev));
        struct verdict verdict = VERDICT_OK;

        if (!dev)
                return verdict_host_failed(-ENOMEM, STATUS_NO_TARGET);
        dev->setup = setup;
        dev->tree = -EBADF;
        dev->has_shm = shm_size > 0;
        snprintf(dev->shm_size, sizeof(dev->shm_size), "%" PRIu64, shm_size);
        snprintf(dev->shm_files, sizeof(dev->shm_files), "%" PRIu64,
                 shm_size / DEV_SHM_FILE + DEV_SHM_FILES);
        for (int i = 0; i < DEV_NODES; i++)
                dev->nodes[i] = -EBADF;

        for (int i = 0; verdict.status == STATUS_OK && i < DEV_NODES; i++)
                verdict = dev_open_node(&dev_nodes[i], &dev->nodes[i]);
        if (verdict.status == STATUS_OK && (setup->features & PROTOCOL_FEATURE_CLONES))
                verdict = dev_make_template(dev);
        if (verdict.status == STATUS_OK)
                verdict = dev_try(dev);
        if (verdict.status != STATUS_OK)
                dev_free(dev);
        else
                *ret = dev;
        return verdict;
}

struct dev *dev_free(struct dev *dev) {
        if (!dev)
                return NULL;
        for (int i = 0; i < DEV_NODES; i++)
                fd_close(dev->nodes[i]);
        fd_close(dev->tree);
        free(dev);
        return NULL;
}

unsigned dev_mounts(const struct dev *dev) {
        return 1 + DEV_NODES + 1 + dev->has_shm;
}
