// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"
)

// results are told in the Test Anything Protocol as they come, and as a table at the end.
type results struct {
	count, failures int
	rows            []row
}

// row is a case, with what it came to for each kind of build directory.
type row struct {
	name     string
	outcomes map[string]string
}

// test runs one case, and tells whether it went well.
func (r *results) test(kind, name string, run func() error) bool {
	start := time.Now()
	err := run()
	took := time.Since(start).Round(time.Millisecond)
	r.count++
	if err == nil {
		fmt.Printf("ok %d - %s: %s\n", r.count, kind, name)
		r.record(kind, name, fmt.Sprintf("ok, %v", took))
		return true
	}
	r.failures++
	fmt.Printf("not ok %d - %s: %s\n", r.count, kind, name)
	comment(err.Error())
	r.record(kind, name, fmt.Sprintf("FAILED, %v", took))
	return false
}

// skip tells of a case that can't be tried here.
func (r *results) skip(kind, name, reason string) {
	r.count++
	fmt.Printf("ok %d - %s: %s # SKIP %s\n", r.count, kind, name, reason)
	r.record(kind, name, "skipped")
}

func (r *results) record(kind, name, outcome string) {
	for i := range r.rows {
		if r.rows[i].name == name {
			r.rows[i].outcomes[kind] = outcome
			return
		}
	}
	r.rows = append(r.rows, row{name, map[string]string{kind: outcome}})
}

// done prints the plan and the table.
func (r *results) done() {
	fmt.Printf("1..%d\n", r.count)
	comment(fmt.Sprintf("%-72s %-16s %-16s", "case", kinds[0], kinds[1]))
	for _, row := range r.rows {
		if all, ok := row.outcomes[everywhere]; ok {
			comment(fmt.Sprintf("%-72s %s", row.name, all))
		} else {
			comment(fmt.Sprintf("%-72s %-16s %-16s", row.name, row.outcomes[kinds[0]], row.outcomes[kinds[1]]))
		}
	}
}

func comment(text string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		fmt.Println("#", strings.TrimRight(line, " "))
	}
}
