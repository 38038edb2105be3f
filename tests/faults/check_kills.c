/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The real daemon is killed, restarted and stopped (SIGKILL, SIGUSR1, SIGTERM) just before each
 * system call on each of its routes. Then another one takes over, and the state file, the mounts
 * and the client's answers must agree: leases that the client holds can be adopted, and of those it
 * never got an answer for nothing is left. Leases kept for a user can be unmounted, and end with a
 * stop; over D-Bus they are also listed, with or without an answer. The same must hold inside the
 * mount namespace of a client in another one than the daemon's.
 *
 * Not covered: kernels that lack calls, which only check_faults tries; UnmountPath; a daemon that
 * waits for its bus.
 */

#include "common/fd.h"
#include "tests/faults/inject/caller.h"
#include "tests/faults/inject/rig.h"
#include "tests/faults/inject/trap.h"
#include "tests/test.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum {
/* Every call in one build; in the slower builds only a part. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__clang__)
        STRIDE = 10,
        ROUTE_MISSED = 2, /* the part that may be missed: a runtime exits in its own ways */
        ALL_MISSED = 5,
#else
        STRIDE = 1,
        ROUTE_MISSED = 5,
        ALL_MISSED = 10,
#endif
        CALLS_MAX = 4096,
        MOUNTS = 2,      /* of Alice's lease */
        REACH_MS = 1000, /* for a call to be reached */
        RETRIES = 2,     /* of a call that wasn't reached, since the order of threads varies */
};

/* The victim; a next instance that clients adopt from, and one that sweeps at once. */
static const struct service_plan victim = {
        .name = "kills",
        .start = SERVICE_LISTENS,
        .enter = trap_enter,
        .attend = trap_attend,
};

static const struct service_plan sweeping_victim = {
        .name = "kills",
        .start = SERVICE_LISTENS,
        .options = {"--adopt-timeout=0"},
        .enter = trap_enter,
        .attend = trap_attend,
};

static const struct service_plan limited_victim = {
        .name = "kills",
        .start = SERVICE_LISTENS,
        .options = {"--max-connections-per-user=1"},
        .enter = trap_enter,
        .attend = trap_attend,
};

static const struct service_plan heir = {
        .name = "kills",
        .start = SERVICE_LISTENS,
};

static const struct service_plan sweeper = {
        .name = "kills",
        .start = SERVICE_LISTENS,
        .options = {"--adopt-timeout=0"},
};

/* The same in another mount namespace than Alice's, which they have to enter. */
static void enter_elsewhere(void) {
        rig_go_elsewhere();
        trap_enter();
}

static const struct service_plan joining_victim = {
        .name = "kills",
        .start = SERVICE_LISTENS,
        .options = {"--join=60001"},
        .enter = enter_elsewhere,
        .attend = trap_attend,
};

static const struct service_plan joining_sweeping_victim = {
        .name = "kills",
        .start = SERVICE_LISTENS,
        .options = {"--join=60001", "--adopt-timeout=0"},
        .enter = enter_elsewhere,
        .attend = trap_attend,
};

static const struct service_plan joining_heir = {
        .name = "kills",
        .start = SERVICE_LISTENS,
        .options = {"--join=60001"},
        .enter = rig_go_elsewhere,
};

static const struct service_plan joining_sweeper = {
        .name = "kills",
        .start = SERVICE_LISTENS,
        .options = {"--join=60001", "--adopt-timeout=0"},
        .enter = rig_go_elsewhere,
};

/* On the bus; half-made leases of the previous instance are swept at once, live ones are kept. */
static const struct service_plan bus_victim = {
        .name = "kills",
        .start = SERVICE_LISTENS,
        .unnamed = true,
        .enter = trap_enter,
        .attend = trap_attend,
};

static const struct service_plan bus_heir = {
        .name = "kills",
        .start = SERVICE_LISTENS,
        .options = {"--adopt-timeout=0"},
        .unnamed = true,
};

