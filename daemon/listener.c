/* SPDX-License-Identifier: Apache-2.0 */

/* Runs before privileges are dropped, so that a path may be anywhere. */

#include "daemon/listener.h"

#include "common/fd.h"
#include "daemon/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

static int listener_refuse(FILE *errors, int error, const char *path, const char *what) {
        fprintf(errors, "%s%s%s: %s\n", path ?: "", path ? ": " : "", what,
                strerrordesc_np(-error) ?: "unknown error");
        return error;
}

static void listener_add(struct listener_set *set, int fd, const char *path) {
        struct stat stat = {0};

        if (path)
                lstat(path, &stat);
        set->fds[set->count] = fd;
        set->inodes[set->count] = stat.st_ino;
        set->paths[set->count++] = path;
}

/* ---- passed sockets ---- */

static int listener_judge_count(int count, FILE *errors) {
        if (count < 0)
                return listener_refuse(errors, count, NULL, "cannot take the passed sockets");
        if (count == 0)
                fputs("no socket was passed: start mountatd through mountatd.socket or "
                      "systemd-socket-activate, or give --listen=PATH\n",
                      errors);
        if (count > LISTENER_MAX)
                fprintf(errors,
                        "%d sockets were passed, but mountatd serves at most %d: remove some "
                        "ListenSequentialPacket= from the .socket units of mountatd.service\n",
                        count, LISTENER_MAX);
        return count == 0 || count > LISTENER_MAX ? -EINVAL : 0;
}

static bool listener_is_connected(int fd) {
        struct sockaddr_un address;
        socklen_t size = sizeof(address);

        return getpeername(fd, (struct sockaddr *)&address, &size) == 0;
}

/* `name` is the unit's, if systemd has passed it: FileDescriptorName=. */
static int listener_take(struct listener_set *set, const char *name, FILE *errors) {
        int fd = SD_LISTEN_FDS_START + set->count;

        if (sd_is_socket_unix(fd, SOCK_SEQPACKET, 0, NULL, 0) > 0 && listener_is_connected(fd)) {
                fprintf(errors,
                        "passed socket %u (%s) is a client's connection: use Accept=no in its "
                        ".socket unit\n",
                        set->count + 1, name);
                return -EINVAL;
        }
        if (sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) <= 0) {
                fprintf(errors,
                        "passed socket %u (%s) is not a listening Unix socket of type "
                        "SOCK_SEQPACKET: use ListenSequentialPacket= in its .socket unit\n",
                        set->count + 1, name);
                return -EINVAL;
        }
        if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
                return listener_refuse(errors, -errno, NULL, "cannot make the socket non-blocking");
        listener_add(set, fd, NULL);
        return 0;
}

static int listener_take_all(struct listener_set *set, FILE *errors) {
        char **names = NULL;
        int count = sd_listen_fds_with_names(1, &names);
        int r = listener_judge_count(count, errors);

        for (int i = 0; r == 0 && i < count; i++)
                r = listener_take(set, names[i], errors);
        for (int i = 0; i < count; i++)
                free(names[i]);
        free(names);
        return r;
}

/* ---- sockets bound here ---- */

/* Whether the process that called listen(2) has ended, except for a thread stuck in the kernel. */
static bool listener_is_dead(int connected) {
        struct ucred credentials;
        socklen_t size = sizeof(credentials);

        return getsockopt(connected, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0 &&
               instance_pid_is_dead(credentials.pid);
}

static bool listener_is_socket(const char *path) {
        struct stat stat;

        return lstat(path, &stat) == 0 && S_ISSOCK(stat.st_mode);
}

/*
 * Whether the name is a leftover: no living process listens there. connect(2) returns the same
 * error for a file that isn't a socket, which isn't ours to remove.
 */
static bool listener_is_stale(const struct sockaddr_un *address) {
        FD_AUTO int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        if (fd < 0 || !listener_is_socket(address->sun_path))
                return false;
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
                return errno == ECONNREFUSED;
        return listener_is_dead(fd);
}

static int listener_bind(int fd, const struct sockaddr_un *address) {
        mode_t mask = umask(0117);
        int r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;

        umask(mask);
        return r;
}

static int listener_make(const char *path, FILE *errors) {
        FD_AUTO int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int r;

        if (fd < 0)
                return listener_refuse(errors, -errno, path, "cannot create a socket");
        if (strlen(path) >= sizeof(address.sun_path))
                return listener_refuse(errors, -ENAMETOOLONG, path,
                                       "a socket's path has at most 107 bytes");
        strcpy(address.sun_path, path);

        r = listener_bind(fd, &address);
        if (r == -EADDRINUSE && listener_is_stale(&address) && unlink(path) == 0)
                r = listener_bind(fd, &address);
        if (r == -EADDRINUSE)
                return listener_refuse(errors, r, path,
                                       listener_is_socket(path)
                                               ? "another process listens there"
                                               : "a file that is not a socket is in the way");
        if (r < 0)
                return listener_refuse(errors, r, path, "cannot bind the socket");
        if (listen(fd, SOMAXCONN) < 0)
                return listener_refuse(errors, -errno, path, "cannot listen on the socket");
        return fd_take(&fd);
}

int listener_open(const char *const *paths, struct listener_set *set, FILE *errors) {
        *set = (struct listener_set){0};
        if (!paths[0])
                return listener_take_all(set, errors);
        if (sd_listen_fds(0) > 0) {
                fputs("--listen: the service manager has passed a socket as well: use only one of "
                      "the two\n",
                      errors);
                return -EINVAL;
        }
        for (; *paths; paths++) {
                int fd = listener_make(*paths, errors);

                if (fd < 0)
                        return fd;
                listener_add(set, fd, *paths);
        }
        return 0;
}

void listener_unlink(const struct listener_set *set) {
        for (unsigned i = 0; i < set->count; i++) {
                struct stat stat;

                if (set->paths[i] && lstat(set->paths[i], &stat) == 0 &&
                    stat.st_ino == set->inodes[i])
                        unlink(set->paths[i]);
        }
}
