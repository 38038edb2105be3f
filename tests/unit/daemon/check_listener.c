/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/listener.h"

#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

enum { APART = 100 }; /* descriptors from here on are out of the way */

/* In the test's own directory, until end(). */
static const char *path_of(unsigned i) {
        static char directory[] = "/tmp/mountatd-check-XXXXXX", paths[LISTENER_MAX + 1][64];

        if (strstr(directory, "XXXXXX"))
                ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(paths[i], sizeof(paths[i]), "%s/%u", directory, i);
        return paths[i];
}

static void end(void) {
        char directory[64];

        for (unsigned i = 0; i <= LISTENER_MAX; i++)
                unlink(path_of(i));
        snprintf(directory, sizeof(directory), "%s", path_of(0));
        ck_assert_int_eq(rmdir(dirname(directory)), 0);
}

/* ---- passed ---- */

static int unix_socket(unsigned i, int type, bool listens) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, type, 0);

        strcpy(address.sun_path, path_of(i));
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        if (listens)
                ck_assert_int_eq(listen(fd, 1), 0);
        return fd;
}

static int good(unsigned i) {
        return unix_socket(i, SOCK_SEQPACKET, true);
}

static int stream(unsigned i) {
        return unix_socket(i, SOCK_STREAM, true);
}

static int datagram(unsigned i) {
        return unix_socket(i, SOCK_DGRAM, false);
}

static int not_listening(unsigned i) {
        return unix_socket(i, SOCK_SEQPACKET, false);
}

static int connected(unsigned i) {
        int ends[2];

        (void)i;
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
        return ends[0];
}

static int of_a_network(unsigned i) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        (void)i;
        ck_assert_int_eq(listen(fd, 1), 0);
        return fd;
}

static int file(unsigned i) {
        return open(path_of(i), O_RDWR | O_CREAT, 0600);
}

/* The result, in shared memory. */
struct outcome {
        int result;
        struct listener_set set;
        int status_flags[LISTENER_MAX], descriptor_flags[LISTENER_MAX];
        char said[512];
};

/* As the service manager does, and then as the daemon it has started. Asserts nothing. */
static void take(const int *fds, unsigned count, const char *const *paths,
                 struct outcome *outcome) {
        FILE *errors = fmemopen(outcome->said, sizeof(outcome->said), "w");
        char text[16];

        for (unsigned i = 0; i < count; i++)
                dup2(fds[i], SD_LISTEN_FDS_START + i);
        snprintf(text, sizeof(text), "%d", getpid());
        setenv("LISTEN_PID", text, 1);
        snprintf(text, sizeof(text), "%u", count);
        if (count > 0)
                setenv("LISTEN_FDS", text, 1);
        if (count == 2)
                setenv("LISTEN_FDNAMES", "first.socket:second.socket", 1);
        outcome->result = listener_open(paths, &outcome->set, errors);
        fclose(errors);
        for (unsigned i = 0; i < outcome->set.count; i++) {
                outcome->status_flags[i] = fcntl(outcome->set.fds[i], F_GETFL);
                outcome->descriptor_flags[i] = fcntl(outcome->set.fds[i], F_GETFD);
        }
        listener_unlink(&outcome->set);
}

static const struct outcome *pass(const int *given, unsigned count, const char *const *paths) {
        struct outcome *outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        int fds[LISTENER_MAX + 1], status;
        pid_t child;

        ck_assert_ptr_ne(outcome, MAP_FAILED);
        for (unsigned i = 0; i < count; i++) {
                fds[i] = fcntl(given[i], F_DUPFD, APART);
                ck_assert_int_ge(fds[i], APART);
        }
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
                take(fds, count, paths, outcome);
                _exit(EXIT_SUCCESS);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
        return outcome;
}

static const char *const none[] = {NULL};

