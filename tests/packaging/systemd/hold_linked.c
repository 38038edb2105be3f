/* SPDX-License-Identifier: Apache-2.0 */

/* hold_linked ROOT: holds proc and sys as a program does that is linked with the library, until
 * SIGTERM. Standard output has "mounted", and "unmounted" when that has succeeded. */

#include <err.h>
#include <fcntl.h>
#include <mountat.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
        struct mountat *mountat = mountat_new();
        int root = argc == 2 ? open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC) : -1, signal;
        uint64_t lease;
        sigset_t signals;

        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigprocmask(SIG_BLOCK, &signals, NULL);
        setlinebuf(stdout);
        if (root < 0 || !mountat || mountat_connect(mountat, NULL) < 0 || mountat_keep(mountat) < 0)
                err(EXIT_FAILURE, "starting");
        if (mountat_mount_root(mountat, root, MOUNTAT_PROC | MOUNTAT_SYSFS, &lease) < 0)
                errx(EXIT_FAILURE, "mounting: %s", mountat_error_text(mountat));
        puts("mounted");
        sigwait(&signals, &signal);
        if (mountat_unmount(mountat, lease) < 0)
                errx(EXIT_FAILURE, "unmounting: %s", mountat_error_text(mountat));
        puts("unmounted");
        mountat_free(mountat);
        return EXIT_SUCCESS;
}
