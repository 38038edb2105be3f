/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The start, in this order: block signals, take the sockets, drop privileges, start the log's
 * thread, raise the limit of descriptors, probe the kernel, take over the state, confine the system
 * calls, start the first thread, check every thread's privileges, serve. The stop undoes it all.
 */

#include "common/fd.h"
#include "common/version.h"
#include "daemon/kernel.h"
#include "daemon/listener.h"
#include "daemon/log.h"
#include "daemon/namespaces.h"
#include "daemon/options.h"
#include "daemon/privilege.h"
#include "daemon/seccomp.h"
#include "daemon/server.h"
#include "daemon/sweep.h"
#include "daemon/target.h"
#include "daemon/unmount.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
        MAIN_USAGE = 2,
        MAIN_SWEEP_SECONDS = 3,
        MAIN_LOOK_SECONDS = 1,
};

struct program {
        struct options options;
        struct listener_set listeners;
        char source[64];
        struct context context;
        struct instance self;
        struct threads *threads;
        struct connections *connections;
};

static bool main_fail_at(int error, const char *what, const char *path) {
        const struct log_subject subject = {
                .event = LOG_EVENT_NOT_SERVING,
                .error = error,
                .target = path,
        };

        log_write(LOG_ERR, &subject, "%s", what);
        return false;
}

static bool main_fail(int error, const char *what) {
        return main_fail_at(error, what, NULL);
}

static bool main_block_signals(void) {
        sigset_t signals;

        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGHUP);
        sigaddset(&signals, SIGUSR1);
        /* Neither a log without a reader nor RLIMIT_FSIZE is a reason to end: errors tell. */
        sigaddset(&signals, SIGPIPE);
        sigaddset(&signals, SIGXFSZ);
        if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
                return main_fail(-errno, "cannot block signals");
        return true;
}

static uint64_t main_read_mount_max(void) {
        FILE *file = fopen("/proc/sys/fs/mount-max", "re");
        unsigned long long max = UINT64_MAX;

        if (file && fscanf(file, "%llu", &max) != 1)
                max = UINT64_MAX;
        if (file)
                fclose(file);
        return max;
}

/* Logs lowered limits, which explain later refusals. */
static void main_log_limits(const struct options *options, const struct options *before,
                            rlim_t descriptors) {
        unsigned connections = options->limits[QUOTA_CONNECTIONS].total;
        unsigned mounts = options->limits[QUOTA_MOUNTS].total;

        if (connections == before->limits[QUOTA_CONNECTIONS].total &&
            mounts == before->limits[QUOTA_MOUNTS].total)
                return;
        log_write(LOG_NOTICE, NULL,
                  "limited to %u connections and %u mounts by RLIMIT_NOFILE (%llu) and the sysctl "
                  "fs.mount-max: raise LimitNOFILE= of mountatd.service for more",
                  connections, mounts, (unsigned long long)descriptors);
}

static bool main_raise_descriptors(struct options *options) {
        const struct options before = *options;
        struct rlimit limit;
        int wanted;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return main_fail(-errno, "cannot read RLIMIT_NOFILE");
        wanted = options_fit(options, limit.rlim_max, main_read_mount_max(), stderr);
        if (wanted < 0)
                return false;
        main_log_limits(options, &before, limit.rlim_max);
        if (limit.rlim_cur >= (rlim_t)wanted)
                return true;
        limit.rlim_cur = wanted;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
                return main_fail(-errno, "cannot raise RLIMIT_NOFILE");
        return true;
}

static bool main_drop_privileges(const struct options *options) {
        const char *step;
        int r = privilege_drop(policy_joins(options->policy), &step);

        return r == 0 || main_fail(r, step);
}

static bool main_check_privileges(void) {
        const char *what;
        int r = privilege_check(&what);

        return r == 0 || main_fail(r, what);
}

/* With the kernel's own message, if there is one. */
static bool main_fail_making(const char *what, const struct verdict *verdict) {
        const struct verdict silent = verdict_host_failed(-verdict->error, STATUS_NO_TARGET);
        bool said = strcmp(verdict->text, silent.text) != 0;
        bool denied = verdict->error == EPERM || verdict->error == ENOSYS;

        log_write(LOG_ERR,
                  &(struct log_subject){.event = LOG_EVENT_NOT_SERVING, .error = -verdict->error},
                  "cannot make %s%s%s%s", what, said ? ": " : "", said ? verdict->text : "",
                  denied ? ": mountatd needs CAP_SYS_ADMIN, and no filter that refuses fsopen(2), "
                           "fsconfig(2) or fsmount(2)"
                         : "");
        return false;
}

