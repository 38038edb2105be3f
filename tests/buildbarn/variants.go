// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// What to mount for an action.
const (
	mountsNone = ""
	mountsTwo  = "proc,sys" // the usual
	mountsAll  = "proc,sys,dev"
)

// variant is a way from bb_worker to an action. Each worker has a runner per variant, and an action selects
// it by the platform property runner.
type variant struct {
	name    string // the property's value; also part of the names of the process and its socket
	program string // to which bb_worker connects: bb_runner, with or without the decorator, or a mountat-runner
	mounts  string
}

const (
	mountatRunner  = "mountat-runner" // the prefix of its programs' names
	previousRunner = "mountat-runner.previous"
)

var (
	plain     = &variant{"runner", "bb_runner", mountsNone}
	proxyTwo  = &variant{"mountat-two", mountatRunner, mountsTwo}
	proxy     = &variant{"mountat", mountatRunner, mountsAll}
	insideTwo = &variant{"inside-two", "bb_runner_inside", mountsTwo}
	inside    = &variant{"inside", "bb_runner_inside", mountsAll}

	// Of the previous release, which has no dev.
	previous = &variant{"previous", previousRunner, mountsTwo}
)

// All variants, ordered by dependency. The overhead is the difference to the first.
var variants = []*variant{plain, proxyTwo, proxy, insideTwo, inside}

// usePrevious adds that variant, if it has been built.
func usePrevious(bin string) {
	if _, err := os.Stat(filepath.Join(bin, previousRunner)); err == nil {
		variants = slices.Insert(variants, 1, previous)
	}
}

func (v *variant) isProxy() bool {
	return strings.HasPrefix(v.program, mountatRunner)
}

// variantNames are for config/worker.libsonnet.
func variantNames() string {
	var names []string
	for _, v := range variants {
		names = append(names, v.name)
	}
	return strings.Join(names, ",")
}
