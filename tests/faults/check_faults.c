/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Every system call on the routes of the real daemon fails once, with each error that
 * tests/faults/inject/table.c gives it, at each place where a recorded run makes it. The client's
 * answer must then be a documented one, and nothing may be left: no mount, record, descriptor or
 * thread.
 *
 * Over D-Bus the caller gets the answer or a named error, and the daemon comes back to the bus.
 *
 * Prints the table. MOUNTATD_FAULTS=NAME runs only that route.
 *
 * Not covered: a daemon that waits for the bus to appear (inotify(7)); polkit asking an
 * administrator; and, for a start on the bus or with a kept lease, more than a few places of a
 * call.
 */

#include "common/fd.h"
#include "tests/faults/inject/caller.h"
#include "tests/faults/inject/rig.h"
#include "tests/faults/inject/table.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/*
 * A sanitizer's runtime makes calls of its own, and exits when they fail; and slow tests run in
 * only one build.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__clang__)
#define IN_PART true
#else
#define IN_PART false
#endif

enum {
        CALLS_MAX = 4096,
        VERDICTS_MAX = 6,
        SETTLING_US = 30000,
        REACH_MS = 1000, /* for a call to be reached */
        RETRY_MS = 5000, /* enough for one of the daemon's retries, every second */
        RETRIES = 3,     /* of a call that wasn't reached, since the order of threads varies */
};

static const struct service_plan plan = {
        .name = "faults",
        .start = SERVICE_LISTENS,
        .enter = trap_enter,
        .attend = trap_attend,
};

/* Neither statmount, and so unique ids, nor clones: each mount gets a superblock. */
static const struct service_plan old_plan = {
        .name = "faults",
        .start = SERVICE_LISTENS,
        .denied = {457, SYS_open_tree},
        .enter = trap_enter,
        .attend = trap_attend,
};

static const struct service_plan limited_plan = {
        .name = "faults",
        .start = SERVICE_LISTENS,
        .options = {"--max-connections-per-user=1"},
        .enter = trap_enter,
        .attend = trap_attend,
};

static const struct service_plan sweeping_plan = {
        .name = "faults",
        .start = SERVICE_LISTENS,
        .options = {"--adopt-timeout=0"},
        .enter = trap_enter,
        .attend = trap_attend,
};

static const struct service_plan bus_plan = {
        .name = "faults",
        .start = SERVICE_LISTENS,
        .unnamed = true,
        .enter = trap_enter,
        .attend = trap_attend,
};

static void enter_elsewhere(void) {
        rig_go_elsewhere();
        trap_enter();
}

static const struct service_plan joining_plan = {
        .name = "faults",
        .start = SERVICE_LISTENS,
        .options = {"--join=60001"},
        .enter = enter_elsewhere,
        .attend = trap_attend,
};

/* ---- the routes ---- */

/*
 * `prepare` brings the rig to the start of the route; `act` takes it, with the fault just ordered;
 * `judge` names the result ("served", "host-failed"), or returns NULL, with the fault in `*fault`.
 */
struct route {
        const char *name;
        const struct service_plan *plan;
        void (*prepare)(struct rig *rig);
        struct outcome (*act)(struct rig *rig);
        const char *(*judge)(struct rig *rig, const struct outcome *outcome, struct trap_call call,
                             int error, const char **fault);
};

static bool is_any(int number, const int *numbers) {
        while (*numbers && *numbers != number)
                numbers++;
        return *numbers;
}

/* The only table of errors with a status of their own. */
static bool is_own_status(const struct wire_reply *reply, int call, int error) {
        if (call == SYS_ioctl && error == ENOTTY)
                return reply->status ==
                       STATUS_MALFORMED; /* as for a descriptor that is no namespace */
        /* A user namespace that isn't as required, or can't be examined. */
        if ((call == SYS_fchownat && (error == EPERM || error == EOVERFLOW)) ||
            ((call == SYS_fsconfig || call == SYS_mount_setattr) && error == EINVAL))
                return reply->status == STATUS_NOT_AUTHORISED;
        if (call != SYS_move_mount)
                return false;
        return (error == ENOENT && reply->status == STATUS_TARGET_VANISHED) ||
               (error == ENOTDIR && reply->status == STATUS_NOT_A_DIRECTORY);
}

/* If a thread can't be created for lack of memory, pthread_create(3) returns EAGAIN. */
static bool is_own_error(const struct wire_reply *reply, struct trap_call call, int error) {
        static const int of_thread[] = {SYS_clone, SYS_clone3, SYS_mmap, SYS_mprotect, 0};

        return (int)reply->error == error ||
               (reply->error == EAGAIN && error == ENOMEM && is_any(call.number, of_thread));
}

