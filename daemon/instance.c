/* SPDX-License-Identifier: Apache-2.0 */

/* Reads /proc: at start, while workers are looked after, and while there is something to sweep. */

#include "daemon/instance.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

/* Fields 3 and 22 of /proc/PID/stat; the name before them may contain anything, ")" included. */
static int instance_read_stat(int32_t pid, char *state, uint64_t *start_time) {
        char path[32], text[1024];
        unsigned long long ticks;
        const char *rest;
        int r;

        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        r = instance_read(path, text, sizeof(text));
        if (r < 0)
                return r;
        rest = strrchr(text, ')');
        if (!rest || sscanf(rest + 1,
                            " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                            "%*d %*d %llu",
                            state, &ticks) != 2)
                return -EBADMSG;
        *start_time = ticks;
        return 0;
}

int instance_state(int32_t pid, char *state) {
        uint64_t start_time;

        return instance_read_stat(pid, state, &start_time);
}

int instance_self(struct instance *instance) {
        struct instance self = {.pid = getpid()};
        char state;
        int r;

        r = instance_read("/proc/sys/kernel/random/boot_id", self.boot_id, sizeof(self.boot_id));
        if (r < 0)
                return r;
        self.boot_id[strcspn(self.boot_id, "\n")] = '\0';
        r = instance_read_stat(self.pid, &state, &self.start_time);
        if (r < 0)
                return r;
        *instance = self;
        return 0;
}

/* What can't be read for another reason than that it isn't there is taken to be there. */
static bool instance_exists(const struct instance *instance, const struct instance *self,
                            char *state) {
        uint64_t start_time = instance->start_time;
        int r;

        *state = '?';
        if (strncmp(instance->boot_id, self->boot_id, sizeof(self->boot_id)) != 0)
                return false;
        r = instance_read_stat(instance->pid, state, &start_time);
        return r != -ENOENT && r != -ESRCH && start_time == instance->start_time;
}

bool instance_is_alive(const struct instance *instance, const struct instance *self) {
        char state;

        return instance_exists(instance, self, &state) && state != 'Z' && state != 'X';
}

bool instance_is_gone(const struct instance *instance, const struct instance *self) {
        char state;

        return !instance_exists(instance, self, &state);
}

bool instance_process_is_dead(int32_t pid) {
        char state;

        return instance_state(pid, &state) == 0 && state == 'Z';
}