/* A host that lacks what a dev needs is no reason not to serve. */
static bool main_offer_dev(const struct program *program) {
        struct verdict verdict =
                templates_offer_dev(program->context.templates, program->options.dev_shm_size);

        if (verdict.status == STATUS_HOST_FAILED)
                return main_fail_making("a /dev", &verdict);
        if (verdict.status != STATUS_OK)
                log_write(LOG_NOTICE, NULL, "not offering dev: %s", verdict.text);
        return true;
}

static bool main_probe(struct program *program) {
        struct context *context = &program->context;
        struct verdict verdict;
        uid_t unmapped;
        int r;

        r = kernel_prepare();
        if (r < 0)
                return main_fail(r, "cannot open /proc");
        r = kernel_unmapped_uid(&unmapped);
        if (r < 0)
                return main_fail(r, "cannot read /proc/self/uid_map and overflowuid");
        policy_distrust_owner(program->options.policy, unmapped);
        r = unmount_prepare();
        if (r < 0)
                return main_fail(r, "cannot open /");
        if (program->options.sweep || policy_joins(program->options.policy))
                r = namespaces_prepare(program->options.sweep);
        if (r < 0)
                return main_fail(r, "cannot open mountatd's own namespaces");
        r = target_open_proc();
        if (r < 0)
                return main_fail(r, "cannot open /proc/self/fd (is procfs mounted on /proc?)");
        context->proc = r;

        verdict = templates_new(program->source, &context->templates);
        if (verdict.status != STATUS_OK)
                return main_fail_making("a procfs and a sysfs", &verdict);
        if (!program->options.no_dev && !program->options.sweep && !main_offer_dev(program))
                return false;
        log_write(LOG_DEBUG, NULL, "kernel features: 0x%x",
                  templates_setup(context->templates)->features);
        return true;
}

/* systemd sets RUNTIME_DIRECTORY to a list, ours first. */
static bool main_runtime_directory(const struct options *options, char *path, size_t size) {
        const char *given = secure_getenv("RUNTIME_DIRECTORY");
        size_t used;

        if (options->runtime_directory)
                used = snprintf(path, size, "%s", options->runtime_directory);
        else if (given && *given)
                used = snprintf(path, size, "%.*s", (int)strcspn(given, ":"), given);
        else
                used = snprintf(path, size, "/run/mountatd%s%s", options->instance ? "-" : "",
                                options->instance ?: "");
        if (used >= size)
                return main_fail(-ENAMETOOLONG, "cannot use the runtime directory");
        if (mkdir(path, 0711) < 0 && errno != EEXIST)
                return main_fail_at(-errno, "cannot create the runtime directory", path);
        return true;
}

static bool main_fail_state(int error, const char *directory) {
        if (error == -EXDEV)
                return main_fail(0, "cannot find /proc/sys/kernel/random/boot_id: mount a procfs "
                                    "without subset=pid on /proc");
        return main_fail_at(error, "cannot open the state file", directory);
}

/* Logs what was found; nothing found is lost. */
static bool main_open_state(struct program *program, const char *directory, struct state *state) {
        struct state_found found = {0};
        int r = state_open(directory, program->options.limits[QUOTA_MOUNTS].total, state, &found);

        if (found.set_aside[0])
                log_write(LOG_WARNING, &(struct log_subject){.event = LOG_EVENT_STATE_SET_ASIDE},
                          "%s: cannot use the state file, which is damaged, of another version, of "
                          "another mount namespace, or older than that of 0.1: kept as %s",
                          directory, found.set_aside);
        if (found.damaged > 0)
                log_write(LOG_WARNING, &(struct log_subject){.event = LOG_EVENT_MOUNTS_LEFT},
                          "%s: skipped %u damaged records of leases: findmnt --source mountatd "
                          "shows their mounts",
                          directory, found.damaged);
        if (r == -EBUSY && found.pid > 0) {
                log_write(LOG_ERR, &(struct log_subject){.event = LOG_EVENT_RUNS_ALREADY},
                          "this instance is already running as process %d: stop it, or give "
                          "--instance",
                          found.pid);
                return false;
        }
        if (r == -EWOULDBLOCK)
                return main_fail(r, "another mountatd of this instance is starting");
        return r == 0 || main_fail_state(r, directory);
}

