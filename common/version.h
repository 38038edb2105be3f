/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The output of --version: name, version, and the features in which builds differ, in systemd's
 * format. The libraries are in every build, so they aren't listed.
 */

#ifdef NDEBUG
#define VERSION_ASSERT "-ASSERT"
#else
#define VERSION_ASSERT "+ASSERT"
#endif

#ifdef MOUNTATD_SANITIZED
#define VERSION_SANITIZE "+SANITIZE"
#else
#define VERSION_SANITIZE "-SANITIZE"
#endif

#define VERSION_TEXT(name) name " " MOUNTATD_VERSION "\n" VERSION_ASSERT " " VERSION_SANITIZE "\n"
