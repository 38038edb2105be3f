/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The directory is made and removed by the program's first process, and each test covers it with a
 * tmpfs in its own namespace: nothing is left of a test that died. Logs alone stand beside it, so
 * that they outlive a failed test, and are printed at the end.
 */

#include "tests/real/world.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

enum {
        WORLD_PATHS = 64,
        WORLD_PATH_SIZE = 256,
        WORLD_TEST_TIMEOUT = 300, /* seconds; sanitizers are slow */
};

static char world_base[] = "/tmp/mountatd-test-XXXXXX";
static char world_directory[sizeof(world_base) + sizeof("/world")];

static void world_enter(void) {
        if (geteuid() != 0)
                return;
        ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
        ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
        ck_assert_int_eq(mount("tmpfs", world_directory, "tmpfs", 0, "mode=0755"), 0);
}

static void world_each_log(const char *pattern, void (*act)(const char *path)) {
        char path[WORLD_PATH_SIZE];
        glob_t logs;

        snprintf(path, sizeof(path), "%s/%s", world_base, pattern);
        if (glob(path, 0, NULL, &logs) == 0)
                for (size_t i = 0; i < logs.gl_pathc; i++)
                        act(logs.gl_pathv[i]);
        globfree(&logs);
}

static void world_remove_log(const char *path) {
        unlink(path);
}

static void world_print_log(const char *path) {
        FILE *log = fopen(path, "re");
        char line[1024];

        fprintf(stderr, "---- %s\n", path);
        while (log && fgets(line, sizeof(line), log))
                fputs(line, stderr);
        if (log)
                fclose(log);
        unlink(path);
}

/* Only reached by a test that passed. */
static void world_leave(void) {
        char pattern[32];

        if (geteuid() != 0)
                return;
        ck_assert_msg(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD,
                      "the test has left a process behind");
        snprintf(pattern, sizeof(pattern), "%d-*.log", getpid());
        world_each_log(pattern, world_remove_log);
}

int world_run(TCase *tests) {
        Suite *suite = suite_create(program_invocation_short_name);
        SRunner *runner;
        int failed;

        if (!mkdtemp(world_base) || chmod(world_base, 0755) < 0) {
                perror(world_base);
                return EXIT_FAILURE;
        }
        snprintf(world_directory, sizeof(world_directory), "%s/world", world_base);
        if (mkdir(world_directory, 0755) < 0) {
                perror(world_directory);
                return EXIT_FAILURE;
        }
        tcase_set_timeout(tests, WORLD_TEST_TIMEOUT);
        tcase_add_checked_fixture(tests, world_enter, world_leave);
        suite_add_tcase(suite, tests);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);

        world_each_log("*.log", world_print_log);
        if (rmdir(world_directory) < 0 || rmdir(world_base) < 0)
                perror(world_base);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

void world_log_path(char *path, size_t size, const char *name) {
        snprintf(path, size, "%s/%d-%s.log", world_base, getpid(), name);
}

const char *world_path(const char *format, ...) {
        static char paths[WORLD_PATHS][WORLD_PATH_SIZE];
        static unsigned next;
        char *path = paths[next++ % WORLD_PATHS];
        size_t length = sprintf(path, "%s/", world_directory);
        va_list arguments;
        int n;

        va_start(arguments, format);
        n = vsnprintf(path + length, WORLD_PATH_SIZE - length, format, arguments);
        va_end(arguments);
        ck_assert(n >= 0 && n < WORLD_PATH_SIZE - (int)length);
        return path;
}

