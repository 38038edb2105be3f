/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/faults/inject/ground.h"

#include "common/fd.h"
#include "daemon/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

enum {
        GROUND_PATIENCE_MS = 10000,
        GROUND_PAUSE_US = 500,
        GROUND_CLOSE_MS = 200,
        GROUND_MOUNTS = 2, /* of the one lease */
};

void ground_prepare(struct ground *ground, const struct service_plan *plan) {
        *ground = (struct ground){.plan = plan, .alice = -EBADF, .root = world_path("root")};
        if (access(ground->root, F_OK) < 0)
                world_make_root(WORLD_ALICE, "root");
        /* One capability must be able to sweep there. */
        ck_assert_int_eq(chmod(ground->root, 0755), 0);
}

void ground_start(struct ground *ground) {
        ground->service = service_spawn(ground->plan);
}

/* ---- Alice ---- */

static struct outcome ground_await(struct ground *ground) {
        struct pollfd readable = {.fd = ground->alice, .events = POLLIN};
        struct outcome outcome = {.answer = ANSWER_NOTHING};
        uint8_t bytes[WIRE_REPLY_MAX];
        ssize_t size;

        if (poll(&readable, 1, GROUND_PATIENCE_MS) != 1)
                return outcome;
        size = recv(ground->alice, bytes, sizeof(bytes), MSG_TRUNC | MSG_DONTWAIT);
        if (size > 0) {
                outcome.answer = ANSWER_REPLY;
                ck_assert_int_eq(wire_decode_reply(bytes, size, &outcome.reply), 0);
                return outcome;
        }
        outcome.answer = ANSWER_CLOSED;
        ground->alice = fd_close(ground->alice);
        return outcome;
}

static struct outcome ground_ask(struct ground *ground, struct wire_request *request,
                                 const int *fds) {
        uint8_t bytes[WIRE_REQUEST_MAX];

        request->version = PROTOCOL_VERSION;
        if (ground->alice < 0 ||
            client_try_send(ground->alice, bytes, wire_encode_request(request, bytes), fds,
                            request->n_targets) < 0) {
                ground->alice = fd_close(ground->alice);
                return (struct outcome){.answer = ANSWER_CLOSED};
        }
        return ground_await(ground);
}

static bool ground_said_ok(const struct outcome *outcome) {
        return outcome->answer == ANSWER_REPLY && outcome->reply.status == STATUS_OK;
}

void ground_reach(struct ground *ground) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        strncpy(address.sun_path, ground->service.socket, sizeof(address.sun_path) - 1);
        ground->alice = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        ck_assert_int_ge(ground->alice, 0);
        world_borrow(WORLD_ALICE);
        if (connect(ground->alice, (struct sockaddr *)&address, sizeof(address)) < 0)
                ground->alice = fd_close(ground->alice);
        world_return();
}

bool ground_connect(struct ground *ground) {
        struct outcome outcome;

        ground_reach(ground);
        outcome = ground_hello(ground);
        if (!ground_said_ok(&outcome))
                ground_hang_up(ground);
        return ground->alice >= 0;
}

bool ground_is_left(struct ground *ground) {
        struct pollfd end = {.fd = ground->alice, .events = POLLRDHUP};

        return poll(&end, 1, GROUND_CLOSE_MS) == 1;
}

void ground_hang_up(struct ground *ground) {
        ground->alice = fd_close(ground->alice);
}

struct outcome ground_hello(struct ground *ground) {
        return ground_ask(ground, &(struct wire_request){.operation = PROTOCOL_HELLO}, NULL);
}

/* With proc and sys of the root, as Alice has them: bare directories, or the roots of mounts. */
static struct outcome ground_ask_with_root(struct ground *ground, enum protocol_operation operation,
                                           uint64_t lease) {
        struct wire_request request = {
                .operation = operation,
                .lease = lease,
                .n_targets = GROUND_MOUNTS,
                .targets = {{PROTOCOL_PROC, 0}, {PROTOCOL_SYSFS, 0}},
        };
        int fds[] = {world_open(WORLD_ALICE, world_path("root/proc")),
                     world_open(WORLD_ALICE, world_path("root/sys"))};
        struct outcome outcome = ground_ask(ground, &request, fds);

        close(fds[0]);
        close(fds[1]);
        if (ground_said_ok(&outcome)) {
                ground->lease = outcome.reply.lease;
                ground->mounts = GROUND_MOUNTS;
        }
        return outcome;
}

struct outcome ground_mount(struct ground *ground) {
        return ground_ask_with_root(ground, PROTOCOL_MOUNT, 0);
}

struct outcome ground_adopt(struct ground *ground, uint64_t lease) {
        return ground_ask_with_root(ground, PROTOCOL_ADOPT, lease);
}

/*
 * From the index told on: what is before it is gone. Where the daemon can't ask for its mount, the
 * one at the index may be gone as well, and it is what comes next that could not be looked at.
 */
