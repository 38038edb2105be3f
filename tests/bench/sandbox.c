/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/bench/sandbox.h"

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
        SANDBOX_SLAVES_MAX = 256,
        SANDBOX_SETTLE = 100000, /* microseconds, for the kernel's deferred frees */
};

static char sandbox_directory[128];
static pid_t sandbox_slaves[SANDBOX_SLAVES_MAX];
static unsigned sandbox_n_slaves;

static void sandbox_must(int result, const char *what) {
        if (result < 0)
                err(EXIT_FAILURE, "%s", what);
}

void sandbox_enter(void) {
        sandbox_must(unshare(CLONE_NEWNS), "a mount namespace needs root: unshare");
        sandbox_must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "making mounts private");
        snprintf(sandbox_directory, sizeof(sandbox_directory), "%s/mountatd-bench.XXXXXX",
                 getenv("TMPDIR") ?: "/tmp");
        if (!mkdtemp(sandbox_directory))
                err(EXIT_FAILURE, "%s", sandbox_directory);
        sandbox_must(mount("mountatd-bench", sandbox_directory, "tmpfs", 0, "mode=0755"), "tmpfs");
}

void sandbox_leave(void) {
        sandbox_enslave(0);
        umount2(sandbox_directory, MNT_DETACH);
        rmdir(sandbox_directory);
}

char *sandbox_path(const char *format, ...) {
        char *name, *path;
        va_list arguments;

        va_start(arguments, format);
        if (vasprintf(&name, format, arguments) < 0 ||
            asprintf(&path, "%s/%s", sandbox_directory, name) < 0)
                err(EXIT_FAILURE, "path");
        va_end(arguments);
        free(name);
        return path;
}

int sandbox_make_root(unsigned number) {
        char *path = sandbox_path("root-%u", number);
        int root;

        sandbox_must(mkdir(path, 0755), path);
        root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        sandbox_must(root, path);
        sandbox_must(mkdirat(root, "proc", 0755), "proc");
        sandbox_must(mkdirat(root, "sys", 0755), "sys");
        sandbox_must(mkdirat(root, "dev", 0755), "dev");
        free(path);
        return root;
}

bool sandbox_is_covered(int root) {
        static const char *const names[] = {"proc", "sys", "dev"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                struct statx stat;

                sandbox_must(statx(root, names[i], AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &stat),
                             names[i]);
                if (stat.stx_attributes & STATX_ATTR_MOUNT_ROOT)
                        return true;
        }
        return false;
}

/* All below one mount, to be removed with it. */
void sandbox_crowd(unsigned count) {
        static bool crowded;
        char *crowd = sandbox_path("crowd");

        if (crowded) {
                sandbox_must(umount2(crowd, MNT_DETACH), crowd);
                rmdir(crowd);
                usleep(SANDBOX_SETTLE);
        }
        crowded = count > 0;
        if (crowded) {
                sandbox_must(mkdir(crowd, 0755), crowd);
                sandbox_must(mount("mountatd-bench", crowd, "tmpfs", 0, NULL), crowd);
        }
        for (unsigned i = 1; i < count; i++) {
                char *path = sandbox_path("crowd/%u", i);

                sandbox_must(mkdir(path, 0755), path);
                sandbox_must(mount(path, path, NULL, MS_BIND, NULL), path);
                free(path);
        }
        free(crowd);
}

static void sandbox_be_slave(int ready) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sandbox_must(unshare(CLONE_NEWNS), "unshare");
        sandbox_must(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "making mounts slaves");
        sandbox_must(write(ready, "", 1), "pipe");
        for (;;)
                pause();
}

void sandbox_enslave(unsigned count) {
        const unsigned long propagation = count > 0 ? MS_SHARED : MS_PRIVATE;
        int ready[2];
        char byte;

        while (sandbox_n_slaves > 0) {
                pid_t pid = sandbox_slaves[--sandbox_n_slaves];

                kill(pid, SIGKILL);
                waitpid(pid, NULL, 0);
        }
        sandbox_must(mount(NULL, sandbox_directory, NULL, propagation, NULL), "propagation");
        sandbox_must(pipe2(ready, O_CLOEXEC), "pipe");
        while (sandbox_n_slaves < count && sandbox_n_slaves < SANDBOX_SLAVES_MAX) {
                pid_t pid = fork();

                sandbox_must(pid, "fork");
                if (pid == 0)
                        sandbox_be_slave(ready[1]);
                sandbox_slaves[sandbox_n_slaves++] = pid;
                sandbox_must(read(ready[0], &byte, 1), "pipe");
        }
        close(ready[0]);
        close(ready[1]);
        usleep(SANDBOX_SETTLE);
}
