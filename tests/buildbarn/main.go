// SPDX-License-Identifier: Apache-2.0

// Buildbarn tests stock Buildbarn, of the version in go.mod, with mountatd and mountat-runner as plain
// processes, and prints TAP. Start it by the script run, which gives it its own namespaces.
//
// With -storage it runs one action in an existing cluster: see act.go.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
)

func main() {
	bin := flag.String("bin", "", "`DIR` with Buildbarn's programs and mountat-runner")
	mountatd := flag.String("mountatd", "", "`PATH` of mountatd")
	inputs := flag.String("inputs", "", "`DIR` with sources to compile")
	keep := flag.Bool("keep", false, "keep the logs also when all went well")
	only := flag.String("only", "", "try the cases alone whose name contains `TEXT`")
	storage := flag.String("storage", "", "run one action, with the storage at `TARGET`")
	scheduler := flag.String("scheduler", "", "and the scheduler at `TARGET`")
	mountpoints := flag.String("mountpoints", "/proc,/sys,/dev", "and these empty `DIRECTORIES` in the input root")
	flag.Parse()
	if *storage != "" {
		os.Exit(act(*storage, *scheduler, strings.Split(*mountpoints, ","), flag.Args()))
	}
	os.Exit(program(*bin, *mountatd, *inputs, *only, *keep))
}

func program(bin, mountatd, inputs, only string, keep bool) int {
	usePrevious(bin)
	s, err := newStack(bin, mountatd)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot start:", err)
		if s != nil {
			s.close(true)
		}
		return 2
	}
	go s.closeOnSignal()
	c, err := newCases(s, inputs)
	if err == nil {
		err = c.awaitWorkers()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot begin:", err)
		s.close(true)
		return 2
	}
	c.only = only
	c.runAll()
	c.results.done()
	if c.results.failures > 0 {
		for _, p := range s.all {
			comment(p.tail())
		}
	}
	s.close(keep || c.results.failures > 0)
	if c.results.failures > 0 {
		return 1
	}
	return 0
}

// cases runs the cases.
type cases struct {
	*stack
	variant *variant // the default of actions
	results *results
	inputs  string
	only    string // runs only cases whose name contains it
	roots   map[string]rootDigest
}

// The input roots in cases.roots, besides those of toolchains, by their names.
const (
	rootReady = "ready" // with empty proc, sys and dev
	rootBare  = "bare"  // without
	rootNoEnv = "no env"
)

func newCases(s *stack, inputs string) (*cases, error) {
	c := &cases{
		stack:   s,
		variant: proxy,
		results: new(results),
		inputs:  inputs,
		roots:   make(map[string]rootDigest),
	}
	if err := isStatic(busyboxPath); err != nil {
		return nil, fmt.Errorf("%w: install busybox-static", err)
	}
	ready, err := newBusyboxTree("/proc", "/sys", "/dev")
	if err != nil {
		return nil, err
	}
	bare, err := newBusyboxTree()
	if err != nil {
		return nil, err
	}
	noEnv := newTree()
	noEnv.directory("/proc")
	for name, t := range map[string]*tree{rootReady: ready, rootBare: bare, rootNoEnv: noEnv} {
		if err := c.uploadRoot(name, t); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *cases) uploadRoot(name string, t *tree) error {
	digest, err := c.client.inputRoot(context.Background(), t)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c.roots[name] = digest
	return nil
}

// awaitWorkers runs an action without mounts on each worker.
func (c *cases) awaitWorkers() error {
	for _, kind := range kinds {
		a := c.shell(kind, "true")
		a.variant = plain
		if err := expectExit(c.client.runWhenReady(a), 0, ""); err != nil {
			return fmt.Errorf("the first action with %s: %w\n%s", kind, err, c.workers[kind].tail())
		}
	}
	return nil
}

func (c *cases) runAll() {
	before := countMounts()
	for _, v := range []*variant{proxy, inside} {
		with := *c
		with.variant = v
		for _, kind := range kinds {
			with.runKind(kind)
		}
	}
	for _, kind := range kinds {
		c.test(kind, "the overhead of an action (see below)", func() error { return c.overhead(kind) })
	}
	c.results.test(everywhere, "the mount table is as it was", func() error {
		if now := countMounts(); now != before {
			return fmt.Errorf("%d mounts, %d before", now, before)
		}
		return nil
	})
}
