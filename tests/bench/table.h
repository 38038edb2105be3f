/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A table of results: for people, and as JSON. Filled cell by cell, row by row. */

#include <stdio.h>

struct table;

/* `name` is the table's key in JSON, `title` its heading; both borrowed. */
struct table *table_new(const char *name, const char *title);
struct table *table_free(struct table *table);

/* Before the first row; borrowed, and the key of its cells in JSON. */
void table_column(struct table *table, const char *name);

/* Adds a cell; the first one of a row begins the row. */
void table_text(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_number(struct table *table, double value, int decimals);
void table_nothing(struct table *table);

/* Adds a line below the table. */
void table_note(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

void table_print(const struct table *table, FILE *file);
void table_print_json(const struct table *table, FILE *file);
