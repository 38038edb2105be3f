/* SPDX-License-Identifier: Apache-2.0 */

/*
 * mountatctl with --dev, in an input root with the machine's own programs: what works in such a
 * /dev, what nobody can change, and what leases don't share.
 */

#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* ---- the input root ---- */

/* Directories that are links to /usr on this machine are links here as well. */
static void furnish(const char *root) {
        static const char *const names[] = {"/usr", "/bin", "/lib", "/lib64"};

        for (size_t i = 0; i < N_ELEMENTS(names); i++) {
                char target[64] = "", path[256];
                struct stat stat;

                if (lstat(names[i], &stat) < 0)
                        continue;
                snprintf(path, sizeof(path), "%s%s", root, names[i]);
                if (readlink(names[i], target, sizeof(target) - 1) > 0) {
                        ck_assert_int_eq(symlink(target, path), 0);
                        continue;
                }
                ck_assert_int_eq(mkdir(path, 0755), 0);
                ck_assert_int_eq(mount(names[i], path, NULL, MS_BIND | MS_REC, NULL), 0);
        }
}

/* Its dev isn't empty, as a build action might bring one. */
static const char *make_root(uid_t uid, const char *name) {
        const char *root = sandbox_make_root(uid, name);
        char path[64];

        furnish(root);
        snprintf(path, sizeof(path), "%s/dev", name);
        sandbox_make_directory(uid, 0755, path);
        ctl_write_file(sandbox_path("%s/dev/null", name), "a file\n", 0666);
        return root;
}

/* "mountatctl run --dev ROOT -- bash -c SCRIPT" */
static struct ctl bash(const struct service *service, const char *root, const char *script) {
        return (struct ctl){
                .service = service,
                .arguments = {"run", "--dev", root, "--", "bash", "-c", script},
        };
}

static bool is_there(const char *path) {
        return access(path, F_OK) == 0;
}

static bool is_mounted(const char *path) {
        struct sandbox_mount found;

        return sandbox_find_mount(0, path, &found);
}

/* ---- what works ---- */

static const struct {
        const char *script;
        const char *expected;
} uses[] = {
        {"echo $(ls /dev)",
         "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero\n"},
        {"echo gone >/dev/null && cat /dev/null && echo $?", "0\n"},
        {"head -c 3 /dev/zero | od -An -tx1", " 00 00 00\n"},
        {"echo x 2>&1 >/dev/full; head -c 2 /dev/full | od -An -tx1", " 00 00\n"},
        {"(echo x >/dev/full) 2>&1 | grep -o 'No space left on device'",
         "No space left on device\n"},
        {"head -c 9 /dev/urandom | wc -c; head -c 9 /dev/random | wc -c", "9\n9\n"},
        {"cat <(echo one) <(echo two); echo three > >(cat); wait $!", "one\ntwo\nthree\n"},
        /* In a pipe of the user's: the test's own belong to root. */
        {"echo in | cat /dev/stdin | cat; (echo out >/dev/stdout; echo err >/dev/stderr) |& cat",
         "in\nout\nerr\n"},
        {"echo here | cat /dev/fd/0", "here\n"},
        {"sleep 0 & wait $! && echo 0", "0\n"},
        {"script -qec tty /dev/null | tr -d '\\r'", "/dev/pts/0\n"},
        {"script -qec 'stat -c %u /dev/pts/0' /dev/null | tr -d '\\r'", "60001\n"},
        {"echo shared >/dev/shm/x && cat /dev/shm/x && stat -c %a /dev/shm", "shared\n1777\n"},
        {"stat -f -c %T /dev/shm; cd /dev/shm && mktemp -p . | wc -l", "tmpfs\n1\n"},
};

static void use_all(const struct service *service, void (*become)(void)) {
        const char *root = sandbox_path("root");

        for (size_t i = 0; i < N_ELEMENTS(uses); i++) {
                struct ctl ctl = bash(service, root, uses[i].script);
                struct program program;

                ctl.become = become;
                program = ctl_run(&ctl, 0);
                ck_assert_msg(strstr(program.said, uses[i].expected) != NULL, "%s: %s",
                              uses[i].script, program.said);
        }
}

SANDBOX_TEST(devices_links_terminals_and_shm_work) {
        struct service service = service_start_with("run", NULL);

        make_root(USER_ALICE, "root");
        use_all(&service, CTL_BECOME_USUALLY);
        use_all(&service, ctl_become_alice_who_may_chroot);
        service_stop(&service);
}

