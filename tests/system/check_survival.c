/* SPDX-License-Identifier: Apache-2.0 */

/* A daemon with a thread stuck in the kernel, and its supervisor. */

#include "common/fd.h"
#include "tests/test.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

enum {
        STUCK = 8,
};

/* The state letter of /proc/PID/stat, 0 if there is no such process. */
static char process_state(pid_t pid) {
        char path[32], line[512], state = 0;
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        file = fopen(path, "re");
        if (!file)
                return 0;
        if (fgets(line, sizeof(line), file))
                state = strrchr(line, ')')[2];
        fclose(file);
        return state;
}

HOSTILE_TEST(idle_exit_waits_for_a_stuck_thread) {
        struct victim victim = victim_new(NULL, "--idle-timeout=3");
        int held = client_connect(&victim.service, USER_ALICE); /* until it gets stuck */
        struct hostile hostile = hostile_start(0, "build/h", 0);
        int client = hostile_wedge(&hostile, &victim.service, "a");

        sandbox_wait_for(service_count_stuck(&victim.service) == 1);
        close(held);
        close(client);
        sleep(6);
        ck_assert(service_is_running(&victim.service));

        hostile_end(&hostile);
        ck_assert_int_eq(service_wait(&victim.service), 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, victim.service.source), 0);
}

