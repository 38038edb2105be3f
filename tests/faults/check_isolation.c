/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Whatever one user does, another is served: on old and new connections, and by the next instance,
 * whatever remains of this one. Prints the latencies beside those of a quiet daemon; a machine that
 * runs many tests can't promise a ratio.
 */

#include "common/fd.h"
#include "tests/faults/attack.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

enum {
        QUIET_MS = 400,
        ATTACKED_MS = 1000,
        SAMPLES_MAX = 20000,
        SAMPLES_MIN = 10,        /* however slow they are */
        SERVED_WITHIN_MS = 5000, /* nobody hangs; the promised latency is printed */
        DYING_WITHIN_MS = 5000,  /* TimeoutStopSec= of the unit */
        BOUND_FACTOR = 3,
        BOUND_US = 2000,
};

/* ---- an honest user ---- */

enum operation {
        OLD_HELLO,
        OLD_MOUNT,
        OLD_UNMOUNT,
        NEW_HELLO, /* including the connect(2) */
        OPERATIONS,
};

static const char *const operations[OPERATIONS] = {"hello", "mount", "unmount", "connect+hello"};

/* In memory shared with the measuring process. */
struct samples {
        unsigned count;
        unsigned us[OPERATIONS][SAMPLES_MAX];
};

struct honest {
        const struct service *service;
        const char *root;
        int old; /* a connection from before the attack */
        int milliseconds;
        struct samples *samples;
};

static unsigned now_us(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * 1000000U + now.tv_nsec / 1000;
}

