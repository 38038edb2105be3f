/* SPDX-License-Identifier: Apache-2.0 */

/* Single-threaded, like all of mountatctl. */

#include "client/session.h"

#include "client/flag.h"
#include "common/fd.h"
#include "common/file_system.h"
#include "common/text.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
        SESSION_WHAT_MAX = 4 * PATH_MAX + 64,
        SESSION_TRY = 3000, /* milliseconds, for one attempt at recovery */
        SESSION_PAUSE = 200,
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

int session_open(struct session *session, const struct arguments *arguments) {
        session->mountat = mountat_new();
        if (!session->mountat)
                return -ENOMEM;
        session->flags = arguments->flags;
        session->timeout = arguments->timeout;
        mountat_set_timeout(session->mountat, session->timeout);
        return mountat_connect(session->mountat, arguments->socket);
}

int session_connect(struct session *session, const struct arguments *arguments) {
        int result = session_open(session, arguments);

        if (result < 0)
                warnx("%s",
                      session->mountat ? mountat_error_text(session->mountat) : "out of memory");
        return result;
}

const char *session_file_systems(uint32_t flags, char text[static SESSION_FILE_SYSTEMS_MAX]) {
        char *end = text;

        flags &= FLAG_FILE_SYSTEMS;
        *text = '\0';
        for (uint32_t i = FLAG_FIRST; i <= FLAG_LAST; i++) {
                if (!(flags & flag_of(i)))
                        continue;
                flags &= ~flag_of(i);
                if (end > text)
                        end = stpcpy(end, flags ? ", " : " and ");
                end = stpcpy(end, file_system_name(i));
        }
        return text;
}

/* The flag of the target at fault, or all flags. */
static uint32_t session_culprit(const struct session *session) {
        uint32_t target = mountat_error_target(session->mountat);

        for (uint32_t i = FLAG_FIRST; i <= FLAG_LAST; i++)
                if ((session->flags & flag_of(i)) && target-- == 0)
                        return flag_of(i);
        return session->flags;
}

static void session_complain_root(const struct session *session, const char *verb, uint32_t flags) {
        char path[4 * PATH_MAX], what[SESSION_WHAT_MAX];
        char file_systems[SESSION_FILE_SYSTEMS_MAX];

        snprintf(what, sizeof(what), "cannot %s %s below %s", verb,
                 session_file_systems(flags, file_systems),
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

int session_fd(const struct session *session) {
        int fd = mountat_fd(session->mountat);

        return fd < 0 || session->lease == 0 ? -EBADF : fd;
}

static int64_t session_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int session_patience(const struct session *session) {
        int64_t left = session->retry_at - session_now();

        if (!session->lost_until)
                return -1;
        return left > 0 ? (int)left : 0;
}

static int session_give_up(struct session *session, int error) {
        warnx("%s", mountat_error_text(session->mountat));
        session->lease = 0;
        session->lost_until = 0;
        return error;
}

static int session_recovered(struct session *session) {
        if (!session->told && session->lost_until)
                warnx("mountatd was restarted: the mounts stay");
        session->told |= session->lost_until != 0;
        session->lost_until = 0;
        return 0;
}

int session_tend(struct session *session) {
        int result;

        if (session->lease == 0)
                return 0;
        if (!session->lost_until)
                session->lost_until = session_now() + (session->timeout ?: MOUNTAT_TIMEOUT_DEFAULT);
        mountat_set_timeout(session->mountat, SESSION_TRY);
        result = mountat_recover(session->mountat);
        mountat_set_timeout(session->mountat, session->timeout);

        if (result == 0)
                return session_recovered(session);
        if (result == -ENOENT || session_now() >= session->lost_until)
                return session_give_up(session, result);
        session->retry_at = session_now() + SESSION_PAUSE;
        return 0;
}
