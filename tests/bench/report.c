/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/bench/report.h"

#include <err.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
        REPORT_FIGURES_MAX = 48,
        REPORT_VALUES_MAX = 64,
};

struct report_figure {
        char *name;
        const char *unit;
        unsigned count;
        double values[REPORT_VALUES_MAX];
};

static struct {
        enum report_format format;
        bool begun;
        unsigned count;
        struct report_figure figures[REPORT_FIGURES_MAX];
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

static struct report_figure *report_find(const char *name) {
        for (unsigned i = 0; i < report.count; i++)
                if (strcmp(report.figures[i].name, name) == 0)
                        return &report.figures[i];
        if (report.count == REPORT_FIGURES_MAX)
                errx(EXIT_FAILURE, "too many figures");
        report.figures[report.count].name = strdup(name);
        return &report.figures[report.count++];
}

void report_figure(const char *name, const char *unit, double value) {
        struct report_figure *figure = report_find(name);

        figure->unit = unit;
        if (figure->count < REPORT_VALUES_MAX)
                figure->values[figure->count++] = value;
}

static int report_compare(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static void report_row(struct table *table, struct report_figure *figure) {
        double *values = figure->values;

        qsort(values, figure->count, sizeof(values[0]), report_compare);
        table_text(table, "%s", figure->name);
        table_number(table, values[figure->count / 2], 2);
        table_text(table, "%s", figure->unit);
        table_text(table, "%.2f to %.2f", values[0], values[figure->count - 1]);
}

void report_end(void) {
        struct table *table = table_new("summary", "Summary: medians of the runs");

        table_column(table, "figure");
        table_column(table, "median");
        table_column(table, "unit");
        table_column(table, "spread");
        for (unsigned i = 0; i < report.count; i++) {
                report_row(table, &report.figures[i]);
                free(report.figures[i].name);
        }
        report_table(table);
        if (report.format == REPORT_JSON)
                fputs("\n}\n", stdout);
}
