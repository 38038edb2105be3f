/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The real daemon is killed, restarted and stopped just before each system call that it makes on
 * each of its routes, by SIGKILL, SIGUSR1 and SIGTERM. Then another one takes over, and the ledger,
 * the mounts and what the client was told must agree: what it holds can be adopted, and of what it
 * was never told nothing is left. What a call over D-Bus was granted is kept by the next one, and
 * can be seen and unmounted there, whether or not it was told.
 *
 * Not here: a kernel that lacks calls, which is tried in check_faults alone; MountPath and
 * UnmountPath; a daemon that waits for its bus.
 */

#include "common/fd.h"
#include "tests/faults/inject/caller.h"
#include "tests/faults/inject/ground.h"
#include "tests/faults/inject/trap.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum {
/* Every call in one build; a part of them in the others, where each takes its time. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__clang__)
        STRIDE = 10,
        ROUTE_MISSED = 2, /* at most such a part isn't reached: a runtime ends in its own ways */
        ALL_MISSED = 5,
#else
        STRIDE = 1,
        ROUTE_MISSED = 5,
        ALL_MISSED = 10,
#endif
        CALLS_MAX = 4096,
        MOUNTS = 2, /* of Alice's lease */
};

/* The victim; a successor from which clients adopt, and one that sweeps at once. */
static const struct service_plan victim = {
        .name = "kills",
        .start = SERVICE_LISTENS,
        .options = {"--workers=2"},
        .enter = trap_enter,
        .attend = trap_attend,
};

static const struct service_plan sweeping_victim = {
        .name = "kills",
        .start = SERVICE_LISTENS,
        .options = {"--workers=2", "--adopt-timeout=0"},
        .enter = trap_enter,
        .attend = trap_attend,
};

static const struct service_plan heir = {
        .name = "kills",
        .start = SERVICE_LISTENS,
        .options = {"--workers=2"},
};

static const struct service_plan sweeper = {
        .name = "kills",
        .start = SERVICE_LISTENS,
        .options = {"--workers=2", "--adopt-timeout=0"},
};

/* On the bus; what is half-done of a predecessor's is swept at once, what is done is kept. */
static const struct service_plan bus_victim = {
        .name = "kills",
        .start = SERVICE_LISTENS,
        .options = {"--workers=2"},
        .unnamed = true,
        .enter = trap_enter,
        .attend = trap_attend,
};

static const struct service_plan bus_heir = {
        .name = "kills",
        .start = SERVICE_LISTENS,
        .options = {"--workers=2", "--adopt-timeout=0"},
        .unnamed = true,
};

/* What Alice believes while nobody answers her. */
enum belief {
        HOLDS,
        IN_DOUBT, /* asked, and not answered: she claims nothing, or looks at the list of leases */
        HOLDS_NOTHING,
};

static enum belief belief;

static bool is_ok(const struct outcome *outcome) {
        return outcome->answer == ANSWER_REPLY && outcome->reply.status == STATUS_OK;
}

/* ---- where routes begin ---- */

static void start(struct ground *ground, const struct service_plan *plan) {
        ground->plan = plan;
        ground_start(ground);
}

static void end(struct ground *ground, int signal) {
        bool trapped = ground->plan->enter;

        ground_end(ground, signal);
        if (trapped)
                trap_leave();
        ground->service.pid = 0;
        ground_hang_up(ground);
}

static void idle(struct ground *ground) {
        start(ground, &victim);
        ck_assert_msg(ground_connect(ground), "no connection to a daemon that %s",
                      service_is_running(&ground->service) ? "runs" : "has ended");
        belief = HOLDS_NOTHING;
}

static void holding(struct ground *ground) {
        struct outcome outcome;

        idle(ground);
        outcome = ground_mount(ground);
        ck_assert(is_ok(&outcome));
        belief = HOLDS;
}

static void left_lease(struct ground *ground) {
        struct outcome outcome;

        start(ground, &heir);
        ck_assert(ground_connect(ground));
        outcome = ground_mount(ground);
        ck_assert(is_ok(&outcome));
        end(ground, SIGKILL);
        belief = HOLDS;
}

static void left_to_successor(struct ground *ground) {
        left_lease(ground);
        start(ground, &victim);
        ck_assert(ground_connect(ground));
}

