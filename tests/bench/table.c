/* SPDX-License-Identifier: Apache-2.0 */

/* A cell is kept as text; JSON has numbers as printed. */

#include "tests/bench/table.h"

#include <err.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
        TABLE_COLUMNS_MAX = 24,
        TABLE_NOTES_MAX = 32,
};

struct table_cell {
        char *text; /* NULL: empty */
        bool is_number;
};

struct table {
        const char *name;
        const char *title;
        unsigned n_columns;
        const char *columns[TABLE_COLUMNS_MAX];
        size_t n_cells;
        struct table_cell *cells;
        unsigned n_notes;
        char *notes[TABLE_NOTES_MAX];
};

struct table *table_new(const char *name, const char *title) {
        struct table *table = calloc(1, sizeof(*table));

        if (!table)
                err(EXIT_FAILURE, "table");
        table->name = name;
        table->title = title;
        return table;
}

struct table *table_free(struct table *table) {
        if (!table)
                return NULL;
        for (size_t i = 0; i < table->n_cells; i++)
                free(table->cells[i].text);
        for (unsigned i = 0; i < table->n_notes; i++)
                free(table->notes[i]);
        free(table->cells);
        free(table);
        return NULL;
}

void table_column(struct table *table, const char *name) {
        if (table->n_columns == TABLE_COLUMNS_MAX)
                errx(EXIT_FAILURE, "table %s is too wide", table->name);
        table->columns[table->n_columns++] = name;
}

static void table_add(struct table *table, char *text, bool is_number) {
        table->cells = reallocarray(table->cells, table->n_cells + 1, sizeof(table->cells[0]));
        if (!table->cells)
                err(EXIT_FAILURE, "table");
        table->cells[table->n_cells++] = (struct table_cell){text, is_number};
}

__attribute__((format(printf, 1, 0))) static char *table_format(const char *format,
                                                                va_list arguments) {
        char *text;

        if (vasprintf(&text, format, arguments) < 0)
                err(EXIT_FAILURE, "table");
        return text;
}

void table_text(struct table *table, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        table_add(table, table_format(format, arguments), false);
        va_end(arguments);
}

void table_number(struct table *table, double value, int decimals) {
        char *text;

        /* Of no samples, for which JSON has no number. */
        if (!isfinite(value)) {
                table_nothing(table);
                return;
        }
        if (asprintf(&text, "%.*f", decimals, value) < 0)
                err(EXIT_FAILURE, "table");
        table_add(table, text, true);
}

void table_nothing(struct table *table) {
        table_add(table, NULL, false);
}

void table_note(struct table *table, const char *format, ...) {
        va_list arguments;

        if (table->n_notes == TABLE_NOTES_MAX)
                return;
        va_start(arguments, format);
        table->notes[table->n_notes++] = table_format(format, arguments);
        va_end(arguments);
}

static const char *table_shown(const struct table_cell *cell) {
        return cell->text ?: "-";
}

static size_t table_width(const struct table *table, unsigned column) {
        size_t width = strlen(table->columns[column]);

        for (size_t i = column; i < table->n_cells; i += table->n_columns)
                if (strlen(table_shown(&table->cells[i])) > width)
                        width = strlen(table_shown(&table->cells[i]));
        return width;
}

/* Text is left-aligned, numbers and their headings right-aligned. */
static void table_print_cell(const struct table *table, unsigned column, const char *text,
                             bool left, FILE *file) {
        int width = (int)table_width(table, column);

        if (left && column + 1 == table->n_columns)
                width = 0; /* no trailing blanks */
        fprintf(file, "%s%*s", column > 0 ? "  " : "", left ? -width : width, text);
}

static bool table_is_text(const struct table *table, unsigned column) {
        for (size_t i = column; i < table->n_cells; i += table->n_columns)
                if (table->cells[i].is_number)
                        return false;
        return true;
}

void table_print(const struct table *table, FILE *file) {
        fprintf(file, "\n%s\n\n", table->title);
        for (unsigned i = 0; i < table->n_columns; i++)
                table_print_cell(table, i, table->columns[i], table_is_text(table, i), file);
        fputc('\n', file);
        for (size_t i = 0; i < table->n_cells; i++) {
                unsigned column = i % table->n_columns;

                table_print_cell(table, column, table_shown(&table->cells[i]),
                                 table_is_text(table, column), file);
                if (column + 1 == table->n_columns)
                        fputc('\n', file);
        }
        for (unsigned i = 0; i < table->n_notes; i++)
                fprintf(file, "%s%s\n", i == 0 ? "\n" : "", table->notes[i]);
        fflush(file);
}

static void table_print_string(const char *text, FILE *file) {
        fputc('"', file);
        for (; *text; text++) {
                if (*text == '"' || *text == '\\')
                        fputc('\\', file);
                if ((unsigned char)*text >= ' ')
                        fputc(*text, file);
        }
        fputc('"', file);
}

static void table_print_json_cell(const struct table_cell *cell, FILE *file) {
        if (!cell->text)
                fputs("null", file);
        else if (cell->is_number)
                fputs(cell->text, file);
        else
                table_print_string(cell->text, file);
}

void table_print_json(const struct table *table, FILE *file) {
        table_print_string(table->name, file);
        fputs(": {\"title\": ", file);
        table_print_string(table->title, file);
        fputs(", \"rows\": [", file);
        for (size_t i = 0; i < table->n_cells; i++) {
                unsigned column = i % table->n_columns;

                fputs(column > 0 ? ", " : i > 0 ? ",\n {" : "\n {", file);
                table_print_string(table->columns[column], file);
                fputs(": ", file);
                table_print_json_cell(&table->cells[i], file);
                if (column + 1 == table->n_columns)
                        fputc('}', file);
        }
        fputs("], \"notes\": [", file);
        for (unsigned i = 0; i < table->n_notes; i++) {
                fputs(i > 0 ? ", " : "", file);
                table_print_string(table->notes[i], file);
        }
        fputs("]}", file);
}
