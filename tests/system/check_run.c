/* SPDX-License-Identifier: Apache-2.0 */

/*
 * mountatctl run and hold, by an unprivileged user, in an input root with only busybox: what the
 * command gets, how it ends, and that nothing is left.
 */

#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* ---- exit statuses ---- */

RUN_TEST(exit_status_is_the_command_s) {
        static const struct {
                const char *script;
                int status;
        } commands[] = {
                {"exit 0", 0},
                {"exit 1", 1},
                {"exit 42", 42},
                {"exit 124", 124},
                {"exit 125", 125},
                {"exit 255", 255},
                {"kill -HUP $$", 129},
                {"kill -KILL $$", 137},
                {"kill -SEGV $$", 139},
                {"kill -TERM $$", 143},
                {"no-such-program", 127},
        };
        struct service service = service_start_with("run", NULL);
        const char *root = ctl_make_root(USER_ALICE);

        for (size_t i = 0; i < N_ELEMENTS(commands); i++) {
                struct ctl ctl = ctl_shell(&service, root, commands[i].script);

                ctl_run(&ctl, commands[i].status);
        }
        service_stop(&service);
}

RUN_TEST(exit_status_tells_its_own_failures_apart) {
        struct service service = service_start_with("run", NULL);
        struct service nobody = {0};
        const char *root = ctl_make_root(USER_ALICE);
        const char *empty = sandbox_make_directory(USER_ALICE, 0755, "empty");
        const char *bobs = sandbox_make_root(USER_BOB, "bobs");

        ck_assert_int_eq(chmod(bobs, 0755), 0);
        strcpy(nobody.socket, sandbox_path("nobody"));
        strcpy(nobody.source, service.source);
        ctl_write_file(sandbox_path("root/data"), "data\n", 0644);
        ctl_write_file(sandbox_path("root/script"), "#!/bin/no-such-shell\n", 0755);
        ctl_write_file(sandbox_path("root/bin/text"), "data\n", 0644);
        sandbox_make_directory(USER_ALICE, 0755, "root/closed");
        ctl_copy_file(CTL_BUSYBOX, sandbox_path("root/closed/busybox"), 0755);
        ck_assert_int_eq(chmod(sandbox_path("root/closed"), 0700), 0);
        ck_assert_int_eq(chown(sandbox_path("root/closed"), 0, 0), 0);

        const struct {
                const char *arguments[8];
                int status;
                const char *text;
                bool unanswered; /* there is no daemon */
                const char *path;
        } attempts[] = {
                {{"run", root, "--", "/no"}, 127, "cannot find /no in the root"},
                {{"run", root, "--", "no"}, 127, "cannot find no in the root"},
                {{"run", root, "--", "/bin/no/no"}, 127, "cannot find"},
                {{"run", root, "--", ""}, 127, "cannot find a command without a name"},
                {{"run", root, "--", "sh"}, 127, "cannot find sh", .path = "/closed:/no"},
                {{"run", root, "--", "/data"}, 126, "cannot execute /data"},
                {{"run", root, "--", "text"}, 126, "cannot execute text"},
                {{"run", root, "--", "/bin"}, 126, "cannot execute /bin"},
                {{"run", root, "--", "/closed/busybox"}, 126, "cannot execute /closed/busybox"},
                {{"run", root, "--", "/script"},
                 126,
                 "its interpreter or dynamic loader is missing"},
                {{"run", root, "--", "/bin/id"}, 125, "mountatd", .unanswered = true},
                {{"run"}, 125, "usage"},
                {{"run", root}, 125, "usage"},
                {{"run", root, "--"}, 125, "usage"},
                {{"run", "--no-such", root, "--", "id"}, 125, "has no option"},
                {{"run", "--all", root, "--", "id"}, 125, "has no option"},
                {{"run", "--timeout", "0", root, "--", "id"}, 125, "--timeout takes"},
                {{"run", "--file-system", "ext4", root, "--", "id"}, 125, "--file-system takes"},
                {{"run", sandbox_path("no"), "--", "id"}, 125, "No such file"},
                {{"run", sandbox_path("root/data"), "--", "id"}, 125, "Not a directory"},
                {{"run", empty, "--", "id"}, 125, "--create"},
                {{"run", bobs, "--", "id"}, 125, "not-authorised"},
                {{"hold"}, 2, "usage"},
                {{"hold", root, root}, 2, "usage"},
                {{"hold", sandbox_path("no")}, 1, "No such file"},
                {{"hold", bobs}, 1, "not-authorised"},
                {{"hold", root}, 1, "mountatd", .unanswered = true},
        };

        for (size_t i = 0; i < N_ELEMENTS(attempts); i++) {
                struct ctl ctl = {
                        .service = attempts[i].unanswered ? &nobody : &service,
                        .path = attempts[i].path,
                };
                struct program program;

                memcpy(ctl.arguments, attempts[i].arguments, sizeof(attempts[i].arguments));
                program = ctl_run(&ctl, attempts[i].status);
                program_expect(&program, attempts[i].text);
        }
        service_stop(&service);
}

RUN_TEST(dashes_before_the_command_may_be_left_out) {
        struct service service = service_start_with("run", NULL);
        const char *root = ctl_make_root(USER_ALICE);
        struct ctl ctl = {
                .service = &service,
                .arguments = {"run", root, "sh"},
        };
        struct program program = ctl_start(&ctl);

        dprintf(program.input, "exit 7\n");
        program_expect_exit(&program, &service, 7);
        service_stop(&service);
}

/* ---- the command's environment ---- */

