/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/bench/service.h"

#include "tests/bench/samples.h"
#include "tests/bench/sandbox.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
        SERVICE_SOCKET = 3, /* sd_listen_fds(3) */
        SERVICE_ARGUMENTS = 32,
};

struct service service_listen(const char *binary) {
        static unsigned count;
        struct service service = {
                .binary = binary ?: MOUNTATD_BINARY,
                .number = count++,
        };
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        service.path = sandbox_path("socket-%u", service.number);
        snprintf(address.sun_path, sizeof(address.sun_path), "%s", service.path);
        service.socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (service.socket < 0 ||
            bind(service.socket, (struct sockaddr *)&address, sizeof(address)) < 0 ||
            listen(service.socket, SOMAXCONN) < 0)
                err(EXIT_FAILURE, "%s", service.path);
        return service;
}

static void service_exec(const struct service *service, const char *const *options) {
        /* Logs problems, but not that dozens of daemons start and stop. */
        const char *arguments[SERVICE_ARGUMENTS] = {service->binary, "--log-level=warning",
                                                    "--runtime-directory"};
        size_t n = 3;
        char pid[16], instance[32];

        arguments[n++] = sandbox_path("run-%u", service->number);
        /* The unnamed instance is the one on the bus. */
        snprintf(instance, sizeof(instance), "--instance=bench-%u", service->number);
        if (service->number > 0)
                arguments[n++] = instance;
        for (; options && *options; options++)
                arguments[n++] = *options;

        snprintf(pid, sizeof(pid), "%d", getpid());
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", "1", 1);
        if (service->socket == SERVICE_SOCKET)
                fcntl(SERVICE_SOCKET, F_SETFD, 0);
        else
                dup2(service->socket, SERVICE_SOCKET);
        close_range(SERVICE_SOCKET + 1, ~0U, 0);
        execv(arguments[0], (char **)arguments);
        err(EXIT_FAILURE, "%s", arguments[0]);
}

void service_start(struct service *service, const char *const *options) {
        service->pid = fork();
        if (service->pid < 0)
                err(EXIT_FAILURE, "fork");
        if (service->pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (service->elsewhere && unshare(CLONE_NEWNS) < 0)
                        err(EXIT_FAILURE, "unshare");
                service_exec(service, options);
        }
}

void service_activate(const struct service *service) {
        struct pollfd poller = {.fd = service->socket, .events = POLLIN};

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (poll(&poller, 1, -1) < 1)
                continue;
        service_exec(service, NULL);
        abort();
}

void service_stop(struct service *service) {
        int status;

        kill(service->pid, SIGTERM);
        while (waitpid(service->pid, &status, 0) < 0 && errno == EINTR)
                continue;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                errx(EXIT_FAILURE, "mountatd ended with status 0x%x", status);
        close(service->socket);
        unlink(service->path);
        free(service->path);
}

uint64_t service_cpu(const struct service *service) {
        return samples_cpu_of(service->pid);
}

unsigned long service_memory(const struct service *service, const char *what) {
        char path[32], line[256];
        unsigned long kilobytes = 0;
        size_t length = strlen(what);
        FILE *status;

        snprintf(path, sizeof(path), "/proc/%d/status", service->pid);
        status = fopen(path, "re");
        if (!status)
                err(EXIT_FAILURE, "%s", path);
        while (fgets(line, sizeof(line), status))
                if (strncmp(line, what, length) == 0 && line[length] == ':')
                        kilobytes = strtoul(line + length + 1, NULL, 10);
        fclose(status);
        return kilobytes;
}