START_TEST(takes_every_socket_that_is_passed) {
        int fds[LISTENER_MAX];

        for (unsigned count = 1; count <= LISTENER_MAX; count++) {
                const struct outcome *outcome;

                fds[count - 1] = good(count - 1);
                outcome = pass(fds, count, none);
                ck_assert_int_eq(outcome->result, 0);
                ck_assert_str_eq(outcome->said, "");
                ck_assert_uint_eq(outcome->set.count, count);
                for (unsigned i = 0; i < count; i++) {
                        ck_assert_int_eq(outcome->set.fds[i], SD_LISTEN_FDS_START + (int)i);
                        ck_assert_ptr_null(outcome->set.paths[i]);
                        ck_assert(outcome->status_flags[i] & O_NONBLOCK);
                        ck_assert(outcome->descriptor_flags[i] & FD_CLOEXEC);
                        /* Left for the service manager to remove. */
                        ck_assert_int_eq(access(path_of(i), F_OK), 0);
                }
        }
        end();
}
END_TEST

START_TEST(refuses_more_than_it_serves) {
        int fds[LISTENER_MAX + 1];
        const struct outcome *outcome;

        for (unsigned i = 0; i <= LISTENER_MAX; i++)
                fds[i] = good(i);
        outcome = pass(fds, LISTENER_MAX + 1, none);
        ck_assert_int_eq(outcome->result, -EINVAL);
        ck_assert_ptr_nonnull(strstr(outcome->said, "9 sockets were passed"));
        ck_assert_ptr_nonnull(strstr(outcome->said, "at most 8"));
        end();
}
END_TEST

START_TEST(refuses_to_start_without_a_socket) {
        const struct outcome *outcome = pass(NULL, 0, none);

        ck_assert_int_eq(outcome->result, -EINVAL);
        ck_assert_ptr_nonnull(strstr(outcome->said, "no socket"));
        ck_assert_ptr_nonnull(strstr(outcome->said, "--listen=PATH"));
        end();
}
END_TEST

static int (*const wrong[])(unsigned) = {stream,    datagram,     not_listening,
                                         connected, of_a_network, file};

/* Each is named by its position and its unit. */
START_TEST(refuses_what_is_no_such_socket) {
        for (unsigned i = 0; i < 2 * sizeof(wrong) / sizeof(wrong[0]); i++) {
                const int fds[] = {i % 2 == 0 ? wrong[i / 2](0) : good(0),
                                   i % 2 == 1 ? wrong[i / 2](1) : good(1)};
                const struct outcome *outcome = pass(fds, 2, none);

                ck_assert_int_eq(outcome->result, -EINVAL);
                ck_assert_ptr_nonnull(strstr(outcome->said, wrong[i / 2] == connected
                                                                    ? "Accept=no"
                                                                    : "ListenSequentialPacket="));
                ck_assert_ptr_nonnull(strstr(outcome->said, i % 2 == 0 ? "1 (first.socket)"
                                                                       : "2 (second.socket)"));
                unlink(path_of(0));
                unlink(path_of(1));
        }
        end();
}
END_TEST

START_TEST(refuses_to_take_and_to_bind) {
        const char *const paths[] = {path_of(1), NULL};
        const int fd = good(0);
        const struct outcome *outcome = pass(&fd, 1, paths);

        ck_assert_int_eq(outcome->result, -EINVAL);
        ck_assert_ptr_nonnull(strstr(outcome->said, "--listen"));
        ck_assert_int_lt(access(path_of(1), F_OK), 0);
        end();
}
END_TEST

/* ---- bound ---- */

static struct listener_set bound;
static char said[512];

static int bind_at(const char *const *paths) {
        FILE *errors = fmemopen(said, sizeof(said), "w");
        int r = listener_open(paths, &bound, errors);

        fclose(errors);
        return r;
}

static bool is_served(unsigned i) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
        bool served;

        strcpy(address.sun_path, path_of(i));
        served = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
        close(fd);
        return served;
}