RUN_TEST(command_has_proc_and_sys_and_the_root_for_its_own) {
        static const char script[] = "pwd; ls -di / /..; test -e /proc/self/status && "
                                     "test -d /sys/kernel && id -u && cat && echo end";
        struct service service = service_start_with("run", NULL);
        const char *root = ctl_make_root(USER_ALICE);
        struct ctl ctl = ctl_shell(&service, root, script);
        struct program program = ctl_start(&ctl);
        char expected[64];
        struct stat stat;

        dprintf(program.input, "through the pipe\n");
        program_expect_exit(&program, &service, 0);
        ck_assert_int_eq(lstat(root, &stat), 0);
        snprintf(expected, sizeof(expected), "%lu /\n", (unsigned long)stat.st_ino);
        ck_assert_int_eq(strncmp(program.said, "/\n", 2), 0);
        program_expect(&program, expected);
        snprintf(expected, sizeof(expected), "%lu /..\n", (unsigned long)stat.st_ino);
        program_expect(&program, expected);
        snprintf(expected, sizeof(expected), "\n%u\nthrough the pipe\nend\n", USER_ALICE);
        program_expect(&program, expected);
        service_stop(&service);
}

static void leave_a_descriptor_open(void) {
        CTL_BECOME_USUALLY();
        ck_assert_int_eq(dup2(STDERR_FILENO, 77), 77);
}

RUN_TEST(command_has_no_descriptor_but_the_standard_ones) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = ctl_shell(&service, ctl_make_root(USER_ALICE),
                                   "for fd in /proc/$$/fd/*; do echo ${fd##*/}; done; echo end");
        struct program program;

        ctl.become = leave_a_descriptor_open;
        program = ctl_run(&ctl, 0);
        program_expect(&program, "0\n1\n2\n");
        ck_assert_ptr_null(strstr(program.said, "77"));
        service_stop(&service);
}

/* What a make leaves open for a sub-make, and other descriptors. */
enum {
        MAKE_READER = 70,
        MAKE_WRITER,
        OUTER_DIRECTORY,
};

static const char *make_flags;

static void become_a_command_of_make(void) {
        const char *outer = sandbox_path("outer");
        int fds[2];

        ck_assert_int_eq(dup2(open(outer, O_RDONLY | O_DIRECTORY), OUTER_DIRECTORY),
                         OUTER_DIRECTORY);
        ck_assert_int_eq(pipe(fds), 0);
        ck_assert_int_eq(dup2(fds[0], MAKE_READER), MAKE_READER);
        ck_assert_int_eq(dup2(fds[1], MAKE_WRITER), MAKE_WRITER);
        ck_assert_int_eq(close_range(3, MAKE_READER - 1, 0), 0);
        ck_assert_int_eq(write(MAKE_WRITER, "+", 1), 1);
        ck_assert_int_eq(setenv("MAKEFLAGS", make_flags, 1), 0);
        CTL_BECOME_USUALLY();
}

/* Takes a token, gives it back, and prints the other descriptors. */
#define BE_MAKE                                                                                    \
        "(read -n 1 token <&70; echo token $token; echo $token >&71) 2>&1; "                       \
        "ls -l /proc/$$/fd; cat /proc/$$/fd/72/secret; exit 0"

static const char *make_root_and_outer_directory(void) {
        sandbox_make_directory(USER_ALICE, 0755, "outer");
        ctl_write_file(sandbox_path("outer/secret"), "seen\n", 0644);
        return ctl_make_root(USER_ALICE);
}

RUN_TEST(job_server_of_make_is_passed_on) {
        static const struct {
                const char *flags;
                bool passed;
        } cases[] = {
                {" -j2 --jobserver-auth=70,71", true},
                {" --jobserver-fds=70,71 -j", true},
                {" -j2 --jobserver-auth=fifo:/tmp/fifo", false},
                {" -j2 --jobserver-auth=72,72", false},
                {" -j2 --jobserver-auth=70,72", false},
                {"", false},
        };
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = ctl_shell(&service, make_root_and_outer_directory(), BE_MAKE);

        ctl.become = become_a_command_of_make;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct program program;

                make_flags = cases[i].flags;
                program = ctl_run(&ctl, 0);
                ck_assert_int_eq(strstr(program.said, "token +\n") != NULL, cases[i].passed);
                ck_assert_int_eq(strstr(program.said, " 71 -> pipe:") != NULL, cases[i].passed);
                program_expect(&program, " 0 -> ");
                ck_assert_ptr_null(strstr(program.said, " 72 -> "));
                ck_assert_ptr_null(strstr(program.said, "seen\n"));
        }
        service_stop(&service);
}

/* As the manual warns, a directory is a way out. mountatctl's own descriptors aren't passed on. */
RUN_TEST(keep_fds_passes_all_on_but_its_own) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = {
                .service = &service,
                .arguments = {"run", "--keep-fds", make_root_and_outer_directory(), "--", "sh",
                              "-c", BE_MAKE},
                .become = become_a_command_of_make,
        };
        struct program program;

        make_flags = "";
        program = ctl_run(&ctl, 0);
        program_expect(&program, "token +\n");
        program_expect(&program, " 72 -> ");
        program_expect(&program, "seen\n");
        ck_assert_ptr_null(strstr(program.said, "socket:"));
        ck_assert_ptr_null(strstr(program.said, "anon_inode:"));
        ck_assert_ptr_null(strstr(program.said, " -> /\n"));
        service_stop(&service);
}

/* ---- capabilities ---- */

static const char read_capabilities[] = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status; "
                                        "cat /proc/self/uid_map";