static const char *judge_answer(const struct outcome *outcome, struct trap_call call, int error,
                                const char **fault) {
        /* Without these there is no request, or no reply. */
        static const int closing[] = {SYS_recvmsg, SYS_sendmsg, 0};
        static char text[256];
        const struct wire_reply *reply = &outcome->reply;

        if (outcome->answer == ANSWER_CLOSED && is_any(call.number, closing))
                return "closed";
        if (outcome->answer == ANSWER_REPLY && reply->status == STATUS_OK)
                return "served";
        if (outcome->answer == ANSWER_REPLY &&
            ((reply->status == STATUS_HOST_FAILED && is_own_error(reply, call, error)) ||
             is_own_status(reply, call.number, error)))
                return status_name(reply->status);

        if (outcome->answer == ANSWER_REPLY)
                snprintf(text, sizeof(text), "answered %s, errno %u: %s",
                         status_name(reply->status), reply->error, reply->text);
        else
                snprintf(text, sizeof(text), "%s",
                         outcome->answer == ANSWER_CLOSED ? "closed" : "no answer");
        *fault = text;
        return NULL;
}

/* The request was answered, but the connection can't receive any more. */
static bool is_closed_afterwards(struct rig *rig, struct trap_call call) {
        if (call.number != SYS_recvmsg || rig->alice < 0 || !rig_is_left(rig))
                return false;
        rig_hang_up(rig);
        return true;
}

static const char *judge_and_settle(struct rig *rig, const struct outcome *outcome,
                                    struct trap_call call, int error, const char **fault) {
        const char *verdict = judge_answer(outcome, call, error, fault);

        if (verdict && is_closed_afterwards(rig, call))
                verdict = "closed";
        if (rig->alice < 0 && !rig->kept)
                rig->lease = 0; /* ended with the connection */
        if (verdict)
                *fault = rig_find_fault(rig);
        return *fault ? NULL : verdict;
}

static void end_daemon(struct rig *rig, int signal) {
        if (rig->service.pid) {
                if (signal)
                        kill(rig->service.pid, signal);
                rig_await_end(rig);
                trap_leave();
        }
        rig->service.pid = 0;
        rig->fds = 0;
        rig_hang_up(rig);
        rig_dismiss(rig);
}

static void connected(struct rig *rig) {
        bool is_new = !rig->service.pid;

        if (is_new)
                rig_start(rig);
        if (rig->alice < 0)
                ck_assert(rig_connect(rig));
        if (rig->lease)
                ck_assert_uint_eq(rig_unmount(rig).reply.status, STATUS_OK);
        if (is_new)
                rig_measure(rig);
}

/* The first dev makes some ahead: those count as the daemon's own. */
static void connected_with_dev(struct rig *rig) {
        bool is_new = !rig->service.pid;

        connected(rig);
        if (is_new) {
                ck_assert_uint_eq(rig_mount_dev(rig).reply.status, STATUS_OK);
                ck_assert_uint_eq(rig_unmount(rig).reply.status, STATUS_OK);
                rig_measure(rig);
        }
}

static void finds_no_fault(const struct rig *rig) {
        const char *fault = rig_find_fault(rig);

        ck_assert_msg(!fault, "%s", fault);
}

static void disconnected(struct rig *rig) {
        connected(rig);
        rig_hang_up(rig);
        finds_no_fault(rig);
}

static void holding(struct rig *rig) {
        connected(rig);
        ck_assert_uint_eq(rig_mount(rig).reply.status, STATUS_OK);
        finds_no_fault(rig);
}

static void connected_elsewhere(struct rig *rig) {
        rig_make_elsewhere();
        connected(rig);
        if (rig->inside) {
                rig_hang_up(rig);
                connected(rig);
        }
}

/* And a network namespace owned by a user namespace that must be examined. */
static void connected_in_user_namespace(struct rig *rig) {
        static int network = -EBADF;

        if (network < 0 && !container_lacks(CONTAINER_MAPPED)) {
                struct container container = container_start(CONTAINER_MAPPED);

                network = container_open(&container, "net");
                container_kill(&container);
        }
        connected_elsewhere(rig);
        rig->network = network;
}

static void inside(struct rig *rig) {
        connected_elsewhere(rig);
        ck_assert_uint_eq(rig_enter(rig).reply.status, STATUS_OK);
        finds_no_fault(rig);
}

static void holding_inside(struct rig *rig) {
        inside(rig);
        ck_assert_uint_eq(rig_mount(rig).reply.status, STATUS_OK);
        finds_no_fault(rig);
}

static void holding_dev(struct rig *rig) {
        connected_with_dev(rig);
        ck_assert_uint_eq(rig_mount_dev(rig).reply.status, STATUS_OK);
        finds_no_fault(rig);
}

static void holding_for_good(struct rig *rig) {
        connected(rig);
        ck_assert_uint_eq(rig_mount_to_keep(rig).reply.status, STATUS_OK);
}

/* Held by an earlier connection; Alice has another. */
static void holding_from_before(struct rig *rig) {
        holding_for_good(rig);
        rig_hang_up(rig);
        ck_assert(rig_connect(rig));
        finds_no_fault(rig);
}

/* Only the spare thread is idle. */
static void disconnected_and_busy(struct rig *rig) {
        if (rig->n_guests > RIG_GUESTS_MAX / 2)
                rig_dismiss(rig);
        disconnected(rig);
        rig_occupy(rig);
}

/* One thread is idle besides the spare one. */
static void disconnected_at_rest(struct rig *rig) {
        disconnected(rig);
        if (rig_count_idle(rig) == 0) {
                rig_dismiss(rig);
                disconnected(rig);
        }
        ck_assert_uint_gt(rig_count_idle(rig), 0);
}

