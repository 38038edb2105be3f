/* SPDX-License-Identifier: Apache-2.0 */

/* mount_often ROOT COUNT MILLISECONDS: mounts and unmounts proc and sys COUNT times, with a pause after
 * each, to measure the effect on other processes. */

#include <err.h>
#include <fcntl.h>
#include <mountat.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
        struct mountat *mountat = mountat_new();
        int root = argc == 4 ? open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
        useconds_t pause = argc == 4 ? atoi(argv[3]) * 1000 : 0;
        uint64_t lease;

        if (root < 0 || !mountat || mountat_connect(mountat, NULL) < 0)
                err(EXIT_FAILURE, "starting");
        for (int i = atoi(argv[2]); i > 0; i--) {
                if (mountat_mount_root(mountat, root, MOUNTAT_PROC | MOUNTAT_SYSFS, &lease) < 0)
                        errx(EXIT_FAILURE, "%s", mountat_error_text(mountat));
                usleep(pause);
                if (mountat_unmount(mountat, lease) < 0)
                        errx(EXIT_FAILURE, "%s", mountat_error_text(mountat));
                usleep(pause);
        }
        mountat_free(mountat);
        return EXIT_SUCCESS;
}
