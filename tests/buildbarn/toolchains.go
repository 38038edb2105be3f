// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// toolchain is one of the host's compilers or similar programs, with a task for it.
type toolchain struct {
	name    string
	program string // the host's; if it isn't installed, the case is skipped
	root    string // in toolRoots
	command []string
	fails   string // its error without mountat-runner; empty: not tested
	lacks   string // its error with only /proc and /sys; empty: it works
	output  string // the output file, or
	stdout  string // its output
}

var compilerOfGo = toolchain{
	name:    "go",
	program: "/bin/sh",
	root:    "go",
	command: []string{"/bin/sh", "/go.sh", "run", "."},
	fails:   "/dev/null: no such file",
	lacks:   "/dev/null: no such file",
	stdout:  "hello from go",
}

var toolchains = []toolchain{{
	name:    "rustc",
	program: "/usr/bin/rustc",
	root:    "rust",
	command: []string{"/usr/bin/rustc", "--emit=obj", "-o", "hello.o", "hello.rs"},
	fails:   "/proc/self/exe",
	output:  "hello.o",
}, {
	name:    "cargo",
	program: "/usr/bin/cargo",
	root:    "cargo",
	command: []string{"/bin/sh", "-c", "HOME=/tmp cargo check --offline && echo checked"},
	fails:   "could not execute process `rustc -vV`", // whose input is /dev/null
	lacks:   "could not execute process `rustc -vV`",
	stdout:  "checked",
}, {
	name:    "javac",
	program: "/usr/bin/javac",
	root:    "java",
	command: []string{"/bin/sh", "-c", "/usr/bin/javac Hello.java && /usr/bin/java Hello"},
	fails:   "javac: error while loading shared libraries: libjli.so",
	stdout:  "hello from java",
}, {
	name:    "node",
	program: "/usr/bin/node",
	root:    "node",
	command: []string{"/usr/bin/node", "hello.js"},
	fails:   "wrong: process.execPath",
	stdout:  "hello from node",
},
	compilerOfGo,
	{
		name:    "bash <()",
		program: "/bin/bash",
		root:    "tools",
		command: []string{"/bin/bash", "-c", "cat <(echo one) <(echo two)"},
		lacks:   "/dev/fd/",
		stdout:  "one\ntwo",
	},
	multiprocessing("fork"),
	multiprocessing("spawn"),
	multiprocessing("forkserver"),
	{
		name:    "python's pty",
		program: "/usr/bin/python3",
		root:    "tools",
		command: []string{"/usr/bin/python3", "terminal.py"},
		lacks:   "out of pty devices",
		stdout:  "/dev/pts/0", // the first of its own
	}, {
		name:    "script",
		program: "/usr/bin/script",
		root:    "tools",
		command: []string{"/usr/bin/script", "--quiet", "--return", "--command", "/bin/busybox tty", "/tmp/log"},
		lacks:   "pseudo-terminal",
		stdout:  "/dev/pts/0",
	}, {
		name:    "openssl rand",
		program: "/usr/bin/openssl",
		root:    "tools",
		command: []string{"/bin/sh", "-c", "openssl rand -hex 16 | busybox wc -c"},
		stdout:  "33",
	}, {
		name:    "mktemp",
		program: "/usr/bin/mktemp",
		root:    "tools",
		command: []string{"/bin/sh", "-c", "file=$(/usr/bin/mktemp) && busybox test -f $file && echo made"},
		stdout:  "made",
	}, {
		name:    "sort --parallel",
		program: "/usr/bin/sort",
		root:    "tools",
		command: []string{"/bin/bash", "-c", "set -e -o pipefail; busybox seq 50000 |" +
			" /usr/bin/sort --parallel=2 --random-sort --random-source=/dev/urandom |" +
			" /usr/bin/sort --parallel=2 --numeric-sort --buffer-size=100K | busybox tail -n 1"},
		lacks:  "/dev/urandom",
		stdout: "50000",
	},
}

func multiprocessing(how string) toolchain {
	return toolchain{
		name:    "python's multiprocessing, " + how,
		program: "/usr/bin/python3",
		root:    "tools",
		command: []string{"/usr/bin/python3", "processes.py", how},
		lacks:   "[Errno ",
		stdout:  "0 1 4",
	}
}

