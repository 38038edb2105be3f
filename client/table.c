/* SPDX-License-Identifier: Apache-2.0 */

/* Widths count code points, not bytes; double-width characters misalign. */

#include "client/table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int table_add(struct table *table, const char *format, ...) {
        char **grown = reallocarray(table->cells, table->n_cells + 1, sizeof(*grown));
        va_list arguments;
        int r;

        if (!grown)
                return -ENOMEM;
        table->cells = grown;
        va_start(arguments, format);
        r = vasprintf(&grown[table->n_cells], format, arguments);
        va_end(arguments);
        if (r < 0)
                return -ENOMEM;
        table->n_cells++;
        return 0;
}

void table_free(struct table *table) {
        for (size_t i = 0; i < table->n_cells; i++)
                free(table->cells[i]);
        free(table->cells);
}

static size_t table_width(const char *text) {
        size_t width = 0;

        for (; *text; text++)
                width += (*text & 0xc0) != 0x80;
        return width;
}

/* ---- text ---- */

static size_t table_column_width(const struct table *table, size_t column, int titles) {
        size_t widest = titles ? table_width(table->columns[column].title) : 0;

        for (size_t i = column; i < table->n_cells; i += table->n_columns) {
                size_t width = table_width(table->cells[i]);

                widest = width > widest ? width : widest;
        }
        return widest;
}

static void table_print_cell(const struct table *table, size_t column, size_t width,
                             const char *text) {
        int padding = (int)(width - table_width(text));
        int last = column + 1 == table->n_columns;

        if (table->columns[column].type == TABLE_NUMBER)
                printf("%*s%s", padding, "", text);
        else
                printf("%s%*s", text, last ? 0 : padding, "");
        putchar(last ? '\n' : ' ');
}

static int table_print_text(const struct table *table, int titles) {
        size_t *widths = calloc(table->n_columns, sizeof(*widths));

        if (!widths)
                return -ENOMEM;
        for (size_t i = 0; i < table->n_columns; i++)
                widths[i] = table_column_width(table, i, titles);
        for (size_t i = 0; titles && i < table->n_columns; i++)
                table_print_cell(table, i, widths[i], table->columns[i].title);
        for (size_t i = 0; i < table->n_cells; i++)
                table_print_cell(table, i % table->n_columns, widths[i % table->n_columns],
                                 table->cells[i]);
        free(widths);
        return 0;
}

/* ---- JSON, RFC 8259 ---- */

static void table_print_string(const char *text, size_t length) {
        putchar('"');
        for (size_t i = 0; i < length; i++)
                if ((unsigned char)text[i] < 0x20)
                        printf("\\u%04x", text[i]);
                else if (text[i] == '"' || text[i] == '\\')
                        printf("\\%c", text[i]);
                else
                        putchar(text[i]);
        putchar('"');
}

static void table_print_list(const char *text) {
        if (strcmp(text, TABLE_NONE) == 0)
                text = "";
        putchar('[');
        while (*text) {
                size_t length = strcspn(text, ",");

                table_print_string(text, length);
                text += length;
                if (*text) {
                        putchar(',');
                        text++;
                }
        }
        putchar(']');
}

static void table_print_value(enum table_type type, const char *text) {
        if (type == TABLE_NUMBER)
                fputs(strcmp(text, TABLE_NONE) == 0 ? "null" : text, stdout);
        else if (type == TABLE_LIST)
                table_print_list(text);
        else
                table_print_string(text, strlen(text));
}

static void table_print_object(const struct table *table, enum table_format format, size_t row,
                               const char *indent) {
        int pretty = format == TABLE_JSON_PRETTY;

        putchar('{');
        for (size_t i = 0; i < table->n_columns; i++) {
                if (i > 0)
                        putchar(',');
                if (pretty)
                        printf("\n%s\t", indent);
                printf("\"%s\":%s", table->columns[i].key, pretty ? " " : "");
                table_print_value(table->columns[i].type, table->cells[row * table->n_columns + i]);
        }
        if (pretty)
                printf("\n%s", indent);
        putchar('}');
}

static void table_print_array(const struct table *table, enum table_format format) {
        size_t rows = table->n_cells / table->n_columns;
        int pretty = format == TABLE_JSON_PRETTY && rows > 0;

        putchar('[');
        for (size_t i = 0; i < rows; i++) {
                fputs(i > 0 ? "," : "", stdout);
                fputs(pretty ? "\n\t" : "", stdout);
                table_print_object(table, format, i, "\t");
        }
        puts(pretty ? "\n]" : "]");
}

/* ---- all ---- */

int table_print(const struct table *table, enum table_format format, int titles) {
        if (format == TABLE_TEXT)
                return table_print_text(table, titles);
        table_print_array(table, format);
        return 0;
}

void table_print_record(const struct table *table, enum table_format format) {
        size_t widest = 0;

        if (format != TABLE_TEXT) {
                table_print_object(table, format, 0, "");
                putchar('\n');
                return;
        }
        for (size_t i = 0; i < table->n_columns; i++) {
                size_t width = table_width(table->columns[i].title);

                widest = width > widest ? width : widest;
        }
        for (size_t i = 0; i < table->n_columns; i++)
                printf("%*s: %s\n", (int)widest, table->columns[i].title, table->cells[i]);
}
