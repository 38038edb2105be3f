/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Rows of what is to be told, written for a person or as JSON. Cells are text that has been escaped
 * already (common/text.h), so that neither a terminal nor a parser can be led astray by a name.
 * TABLE_NONE stands for no number, null in JSON.
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
        const char *title; /* for people */
        enum table_type type;
};

struct table {
        const struct table_column *columns;
        size_t n_columns;
        size_t n_cells;
        char **cells; /* row by row; owned, as the strings are */
};

/* Appends one cell, printf(3). -ENOMEM, after which the table is as before. */
int table_add(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* All rows: columns below titles, or an array of objects. `titles` 0: without. -EIO. */
int table_print(const struct table *table, enum table_format format, int titles);

/* The only row: a line for each cell, or one object. -EIO. */
int table_print_record(const struct table *table, enum table_format format);

void table_free(struct table *table);

#define TABLE_AUTO __attribute__((cleanup(table_free)))