static void measure_once(const struct honest *honest, unsigned us[OPERATIONS]) {
        unsigned times[OPERATIONS + 1];
        uint64_t lease;
        int client;

        times[OLD_HELLO] = now_us();
        client_hello(honest->old);
        times[OLD_MOUNT] = now_us();
        lease = client_hold_root(honest->old, -1, honest->root);
        times[OLD_UNMOUNT] = now_us();
        client_expect(client_unmount(honest->old, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        times[NEW_HELLO] = now_us();
        client = client_connect(honest->service, -1);
        client_hello(client);
        times[OPERATIONS] = now_us();
        close(client);
        for (unsigned i = 0; i < OPERATIONS; i++)
                us[i] = times[i + 1] - times[i];
}

/* As Alice, in a process of her own. With pauses, so that the daemon is also found asleep. */
static void measure(void *argument) {
        const struct honest *honest = argument;
        struct samples *samples = honest->samples;
        int64_t end = sandbox_now_ms() + honest->milliseconds;

        for (samples->count = 0; samples->count < SAMPLES_MIN || sandbox_now_ms() < end;) {
                unsigned us[OPERATIONS];

                measure_once(honest, us);
                for (unsigned i = 0; i < OPERATIONS; i++)
                        samples->us[i][samples->count] = us[i];
                samples->count++;
                ck_assert_uint_lt(samples->count, SAMPLES_MAX);
                usleep(samples->count % 3 * 500);
        }
}

static int compare(const void *a, const void *b) {
        const unsigned *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

struct figures {
        unsigned p50[OPERATIONS], p99[OPERATIONS];
};

static struct figures honest_measure(struct honest *honest, int milliseconds) {
        struct samples *samples = honest->samples;
        struct figures figures;

        honest->milliseconds = milliseconds;
        sandbox_run_as(USER_ALICE, measure, honest);
        for (unsigned i = 0; i < OPERATIONS; i++) {
                qsort(samples->us[i], samples->count, sizeof(samples->us[i][0]), compare);
                figures.p50[i] = samples->us[i][samples->count / 2];
                figures.p99[i] = samples->us[i][samples->count * 99 / 100];
                ck_assert_uint_lt(samples->us[i][samples->count - 1], SERVED_WITHIN_MS * 1000);
        }
        return figures;
}

static void print_figures(const char *name, const struct figures *quiet,
                          const struct figures *attacked) {
        for (unsigned i = 0; i < OPERATIONS; i++) {
                unsigned bound = BOUND_FACTOR * quiet->p99[i] + BOUND_US;

                fprintf(stderr,
                        "%-38s %-13s quiet p50 %5u p99 %5u  attacked p50 %6u p99 %6u us  %s\n",
                        name, operations[i], quiet->p50[i], quiet->p99[i], attacked->p50[i],
                        attacked->p99[i], attacked->p99[i] <= bound ? "within" : "BEYOND");
        }
}

/* ---- the daemon and its next instances ---- */

struct isolation {
        const struct attack *attack;
        int listener;
        struct service service;
        struct service old[2]; /* their remains */
        unsigned n_old;
        struct honest honest;
        uint64_t lease; /* Alice's, on her old connection, which must survive every attack */
        unsigned round;
        pid_t attackers[ATTACK_USERS_MAX];
        struct hostile hostiles[ATTACK_USERS_MAX];
};

/* Makes standard error a full pipe without a reader. */
static void fill_log(void) {
        static const char bytes[4096];
        int pipes[2];

        if (pipe2(pipes, O_NONBLOCK) < 0)
                _exit(127);
        for (size_t size = sizeof(bytes); size > 0; size /= 2)
                while (write(pipes[1], bytes, size) > 0)
                        continue;
        fcntl(pipes[1], F_SETFL, 0);
        dup2(pipes[1], STDERR_FILENO);
        close(pipes[1]);
}

static struct service_plan isolation_plan(const struct isolation *isolation) {
        static char build[128], per_user[64];

        snprintf(build, sizeof(build), "--build-directory=%s", sandbox_path("build"));
        snprintf(per_user, sizeof(per_user), "--max-connections-per-user=%u", ATTACK_CONNECTIONS);
        return (struct service_plan){
                .name = "isolation",
                .start = SERVICE_INHERITS,
                .listener = isolation->listener,
                .options = {build, per_user, "--max-mounts=2304"},
                .enter = isolation->attack->traits & ATTACK_FILLS_LOG ? fill_log : NULL,
        };
}

static void prepare_network(void) {
        struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
        FD_AUTO int fd = -EBADF;
        FILE *file;

        ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(ioctl(fd, SIOCSIFFLAGS, &loopback), 0);
        /* As systemd sets it everywhere: otherwise a connection queues ten messages. */
        file = fopen("/proc/sys/net/unix/max_dgram_qlen", "we");
        ck_assert_ptr_nonnull(file);
        fputs("512\n", file);
        ck_assert_int_eq(fclose(file), 0);
}

static void isolation_open(struct isolation *isolation, const struct attack *attack) {
        struct service_plan plan;

        *isolation = (struct isolation){.attack = attack, .listener = service_listen("isolation")};
        plan = isolation_plan(isolation);
        isolation->service = service_start(&plan);
        isolation->honest = (struct honest){
                .service = &isolation->service,
                .root = sandbox_path("root"),
                .old = client_connect(&isolation->service, USER_ALICE),
                .samples = mmap(NULL, sizeof(struct samples), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0),
        };
        isolation->lease =
                client_hold_root(isolation->honest.old, USER_ALICE, sandbox_path("held"));
}

/* ---- the attackers ---- */

static void enter_own_network(uid_t uid) {
        char map[64];
        FILE *file;

        ck_assert_int_eq(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET), 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* the new capabilities have cleared it */
        snprintf(map, sizeof(map), "%u %u 1\n", uid, uid);
        file = fopen("/proc/self/uid_map", "we");
        ck_assert_ptr_nonnull(file);
        fputs(map, file);
        ck_assert_int_eq(fclose(file), 0);
}

struct attacking {
        const struct attack *attack;
        struct attacker attacker;
};

static void attack_as_user(void *argument) {
        const struct attacking *attacking = argument;

        setpgid(0, 0);
        if (attacking->attack->traits & ATTACK_WANTS_NETWORK)
                enter_own_network(getuid());
        attacking->attack->run(&attacking->attacker);
}

static void isolation_attack(struct isolation *isolation) {
        const struct attack *attack = isolation->attack;
        int ready[2];
        char byte;

        isolation->round++;
        ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
        for (unsigned i = 0; i < attack->users; i++) {
                char name[48];
                struct attacking attacking = {
                        .attack = attack,
                        .attacker = {.service = &isolation->service, .ready = ready[1]},
                };

                snprintf(name, sizeof(name), "build/fuse%u-%u", isolation->round, i);
                if (attack->traits & ATTACK_WANTS_FUSE) {
                        isolation->hostiles[i] = hostile_start(i, name, 0);
                        attacking.attacker.fuse = isolation->hostiles[i].path;
                }
                snprintf(name, sizeof(name), "area%u-%u", isolation->round, i);
                attacking.attacker.area = sandbox_make_directory(HOSTILE_USER + i, 0755, name);
                isolation->attackers[i] =
                        sandbox_spawn(HOSTILE_USER + i, attack_as_user, &attacking);
        }
        close(ready[1]);
        for (unsigned i = 0; i < attack->users; i++)
                ck_assert_int_eq(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        if (!(attack->traits & ATTACK_LEAVES_DIRTY) || hostile_makes_closes_wait())
                sandbox_wait_for(service_count_stuck(&isolation->service) >=
                                 attack->stuck * attack->users);
}

/* Their file systems first: processes that wait for one can't be killed. */
static void isolation_end_attack(struct isolation *isolation) {
        for (unsigned i = 0; i < isolation->attack->users; i++)
                kill(-isolation->attackers[i], SIGKILL);
        for (unsigned i = 0; i < isolation->attack->users; i++)
                if (isolation->attack->traits & ATTACK_WANTS_FUSE)
                        hostile_end(&isolation->hostiles[i]);
        for (unsigned i = 0; i < isolation->attack->users; i++)
                sandbox_kill(isolation->attackers[i]);
}

/* ---- stop and restart ---- */

static bool alices_mounts_are(const char *root, bool there) {
        struct sandbox_mount mount;
        char path[256];

        snprintf(path, sizeof(path), "%s/proc", root);
        if (sandbox_find_mount(0, path, &mount) != there)
                return false;
        snprintf(path, sizeof(path), "%s/sys", root);
        return sandbox_find_mount(0, path, &mount) == there;
}

static void expect_dying(const struct service *service, int signal) {
        int64_t end = sandbox_now_ms() + DYING_WITHIN_MS;

        while (!service_is_dying(service)) {
                ck_assert_msg(sandbox_now_ms() < end, "signal %d: it lives on", signal);
                usleep(2000);
        }
}

/* The next instance is started when a service manager would: once this one is as good as dead. */
static void isolation_replace(struct isolation *isolation, int signal) {
        struct service_plan plan = isolation_plan(isolation);
        struct service *service = &isolation->service;
        int64_t start = sandbox_now_ms(), dead;
        int client;

        ck_assert_int_eq(kill(service->pid, signal), 0);
        expect_dying(service, signal);
        dead = sandbox_now_ms();
        ck_assert(alices_mounts_are(sandbox_path("held"), signal == SIGUSR1));
        isolation->old[isolation->n_old++] = *service;

        *service = service_spawn(&plan);
        client = client_connect(service, USER_ALICE);
        client_hello(client);
        fprintf(stderr, "%-38s signal %2d: ended after %4lld ms, the next served after %4lld ms\n",
                isolation->attack->name, signal, (long long)(dead - start),
                (long long)(sandbox_now_ms() - dead));
        ck_assert_int_lt(sandbox_now_ms() - dead, SERVED_WITHIN_MS);
        close(isolation->honest.old);
        isolation->honest.old = client;
}

/* Alice reconnects with the roots of her mounts. */
static void isolation_adopt(struct isolation *isolation) {
        struct wire_request request = {
                .operation = PROTOCOL_ADOPT,
                .lease = isolation->lease,
                .n_targets = 2,
                .targets = {{PROTOCOL_PROC, 0}, {PROTOCOL_SYSFS, 0}},
        };
        FD_AUTO int proc = sandbox_open(USER_ALICE, sandbox_path("held/proc"));
        FD_AUTO int sys = sandbox_open(USER_ALICE, sandbox_path("held/sys"));

        client_expect(client_call(isolation->honest.old, &request, (int[]){proc, sys}, 2),
                      STATUS_OK, 0, STATUS_NO_TARGET);
}

static void isolation_close(struct isolation *isolation) {
        isolation_end_attack(isolation);
        for (unsigned i = 0; i < isolation->n_old; i++)
                service_wait(&isolation->old[i]);
        close(isolation->honest.old);
        sandbox_wait_for(sandbox_count_mounts(0, isolation->service.source) == 0);
        client_hello(isolation->honest.old = client_connect(&isolation->service, USER_ALICE));
        close(isolation->honest.old);
        service_stop(&isolation->service);
        close(isolation->listener);
}

static void isolate(const struct attack *attack) {
        struct isolation isolation;
        struct figures quiet, attacked;

        prepare_network();
        descriptors_raise();
        sandbox_make_directory(0, 0755, "build");
        sandbox_make_root(USER_ALICE, "root");
        sandbox_make_root(USER_ALICE, "held");
        isolation_open(&isolation, attack);

        quiet = honest_measure(&isolation.honest, QUIET_MS);
        isolation_attack(&isolation);
        attacked = honest_measure(&isolation.honest, ATTACKED_MS);
        print_figures(attack->name, &quiet, &attacked);

        isolation_replace(&isolation, SIGUSR1);
        isolation_adopt(&isolation);
        isolation_end_attack(&isolation); /* most of the attack was on old connections */
        isolation_attack(&isolation);
        isolation_replace(&isolation, SIGTERM);
        isolation_close(&isolation);
}

/* What the machine, or the build, lacks for the attack; NULL: nothing. */
static const char *attack_lacks(const struct attack *attack) {
        if (geteuid() != 0)
                return "mounting needs root";
#if defined(__SANITIZE_THREAD__)
        if (attack->traits & ATTACK_WANTS_NETWORK)
                return "impossible here: ThreadSanitizer's thread forbids unshare(CLONE_NEWUSER)";
#endif
        return attack->traits & ATTACK_WANTS_FUSE ? hostile_prepare() : NULL;
}

START_TEST(others_are_served_and_the_next_instance_serves) {
        const struct attack *attack = &attacks[_i];
        const char *lacking = attack_lacks(attack);

        if (lacking)
                test_skip(lacking);
        isolate(attack);
}
END_TEST

/* The first attack that needs a file system: the close of each connection blocks for ever. */
static struct attack attack_with_dirty_files(void) {
        struct attack attack = {0};

        for (unsigned i = 0; !attack.run; i++)
                if (attacks[i].traits & ATTACK_WANTS_FUSE)
                        attack = attacks[i];
        attack.stuck = 0; /* as long as nothing is accepted */
        return attack;
}

/* If no other process has the socket, the daemon makes the last close. */
HOSTILE_TEST(stop_waits_for_no_connection_that_was_not_accepted) {
        const struct attack attack = attack_with_dirty_files();
        struct isolation isolation = {.attack = &attack};
        struct service *service = &isolation.service;

        sandbox_make_directory(0, 0755, "build");
        *service = service_start(&(struct service_plan){.name = "own", .start = SERVICE_LISTENS});
        ck_assert_int_eq(kill(service->pid, SIGSTOP), 0);
        ck_assert_int_eq(kill(service->pid, SIGTERM), 0);
        isolation_attack(&isolation);
        usleep(500000); /* everything has been sent, and closed by the senders */
        ck_assert_int_eq(kill(service->pid, SIGCONT), 0);
        expect_dying(service, SIGTERM);
        isolation_end_attack(&isolation);
        service_wait(service);
}

int main(void) {
        TCase *tests = tcase_create("isolation");

        tcase_add_loop_test(tests, others_are_served_and_the_next_instance_serves, 0,
                            attacks_count);
        tcase_add_test(tests, stop_waits_for_no_connection_that_was_not_accepted);
        return sandbox_run(tests);
}