/* What Alice assumes while she has no answer. */
enum belief {
        HOLDS,
        IN_DOUBT, /* no answer yet: she claims nothing, or looks at the list of leases */
        HOLDS_NOTHING,
};

static enum belief belief;

static bool is_ok(const struct outcome *outcome) {
        return outcome->answer == ANSWER_REPLY && outcome->reply.status == STATUS_OK;
}

/* ---- the starts of routes ---- */

static void start(struct rig *rig, const struct service_plan *plan) {
        rig->plan = plan;
        rig_start(rig);
}

static void end(struct rig *rig, int signal) {
        bool trapped = rig->plan->attend;

        rig_end(rig, signal);
        if (trapped)
                trap_leave();
        rig->service.pid = 0;
        rig_hang_up(rig);
}

static void fresh(struct rig *rig) {
        start(rig, &victim);
        belief = HOLDS_NOTHING;
}

static void idle_with(struct rig *rig, const struct service_plan *plan) {
        start(rig, plan);
        ck_assert_msg(rig_connect(rig), "no connection to a daemon that %s",
                      service_is_running(&rig->service) ? "runs" : "has ended");
        belief = HOLDS_NOTHING;
}

static void idle(struct rig *rig) {
        idle_with(rig, &victim);
}

static void at_limit(struct rig *rig) {
        idle_with(rig, &limited_victim);
}

static void keep_one(struct rig *rig) {
        struct outcome outcome = rig_mount_to_keep(rig);

        ck_assert(is_ok(&outcome));
        belief = HOLDS;
}

static void keeping(struct rig *rig) {
        idle(rig);
        keep_one(rig);
}

static void keeping_from_before(struct rig *rig) {
        keeping(rig);
        rig_hang_up(rig);
        ck_assert(rig_connect(rig));
}

static void holding(struct rig *rig) {
        struct outcome outcome;

        idle(rig);
        outcome = rig_mount(rig);
        ck_assert(is_ok(&outcome));
        belief = HOLDS;
}

static void left_lease(struct rig *rig) {
        struct outcome outcome;

        start(rig, &heir);
        ck_assert(rig_connect(rig));
        outcome = rig_mount(rig);
        ck_assert(is_ok(&outcome));
        end(rig, SIGKILL);
        belief = HOLDS;
}

static void idle_elsewhere(struct rig *rig) {
        rig_make_elsewhere();
        idle_with(rig, &joining_victim);
}

static void entered(struct rig *rig) {
        struct outcome outcome = rig_enter(rig);

        ck_assert(is_ok(&outcome));
}

static void inside(struct rig *rig) {
        idle_elsewhere(rig);
        entered(rig);
}

static void hold_inside(struct rig *rig) {
        struct outcome outcome = rig_mount(rig);

        ck_assert(is_ok(&outcome));
        belief = HOLDS;
}

static void holding_inside(struct rig *rig) {
        inside(rig);
        hold_inside(rig);
}

static void left_inside(struct rig *rig) {
        rig_make_elsewhere();
        start(rig, &joining_heir);
        ck_assert(rig_connect(rig));
        entered(rig);
        hold_inside(rig);
        end(rig, SIGKILL);
}

static void left_inside_to_successor(struct rig *rig) {
        left_inside(rig);
        start(rig, &joining_victim);
        ck_assert(rig_connect(rig));
        entered(rig);
}

static void left_inside_to_nobody(struct rig *rig) {
        left_inside(rig);
        belief = HOLDS_NOTHING;
}

static void left_kept_lease(struct rig *rig) {
        start(rig, &heir);
        ck_assert(rig_connect(rig));
        keep_one(rig);
        end(rig, SIGKILL);
}

static void left_to_successor(struct rig *rig) {
        left_lease(rig);
        start(rig, &victim);
        ck_assert(rig_connect(rig));
}

static void left_to_nobody(struct rig *rig) {
        left_lease(rig);
        belief = HOLDS_NOTHING; /* she has disconnected */
}

