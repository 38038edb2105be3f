/* SPDX-License-Identifier: Apache-2.0 */

/* Reads /proc: at start, and while anything is left to sweep. */

#include "daemon/instance.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
        INSTANCE_EXITING = 1 << 2, /* PF_EXITING of the kernel's linux/sched.h */
};

/* From /proc/PID/stat. */
struct instance_stat {
        char state;
        unsigned flags;
        unsigned long long start_time;
};

/* `name` is relative to /proc. Only this function opens a path. */
static FILE *instance_open(const char *name) {
        char path[64];

        snprintf(path, sizeof(path), "/proc/%s", name);
        return fopen(path, "re");
}

/*
 * Reads the beginning of the file, which may have several lines: a process's name can contain
 * newlines.
 */
static int instance_read(const char *name, char *text, size_t size) {
        FILE *file = instance_open(name);
        size_t length;
        int r = 0;

        if (!file)
                return -errno;
        length = fread(text, 1, size - 1, file);
        if (length == 0)
                r = ferror(file) ? -errno : -ENODATA;
        fclose(file);
        text[length] = '\0';
        return r;
}

/* Fields 3, 9 and 22; the name before them may contain anything, ")" included. */
static int instance_read_stat(int32_t pid, struct instance_stat *ret) {
        struct instance_stat stat;
        char name[32], text[1024];
        const char *rest;
        int r;

        snprintf(name, sizeof(name), "%d/stat", pid);
        r = instance_read(name, text, sizeof(text));
        if (r < 0)
                return r;
        rest = strrchr(text, ')');
        if (!rest || sscanf(rest + 1,
                            " %c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                            "%*d %*d %llu",
                            &stat.state, &stat.flags, &stat.start_time) != 3)
                return -EBADMSG;
        *ret = stat;
        return 0;
}

/*
 * SIGKILL is pending for the leader itself or, if it was sent to the process, among the shared
 * signals, where it stays to the end. Reads line by line, since thousands of groups may come
 * before; a piece of their line begins with a digit or a space.
 */
static bool instance_is_killed(int32_t pid) {
        char name[32], line[256];
        unsigned long long pending;
        bool killed = false;
        FILE *file;

        snprintf(name, sizeof(name), "%d/status", pid);
        file = instance_open(name);
        if (!file)
                return false;
        while (fgets(line, sizeof(line), file))
                if (sscanf(line, "SigPnd: %llx", &pending) == 1 ||
                    sscanf(line, "ShdPnd: %llx", &pending) == 1)
                        killed = killed || pending & 1ULL << (SIGKILL - 1);
        fclose(file);
        return killed;
}

static bool instance_has_ended(const struct instance_stat *stat) {
        return stat->state == 'Z' || stat->state == 'X' || stat->flags & INSTANCE_EXITING;
}

int instance_self(struct instance *instance) {
        struct instance self = {.pid = getpid()};
        struct instance_stat status;
        struct stat namespace;
        int r;

        r = instance_read("sys/kernel/random/boot_id", self.boot_id, sizeof(self.boot_id));
        if (r < 0)
                return r == -ENOENT ? -EXDEV : r; /* proc(5), subset=pid */
        self.boot_id[strcspn(self.boot_id, "\n")] = '\0';
        r = instance_read_stat(self.pid, &status);
        if (r < 0)
                return r;
        if (stat("/proc/self/ns/mnt", &namespace) < 0)
                return -errno;
        self.mount_namespace = namespace.st_ino; /* 32 bits wide in the kernel */
        self.start_time = status.start_time;
        *instance = self;
        return 0;
}

/* A process counts as existing unless the error says that it doesn't. */
static bool instance_exists(const struct instance *instance, const struct instance *self,
                            struct instance_stat *stat) {
        int r;

        *stat = (struct instance_stat){.start_time = instance->start_time};
        if (strncmp(instance->boot_id, self->boot_id, sizeof(self->boot_id)) != 0)
                return false;
        r = instance_read_stat(instance->pid, stat);
        return r != -ENOENT && r != -ESRCH && stat->start_time == instance->start_time;
}

/*
 * Reads the signals before the start time: if the start time still matches, the pid was that
 * process's all along.
 */
bool instance_is_alive(const struct instance *instance, const struct instance *self) {
        bool killed = instance_is_killed(instance->pid);
        struct instance_stat stat;

        return instance_exists(instance, self, &stat) && !killed && !instance_has_ended(&stat);
}

bool instance_is_gone(const struct instance *instance, const struct instance *self) {
        struct instance_stat stat;

        return !instance_exists(instance, self, &stat);
}

bool instance_pid_is_dead(int32_t pid) {
        bool killed = instance_is_killed(pid);
        struct instance_stat stat;

        return instance_read_stat(pid, &stat) == 0 && (killed || instance_has_ended(&stat));
}
