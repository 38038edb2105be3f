/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What tests are repeated for: sets of kernel features, from none to all, and numbers of mounts. */

#include "tests/unit/daemon/fake_kernel.h"

static const unsigned feature_sets[] = {
        0,
        PROTOCOL_FEATURE_CLONES,
        PROTOCOL_FEATURE_CLONES | PROTOCOL_FEATURE_UNIQUE_IDS | PROTOCOL_FEATURE_STATMOUNT,
        PROTOCOL_FEATURE_UNIQUE_IDS | PROTOCOL_FEATURE_STATMOUNT,
        FAKE_ALL_FEATURES,
};

static const unsigned sizes[] = {1, 2, PROTOCOL_TARGETS_MAX};

enum {
        N_FEATURE_SETS = sizeof(feature_sets) / sizeof(feature_sets[0]),
        N_SIZES = sizeof(sizes) / sizeof(sizes[0]),
};

/* For each set, and `n` of something else. */
#define FOR_ALL_OF(f, s, n)                                                                        \
        for (unsigned f = 0; f < N_FEATURE_SETS; f++)                                              \
                for (unsigned s = 0; s < (n); s++)

#define FOR_ALL(f, s) FOR_ALL_OF(f, s, N_SIZES)