/* The thread that served her is idle. */
static void left_by_client(struct rig *rig) {
        idle(rig);
        rig_hang_up(rig);
}

static void idle_on_bus(struct rig *rig) {
        start(rig, &bus_victim);
        ck_assert_msg(caller_await(rig), "the daemon isn't on the bus");
        belief = HOLDS_NOTHING;
}

static void holding_on_bus(struct rig *rig) {
        idle_on_bus(rig);
        ck_assert_uint_eq(caller_mount(rig).answer, ANSWER_REPLY);
        belief = HOLDS;
}

static void left_on_bus(struct rig *rig) {
        start(rig, &bus_heir);
        ck_assert(caller_await(rig));
        ck_assert_uint_eq(caller_mount(rig).answer, ANSWER_REPLY);
        end(rig, SIGKILL);
        belief = HOLDS;
}

/* ---- the routes ---- */

static void come(struct rig *rig) {
        rig_connect(rig);
}

static void come_again(struct rig *rig) {
        struct rig again = *rig;

        rig_reach(&again);
        rig_listen(&again);
        rig_hang_up(&again);
}

static void believe(const struct outcome *outcome) {
        belief = is_ok(outcome)                    ? HOLDS
                 : outcome->answer == ANSWER_REPLY ? HOLDS_NOTHING
                                                   : IN_DOUBT;
}

static void enter_namespaces(struct rig *rig) {
        rig_enter(rig);
}

static void mount_root(struct rig *rig) {
        struct outcome outcome = rig_mount(rig);

        believe(&outcome);
}

static void keep_root(struct rig *rig) {
        struct outcome outcome = rig_mount_to_keep(rig);

        believe(&outcome);
}

/* In one piece: nobody adopts its root here, so it must go as a whole. */
static void mount_dev(struct rig *rig) {
        rig_mount_dev(rig);
        belief = IN_DOUBT;
}

static void check_root(struct rig *rig) {
        rig_check(rig);
}

static void unmount_root(struct rig *rig) {
        struct outcome outcome = rig_unmount(rig);

        belief = is_ok(&outcome) ? HOLDS_NOTHING : IN_DOUBT;
}

static void adopt_lease(struct rig *rig) {
        struct outcome outcome = rig_adopt(rig, rig->lease);

        belief = outcome.answer == ANSWER_REPLY && outcome.reply.status == STATUS_NO_SUCH_LEASE
                         ? HOLDS_NOTHING
                         : HOLDS;
}

static void leave(struct rig *rig) {
        rig_hang_up(rig);
        belief = HOLDS_NOTHING;
        for (int i = 0; i < 50 && rig_find_remains(rig, 0, 0) && service_is_running(&rig->service);
             i++)
                usleep(1000);
}

static void start_to_sweep(struct rig *rig, const struct service_plan *plan) {
        start(rig, plan);
        for (int i = 0; i < 300 && rig_find_remains(rig, 0, 0) && service_is_running(&rig->service);
             i++)
                usleep(1000);
}

static void start_and_sweep(struct rig *rig) {
        start_to_sweep(rig, &sweeping_victim);
}

static void start_and_sweep_inside(struct rig *rig) {
        start_to_sweep(rig, &joining_sweeping_victim);
}

static void take_over(struct rig *rig) {
        start(rig, &victim);
        if (rig_connect(rig))
                adopt_lease(rig);
}

static void take_over_kept(struct rig *rig) {
        start(rig, &victim);
        rig_connect(rig);
}

static void stop(struct rig *rig) {
        kill(rig->service.pid, SIGTERM);
        belief = HOLDS_NOTHING;
        for (int i = 0; i < 2000 && service_is_running(&rig->service); i++)
                usleep(1000);
}

/* A kept lease ends with a stop that isn't killed. */
static void stop_keeping(struct rig *rig) {
        stop(rig);
        belief = IN_DOUBT;
}

static bool is_unanswered(const struct outcome *outcome) {
        return strcmp(outcome->error, "org.freedesktop.DBus.Error.NoReply") == 0;
}