/* The root's own dev is back afterwards. */
SANDBOX_TEST(a_dev_of_the_root_s_own_is_covered_for_as_long_as_it_takes) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = bash(&service, make_root(USER_ALICE, "root"), "test -c /dev/null");
        struct stat stat;

        ctl_run(&ctl, 0);
        ck_assert_int_eq(lstat(sandbox_path("root/dev/null"), &stat), 0);
        ck_assert(S_ISREG(stat.st_mode) && stat.st_size == strlen("a file\n"));
        service_stop(&service);
}

/* /dev/tty is the terminal of the process that opens it. */
SANDBOX_TEST(tty_is_that_of_the_command) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = bash(&service, make_root(USER_ALICE, "root"),
                              "setsid -w bash -c ': >/dev/tty' 2>&1 | grep -o 'No such device'; "
                              "echo to the terminal >/dev/tty");
        struct program program = {0};

        program.pid = forkpty(&program.output, NULL, NULL, NULL);
        ck_assert_int_ge(program.pid, 0);
        if (program.pid == 0)
                ctl_exec(&ctl);
        program.input = fcntl(program.output, F_DUPFD_CLOEXEC, 0);
        program_await(&program, "to the terminal");
        program_expect_exit(&program, &service, 0);
        program_expect(&program, "No such device");
        service_stop(&service);
}

/* ---- what doesn't work ---- */

static const char tamper[] =
        "shopt -s nullglob\n"
        "try() { \"$@\" 2>/dev/shm/error && echo \"done: $*\"; cat /dev/shm/error; }\n"
        "for node in null zero full random urandom tty; do\n"
        "  try chmod 600 /dev/$node; try chown $(id -u) /dev/$node; try rm -f /dev/$node\n"
        "  try mv /dev/$node /dev/shm/; try touch -c /dev/$node; try ln -f /dev/$node /dev/more\n"
        "done\n"
        "for link in fd stdin ptmx pts shm; do\n"
        "  try rm -rf /dev/$link; try mv /dev/$link /dev/more\n"
        "done\n"
        "try touch /dev/more; try mkdir /dev/more; try ln -s null /dev/more; try chmod 777 /dev\n"
        "for where in /dev /dev/pts /dev/shm; do\n"
        "  try mknod $where/sda b 8 0; try mknod $where/kmsg c 1 11\n"
        "done\n"
        "try cp /bin/true /dev/shm/true; chmod 755 /dev/shm/true; try /dev/shm/true\n"
        "rm -f /dev/shm/true /dev/shm/error; echo left $(ls /dev/shm)\n";

SANDBOX_TEST(nobody_changes_the_nodes) {
        static const struct {
                uid_t owner;
                void (*become)(void);
        } users[] = {
                {USER_ALICE, CTL_BECOME_USUALLY},
                {USER_ALICE, ctl_become_alice_who_may_chroot},
                {0, ctl_become_root_who_may_chroot},
        };
        struct service service = service_start_with("run", NULL);
        struct stat before, after;

        ck_assert_int_eq(stat("/dev/null", &before), 0);
        for (size_t i = 0; i < N_ELEMENTS(users); i++) {
                char name[16];
                struct ctl ctl;
                struct program program;

                snprintf(name, sizeof(name), "root%zu", i);
                ctl = bash(&service, make_root(users[i].owner, name), tamper);
                ctl.become = users[i].become;
                program = ctl_run(&ctl, 0);
                /* A program can be copied to shm, but not executed. */
                ck_assert_msg(program_count(&program, "done: ") == 1, "%s", program.said);
                program_expect(&program, "done: cp /bin/true");
                program_expect(&program, "left\n");
                ck_assert_uint_ge(program_count(&program, "Read-only file system"), 40);
                ck_assert_uint_eq(program_count(&program, "mknod: "), 6);
        }
        ck_assert_int_eq(stat("/dev/null", &after), 0);
        ck_assert(after.st_mode == before.st_mode && after.st_uid == before.st_uid &&
                  after.st_ino == before.st_ino && after.st_ctim.tv_sec == before.st_ctim.tv_sec);
        service_stop(&service);
}

/* ---- private to a lease ---- */

/* Holds a terminal and a file, until its input ends. */
static const char occupy[] =
        "echo mine >/dev/shm/x; script -qfec 'tty; read line' /dev/null; echo end $(ls /dev/shm)";
static const char look[] = "echo shm $(ls /dev/shm); echo pts $(ls /dev/pts); "
                           "script -qec tty /dev/null";

