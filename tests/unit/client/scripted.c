/* SPDX-License-Identifier: Apache-2.0 */

/* Single-threaded, with one child. The fixture runs in the test's own process. */

#include "tests/unit/client/scripted.h"

#include "common/fd.h"
#include "tests/fixtures/descriptors.h"
#include "tests/fixtures/suite.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

struct scripted scripted = {.listener = -EBADF, .root = -EBADF, .peer = -1};

void scripted_listen(void) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        snprintf(address.sun_path, sizeof(address.sun_path), "%s", scripted.path);
        unlink(scripted.path);
        scripted.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        ck_assert_int_ge(scripted.listener, 0);
        ck_assert_int_eq(bind(scripted.listener, (struct sockaddr *)&address, sizeof(address)), 0);
        ck_assert_int_eq(listen(scripted.listener, 5), 0);
        scripted.descriptors++;
}

static void setup(void) {
        char path[100];

        snprintf(scripted.dir, sizeof(scripted.dir), "/tmp/check_mountat.XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(scripted.dir));
        ck_assert_int_eq(chmod(scripted.dir, 0755), 0);
        snprintf(scripted.path, sizeof(scripted.path), "%s/socket", scripted.dir);
        snprintf(path, sizeof(path), "%s/root", scripted.dir);
        ck_assert_int_eq(mkdir(path, 0755), 0);
        scripted.root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        scripted_listen();
        scripted.mountat = mountat_new();
        ck_assert_ptr_nonnull(scripted.mountat);
        scripted.descriptors = descriptors_count();
}

void scripted_kill(void) {
        if (scripted.peer <= 0)
                return;
        kill(scripted.peer, SIGKILL);
        waitpid(scripted.peer, NULL, 0);
        scripted.peer = -1;
}

void scripted_stop(void) {
        scripted_kill();
        scripted.listener = fd_close(scripted.listener);
        scripted.descriptors--;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void)st, (void)type, (void)ftw;
        return remove(path);
}

static void teardown(void) {
        scripted.mountat = mountat_free(scripted.mountat);
        ck_assert_uint_eq(descriptors_count(), scripted.descriptors);
        scripted_stop();
        scripted.root = fd_close(scripted.root);
        nftw(scripted.dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

TCase *scripted_case(Suite *suite, const char *name) {
        TCase *tcase = tcase_create(name);

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_set_timeout(tcase, SUITE_TIMEOUT);
        suite_add_tcase(suite, tcase);
        return tcase;
}

static void write_file(const char *path, const char *text) {
        FD_AUTO int fd = open(path, O_WRONLY | O_CLOEXEC);

        if (fd >= 0 && write(fd, text, strlen(text)) < 0)
                perror(path);
}

static bool isolate(void) {
        uid_t uid = geteuid();
        char map[64];

        if (unshare(uid == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) < 0)
                return false;
        if (uid != 0) {
                snprintf(map, sizeof(map), "0 %u 1", uid);
                write_file("/proc/self/uid_map", map);
        }
        return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

void scripted_isolate(void) {
        scripted.isolated = isolate();
}

static const char *below_root(const char *name) {
        static char path[256];

        snprintf(path, sizeof(path), "%s/root/%s", scripted.dir, name);
        return path;
}

void mount_on(const char *name) {
        ck_assert_int_eq(mount("none", below_root(name), "tmpfs", 0, NULL), 0);
}

void unmount_from(const char *name) {
        ck_assert_int_eq(umount2(below_root(name), MNT_DETACH), 0);
}

bool cover_proc(const char *const *names) {
        char proc[100], link[160], file[64];

        snprintf(proc, sizeof(proc), "%s/proc", scripted.dir);
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return false;
        ck_assert_int_eq(mkdir(proc, 0755), 0);
        ck_assert_int_eq(mount("/proc", proc, NULL, MS_BIND | MS_REC, NULL), 0);
        ck_assert_int_eq(mount("none", "/proc", "tmpfs", 0, NULL), 0);
        ck_assert_int_eq(mkdir("/proc/self", 0755), 0);
        ck_assert_int_eq(mkdir("/proc/self/ns", 0755), 0);
        for (; *names; names++) {
                snprintf(link, sizeof(link), "%s/self/ns/%s", proc, *names);
                snprintf(file, sizeof(file), "/proc/self/ns/%s", *names);
                ck_assert_int_eq(symlink(link, file), 0);
        }
        return true;
}

void uncover_proc(void) {
        char proc[100];

        snprintf(proc, sizeof(proc), "%s/proc", scripted.dir);
        ck_assert_int_eq(umount2(proc, MNT_DETACH), 0);
        ck_assert_int_eq(umount2("/proc", MNT_DETACH), 0);
}

void peer_check(bool fact) {
        if (!fact)
                _exit(EXIT_FAILURE);
}

bool peer_try_receive(int connection, struct wire_request *request, struct fdpass_set *set) {
        struct pollfd poller = {.fd = connection, .events = POLLIN};
        struct verdict verdict;
        uint8_t bytes[WIRE_REQUEST_MAX];
        ssize_t size;

        poll(&poller, 1, -1);
        size = fdpass_receive(connection, bytes, sizeof(bytes), set);
        if (size == 0)
                return false;
        peer_check(size > 0);
        peer_check(wire_decode_request(bytes, (size_t)size, request, &verdict) == 0);
        peer_check(verdict.status == STATUS_OK && set->count == request->n_targets);
        return true;
}

struct wire_request peer_receive(int connection, struct fdpass_set *set) {
        struct wire_request request;

        if (!peer_try_receive(connection, &request, set))
                _exit(EXIT_SUCCESS);
        return request;
}

struct wire_request peer_receive_only(int connection) {
        struct fdpass_set set;
        struct wire_request request = peer_receive(connection, &set);

        fdpass_set_close(&set);
        return request;
}

void peer_send(int connection, const struct wire_reply *reply) {
        uint8_t bytes[WIRE_REPLY_MAX];
        size_t size = wire_encode_reply(reply, bytes);

        fdpass_send(connection, bytes, size, NULL, 0);
}

void peer_answer(int connection, const struct wire_request *request, struct wire_reply reply) {
        reply.operation = request->operation;
        reply.cookie = request->cookie;
        peer_send(connection, &reply);
}

void scripted_start(void (*script)(int connection)) {
        scripted.peer = fork();
        ck_assert_int_ge(scripted.peer, 0);
        if (scripted.peer > 0)
                return;
        for (;;) {
                int connection = accept4(scripted.listener, NULL, NULL, SOCK_CLOEXEC);

                script(connection);
                close(connection);
        }
}

void scripted_start_and_connect(void (*script)(int connection)) {
        scripted_start(script);
        ck_assert_int_eq(mountat_connect(scripted.mountat, scripted.path), 0);
}

/* The peer's own. */
static const struct step (*steps)[STEPS_MAX];
static size_t connections;

void (*scripted_check)(const struct wire_request *request, const struct fdpass_set *set,
                       const struct step *step);

static void follow(int connection) {
        const struct step *step = *steps++;

        for (; step->act != CLOSE; step++) {
                FDPASS_AUTO struct fdpass_set set;
                struct wire_request request;

                if (!peer_try_receive(connection, &request, &set)) {
                        peer_check(step->operation == 0);
                        break;
                }
                peer_check(request.operation == step->operation);
                if (scripted_check)
                        scripted_check(&request, &set, step);
                if (step->act == DIE)
                        break;
                if (step->act == ANSWER)
                        peer_answer(connection, &request, step->reply);
        }
        if (--connections == 0)
                _exit(EXIT_SUCCESS);
}

void scripted_follow_all(const struct step (*plan)[STEPS_MAX], size_t n) {
        steps = plan;
        connections = n;
        scripted_start(follow);
}

void peer_obliging(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);
                struct wire_reply reply = {.target = STATUS_NO_TARGET};

                if (request.operation == PROTOCOL_HELLO)
                        reply.flags = SCRIPTED_FEATURES;
                if (request.operation == PROTOCOL_MOUNT)
                        reply.lease = SCRIPTED_LEASE;
                peer_answer(connection, &request, reply);
        }
}

void peer_fails_to_unmount(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);

                peer_answer(
                        connection, &request,
                        request.operation == PROTOCOL_UNMOUNT
                                ? (struct wire_reply){.status = STATUS_HOST_FAILED, .error = EIO}
                                : (struct wire_reply){.lease = SCRIPTED_LEASE});
        }
}