static void mount_on_bus(struct rig *rig) {
        struct outcome outcome = caller_mount(rig);

        belief = outcome.answer == ANSWER_REPLY ? HOLDS
                 : is_unanswered(&outcome)      ? IN_DOUBT
                                                : HOLDS_NOTHING;
}

static void unmount_on_bus(struct rig *rig) {
        uint64_t lease = rig->lease;
        struct outcome outcome = caller_tidy(rig);

        belief = outcome.answer == ANSWER_REPLY ? HOLDS_NOTHING : IN_DOUBT;
        rig->lease = lease;
}

static void list_on_bus(struct rig *rig) {
        caller_list(rig); /* empty if a stop has released everything by then */
}

static void start_on_bus(struct rig *rig) {
        start(rig, &bus_victim);
        caller_await(rig);
}

static const struct route {
        const char *name;
        void (*prepare)(struct rig *rig);
        void (*act)(struct rig *rig);
        enum {
                HELD, /* by the connection */
                HELD_INSIDE,
                KEPT, /* for Alice */
                ON_BUS,
        } lease;
} routes[] = {
        {"accept", fresh, come},
        {"accept (idle)", left_by_client, come},
        {"refuse", at_limit, come_again},
        {"check", idle, check_root},
        {"mount", idle, mount_root},
        {"mount (dev)", idle, mount_dev},
        {"keep", idle, keep_root, KEPT},
        {"unmount", holding, unmount_root},
        {"unmount (kept)", keeping_from_before, unmount_root, KEPT},
        {"disconnect", holding, leave},
        {"adopt", left_to_successor, adopt_lease},
        {"sweep", left_to_nobody, start_and_sweep},
        {"start", left_lease, take_over},
        {"start (kept)", left_kept_lease, take_over_kept, KEPT},
        {"stop", holding, stop},
        {"stop (kept)", keeping, stop_keeping, KEPT},
        {"enter", idle_elsewhere, enter_namespaces, HELD_INSIDE},
        {"mount (joined)", inside, mount_root, HELD_INSIDE},
        {"unmount (joined)", holding_inside, unmount_root, HELD_INSIDE},
        {"disconnect (joined)", holding_inside, leave, HELD_INSIDE},
        {"adopt (joined)", left_inside_to_successor, adopt_lease, HELD_INSIDE},
        {"sweep (joined)", left_inside_to_nobody, start_and_sweep_inside, HELD_INSIDE},
        {"stop (joined)", holding_inside, stop, HELD_INSIDE},
        {"bus mount", idle_on_bus, mount_on_bus, ON_BUS},
        {"bus unmount", holding_on_bus, unmount_on_bus, ON_BUS},
        {"bus list", holding_on_bus, list_on_bus, ON_BUS},
        {"bus start", left_on_bus, start_on_bus, ON_BUS},
};

/* ---- afterwards ---- */

static const char *expect_nothing(struct rig *rig) {
        for (int i = 0; i < SANDBOX_WAIT_MS && rig_find_remains(rig, 0, 0); i++)
                usleep(1000);
        return rig_find_remains(rig, 0, 0);
}

/* Every thread that has been inside has left. */
static const char *expect_namespace_let_go(struct rig *rig) {
        rig_hang_up(rig);
        for (int i = 0; i < SANDBOX_WAIT_MS && rig_keeps_namespace(rig); i++)
                usleep(1000);
        return rig_keeps_namespace(rig) ? "a mount namespace is kept" : NULL;
}

/* Connected to the next instance, and in her namespaces if she needs that. */
static bool reach_next(struct rig *rig, bool is_inside) {
        struct outcome outcome = {.answer = ANSWER_REPLY};

        start(rig, is_inside ? &joining_heir : &heir);
        if (!rig_connect(rig))
                return false;
        if (is_inside)
                outcome = rig_enter(rig);
        return is_ok(&outcome);
}

/*
 * With the next instance: what Alice holds she can adopt, and nothing else is on record; otherwise
 * everything that is left is swept.
 */
