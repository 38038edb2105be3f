/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A real mountatd, started as systemd starts it: systemd-socket-activate holds the socket and
 * becomes the daemon at the first connection, so both have one pid. Its files are NAME.socket,
 * and NAME.run below the world's directory, its instance is called test-NAME.
 *
 * A sanitizer's report in the log fails the test that stops or reaps the daemon.
 */

#include "tests/real/world.h"

#include <stdbool.h>
#include <sys/types.h>

enum service_start {
        SERVICE_ACTIVATED, /* by one SOCK_SEQPACKET socket */
        SERVICE_LISTENS,   /* by --listen */
        SERVICE_ACTIVATED_STREAM,
        SERVICE_ACTIVATED_DATAGRAM,
        SERVICE_ACTIVATED_TWICE, /* by two sockets */
        SERVICE_BARE,            /* neither */
};

struct service_plan {
        const char *name;
        enum service_start start;
        const char *options[12]; /* of the daemon, besides those that every test gives */
        const char *wrapper[16]; /* what starts the daemon: setpriv and its options */
        const char *socket;      /* path, if not NAME.socket */
        const char *runtime;     /* directory, if not NAME.run */
        const char *notify;      /* $NOTIFY_SOCKET */
        int denied[4];           /* numbers of system calls that its kernel seems not to know */
        uid_t uid;               /* owner of the runtime directory */
        bool unnamed;            /* the instance that is on the bus */
        void (*enter)(void);     /* called in the process just before it becomes the daemon, */
        void (*attend)(pid_t);   /* and in the test, just after it was forked */
};

struct service {
        pid_t pid;
        char socket[108];
        char log[128];
        char runtime[128];
        char source[64]; /* of its mounts */
        /* How many descriptors it has open when nobody is connected; not if it is on a bus, which
         * it may be connecting to at this moment. */
        unsigned fds;
};

/* Starts it, and gives the socket the mode and group of a real one. It may turn out to refuse. */
struct service service_spawn(const struct service_plan *plan);

/* The same, and waits until it has answered a hello. */
struct service service_start(const struct service_plan *plan);

/* One of that name, with these options. */
#define service_start_with(service_name, ...)                                                      \
        service_start(&(struct service_plan){.name = service_name, .options = {__VA_ARGS__}})

/* SIGTERM; it must release everything and exit 0. */
void service_stop(struct service *service);

/* Waits for its end, whoever's doing that is, and returns the wait status. */
int service_wait(struct service *service);

/* It must end by itself, unsuccessfully but not by a signal, and have said `text`. */
void service_expect_refusal(struct service *service, const char *text);

/* Whether it still runs. */
bool service_is_running(const struct service *service);

/* Whether its log contains `text`: while it runs, to be waited for, since it logs from a thread of
 * its own; after its end, all that it has said is there. */
bool service_has_logged(const struct service *service, const char *text);

/* Whether a thread's working directory is in a procfs or sysfs, which it would pin. */
bool service_is_inside(const struct service *service);

/* How many descriptors and threads it has. */
unsigned service_count_fds(const struct service *service);
unsigned service_count_threads(const struct service *service);

/* The most memory that it has had resident, in KiB. */
unsigned service_peak_kib(const struct service *service);
