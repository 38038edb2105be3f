/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A table, printed as text or JSON. Cells must be escaped already (common/text.h), so that no name
 * can confuse a terminal or a parser. TABLE_NONE stands for a missing number or list: null and []
 * in JSON.
 */

#include <stddef.h>

enum table_format {
        TABLE_TEXT,
        TABLE_JSON_SHORT,
        TABLE_JSON_PRETTY,
};

#define TABLE_NONE "-"

enum table_type {
        TABLE_STRING,
        TABLE_NUMBER,
        TABLE_LIST, /* strings, separated by commas */
};

struct table_column {
        const char *key;   /* in JSON */
        const char *title; /* in text */
        enum table_type type;
};

struct table {
        const struct table_column *columns;
        size_t n_columns;
        size_t n_cells;
        char **cells; /* row by row; owns the array and its strings */
};

/* Appends one cell, formatted as by printf(3). On -ENOMEM the table is unchanged. */
int table_add(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints all rows: columns, with titles if `titles` is set, or an array of objects. 0 or -ENOMEM.
 */
int table_print(const struct table *table, enum table_format format, int titles);

/* Prints the only row: one line per cell, or one object. */
void table_print_record(const struct table *table, enum table_format format);

void table_free(struct table *table);

#define TABLE_AUTO __attribute__((cleanup(table_free)))