static unsigned ground_count_left(const struct ground *ground, unsigned index) {
        unsigned most = GROUND_MOUNTS - index;
        unsigned left = world_count_mounts(0, ground->service.source);

        return left < most && left + 1 >= most ? left : most;
}

struct outcome ground_unmount(struct ground *ground) {
        struct outcome outcome = ground_ask(
                ground,
                &(struct wire_request){.operation = PROTOCOL_UNMOUNT, .lease = ground->lease},
                NULL);

        if (ground_said_ok(&outcome) || outcome.answer == ANSWER_CLOSED)
                ground->lease = 0;
        else if (outcome.answer == ANSWER_REPLY && outcome.reply.target < GROUND_MOUNTS)
                ground->mounts = ground_count_left(ground, outcome.reply.target);
        return outcome;
}

/* ---- what must be ---- */

static unsigned ground_records(const struct ground *ground) {
        char path[256];
        struct record record;
        unsigned used = 0;
        FILE *file;

        snprintf(path, sizeof(path), "%s/ledger", ground->service.runtime);
        file = fopen(path, "re");
        if (!file)
                return 0;
        fseek(file, RECORD_HEADER_SIZE, SEEK_SET);
        while (fread(&record, sizeof(record), 1, file) == 1)
                used += record.state != RECORD_FREE;
        fclose(file);
        return used;
}

static const char *ground_compare(const struct ground *ground, unsigned mounts, unsigned records) {
        static char text[128];
        unsigned has_mounts = world_count_mounts(0, ground->service.source);
        unsigned has_records = ground_records(ground);

        if (has_mounts == mounts && has_records == records)
                return NULL;
        snprintf(text, sizeof(text), "%u mounts instead of %u, %u records instead of %u",
                 has_mounts, mounts, has_records, records);
        return text;
}

/* Its threads come and go, so this asks nothing that fails a test. */
static unsigned ground_count(const struct ground *ground, const char *what) {
        char path[64];
        unsigned count = 0;
        DIR *directory;

        snprintf(path, sizeof(path), "/proc/%d/%s", ground->service.pid, what);
        directory = opendir(path);
        for (struct dirent *entry; directory && (entry = readdir(directory));)
                count += entry->d_name[0] != '.';
        if (directory)
                closedir(directory);
        return count;
}

static const char *ground_compare_all(const struct ground *ground) {
        static char text[128];
        unsigned mounts = ground->lease ? ground->mounts : 0;
        unsigned held = ground->lease ? GROUND_MOUNTS : 0; /* until all of a lease can go */
        unsigned fds = ground->fds + (ground->alice >= 0) + held, has_fds, has_threads;
        const char *fault;

        if (!service_is_running(&ground->service))
                return "the daemon has ended";
        fault = ground_compare(ground, mounts, ground->lease ? 1 : 0);
        if (fault || ground->fds == 0)
                return fault;
        has_fds = ground_count(ground, "fd");
        has_threads = ground_count(ground, "task");
        if (has_fds != fds || has_threads != ground->threads) {
                snprintf(text, sizeof(text),
                         "%u descriptors instead of %u, %u threads instead of %u", has_fds, fds,
                         has_threads, ground->threads);
                return text;
        }
        return service_is_inside(&ground->service) ? "a thread stays inside a mount" : NULL;
}

/* Clones that could not be made for want of something are made up for after the next request. */
static void ground_let_restock(const struct ground *ground) {
        struct ground passer_by = *ground;

        if (service_is_running(&ground->service) && ground_connect(&passer_by))
                ground_hang_up(&passer_by);
}

const char *ground_find_fault(const struct ground *ground) {
        int64_t deadline = world_now_ms() + GROUND_PATIENCE_MS;
        const char *fault;

        while ((fault = ground_compare_all(ground)) && service_is_running(&ground->service) &&
               world_now_ms() < deadline) {
                ground_let_restock(ground);
                usleep(GROUND_PAUSE_US);
        }
        return fault;
}

const char *ground_find_remains(const struct ground *ground, unsigned mounts, unsigned records) {
        return ground_compare(ground, mounts, records);
}

void ground_measure(struct ground *ground) {
        unsigned again;

        /* Descriptors of the moment come and go. */
        ground->fds = ground_count(ground, "fd");
        while (usleep(3000) == 0 && (again = ground_count(ground, "fd")) != ground->fds)
                ground->fds = again;
        ground->fds -= ground->alice >= 0;
        ground->threads = ground_count(ground, "task");
}

int ground_await_end(struct ground *ground) {
        struct pollfd end = {.fd = pidfd_open(ground->service.pid, 0), .events = POLLIN};
        int status = -1;

        ck_assert_int_ge(end.fd, 0);
        if (poll(&end, 1, 2 * GROUND_PATIENCE_MS) == 1)
                waitpid(ground->service.pid, &status, 0);
        close(end.fd);
        return status;
}

int ground_end(struct ground *ground, int signal) {
        kill(ground->service.pid, signal);
        return ground_await_end(ground);
}
