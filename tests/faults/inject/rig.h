/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The rig for faults and kills: one daemon after the other over one state file, Alice's connection
 * and her input root, and the invariants that hold whenever things have settled. A mistake of the
 * daemon's doesn't fail the test here: it is returned, for a table.
 */

#include "tests/fixtures/client.h"

#include <stdint.h>

enum {
        RIG_GUESTS_MAX = 8,
};

/* The daemon's threads, by the system call each is blocked in. */
struct rig_threads {
        unsigned serving; /* a connection: blocked for its next request */
        unsigned waiting; /* for work, or for log lines */
        unsigned others;  /* the main one, and a sanitizer's */
};

struct rig {
        const struct service_plan *plan;
        struct service service;
        const char *root;
        int alice;                  /* her connection, or -EBADF */
        int guests[RIG_GUESTS_MAX]; /* further connections, Bob's */
        unsigned n_guests;
        uint64_t lease;  /* Alice's: proc and sys, or dev, of the root are mounted; 0: none */
        bool kept;       /* the lease, beyond the connection that asked for it */
        unsigned mounts; /* existing mounts of the lease */
        unsigned held;   /* its descriptors */
        int network;     /* sent as hers; -EBADF: her own */
        unsigned inside; /* descriptors of her namespaces, once entered */
        unsigned fds;    /* the daemon's own open descriptors, */
        struct rig_threads threads; /* and threads, without a connection */
};

enum answer {
        ANSWER_REPLY,
        ANSWER_ERROR,   /* of D-Bus */
        ANSWER_CLOSED,  /* the connection is closed */
        ANSWER_NOTHING, /* none within seconds */
};

struct outcome {
        enum answer answer;
        struct wire_reply reply; /* errno and text also for an error */
        char error[96];          /* its name */
        bool listed;             /* ListLeases has shown the lease */
};

/* Makes the root; no daemon yet. */
void rig_prepare(struct rig *rig, const struct service_plan *plan);

/*
 * Makes, once, a mount namespace only for the daemon: seen from there, Alice is in a container. The
 * child enters it (service_plan.enter), before trap_enter().
 */
void rig_make_elsewhere(void);
void rig_go_elsewhere(void);

/* Whether the daemon has a descriptor of Alice's mount namespace. */
bool rig_keeps_namespace(const struct rig *rig);

/* Starts a daemon. The first connection shows whether it runs. */
void rig_start(struct rig *rig);

/* Connects Alice, accepted or not. */
void rig_reach(struct rig *rig);

/* Connects Alice and says hello. False: no answer, and no connection. */
bool rig_connect(struct rig *rig);

/* Makes the daemon enter her namespaces, once per connection. */
struct outcome rig_enter(struct rig *rig);

/* Whether the daemon closes the connection after the last reply. */
bool rig_is_left(struct rig *rig);

/* Closes Alice's connection, if any. */
void rig_hang_up(struct rig *rig);

/*
 * Waits until each of the daemon's threads is blocked. The resources of a daemon just started, with
 * Alice connected or not and nothing mounted, are the baseline from now on.
 */
void rig_measure(struct rig *rig);

/* Waits until all threads of a measured daemon are blocked again. */
void rig_settle(const struct rig *rig);

/*
 * The number of idle threads, besides the spare one; and a guest connection for each, so that the
 * next connection needs a new thread. Guests stay until dismissed.
 */
unsigned rig_count_idle(const struct rig *rig);
void rig_occupy(struct rig *rig);
void rig_dismiss(struct rig *rig);

/* Waits for an unsolicited reply, or the end of the connection. */
struct outcome rig_listen(struct rig *rig);

/* Alice's requests; `lease`, `kept` and `alice` are set from the answer. */
struct outcome rig_hello(struct rig *rig);
struct outcome rig_mount(struct rig *rig);
struct outcome rig_mount_dev(struct rig *rig);
struct outcome rig_mount_to_keep(struct rig *rig);
struct outcome rig_check(struct rig *rig);
struct outcome rig_unmount(struct rig *rig);
struct outcome rig_adopt(struct rig *rig, uint64_t lease);

/*
 * NULL: the daemon runs, and mounts, records, descriptors, threads and working directories are
 * right, now or within seconds. Otherwise what is wrong.
 */
const char *rig_find_fault(const struct rig *rig);

/* The same for only mounts and records, without a daemon. */
const char *rig_find_remains(const struct rig *rig, unsigned mounts, unsigned records);

/* Waits for the daemon's end; returns its wait status, -1: it doesn't end. */
int rig_await_end(struct rig *rig);

/* Sends the signal, and waits for the end. */
int rig_end(struct rig *rig, int signal);