static void left_to_nobody(struct ground *ground) {
        left_lease(ground);
        belief = HOLDS_NOTHING; /* she has gone home */
}

static void unknown(struct ground *ground) {
        idle(ground);
        ground_hang_up(ground);
        usleep(20000); /* that takes calls too */
}

static void idle_on_bus(struct ground *ground) {
        start(ground, &bus_victim);
        ck_assert_msg(caller_await(ground), "the daemon isn't on the bus");
        belief = HOLDS_NOTHING;
}

static void holding_on_bus(struct ground *ground) {
        idle_on_bus(ground);
        ck_assert_uint_eq(caller_mount(ground).answer, ANSWER_REPLY);
        belief = HOLDS;
}

static void left_on_bus(struct ground *ground) {
        start(ground, &bus_heir);
        ck_assert(caller_await(ground));
        ck_assert_uint_eq(caller_mount(ground).answer, ANSWER_REPLY);
        end(ground, SIGKILL);
        belief = HOLDS;
}

/* ---- and where they lead ---- */

static void come(struct ground *ground) {
        ground_connect(ground);
}

static void mount_root(struct ground *ground) {
        struct outcome outcome = ground_mount(ground);

        belief = is_ok(&outcome)                  ? HOLDS
                 : outcome.answer == ANSWER_REPLY ? HOLDS_NOTHING
                                                  : IN_DOUBT;
}

static void unmount_root(struct ground *ground) {
        struct outcome outcome = ground_unmount(ground);

        belief = is_ok(&outcome) ? HOLDS_NOTHING : IN_DOUBT;
}

static void adopt_lease(struct ground *ground) {
        struct outcome outcome = ground_adopt(ground, ground->lease);

        belief = outcome.answer == ANSWER_REPLY && outcome.reply.status == STATUS_NO_SUCH_LEASE
                         ? HOLDS_NOTHING
                         : HOLDS;
}

static void leave(struct ground *ground) {
        ground_hang_up(ground);
        belief = HOLDS_NOTHING;
        for (int i = 0;
             i < 50 && ground_find_remains(ground, 0, 0) && service_is_running(&ground->service);
             i++)
                usleep(1000);
}

static void start_and_sweep(struct ground *ground) {
        start(ground, &sweeping_victim);
        for (int i = 0;
             i < 300 && ground_find_remains(ground, 0, 0) && service_is_running(&ground->service);
             i++)
                usleep(1000);
}

static void take_over(struct ground *ground) {
        start(ground, &victim);
        if (ground_connect(ground))
                adopt_lease(ground);
}

static void stop(struct ground *ground) {
        kill(ground->service.pid, SIGTERM);
        belief = HOLDS_NOTHING;
        for (int i = 0; i < 2000 && service_is_running(&ground->service); i++)
                usleep(1000);
}

static bool is_unanswered(const struct outcome *outcome) {
        return strcmp(outcome->error, "org.freedesktop.DBus.Error.NoReply") == 0;
}

static void mount_on_bus(struct ground *ground) {
        struct outcome outcome = caller_mount(ground);

        belief = outcome.answer == ANSWER_REPLY ? HOLDS
                 : is_unanswered(&outcome)      ? IN_DOUBT
                                                : HOLDS_NOTHING;
}

static void unmount_on_bus(struct ground *ground) {
        uint64_t lease = ground->lease;
        struct outcome outcome = caller_unmount(ground);

        belief = outcome.answer == ANSWER_REPLY ? HOLDS_NOTHING : IN_DOUBT;
        ground->lease = lease;
}

static void list_on_bus(struct ground *ground) {
        caller_list(ground); /* shows nothing if a stop has released everything by then */
}

static void start_on_bus(struct ground *ground) {
        start(ground, &bus_victim);
        caller_await(ground);
}

static const struct route {
        const char *name;
        void (*prepare)(struct ground *ground);
        void (*act)(struct ground *ground);
        bool on_bus;
} routes[] = {
        {"accept", unknown, come},
        {"mount", idle, mount_root},
        {"unmount", holding, unmount_root},
        {"disconnect", holding, leave},
        {"adopt", left_to_successor, adopt_lease},
        {"sweep", left_to_nobody, start_and_sweep},
        {"start", left_lease, take_over},
        {"stop", holding, stop},
        {"bus mount", idle_on_bus, mount_on_bus, true},
        {"bus unmount", holding_on_bus, unmount_on_bus, true},
        {"bus list", holding_on_bus, list_on_bus, true},
        {"bus start", left_on_bus, start_on_bus, true},
};

