/* SPDX-License-Identifier: Apache-2.0 */

/* MOUNTATD_BINARY in the environment names another daemon than the one of this build. */

#include "tests/real/service.h"

#include "common/fd.h"
#include "tests/real/client.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>

enum {
        SERVICE_ARGUMENTS = 64,
};

struct service_command {
        unsigned count;
        const char *arguments[SERVICE_ARGUMENTS];
};

static void service_say(struct service_command *command, const char *argument) {
        ck_assert_uint_lt(command->count + 1, SERVICE_ARGUMENTS);
        command->arguments[command->count++] = argument;
}

static void service_say_all(struct service_command *command, const char *const *arguments) {
        while (*arguments)
                service_say(command, *arguments++);
}

/* systemd-socket-activate passes nothing of the environment on that it isn't told to. */
static void service_say_activation(struct service_command *command, enum service_start start,
                                   const char *socket) {
        static const char *const environment[] = {
                "ASAN_OPTIONS",  "UBSAN_OPTIONS", "TSAN_OPTIONS",      "LSAN_OPTIONS",
                "NOTIFY_SOCKET", "WATCHDOG_USEC", "LLVM_PROFILE_FILE", "DBUS_SYSTEM_BUS_ADDRESS"};

        service_say(command, "systemd-socket-activate");
        for (unsigned i = 0; i < sizeof(environment) / sizeof(environment[0]); i++)
                if (getenv(environment[i])) {
                        service_say(command, "-E");
                        service_say(command, environment[i]);
                }
        if (start == SERVICE_ACTIVATED_DATAGRAM)
                service_say(command, "--datagram");
        else if (start != SERVICE_ACTIVATED_STREAM)
                service_say(command, "--seqpacket");
        service_say(command, "-l");
        service_say(command, socket);
        if (start == SERVICE_ACTIVATED_TWICE) {
                service_say(command, "-l");
                service_say(command, world_path("second.socket"));
        }
}

static void service_say_daemon(struct service_command *command, const struct service_plan *plan,
                               const struct service *service) {
        service_say_all(command, plan->wrapper);
        service_say(command, getenv("MOUNTATD_BINARY") ?: MOUNTATD_BINARY);
        if (!plan->unnamed) {
                service_say(command, "--instance");
                service_say(command, strchr(service->source, ':') + 1);
        }
        service_say(command, "--runtime-directory");
        service_say(command, service->runtime);
        if (plan->start == SERVICE_LISTENS) {
                service_say(command, "--listen");
                service_say(command, service->socket);
        }
        service_say_all(command, plan->options);
}

/*
 * They fail with EPERM, as those that a filter of the service manager's doesn't know: seccomp(2).
 * The filter looks at nothing but the number, which is as good as the test's own build.
 */
static void service_deny(int call) {
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        const struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
                perror("seccomp");
                _exit(127);
        }
}

static void service_exec(const struct service_plan *plan, const struct service *service) {
        struct service_command command = {0};
        int null = open("/dev/null", O_RDONLY),
            log = open(service->log, O_WRONLY | O_CREAT | O_APPEND, 0644);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(null, STDIN_FILENO);
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        close_range(STDERR_FILENO + 1, ~0U, 0);

        setenv("ASAN_OPTIONS", "exitcode=66", 0);
        setenv("UBSAN_OPTIONS", "halt_on_error=1:exitcode=66:print_stacktrace=1", 0);
        setenv("TSAN_OPTIONS", "exitcode=66", 0);
        if (plan->notify)
                setenv("NOTIFY_SOCKET", plan->notify, 1);

        if (plan->start != SERVICE_LISTENS && plan->start != SERVICE_BARE)
                service_say_activation(&command, plan->start, service->socket);
        service_say_daemon(&command, plan, service);
        for (const int *call = plan->denied; *call; call++)
                service_deny(*call);
        if (plan->enter)
                plan->enter();
        execvp(command.arguments[0], (char **)command.arguments);
        perror(command.arguments[0]);
        _exit(127);
}

