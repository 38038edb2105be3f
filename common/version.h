/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What --version prints: the name, the version, and the features in which builds differ, as systemd
 * has them. The libraries are in every build, so they are none.
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
