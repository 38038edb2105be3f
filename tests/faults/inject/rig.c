/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/faults/inject/rig.h"

#include "common/fd.h"
#include "daemon/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

enum {
        RIG_PATIENCE_MS = 10000,
        RIG_PAUSE_US = 500,
        RIG_SAMPLES = 5,
        RIG_CLOSE_MS = 200,
        RIG_MOUNTS = 2, /* of the lease, */
        RIG_OF_DEV = 3, /* or of its dev, those with our label */
        RIG_NAMESPACES = 3,
        RIG_TEMPLATES = 2,                           /* for them, at most */
        RIG_IDLE_MAX = 3,                            /* idle threads, besides the spare one */
        RIG_OTHERS = 1 + SERVICE_THREADS_OF_RUNTIME, /* threads: the main one */
};

void rig_prepare(struct rig *rig, const struct service_plan *plan) {
        *rig = (struct rig){.plan = plan,
                            .alice = -EBADF,
                            .network = -EBADF,
                            .root = sandbox_path("root"),
                            .held = RIG_MOUNTS};
        if (access(rig->root, F_OK) < 0) {
                sandbox_make_root(USER_ALICE, "root");
                sandbox_make_directory(USER_ALICE, 0755, "root/dev");
        }
        /* The daemon must be able to sweep there with its one capability. */
        ck_assert_int_eq(chmod(rig->root, 0755), 0);
}

void rig_start(struct rig *rig) {
        rig->service = service_spawn(rig->plan);
}

/* ---- another mount namespace ---- */

static int rig_elsewhere = -EBADF;

void rig_make_elsewhere(void) {
        FD_AUTO int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);

        if (rig_elsewhere >= 0)
                return;
        ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
        rig_elsewhere = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        ck_assert_int_ge(rig_elsewhere, 0);
        ck_assert_int_eq(setns(own, CLONE_NEWNS), 0);
}

/* The child has only the standard descriptors, and trap_enter() relies on that. */
void rig_go_elsewhere(void) {
        char path[64];
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/fd/%d", getppid(), rig_elsewhere);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (unshare(CLONE_FS) < 0 || setns(fd, CLONE_NEWNS) < 0) /* a sanitizer has a thread */
                _exit(127);
        close(fd);
}

bool rig_keeps_namespace(const struct rig *rig) {
        char path[64], own[64] = "", link[64];
        bool kept = false;
        DIR *directory;

        ck_assert_int_gt(readlink("/proc/self/ns/mnt", own, sizeof(own) - 1), 0);
        snprintf(path, sizeof(path), "/proc/%d/fd", rig->service.pid);
        directory = opendir(path);
        for (struct dirent *entry; directory && !kept && (entry = readdir(directory));) {
                ssize_t length =
                        readlinkat(dirfd(directory), entry->d_name, link, sizeof(link) - 1);

                link[length < 0 ? 0 : length] = '\0';
                kept = strcmp(link, own) == 0;
        }
        if (directory)
                closedir(directory);
        return kept;
}

/* ---- Alice ---- */

void rig_hang_up(struct rig *rig) {
        rig->alice = fd_close(rig->alice);
        rig->inside = 0;
}

/* A peer that closes with unread data causes ECONNRESET before its own data can be read. */
static ssize_t rig_receive(int fd, void *bytes, size_t size) {
        ssize_t received = recv(fd, bytes, size, MSG_TRUNC | MSG_DONTWAIT);

        if (received < 0 && errno == ECONNRESET)
                received = recv(fd, bytes, size, MSG_TRUNC | MSG_DONTWAIT);
        return received;
}

struct outcome rig_listen(struct rig *rig) {
        struct pollfd readable = {.fd = rig->alice, .events = POLLIN};
        struct outcome outcome = {.answer = rig->alice >= 0 ? ANSWER_NOTHING : ANSWER_CLOSED};
        uint8_t bytes[WIRE_REPLY_MAX];
        ssize_t size;

        if (rig->alice < 0 || poll(&readable, 1, RIG_PATIENCE_MS) != 1)
                return outcome;
        size = rig_receive(rig->alice, bytes, sizeof(bytes));
        outcome.answer = size > 0 ? ANSWER_REPLY : ANSWER_CLOSED;
        if (size > 0)
                ck_assert_int_eq(wire_decode_reply(bytes, size, &outcome.reply), 0);
        if (size <= 0 || outcome.reply.operation == PROTOCOL_UNASKED)
                rig_hang_up(rig);
        return outcome;
}