/* ---- afterwards ---- */

static const char *expect_nothing(struct ground *ground) {
        for (int i = 0; i < 2000 && ground_find_remains(ground, 0, 0); i++)
                usleep(1000);
        return ground_find_remains(ground, 0, 0);
}

/*
 * The next instance: what Alice holds she gets, and with it everything that is on record; else all
 * that is there is swept.
 */
static const char *find_disagreement(struct ground *ground, bool may_have_ended) {
        struct outcome outcome = {0};
        const char *fault = NULL;

        if (belief == HOLDS) {
                start(ground, &heir);
                if (!ground_connect(ground))
                        return "no connection to the next instance";
                outcome = ground_adopt(ground, ground->lease);
                if (is_ok(&outcome)) {
                        fault = ground_find_remains(ground, MOUNTS, 1);
                        outcome = ground_unmount(ground);
                        if (!fault && !is_ok(&outcome))
                                fault = "what was adopted can't be unmounted";
                } else if (!may_have_ended)
                        fault = "what she holds can't be adopted";
        } else
                start(ground, &sweeper);
        fault = fault ?: expect_nothing(ground);
        end(ground, SIGTERM);
        return fault ?: ground_find_remains(ground, 0, 0);
}

/*
 * It is listed from the start, and the new instance's from its first look at it on, soon after.
 * What was half unmounted, and is listed as it was, may be found to be gone then.
 */
static bool can_be_unmounted(struct ground *ground) {
        bool unmounted = false;

        for (int i = 0; i < 1000 && !unmounted && ground->lease; i++) {
                unmounted = caller_unmount(ground).answer == ANSWER_REPLY;
                usleep(unmounted ? 0 : 1000);
        }
        return unmounted;
}

/* On the bus there is a list to look at, and what is there is hers to unmount. */
static const char *find_disagreement_on_bus(struct ground *ground, bool may_have_ended) {
        uint64_t held = belief == HOLDS ? ground->lease : 0, found = 0;
        const char *fault = NULL;

        start(ground, &bus_heir);
        if (!caller_await(ground))
                return "the next instance isn't on the bus";
        for (int i = 0; i < 1000 && found == 0 && ground_find_remains(ground, 0, 0); i++) {
                found = caller_list(ground).reply.lease;
                usleep(found ? 0 : 1000);
        }
        ground->lease = found;
        if (found && belief == HOLDS)
                fault = ground_find_remains(ground, MOUNTS, 1);
        if (!fault && found && !can_be_unmounted(ground) && belief == HOLDS)
                fault = "what is listed can't be unmounted";
        if (!fault && belief == HOLDS_NOTHING && found)
                fault = "a lease is kept that nobody holds";
        if (!fault && held && found != held && !may_have_ended)
                fault = "what she holds isn't listed";
        fault = fault ?: expect_nothing(ground);
        end(ground, SIGTERM);
        return fault ?: ground_find_remains(ground, 0, 0);
}

/* The victim's end, if it hasn't come yet: by the same signal, so late that all is done. */
static int await_victim(struct ground *ground, int signal) {
        int status;

        if (service_is_running(&ground->service) && !trap_has_sprung())
                kill(ground->service.pid, signal);
        status = ground_await_end(ground);
        trap_leave();
        ground->service.pid = 0;
        ground_hang_up(ground);
        return status;
}

static bool is_start(const struct route *route) {
        return route->act == take_over || route->act == start_and_sweep ||
               route->act == start_on_bus;
}

static const char *try_signal(struct ground *ground, const struct route *route, unsigned n,
                              int signal, bool *reached) {
        bool starts = is_start(route);
        const char *fault;
        int status;

        trap_reset();
        ground->lease = 0;
        route->prepare(ground);
        trap_order_any(n, signal);
        route->act(ground);
        /* What follows the answer; a call of the tick's comes with the next one. */
        for (int i = 0; i < 150 && !trap_has_sprung() && service_is_running(&ground->service); i++)
                usleep(1000);
        *reached = trap_has_sprung();
        status = await_victim(ground, signal);
        if (status == -1)
                return "it doesn't end";
        /* Before main() has blocked them, SIGTERM and SIGUSR1 are as good as SIGKILL. */
        if (signal == SIGKILL ? !WIFSIGNALED(status) && route->act != stop : status != 0 && !starts)
                return "it ends otherwise";
        /* A stop releases everything; but one that comes before it has begun to serve. */
        if (signal == SIGTERM && !starts)
                if ((fault = ground_find_remains(ground, 0, 0)))
                        return fault;
        return (route->on_bus ? find_disagreement_on_bus : find_disagreement)(ground,
                                                                              signal == SIGTERM);
}

