/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/real/fuse.h"

#include "common/fdpass.h"
#include "tests/real/world.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum {
        FUSE_PROC_NODE = 2,
        FUSE_BUFFER = 1 << 17,
        FUSE_CACHE_SECONDS = 3600,
};

static struct fuse_attr fuse_directory(uint64_t node, uid_t uid) {
        return (struct fuse_attr){
                .ino = node, .mode = S_IFDIR | 0755, .nlink = 2, .uid = uid, .gid = uid};
}

static void fuse_reply(int device, uint64_t unique, int error, const void *body, size_t size) {
        struct fuse_out_header header = {
                .len = sizeof(header) + size, .error = error, .unique = unique};
        struct iovec parts[] = {{&header, sizeof(header)}, {(void *)body, size}};

        if (writev(device, parts, 2) < 0 && errno != ENOENT)
                _exit(EXIT_FAILURE);
}

static void fuse_answer(int device, const struct fuse_in_header *in, const char *body, uid_t uid) {
        const struct fuse_init_out init = {
                .major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 65536};
        const struct fuse_attr_out attributes = {.attr_valid = FUSE_CACHE_SECONDS,
                                                 .attr = fuse_directory(in->nodeid, uid)};
        const struct fuse_entry_out entry = {
                .nodeid = FUSE_PROC_NODE,
                .entry_valid = FUSE_CACHE_SECONDS,
                .attr_valid = FUSE_CACHE_SECONDS,
                .attr = fuse_directory(FUSE_PROC_NODE, uid),
        };
        const struct fuse_statfs_out statistics = {.st.bsize = 4096, .st.namelen = 255};

        if (in->opcode == FUSE_INIT)
                fuse_reply(device, in->unique, 0, &init, sizeof(init));
        else if (in->opcode == FUSE_GETATTR)
                fuse_reply(device, in->unique, 0, &attributes, sizeof(attributes));
        else if (in->opcode == FUSE_LOOKUP && strcmp(body, "proc") == 0)
                fuse_reply(device, in->unique, 0, &entry, sizeof(entry));
        else if (in->opcode == FUSE_STATFS)
                fuse_reply(device, in->unique, 0, &statistics, sizeof(statistics));
        else if (in->opcode == FUSE_LOOKUP)
                fuse_reply(device, in->unique, -ENOENT, NULL, 0);
        else if (in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET)
                fuse_reply(device, in->unique, -ENOSYS, NULL, 0);
}

static void fuse_serve(int device, uid_t uid) {
        static char buffer[FUSE_BUFFER];
        ssize_t size;

        while ((size = read(device, buffer, sizeof(buffer) - 1)) > 0) {
                const struct fuse_in_header *in = (const struct fuse_in_header *)buffer;

                buffer[size] = '\0';
                fuse_answer(device, in, buffer + sizeof(*in), uid);
        }
        _exit(EXIT_SUCCESS);
}

bool fuse_mount(struct fuse *fuse, const char *path, uid_t uid, bool others) {
        int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        char options[128];

        if (device < 0)
                return false;
        snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=%u,group_id=%u%s", device,
                 uid, uid, others ? ",allow_other" : "");
        ck_assert_msg(mount("fuse", path, "fuse", MS_NOSUID | MS_NODEV, options) == 0, "fuse: %s",
                      strerror(errno));
        *fuse = (struct fuse){.server = fork(), .path = path};
        ck_assert_int_ge(fuse->server, 0);
        if (fuse->server == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                fuse_serve(device, uid);
        }
        close(device);
        return true;
}

struct fuse_opener {
        const char *path;
        int socket;
};

static void fuse_open_and_send(void *argument) {
        const struct fuse_opener *opener = argument;
        int fd = open(opener->path, O_PATH | O_DIRECTORY | O_CLOEXEC);

        ck_assert_msg(fd >= 0, "%s: %s", opener->path, strerror(errno));
        ck_assert_int_eq(fdpass_send(opener->socket, "x", 1, &fd, 1), 0);
}

int fuse_open_proc(const struct fuse *fuse, uid_t uid) {
        struct fdpass_set received;
        struct fuse_opener opener;
        char path[512], byte;
        int sockets[2];

        snprintf(path, sizeof(path), "%s/proc", fuse->path);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
        opener = (struct fuse_opener){.path = path, .socket = sockets[1]};
        world_run_as(uid, fuse_open_and_send, &opener);
        ck_assert_int_eq(fdpass_receive(sockets[0], &byte, 1, &received), 1);
        ck_assert_uint_eq(received.count, 1);
        close(sockets[0]);
        close(sockets[1]);
        return received.fds[0];
}

void fuse_stall(const struct fuse *fuse) {
        ck_assert_int_eq(kill(fuse->server, SIGSTOP), 0);
}

void fuse_unmount(struct fuse *fuse) {
        world_kill(fuse->server);
        ck_assert_int_eq(umount2(fuse->path, MNT_DETACH), 0);
}
