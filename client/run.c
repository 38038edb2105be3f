/* SPDX-License-Identifier: Apache-2.0 */

/*
 * mountatctl run: runs a command with ROOT as its root directory, and /proc, /sys and /dev mounted
 * in it meanwhile. This process stays outside and holds the lease: if it is killed, the daemon
 * unmounts and the kernel kills the command.
 */

#include "client/command.h"
#include "client/enter.h"
#include "client/jobserver.h"
#include "client/session.h"
#include "client/signals.h"
#include "common/text.h"

#include <err.h>
#include <errno.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* SIGCHLD reports the command's end; the others are forwarded to it. */
static const int run_signals[] = {
        SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM,
};

enum run_source {
        RUN_SIGNALS,
        RUN_DAEMON,
        RUN_SOURCES,
};

/* The command line, and the job server that the command inherits. */
struct run {
        const struct arguments *arguments;
        struct jobserver jobserver;
};

/* Descriptors opened by this process are close-on-exec already. */
static int run_close_descriptors(const struct run *run) {
        if (run->arguments->keep_fds)
                return 0;
        if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0) {
                warn("cannot set close-on-exec (Linux 5.11 or later is needed)");
                return -errno;
        }
        if (jobserver_pass(&run->jobserver) < 0) {
                warn("cannot pass on the job server's descriptors");
                return -ECANCELED;
        }
        return 0;
}

/*
 * Deprives the command of every way out of its root. It gets no descriptor of the outer file system
 * except the standard ones and a job server's pipe, unless --keep-fds passes all. It gets no
 * ambient capability, as which CAP_SYS_CHROOT may have come. No set-user-id program gains
 * privilege: it would trust the /etc of a root that anyone could have filled. So after execve(2) a
 * user's command has no capability, not even in its own user namespace. A command of uid 0 keeps
 * this process's capabilities and can leave the root, as with chroot(1).
 */
static int run_confine(const struct run *run, pid_t parent) {
        if (run_close_descriptors(run) < 0)
                return -ECANCELED;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
                warn("cannot drop privileges");
                return -errno;
        }
        /* If the parent died before PR_SET_PDEATHSIG, no signal comes. */
        return getppid() == parent ? 0 : -ESRCH;
}

/*
 * execvp(3) fails with EACCES for a missing command too, if a directory of PATH isn't searchable.
 * An empty name in PATH is the working directory, here "/".
 */
static bool run_is_there(const char *command) {
        const char *path = getenv("PATH") ?: "/bin:/usr/bin"; /* as execvp(3) has it */
        char candidate[PATH_MAX];

        if (!*command) /* which would be the directories of PATH themselves */
                return false;
        if (strchr(command, '/'))
                return access(command, F_OK) == 0 || errno == EACCES;
        for (;;) {
                size_t length = strcspn(path, ":");

                snprintf(candidate, sizeof(candidate), "%.*s/%s", (int)length, path, command);
                if (access(candidate, F_OK) == 0)
                        return true;
                if (path[length] == '\0')
                        return false;
                path += length + 1;
        }
}

static int run_explain_exec(const char *command, int error) {
        char escaped[PATH_MAX];

        text_escape(escaped, sizeof(escaped), command);
        if (!run_is_there(command)) {
                warnx("cannot find %s in the root",
                      *command ? escaped : "a command without a name");
                return COMMAND_RUN_NOT_FOUND;
        }
        warnx("cannot execute %s in the root: %s", escaped,
              error == ENOENT ? "its interpreter or dynamic loader is missing" : strerror(error));
        return COMMAND_RUN_NOT_EXECUTABLE;
}

__attribute__((noreturn)) static void run_child(const struct run *run,
                                                const struct session *session,
                                                const struct signals *signals, pid_t parent) {
        char **command = run->arguments->operands + 1;
        int error;

        if (enter_root(session->root) < 0 || run_confine(run, parent) < 0)
                _exit(COMMAND_RUN_FAILED);
        signals_restore(signals);
        execvp(command[0], command);
        error = errno;
        signals_ignore_pipe(); /* or the error message could change the exit status */
        _exit(run_explain_exec(command[0], error));
}