/* A refused connection may be closed before the request, with the reason in its queue. */
static struct outcome rig_ask(struct rig *rig, struct wire_request *request, const int *fds) {
        uint8_t bytes[WIRE_REQUEST_MAX];

        request->version = PROTOCOL_VERSION;
        if (rig->alice >= 0)
                client_try_send(rig->alice, bytes, wire_encode_request(request, bytes), fds,
                                request->n_targets);
        return rig_listen(rig);
}

static bool rig_said_ok(const struct outcome *outcome) {
        return outcome->answer == ANSWER_REPLY && outcome->reply.status == STATUS_OK;
}

static int rig_connect_as(const struct rig *rig, uid_t uid) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        strncpy(address.sun_path, rig->service.socket, sizeof(address.sun_path) - 1);
        ck_assert_int_ge(fd, 0);
        sandbox_borrow(uid);
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                fd = fd_close(fd);
        sandbox_return();
        return fd;
}

void rig_reach(struct rig *rig) {
        rig->alice = rig_connect_as(rig, USER_ALICE);
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

struct outcome rig_hello(struct rig *rig) {
        return rig_ask(rig, &(struct wire_request){.operation = PROTOCOL_HELLO}, NULL);
}

/* With proc and sys of the root as they are: bare directories, or the roots of mounts. */
static struct outcome rig_ask_with_root(struct rig *rig, struct wire_request request) {
        int fds[] = {sandbox_open(USER_ALICE, sandbox_path("root/proc")),
                     sandbox_open(USER_ALICE, sandbox_path("root/sys"))};
        struct outcome outcome;

        request.n_targets = RIG_MOUNTS;
        request.targets[0].file_system = PROTOCOL_PROC;
        request.targets[1].file_system = PROTOCOL_SYSFS;
        outcome = rig_ask(rig, &request, fds);
        close(fds[0]);
        close(fds[1]);
        if (rig_said_ok(&outcome) && !(request.flags & PROTOCOL_CHECK)) {
                rig->lease = outcome.reply.lease;
                rig->kept = request.flags & PROTOCOL_KEEP;
                rig->mounts = rig->held = RIG_MOUNTS;
        }
        return outcome;
}

struct outcome rig_enter(struct rig *rig) {
        static const char *const paths[] = {"/proc/self/ns/mnt", "/proc/self/ns/pid",
                                            "/proc/self/ns/net"};
        struct wire_request request = {.operation = PROTOCOL_ENTER, .n_targets = RIG_NAMESPACES};
        struct outcome outcome;
        int fds[RIG_NAMESPACES];

        for (unsigned i = 0; i < RIG_NAMESPACES; i++) {
                request.targets[i].file_system = PROTOCOL_NAMESPACE_MOUNT + i;
                fds[i] = open(paths[i], O_RDONLY | O_CLOEXEC);
        }
        if (rig->network >= 0)
                ck_assert_int_ge(dup2(rig->network, fds[RIG_NAMESPACES - 1]), 0);
        outcome = rig_ask(rig, &request, fds);
        for (unsigned i = 0; i < RIG_NAMESPACES; i++)
                close(fds[i]);
        if (rig_said_ok(&outcome))
                rig->inside = RIG_NAMESPACES;
        return outcome;
}

struct outcome rig_mount_dev(struct rig *rig) {
        FD_AUTO int fd = sandbox_open(USER_ALICE, sandbox_path("root/dev"));
        struct wire_request request = {
                .operation = PROTOCOL_MOUNT, .n_targets = 1, .targets = {{PROTOCOL_DEV, 0}}};
        struct outcome outcome = rig_ask(rig, &request, &fd);

        if (rig_said_ok(&outcome)) {
                rig->lease = outcome.reply.lease;
                rig->kept = false;
                rig->mounts = RIG_OF_DEV;
                rig->held = 1;
        }
        return outcome;
}

struct outcome rig_mount(struct rig *rig) {
        return rig_ask_with_root(rig, (struct wire_request){.operation = PROTOCOL_MOUNT});
}

struct outcome rig_mount_to_keep(struct rig *rig) {
        return rig_ask_with_root(
                rig, (struct wire_request){.operation = PROTOCOL_MOUNT, .flags = PROTOCOL_KEEP});
}

struct outcome rig_check(struct rig *rig) {
        return rig_ask_with_root(
                rig, (struct wire_request){.operation = PROTOCOL_MOUNT, .flags = PROTOCOL_CHECK});
}

struct outcome rig_adopt(struct rig *rig, uint64_t lease) {
        return rig_ask_with_root(
                rig, (struct wire_request){.operation = PROTOCOL_ADOPT, .lease = lease});
}

/*
 * Mounts from the reported index on: those before it are gone. If the daemon can't query its mount,
 * the one at the index may be gone as well, and the next one could not be examined.
 */
static unsigned rig_count_left(const struct rig *rig, unsigned index) {
        unsigned most = RIG_MOUNTS - index;
        unsigned left = sandbox_count_mounts(0, rig->service.source);

        return left < most && left + 1 >= most ? left : most;
}

struct outcome rig_unmount(struct rig *rig) {
        struct outcome outcome = rig_ask(
                rig, &(struct wire_request){.operation = PROTOCOL_UNMOUNT, .lease = rig->lease},
                NULL);

        if (rig_said_ok(&outcome) || outcome.answer == ANSWER_CLOSED)
                rig->lease = 0;
        else if (outcome.answer == ANSWER_REPLY && rig->held == RIG_MOUNTS &&
                 outcome.reply.target < RIG_MOUNTS)
                rig->mounts = rig_count_left(rig, outcome.reply.target);
        return outcome;
}

/* ---- invariants ---- */

static unsigned rig_records(const struct rig *rig) {
        char path[256];
        struct record record;
        unsigned used = 0;
        FILE *file;

        snprintf(path, sizeof(path), "%s/state", rig->service.runtime);
        file = fopen(path, "re");
        if (!file)
                return 0;
        fseek(file, STATE_HEADER_SIZE, SEEK_SET);
        while (fread(&record, sizeof(record), 1, file) == 1)
                used += record.state != RECORD_FREE;
        fclose(file);
        return used;
}

static const char *rig_compare(const struct rig *rig, unsigned mounts, unsigned records) {
        static char text[128];
        unsigned has_mounts = sandbox_count_mounts(0, rig->service.source);
        unsigned has_records = rig_records(rig);

        if (has_mounts == mounts && has_records == records)
                return NULL;
        snprintf(text, sizeof(text), "%u mounts instead of %u, %u records instead of %u",
                 has_mounts, mounts, has_records, records);
        return text;
}

/* Its threads come and go, so these functions fail no test. */
static unsigned rig_count_fds(const struct rig *rig) {
        char path[64];
        unsigned count = 0;
        DIR *directory;

        snprintf(path, sizeof(path), "/proc/%d/fd", rig->service.pid);
        directory = opendir(path);
        for (struct dirent *entry; directory && (entry = readdir(directory));)
                count += entry->d_name[0] != '.';
        if (directory)
                closedir(directory);
        return count;
}

/* The number of the system call it is blocked in, -1: none. proc_pid_syscall(5). */
static long rig_find_call(const struct rig *rig, const char *thread) {
        char path[128];
        long call = -1;
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%d/task/%s/syscall", rig->service.pid, thread);
        file = fopen(path, "re");
        if (file && fscanf(file, "%ld", &call) != 1)
                call = -1;
        if (file)
                fclose(file);
        return call;
}

static struct rig_threads rig_count_threads(const struct rig *rig) {
        struct rig_threads threads = {0};
        char path[64];
        DIR *directory;

        snprintf(path, sizeof(path), "/proc/%d/task", rig->service.pid);
        directory = opendir(path);
        for (struct dirent *entry; directory && (entry = readdir(directory));) {
                long call = rig_find_call(rig, entry->d_name);

                if (entry->d_name[0] == '.')
                        continue;
                threads.serving += call == SYS_recvmsg;
                threads.waiting += call == SYS_futex;
                threads.others += call != SYS_recvmsg && call != SYS_futex;
        }
        if (directory)
                closedir(directory);
        return threads;
}

unsigned rig_count_idle(const struct rig *rig) {
        unsigned waiting = rig_count_threads(rig).waiting;

        return waiting > rig->threads.waiting ? waiting - rig->threads.waiting : 0;
}

static const char *rig_compare_threads(const struct rig *rig) {
        static char text[128];
        struct rig_threads threads = rig_count_threads(rig);
        unsigned serving = (rig->alice >= 0) + rig->n_guests;

        if (threads.serving == serving && threads.others == rig->threads.others &&
            threads.waiting >= rig->threads.waiting &&
            threads.waiting <= rig->threads.waiting + RIG_IDLE_MAX)
                return NULL;
        snprintf(text, sizeof(text),
                 "%u threads serve instead of %u, %u wait instead of %u and %d more, there are %u "
                 "others instead of %u",
                 threads.serving, serving, threads.waiting, rig->threads.waiting, RIG_IDLE_MAX,
                 threads.others, rig->threads.others);
        return text;
}

void rig_settle(const struct rig *rig) {
        int64_t deadline = sandbox_now_ms() + RIG_PATIENCE_MS;

        while (rig->fds > 0 && rig_compare_threads(rig) && service_is_running(&rig->service) &&
               sandbox_now_ms() < deadline)
                usleep(RIG_PAUSE_US);
}

static const char *rig_compare_all(const struct rig *rig) {
        static char text[128];
        unsigned mounts = rig->lease ? rig->mounts : 0;
        unsigned held = rig->lease ? rig->held : 0; /* until a whole lease can be released */
        unsigned fds = rig->fds + (rig->alice >= 0) + rig->inside + rig->n_guests + held, has_fds;
        const char *fault;

        if (!service_is_running(&rig->service))
                return "the daemon has ended";
        fault = rig_compare(rig, mounts, rig->lease ? 1 : 0);
        if (fault || rig->fds == 0)
                return fault;
        has_fds = rig_count_fds(rig);
        if (has_fds < fds || has_fds > fds + (rig->inside ? RIG_TEMPLATES : 0)) {
                snprintf(text, sizeof(text), "%u descriptors instead of %u", has_fds, fds);
                return text;
        }
        fault = rig_compare_threads(rig);
        if (fault)
                return fault;
        return service_is_inside(&rig->service) ? "a thread stays inside a mount" : NULL;
}

/* ---- guests ---- */

/* Says hello on a connection of Bob's. False: no connection, or no answer. */
static bool rig_invite(struct rig *rig) {
        struct rig bob = *rig;
        struct outcome outcome;

        bob.alice = rig_connect_as(rig, USER_BOB);
        outcome = rig_hello(&bob);
        if (!rig_said_ok(&outcome)) {
                rig_hang_up(&bob);
                return false;
        }
        rig->guests[rig->n_guests++] = bob.alice;
        return true;
}

void rig_dismiss(struct rig *rig) {
        while (rig->n_guests > 0)
                close(rig->guests[--rig->n_guests]);
}

void rig_occupy(struct rig *rig) {
        while (rig->n_guests < RIG_GUESTS_MAX && rig_count_idle(rig) > 0)
                ck_assert(rig_invite(rig));
        sandbox_wait_for(rig_count_idle(rig) == 0);
}

/* Clones that could not be made are made after the next request. */
static void rig_let_replenish(const struct rig *rig) {
        struct rig passer_by = *rig;

        passer_by.n_guests = 0;
        if (service_is_running(&rig->service) && rig_invite(&passer_by))
                rig_dismiss(&passer_by);
}

const char *rig_find_fault(const struct rig *rig) {
        int64_t deadline = sandbox_now_ms() + RIG_PATIENCE_MS;
        const char *fault;

        rig_settle(rig); /* otherwise another connection comes, whose thread stays */
        while ((fault = rig_compare_all(rig)) && service_is_running(&rig->service) &&
               sandbox_now_ms() < deadline) {
                rig_let_replenish(rig);
                usleep(RIG_PAUSE_US);
        }
        return fault;
}

const char *rig_find_remains(const struct rig *rig, unsigned mounts, unsigned records) {
        return rig_compare(rig, mounts, records);
}

void rig_measure(struct rig *rig) {
        int64_t deadline = sandbox_now_ms() + RIG_PATIENCE_MS;
        struct rig_threads threads, before = {0};
        unsigned fds, fds_before = 0;

        /* Threads are still moving, and temporary descriptors come and go: slowly on a busy
         * machine. */
        for (unsigned same = 0; same < RIG_SAMPLES;) {
                threads = rig_count_threads(rig);
                fds = rig_count_fds(rig);
                if (memcmp(&threads, &before, sizeof(threads)) == 0 && fds == fds_before &&
                    threads.serving == (rig->alice >= 0) && threads.others == RIG_OTHERS)
                        same++;
                else
                        same = 0;
                ck_assert_int_lt(sandbox_now_ms(), deadline);
                before = threads;
                fds_before = fds;
                usleep(3000);
        }
        rig->fds = fds - (rig->alice >= 0);
        rig->threads = threads;
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