static bool service_has_ended(const struct service *service) {
        siginfo_t info = {0};

        ck_assert_int_eq(waitid(P_PID, service->pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
        return info.si_pid == service->pid;
}

/* How many listen there: a dead one may still. Connecting would be the first connection. */
static unsigned service_count_listeners(const struct service *service) {
        FILE *table = fopen("/proc/net/unix", "re");
        unsigned flags;
        char line[512], path[256];
        unsigned count = 0;

        ck_assert_ptr_nonnull(table);
        while (fgets(line, sizeof(line), table))
                count += sscanf(line, "%*s %*s %*s %x %*s %*s %*s %255s", &flags, path) == 2 &&
                         strcmp(path, service->socket) == 0 && (flags & 1 << 16);
        fclose(table);
        return count;
}

static void service_open_socket(const struct service *service) {
        if (chown(service->socket, 0, WORLD_GROUP) < 0 || chmod(service->socket, 0660) < 0)
                world_wait_for(service_has_ended(service)); /* it has taken its socket away */
}

struct service service_spawn(const struct service_plan *plan) {
        struct service service = {0};
        unsigned before;

        snprintf(service.socket, sizeof(service.socket), "%s",
                 plan->socket ?: world_path("%s.socket", plan->name));
        world_log_path(service.log, sizeof(service.log), plan->name);
        snprintf(service.runtime, sizeof(service.runtime), "%s",
                 plan->runtime ?: world_path("%s.run", plan->name));
        snprintf(service.source, sizeof(service.source), "mountatd%s%s",
                 plan->unnamed ? "" : ":test-", plan->unnamed ? "" : plan->name);
        if (mkdir(service.runtime, 0755) == 0)
                ck_assert_int_eq(chown(service.runtime, plan->uid, plan->uid), 0);

        before = service_count_listeners(&service);
        service.pid = fork();
        ck_assert_int_ge(service.pid, 0);
        if (service.pid == 0)
                service_exec(plan, &service);
        if (plan->attend)
                plan->attend(service.pid);
        if (plan->start == SERVICE_BARE)
                return service;
        world_wait_for(plan->start == SERVICE_ACTIVATED_DATAGRAM
                               ? access(service.socket, F_OK) == 0
                               : service_count_listeners(&service) > before ||
                                         service_has_ended(&service));
        service_open_socket(&service);
        return service;
}

struct service service_start(const struct service_plan *plan) {
        struct service service = service_spawn(plan);
        int clients[2];

        /* When the second one is served, the main loop has done what the first one makes it do. */
        for (int i = 0; i < 2; i++) {
                clients[i] = client_connect(&service, WORLD_ALICE);
                client_hello(clients[i]);
        }
        do /* sd_notify(3) opens a socket for each message */
                service.fds = service_count_fds(&service) - 2;
        while (usleep(2000) == 0 && service_count_fds(&service) - 2 != service.fds);
        close(clients[0]);
        close(clients[1]);
        if (!plan->unnamed)
                world_wait_for(service_count_fds(&service) == service.fds);
        return service;
}

static void service_check_log(const struct service *service) {
        ck_assert_msg(!service_has_logged(service, "Sanitizer") &&
                              !service_has_logged(service, "runtime error:"),
                      "a sanitizer has found something: %s", service->log);
}

int service_wait(struct service *service) {
        struct pollfd end = {.fd = pidfd_open(service->pid, 0), .events = POLLIN};
        int status;

        ck_assert_int_ge(end.fd, 0);
        ck_assert_msg(poll(&end, 1, WORLD_PATIENCE_MS) == 1, "the daemon doesn't end");
        close(end.fd);
        ck_assert_int_eq(waitpid(service->pid, &status, 0), service->pid);
        service->pid = 0;
        service_check_log(service);
        return status;
}

void service_stop(struct service *service) {
        int status;

        ck_assert_int_eq(kill(service->pid, SIGTERM), 0);
        status = service_wait(service);
        ck_assert_msg(status == 0, "the daemon ended with 0x%x", status);
        ck_assert_uint_eq(world_count_mounts(0, service->source), 0);
}

void service_expect_refusal(struct service *service, const char *text) {
        int status = service_wait(service);

        ck_assert_msg(WIFEXITED(status) && (WEXITSTATUS(status) == 1 || WEXITSTATUS(status) == 2),
                      "the daemon ended with 0x%x", status);
        ck_assert_msg(service_has_logged(service, text), "the daemon didn't say: %s", text);
}

bool service_is_running(const struct service *service) {
        return !service_has_ended(service);
}

bool service_has_logged(const struct service *service, const char *text) {
        FILE *log = fopen(service->log, "re");
        char line[2048];
        bool found = false;

        ck_assert_ptr_nonnull(log);
        while (!found && fgets(line, sizeof(line), log))
                found = strstr(line, text);
        fclose(log);
        return found;
}

bool service_is_inside(const struct service *service) {
        char path[64], link[512];
        struct statfs place;
        bool inside = false;
        DIR *tasks;

        snprintf(path, sizeof(path), "/proc/%d/task", service->pid);
        tasks = opendir(path);
        ck_assert_msg(tasks != NULL, "%s: %s", path, strerror(errno));
        for (struct dirent *entry; (entry = readdir(tasks));) {
                if (entry->d_name[0] == '.')
                        continue;
                snprintf(link, sizeof(link), "%s/%s/cwd", path, entry->d_name);
                ck_assert_int_eq(statfs(link, &place), 0);
                inside = inside || place.f_type == PROC_SUPER_MAGIC || place.f_type == SYSFS_MAGIC;
        }
        closedir(tasks);
        return inside;
}

static unsigned service_count(const struct service *service, const char *what) {
        char path[64];
        unsigned count = 0;
        DIR *directory;

        snprintf(path, sizeof(path), "/proc/%d/%s", service->pid, what);
        directory = opendir(path);
        ck_assert_msg(directory != NULL, "%s: %s", path, strerror(errno));
        for (struct dirent *entry; (entry = readdir(directory));)
                count += entry->d_name[0] != '.';
        closedir(directory);
        return count;
}

unsigned service_count_fds(const struct service *service) {
        return service_count(service, "fd");
}

unsigned service_count_threads(const struct service *service) {
        return service_count(service, "task");
}

unsigned service_peak_kib(const struct service *service) {
        char path[64], line[256];
        unsigned kib = 0;
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%d/status", service->pid);
        file = fopen(path, "re");
        ck_assert_ptr_nonnull(file);
        while (fgets(line, sizeof(line), file))
                if (sscanf(line, "VmHWM: %u", &kib) == 1)
                        break;
        fclose(file);
        return kib;
}