static const char *find_disagreement(struct rig *rig, bool is_inside, bool may_have_ended) {
        struct outcome outcome = {0};
        const char *fault = NULL;

        if (belief == HOLDS) {
                if (!reach_next(rig, is_inside))
                        return "no connection to the next instance";
                outcome = rig_adopt(rig, rig->lease);
                if (is_ok(&outcome)) {
                        fault = rig_find_remains(rig, MOUNTS, 1);
                        outcome = rig_unmount(rig);
                        if (!fault && !is_ok(&outcome))
                                fault = "what was adopted can't be unmounted";
                } else if (!may_have_ended)
                        fault = "what she holds can't be adopted";
        } else
                start(rig, is_inside ? &joining_sweeper : &sweeper);
        fault = fault ?: expect_nothing(rig);
        fault = fault ?: expect_namespace_let_go(rig);
        end(rig, SIGTERM);
        return fault ?: rig_find_remains(rig, 0, 0);
}

/* If the next instance has to look for it again, it does so within a second. */
static bool can_be_unmounted_again(struct rig *rig) {
        for (int i = 0; i < SANDBOX_WAIT_MS / 10; i++) {
                struct outcome outcome = rig_unmount(rig);

                if (is_ok(&outcome))
                        return true;
                usleep(10000);
        }
        return false;
}

/* Alice unmounts a lease kept for her; one that she isn't sure of ends with the stop. */
static const char *find_disagreement_of_kept(struct rig *rig, bool may_have_ended) {
        const char *fault = NULL;

        start(rig, &heir);
        if (!rig_connect(rig))
                return "no connection to the next instance";
        if (belief == HOLDS && rig_find_remains(rig, 0, 0)) {
                fault = rig_find_remains(rig, MOUNTS, 1);
                if (!can_be_unmounted_again(rig))
                        fault = "what is kept for her can't be unmounted";
        } else if (belief == HOLDS && !may_have_ended)
                fault = "what is kept for her is gone";
        if (belief != IN_DOUBT)
                fault = fault ?: expect_nothing(rig);
        end(rig, SIGTERM);
        return fault ?: rig_find_remains(rig, 0, 0);
}

/*
 * It is listed from the start, and can be unmounted soon after, once the new instance has looked
 * for it. A half unmounted lease, listed as before, may then turn out to be gone.
 */
static bool can_be_unmounted(struct rig *rig) {
        bool unmounted = false;

        for (int i = 0; i < SANDBOX_WAIT_MS && !unmounted && rig->lease; i++) {
                unmounted = caller_tidy(rig).answer == ANSWER_REPLY;
                usleep(unmounted ? 0 : 1000);
        }
        return unmounted;
}

/* On the bus there is a list, and Alice can unmount what is in it. */
static const char *find_disagreement_on_bus(struct rig *rig, bool may_have_ended) {
        uint64_t held = belief == HOLDS ? rig->lease : 0, found = 0;
        const char *fault = NULL;

        start(rig, &bus_heir);
        if (!caller_await(rig))
                return "the next instance isn't on the bus";
        for (int i = 0; i < SANDBOX_WAIT_MS && found == 0 && rig_find_remains(rig, 0, 0); i++) {
                found = caller_list(rig).reply.lease;
                usleep(found ? 0 : 1000);
        }
        rig->lease = found;
        if (found && belief == HOLDS)
                fault = rig_find_remains(rig, MOUNTS, 1);
        if (!fault && found && !can_be_unmounted(rig) && belief == HOLDS)
                fault = "what is listed can't be unmounted";
        if (!fault && belief == HOLDS_NOTHING && found)
                fault = "a lease is kept that nobody holds";
        if (!fault && held && found != held && !may_have_ended)
                fault = "what she holds isn't listed";
        fault = fault ?: expect_nothing(rig);
        end(rig, SIGTERM);
        return fault ?: rig_find_remains(rig, 0, 0);
}