static struct outcome accept_one(struct rig *rig) {
        rig_reach(rig);
        return rig_hello(rig);
}

/* One more than her limit. */
static struct outcome accept_too_many(struct rig *rig) {
        struct rig again = *rig;
        struct outcome outcome;

        rig_reach(&again);
        outcome = rig_listen(&again);
        rig_hang_up(&again);
        return outcome;
}

/* She has also sent a descriptor, which a thread of its own must close. */
static struct outcome accept_too_many_with_descriptor(struct rig *rig) {
        struct rig again = *rig;
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        struct outcome outcome;

        rig_reach(&again);
        client_try_send(again.alice, "", 1, &null, 1);
        close(null);
        outcome = rig_listen(&again);
        rig_hang_up(&again);
        return outcome;
}

/* Several at once: the spare thread refuses one after the other. */
static struct outcome accept_without_thread(struct rig *rig) {
        struct rig visitors[3];
        struct outcome worst;

        trap_refuse_threads(EAGAIN);
        for (int i = 0; i < 3; i++) {
                visitors[i] = *rig;
                rig_reach(&visitors[i]);
        }
        for (int i = 0; i < 3; i++) {
                struct outcome outcome = rig_listen(&visitors[i]);

                rig_hang_up(&visitors[i]);
                if (i == 0 || outcome.answer > worst.answer ||
                    (outcome.answer == ANSWER_REPLY && outcome.reply.error != EAGAIN))
                        worst = outcome;
        }
        trap_refuse_threads(0);
        return worst;
}

static const char *judge_refusal(struct rig *rig, const struct outcome *outcome,
                                 const struct wire_reply *refusal, struct trap_call call, int error,
                                 const char **fault) {
        const struct wire_reply *reply = &outcome->reply;
        const char *verdict;

        if (outcome->answer == ANSWER_REPLY && reply->status == refusal->status &&
            reply->error == refusal->error)
                verdict = status_name(reply->status);
        else
                verdict = judge_answer(outcome, call, error, fault);
        if (outcome->answer == ANSWER_REPLY && reply->operation != PROTOCOL_UNASKED)
                *fault = "it isn't refused";
        if (!*fault)
                *fault = rig_find_fault(rig);
        return *fault ? NULL : verdict;
}

static const char *judge_too_many(struct rig *rig, const struct outcome *outcome,
                                  struct trap_call call, int error, const char **fault) {
        return judge_refusal(rig, outcome, &(struct wire_reply){.status = STATUS_LIMIT_EXCEEDED},
                             call, error, fault);
}

static const char *judge_without_thread(struct rig *rig, const struct outcome *outcome,
                                        struct trap_call call, int error, const char **fault) {
        const struct wire_reply refusal = {.status = STATUS_HOST_FAILED, .error = EAGAIN};

        return judge_refusal(rig, outcome, &refusal, call, error, fault);
}

static void limit_descriptors(const struct rig *rig, rlim_t limit) {
        struct rlimit limits;

        ck_assert_int_eq(prlimit(rig->service.pid, RLIMIT_NOFILE, NULL, &limits), 0);
        limits.rlim_cur = limit;
        ck_assert_int_eq(prlimit(rig->service.pid, RLIMIT_NOFILE, &limits, NULL), 0);
}

static unsigned count_accepts(void) {
        static struct trap_call calls[CALLS_MAX];
        size_t n = trap_calls(calls, CALLS_MAX);
        unsigned count = 0;

        for (size_t i = 0; i < n && i < CALLS_MAX; i++)
                count += calls[i].number == SYS_accept4;
        return count;
}

/*
 * No descriptor is left for a connection, and then one is: the daemon stops polling meanwhile. With
 * a call failed before, it may not get to accept(2).
 */
static struct outcome accept_one_later(struct rig *rig) {
        unsigned before = count_accepts();
        bool connected;

        limit_descriptors(rig, rig->fds);
        rig_reach(rig);
        for (int i = 0; i < REACH_MS && count_accepts() == before; i++)
                usleep(1000);
        usleep(20000); /* until it has stopped */
        limit_descriptors(rig, 1024);
        connected = rig_hello(rig).answer == ANSWER_REPLY;
        return (struct outcome){.answer = connected ? ANSWER_REPLY : ANSWER_CLOSED};
}

static struct outcome leave(struct rig *rig) {
        rig_hang_up(rig);
        rig->lease = 0;
        return (struct outcome){.answer = ANSWER_REPLY};
}

/* ---- routes that need a new daemon each time ---- */

/* Alice's lease, from a killed instance. */
static void left_lease(struct rig *rig) {
        if (rig->lease == 0)
                holding(rig);
        end_daemon(rig, SIGKILL);
}

static void left_lease_and_successor(struct rig *rig) {
        left_lease(rig);
        rig_start(rig);
        ck_assert(rig_connect(rig));
}

static void left_kept_lease(struct rig *rig) {
        if (rig->lease == 0)
                holding_for_good(rig);
        end_daemon(rig, SIGKILL);
}

static struct outcome adopt(struct rig *rig) {
        return rig_adopt(rig, rig->lease);
}