// why returns why the toolchain can't be tested here, empty if it can.
func (t *toolchain) why() string {
	_, err := os.Stat(t.program)
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return fmt.Sprintf("%s: %v", t.program, pathError.Err)
	}
	return ""
}

func (c *cases) runToolchain(kind string, t *toolchain) {
	without := fmt.Sprintf("without mountat-runner, %s fails", t.name)
	two := fmt.Sprintf("with /proc and /sys, %s works", t.name)
	if t.lacks != "" {
		two = fmt.Sprintf("with /proc and /sys, and no /dev, %s fails", t.name)
	}
	all := fmt.Sprintf("with /dev too, %s works", t.name)
	if reason := t.why(); reason != "" {
		for _, name := range []string{without, two, all} {
			c.results.skip(kind, name, reason)
		}
		return
	}
	if t.fails != "" {
		c.test(kind, without, func() error { return c.expectToolFails(kind, t, plain, t.fails) })
	}
	c.test(kind, two, func() error {
		if t.lacks != "" {
			return c.expectToolFails(kind, t, proxyTwo, t.lacks)
		}
		return c.expectToolWorks(kind, t, action{variant: proxyTwo})
	})
	// The second root has a /dev, in which bb_worker creates device nodes.
	c.test(kind, all, func() error {
		return errors.Join(c.expectToolWorks(kind, t, action{variant: proxy}),
			c.expectToolWorks(kind, t, action{variant: proxy, nodes: true}))
	})
}

func (c *cases) expectToolFails(kind string, t *toolchain, v *variant, says string) error {
	root, err := c.toolRoot(t.root, false)
	if err != nil {
		return err
	}
	o := c.client.run(action{kind: kind, variant: v, root: root, command: t.command})
	if o.err != nil || o.code == 0 || !strings.Contains(o.stdout+o.stderr, says) {
		return fmt.Errorf("wanted a failure that says %q, got: %v", says, o)
	}
	return c.expectNothingLeft(kind)
}

func (c *cases) expectToolWorks(kind string, t *toolchain, a action) (err error) {
	a.kind, a.command = kind, t.command
	if t.output != "" {
		a.outputs = []string{t.output}
	}
	if a.root, err = c.toolRoot(t.root, a.nodes); err != nil {
		return err
	}
	o := c.client.run(a)
	o.stdout = strings.ReplaceAll(o.stdout, "\r", "") // added by the terminal
	if err := expectExit(o, 0, t.stdout); err != nil {
		return fmt.Errorf("nodes %v: %w", a.nodes, err)
	}
	if t.output != "" && (len(o.result.OutputFiles) != 1 || o.result.OutputFiles[0].Digest.SizeBytes == 0) {
		return fmt.Errorf("there is no %s: %v", t.output, o.result.OutputFiles)
	}
	return c.expectNothingLeft(kind)
}

// nodesOf tests inputRootCharacterDeviceNodes alone, which doesn't help on FUSE: that is mounted nodev.
func (c *cases) nodesOf(kind string) error {
	t := &compilerOfGo
	root, err := c.toolRoot(t.root, false)
	if err != nil {
		return err
	}
	o := c.client.run(action{kind: kind, variant: proxyTwo, nodes: true, root: root, command: t.command})
	if kind == kindNative {
		return errors.Join(expectExit(o, 0, t.stdout), c.expectNothingLeft(kind))
	}
	const says = "open /dev/null: permission denied"
	if o.err != nil || o.code == 0 || !strings.Contains(o.stderr, says) {
		return fmt.Errorf("wanted a failure that says %q, got: %v", says, o)
	}
	return c.expectNothingLeft(kind)
}

// toolRoot uploads a root when it is first needed.
func (c *cases) toolRoot(name string, withDev bool) (rootDigest, error) {
	key := fmt.Sprint(name, withDev)
	if c.roots[key] == nil {
		t, err := toolRoots[name](c.inputs)
		if err != nil {
			return nil, err
		}
		if withDev { // as images of containers have it
			t.addFile("/dev/console", nil, false)
			t.directory("/dev/pts")
			t.directory("/dev/shm")
		}
		if err := c.uploadRoot(key, t); err != nil {
			return nil, err
		}
	}
	return c.roots[key], nil
}
