/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The same rig over D-Bus: Alice and root call a daemon on the test's own bus. An error is an
 * outcome, as in rig.h; an unanswered call ends after 25 s with CALLER_TIMEOUT.
 */

#include "tests/faults/inject/rig.h"

#define CALLER_TIMEOUT "org.freedesktop.DBus.Error.Timeout"

/* Whether a bus is possible here. */
bool caller_is_possible(void);

/* Starts the bus, once, and connects the callers. */
void caller_prepare(void);

/* Disconnects them, and ends the bus. */
void caller_finish(void);

/* Waits until the daemon answers on the bus; false: not within seconds. */
bool caller_await(const struct rig *rig);

/*
 * Calls; `lease` is set from the answer. Unmount is called by Alice, for her kept lease, or by root
 * for clean-up; all others by root.
 */
struct outcome caller_mount(struct rig *rig);
struct outcome caller_unmount(struct rig *rig);
struct outcome caller_unmount_path(struct rig *rig);
struct outcome caller_list(struct rig *rig);
struct outcome caller_tidy(struct rig *rig);

/* As rig_find_fault(), and the daemon must answer on the bus. */
const char *caller_find_fault(const struct rig *rig);