int64_t world_now_ms(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

const char *world_make_directory(uid_t uid, mode_t mode, const char *path) {
        const char *whole = world_path("%s", path);

        ck_assert_int_eq(mkdir(whole, mode), 0);
        ck_assert_int_eq(chmod(whole, mode), 0);
        ck_assert_int_eq(chown(whole, uid, uid), 0);
        return whole;
}

const char *world_make_root(uid_t uid, const char *name) {
        char path[WORLD_PATH_SIZE];
        const char *root = world_make_directory(uid, 0700, name);

        snprintf(path, sizeof(path), "%s/proc", name);
        world_make_directory(uid, 0755, path);
        snprintf(path, sizeof(path), "%s/sys", name);
        world_make_directory(uid, 0755, path);
        return root;
}

/* ---- users ---- */

void world_become(uid_t uid) {
        const gid_t group = WORLD_GROUP;

        if (setgroups(uid != WORLD_MALLORY, &group) < 0 || setresgid(uid, uid, uid) < 0 ||
            setresuid(uid, uid, uid) < 0)
                ck_abort_msg("becoming uid %u: %s", uid, strerror(errno));
        /* Changing ids clears both. LeakSanitizer must be able to look into the process. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_DUMPABLE, 1);
}

/* Of this thread alone, which the C library's functions wouldn't do: others stay root. */
void world_borrow(uid_t uid) {
        const gid_t group = WORLD_GROUP;

        if (syscall(SYS_setgroups, uid != WORLD_MALLORY, &group) < 0 ||
            syscall(SYS_setresgid, -1, uid, -1) < 0 || syscall(SYS_setresuid, -1, uid, -1) < 0)
                ck_abort_msg("borrowing uid %u: %s", uid, strerror(errno));
}

void world_return(void) {
        int saved = errno;

        if (syscall(SYS_setresuid, -1, 0, -1) < 0 || syscall(SYS_setresgid, -1, 0, -1) < 0 ||
            syscall(SYS_setgroups, 0, NULL) < 0)
                ck_abort_msg("returning to root: %s", strerror(errno));
        prctl(PR_SET_DUMPABLE, 1);
        errno = saved;
}

pid_t world_spawn(uid_t uid, void (*act)(void *argument), void *argument) {
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid > 0)
                return pid;
        world_become(uid);
        act(argument);
        _exit(EXIT_SUCCESS);
}

void world_join(pid_t pid) {
        int status;

        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "process %d ended with 0x%x",
                      pid, status);
}

void world_run_as(uid_t uid, void (*act)(void *argument), void *argument) {
        world_join(world_spawn(uid, act, argument));
}

int world_open(uid_t uid, const char *path) {
        int fd;

        world_borrow(uid);
        fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        world_return();
        ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
        return fd;
}

int world_rmdir(uid_t uid, const char *path) {
        int r;

        world_borrow(uid);
        r = rmdir(path) < 0 ? -errno : 0;
        world_return();
        return r;
}

void world_kill(pid_t pid) {
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

/* ---- the mount table ---- */

/* "ID PARENT MAJOR:MINOR ROOT PATH OPTIONS [TAG…] - TYPE SOURCE SUPER", see proc(5). */
static bool world_parse_mount(const char *line, struct world_mount *mount) {
        const char *rest = strstr(line, " - ");

        return rest &&
               sscanf(line, "%*u %*u %*s %*s %255s %255s", mount->path, mount->options) == 2 &&
               sscanf(rest, " - %63s %255s %511s", mount->type, mount->source, mount->super) == 3;
}

static FILE *world_open_table(pid_t pid) {
        char path[64] = "/proc/self/mountinfo";
        FILE *table;

        if (pid)
                snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
        table = fopen(path, "re");
        ck_assert_msg(table != NULL, "%s: %s", path, strerror(errno));
        return table;
}

bool world_find_mount(pid_t pid, const char *path, struct world_mount *mount) {
        FILE *table = world_open_table(pid);
        struct world_mount candidate;
        bool found = false;
        char line[2048];

        while (fgets(line, sizeof(line), table))
                if (world_parse_mount(line, &candidate) && strcmp(candidate.path, path) == 0) {
                        *mount = candidate;
                        found = true;
                }
        fclose(table);
        return found;
}

unsigned world_count_mounts(pid_t pid, const char *source) {
        FILE *table = world_open_table(pid);
        struct world_mount mount;
        unsigned count = 0;
        char line[2048];

        while (fgets(line, sizeof(line), table))
                count += world_parse_mount(line, &mount) && strcmp(mount.source, source) == 0;
        fclose(table);
        return count;
}

bool world_has_option(const char *options, const char *option) {
        size_t length = strlen(option);

        for (const char *p = options; p; p = strchr(p, ',')) {
                p += *p == ',';
                if (strncmp(p, option, length) == 0 && (p[length] == ',' || p[length] == '\0'))
                        return true;
        }
        return false;
}