RUN_TEST(command_of_a_user_has_no_capability) {
        void (*const users[])(void) = {CTL_BECOME_USUALLY, ctl_become_alice_who_may_chroot};
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = ctl_shell(&service, ctl_make_root(USER_ALICE), read_capabilities);

        for (size_t i = 0; i < N_ELEMENTS(users); i++) {
                struct program program;

                ctl.become = users[i];
                program = ctl_run(&ctl, 0);
                program_expect(&program, "CapPrm:\t0000000000000000\n");
                program_expect(&program, "CapEff:\t0000000000000000\n");
                program_expect(&program, "CapAmb:\t0000000000000000\n");
                program_expect(&program, "NoNewPrivs:\t1\n");
                /* With the capability no namespace is needed. */
                program_expect(&program, users[i] == ctl_become_alice ? " 1\n" : " 4294967295\n");
        }
        service_stop(&service);
}

/* As with chroot(8): root decides what to run. */
RUN_TEST(command_of_root_keeps_the_capabilities_and_gains_none) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = ctl_shell(&service, ctl_make_root(0), read_capabilities);
        struct program program;

        ctl.become = ctl_stay_root;
        program = ctl_run(&ctl, 0);
        ck_assert_ptr_null(strstr(program.said, "CapEff:\t0000000000000000\n"));
        program_expect(&program, "CapAmb:\t0000000000000000\n");
        program_expect(&program, "NoNewPrivs:\t1\n");
        service_stop(&service);
}

/* ---- denied user namespaces ---- */

/* A system call that fails, as if denied by the kernel or a security module. */
struct refusal {
        uint32_t number;
        uint32_t index; /* of the argument that identifies the call, */
        uint32_t mask;  /* these bits of it, */
        uint32_t value; /* and their value */
        uint32_t error;
};

static struct refusal refusal;

static void become_alice_who_is_refused(void) {
        uint32_t argument = offsetof(struct seccomp_data, args) + refusal.index * sizeof(uint64_t);
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal.number, 0, 4),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument), /* the low half */
                BPF_STMT(BPF_ALU | BPF_AND | BPF_K, refusal.mask),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal.value, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | refusal.error),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {.len = N_ELEMENTS(filter), .filter = filter};

        ctl_become_alice();
        ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), 0);
}

/* The sysctls of Debian's and Ubuntu's kernels in /proc/sys/kernel; NULL: absent. */
static void set_sysctls(const char *clone, const char *restricted) {
        ck_assert_int_eq(mount("tmpfs", "/proc/sys/kernel", "tmpfs", 0, NULL), 0);
        if (clone)
                ctl_write_file("/proc/sys/kernel/unprivileged_userns_clone", clone, 0644);
        if (restricted)
                ctl_write_file("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", restricted,
                               0644);
}

#define REFUSE_UNSHARE(error)                                                                      \
        { SYS_unshare, 0, ~0U, CLONE_NEWUSER, error }
#define REFUSE_OPEN(error)                                                                         \
        { SYS_openat, 2, ~0U, O_WRONLY | O_CLOEXEC, error }
#define REFUSE_DENY                                                                                \
        { SYS_write, 2, ~0U, strlen("deny"), EPERM }

USERNS_TEST(denial_of_a_user_namespace_is_explained) {
        const struct {
                struct refusal refusal;
                const char *clone, *restricted; /* sysctls */
                const char *text;
        } cases[] = {
                {REFUSE_UNSHARE(EPERM), "0\n", NULL, "kernel.unprivileged_userns_clone is 0"},
                {REFUSE_UNSHARE(EPERM), "1\n", "1\n",
                 "kernel.apparmor_restrict_unprivileged_userns is 1"},
                {REFUSE_UNSHARE(EACCES), NULL, "1\n", "profile for mountatctl"},
                {REFUSE_UNSHARE(EPERM), "1\n", "0\n", "a container's seccomp filter"},
                {REFUSE_UNSHARE(EPERM), NULL, NULL, "a container's seccomp filter"},
                {REFUSE_UNSHARE(ENOSPC), NULL, NULL, "the limit on user namespaces"},
                {REFUSE_UNSHARE(EUSERS), NULL, NULL, "nesting (32)"},
                {REFUSE_UNSHARE(EINVAL), NULL, NULL, "CONFIG_USER_NS"},
                {REFUSE_UNSHARE(ENOSYS), NULL, NULL, "a seccomp filter, such as a container's"},
                {REFUSE_UNSHARE(ENOMEM), NULL, NULL, "the kernel refuses a user namespace"},
                {REFUSE_OPEN(EACCES), NULL, "1\n", "profile for mountatctl"},
                {REFUSE_OPEN(EACCES), NULL, "0\n", "a security module"},
                {REFUSE_OPEN(EACCES), NULL, NULL, "a security module"},
                {REFUSE_OPEN(ENOENT), NULL, NULL, "is /proc mounted?"},
                {REFUSE_DENY, NULL, "1\n", "profile for mountatctl"},
                {REFUSE_DENY, NULL, NULL, "a security module"},
                {{SYS_chroot, 0, 0, 0, EPERM}, NULL, "1\n", "cannot chroot in a user namespace"},
        };
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = ctl_shell(&service, ctl_make_root(USER_ALICE), "exit 0");

        ctl.become = become_alice_who_is_refused;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct program program;

                set_sysctls(cases[i].clone, cases[i].restricted);
                refusal = cases[i].refusal;
                program = ctl_run(&ctl, 125);
                program_expect(&program, cases[i].text);
                program_expect(&program, "user namespace");
                program_expect(&program, "CAP_SYS_CHROOT");
                ck_assert_int_eq(umount2("/proc/sys/kernel", MNT_DETACH), 0);
        }
        service_stop(&service);
}