static bool main_take_over(struct program *program) {
        struct context *context = &program->context;
        struct leases_setup setup = {.templates = context->templates};
        char directory[PATH_MAX];
        unsigned left;
        int r;

        if (!main_runtime_directory(&program->options, directory, sizeof(directory)) ||
            !main_open_state(program, directory, &setup.state))
                return false;
        program->self = setup.state.header->instance;
        setup.quota = context->quota = quota_new(program->options.limits);
        if (!context->quota)
                return main_fail(-ENOMEM, "cannot create the quotas");
        r = leases_new(&setup, &context->leases);
        if (r < 0)
                return main_fail(r, "cannot create the table of leases");
        sweep_keep(context->leases, SWEEP_QUICKLY); /* before the first request for one of them */
        left = leases_count(context->leases).left;
        if (left > 0)
                log_write(LOG_NOTICE, &(struct log_subject){.event = LOG_EVENT_LEASES_LEFT},
                          "the previous instance left %u leases: clients have %u s to adopt them",
                          left, program->options.adopt_timeout);
        return true;
}

static bool main_confine(const struct options *options) {
        int r = seccomp_confine(options->seccomp_mode, policy_joins(options->policy));

        return r == 0 ||
               main_fail(r, "cannot install the system call filter (give --system-calls=off on a "
                            "kernel without seccomp)");
}

/*
 * Before anything is logged: from here on no thread waits for the log's reader. Threads allocate
 * next to nothing, so a single arena for all saves memory: mallopt(3).
 */
static bool main_start_log(void) {
        int r;

        mallopt(M_ARENA_MAX, 1);
        r = log_start();
        return r == 0 || main_fail(r, "cannot start the log's thread");
}

static bool main_start_threads(struct program *program) {
        int r;

        templates_replenish(program->context.templates);
        r = threads_new(&program->threads);
        if (r < 0)
                return main_fail(r, "cannot start threads");
        program->connections = connections_new(&program->context, program->threads);
        return program->connections || main_fail(-ENOMEM, "cannot create the table of connections");
}

static bool main_serve(struct program *program) {
        const struct server_setup setup = {
                .listeners = &program->listeners,
                .idle_timeout = program->options.listen[0] ? 0 : program->options.idle_timeout,
                .adopt_timeout = program->options.adopt_timeout,
                .self = &program->self,
                .context = &program->context,
                .threads = program->threads,
                .connections = program->connections,
                .on_bus = !program->options.instance,
        };
        int r = server_run(&setup);

        return r == 0 || main_fail(r, "cannot run the main loop");
}

static void main_name(struct program *program) {
        const struct options *options = &program->options;

        snprintf(program->source, sizeof(program->source), "mountatd%s%s",
                 options->instance ? ":" : "", options->instance ?: "");
}

/* ---- paths that may lead through a FUSE ---- */

/*
 * A FUSE server may not answer, and then not even SIGKILL ends the process that asked it. Nothing
 * may keep the daemon from starting: a child does the work, and is left behind when it takes too
 * long.
 */
static pid_t main_fork(void) {
        pid_t child;

        signal(SIGCHLD, SIG_DFL);
        child = fork();
        if (child < 0)
                main_fail(-errno, "cannot fork");
        return child;
}

/* True if the child succeeds, or had to be left behind. */
static bool main_wait_for(pid_t child, int seconds, const char *consequence) {
        const struct timespec pause = {.tv_nsec = 1000000};

        for (int i = 0; i < seconds * 1000; i++) {
                int status;

                if (waitpid(child, &status, WNOHANG) == child)
                        return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
                nanosleep(&pause, NULL);
        }
        log_write(LOG_WARNING, NULL, "a file system doesn't answer: %s", consequence);
        kill(child, SIGKILL);
        return true;
}

static bool main_look(const struct options *options) {
        const char *path;
        size_t cursor = 0;
        pid_t child;
        uid_t uid;

        if (!policy_next_build_directory(options->policy, &cursor, &path, &uid))
                return true; /* nothing to check */
        child = main_fork();
        if (child == 0)
                _exit(options_look(options, stderr) ? EXIT_SUCCESS : EXIT_FAILURE);
        return child < 0 ||
               main_wait_for(child, MAIN_LOOK_SECONDS, "not every build directory was checked");
}

/* ---- mountatd --sweep ---- */

static bool main_sweep_left(struct program *program, struct state *left) {
        struct instance self;
        int r = instance_self(&self);

        if (r < 0)
                return main_fail(r, "cannot identify this process");
        if (!main_probe(program))
                return false;
        r = unmount_isolate();
        if (r < 0)
                return main_fail(r, "cannot start the sweep");
        log_write(LOG_INFO, NULL, "swept %u leases that no client can adopt",
                  sweep_state(left, templates_setup(program->context.templates), &self));
        return true;
}