SANDBOX_TEST(each_lease_has_its_own_terminals_and_shm) {
        struct service service = service_start_with("run", NULL);
        struct ctl first = bash(&service, make_root(USER_ALICE, "root"), occupy);
        struct ctl second = bash(&service, make_root(USER_ALICE, "other"), look);
        struct program occupant = ctl_start(&first), onlooker;

        program_await(&occupant, "/dev/pts/0");
        onlooker = ctl_start(&second);
        program_await_end(&onlooker);
        program_expect(&onlooker, "shm\n");
        program_expect(&onlooker, "pts ptmx\n");
        program_expect(&onlooker, "/dev/pts/0");
        ck_assert(WIFEXITED(program_reap(&onlooker)));
        dprintf(occupant.input, "\n");
        program_await(&occupant, "end x\n");
        program_expect_exit(&occupant, &service, 0);

        onlooker = ctl_run(&second, 0);
        program_expect(&onlooker, "shm\n");
        service_stop(&service);
}

SANDBOX_TEST(shm_is_as_large_as_the_administrator_lets_it_be) {
        struct service service = service_start_with("run", "--dev-shm-size=1M");
        const char *root = make_root(USER_ALICE, "root");
        struct ctl ctl = bash(&service, root,
                              "head -c 1048576 /dev/zero >/dev/shm/x && echo fits; "
                              "echo >>/dev/shm/x");
        struct program program = ctl_run(&ctl, 1);

        program_expect(&program, "fits\n");
        program_expect(&program, "No space left on device");
        service_stop(&service);

        service = service_start_with("run", "--dev-shm-size=0");
        ctl = bash(&service, root, "test ! -e /dev/shm && test -c /dev/null");
        ctl_run(&ctl, 0);
        service_stop(&service);
}

/* ---- mounts, counted and undone ---- */

SANDBOX_TEST(missing_dev_is_made_and_removed) {
        static const char *const there[] = {NULL, "proc", "dev"};
        struct service service = service_start_with("run", NULL);
        const char *root = sandbox_make_directory(USER_ALICE, 0700, "root");
        struct ctl ctl = {
                .service = &service,
                .arguments = {"run", "--create", "--dev", root, "--", "bash", "-c",
                              "test -c /dev/null && test -d /sys/kernel"},
        };

        furnish(root);
        for (size_t i = 0; i < N_ELEMENTS(there); i++) {
                char path[32];

                snprintf(path, sizeof(path), "root/%s", there[i] ?: "");
                if (there[i])
                        sandbox_make_directory(USER_ALICE, 0755, path);
                ctl_run(&ctl, 0);
                ck_assert_int_eq(is_there(sandbox_path("root/dev")), i == 2);
                ck_assert_int_eq(is_there(sandbox_path("root/proc")), i >= 1);
                ck_assert(!is_there(sandbox_path("root/sys")));
        }
        service_stop(&service);
}

static const struct {
        const char *const options[5];
        const char *script;
} selections[] = {
        {{"--file-system", "dev"}, "test -c /dev/null && test ! -e /proc/self"},
        {{"--file-system", "proc", "--dev"}, "cat <(test -c /dev/null) && test ! -e /sys/kernel"},
        {{"--file-system", "sysfs", "--file-system", "dev"}, "test -d /sys/kernel"},
        {{"--pids-only", "--read-only", "--dev"}, "echo >/dev/null && test ! -e /proc/sys"},
        {{"--timeout", "20"}, "test ! -c /dev/null && test -d /sys/kernel"},
};

SANDBOX_TEST(dev_comes_on_request) {
        struct service service = service_start_with("run", NULL);
        const char *root = make_root(USER_ALICE, "root");

        for (size_t i = 0; i < N_ELEMENTS(selections); i++) {
                struct ctl ctl = {.service = &service, .arguments = {"run"}};
                const char **next = ctl.arguments + 1;

                for (const char *const *option = selections[i].options; *option; option++)
                        *next++ = *option;
                memcpy(next, (const char *[]){root, "--", "bash", "-c", selections[i].script},
                       5 * sizeof(*next));
                ctl_run(&ctl, 0);
        }
        service_stop(&service);
}

static struct program hold(const struct service *service, const char *root) {
        struct ctl ctl = {.service = service, .arguments = {"hold", "--dev", root}};
        struct program program = ctl_start(&ctl);

        program_await(&program, "mounted proc, sysfs and dev");
        ck_assert(is_mounted(sandbox_path("root/dev")) && is_mounted(sandbox_path("root/dev/tty")));
        return program;
}

