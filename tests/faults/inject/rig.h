/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What faults and kills are tried on: one daemon after the other over one ledger, Alice's
 * connection and her input root, and what must be true whenever things have settled. Nothing here
 * fails a test where the daemon is at fault: it is told, so that a table can be made of it.
 */

#include "tests/fixtures/client.h"

#include <stdint.h>

enum {
        RIG_GUESTS_MAX = 8,
};

/* The daemon's threads, by the system call that each waits in. */
struct rig_threads {
        unsigned serving; /* a connection: for its next request */
        unsigned waiting; /* for work, or for lines of the log */
        unsigned others;  /* the main one, and a sanitizer's */
};

struct rig {
        const struct service_plan *plan;
        struct service service;
        const char *root;
        int alice;                  /* her connection, or -EBADF */
        int guests[RIG_GUESTS_MAX]; /* further connections, of Bob's */
        unsigned n_guests;
        uint64_t lease;  /* hers: proc and sys, or dev, of the root are mounted; 0: none */
        bool kept;       /* the lease, beyond the connection that asked for it */
        unsigned mounts; /* of the lease that there are */
        unsigned held;   /* descriptors of its */
        int network;     /* a network namespace that she sends as hers; -EBADF: her own */
        unsigned inside; /* descriptors of her namespaces, if she has had those entered */
        unsigned fds;    /* that the daemon has open for itself, */
        struct rig_threads threads; /* and has without a connection */
};

enum answer {
        ANSWER_REPLY,
        ANSWER_ERROR,   /* of D-Bus */
        ANSWER_CLOSED,  /* the connection */
        ANSWER_NOTHING, /* within seconds */
};

struct outcome {
        enum answer answer;
        struct wire_reply reply; /* errno and text of an error as well */
        char error[96];          /* its name */
        bool listed;             /* ListLeases has shown the one lease */
};

/* Makes the root; no daemon yet. */
void rig_prepare(struct rig *rig, const struct service_plan *plan);

/*
 * A mount namespace that is nobody's but the daemon's: seen from there, Alice is in a container.
 * The test makes it, once; the child goes there (service_plan.enter), before trap_enter().
 */
void rig_make_elsewhere(void);
void rig_go_elsewhere(void);

/* Whether the daemon has a descriptor of Alice's mount namespace. */
bool rig_keeps_namespace(const struct rig *rig);

/* Spawns a daemon. Whether it runs is asked with the first connection. */
void rig_start(struct rig *rig);

/* Connects Alice; nobody need accept it. */
void rig_reach(struct rig *rig);

/* Connects Alice and says hello. False: there is no answer, and no connection. */
bool rig_connect(struct rig *rig);

/* Has the daemon enter her namespaces, once on a connection. */
struct outcome rig_enter(struct rig *rig);

/* Whether the daemon closes it, after what it has said. */
bool rig_is_left(struct rig *rig);

/* Closes Alice's connection, if there is one. */
void rig_hang_up(struct rig *rig);

/*
 * Waits until each of the daemon's threads waits for something. What a daemon has that has just
 * been started, with Alice connected or not and nothing mounted, is the measure from now on.
 */
void rig_measure(struct rig *rig);

/* Waits until all threads of a daemon that has been measured wait for something again. */
void rig_settle(const struct rig *rig);

/*
 * How many threads wait for work, besides the spare one; and a guest for each of those, so that the
 * next connection needs a new one. Guests stay until they are dismissed.
 */
unsigned rig_count_idle(const struct rig *rig);
void rig_occupy(struct rig *rig);
void rig_dismiss(struct rig *rig);

/* Waits for what the daemon says unasked, or for the end of the connection. */
struct outcome rig_listen(struct rig *rig);

/* Alice asks; `lease`, `kept` and `alice` are as the answer says. */
struct outcome rig_hello(struct rig *rig);
struct outcome rig_mount(struct rig *rig);
struct outcome rig_mount_dev(struct rig *rig);
struct outcome rig_mount_to_keep(struct rig *rig);
struct outcome rig_check(struct rig *rig);
struct outcome rig_unmount(struct rig *rig);
struct outcome rig_adopt(struct rig *rig, uint64_t lease);

/*
 * NULL: the daemon runs, and mounts, records, descriptors, threads and working directories are what
 * they must be, now or within seconds. Else what isn't.
 */
const char *rig_find_fault(const struct rig *rig);

/* The same of mounts and records alone: without a daemon. */
const char *rig_find_remains(const struct rig *rig, unsigned mounts, unsigned records);

/* Waits for the daemon's end; its wait status, -1: it doesn't end. */
int rig_await_end(struct rig *rig);

/* The signal, and its end. */
int rig_end(struct rig *rig, int signal);
