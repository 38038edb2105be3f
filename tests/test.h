/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* All that a test may use: tests/README.md says what is what. */

#include "tests/fixtures/baseline.h"
#include "tests/fixtures/bus_fixture.h"
#include "tests/fixtures/client.h"
#include "tests/fixtures/container.h"
#include "tests/fixtures/ctl.h"
#include "tests/fixtures/denial.h"
#include "tests/fixtures/descriptors.h"
#include "tests/fixtures/fuse.h"
#include "tests/fixtures/hostile.h"
#include "tests/fixtures/sandbox.h"
#include "tests/fixtures/service.h"
#include "tests/fixtures/skip.h"
#include "tests/fixtures/suite.h"
#include "tests/fixtures/system_bus.h"
#include "tests/fixtures/victim.h"
