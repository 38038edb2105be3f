/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/real/hostile.h"

#include "common/fd.h"
#include "common/fdpass.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>

enum {
        HOSTILE_DEVICE_MAJOR = 10,
        HOSTILE_DEVICE_MINOR = 229,
        HOSTILE_OPTIONS_MAX = 4,
};

/* fusermount3(1) asks for the name of the user. */
static void hostile_name_users(void) {
        const char *path = world_path("passwd");
        FILE *from = fopen("/etc/passwd", "re"), *to = fopen(path, "we");
        char line[512];

        ck_assert_ptr_nonnull(from);
        ck_assert_ptr_nonnull(to);
        while (fgets(line, sizeof(line), from))
                fputs(line, to);
        for (unsigned i = 0; i < HOSTILE_USERS; i++)
                fprintf(to, "hostile%u:x:%u:%u::/:/bin/false\n", i, HOSTILE_USER + i,
                        HOSTILE_USER + i);
        fclose(from);
        fclose(to);
        ck_assert_int_eq(mount(path, "/etc/passwd", NULL, MS_BIND, NULL), 0);
}

/* As an administrator does who lets users share their FUSE. */
static void hostile_allow_sharing(void) {
        const char *path = world_path("fuse.conf");
        FILE *file = fopen(path, "we");

        ck_assert_ptr_nonnull(file);
        fputs("user_allow_other\n", file);
        fclose(file);
        ck_assert_int_eq(mount(path, "/etc/fuse.conf", NULL, MS_BIND, NULL), 0);
}

/* One that everybody may open, in this mount namespace alone. */
static bool hostile_make_device(void) {
        const char *path = world_path("fuse");
        FD_AUTO int fd = -EBADF;

        if (mknod(path, S_IFCHR | 0666, makedev(HOSTILE_DEVICE_MAJOR, HOSTILE_DEVICE_MINOR)) < 0 ||
            chmod(path, 0666) < 0 || mount(path, "/dev/fuse", NULL, MS_BIND, NULL) < 0)
                return false;
        fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        return fd >= 0;
}

const char *hostile_prepare(void) {
        if (access(HOSTILE_FUSE_BINARY, X_OK) < 0)
                return "the build lacks libfuse3";
        if (access("/usr/bin/fusermount3", X_OK) < 0)
                return "fusermount3 is not installed";
        if (!hostile_make_device())
                return "/dev/fuse can't be opened";
        hostile_name_users();
        hostile_allow_sharing();
        return NULL;
}

static void hostile_exec(const struct hostile *hostile, unsigned patience,
                         const char *const *options, int orders, int reports) {
        const char *arguments[HOSTILE_OPTIONS_MAX + 4] = {"hostile_fuse", hostile->path};
        char milliseconds[16];

        snprintf(milliseconds, sizeof(milliseconds), "%u", patience);
        world_become(hostile->uid);
        dup2(orders, STDIN_FILENO);
        dup2(reports, STDOUT_FILENO);
        close_range(STDERR_FILENO + 1, ~0U, 0);
        arguments[2] = milliseconds;
        for (size_t i = 0; options && options[i]; i++)
                arguments[3 + i] = options[i];
        execv(HOSTILE_FUSE_BINARY, (char **)arguments);
        _exit(127);
}

static void hostile_await_report(const struct hostile *hostile) {
        struct pollfd report = {.fd = hostile->reports, .events = POLLIN};
        char byte;

        ck_assert_msg(poll(&report, 1, WORLD_PATIENCE_MS) == 1, "no report of the file system");
        ck_assert_int_eq(read(hostile->reports, &byte, 1), 1);
}

static struct hostile hostile_fork(unsigned index, const char *path, unsigned patience,
                                   const char *const *options) {
        struct hostile hostile = {.uid = HOSTILE_USER + index};
        int orders[2], reports[2];

        snprintf(hostile.path, sizeof(hostile.path), "%s", path);
        ck_assert_int_eq(pipe2(orders, O_CLOEXEC), 0);
        ck_assert_int_eq(pipe2(reports, O_CLOEXEC), 0);
        hostile.pid = fork();
        ck_assert_int_ge(hostile.pid, 0);
        if (hostile.pid == 0)
                hostile_exec(&hostile, patience, options, orders[0], reports[1]);
        close(orders[0]);
        close(reports[1]);
        hostile.orders = orders[1];
        hostile.reports = reports[0];
        return hostile;
}

static struct hostile hostile_run(unsigned index, const char *name, unsigned patience,
                                  const char *const *options) {
        const char *path = world_make_directory(HOSTILE_USER + index, 0755, name);
        struct hostile hostile = hostile_fork(index, path, patience, options);

        hostile_await_report(&hostile);
        return hostile;
}

struct hostile hostile_spawn(unsigned index, const char *path) {
        return hostile_fork(index, path, 0, NULL);
}

static bool hostile_has_report(const struct hostile *hostile) {
        struct pollfd report = {.fd = hostile->reports, .events = POLLIN};

        return poll(&report, 1, 0) == 1 && (report.revents & POLLIN);
}

bool hostile_is_mounted(const struct hostile *hostile) {
        return hostile_has_report(hostile);
}

