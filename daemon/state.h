/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The state file: the running instance, and one record of fixed size per lease, mapped by the
 * daemon, in the machine's own byte order. Storing to it costs no system call, and what was stored
 * survives a killed process. It is also the lock: an instance whose recorded process is alive
 * refuses a second one. (A file lock would not do: a thread that is stuck in the kernel keeps a
 * killed process's descriptors, locks included, open.)
 *
 * Nothing found is dropped silently: what earlier versions left is taken over. A file that isn't
 * understood, or has mounts of an instance in another mount namespace, which can't be seen from
 * here, is kept beside the new one. `directory` may contain
 *
 *     state                      the file
 *     state.new                  half a take-over: ignored
 *     state.lock                 locked while an instance takes over or sweeps
 *     ledger                     0.1's name for it, until it has been taken over
 *     state.unknown-1, -2, …     set aside, also ledger.unknown-N
 *
 * All on the main thread; state_open() and state_open_left() before system calls are confined. They
 * block as a local file system does.
 */

#include "common/protocol.h"
#include "daemon/instance.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
        STATE_HEADER_SIZE = 4096,
        STATE_RECORDS_MAX = 65536,
        STATE_SET_ASIDE_MAX = 8, /* files set aside per name */
};

/* The magic, the version and the instance are in the same place in every version. */
struct state_header {
        char magic[8]; /* "MNTSTATE", without a NUL */
        uint32_t version;
        uint32_t record_size;
        uint32_t capacity;
        uint32_t pid_namespace; /* of the pids here, as its inode in nsfs; 0: unknown */
        struct instance instance;
};

enum record_state {
        RECORD_FREE = 0,
        RECORD_ATTACHING = 1, /* the mounts exist, and may or may not be attached yet */
        RECORD_LIVE = 2,
        RECORD_RELEASING = 3, /* the mounts may or may not be detached yet */
};

enum { RECORD_MOUNTED_MAX = 16 * PROTOCOL_TARGETS_MAX }; /* per lease; more than any can have */

/* The low bits of a lease's id are the index of its record. */
#define RECORD_INDEX(lease) ((uint32_t)((lease) & (STATE_RECORDS_MAX - 1)))

struct record {
        uint64_t lease;
        uint64_t granted;           /* microseconds of CLOCK_BOOTTIME */
        uint64_t writer_start_time; /* of the attaching instance, as in struct instance */
        uint64_t mount_namespace;   /* its id, kernel_mount_namespace_id(); 0: the daemon's own */
        uint64_t namespace_inode;   /* its inode, for people; 0: the daemon's own, or unknown */
        int32_t writer_pid;
        uint32_t state; /* enum record_state */
        uint32_t uid;   /* the client's */
        int32_t pid;    /* the client's, 0 if it is in a pid namespace that we can't see */
        uint32_t count;
        uint16_t kept;    /* 1: for its user, by the daemon; 0: held by a connection */
        uint16_t mounted; /* mounts that the kernel holds for it, as charged */
        uint8_t file_systems[PROTOCOL_TARGETS_MAX]; /* the protocol's */
        uint64_t mounts[PROTOCOL_TARGETS_MAX];      /* ids, unique if the kernel has unique ids */
};

struct state {
        int directory;
        int lock;    /* state_open_left()'s */
        ino_t inode; /* of the file */
        size_t size;
        uint32_t capacity; /* as checked: others can change the header's */
        uint32_t used;     /* records from here on were never written, and aren't read, which would
                              allocate memory */
        struct state_header *header;
        struct record *records;
};

/* What was found, for the caller to log. Zeroed by the caller; also filled in on failure. */
struct state_found {
        int32_t pid;  /* with -EBUSY: the process that uses the file */
        bool foreign; /* with -ENOENT of state_open_left(): the file is of another mount namespace
                       */
        uint32_t damaged;   /* records that no mountatd can have written: skipped */
        char set_aside[64]; /* the new names, separated by ", ", of the files set aside; "": none */
};

/*
 * Takes over the state file in `directory`, with room for at least `capacity` records (at most
 * STATE_RECORDS_MAX). Records of a dead instance of this boot keep their index; all others are
 * free. A file of an earlier boot is replaced, since its mounts are gone.
 *
 * A file that isn't understood, or isn't a regular file, is set aside. So is one with records in
 * the instance's own mount namespace, if that is not ours; its records in clients' namespaces are
 * taken over nevertheless, those in ours as the daemon's own, unless its pid namespace isn't ours
 * either, where the instance may be alive. The first STATE_SET_ASIDE_MAX - 1 files of a name are
 * kept, and the last. The blocks are allocated, so no store can fail later.
 *
 * -EXDEV: as instance_self(). -EBUSY: a process uses the file, even one of 0.1 or of a version that
 * isn't understood. -EAGAIN: another instance is just starting. On these, nothing is changed. Any
 * other failure is final: a file that can't be read isn't taken for one that isn't understood.
 *
 * If both `state` and `ledger` are of this boot and understood, the one whose instance started
 * later wins, and `state` if both are of the same instance. A `state` that loses has records that
 * 0.1, started after it, knew nothing of: it is set aside, unless it has none.
 */
int state_open(const char *directory, uint32_t capacity, struct state *state,
               struct state_found *found);

/*
 * Opens the file that a dead instance of this boot left, in place, only to change states; one of an
 * earlier version is converted first. Nobody can take over before state_close_left(). -ENOENT:
 * nothing to work on; files to be set aside, and those of another mount namespace, are left to
 * state_open(). -EBUSY and -EAGAIN as above.
 */
int state_open_left(const char *directory, struct state *state, struct state_found *found);

/* Unmaps the file of state_open_left(), and lets others take over. */
void state_close_left(struct state *state);

/* Unmaps; removes the file unless a record is in use, or it was set aside by another instance. */
void state_close(struct state *state);

/* Whether a mountatd can have written the record, found at `index`. */
bool record_is_sane(const struct record *record, uint32_t index);

/* Stores the state last: a reader after our death sees either no lease or a complete one. */
void record_set_state(struct record *record, enum record_state state);