/* However an adoption failed, it can be tried again, unless the lease ended regularly. */
static const char *find_lost_lease(struct rig *rig, const struct outcome *outcome) {
        struct outcome again;

        if (outcome->answer == ANSWER_REPLY && outcome->reply.status == STATUS_OK)
                return rig_find_fault(rig);
        if (rig->alice < 0 && !rig_connect(rig))
                return "no connection afterwards";
        again = adopt(rig);
        if (again.answer == ANSWER_REPLY && again.reply.status == STATUS_NO_SUCH_LEASE &&
            outcome->answer == ANSWER_CLOSED)
                rig->lease = 0; /* adopted, and then released */
        else if (again.answer != ANSWER_REPLY || again.reply.status != STATUS_OK)
                return "the lease can't be adopted any more";
        return rig_find_fault(rig);
}

/* The same for a kept lease, though the next instance may have to look for it again. */
static const char *find_lost_kept_lease(struct rig *rig) {
        int64_t deadline = sandbox_now_ms() + RETRY_MS;
        struct outcome outcome;

        do {
                if (rig->alice < 0 && !rig_connect(rig))
                        return "no connection afterwards";
                outcome = rig_unmount(rig);
                if (outcome.answer == ANSWER_REPLY && outcome.reply.status == STATUS_OK)
                        return rig_find_fault(rig);
                usleep(10000);
        } while (sandbox_now_ms() < deadline);
        return "what is kept can't be unmounted any more";
}

static const char *judge_adoption(struct rig *rig, const struct outcome *outcome,
                                  struct trap_call call, int error, const char **fault) {
        const char *verdict = judge_answer(outcome, call, error, fault);

        if (verdict && is_closed_afterwards(rig, call)) {
                rig->lease = 0;
                *fault = rig_find_fault(rig);
        } else if (verdict)
                *fault = find_lost_lease(rig, outcome);
        return *fault ? NULL : verdict;
}

static struct outcome start(struct rig *rig) {
        rig_start(rig);
        return (struct outcome){.answer = rig_connect(rig) ? ANSWER_REPLY : ANSWER_CLOSED};
}

static bool has_said_something(const struct rig *rig) {
        struct stat log;

        return stat(rig->service.log, &log) == 0 && log.st_size > 0;
}

/* Otherwise it answers the next connection. */
static bool ends_soon(struct rig *rig) {
        for (int i = 0; i < 1000 && service_is_running(&rig->service); i++) {
                if (rig_connect(rig))
                        return false;
                usleep(1000);
        }
        return !service_is_running(&rig->service);
}

/* Checks for a clear exit without damage. */
static const char *find_unclear_end(struct rig *rig) {
        int status = rig_await_end(rig);

        rig->service.pid = 0;
        trap_leave();
        if (!WIFEXITED(status) || WEXITSTATUS(status) == 0)
                return "it doesn't end as it should";
        if (!has_said_something(rig))
                return "it ends without a word";
        return rig->lease ? rig_find_remains(rig, 2, 1) : NULL;
}

/*
 * Either it serves, and leases of the previous instance can be adopted; or it exits with a message.
 * A filter that doesn't know statmount returns EPERM, so that error is believed: such a daemon
 * can't know the mounts of one with unique ids, and leaves them alone.
 */
static const char *judge_start(struct rig *rig, const struct outcome *outcome,
                               struct trap_call call, int error, const char **fault) {
        const struct outcome nothing = {.answer = ANSWER_NOTHING};
        const char *verdict = outcome->answer == ANSWER_REPLY ? "served" : "closed";

        if (call.number == SYS_getdents64 && outcome->answer == ANSWER_REPLY)
                *fault = "it serves, and has not seen all of its threads";
        else if (outcome->answer != ANSWER_REPLY && ends_soon(rig)) {
                verdict = "exit";
                *fault = find_unclear_end(rig);
        } else if (strcmp(table_name(call), "statmount") == 0 && error == EPERM) {
                verdict = "served without ids";
                *fault = rig_find_remains(rig, 2, 1);
                end_daemon(rig, SIGKILL);
        }
        if (*fault)
                return NULL;
        trap_reset();
        if (!rig->service.pid)
                rig_start(rig);
        is_closed_afterwards(rig, call);
        *fault = rig->kept ? find_lost_kept_lease(rig) : find_lost_lease(rig, &nothing);
        if (truncate(rig->service.log, 0) < 0)
                *fault = "no log";
        return *fault ? NULL : verdict;
}

static void left_to_nobody(struct rig *rig) {
        left_lease(rig);
        ck_assert_ptr_null(rig_find_remains(rig, 2, 1));
}

/* The first tick sweeps. */
static struct outcome start_and_sweep(struct rig *rig) {
        rig_start(rig);
        for (int i = 0; i < 100 && service_is_running(&rig->service) && rig_find_remains(rig, 0, 0);
             i++)
                usleep(2000);
        return (struct outcome){.answer = ANSWER_REPLY};
}

/* By its first sweep, or at the latest by its last. */
static const char *judge_end(struct rig *rig, const struct outcome *outcome, struct trap_call call,
                             int error, const char **fault) {
        const char *verdict = rig_find_remains(rig, 0, 0) ? "later" : "served";
        int status;

        (void)outcome;
        (void)call;
        (void)error;
        kill(rig->service.pid, SIGTERM);
        status = rig_await_end(rig);
        rig->service.pid = 0;
        trap_leave();
        rig_hang_up(rig);
        rig->lease = 0;
        if (status != 0)
                *fault = "it doesn't end as it should";
        else
                *fault = rig_find_remains(rig, 0, 0);
        return *fault ? NULL : verdict;
}