static void write_there(const char *path, const char *text) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);

        ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
        ck_assert_int_eq(write(fd, text, strlen(text)), strlen(text));
        close(fd);
}

/* In a user namespace of hers, whose sysctl she can set. */
static void become_alice_without_namespaces(void) {
        char map[32];

        ctl_become_alice();
        ck_assert_int_eq(unshare(CLONE_NEWUSER), 0);
        prctl(PR_SET_DUMPABLE, 1);
        snprintf(map, sizeof(map), "%u %u 1", USER_ALICE, USER_ALICE);
        write_there("/proc/self/setgroups", "deny");
        write_there("/proc/self/uid_map", map);
        write_there("/proc/self/gid_map", map);
        write_there("/proc/sys/user/max_user_namespaces", "0");
}

static void become_alice_in_a_chroot(void) {
        ck_assert_int_eq(chroot(sandbox_path("jail")), 0);
        ck_assert_int_eq(chdir("/"), 0);
        ctl_become_alice();
}

/* By the kernel itself. */
USERNS_TEST(what_the_kernel_denies_is_explained) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = ctl_shell(&service, ctl_make_root(USER_ALICE), "exit 0");
        const char *jail = sandbox_make_directory(0, 0755, "jail");
        struct program program;

        umount2("/proc/sys", MNT_DETACH); /* of a container's, read-only */

        ctl.become = become_alice_without_namespaces;
        program = ctl_run(&ctl, 125);
        program_expect(&program, "user.max_user_namespaces is 0");

        ck_assert_int_eq(mount("/", jail, NULL, MS_BIND | MS_REC, NULL), 0);
        ctl.become = become_alice_in_a_chroot;
        program = ctl_run(&ctl, 125);
        program_expect(&program, "possible causes: a chroot");
        ck_assert_int_eq(umount2(jail, MNT_DETACH), 0);

        ck_assert_int_eq(mount("/proc", "/proc", NULL, MS_BIND | MS_REC, NULL), 0);
        ck_assert_int_eq(mount(NULL, "/proc", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
        ctl.become = ctl_become_alice;
        program = ctl_run(&ctl, 125);
        program_expect(&program, "/proc is read-only");
        ck_assert_int_eq(umount2("/proc", MNT_DETACH), 0);
        service_stop(&service);
}

/* Linux 5.12 and later. */
USERNS_TEST(root_without_capabilities_is_told_what_it_needs) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = ctl_shell(&service, ctl_make_root(0), "exit 0");
        struct program program;

        ctl.become = ctl_become_root_who_may_nothing;
        program = ctl_run(&ctl, 125);
        program_expect(&program, "CAP_SETFCAP");
        service_stop(&service);
}

static void become_alice_who_may_not_search(void) {
        ck_assert_int_eq(chmod(sandbox_path("root"), 0600), 0);
        ctl_become_alice();
}

/* The command isn't run. */
static void is_refused_to(void (*become)(void), const char *command, const char *text) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = ctl_shell(&service, ctl_make_root(USER_ALICE), command);
        struct program program;

        ctl.become = become;
        program = ctl_run(&ctl, 125);
        program_expect(&program, text);
        service_stop(&service);
}

RUN_TEST(root_that_may_not_be_searched_is_told) {
        is_refused_to(become_alice_who_may_not_search, "exit 0", "Permission denied");
}

/* ---- what procfs lets nobody do ---- */

/* Those that mountatd(8) lists; some kernels lack some. */
#define OWN_FILES                                                                                  \
        "attr/current attr/exec attr/fscreate autogroup clear_refs comm coredump_filter gid_map "  \
        "loginuid mem oom_adj oom_score_adj projid_map sched setgroups timens_offsets "            \
        "timerslack_ns uid_map task/$$/comm"

static const char open_own_files[] =
        "for file in " OWN_FILES "; do test -e /proc/$$/$file || continue; "
        "echo \"$file: $( (: >>/proc/$$/$file) 2>&1 && echo opened)\"; done";

RUN_TEST(files_of_one_s_own_process_stay_read_only) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = ctl_shell(&service, ctl_make_root(USER_ALICE), open_own_files);
        struct program program = ctl_run(&ctl, 0);

        program_expect(&program, "comm: ");
        program_expect(&program, "oom_score_adj: ");
        ck_assert_uint_eq(program_count(&program, ": opened"), 0);
        ck_assert_uint_eq(program_count(&program, "Read-only file system"),
                          program_count(&program, "\n"));
        service_stop(&service);
}

RUN_TEST(writable_procfs_lets_them_be_written) {
        struct service service = service_start_with("run", "--writable-proc=60001");
        struct ctl ctl = ctl_shell(&service, ctl_make_root(USER_ALICE),
                                   "echo -n renamed >/proc/$$/comm; cat /proc/$$/comm; "
                                   "echo 600 >/proc/$$/oom_score_adj; cat /proc/$$/oom_score_adj");
        struct program program;

        ctl.become = ctl_become_alice_who_may_chroot;
        program = ctl_run(&ctl, 0);
        ck_assert_str_eq(program.said, "renamed\n600\n");
        service_stop(&service);
}

static void become_alice_who_has_set_hers(void) {
        write_there("/proc/self/oom_score_adj", "700");
        write_there("/proc/self/coredump_filter", "0x11");
        CTL_BECOME_USUALLY();
}

