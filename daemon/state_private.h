/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Shared by state.c, which owns the file, and state_upgrade.c, the only one to know the formats of
 * earlier versions.
 */

#include "daemon/state.h"

#include <sys/types.h>

#define STATE_NAME "state"
#define STATE_NAME_NEW "state.new"
#define STATE_NAME_LOCK "state.lock"
#define STATE_NAME_1 "ledger" /* 0.1, which counts as version 1 */

enum {
        STATE_VERSION = 3, /* 2 was in no release */
        STATE_RECORD_SIZE_1 = 192,
};

enum state_finding {
        STATE_ABSENT,
        STATE_UNKNOWN,  /* not understood; or of another mount namespace and an earlier version; or
                           of another pid namespace; or 0.1 has run since */
        STATE_OUTDATED, /* of an earlier boot: its mounts are gone; or without a record, and 0.1 has
                           run since */
        STATE_LEFT,     /* of a dead instance of this boot */
        STATE_FOREIGN,  /* the same, in another mount namespace */
};

/* A file found under a name. */
struct state_file {
        int fd; /* owned; open if LEFT or FOREIGN */
        enum state_finding finding;
        struct state_header header; /* of earlier versions too; if understood */
        uid_t uid;
        gid_t gid;
};

struct state_takeover {
        int directory; /* owned */
        int lock;      /* owned */
        struct instance self;
        uint32_t pid_namespace; /* ours */
        struct state_file state, ledger;
        struct state_found *found;
};

/* ---- state.c ---- */

/*
 * Examines the file under that name, which is of that version, or isn't understood. -EBUSY: its
 * instance is alive. The instance is in the same place in every version, so that even a file that
 * isn't understood isn't taken away from a running process.
 */
int state_find(struct state_takeover *takeover, const char *name, uint32_t version,
               struct state_file *file);

/* Maps the file with that header, of any version; the caller unmaps it. */
int state_map(int fd, const struct state_header *header, struct state *state);
void state_unmap(struct state *state);

/* Creates a mapped file without records under a temporary name, and moves it into place. */
int state_create(int directory, uint32_t capacity, const struct instance *instance,
                 struct state *state);
int state_put_in_place(int directory, struct state *state);

/* ---- state_upgrade.c ---- */

/* Translates a header of version 1 into the present one. False: it isn't one. */
bool state_translate_header_1(struct state_header *header);

/*
 * Removes 0.1's file once a state file has its contents. If a state file was LEFT or is FOREIGN, it
 * is the later one.
 */
int state_upgrade(struct state_takeover *takeover);
