/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The same rig, over D-Bus: Alice and root call a daemon that is on a bus of the test's own. An
 * answer that isn't one is told, as in rig.h; a call that is never answered ends after 25 s with
 * CALLER_TIMEOUT.
 */

#include "tests/faults/inject/rig.h"

#define CALLER_TIMEOUT "org.freedesktop.DBus.Error.Timeout"

/* Whether there can be a bus. */
bool caller_is_possible(void);

/* Starts the bus, once; the callers are connected. */
void caller_prepare(void);

/* They leave, and the bus ends. */
void caller_finish(void);

/* Waits until the daemon answers there; false: not within seconds. */
bool caller_await(const struct rig *rig);

/*
 * Calls; `lease` is as the answer says. Unmount is Alice's, of what is kept for her, or root's to
 * tidy up; all others are root's.
 */
struct outcome caller_mount(struct rig *rig);
struct outcome caller_unmount(struct rig *rig);
struct outcome caller_unmount_path(struct rig *rig);
struct outcome caller_list(struct rig *rig);
struct outcome caller_tidy(struct rig *rig);

/* As rig_find_fault(), and the daemon must answer on the bus. */
const char *caller_find_fault(const struct rig *rig);