/*
 * The terminal sends SIGINT and SIGQUIT to the whole foreground process group, so the command has
 * them already. It sends SIGHUP only to the session leader.
 */
static void run_forward(pid_t child, const struct signalfd_siginfo *info) {
        bool key = info->ssi_signo == SIGINT || info->ssi_signo == SIGQUIT;

        if (!key || info->ssi_code != SI_KERNEL)
                kill(child, (int)info->ssi_signo);
}

/*
 * Handles pending signals. Returns true with the wait status when the child has ended; nothing is
 * forwarded after that, as the pid may be reused.
 */
static bool run_take_signals(struct signals *signals, pid_t child, int *status) {
        struct signalfd_siginfo info;

        while (signals_next(signals, &info) == 0) {
                if (info.ssi_signo != SIGCHLD)
                        run_forward(child, &info);
                else if (waitpid(child, status, WNOHANG) == child)
                        return true;
        }
        return false;
}

/* Waits for the command to end. A loss of its mounts is printed but doesn't end it. */
static int run_wait(struct session *session, struct signals *signals, pid_t child) {
        int status;

        for (;;) {
                struct pollfd pollers[RUN_SOURCES] = {
                        [RUN_SIGNALS] = {.fd = signals->fd, .events = POLLIN},
                        [RUN_DAEMON] = {.fd = session_fd(session), .events = POLLIN},
                };

                poll(pollers, RUN_SOURCES, session_patience(session));
                if (pollers[RUN_DAEMON].revents || session_patience(session) == 0)
                        session_tend(session);
                if (pollers[RUN_SIGNALS].revents && run_take_signals(signals, child, &status))
                        return WIFEXITED(status) ? WEXITSTATUS(status)
                                                 : COMMAND_RUN_SIGNAL + WTERMSIG(status);
        }
}

static int run_command(const struct run *run, struct session *session, struct signals *signals) {
        pid_t parent = getpid();
        pid_t child = fork();

        if (child < 0) {
                warn("cannot fork");
                return COMMAND_RUN_FAILED;
        }
        if (child == 0)
                run_child(run, session, signals, parent);
        return run_wait(session, signals, child);
}

/*
 * A directory among the standard descriptors is a way out of the root, by openat(2) or
 * /proc/self/fd.
 */
static int run_check_streams(const struct arguments *arguments) {
        static const char *const names[] = {"input", "output", "error"};
        struct stat stat;

        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && !arguments->keep_fds; fd++)
                if (fstat(fd, &stat) == 0 && S_ISDIR(stat.st_mode)) {
                        warnx("standard %s is a directory, by which the command could leave its "
                              "root: redirect it, for example to /dev/null",
                              names[fd]);
                        return -EISDIR;
                }
        return 0;
}

int command_run(const struct arguments *arguments) {
        SESSION_AUTO struct session session = SESSION_NONE;
        SIGNALS_AUTO struct signals signals = SIGNALS_NONE;
        struct run run = {.arguments = arguments};
        int status;

        jobserver_find(&run.jobserver); /* before anything is opened */
        /* An ignored SIGCHLD would make the kernel reap the command and keep its status. */
        signal(SIGCHLD, SIG_DFL);
        /* Signals are blocked before the mount: dying of one would leave created directories. */
        if (run_check_streams(arguments) < 0 || session_connect(&session, arguments) < 0 ||
            signals_open(&signals, run_signals, sizeof(run_signals) / sizeof(run_signals[0])) < 0 ||
            session_mount(&session, arguments->operands[0]) < 0)
                return COMMAND_RUN_FAILED;

        status = run_command(&run, &session, &signals);
        session_unmount(&session); /* prints its own errors; the status stays the command's */
        return status;
}