static int notify_open(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        ck_assert_int_ge(fd, 0);
        strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

static unsigned notify_count(int fd, const char *message) {
        unsigned count = 0;
        char text[512];
        ssize_t size;

        while ((size = recv(fd, text, sizeof(text) - 1, 0)) > 0) {
                text[size] = '\0';
                count += strstr(text, message) != NULL;
        }
        return count;
}

HOSTILE_TEST(watchdog_is_fed_while_threads_are_stuck) {
        int notify = notify_open(sandbox_path("notify"));
        struct hostile hostile;
        struct victim victim;
        int connections[STUCK];
        int64_t start, spent;
        unsigned fed;

        setenv("WATCHDOG_USEC", "900000", 1);
        victim = victim_new(sandbox_path("notify"), NULL);
        unsetenv("WATCHDOG_USEC");
        hostile = hostile_start(0, "build/h", 0);
        for (unsigned i = 0; i < STUCK; i++) {
                char name[16];

                snprintf(name, sizeof(name), "%u", i);
                connections[i] = hostile_wedge(&hostile, &victim.service, name);
        }
        sandbox_wait_for(notify_count(notify, "") < 100 &&
                         service_count_stuck(&victim.service) == STUCK);
        start = sandbox_now_ms();
        notify_count(notify, "");
        usleep(2000000);
        fed = notify_count(notify, "WATCHDOG=1");
        spent = sandbox_now_ms() - start;
        /* Every 300 ms, and not once for each interval since the boot. */
        ck_assert_msg(fed >= 2 && fed <= spent / 300 + 1, "fed %u times in %d ms", fed, (int)spent);
        close(notify); /* a full socket would block the daemon */

        hostile_end(&hostile);
        for (unsigned i = 0; i < STUCK; i++)
                close(connections[i]);
        service_stop(&victim.service);
}

/* The process can't end before its thread does, but everything else ends at once. */
HOSTILE_TEST(stops_beside_a_stuck_thread) {
        struct victim victim = victim_new(NULL, NULL);
        struct hostile hostile = hostile_start(0, "build/h", 0);
        int client = hostile_wedge(&hostile, &victim.service, "a");
        int alice = client_connect(&victim.service, USER_ALICE);
        int64_t start;

        client_hold_root(alice, USER_ALICE, sandbox_make_root(USER_ALICE, "root"));
        sandbox_wait_for(service_count_stuck(&victim.service) == 1);
        ck_assert_uint_eq(sandbox_count_mounts(0, victim.service.source), 2);
        start = sandbox_now_ms();
        ck_assert_int_eq(kill(victim.service.pid, SIGTERM), 0);
        client_expect_closed(alice);
        sandbox_wait_for(sandbox_count_mounts(0, victim.service.source) == 0);
        sandbox_wait_for(process_state(victim.service.pid) == 'Z');
        fprintf(stderr, "stopped %d ms after SIGTERM, with a thread stuck\n",
                (int)(sandbox_now_ms() - start));
        client_expect_closed(client);

        hostile_end(&hostile);
        ck_assert_int_eq(service_wait(&victim.service), 0);
        close(client);
        close(alice);
}

/*
 * The next instance isn't held up by what the dead one holds; and the mount that completes in the
 * dead process is swept.
 */
static void succeed_after(int signal, enum service_start start_by) {
        struct victim victim = victim_new(NULL, NULL);
        struct hostile hostile = hostile_start_shared(0, "build/h");
        int client = hostile_wedge(&hostile, &victim.service, "a"), alice, before;
        pid_t dead = victim.service.pid;
        struct service next;
        char build[128];
        int64_t start;

        before = client_connect(&victim.service, USER_ALICE);
        client_hold_root(before, USER_ALICE, sandbox_make_root(USER_ALICE, "before"));
        ck_assert_int_eq(chmod(sandbox_path("before"), 0755), 0); /* the daemon itself sweeps it */
        sandbox_wait_for(service_count_stuck(&victim.service) == 1);
        ck_assert_int_eq(kill(dead, signal), 0);
        sandbox_wait_for(process_state(dead) == 'Z');
        if (signal != SIGKILL) /* Alice's connection ends, and she can come back */
                client_expect_closed(before);

        snprintf(build, sizeof(build), "--build-directory=%s", sandbox_path("build"));
        start = sandbox_now_ms();
        next = service_start(&(struct service_plan){
                .name = "survival", .start = start_by, .options = {build, "--adopt-timeout=1"}});
        alice = client_connect(&next, USER_ALICE);
        client_hold_root(alice, USER_ALICE, sandbox_make_root(USER_ALICE, "root"));
        fprintf(stderr, "served %d ms after signal %d, with a thread stuck\n",
                (int)(sandbox_now_ms() - start), signal);

        hostile_let_go(&hostile);
        waitpid(dead, NULL, 0);
        sandbox_wait_for(sandbox_count_mounts(0, next.source) == 2);
        sleep(1);
        ck_assert_uint_eq(sandbox_count_mounts(0, next.source), 2); /* Alice's */

        hostile_end(&hostile);
        close(client);
        close(alice);
        close(before);
        service_stop(&next);
}

HOSTILE_TEST(successor_of_a_killed_one_with_a_stuck_thread_serves_and_sweeps) {
        succeed_after(SIGKILL, SERVICE_ACTIVATED);
}

HOSTILE_TEST(successor_of_a_stopped_one_with_a_stuck_thread_serves_and_sweeps) {
        succeed_after(SIGTERM, SERVICE_ACTIVATED);
}

HOSTILE_TEST(successor_of_a_restarted_one_with_a_stuck_thread_serves_and_sweeps) {
        succeed_after(SIGUSR1, SERVICE_ACTIVATED);
}

/* The dead one's socket still listens where the next one binds its own. */
HOSTILE_TEST(successor_of_a_killed_one_with_a_stuck_thread_listens_by_itself) {
        succeed_after(SIGKILL, SERVICE_LISTENS);
}

int main(void) {
        TCase *tests = tcase_create("survival");

        tcase_add_test(tests, idle_exit_waits_for_a_stuck_thread);
        tcase_add_test(tests, watchdog_is_fed_while_threads_are_stuck);
        tcase_add_test(tests, stops_beside_a_stuck_thread);
        tcase_add_test(tests, successor_of_a_killed_one_with_a_stuck_thread_serves_and_sweeps);
        tcase_add_test(tests, successor_of_a_stopped_one_with_a_stuck_thread_serves_and_sweeps);
        tcase_add_test(tests, successor_of_a_restarted_one_with_a_stuck_thread_serves_and_sweeps);
        tcase_add_test(tests, successor_of_a_killed_one_with_a_stuck_thread_listens_by_itself);
        return sandbox_run(tests);
}