START_TEST(binds_one_at_each_path) {
        const char *paths[LISTENER_MAX + 1] = {NULL};

        for (unsigned i = 0; i < LISTENER_MAX; i++)
                paths[i] = path_of(i);
        ck_assert_int_eq(bind_at(paths), 0);
        ck_assert_uint_eq(bound.count, LISTENER_MAX);
        for (unsigned i = 0; i < LISTENER_MAX; i++) {
                struct stat stat;

                ck_assert(is_served(i));
                ck_assert_int_eq(lstat(path_of(i), &stat), 0);
                ck_assert_uint_eq(stat.st_mode & 07777, 0660);
                ck_assert(fcntl(bound.fds[i], F_GETFL) & O_NONBLOCK);
                ck_assert(fcntl(bound.fds[i], F_GETFD) & FD_CLOEXEC);
        }
        listener_unlink(&bound);
        for (unsigned i = 0; i < LISTENER_MAX; i++)
                ck_assert_int_lt(access(path_of(i), F_OK), 0);
        end();
}
END_TEST

START_TEST(replaces_each_stale_socket) {
        const char *const paths[] = {path_of(0), path_of(1), NULL};

        close(good(0));
        close(good(1));
        ck_assert(!is_served(0) && !is_served(1));
        ck_assert_int_eq(bind_at(paths), 0);
        ck_assert(is_served(0) && is_served(1));
        end();
}
END_TEST

/* Sockets bound before are removed; others' files stay. */
START_TEST(a_path_in_use_is_named_and_left_alone) {
        const char *const paths[] = {path_of(0), path_of(1), path_of(2), NULL};
        int other = good(1);

        ck_assert_int_eq(bind_at(paths), -EADDRINUSE);
        ck_assert_ptr_nonnull(strstr(said, path_of(1)));
        ck_assert_ptr_nonnull(strstr(said, "another process listens there"));
        ck_assert_uint_eq(bound.count, 1);
        listener_unlink(&bound);
        ck_assert_int_lt(access(path_of(0), F_OK), 0);
        ck_assert(is_served(1));
        ck_assert_int_lt(access(path_of(2), F_OK), 0);
        close(other);
        end();
}
END_TEST

/* A later instance has taken the path over. */
START_TEST(socket_of_another_is_not_removed) {
        const char *const paths[] = {path_of(0), NULL};

        ck_assert_int_eq(bind_at(paths), 0);
        ck_assert_int_eq(rename(path_of(0), path_of(1)), 0); /* so that its inode isn't reused */
        good(0);
        listener_unlink(&bound);
        ck_assert(is_served(0));
        end();
}
END_TEST

START_TEST(a_path_that_is_given_twice_is_in_use) {
        const char *const paths[] = {path_of(0), path_of(0), NULL};

        ck_assert_int_eq(bind_at(paths), -EADDRINUSE);
        ck_assert_uint_eq(bound.count, 1);
        listener_unlink(&bound);
        end();
}
END_TEST

START_TEST(path_that_is_too_long_is_refused) {
        char path[109];
        const char *const paths[] = {path, NULL};

        memset(path, 'a', sizeof(path));
        path[0] = '/';
        path[108] = '\0';
        ck_assert_int_eq(bind_at(paths), -ENAMETOOLONG);
        ck_assert_ptr_nonnull(strstr(said, "107 bytes"));
        end();
}
END_TEST

int main(void) {
        return SUITE_RUN("listener", takes_every_socket_that_is_passed, refuses_more_than_it_serves,
                         refuses_to_start_without_a_socket, refuses_what_is_no_such_socket,
                         refuses_to_take_and_to_bind, binds_one_at_each_path,
                         replaces_each_stale_socket, a_path_in_use_is_named_and_left_alone,
                         socket_of_another_is_not_removed, a_path_that_is_given_twice_is_in_use,
                         path_that_is_too_long_is_refused);
}
