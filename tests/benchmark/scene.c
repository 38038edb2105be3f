/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/benchmark/scene.h"

#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
        SCENE_SLAVES_MAX = 256,
        SCENE_SETTLE = 100000, /* microseconds, for what the kernel frees behind our back */
};

static char scene_directory[128];
static pid_t scene_slaves[SCENE_SLAVES_MAX];
static unsigned scene_n_slaves;

static void scene_must(int result, const char *what) {
        if (result < 0)
                err(EXIT_FAILURE, "%s", what);
}

void scene_enter(void) {
        scene_must(unshare(CLONE_NEWNS), "a mount namespace needs root: unshare");
        scene_must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "making mounts private");
        snprintf(scene_directory, sizeof(scene_directory), "%s/mountatd-bench.XXXXXX",
                 getenv("TMPDIR") ?: "/tmp");
        if (!mkdtemp(scene_directory))
                err(EXIT_FAILURE, "%s", scene_directory);
        scene_must(mount("mountatd-bench", scene_directory, "tmpfs", 0, "mode=0755"), "tmpfs");
}

void scene_leave(void) {
        scene_enslave(0);
        umount2(scene_directory, MNT_DETACH);
        rmdir(scene_directory);
}

char *scene_path(const char *format, ...) {
        char *name, *path;
        va_list arguments;

        va_start(arguments, format);
        if (vasprintf(&name, format, arguments) < 0 ||
            asprintf(&path, "%s/%s", scene_directory, name) < 0)
                err(EXIT_FAILURE, "path");
        va_end(arguments);
        free(name);
        return path;
}

int scene_make_root(unsigned number) {
        char *path = scene_path("root-%u", number);
        int root;

        scene_must(mkdir(path, 0755), path);
        root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        scene_must(root, path);
        scene_must(mkdirat(root, "proc", 0755), "proc");
        scene_must(mkdirat(root, "sys", 0755), "sys");
        scene_must(mkdirat(root, "dev", 0755), "dev");
        free(path);
        return root;
}

bool scene_is_covered(int root) {
        static const char *const names[] = {"proc", "sys", "dev"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                struct statx stat;

                scene_must(statx(root, names[i], AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &stat),
                           names[i]);
                if (stat.stx_attributes & STATX_ATTR_MOUNT_ROOT)
                        return true;
        }
        return false;
}

/* All below one mount, so that they go with it. */
void scene_crowd(unsigned count) {
        static bool crowded;
        char *crowd = scene_path("crowd");

        if (crowded) {
                scene_must(umount2(crowd, MNT_DETACH), crowd);
                rmdir(crowd);
                usleep(SCENE_SETTLE);
        }
        crowded = count > 0;
        if (crowded) {
                scene_must(mkdir(crowd, 0755), crowd);
                scene_must(mount("mountatd-bench", crowd, "tmpfs", 0, NULL), crowd);
        }
        for (unsigned i = 1; i < count; i++) {
                char *path = scene_path("crowd/%u", i);

                scene_must(mkdir(path, 0755), path);
                scene_must(mount(path, path, NULL, MS_BIND, NULL), path);
                free(path);
        }
        free(crowd);
}

static void scene_be_slave(int ready) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        scene_must(unshare(CLONE_NEWNS), "unshare");
        scene_must(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "making mounts slaves");
        scene_must(write(ready, "", 1), "pipe");
        for (;;)
                pause();
}

void scene_enslave(unsigned count) {
        const unsigned long propagation = count > 0 ? MS_SHARED : MS_PRIVATE;
        int ready[2];
        char byte;

        while (scene_n_slaves > 0) {
                pid_t pid = scene_slaves[--scene_n_slaves];

                kill(pid, SIGKILL);
                waitpid(pid, NULL, 0);
        }
        scene_must(mount(NULL, scene_directory, NULL, propagation, NULL), "propagation");
        scene_must(pipe2(ready, O_CLOEXEC), "pipe");
        while (scene_n_slaves < count && scene_n_slaves < SCENE_SLAVES_MAX) {
                pid_t pid = fork();

                scene_must(pid, "fork");
                if (pid == 0)
                        scene_be_slave(ready[1]);
                scene_slaves[scene_n_slaves++] = pid;
                scene_must(read(ready[0], &byte, 1), "pipe");
        }
        close(ready[0]);
        close(ready[1]);
        usleep(SCENE_SETTLE);
}