static const char *find_any_disagreement(struct rig *rig, const struct route *route,
                                         bool may_have_ended) {
        switch (route->lease) {
        case HELD_INSIDE:
                return find_disagreement(rig, true, may_have_ended);
        case KEPT:
                return find_disagreement_of_kept(rig, may_have_ended);
        case ON_BUS:
                return find_disagreement_on_bus(rig, may_have_ended);
        default:
                return find_disagreement(rig, false, may_have_ended);
        }
}

/* Waits for the victim's end, and sends the same signal if the call was not reached. */
static int await_victim(struct rig *rig, int signal) {
        int status;

        if (service_is_running(&rig->service) && !trap_has_sprung())
                kill(rig->service.pid, signal);
        status = rig_await_end(rig);
        trap_leave();
        rig->service.pid = 0;
        rig_hang_up(rig);
        return status;
}

static bool is_start(const struct route *route) {
        return route->act == take_over || route->act == take_over_kept ||
               route->act == start_and_sweep || route->act == start_and_sweep_inside ||
               route->act == start_on_bus;
}

static bool is_stop(const struct route *route) {
        return route->act == stop || route->act == stop_keeping;
}

/* The aftermath of the preparation's answers is no part of the route. */
static void prepare(struct rig *rig, const struct route *route) {
        rig->lease = 0;
        route->prepare(rig);
        if (!is_start(route))
                rig_measure(rig);
}

static const char *try_signal(struct rig *rig, const struct route *route, unsigned n, int signal,
                              bool *reached) {
        bool starts = is_start(route);
        const char *fault;
        int status;

        trap_reset();
        prepare(rig, route);
        trap_order_any(n, signal);
        route->act(rig);
        /* Waits for the aftermath of the answer; a call of the tick comes with the next one. */
        for (int i = 0; i < REACH_MS && !trap_has_sprung() && service_is_running(&rig->service);
             i++)
                usleep(1000);
        *reached = trap_has_sprung();
        status = await_victim(rig, signal);
        if (status == -1)
                return "it doesn't end";
        /* Before main() has blocked them, SIGTERM and SIGUSR1 have the effect of SIGKILL. */
        if (signal == SIGKILL ? !WIFSIGNALED(status) && !is_stop(route) : status != 0 && !starts)
                return "it ends otherwise";
        /* A stop releases everything, unless it comes before the daemon serves. */
        if (signal == SIGTERM && !starts)
                if ((fault = rig_find_remains(rig, 0, 0)))
                        return fault;
        return find_any_disagreement(rig, route, signal == SIGTERM);
}

static unsigned n_points, n_kills, n_missed, n_faults;
static unsigned n_narrow; /* routes that are missed too often */

/* The log's thread is created before clone3(2) is hidden. */
static bool is_clone(struct trap_call call) {
        return call.number == SYS_clone || call.number == SYS_clone3;
}

/*
 * Where a route begins for a daemon that is just started: main() begins by blocking signals, and
 * has done nothing before. With a kept lease, the differences begin with the new state file; for a
 * daemon that is to sweep, or to get onto the bus, after its first two threads, the log's and the
 * spare one.
 */
static unsigned find_first(const struct route *route, const struct trap_call *calls, unsigned n) {
        unsigned first = 0, n_threads = 0;

        if (route->act == take_over || route->act == take_over_kept) {
                int begin = route->act == take_over ? SYS_rt_sigprocmask : SYS_fallocate;

                while (first < n && calls[first].number != begin)
                        first++;
        } else if (is_start(route))
                while (first < n && n_threads < 2)
                        n_threads += is_clone(calls[first++]);
        return first;
}

static unsigned count_points_once(struct rig *rig, const struct route *route, unsigned *first) {
        static struct trap_call calls[CALLS_MAX];
        unsigned n, before;

        trap_reset(); /* cancels an order that was not reached */
        prepare(rig, route);
        trap_reset();
        route->act(rig);
        n = trap_calls(calls, CALLS_MAX);
        do { /* until the aftermath of the answer is over */
                before = n;
                usleep(10000);
                n = trap_calls(calls, CALLS_MAX);
        } while (n != before);
        *first = find_first(route, calls, n);
        await_victim(rig, SIGTERM);
        ck_assert_ptr_null(find_any_disagreement(rig, route, true));
        return n;
}

