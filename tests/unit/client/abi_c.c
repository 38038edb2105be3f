/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A C program that uses mountat.h and is built with the installed library:
 * tests/packaging/check_install.sh.
 */

#include <mountat.h>

#include <errno.h>
#include <stdio.h>

int main(void) {
        struct mountat *connection = mountat_new();
        int r = mountat_connect(connection, "/nonexistent/socket");

        if (r < 0)
                puts(mountat_error_text(connection));
        mountat_free(connection);
        return r == -ENOENT ? 0 : 1;
}
