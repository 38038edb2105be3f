/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The output: tables as they are completed, or one JSON object; and a summary, at the end. */

#include "tests/bench/table.h"

enum report_format {
        REPORT_TEXT,
        REPORT_JSON,
};

void report_begin(enum report_format format);

/* Prints the table and frees it. */
void report_table(struct table *table);

/*
 * One run's value of a figure, which is named by what it says: "cycle to direct, no pauses". The
 * summary has the median of all runs.
 */
void report_figure(const char *name, const char *unit, double value);

/* Prints the summary, and ends the output. */
void report_end(void);
