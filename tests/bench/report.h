/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the benchmark says: tables as they come, or one JSON object; and the targets, at the end. */

#include "tests/bench/table.h"

enum report_format {
        REPORT_TEXT,
        REPORT_JSON,
};

void report_begin(enum report_format format);

/* Prints the table and frees it. */
void report_table(struct table *table);

/*
 * One run's value for a target, which is named by what it says: "cycle through the daemon". The
 * target is met unless the median of its values is above `wanted`, or below for REPORT_AT_LEAST.
 */
enum report_sense { REPORT_AT_MOST, REPORT_AT_LEAST };
void report_target(const char *name, enum report_sense sense, double wanted, const char *unit,
                   double value);

/* The targets, and the end of what is printed. */
void report_end(void);
