/* SPDX-License-Identifier: Apache-2.0 */

/* connect_often DIRECTORY CONNECTIONS MOUNTS: opens CONNECTIONS connections, each with MOUNTS mounts of
 * procfs in directories that it creates, until it is killed. */

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <mountat.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_target(unsigned number) {
        char path[32];
        int fd;

        snprintf(path, sizeof(path), "%u", number);
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
                err(EXIT_FAILURE, "%s", path);
        snprintf(path, sizeof(path), "%u/proc", number);
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
                err(EXIT_FAILURE, "%s", path);
        fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                err(EXIT_FAILURE, "%s", path);
        return fd;
}

static void hold(unsigned connection, unsigned mounts) {
        struct mountat_target targets[MOUNTAT_TARGETS_MAX];
        struct mountat *mountat = mountat_new();
        uint64_t lease;

        if (!mountat || mountat_connect(mountat, NULL) < 0)
                err(EXIT_FAILURE, "connection %u", connection);
        for (unsigned i = 0; i < mounts; i++)
                targets[i] = (struct mountat_target){
                        .fd = make_target(connection * mounts + i),
                        .file_system = MOUNTAT_PROC,
                };
        if (mountat_mount(mountat, targets, mounts, &lease) < 0)
                errx(EXIT_FAILURE, "%s", mountat_error_text(mountat));
        for (unsigned i = 0; i < mounts; i++)
                close(targets[i].fd);
}

int main(int argc, char **argv) {
        unsigned connections = argc == 4 ? atoi(argv[2]) : 0,
                 mounts = argc == 4 ? atoi(argv[3]) : 0;

        if (mounts < 1 || mounts > MOUNTAT_TARGETS_MAX || chdir(argv[1]) < 0)
                errx(EXIT_FAILURE, "usage: connect_often DIRECTORY CONNECTIONS MOUNTS");
        for (unsigned i = 0; i < connections; i++)
                hold(i, mounts);
        pause();
        return EXIT_SUCCESS;
}