static unsigned n_points, n_kills, n_missed, n_faults;
static unsigned n_narrow; /* routes where too much isn't reached */

/*
 * Of a daemon that is just started: main() begins by blocking signals, and before that it has done
 * nothing; of one that is to sweep, or to come onto the bus: what is behind the start of its
 * workers.
 */
static unsigned find_first(const struct route *route, const struct trap_call *calls, unsigned n) {
        unsigned first = 0;

        if (route->act == take_over)
                while (first < n && calls[first].number != SYS_rt_sigprocmask)
                        first++;
        for (unsigned i = 0; route->act != take_over && is_start(route) && i < n; i++)
                if (calls[i].number == SYS_clone3 || calls[i].number == SYS_clone)
                        first = i + 1;
        return first;
}

static unsigned count_points_once(struct ground *ground, const struct route *route,
                                  unsigned *first) {
        static struct trap_call calls[CALLS_MAX];
        unsigned n;

        trap_reset(); /* of an order that was not reached */
        ground->lease = 0;
        route->prepare(ground);
        trap_reset();
        route->act(ground);
        usleep(2000); /* what follows the answer */
        n = trap_calls(calls, CALLS_MAX);
        *first = find_first(route, calls, n);
        await_victim(ground, SIGTERM);
        ck_assert_ptr_null(
                (route->on_bus ? find_disagreement_on_bus : find_disagreement)(ground, true));
        return n;
}

/* Of several runs the one with the fewest: what is more is the clock's, and comes when it likes. */
static unsigned count_points(struct ground *ground, const struct route *route, unsigned *first) {
        unsigned fewest = UINT_MAX;

        for (int i = 0; i < 3; i++) {
                unsigned n_first, n = count_points_once(ground, route, &n_first);

                if (n < fewest) {
                        fewest = n;
                        *first = n_first;
                }
        }
        return fewest;
}

/* MOUNTATD_STRIDE=10: a tenth of them. */
static unsigned get_stride(void) {
        const char *given = getenv("MOUNTATD_STRIDE");
        unsigned times = given ? strtoul(given, NULL, 10) : 1;

        return times > 0 ? STRIDE * times : STRIDE;
}

static void try_route(struct ground *ground, const struct route *route) {
        static const int signals[] = {SIGKILL, SIGUSR1, SIGTERM};
        /* Until it serves, whatever ends it ends it alike; and those are many calls. */
        size_t n_signals = route->act == take_over && !getenv("MOUNTATD_FAULTS") ? 1 : 3;
        unsigned first, kills = 0, missed = 0, faults = 0, stride = get_stride();
        unsigned points = count_points(ground, route, &first);

        for (unsigned n = first + 1; n <= points; n += stride)
                for (size_t i = 0; i < n_signals; i++) {
                        bool reached;
                        const char *fault = try_signal(ground, route, n, signals[i], &reached);

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

static void try_route_if_possible(struct ground *ground, const struct route *route) {
        if (route->on_bus && !caller_is_possible()) {
                test_skip_report(route->name, "dbus-daemon is not installed");
                return;
        }
        if (route->on_bus)
                caller_prepare();
        try_route(ground, route);
}

WORLD_TEST(killed_at_each_call_it_leaves_what_its_clients_were_told) {
        const char *only = getenv("MOUNTATD_FAULTS");
        int64_t begin = world_now_ms();
        struct ground ground;

        ground_prepare(&ground, &victim);
        for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
                if (!only || strcmp(only, routes[i].name) == 0)
                        try_route_if_possible(&ground, &routes[i]);
        printf("%u calls, %u kills, restarts and stops, %u of them not reached, %u faults, in "
               "%.1f s\n",
               n_points, n_kills, n_missed, n_faults, (world_now_ms() - begin) / 1000.0);
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
        return world_run(tests);
}