static const char *judge_sweep(struct rig *rig, const struct outcome *outcome,
                               struct trap_call call, int error, const char **fault) {
        const char *verdict;

        if (service_is_running(&rig->service))
                return judge_end(rig, outcome, call, error, fault);
        *fault = find_unclear_end(rig);
        if (*fault)
                return NULL;
        trap_reset();
        start_and_sweep(rig);
        verdict = judge_end(rig, outcome, call, error, fault);
        return verdict ? "exit" : NULL;
}

static void holding_anew(struct rig *rig) {
        end_daemon(rig, SIGTERM);
        rig->lease = 0;
        holding(rig);
}

static void holding_for_good_anew(struct rig *rig) {
        end_daemon(rig, SIGTERM);
        rig->lease = 0;
        holding_for_good(rig);
}

static struct outcome stop(struct rig *rig) {
        kill(rig->service.pid, SIGTERM);
        return (struct outcome){.answer = ANSWER_REPLY};
}

/* ---- over D-Bus ---- */

static void on_bus(struct rig *rig) {
        bool is_new = !rig->service.pid;

        if (is_new)
                rig_start(rig);
        ck_assert_msg(caller_await(rig), "the daemon isn't on the bus");
        if (rig->lease)
                ck_assert_uint_eq(caller_tidy(rig).answer, ANSWER_REPLY);
        if (is_new)
                rig_measure(rig);
}

static void holding_on_bus(struct rig *rig) {
        on_bus(rig);
        ck_assert_uint_eq(caller_mount(rig).answer, ANSWER_REPLY);
        ck_assert_ptr_null(caller_find_fault(rig));
}

/* For Alice, over the socket: she has disconnected, and unmounts over D-Bus. */
static void kept_on_bus(struct rig *rig) {
        on_bus(rig);
        ck_assert(rig_connect(rig));
        ck_assert_uint_eq(rig_mount_to_keep(rig).reply.status, STATUS_OK);
        rig_hang_up(rig);
        ck_assert_ptr_null(caller_find_fault(rig));
}

/* Without these there is no connection to the bus, which then answers pending calls itself. */
static const int bus_carrying[] = {SYS_recvmsg, SYS_sendmsg,      SYS_epoll_ctl,
                                   SYS_mmap,    SYS_epoll_wait,   SYS_epoll_pwait,
                                   SYS_ppoll,   SYS_epoll_pwait2, 0};

static bool is_disconnection(const struct outcome *outcome, struct trap_call call) {
        return strcmp(outcome->error, "org.freedesktop.DBus.Error.NoReply") == 0 &&
               is_any(call.number, bus_carrying);
}

/* A named error of the method's, or the errno's own. */
static const char *judge_error(const struct outcome *outcome, struct trap_call call, int error) {
        static const struct {
                const char *name;
                int call, error; /* 0: any */
        } known[] = {
                {"org.mountat1.Error.HostFailed", 0, 0},
                {"org.mountat1.Error.TargetVanished", SYS_move_mount, ENOENT},
                {"org.mountat1.Error.TargetVanished", SYS_openat2, ENOENT},
                {"org.mountat1.Error.NotADirectory", SYS_move_mount, ENOTDIR},
                {"org.mountat1.Error.NotADirectory", SYS_openat2, ELOOP},
                {"org.mountat1.Error.NotAuthorised", SYS_openat2, EACCES},
        };

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
                if (strcmp(outcome->error, known[i].name) == 0 &&
                    (!known[i].call || known[i].call == call.number) &&
                    (!known[i].error || known[i].error == error))
                        return strrchr(known[i].name, '.') + 1;
        if (strncmp(outcome->error, "org.mountat1.", 13) != 0 && (int)outcome->reply.error == error)
                return strerrorname_np(error);
        return is_disconnection(outcome, call) ? "disconnected" : NULL;
}

static const char *judge_call(struct rig *rig, const struct outcome *outcome, struct trap_call call,
                              int error, const char **fault) {
        static char text[512];
        const char *verdict =
                outcome->answer == ANSWER_REPLY ? "served" : judge_error(outcome, call, error);

        if (verdict)
                *fault = caller_find_fault(rig);
        else {
                snprintf(text, sizeof(text), "answered %s: %s", outcome->error,
                         outcome->reply.text);
                *fault = text;
        }
        return *fault ? NULL : verdict;
}

static const char *judge_list(struct rig *rig, const struct outcome *outcome, struct trap_call call,
                              int error, const char **fault) {
        if (outcome->answer == ANSWER_REPLY && !outcome->listed)
                *fault = "the lease isn't in the list";
        return *fault ? NULL : judge_call(rig, outcome, call, error, fault);
}

/* Regularly: otherwise a leftover socket would be examined. */
static void ended(struct rig *rig) {
        end_daemon(rig, SIGTERM);
        unlink(sandbox_path("%s.socket", bus_plan.name));
}