RUN_TEST(command_inherits_what_was_set_before) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = ctl_shell(&service, ctl_make_root(USER_ALICE),
                                   "cat /proc/self/oom_score_adj /proc/self/coredump_filter");
        struct program program;

        ctl.become = become_alice_who_has_set_hers;
        program = ctl_run(&ctl, 0);
        ck_assert_str_eq(program.said, "700\n00000011\n");
        service_stop(&service);
}

/* Files of procfs that only root can read, without any capability. */
#define ROOTS_FILES "kpageflags slabinfo timer_list vmallocinfo"

static const char read_roots_files[] =
        "grep CapEff /proc/self/status; for file in " ROOTS_FILES "; do "
        "test -e /proc/$file && grep -q . /proc/$file && echo read $file; done; "
        "for file in sys/kernel/core_pattern sysrq-trigger pressure/cpu; do "
        "test -e /proc/$file && (: >>/proc/$file) 2>&1 && echo written $file; done; exit 0";

RUN_TEST(root_without_capabilities_reads_what_is_root_s) {
        struct service service = service_start_with("run", NULL);
        const char *root = ctl_make_root(0);
        struct ctl ctl = {.service = &service,
                          .arguments = {"run", root, "--", "sh", "-c", read_roots_files},
                          .become = ctl_become_root_who_may_chroot};
        struct program program = ctl_run(&ctl, 0);

        program_expect(&program, "CapEff:\t0000000000000000\n");
        ck_assert_uint_eq(program_count(&program, "read timer_list"),
                          access("/proc/timer_list", F_OK) == 0);
        ck_assert_uint_eq(program_count(&program, "read slabinfo"),
                          access("/proc/slabinfo", F_OK) == 0);
        program_expect(&program, "Read-only file system");
        ck_assert_ptr_null(strstr(program.said, "written"));
        service_stop(&service);
}

RUN_TEST(pids_only_keeps_it_from_them) {
        struct service service = service_start_with("run", NULL);
        const char *root = ctl_make_root(0);
        struct ctl ctl = {
                .service = &service,
                .arguments = {"run", "--pids-only", root, "--", "sh", "-c", read_roots_files},
                .become = ctl_become_root_who_may_chroot};
        struct program program = ctl_run(&ctl, 0);

        program_expect(&program, "CapEff:\t0000000000000000\n");
        ck_assert_uint_eq(program_count(&program, "read "), 0);
        ck_assert_ptr_null(strstr(program.said, "written"));
        service_stop(&service);
}

/* ---- ownership of files ---- */

USERNS_TEST(files_of_others_are_nobody_s_in_a_user_namespace) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = ctl_shell(&service, ctl_make_root(USER_ALICE),
                                   "busybox stat -c %u:%g /data /proc /bin");
        struct program program;

        ctl_write_file(sandbox_path("root/data"), "", 0644);
        ctl.become = ctl_become_alice;
        program = ctl_run(&ctl, 0);
        program_expect(&program, "65534:65534\n65534:65534\n60001:");
        ctl.become = ctl_become_alice_who_may_chroot;
        program = ctl_run(&ctl, 0);
        program_expect(&program, "0:0\n0:0\n60001:");
        service_stop(&service);
}

/* ---- directories ---- */

static bool is_there(const char *path) {
        return access(path, F_OK) == 0;
}

RUN_TEST(missing_directories_are_made_and_removed) {
        static const struct {
                const char *there; /* before, and therefore after */
                const char *file_system;
                const char *script;
                int status;
        } cases[] = {
                {NULL, NULL, "test -e /proc/self/status && test -d /sys/kernel", 0},
                {"proc", NULL, "test -e /proc/self/status && test -d /sys/kernel", 0},
                {"sys", NULL, "test -e /proc/self/status && test -d /sys/kernel", 0},
                {NULL, "proc", "test -e /proc/self/status && test ! -e /sys", 0},
                {NULL, "sysfs", "test -d /sys/kernel && test ! -e /proc", 0},
                {NULL, NULL, "exit 3", 3},
                {NULL, NULL, "kill -KILL $$", 137},
                {NULL, NULL, "exec /no", 127},
        };
        struct service service = service_start_with("run", NULL);
        const char *root = ctl_make_bare_root(USER_ALICE);

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                const char *there = cases[i].there, *file_system = cases[i].file_system;
                struct ctl ctl = {
                        .service = &service,
                        .arguments = {"run", "--create", "--file-system", file_system ?: "proc",
                                      "--file-system", file_system ?: "sysfs", root, "--", "sh",
                                      "-c", cases[i].script},
                };

                if (there) {
                        char name[16];

                        snprintf(name, sizeof(name), "root/%s", there);
                        sandbox_make_directory(USER_ALICE, 0755, name);
                }
                ctl_run(&ctl, cases[i].status);
                ck_assert_int_eq(is_there(sandbox_path("root/proc")),
                                 there && strcmp(there, "proc") == 0);
                ck_assert_int_eq(is_there(sandbox_path("root/sys")),
                                 there && strcmp(there, "sys") == 0);
                if (there)
                        ck_assert_int_eq(rmdir(sandbox_path("root/%s", there)), 0);
        }
        service_stop(&service);
}

RUN_TEST(made_directories_are_removed_when_the_mount_fails) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = {
                .service = &service,
                .arguments = {"run", "--create", ctl_make_bare_root(USER_ALICE), "--", "sh"},
        };
        struct program program;

        ctl_write_file(sandbox_path("root/sys"), "", 0644);
        program = ctl_run(&ctl, 125);
        program_expect(&program, "not-a-directory");
        ck_assert(!is_there(sandbox_path("root/proc")));
        service_stop(&service);
}