bool hostile_is_awaited(const struct hostile *hostile) {
        return hostile_has_report(hostile);
}

bool hostile_is_running(const struct hostile *hostile) {
        siginfo_t info = {0};

        ck_assert_int_eq(waitid(P_PID, hostile->pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
        return info.si_pid == 0;
}

struct hostile hostile_start(unsigned index, const char *name, unsigned patience) {
        return hostile_run(index, name, patience, NULL);
}

struct hostile hostile_start_shared(unsigned index, const char *name) {
        return hostile_start_as(index, name, HOSTILE_SHARED, NULL);
}

struct hostile hostile_start_as(unsigned index, const char *name, unsigned traits,
                                const char *source) {
        const char *options[HOSTILE_OPTIONS_MAX + 1] = {0};
        char label[64];
        size_t n = 0;

        if (traits & HOSTILE_SHARED)
                options[n++] = "-oallow_other";
        if (traits & HOSTILE_FORGETFUL)
                options[n++] = "--forgetful";
        if (source) {
                snprintf(label, sizeof(label), "-ofsname=%s", source);
                options[n++] = label;
        }
        return hostile_run(index, name, 0, options);
}

static void hostile_reap(pid_t pid) {
        int status;

        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}

void hostile_end(struct hostile *hostile) {
        kill(hostile->pid, SIGKILL);
        hostile_reap(hostile->pid);
        close(hostile->orders);
        close(hostile->reports);
        umount2(hostile->path, MNT_DETACH);
        for (size_t i = 0; i < hostile->n_callers; i++)
                hostile_reap(hostile->callers[i]);
        hostile->n_callers = 0;
}

void hostile_let_go(struct hostile *hostile) {
        ck_assert_int_eq(write(hostile->orders, "\n", 1), 1);
}

static void hostile_add_caller(struct hostile *hostile, pid_t pid) {
        ck_assert_uint_lt(hostile->n_callers, HOSTILE_CALLERS_MAX);
        hostile->callers[hostile->n_callers++] = pid;
}

static void hostile_open_as_user(uid_t uid, const char *path, int flags, int channel) {
        int fd;

        world_become(uid);
        fd = open(path, flags | O_CLOEXEC);
        _exit(fd < 0 || fdpass_send(channel, "x", 1, &fd, 1) < 0);
}

/* That process may have to wait when it closes the file. */
int hostile_open(struct hostile *hostile, const char *name, int flags) {
        struct fdpass_set set = {0};
        struct pollfd readable;
        char path[128], byte;
        int channel[2];
        pid_t pid;

        snprintf(path, sizeof(path), "%s/%s", hostile->path, name);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel), 0);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                hostile_open_as_user(hostile->uid, path, flags, channel[1]);
        hostile_add_caller(hostile, pid);
        readable = (struct pollfd){.fd = channel[0], .events = POLLIN};
        ck_assert_int_eq(poll(&readable, 1, WORLD_PATIENCE_MS), 1);
        ck_assert_msg(fdpass_receive(channel[0], &byte, 1, &set) == 1 && set.count == 1,
                      "%s can't be opened", path);
        close(channel[0]);
        close(channel[1]);
        return set.fds[0];
}

static int hostile_make_call(const char *directory, enum hostile_call call) {
        struct statfs statistics;
        struct stat stat_buffer;
        char path[160];

        snprintf(path, sizeof(path), "%s/stall%d", directory, getpid());
        switch (call) {
        case HOSTILE_LOOKUP:
                return access(path, F_OK);
        case HOSTILE_MKDIR:
                return mkdir(path, 0700);
        case HOSTILE_STAT:
                return stat(directory, &stat_buffer);
        default:
                return statfs(directory, &statistics);
        }
}

void hostile_block(struct hostile *hostile, const char *name, enum hostile_call call) {
        char path[128];
        pid_t pid;

        snprintf(path, sizeof(path), "%s/%s", hostile->path, name);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                close_range(STDERR_FILENO + 1, ~0U, 0); /* nobody's connection stays open here */
                world_become(hostile->uid);
                _exit(hostile_make_call(path, call));
        }
        hostile_add_caller(hostile, pid);
        hostile_await_report(hostile);
}

void hostile_send_mount(int client, int target) {
        static uint64_t cookies = 1000;
        const struct wire_request request = {
                .version = PROTOCOL_VERSION,
                .operation = PROTOCOL_MOUNT,
                .cookie = cookies++,
                .n_targets = 1,
                .targets = {{PROTOCOL_PROC, 0}},
        };
        uint8_t bytes[WIRE_REQUEST_MAX];

        client_send(client, bytes, wire_encode_request(&request, bytes), &target, 1);
}

int hostile_wedge(struct hostile *hostile, const struct service *service, const char *name) {
        FD_AUTO int target = -EBADF;
        char path[64];
        int client;

        snprintf(path, sizeof(path), "%s/proc", name);
        target = hostile_open(hostile, path, O_PATH | O_DIRECTORY);
        hostile_block(hostile, path, HOSTILE_LOOKUP);
        client = client_connect(service, hostile->uid);
        hostile_send_mount(client, target);
        return client;
}