static struct outcome start_on_bus(struct rig *rig) {
        rig_start(rig);
        caller_await(rig);
        return (struct outcome){.answer = ANSWER_REPLY};
}

/* It gets onto the bus, on its next retry at the latest; or there is a clear exit. */
static const char *judge_start_on_bus(struct rig *rig, const struct outcome *outcome,
                                      struct trap_call call, int error, const char **fault) {
        int status;

        (void)outcome;
        (void)call;
        (void)error;
        if (!service_is_running(&rig->service)) {
                *fault = find_unclear_end(rig);
                return *fault ? NULL : "exit";
        }
        *fault = caller_find_fault(rig);
        kill(rig->service.pid, SIGTERM);
        status = rig_await_end(rig);
        rig->service.pid = 0;
        trap_leave();
        if (!*fault && status != 0)
                *fault = "it doesn't end as it should";
        if (truncate(rig->service.log, 0) < 0)
                *fault = "no log";
        return *fault ? NULL : "served";
}

static const struct route routes[] = {
        {"accept", &plan, disconnected_and_busy, accept_one, judge_and_settle},
        {"accept (idle)", &plan, disconnected_at_rest, accept_one, judge_and_settle},
        {"accept later", &plan, disconnected, accept_one_later, judge_and_settle},
        {"refuse", &limited_plan, connected, accept_too_many, judge_too_many},
        {"refuse (queue)", &limited_plan, connected, accept_too_many_with_descriptor,
         judge_too_many},
        {"refuse (no thread)", &plan, disconnected_and_busy, accept_without_thread,
         judge_without_thread},
        {"hello", &plan, connected, rig_hello, judge_and_settle},
        {"check", &plan, connected, rig_check, judge_and_settle},
        {"mount", &plan, connected, rig_mount, judge_and_settle},
        {"mount (fallback)", &old_plan, connected, rig_mount, judge_and_settle},
        {"mount (dev)", &plan, connected_with_dev, rig_mount_dev, judge_and_settle},
        {"enter", &joining_plan, connected_elsewhere, rig_enter, judge_and_settle},
        {"enter (user namespace)", &joining_plan, connected_in_user_namespace, rig_enter,
         judge_and_settle},
        {"mount (joined)", &joining_plan, inside, rig_mount, judge_and_settle},
        {"keep", &plan, connected, rig_mount_to_keep, judge_and_settle},
        {"unmount", &plan, holding, rig_unmount, judge_and_settle},
        {"unmount (fallback)", &old_plan, holding, rig_unmount, judge_and_settle},
        {"unmount (dev)", &plan, holding_dev, rig_unmount, judge_and_settle},
        {"unmount (joined)", &joining_plan, holding_inside, rig_unmount, judge_and_settle},
        {"unmount (kept)", &plan, holding_from_before, rig_unmount, judge_and_settle},
        {"disconnect", &plan, holding, leave, judge_and_settle},
        {"disconnect (joined)", &joining_plan, holding_inside, leave, judge_and_settle},
        {"adopt", &plan, left_lease_and_successor, adopt, judge_adoption},
        {"adopt (fallback)", &old_plan, left_lease_and_successor, adopt, judge_adoption},
        {"sweep", &sweeping_plan, left_to_nobody, start_and_sweep, judge_sweep},
        {"start", &plan, left_lease, start, judge_start},
        {"start (kept)", &plan, left_kept_lease, start, judge_start},
        {"stop", &plan, holding_anew, stop, judge_end},
        {"stop (kept)", &plan, holding_for_good_anew, stop, judge_end},
        {"bus mount", &bus_plan, on_bus, caller_mount, judge_call},
        {"bus unmount", &bus_plan, kept_on_bus, caller_unmount, judge_call},
        {"bus unmount (path)", &bus_plan, holding_on_bus, caller_unmount_path, judge_call},
        {"bus list", &bus_plan, holding_on_bus, caller_list, judge_list},
        {"bus start", &bus_plan, ended, start_on_bus, judge_start_on_bus},
};

/* ---- the table ---- */

struct line {
        struct trap_call call;
        int error;
        unsigned places, missed, faults;
        struct {
                const char *name;
                unsigned count;
        } verdicts[VERDICTS_MAX];
};

static unsigned n_calls, n_injections, n_missed, n_faults;
static unsigned n_lines, n_unreached; /* of which most places weren't reached */
static unsigned n_unreached_calls;    /* of which no place was reached, with no error */

static void note(struct line *line, const char *verdict) {
        unsigned i = 0;

        while (i + 1 < VERDICTS_MAX && line->verdicts[i].name &&
               strcmp(line->verdicts[i].name, verdict) != 0)
                i++;
        line->verdicts[i].name = verdict;
        line->verdicts[i].count++;
}

static void print_line(const struct route *route, const struct line *line) {
        printf("%-18s %-16s %-13s %3u:", route->name, table_name(line->call),
               strerrorname_np(line->error), line->places);
        for (unsigned i = 0; i < VERDICTS_MAX && line->verdicts[i].name; i++)
                printf(" %s %u", line->verdicts[i].name, line->verdicts[i].count);
        if (line->missed > 0)
                printf(" not reached %u", line->missed);
        if (line->faults > 0)
                printf(" FAULTS %u", line->faults);
        putchar('\n');
        fflush(stdout);
}

