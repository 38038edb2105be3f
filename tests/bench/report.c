/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/bench/report.h"

#include <err.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
        REPORT_TARGETS_MAX = 48,
        REPORT_VALUES_MAX = 64,
};

struct report_goal {
        char *name;
        const char *unit;
        enum report_sense sense;
        double wanted;
        unsigned count;
        double values[REPORT_VALUES_MAX];
};

static struct {
        enum report_format format;
        bool begun;
        unsigned count;
        struct report_goal goals[REPORT_TARGETS_MAX];
} report;

void report_begin(enum report_format format) {
        report.format = format;
        if (format == REPORT_JSON)
                fputs("{", stdout);
}

void report_table(struct table *table) {
        if (report.format == REPORT_TEXT)
                table_print(table, stdout);
        else {
                fputs(report.begun ? ",\n" : "\n", stdout);
                table_print_json(table, stdout);
        }
        report.begun = true;
        table_free(table);
}

static struct report_goal *report_find(const char *name) {
        for (unsigned i = 0; i < report.count; i++)
                if (strcmp(report.goals[i].name, name) == 0)
                        return &report.goals[i];
        if (report.count == REPORT_TARGETS_MAX)
                errx(EXIT_FAILURE, "too many targets");
        report.goals[report.count].name = strdup(name);
        return &report.goals[report.count++];
}

void report_target(const char *name, enum report_sense sense, double wanted, const char *unit,
                   double value) {
        struct report_goal *goal = report_find(name);

        goal->sense = sense;
        goal->wanted = wanted;
        goal->unit = unit;
        if (goal->count < REPORT_VALUES_MAX)
                goal->values[goal->count++] = value;
}

static int report_compare(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

/* True if it is met. */
static bool report_goal(struct table *table, struct report_goal *goal) {
        double *values = goal->values, median;
        bool met;

        qsort(values, goal->count, sizeof(values[0]), report_compare);
        median = values[goal->count / 2];
        met = goal->sense == REPORT_AT_MOST ? median <= goal->wanted : median >= goal->wanted;
        table_text(table, "%s", goal->name);
        table_text(table, "%s %g%s", goal->sense == REPORT_AT_MOST ? "<=" : ">=", goal->wanted,
                   goal->unit);
        table_number(table, median, 2);
        table_text(table, "%.2f to %.2f", values[0], values[goal->count - 1]);
        table_text(table, "%s", met ? "yes" : "no");
        return met;
}

void report_end(void) {
        struct table *table =
                table_new("targets", "Targets, and what was measured: medians of the runs");
        unsigned met = 0;

        table_column(table, "target");
        table_column(table, "wanted");
        table_column(table, "measured");
        table_column(table, "spread");
        table_column(table, "met");
        for (unsigned i = 0; i < report.count; i++) {
                met += report_goal(table, &report.goals[i]);
                free(report.goals[i].name);
        }
        table_note(table, "%u of %u are met.", met, report.count);
        report_table(table);
        if (report.format == REPORT_JSON)
                fputs("\n}\n", stdout);
}
