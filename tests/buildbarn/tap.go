// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// results prints TAP as results come, and a table at the end.
type results struct {
	count, failures int
	rows            []row
	columns         []string // in their order
}

// row is a case with its result in each column.
type row struct {
	name     string
	outcomes map[string]string
}

// test runs one case, and reports whether it passed.
func (r *results) test(column, name string, run func() error) bool {
	start := time.Now()
	err := run()
	took := time.Since(start).Round(time.Millisecond)
	r.count++
	if err == nil {
		fmt.Printf("ok %d - %s: %s\n", r.count, column, name)
		r.record(column, name, fmt.Sprintf("ok, %v", took))
		return true
	}
	r.failures++
	fmt.Printf("not ok %d - %s: %s\n", r.count, column, name)
	comment(err.Error())
	r.record(column, name, fmt.Sprintf("FAILED, %v", took))
	return false
}

// skip reports a case that can't run here.
func (r *results) skip(column, name, reason string) {
	r.count++
	fmt.Printf("ok %d - %s: %s # SKIP %s\n", r.count, column, name, reason)
	r.record(column, name, "skipped")
}

func (r *results) record(column, name, outcome string) {
	if column != everywhere && !slices.Contains(r.columns, column) {
		r.columns = append(r.columns, column)
	}
	for i := range r.rows {
		if r.rows[i].name == name {
			r.rows[i].outcomes[column] = outcome
			return
		}
	}
	r.rows = append(r.rows, row{name, map[string]string{column: outcome}})
}

// done prints the plan and the table.
func (r *results) done() {
	fmt.Printf("1..%d\n", r.count)
	heads := make(map[string]string)
	for _, column := range r.columns {
		heads[column] = column
	}
	for _, row := range append([]row{{"case", heads}}, r.rows...) {
		line := fmt.Sprintf("%-72s %s", row.name, row.outcomes[everywhere])
		for _, column := range r.columns {
			line += fmt.Sprintf("%-16s ", row.outcomes[column])
		}
		comment(line)
	}
}

func comment(text string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		fmt.Println("#", strings.TrimRight(line, " "))
	}
}