/* After a fault: as in the beginning. */
static void clear(struct rig *rig) {
        char state[256];

        trap_reset();
        end_daemon(rig, SIGKILL);
        rig->lease = 0;
        while (umount2(sandbox_path("root/proc"), MNT_DETACH) == 0 ||
               umount2(sandbox_path("root/sys"), MNT_DETACH) == 0 ||
               umount2(sandbox_path("root/dev"), MNT_DETACH) == 0)
                continue;
        snprintf(state, sizeof(state), "%s/state", rig->service.runtime);
        unlink(state);
}

static void tell_fault(const struct route *route, struct line *line, unsigned n,
                       const char *fault) {
        printf("FAULT: %s: %s, place %u, %s: %s\n", route->name, table_name(line->call), n,
               strerrorname_np(line->error), fault);
        fflush(stdout);
        line->faults++;
        n_faults++;
}

/* One try. True: the call was reached, or there was a fault. */
static bool try_place(struct rig *rig, const struct route *route, struct line *line, unsigned n) {
        const char *verdict, *fault = NULL;
        struct outcome outcome;
        bool sprung;

        trap_reset();
        route->prepare(rig);
        rig_settle(rig); /* the aftermath of its answers is no part of the route */
        trap_order(line->call, n, line->error, 0);
        outcome = route->act(rig);
        /* Waits for the aftermath of the answer; a call of the tick comes with the next one. */
        for (int i = 0; i < REACH_MS && !trap_has_sprung() && service_is_running(&rig->service);
             i++)
                usleep(1000);
        sprung = trap_has_sprung();
        verdict = route->judge(rig, &outcome, line->call, line->error, &fault);
        if (!verdict) {
                tell_fault(route, line, n, fault);
                clear(rig);
                return true;
        }
        if (sprung)
                note(line, verdict);
        return sprung;
}

/*
 * Calls that a thread makes once in its life are reached only in a daemon as new as the recorded
 * one.
 */
static void inject(struct rig *rig, const struct route *route, struct line *line, unsigned n) {
        bool reached = try_place(rig, route, line, n);

        for (int i = 0; i < RETRIES && !reached; i++) {
                end_daemon(rig, SIGTERM);
                rig->lease = 0;
                reached = try_place(rig, route, line, n);
        }
        line->places++;
        n_injections++;
        line->missed += !reached;
        n_missed += !reached;
}

/*
 * Where a route begins for a daemon that is just started: main() begins by blocking signals, the
 * calls before are ld.so's. With a kept lease, the differences begin with the new state file; for a
 * daemon that is to sweep, or to get onto the bus, after its first two threads, the log's and the
 * spare one.
 */
static size_t find_begin(const struct route *route, const struct trap_call *calls, size_t n) {
        size_t begin = 0, n_threads = 0;

        if (route->prepare == left_kept_lease)
                while (begin < n && calls[begin].number != SYS_fallocate)
                        begin++;
        else if (route->judge == judge_start)
                while (begin < n && calls[begin].number != SYS_rt_sigprocmask)
                        begin++;
        if (route->judge == judge_sweep || route->judge == judge_start_on_bus)
                while (begin < n && n_threads < 2)
                        n_threads += is_any(calls[begin++].number,
                                            (const int[]){SYS_clone, SYS_clone3, 0});
        return begin;
}

static unsigned count_calls(const struct trap_call *calls, size_t n, struct trap_call call) {
        unsigned count = 0;

        for (size_t i = 0; i < n; i++)
                count += calls[i].number == call.number && calls[i].subject == call.subject;
        return count;
}

static bool is_for_runtime(struct trap_call call) {
        static const int calls[] = {SYS_mmap, SYS_mprotect, SYS_munmap, SYS_mremap, SYS_madvise, 0};

        return is_any(call.number, calls);
}

static bool is_like_another(const struct route *route) {
        return route->judge == judge_list || route->act == caller_unmount ||
               route->act == caller_unmount_path;
}

static bool is_left_out(const struct route *route, const struct table_row *row, const char **why) {
        *why = row->never;
        if (!*why && IN_PART && is_for_runtime(row->call))
                *why = "tried in another build";
        if (!*why && is_like_another(route) && row->call.number != SYS_sendmsg &&
            is_any(row->call.number, bus_carrying))
                *why = "tried where MountPath is called";
        return *why;
}

/*
 * Routes that take a second, and those that are much the same at each place, are tried at only a
 * few places of a call; and of more than a hundred places, which are a loop over all capabilities
 * in each thread, every third is.
 */
static unsigned find_stride(const struct route *route, struct trap_call call, unsigned places) {
        unsigned few = places > 100 ? places / 3 : places;

        if (route->judge == judge_start_on_bus)
                few = is_any(call.number, bus_carrying) ? 1 : 4;
        else if (route->judge == judge_call && call.number == SYS_recvmsg)
                few = 2;
        else if (route->prepare == left_kept_lease)
                few = 4;
        return (places + few - 1) / few;
}

