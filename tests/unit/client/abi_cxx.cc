/* SPDX-License-Identifier: Apache-2.0 */

/* mountat.h in C++: names each function, so that a missing one fails to link. */

#include <mountat.h>

#include <cerrno>

static int use(mountat *connection) {
        mountat_target target = {-1, MOUNTAT_FILE_SYSTEM_PROC, MOUNTAT_OPTION_PIDS_ONLY};
        const char *version;
        uint32_t features;
        uint64_t lease;

        mountat_set_timeout(connection, MOUNTAT_TIMEOUT_DEFAULT);
        if (mountat_hello(connection, &version, &features) == 0 ||
            mountat_mount(connection, &target, 1, &lease) == 0 ||
            mountat_mount_root(connection, -1, MOUNTAT_PROC | MOUNTAT_SYSFS, &lease) == 0 ||
            mountat_unmount(connection, 1) == 0)
                return 1;
        return mountat_error_status(connection) == MOUNTAT_STATUS_CLIENT_FAILED &&
                               mountat_error_errno(connection) == ENOTCONN &&
                               mountat_error_target(connection) == MOUNTAT_NO_TARGET &&
                               *mountat_error_name(connection) && *mountat_error_text(connection)
                       ? 0
                       : 1;
}

int main() {
        mountat *connection = mountat_new();
        int result = mountat_connect(connection, "/nonexistent/socket") == -ENOENT &&
                                     mountat_fd(connection) == -ENOTCONN
                             ? use(connection)
                             : 1;

        mountat_free(connection);
        return result;
}
