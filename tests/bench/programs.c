/* SPDX-License-Identifier: Apache-2.0 */

/* Routes that start one program or more per step. */

#include "tests/bench/route.h"
#include "tests/bench/samples.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <paths.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

extern char **environ;

/* As forced by the daemon. */
#define PROGRAMS_OPTIONS "nosuid,nodev,noexec,ro"
#define PROGRAMS_PROC_OPTIONS PROGRAMS_OPTIONS ",hidepid=ptraceable"

/* The name of the first one not found; NULL: all are found. */
static const char *programs_find(const char *const *names) {
        for (; *names; names++) {
                char command[64];

                snprintf(command, sizeof(command), "command -v %s >" _PATH_DEVNULL, *names);
                if (system(command) != 0)
                        return *names;
        }
        return NULL;
}

static void programs_wait(pid_t pid, const char *name) {
        int status;

        if (waitpid(pid, &status, 0) < 0 || status != 0)
                errx(EXIT_FAILURE, "%s ended with status 0x%x", name, status);
}

static pid_t programs_start(const char *const *arguments, const char *const *environment) {
        pid_t pid;

        errno = posix_spawnp(&pid, arguments[0], NULL, NULL, (char **)arguments,
                             (char **)environment);
        if (errno != 0)
                err(EXIT_FAILURE, "%s", arguments[0]);
        return pid;
}

static void programs_run(const char *const *arguments) {
        programs_wait(programs_start(arguments, (const char *const *)environ), arguments[0]);
}

#define PROGRAMS_RUN(...) programs_run((const char *const[]){__VA_ARGS__, NULL})

/* proc and sys below the user's root. */
struct programs_places {
        char proc[256];
        char sys[256];
};

static struct programs_places programs_places(const struct route_user *user) {
        struct programs_places places;

        snprintf(places.proc, sizeof(places.proc), "%s/proc", user->path);
        snprintf(places.sys, sizeof(places.sys), "%s/sys", user->path);
        return places;
}

/* ---- mount(8) ---- */

static const char *programs_missing_mount(void) {
        return programs_find((const char *const[]){"mount", "umount", NULL});
}

static void programs_mount(struct route_user *user) {
        struct programs_places places = programs_places(user);

        PROGRAMS_RUN("mount", "-t", "proc", "-o", PROGRAMS_PROC_OPTIONS, "proc", places.proc);
        PROGRAMS_RUN("mount", "-t", "sysfs", "-o", PROGRAMS_OPTIONS, "sysfs", places.sys);
}

static void programs_umount(struct route_user *user) {
        struct programs_places places = programs_places(user);

        PROGRAMS_RUN("umount", "--lazy", places.proc, places.sys);
}

const struct route route_mount8 = {
        .name = "mount(8)",
        .what = "mount twice, and umount with both: three processes",
        .stride = 10,
        .missing = programs_missing_mount,
        .mount = programs_mount,
        .unmount = programs_umount,
};

/* ---- mountatctl ---- */

struct programs_holder {
        pid_t pid;
        int input;
        int output;
};

static void programs_begin_hold(struct route_user *user) {
        user->state = calloc(1, sizeof(struct programs_holder));
        if (!user->state)
                err(EXIT_FAILURE, "mountatctl");
        setenv("MOUNTATD_SOCKET", user->service->path, 1);
}

static void programs_end_hold(struct route_user *user) {
        free(user->state);
}

/* It prints the lease once it has mounted. */
static void programs_hold(struct route_user *user) {
        const char *const arguments[] = {"mountatctl", "hold", user->path, NULL};
        struct programs_holder *holder = user->state;
        posix_spawn_file_actions_t actions;
        int input[2], output[2];
        char line[256];

        if (pipe2(input, O_CLOEXEC) < 0 || pipe2(output, O_CLOEXEC) < 0)
                err(EXIT_FAILURE, "pipe");
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
        posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
        if (posix_spawn(&holder->pid, MOUNTATCTL_BINARY, &actions, NULL, (char **)arguments,
                        environ) != 0)
                err(EXIT_FAILURE, "%s", MOUNTATCTL_BINARY);
        posix_spawn_file_actions_destroy(&actions);
        close(input[0]);
        close(output[1]);
        holder->input = input[1];
        holder->output = output[0];
        if (read(holder->output, line, sizeof(line)) <= 0)
                errx(EXIT_FAILURE, "mountatctl did not mount");
}

static void programs_let_go(struct route_user *user) {
        struct programs_holder *holder = user->state;

        close(holder->input);
        programs_wait(holder->pid, "mountatctl");
        close(holder->output);
}