/* At `places` places, after the first `before`. */
static void try_call(struct rig *rig, const struct route *route, struct trap_call call,
                     unsigned before, unsigned places) {
        const struct table_row *row = table_find(call);
        unsigned reached = 0, stride = find_stride(route, call, places);
        int errors[TABLE_ERRORS_MAX];
        const char *why;

        if (!row && IN_PART)
                return; /* the runtime's own */
        ck_assert_msg(row != NULL, "%s: the table doesn't know %s", route->name, table_name(call));
        n_calls++;
        if (is_left_out(route, row, &why)) {
                printf("%-18s %-16s %3u places: %s\n", route->name, row->name, places, why);
                return;
        }
        table_errors(row, errors);
        for (const int *error = errors; *error; error++) {
                struct line line = {.call = call, .error = *error};

                for (unsigned n = 1; n <= places; n += stride)
                        inject(rig, route, &line, before + n);
                print_line(route, &line);
                n_lines++;
                n_unreached += line.missed * 2 > line.places;
                reached += line.places - line.missed;
        }
        if (reached == 0 && !is_for_runtime(call)) { /* malloc(3) decides by itself when to call */
                printf("%-18s %-16s was never reached\n", route->name, row->name);
                n_unreached_calls++;
        }
}

/* Waits until the daemon makes no more calls; returns the number since the reset. */
static size_t await_quiet(struct trap_call *calls) {
        size_t n = trap_calls(calls, CALLS_MAX), before;

        do {
                before = n;
                usleep(SETTLING_US);
                n = trap_calls(calls, CALLS_MAX);
        } while (n != before);
        return n;
}

/* A run without faults, to record its calls. */
static size_t record(struct rig *rig, const struct route *route, struct trap_call *calls) {
        const char *fault = NULL;
        struct outcome outcome;
        size_t n;

        trap_reset();
        route->prepare(rig);
        rig_settle(rig);
        await_quiet(calls);
        trap_reset();
        outcome = route->act(rig);
        n = await_quiet(calls);
        ck_assert_msg(route->judge(rig, &outcome, (struct trap_call){0}, 0, &fault) != NULL,
                      "%s, with nothing failed: %s", route->name, fault);
        ck_assert_uint_le(n, CALLS_MAX);
        return n;
}

static void try_route(const struct route *route) {
        static struct trap_call calls[CALLS_MAX];
        struct rig rig;
        size_t n, begin;

        rig_prepare(&rig, route->plan);
        n = record(&rig, route, calls);
        begin = find_begin(route, calls, n);
        ck_assert_msg(begin < n, "%s has no calls", route->name);
        for (size_t i = begin; i < n; i++)
                if (count_calls(calls + begin, i - begin, calls[i]) == 0)
                        try_call(&rig, route, calls[i], count_calls(calls, begin, calls[i]),
                                 count_calls(calls + begin, n - begin, calls[i]));
        clear(&rig);
}

/* Those with a new daemon each time, and those much like another route. */
static bool takes_long(const struct route *route) {
        return route->judge == judge_start || route->judge == judge_sweep ||
               route->judge == judge_end || route->judge == judge_start_on_bus ||
               is_like_another(route);
}

/* What a failed unmount leaves there, the daemon's end takes only if it can find the namespace. */
static bool is_possible(const struct route *route) {
        if (route->prepare != holding_inside || route->act != leave || container_can_be_found())
                return true;
        test_skip_report(route->name, "impossible here: the kernel lists no mount namespaces");
        return false;
}

static void try_routes(bool on_bus) {
        const char *only = getenv("MOUNTATD_FAULTS");
        int64_t begin = sandbox_now_ms();
        unsigned n_routes = 0;
        bool known = !only;

        for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
                known = known || strcmp(only, routes[i].name) == 0;
                if ((routes[i].plan == &bus_plan) != on_bus ||
                    (IN_PART && takes_long(&routes[i])) ||
                    (only && strcmp(only, routes[i].name) != 0) || !is_possible(&routes[i]))
                        continue;
                try_route(&routes[i]);
                n_routes++;
        }
        printf("%u routes, %u calls, %u failures injected, %u of them not reached, %u faults, in "
               "%.1f s\n",
               n_routes, n_calls, n_injections, n_missed, n_faults,
               (sandbox_now_ms() - begin) / 1000.0);
        fflush(stdout);
        ck_assert_uint_eq(n_faults, 0);
        ck_assert_msg(known, "there is no route %s", only);
        ck_assert(only || n_routes > 0);
        ck_assert(n_routes == 0 || n_injections > 0);
        ck_assert_uint_eq(n_unreached_calls, 0);
        ck_assert_uint_le(n_unreached, n_lines / 50 + 1);
        ck_assert_uint_le(n_missed, n_injections / 50 + 2);
}

SANDBOX_TEST(every_call_fails_once_and_nothing_is_left) {
        try_routes(false);
}

SANDBOX_TEST(every_call_of_a_call_over_dbus_fails_once) {
        if (!caller_is_possible())
                test_skip("dbus-daemon is not installed");
        caller_prepare();
        try_routes(true);
        caller_finish();
}

int main(void) {
        TCase *tests = tcase_create("faults");

        tcase_add_test(tests, every_call_fails_once_and_nothing_is_left);
        tcase_add_test(tests, every_call_of_a_call_over_dbus_fails_once);
        return sandbox_run(tests);
}