/* ---- signals ---- */

/* A shell that handles its traps: a signal just before read doesn't interrupt it. */
#define SLEEP_FOR_EVER "echo ready; while :; do read -t 1 line; done"

static const int forwarded[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM};

RUN_TEST(signals_reach_the_command_which_may_catch_them) {
        struct service service = service_start_with("run", NULL);
        const char *root = ctl_make_root(USER_ALICE);

        for (size_t i = 0; i < N_ELEMENTS(forwarded); i++) {
                char script[128];
                struct ctl ctl = ctl_shell(&service, root, script);
                struct program program;

                snprintf(script, sizeof(script),
                         "trap 'echo caught; exit 4%zu' %d; " SLEEP_FOR_EVER, i, forwarded[i]);
                program = ctl_start(&ctl);
                program_await(&program, "ready\n");
                ck_assert_int_eq(kill(program.pid, forwarded[i]), 0);
                program_await(&program, "caught\n");
                program_expect_exit(&program, &service, 40 + (int)i);
        }
        service_stop(&service);
}

RUN_TEST(signals_that_end_the_command_are_told_by_the_status) {
        struct service service = service_start_with("run", NULL);
        const char *root = ctl_make_bare_root(USER_ALICE);

        for (size_t i = 0; i < N_ELEMENTS(forwarded); i++) {
                /* Not a shell: busybox's ignores SIGQUIT at times. */
                struct ctl ctl = {
                        .service = &service,
                        .arguments = {"run", "--create", root, "--", "cat"},
                };
                struct program program = ctl_start(&ctl);

                dprintf(program.input, "ready\n");
                program_await(&program, "ready\n");
                ck_assert_int_eq(kill(program.pid, forwarded[i]), 0);
                program_await_end(&program);
                program_expect_exit(&program, &service, 128 + forwarded[i]);
                ck_assert(!is_there(sandbox_path("root/proc")));
                ck_assert(!is_there(sandbox_path("root/sys")));
        }
        service_stop(&service);
}

/* The terminal has already signalled the command. */
RUN_TEST(keys_of_a_terminal_reach_the_command_once) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = ctl_shell(&service, ctl_make_root(USER_ALICE),
                                   "trap 'n=$((n + 1)); echo interrupted' INT; "
                                   "trap 'echo $n times; exit 9' USR1; " SLEEP_FOR_EVER);
        struct program program = {0};

        program.pid = forkpty(&program.output, NULL, NULL, NULL);
        ck_assert_int_ge(program.pid, 0);
        if (program.pid == 0)
                ctl_exec(&ctl);
        program.input = fcntl(program.output, F_DUPFD_CLOEXEC, 0);
        program_await(&program, "ready");
        /* Stopped, so that the second signal can't come while the first is still pending. */
        ck_assert_int_eq(kill(program.pid, SIGSTOP), 0);
        ck_assert_int_eq(write(program.input, "\003", 1), 1);
        program_await(&program, "interrupted");
        ck_assert_int_eq(kill(program.pid, SIGUSR1), 0);
        ck_assert_int_eq(kill(program.pid, SIGCONT), 0);
        program_await(&program, "1 times");
        program_expect_exit(&program, &service, 9);
        service_stop(&service);
}

/* ---- kills ---- */

RUN_TEST(command_and_mounts_go_when_mountatctl_is_killed) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl =
                ctl_shell(&service, ctl_make_root(USER_ALICE), "echo ready; exec sleep 1000");
        struct program program = ctl_start(&ctl);
        int status;

        program_await(&program, "ready\n");
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 2);
        ck_assert_int_eq(kill(program.pid, SIGKILL), 0);
        status = program_reap(
                &program); /* no process has its output any more, not even the command */
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        sandbox_wait_for(sandbox_count_mounts(0, service.source) == 0);
        service_stop(&service);
}

/* PR_SET_PDEATHSIG applies only to the command. */
RUN_TEST(what_the_command_started_outlives_a_kill) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = ctl_shell(&service, ctl_make_root(USER_ALICE),
                                   "sleep 1000 >/dev/null 2>&1 & echo left $!; exec sleep 1000");
        struct program program;
        int status, left;

        sandbox_make_directory(USER_ALICE, 0755, "root/dev");
        ctl_write_file(sandbox_path("root/dev/null"), "", 0666); /* which a shell wants for "&" */
        program = ctl_start(&ctl);
        program_await(&program, "\n");
        ck_assert_int_eq(sscanf(program.said, "left %d", &left), 1);
        ck_assert_int_eq(kill(program.pid, SIGKILL), 0);
        status = program_reap(&program); /* the command is gone */
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        sandbox_wait_for(sandbox_count_mounts(0, service.source) == 0);
        ck_assert_int_eq(kill(left, 0), 0);
        ck_assert_int_eq(kill(left, SIGKILL), 0);
        service_stop(&service);
}

RUN_TEST(command_goes_on_when_its_mounts_are_lost) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = {
                .service = &service,
                .arguments = {"run", "--timeout", "3", ctl_make_root(USER_ALICE), "--", "sh", "-c",
                              "echo ready; read status; exit $status"},
        };
        struct program program = ctl_start(&ctl);
        int status;

        program_await(&program, "ready\n");
        ck_assert_int_eq(kill(service.pid, SIGKILL), 0);
        service_wait(&service);
        program_await(&program, "is mountatd stopped?");
        dprintf(program.input, "5\n");
        status = program_reap(&program);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 5, "0x%x", status);
}

