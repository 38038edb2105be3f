/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/faults/inject/rig.h"

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
        RIG_PATIENCE_MS = 10000,
        RIG_PAUSE_US = 500,
        RIG_CLOSE_MS = 200,
        RIG_MOUNTS = 2, /* of the one lease */
};

void rig_prepare(struct rig *rig, const struct service_plan *plan) {
        *rig = (struct rig){.plan = plan, .alice = -EBADF, .root = world_path("root")};
        if (access(rig->root, F_OK) < 0)
                world_make_root(WORLD_ALICE, "root");
        /* One capability must be able to sweep there. */
        ck_assert_int_eq(chmod(rig->root, 0755), 0);
}

void rig_start(struct rig *rig) {
        rig->service = service_spawn(rig->plan);
}

/* ---- Alice ---- */

static struct outcome rig_await(struct rig *rig) {
        struct pollfd readable = {.fd = rig->alice, .events = POLLIN};
        struct outcome outcome = {.answer = ANSWER_NOTHING};
        uint8_t bytes[WIRE_REPLY_MAX];
        ssize_t size;

        if (poll(&readable, 1, RIG_PATIENCE_MS) != 1)
                return outcome;
        size = recv(rig->alice, bytes, sizeof(bytes), MSG_TRUNC | MSG_DONTWAIT);
        if (size > 0) {
                outcome.answer = ANSWER_REPLY;
                ck_assert_int_eq(wire_decode_reply(bytes, size, &outcome.reply), 0);
                return outcome;
        }
        outcome.answer = ANSWER_CLOSED;
        rig->alice = fd_close(rig->alice);
        return outcome;
}

static struct outcome rig_ask(struct rig *rig, struct wire_request *request,
                                 const int *fds) {
        uint8_t bytes[WIRE_REQUEST_MAX];

        request->version = PROTOCOL_VERSION;
        if (rig->alice < 0 ||
            client_try_send(rig->alice, bytes, wire_encode_request(request, bytes), fds,
                            request->n_targets) < 0) {
                rig->alice = fd_close(rig->alice);
                return (struct outcome){.answer = ANSWER_CLOSED};
        }
        return rig_await(rig);
}

static bool rig_said_ok(const struct outcome *outcome) {
        return outcome->answer == ANSWER_REPLY && outcome->reply.status == STATUS_OK;
}

void rig_reach(struct rig *rig) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        strncpy(address.sun_path, rig->service.socket, sizeof(address.sun_path) - 1);
        rig->alice = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        ck_assert_int_ge(rig->alice, 0);
        world_borrow(WORLD_ALICE);
        if (connect(rig->alice, (struct sockaddr *)&address, sizeof(address)) < 0)
                rig->alice = fd_close(rig->alice);
        world_return();
}

bool rig_connect(struct rig *rig) {
        struct outcome outcome;

        rig_reach(rig);
        outcome = rig_hello(rig);
        if (!rig_said_ok(&outcome))
                rig_hang_up(rig);
        return rig->alice >= 0;
}

bool rig_is_left(struct rig *rig) {
        struct pollfd end = {.fd = rig->alice, .events = POLLRDHUP};

        return poll(&end, 1, RIG_CLOSE_MS) == 1;
}

void rig_hang_up(struct rig *rig) {
        rig->alice = fd_close(rig->alice);
}

struct outcome rig_hello(struct rig *rig) {
        return rig_ask(rig, &(struct wire_request){.operation = PROTOCOL_HELLO}, NULL);
}

/* With proc and sys of the root, as Alice has them: bare directories, or the roots of mounts. */
static struct outcome rig_ask_with_root(struct rig *rig, enum protocol_operation operation,
                                           uint64_t lease) {
        struct wire_request request = {
                .operation = operation,
                .lease = lease,
                .n_targets = RIG_MOUNTS,
                .targets = {{PROTOCOL_PROC, 0}, {PROTOCOL_SYSFS, 0}},
        };
        int fds[] = {world_open(WORLD_ALICE, world_path("root/proc")),
                     world_open(WORLD_ALICE, world_path("root/sys"))};
        struct outcome outcome = rig_ask(rig, &request, fds);

        close(fds[0]);
        close(fds[1]);
        if (rig_said_ok(&outcome)) {
                rig->lease = outcome.reply.lease;
                rig->mounts = RIG_MOUNTS;
        }
        return outcome;
}

struct outcome rig_mount(struct rig *rig) {
        return rig_ask_with_root(rig, PROTOCOL_MOUNT, 0);
}

struct outcome rig_adopt(struct rig *rig, uint64_t lease) {
        return rig_ask_with_root(rig, PROTOCOL_ADOPT, lease);
}

/*
 * From the index told on: what is before it is gone. Where the daemon can't ask for its mount, the
 * one at the index may be gone as well, and it is what comes next that could not be looked at.
 */