SANDBOX_TEST(all_of_it_goes_when_hold_is_killed) {
        struct service service = service_start_with("run", NULL);
        struct program program = hold(&service, make_root(USER_ALICE, "root"));

        ck_assert_int_eq(kill(program.pid, SIGKILL), 0);
        ck_assert(WIFSIGNALED(program_reap(&program)));
        sandbox_wait_for(!is_mounted(sandbox_path("root/dev")));
        ck_assert(!is_mounted(sandbox_path("root/dev/null")));
        ck_assert(!is_mounted(sandbox_path("root/dev/pts")));
        ck_assert(!is_mounted(sandbox_path("root/dev/shm")));
        sandbox_wait_for(sandbox_count_mounts(0, service.source) == 0);
        service_stop(&service);
}

SANDBOX_TEST(hold_comes_through_a_restart) {
        struct service service = service_start_with("run", NULL);
        struct program program = hold(&service, make_root(USER_ALICE, "root"));

        ck_assert_int_eq(kill(service.pid, SIGKILL), 0);
        service_wait(&service);
        service = service_spawn(&(struct service_plan){.name = "run"});
        program_await(&program, "the mounts stay");
        ck_assert(is_mounted(sandbox_path("root/dev/tty")));
        program_expect_exit(&program, &service, 0);
        ck_assert(!is_mounted(sandbox_path("root/dev")));
        service_stop(&service);
}

/* As in the manual: 9, or 8 without shm, besides proc and sysfs. */
SANDBOX_TEST(each_counts_as_so_many_mounts) {
        static const struct {
                const char *shm, *limit;
                bool enough;
        } cases[] = {
                {"--dev-shm-size=64M", "--max-mounts-per-user=11", true},
                {"--dev-shm-size=64M", "--max-mounts-per-user=10", false},
                {"--dev-shm-size=0", "--max-mounts-per-user=10", true},
                {"--dev-shm-size=0", "--max-mounts-per-user=9", false},
        };
        const char *root = make_root(USER_ALICE, "root");

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct service service = service_start_with("run", cases[i].shm, cases[i].limit);
                struct ctl ctl = bash(&service, root, "test -c /dev/null");
                struct program program = ctl_run(&ctl, cases[i].enough ? 0 : 125);

                if (!cases[i].enough)
                        program_expect(&program, "limit-exceeded");
                service_stop(&service);
        }
}

/* ---- refusals ---- */

SANDBOX_TEST(a_daemon_that_offers_none_says_so) {
        struct service service = service_start_with("run", "--no-dev");
        const char *root = make_root(USER_ALICE, "root");
        struct ctl ctl = bash(&service, root, "exit 0");
        struct program program = ctl_run(&ctl, 125);

        program_expect(&program, "cannot mount dev below");
        program_expect(&program, "unsupported-file-system");
        program_expect(&program, "--no-dev");
        service_stop(&service);
}

SANDBOX_TEST(a_dev_that_is_none_is_named) {
        struct service service = service_start_with("run", NULL);
        const char *root = sandbox_make_root(USER_ALICE, "root");
        struct ctl ctl = bash(&service, root, "exit 0");
        struct program program = ctl_run(&ctl, 125);

        program_expect(&program, "cannot mount dev below");
        program_expect(&program, "--create");

        ctl_write_file(sandbox_path("root/dev"), "", 0644);
        program = ctl_run(&ctl, 125);
        program_expect(&program, "cannot mount dev below");
        program_expect(&program, "not-a-directory");
        ck_assert_int_eq(unlink(sandbox_path("root/dev")), 0);

        ck_assert_int_eq(symlink("/dev", sandbox_path("root/dev")), 0);
        program = ctl_run(&ctl, 125);
        program_expect(&program, "symbolic link");
        service_stop(&service);
}

int main(void) {
        TCase *tests = tcase_create("run_dev");

        tcase_add_test(tests, devices_links_terminals_and_shm_work);
        tcase_add_test(tests, a_dev_of_the_root_s_own_is_covered_for_as_long_as_it_takes);
        tcase_add_test(tests, tty_is_that_of_the_command);
        tcase_add_test(tests, nobody_changes_the_nodes);
        tcase_add_test(tests, each_lease_has_its_own_terminals_and_shm);
        tcase_add_test(tests, shm_is_as_large_as_the_administrator_lets_it_be);
        tcase_add_test(tests, missing_dev_is_made_and_removed);
        tcase_add_test(tests, dev_comes_on_request);
        tcase_add_test(tests, all_of_it_goes_when_hold_is_killed);
        tcase_add_test(tests, hold_comes_through_a_restart);
        tcase_add_test(tests, each_counts_as_so_many_mounts);
        tcase_add_test(tests, a_daemon_that_offers_none_says_so);
        tcase_add_test(tests, a_dev_that_is_none_is_named);
        return sandbox_run(tests);
}