/* The parent had SIGPIPE's default action, and nobody reads the errors any more. */
static void become_alice_without_reader(void) {
        int fds[2];

        CTL_BECOME_USUALLY();
        ck_assert(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
        ck_assert_int_eq(pipe(fds), 0);
        ck_assert_int_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
}

/* The loss is handled, and printed, before the signal. */
RUN_TEST(command_goes_on_when_nobody_reads_of_the_loss) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = {
                .service = &service,
                .arguments = {"run", "--timeout", "1", ctl_make_root(USER_ALICE), "--", "sh", "-c",
                              "trap 'exit 5' USR1; " SLEEP_FOR_EVER},
                .become = become_alice_without_reader,
        };
        struct program program = ctl_start(&ctl);
        int status;

        program_await(&program, "ready\n");
        ck_assert_int_eq(kill(service.pid, SIGKILL), 0);
        service_wait(&service);
        ck_assert_int_eq(kill(program.pid, SIGUSR1), 0);
        status = program_reap(&program);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 5, "0x%x", status);
}

static void become_alice_with_a_directory(void) {
        CTL_BECOME_USUALLY();
        ck_assert_int_eq(dup2(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), STDIN_FILENO),
                         STDIN_FILENO);
}

RUN_TEST(command_gets_no_directory_as_input) {
        is_refused_to(become_alice_with_a_directory, "ls /proc/self/fd/0/..",
                      "standard input is a directory");
}

/* ---- hold ---- */

static struct program hold(const struct service *service, const char *root) {
        struct ctl ctl = {.service = service, .arguments = {"hold", "--create", root}};
        struct program program = ctl_start(&ctl);

        program_await(&program, "mounted proc and sys");
        ck_assert_uint_eq(sandbox_count_mounts(0, service->source), 2);
        return program;
}

RUN_TEST(hold_ends_with_its_input_or_a_signal) {
        static const int signals[] = {0,       SIGHUP,  SIGINT,  SIGQUIT,
                                      SIGTERM, SIGUSR1, SIGUSR2, SIGALRM};
        struct service service = service_start_with("run", NULL);
        const char *root = ctl_make_bare_root(USER_ALICE);

        for (size_t i = 0; i < N_ELEMENTS(signals); i++) {
                struct program program = hold(&service, root);

                dprintf(program.input, "not the end\n");
                if (signals[i]) {
                        ck_assert_int_eq(kill(program.pid, signals[i]), 0);
                        program_await_end(&program);
                }
                program_expect_exit(&program, &service, 0);
                ck_assert(!is_there(sandbox_path("root/proc")));
                ck_assert(!is_there(sandbox_path("root/sys")));
        }
        service_stop(&service);
}

/* Ends in a directory whose path is longer than PATH_MAX, and stays there. */
static void become_alice_far_down(void) {
        char name[NAME_MAX + 1];

        CTL_BECOME_USUALLY();
        memset(name, 'd', NAME_MAX);
        name[NAME_MAX] = '\0';
        ck_assert_int_eq(chdir(sandbox_path("deep")), 0);
        for (int depth = 0; depth * (NAME_MAX + 1) < PATH_MAX; depth++) {
                ck_assert(mkdir(name, 0755) == 0 || errno == EEXIST);
                ck_assert_int_eq(chdir(name), 0);
        }
        ck_assert(mkdir("proc", 0755) == 0 || errno == EEXIST);
}

RUN_TEST(path_beyond_path_max_is_refused) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = {.service = &service,
                          .arguments = {"hold", "--file-system", "proc", "."},
                          .become = become_alice_far_down};
        struct program program;

        sandbox_make_directory(USER_ALICE, 0755, "deep");
        program = ctl_run(&ctl, 1);
        program_expect(&program, "File name too long");
        service_stop(&service);
}

static struct program hold_again(const struct service *service, const char *root) {
        struct ctl ctl = {.service = service, .arguments = {"hold", root}};
        struct program program = ctl_start(&ctl);

        program_await(&program, "mounted proc and sys");
        return program;
}

static bool daemon_clones(const struct service *service) {
        struct wire_request request = {.operation = PROTOCOL_HELLO};
        int client = client_connect(service, USER_ALICE);
        struct wire_reply reply = client_call(client, &request, NULL, 0);

        close(client);
        return reply.flags & PROTOCOL_FEATURE_CLONES;
}

static bool has_hidepid(const char *path) {
        struct sandbox_mount mount;

        ck_assert(sandbox_find_mount(0, path, &mount));
        return strstr(mount.super, "hidepid=") != NULL;
}