void peer_silent(int connection) {
        for (;;)
                peer_receive_only(connection);
}

void expect_failure(int result, int error, int status) {
        ck_assert_int_eq(result, -error);
        ck_assert_int_eq(mountat_error_errno(scripted.mountat), error);
        ck_assert_int_eq(mountat_error_status(scripted.mountat), status);
        ck_assert_str_ne(mountat_error_text(scripted.mountat), "");
}

void expect_client_failure(int result, int error) {
        expect_failure(result, error, MOUNTAT_STATUS_CLIENT_FAILED);
        ck_assert_str_eq(mountat_error_name(scripted.mountat), "client-failed");
}

void expect_text(const char *part) {
        if (!strstr(mountat_error_text(scripted.mountat), part))
                ck_abort_msg("'%s' is not in '%s'", part, mountat_error_text(scripted.mountat));
}

void expect_closed(const char *why) {
        ck_assert_int_eq(mountat_fd(scripted.mountat), -ENOTCONN);
        expect_text(why);
        expect_text("connects again");
}

void expect_end(void) {
        scripted.mountat = mountat_free(scripted.mountat);
        expect_end_of_peer();
}

void expect_end_of_peer(void) {
        int status;

        ck_assert_int_eq(waitpid(scripted.peer, &status, 0), scripted.peer);
        scripted.peer = -1;
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
}

void wait_for_hang_up(void) {
        struct pollfd poller = {.fd = mountat_fd(scripted.mountat), .events = POLLIN};

        ck_assert_int_eq(poll(&poller, 1, 10000), 1);
}

bool is_there(const char *name) {
        return faccessat(scripted.root, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

void make_mountpoints(void) {
        ck_assert_int_eq(mkdirat(scripted.root, "proc", 0755), 0);
        ck_assert_int_eq(mkdirat(scripted.root, "sys", 0755), 0);
}

int mount_root(uint32_t flags) {
        uint64_t lease = 77;
        int result = mountat_mount_root(scripted.mountat, scripted.root, flags, &lease);

        ck_assert_uint_eq(lease, result == 0 ? SCRIPTED_LEASE : 77);
        return result;
}

int64_t now(void) {
        struct timespec time;

        clock_gettime(CLOCK_MONOTONIC, &time);
        return time.tv_sec * INT64_C(1000) + time.tv_nsec / 1000000;
}

void expect_short(int64_t since) {
        ck_assert_int_ge(now() - since, SCRIPTED_SHORT - 1);
        ck_assert_int_lt(now() - since, SCRIPTED_LONG);
}