/* The lowest count of several runs: further calls are the timer's, and come at any time. */
static unsigned count_points(struct rig *rig, const struct route *route, unsigned *first) {
        unsigned fewest = UINT_MAX;

        for (int i = 0; i < 3; i++) {
                unsigned n_first, n = count_points_once(rig, route, &n_first);

                if (n < fewest) {
                        fewest = n;
                        *first = n_first;
                }
        }
        return fewest;
}

static void try_route(struct rig *rig, const struct route *route) {
        static const int signals[] = {SIGKILL, SIGUSR1, SIGTERM};
        /* Until it serves, each end is alike; and those are many calls. */
        bool many = route->act == take_over || route->act == take_over_kept;
        size_t n_signals = many && !getenv("MOUNTATD_FAULTS") ? 1 : 3;
        unsigned first, kills = 0, missed = 0, faults = 0, stride = STRIDE * test_stride();
        unsigned points = count_points(rig, route, &first);

        ck_assert_msg(first < points, "%s has no calls", route->name);
        for (unsigned n = first + 1; n <= points; n += stride)
                for (size_t i = 0; i < n_signals; i++) {
                        bool reached;
                        const char *fault = try_signal(rig, route, n, signals[i], &reached);

                        for (int k = 0; k < RETRIES && !reached && !fault; k++)
                                fault = try_signal(rig, route, n, signals[i], &reached);
                        kills++;
                        missed += !reached;
                        faults += fault != NULL;
                        if (fault) {
                                printf("FAULT: %s: SIG%s before call %u: %s\n", route->name,
                                       sigabbrev_np(signals[i]), n, fault);
                                fflush(stdout);
                        }
                }
        points = (points - first + stride - 1) / stride;
        printf("%-10s %3u calls x %zu signals: %u not reached, %u faults\n", route->name, points,
               n_signals, missed, faults);
        fflush(stdout);
        n_points += points;
        n_kills += kills;
        n_narrow += missed > 3 && missed * ROUTE_MISSED > kills;
        n_missed += missed;
        n_faults += faults;
}

static void try_route_if_possible(struct rig *rig, const struct route *route) {
        if (route->lease == ON_BUS && !caller_is_possible()) {
                test_skip_report(route->name, "dbus-daemon is not installed");
                return;
        }
        if (route->lease == HELD_INSIDE && !container_can_be_found()) {
                test_skip_report(route->name,
                                 "impossible here: the kernel lists no mount namespaces");
                return;
        }
        if (route->lease == ON_BUS)
                caller_prepare();
        try_route(rig, route);
}

SANDBOX_TEST(killed_at_each_call_it_leaves_what_its_clients_were_told) {
        const char *only = getenv("MOUNTATD_FAULTS");
        int64_t begin = sandbox_now_ms();
        struct rig rig;

        rig_prepare(&rig, &victim);
        for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
                if (!only || strcmp(only, routes[i].name) == 0)
                        try_route_if_possible(&rig, &routes[i]);
        printf("%u calls, %u kills, restarts and stops, %u of them not reached, %u faults, in "
               "%.1f s\n",
               n_points, n_kills, n_missed, n_faults, (sandbox_now_ms() - begin) / 1000.0);
        fflush(stdout);
        caller_finish();
        ck_assert_uint_eq(n_faults, 0);
        ck_assert_uint_gt(n_points, 0);
        ck_assert_uint_gt(n_kills, 0);
        ck_assert_uint_eq(n_narrow, 0);
        ck_assert(only || n_missed * ALL_MISSED <= n_kills);
}

int main(void) {
        TCase *tests = tcase_create("kills");

        tcase_add_test(tests, killed_at_each_call_it_leaves_what_its_clients_were_told);
        return sandbox_run(tests);
}
