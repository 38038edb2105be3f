/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between state.c, which has the file, and state_upgrade.c, which alone knows what earlier versions
 * wrote. */

#include "daemon/state.h"

#include <sys/types.h>

#define STATE_NAME "state"
#define STATE_NAME_NEW "state.new"
#define STATE_NAME_1 "ledger" /* 0.1, which counts as version 1 */

enum {
        STATE_VERSION = 3, /* 2 was in no release */
        STATE_RECORD_SIZE_1 = 192,
};

enum state_finding {
        STATE_ABSENT,
        STATE_UNKNOWN,  /* not understood; or in another mount namespace and of an earlier version,
                         * or in another pid namespace as well; or 0.1 has run since */
        STATE_OUTDATED, /* of an earlier boot: its mounts are gone; or without a record, and 0.1 has
                         * run since */
        STATE_LEFT,     /* by a dead instance of this boot */
        STATE_FOREIGN,  /* the same, but one in another mount namespace */
};

/* What lies under a name. */
struct state_file {
        int fd; /* owned; open if it was LEFT or FOREIGN */
        enum state_finding finding;
        struct state_header header; /* of an earlier version as well; if it was understood */
        uid_t uid;
        gid_t gid;
};

struct state_takeover {
        int directory; /* owned; locked */
        struct instance self;
        uint32_t pid_namespace; /* ours */
        struct state_file state, ledger;
        struct state_found *found;
};

/* ---- state.c ---- */

/*
 * Looks at what lies under the name, which is of that version, or isn't understood. -EBUSY: its
 * instance is alive. That stands in one place in every version, so that a file that isn't
 * understood isn't taken from who runs with it.
 */
int state_find(struct state_takeover *takeover, const char *name, uint32_t version,
               struct state_file *file);

/* Maps the file of that header, of any version, for the caller to unmap. */
int state_map(int fd, const struct state_header *header, struct state *state);
void state_unmap(struct state *state);

/* Makes a file without records, mapped, that isn't in its place yet, and puts it there. */
int state_create(int directory, uint32_t capacity, const struct instance *instance,
                 struct state *state);
int state_put_in_place(int directory, struct state *state);

/* ---- state_upgrade.c ---- */

/* Turns a header of version 1 into one of ours. False: it is none. */
bool state_translate_header_1(struct state_header *header);

/*
 * Removes 0.1's file, once there is a state file of what is in it. There is one already if one was
 * LEFT or is FOREIGN: that is the later one.
 */
int state_upgrade(struct state_takeover *takeover);
