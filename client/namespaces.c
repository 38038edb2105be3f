/* SPDX-License-Identifier: Apache-2.0 */

/* On any thread: /proc/self has the main thread's namespaces, which the daemon expects of a peer.
 */

#include "client/namespaces.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

static const struct {
        enum protocol_namespace kind;
        const char *path;
} namespaces_files[NAMESPACES_MAX] = {
        {PROTOCOL_NAMESPACE_MOUNT, "/proc/self/ns/mnt"},
        {PROTOCOL_NAMESPACE_PID, "/proc/self/ns/pid"},
        {PROTOCOL_NAMESPACE_NETWORK, "/proc/self/ns/net"},
};

/* Whether it may be omitted: optional, and missing for good rather than for a shortage. */
static bool namespaces_may_lack(enum protocol_namespace kind, int error) {
        return kind != PROTOCOL_NAMESPACE_MOUNT && error != EMFILE && error != ENFILE &&
               error != ENOMEM;
}

int namespaces_open(struct wire_request *request, int fds[static NAMESPACES_MAX]) {
        int opened[NAMESPACES_MAX] = {-EBADF, -EBADF, -EBADF};

        *request = (struct wire_request){.operation = PROTOCOL_ENTER};
        for (unsigned i = 0; i < NAMESPACES_MAX; i++) {
                int fd = open(namespaces_files[i].path, O_RDONLY | O_CLOEXEC);
                int error = errno;

                if (fd < 0 && namespaces_may_lack(namespaces_files[i].kind, error))
                        continue;
                if (fd < 0) {
                        for (unsigned j = 0; j < NAMESPACES_MAX; j++)
                                fd_close(opened[j]);
                        return -error;
                }
                request->targets[request->n_targets].file_system = namespaces_files[i].kind;
                opened[request->n_targets++] = fd;
        }
        memcpy(fds, opened, sizeof(opened));
        return 0;
}
