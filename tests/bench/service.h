/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A mountatd for the benchmark, in the sandbox, started as by a service manager: with a listening
 * socket.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct service {
        pid_t pid;
        int socket;
        char *path; /* of the socket */
        const char *binary;
        unsigned number;
        bool elsewhere; /* in another mount namespace: for it, clients here are in a container */
};

/*
 * Only the socket; a client can already connect. `binary` is NULL for the mountatd of this build.
 */
struct service service_listen(const char *binary);

/* Starts the daemon with that socket, and these options, up to a NULL (or none). */
void service_start(struct service *service, const char *const *options);

/* Waits for the first connection and becomes the daemon; in a process forked for it. */
void service_activate(const struct service *service) __attribute__((noreturn));

/* Ends it, which releases all leases. */
void service_stop(struct service *service);

/* Processor time of all its threads so far, nanoseconds. */
uint64_t service_cpu(const struct service *service);

/* From /proc/PID/status: "VmRSS", "RssAnon" and the like, in KiB. */
unsigned long service_memory(const struct service *service, const char *what);