static bool main_sweep(struct program *program) {
        struct state_found found = {0};
        struct state left;
        char directory[PATH_MAX];
        pid_t child;
        bool swept;
        int r;

        if (!main_runtime_directory(&program->options, directory, sizeof(directory)))
                return false;
        r = state_open_left(directory, &left, &found);
        if (found.foreign)
                log_write(LOG_WARNING, &(struct log_subject){.event = LOG_EVENT_MOUNTS_LEFT},
                          "%s: not sweeping: the state file is of another mount namespace, and the "
                          "next start takes over its mounts in containers",
                          directory);
        if (r == -ENOENT || (r == -EBUSY && found.pid > 0))
                return true; /* nothing was left, or it is still in use */
        if (r < 0)
                return main_fail_state(r, directory);

        child = main_fork();
        if (child < 0)
                return false;
        if (child == 0) {
                left.lock = fd_close(left.lock); /* which a stuck child would keep */
                swept = main_sweep_left(program, &left);
                log_stop();
                _exit(swept ? EXIT_SUCCESS : EXIT_FAILURE);
        }
        swept = main_wait_for(child, MAIN_SWEEP_SECONDS, "sweep abandoned");
        state_close_left(&left);
        return swept;
}

/* ---- the daemon ---- */

static bool main_run(struct program *program) {
        const struct options *options = &program->options;

        program->context.policy = options->policy;
        program->context.max_targets = options->max_targets;

        if (!main_block_signals())
                return false;
        return listener_open(options->listen, &program->listeners, stderr) == 0 &&
               main_drop_privileges(options) && main_start_log() &&
               main_raise_descriptors(&program->options) && main_probe(program) &&
               main_take_over(program) && main_confine(options) && main_start_threads(program) &&
               main_check_privileges() && main_serve(program);
}

/* Retries, on the only thread left, what the other threads could not release. */
static void main_release_orphans(struct leases *leases) {
        int r;

        if (leases_count(leases).leases == leases_count(leases).left)
                return;
        r = unmount_isolate();
        if (r == 0)
                r = lease_release_held(leases, leases_kept(leases));
        if (r == 0)
                r = lease_release_held(leases, leases_orphans(leases));
        namespaces_return();
        if (r < 0)
                log_write(LOG_ERR,
                          &(struct log_subject){.event = LOG_EVENT_MOUNTS_LEFT, .error = r},
                          "cannot unmount everything (findmnt --source mountatd shows the rest)");
}

/* After a failed start or loop nothing on record is released: the next instance takes it over. */
static void main_stop(struct program *program, int status) {
        struct context *context = &program->context;

        if (!threads_free(program->threads)) {
                log_write(LOG_WARNING, &(struct log_subject){.event = LOG_EVENT_STUCK},
                          "threads are stuck in the kernel: the next instance undoes their mounts");
                log_stop();
                _exit(status); /* what they use stays, and nothing may wait for them */
        }
        connections_free(program->connections);
        if (context->leases && status == EXIT_SUCCESS)
                main_release_orphans(context->leases);
        leases_free(context->leases);
        quota_free(context->quota);
        templates_free(context->templates);
        fd_close(context->proc);
        /*
         * Not closed: closing files that clients have queued there, unaccepted, may take for ever.
         * A process that exits with a thread in the kernel counts as dead: instance.h.
         */
        listener_unlink(&program->listeners);
        log_stop();
}

int main(int argc, char **argv) {
        struct program program = {.context.proc = -EBADF};
        int status = EXIT_SUCCESS;

        switch (options_parse(&program.options, argc, argv, stderr)) {
        case OPTIONS_HELP:
                options_print_help(stdout);
                break;
        case OPTIONS_VERSION:
                fputs(VERSION_TEXT("mountatd"), stdout);
                break;
        case OPTIONS_WRONG:
                status = MAIN_USAGE;
                break;
        case OPTIONS_RUN:
                log_open(program.options.log_level);
                main_name(&program);
                if (!program.options.sweep && !main_look(&program.options)) {
                        status = MAIN_USAGE;
                        break;
                }
                if (!(program.options.sweep ? main_sweep : main_run)(&program))
                        status = EXIT_FAILURE;
                main_stop(&program, status);
        }
        options_free(&program.options);
        return status;
}