const struct route route_mountatctl = {
        .name = "mountatctl",
        .what = "mountatctl hold: one process, and a connection of its own, each time",
        .stride = 10,
        .begin = programs_begin_hold,
        .end = programs_end_hold,
        .mount = programs_hold,
        .unmount = programs_let_go,
};

/* ---- namespaces ---- */

static const char *programs_missing_bwrap(void) {
        return programs_find((const char *const[]){"bwrap", NULL});
}

static void programs_bwrap(struct route_user *user) {
        struct programs_places places = programs_places(user);

        PROGRAMS_RUN("bwrap", "--bind", "/", "/", "--proc", places.proc, "true");
}

const struct route route_bwrap = {
        .name = "bwrap --proc",
        .what = "bwrap --bind / / --proc ROOT/proc true: procfs alone, in a namespace of its own "
                "that ends with it; a bind of the machine's with bwrap's options, for it has none "
                "to give it hidepid",
        .stride = 10,
        .missing = programs_missing_bwrap,
        .mount = programs_bwrap,
};

static const char *programs_missing_unshare(void) {
        return programs_find((const char *const[]){"unshare", "mount", NULL});
}

static void programs_unshare(struct route_user *user) {
        struct programs_places places = programs_places(user);
        char script[1024];

        snprintf(script, sizeof(script),
                 "mount -t proc -o " PROGRAMS_PROC_OPTIONS " proc %s && "
                 "mount -t sysfs -o " PROGRAMS_OPTIONS " sysfs %s",
                 places.proc, places.sys);
        PROGRAMS_RUN("unshare", "--mount", "sh", "-c", script);
}

const struct route route_unshare = {
        .name = "unshare -m",
        .what = "unshare -m sh -c 'mount … && mount …': a namespace of its own that ends with it",
        .stride = 10,
        .missing = programs_missing_unshare,
        .mount = programs_unshare,
};

/* ---- systemd ---- */

/*
 * systemd mounts in its own namespace, which doesn't see the sandbox: so only this route has a
 * directory on the machine, in /run, where its mounts are visible while it runs.
 */

static const char programs_machine_root[] = "/run/mountatd-bench";

/* Without the address of the sandbox's bus, to reach the machine's systemd. */
static void programs_run_on_machine(const char *const *arguments) {
        static const char *const environment[] = {"PATH=" _PATH_STDPATH, NULL};

        programs_wait(programs_start(arguments, environment), arguments[0]);
}

#define PROGRAMS_RUN_ON_MACHINE(...)                                                               \
        programs_run_on_machine((const char *const[]){__VA_ARGS__, NULL})

static const char *programs_missing_systemd(void) {
        if (sd_booted() <= 0)
                return "systemd isn't process 1";
        if (access("/run/dbus/system_bus_socket", F_OK) < 0)
                return "systemd has no bus";
        return programs_find((const char *const[]){"systemd-mount", "systemd-umount", NULL});
}

static void programs_begin_systemd(struct route_user *user) {
        user->path = programs_machine_root;
        mkdir(programs_machine_root, 0755);
        mkdir("/run/mountatd-bench/proc", 0755);
        mkdir("/run/mountatd-bench/sys", 0755);
}

static void programs_end_systemd(struct route_user *user) {
        (void)user;
        rmdir("/run/mountatd-bench/proc");
        rmdir("/run/mountatd-bench/sys");
        rmdir(programs_machine_root);
}

static void programs_systemd_mount(struct route_user *user) {
        struct programs_places places = programs_places(user);

        PROGRAMS_RUN_ON_MACHINE("systemd-mount", "--quiet", "--type=proc",
                                "--options=" PROGRAMS_PROC_OPTIONS, "proc", places.proc);
        PROGRAMS_RUN_ON_MACHINE("systemd-mount", "--quiet", "--type=sysfs",
                                "--options=" PROGRAMS_OPTIONS, "sysfs", places.sys);
}

static void programs_systemd_umount(struct route_user *user) {
        struct programs_places places = programs_places(user);

        PROGRAMS_RUN_ON_MACHINE("systemd-umount", "--quiet", places.proc, places.sys);
}

static uint64_t programs_systemd_cpu(void) {
        return samples_cpu_of(1);
}

const struct route route_systemd = {
        .name = "systemd-mount",
        .what = "systemd-mount twice, and systemd-umount with both: units of the machine's "
                "systemd, "
                "in /run/mountatd-bench because it doesn't see the others' directory; systemd is "
                "the other in processor time, without the mount(8) that it starts",
        .stride = 40, /* up to a second each */
        .missing = programs_missing_systemd,
        .begin = programs_begin_systemd,
        .end = programs_end_systemd,
        .mount = programs_systemd_mount,
        .unmount = programs_systemd_umount,
        .others_cpu = programs_systemd_cpu,
};
