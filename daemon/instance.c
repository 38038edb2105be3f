/* SPDX-License-Identifier: Apache-2.0 */

/* Reads /proc: at start, and while there is something to sweep. */

#include "daemon/instance.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
        INSTANCE_FILE_MAX = 4096, /* bytes of /proc/PID/status and the like: some 1,500 */
};

/* The first bytes of the file, which may be several lines: a process's name can have newlines. */
static int instance_read(const char *path, char *text, size_t size) {
        FILE *file = fopen(path, "re");
        size_t length;

        if (!file)
                return -errno;
        length = fread(text, 1, size - 1, file);
        fclose(file);
        text[length] = '\0';
        return length > 0 ? 0 : -ENODATA;
}

static int instance_read_of(int32_t pid, const char *name, char text[static INSTANCE_FILE_MAX]) {
        char path[32];

        snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
        return instance_read(path, text, INSTANCE_FILE_MAX);
}

/* Field 22 of /proc/PID/stat; the name in field 2 may contain anything, ")" included. */
static int instance_read_start_time(int32_t pid, uint64_t *start_time) {
        char text[INSTANCE_FILE_MAX];
        unsigned long long ticks;
        const char *rest;
        int r = instance_read_of(pid, "stat", text);

        if (r < 0)
                return r;
        rest = strrchr(text, ')');
        if (!rest || sscanf(rest + 1,
                            " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                            "%*d %*d %llu",
                            &ticks) != 1)
                return -EBADMSG;
        *start_time = ticks;
        return 0;
}

/* The line of /proc/PID/status that begins with `name`; a newline in a process's name is escaped
 * there. NULL: there is none. */
static const char *instance_status_line(const char *status, const char *name) {
        const char *line = strstr(status, name);

        return line ? line + strlen(name) : NULL;
}

static bool instance_has_kill_pending(const char *status, const char *name) {
        const char *line = instance_status_line(status, name);
        unsigned long long signals;

        return line && sscanf(line, "%llx", &signals) == 1 && (signals & 1ULL << (SIGKILL - 1));
}

bool instance_process_is_dead(int32_t pid) {
        char status[INSTANCE_FILE_MAX], state = '?';
        const char *line;
        int r = instance_read_of(pid, "status", status);

        if (r < 0) /* what can't be read for another reason is taken to be there */
                return r == -ENOENT || r == -ESRCH;
        line = instance_status_line(status, "\nState:");
        if (line)
                sscanf(line, " %c", &state);
        return state == 'Z' || state == 'X' || instance_has_kill_pending(status, "\nSigPnd:") ||
               instance_has_kill_pending(status, "\nShdPnd:");
}

int instance_self(struct instance *instance) {
        struct instance self = {.pid = getpid()};
        int r;

        r = instance_read("/proc/sys/kernel/random/boot_id", self.boot_id, sizeof(self.boot_id));
        if (r < 0)
                return r;
        self.boot_id[strcspn(self.boot_id, "\n")] = '\0';
        r = instance_read_start_time(self.pid, &self.start_time);
        if (r < 0)
                return r;
        *instance = self;
        return 0;
}

/* What can't be read for another reason than that it isn't there is taken to be there. */
static bool instance_exists(const struct instance *instance, const struct instance *self) {
        uint64_t start_time = instance->start_time;
        int r;

        if (strncmp(instance->boot_id, self->boot_id, sizeof(self->boot_id)) != 0)
                return false;
        r = instance_read_start_time(instance->pid, &start_time);
        return r != -ENOENT && r != -ESRCH && start_time == instance->start_time;
}

bool instance_is_alive(const struct instance *instance, const struct instance *self) {
        return instance_exists(instance, self) && !instance_process_is_dead(instance->pid);
}

bool instance_is_gone(const struct instance *instance, const struct instance *self) {
        return !instance_exists(instance, self);
}
