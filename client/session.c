/* SPDX-License-Identifier: Apache-2.0 */

/* Single-threaded, as all of mountatctl. */

#include "client/session.h"

#include "common/fd.h"
#include "common/text.h"

#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum {
        SESSION_WHAT_MAX = 4 * PATH_MAX + 64,
};

void session_close(struct session *session) {
        session->mountat = mountat_free(session->mountat);
        session->root = fd_close(session->root);
}

void session_complain(const struct session *session, const char *what) {
        const struct mountat *mountat = session->mountat;

        if (mountat_error_status(mountat) == MOUNTAT_STATUS_CLIENT_FAILED)
                warnx("%s: %s", what, mountat_error_text(mountat));
        else
                warnx("%s: %s: %s", what, mountat_error_name(mountat), mountat_error_text(mountat));
}

int session_connect(struct session *session, const struct arguments *arguments) {
        session->mountat = mountat_new();
        if (!session->mountat) {
                warnx("no memory");
                return -ENOMEM;
        }

        session->flags = arguments->flags;
        mountat_set_timeout(session->mountat, arguments->timeout);
        if (mountat_connect(session->mountat, arguments->socket) < 0) {
                warnx("%s", mountat_error_text(session->mountat));
                return -ENOTCONN;
        }
        return 0;
}

const char *session_file_systems(uint32_t flags) {
        flags &= MOUNTAT_PROC | MOUNTAT_SYSFS;
        return flags == MOUNTAT_PROC ? "proc" : flags == MOUNTAT_SYSFS ? "sysfs" : "proc and sysfs";
}

/* The flag of the target at fault, or all flags: procfs comes first where there are two. */
static uint32_t session_culprit(const struct session *session) {
        uint32_t target = mountat_error_target(session->mountat);

        if (target == MOUNTAT_NO_TARGET)
                return session->flags;
        return target == 0 && (session->flags & MOUNTAT_PROC) ? MOUNTAT_PROC : MOUNTAT_SYSFS;
}

static void session_complain_root(const struct session *session, const char *verb, uint32_t flags) {
        char path[4 * PATH_MAX], what[SESSION_WHAT_MAX];

        snprintf(what, sizeof(what), "cannot %s %s below %s", verb, session_file_systems(flags),
                 text_escape(path, sizeof(path), session->path));
        session_complain(session, what);
}

int session_mount(struct session *session, const char *path) {
        session->path = path;
        session->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (session->root < 0) {
                int error = errno;
                char escaped[4 * PATH_MAX];

                warnx("cannot open the root directory %s: %s",
                      text_escape(escaped, sizeof(escaped), path), strerror(error));
                return -error;
        }

        if (mountat_mount_root(session->mountat, session->root, session->flags, &session->lease) ==
            0)
                return 0;
        session_complain_root(session, "mount", session_culprit(session));
        return -ECANCELED;
}

int session_unmount(struct session *session) {
        if (session->lease == 0)
                return 0;
        if (mountat_unmount(session->mountat, session->lease) < 0) {
                session_complain_root(session, "unmount", session->flags);
                return -ECANCELED;
        }
        session->lease = 0;
        return 0;
}

void session_lost(struct session *session) {
        if (mountat_hello(session->mountat, NULL, NULL) == 0)
                warnx("mountatd spoke unasked");
        else
                warnx("%s", mountat_error_text(session->mountat));
        session->lease = 0;
}