/* By an administrator, on one mount: it shows in all mounts of that superblock. */
RUN_TEST(remount_of_one_changes_all_but_with_bind) {
        struct service service = service_start_with("run", NULL);
        unsigned long flags = MS_REMOUNT | MS_NOSUID | MS_NODEV | MS_NOEXEC;
        struct program first, second, third;
        struct sandbox_mount found;

        sandbox_make_root(USER_ALICE, "first");
        sandbox_make_root(USER_ALICE, "second");
        sandbox_make_root(USER_ALICE, "third");
        first = hold_again(&service, sandbox_path("first"));
        second = hold_again(&service, sandbox_path("second"));
        ck_assert(has_hidepid(sandbox_path("second/proc")));

        ck_assert_int_eq(mount(NULL, sandbox_path("first/proc"), NULL, flags | MS_BIND, NULL), 0);
        ck_assert(sandbox_find_mount(0, sandbox_path("first/proc"), &found));
        ck_assert(sandbox_has_option(found.options, "rw"));
        ck_assert(sandbox_has_option(found.super, "ro"));
        ck_assert(has_hidepid(sandbox_path("second/proc")));

        ck_assert_int_eq(mount(NULL, sandbox_path("first/proc"), NULL, flags, "hidepid=off"), 0);
        ck_assert(!has_hidepid(sandbox_path("first/proc")));
        third = hold_again(&service, sandbox_path("third"));
        ck_assert_int_eq(has_hidepid(sandbox_path("second/proc")), !daemon_clones(&service));
        ck_assert_int_eq(has_hidepid(sandbox_path("third/proc")), !daemon_clones(&service));
        ck_assert(sandbox_find_mount(0, sandbox_path("second/proc"), &found));
        ck_assert(sandbox_has_option(found.options, "ro"));

        ck_assert_int_eq(WEXITSTATUS(program_reap(&first)), 0);
        ck_assert_int_eq(WEXITSTATUS(program_reap(&second)), 0);
        ck_assert_int_eq(WEXITSTATUS(program_reap(&third)), 0);
        service_stop(&service);

        service = service_start_with("run", NULL); /* another run of the daemon */
        third = hold_again(&service, sandbox_path("third"));
        ck_assert(has_hidepid(sandbox_path("third/proc")));
        ck_assert_int_eq(WEXITSTATUS(program_reap(&third)), 0);
        service_stop(&service);
}

/* Its superblock is the network namespace's, which the machine's own /sys shares. */
RUN_TEST(remount_of_sysfs_changes_the_machine_s) {
        struct service service;
        struct program program;
        const char *machine = sandbox_make_directory(0, 0755, "machine");
        struct sandbox_mount found;

        ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
        ck_assert_int_eq(mount("sysfs", machine, "sysfs", 0, NULL), 0);
        service = service_start_with("run", NULL);
        sandbox_make_root(USER_ALICE, "root");
        program = hold_again(&service, sandbox_path("root"));
        ck_assert_int_eq(mount(NULL, sandbox_path("root/sys"), NULL, MS_REMOUNT | MS_RDONLY, NULL),
                         0);
        ck_assert(sandbox_find_mount(0, machine, &found));
        ck_assert(sandbox_has_option(found.super, "ro"));
        ck_assert_int_eq(WEXITSTATUS(program_reap(&program)), 0);
        service_stop(&service);
}

RUN_TEST(mounts_go_when_hold_is_killed) {
        struct service service = service_start_with("run", NULL);
        struct program program = hold(&service, ctl_make_bare_root(USER_ALICE));
        int status;

        ck_assert_int_eq(kill(program.pid, SIGKILL), 0);
        status = program_reap(&program);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        sandbox_wait_for(sandbox_count_mounts(0, service.source) == 0);
        service_stop(&service);
}

int main(void) {
        TCase *tests = tcase_create("run");

        tcase_add_test(tests, exit_status_is_the_command_s);
        tcase_add_test(tests, exit_status_tells_its_own_failures_apart);
        tcase_add_test(tests, dashes_before_the_command_may_be_left_out);
        tcase_add_test(tests, command_has_proc_and_sys_and_the_root_for_its_own);
        tcase_add_test(tests, command_has_no_descriptor_but_the_standard_ones);
        tcase_add_test(tests, job_server_of_make_is_passed_on);
        tcase_add_test(tests, keep_fds_passes_all_on_but_its_own);
        tcase_add_test(tests, command_of_a_user_has_no_capability);
        tcase_add_test(tests, command_of_root_keeps_the_capabilities_and_gains_none);
        tcase_add_test(tests, denial_of_a_user_namespace_is_explained);
        tcase_add_test(tests, what_the_kernel_denies_is_explained);
        tcase_add_test(tests, root_without_capabilities_is_told_what_it_needs);
        tcase_add_test(tests, root_that_may_not_be_searched_is_told);
        tcase_add_test(tests, files_of_one_s_own_process_stay_read_only);
        tcase_add_test(tests, writable_procfs_lets_them_be_written);
        tcase_add_test(tests, command_inherits_what_was_set_before);
        tcase_add_test(tests, root_without_capabilities_reads_what_is_root_s);
        tcase_add_test(tests, pids_only_keeps_it_from_them);
        tcase_add_test(tests, files_of_others_are_nobody_s_in_a_user_namespace);
        tcase_add_test(tests, missing_directories_are_made_and_removed);
        tcase_add_test(tests, made_directories_are_removed_when_the_mount_fails);
        tcase_add_test(tests, signals_reach_the_command_which_may_catch_them);
        tcase_add_test(tests, signals_that_end_the_command_are_told_by_the_status);
        tcase_add_test(tests, keys_of_a_terminal_reach_the_command_once);
        tcase_add_test(tests, command_and_mounts_go_when_mountatctl_is_killed);
        tcase_add_test(tests, what_the_command_started_outlives_a_kill);
        tcase_add_test(tests, command_goes_on_when_its_mounts_are_lost);
        tcase_add_test(tests, command_goes_on_when_nobody_reads_of_the_loss);
        tcase_add_test(tests, command_gets_no_directory_as_input);
        tcase_add_test(tests, hold_ends_with_its_input_or_a_signal);
        tcase_add_test(tests, path_beyond_path_max_is_refused);
        tcase_add_test(tests, remount_of_one_changes_all_but_with_bind);
        tcase_add_test(tests, remount_of_sysfs_changes_the_machine_s);
        tcase_add_test(tests, mounts_go_when_hold_is_killed);
        return sandbox_run(tests);
}
