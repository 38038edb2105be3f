/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Users with a file system of their own that keeps callers waiting: see tests/hostile_fuse.c. Who
 * waits for it can't be killed, the daemon's threads included, so its process goes first whatever
 * becomes of the test: it dies with the process that started it.
 */

#include "tests/real/client.h"

#include <stdbool.h>
#include <sys/types.h>

enum {
        HOSTILE_USER = 61000, /* the first of HOSTILE_USERS */
        HOSTILE_USERS = 8,
        HOSTILE_CALLERS_MAX = 256,
};

struct hostile {
        uid_t uid;
        pid_t pid;
        int orders;    /* a byte lets those go that wait, and no one waits any more */
        int reports;   /* a byte for each that waits */
        char path[64]; /* where it is mounted; anything can be opened below */
        size_t n_callers;
        pid_t callers[HOSTILE_CALLERS_MAX];
};

/* Once in a test: gives the users names and a device. What is lacking, or NULL. */
const char *hostile_prepare(void);

/*
 * Mounts one of user HOSTILE_USER + `index` on `name` below the world's directory. Each waits for
 * ever, or with `patience` for so many milliseconds.
 */
struct hostile hostile_start(unsigned index, const char *name, unsigned patience);

/* One that others may enter (allow_other), in which each waits for ever. */
struct hostile hostile_start_shared(unsigned index, const char *name);

enum hostile_trait {
        HOSTILE_SHARED = 1 << 0,
        /* The kernel is not to remember attributes, and who asks for them, or for what statfs(2)
         * tells, waits as well. */
        HOSTILE_FORGETFUL = 1 << 1,
};

/* One with such `traits`, in which each waits for ever; the mount table has `source` for it. */
struct hostile hostile_start_as(unsigned index, const char *name, unsigned traits,
                                const char *source);

/*
 * Starts one over the directory `path`, which is there, and doesn't wait; it may fail. True from
 * hostile_is_mounted() once it is mounted; hostile_end() also unmounts it.
 */
struct hostile hostile_spawn(unsigned index, const char *path);
bool hostile_is_mounted(const struct hostile *hostile);

/* Whether it still runs. */
bool hostile_is_running(const struct hostile *hostile);

/* Kills it, and reaps those that called it. */
void hostile_end(struct hostile *hostile);

void hostile_let_go(struct hostile *hostile);

/* Whether somebody waits besides those whom hostile_block() started. */
bool hostile_is_awaited(const struct hostile *hostile);

/* Opens `name` below it as its user, who alone can. The caller owns the descriptor. */
int hostile_open(struct hostile *hostile, const char *name, int flags);

enum hostile_call {
        HOSTILE_LOOKUP,
        HOSTILE_MKDIR,
        HOSTILE_STAT, /* these two of a forgetful one, of the directory itself, and without a lock
                       */
        HOSTILE_STATFS,
};

/* A process of its user's starts to wait inside the directory `name`, and holds its lock. */
void hostile_block(struct hostile *hostile, const char *name, enum hostile_call call);

/*
 * Sends a request to mount procfs on `name`/proc below it, which is blocked, on a new connection,
 * and returns that without waiting for a reply.
 */
int hostile_wedge(struct hostile *hostile, const struct service *service, const char *name);

/* Sends a mount request of one procfs, and doesn't wait. */
void hostile_send_mount(int client, int target);