static unsigned rig_count_left(const struct rig *rig, unsigned index) {
        unsigned most = RIG_MOUNTS - index;
        unsigned left = world_count_mounts(0, rig->service.source);

        return left < most && left + 1 >= most ? left : most;
}

struct outcome rig_unmount(struct rig *rig) {
        struct outcome outcome = rig_ask(
                rig,
                &(struct wire_request){.operation = PROTOCOL_UNMOUNT, .lease = rig->lease},
                NULL);

        if (rig_said_ok(&outcome) || outcome.answer == ANSWER_CLOSED)
                rig->lease = 0;
        else if (outcome.answer == ANSWER_REPLY && outcome.reply.target < RIG_MOUNTS)
                rig->mounts = rig_count_left(rig, outcome.reply.target);
        return outcome;
}

/* ---- what must be ---- */

static unsigned rig_records(const struct rig *rig) {
        char path[256];
        struct record record;
        unsigned used = 0;
        FILE *file;

        snprintf(path, sizeof(path), "%s/ledger", rig->service.runtime);
        file = fopen(path, "re");
        if (!file)
                return 0;
        fseek(file, RECORD_HEADER_SIZE, SEEK_SET);
        while (fread(&record, sizeof(record), 1, file) == 1)
                used += record.state != RECORD_FREE;
        fclose(file);
        return used;
}

static const char *rig_compare(const struct rig *rig, unsigned mounts, unsigned records) {
        static char text[128];
        unsigned has_mounts = world_count_mounts(0, rig->service.source);
        unsigned has_records = rig_records(rig);

        if (has_mounts == mounts && has_records == records)
                return NULL;
        snprintf(text, sizeof(text), "%u mounts instead of %u, %u records instead of %u",
                 has_mounts, mounts, has_records, records);
        return text;
}

/* Its threads come and go, so this asks nothing that fails a test. */
static unsigned rig_count(const struct rig *rig, const char *what) {
        char path[64];
        unsigned count = 0;
        DIR *directory;

        snprintf(path, sizeof(path), "/proc/%d/%s", rig->service.pid, what);
        directory = opendir(path);
        for (struct dirent *entry; directory && (entry = readdir(directory));)
                count += entry->d_name[0] != '.';
        if (directory)
                closedir(directory);
        return count;
}

static const char *rig_compare_all(const struct rig *rig) {
        static char text[128];
        unsigned mounts = rig->lease ? rig->mounts : 0;
        unsigned held = rig->lease ? RIG_MOUNTS : 0; /* until all of a lease can go */
        unsigned fds = rig->fds + (rig->alice >= 0) + held, has_fds, has_threads;
        const char *fault;

        if (!service_is_running(&rig->service))
                return "the daemon has ended";
        fault = rig_compare(rig, mounts, rig->lease ? 1 : 0);
        if (fault || rig->fds == 0)
                return fault;
        has_fds = rig_count(rig, "fd");
        has_threads = rig_count(rig, "task");
        if (has_fds != fds || has_threads != rig->threads) {
                snprintf(text, sizeof(text),
                         "%u descriptors instead of %u, %u threads instead of %u", has_fds, fds,
                         has_threads, rig->threads);
                return text;
        }
        return service_is_inside(&rig->service) ? "a thread stays inside a mount" : NULL;
}

/* Clones that could not be made for want of something are made up for after the next request. */
static void rig_let_restock(const struct rig *rig) {
        struct rig passer_by = *rig;

        if (service_is_running(&rig->service) && rig_connect(&passer_by))
                rig_hang_up(&passer_by);
}

const char *rig_find_fault(const struct rig *rig) {
        int64_t deadline = world_now_ms() + RIG_PATIENCE_MS;
        const char *fault;

        while ((fault = rig_compare_all(rig)) && service_is_running(&rig->service) &&
               world_now_ms() < deadline) {
                rig_let_restock(rig);
                usleep(RIG_PAUSE_US);
        }
        return fault;
}

const char *rig_find_remains(const struct rig *rig, unsigned mounts, unsigned records) {
        return rig_compare(rig, mounts, records);
}

void rig_measure(struct rig *rig) {
        unsigned again;

        /* Descriptors of the moment come and go. */
        rig->fds = rig_count(rig, "fd");
        while (usleep(3000) == 0 && (again = rig_count(rig, "fd")) != rig->fds)
                rig->fds = again;
        rig->fds -= rig->alice >= 0;
        rig->threads = rig_count(rig, "task");
}

int rig_await_end(struct rig *rig) {
        struct pollfd end = {.fd = pidfd_open(rig->service.pid, 0), .events = POLLIN};
        int status = -1;

        ck_assert_int_ge(end.fd, 0);
        if (poll(&end, 1, 2 * RIG_PATIENCE_MS) == 1)
                waitpid(rig->service.pid, &status, 0);
        close(end.fd);
        return status;
}

int rig_end(struct rig *rig, int signal) {
        kill(rig->service.pid, signal);
        return rig_await_end(rig);
}
