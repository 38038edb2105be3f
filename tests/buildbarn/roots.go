// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const busyboxPath = "/bin/busybox"

// newBusyboxTree has a shell and its tools in one static program. bb_runner starts commands by
// /usr/bin/env.
func newBusyboxTree(mountpoints ...string) (*tree, error) {
	busybox, err := os.ReadFile(busyboxPath)
	if err != nil {
		return nil, err
	}
	t := newTree()
	for _, name := range []string{
		"/usr/bin/env", "/bin/busybox", "/bin/sh", "/bin/readlink", "/bin/sleep", "/bin/true",
		"/bin/ls", "/bin/cat", "/bin/setsid", "/bin/touch", "/bin/stat",
	} {
		t.addFile(name, busybox, true)
	}
	t.addFile("/dev/null", nil, false) // as good as any to read nothing from
	for _, name := range mountpoints {
		t.directory(name)
	}
	return t, nil
}

// isStatic tells whether a program needs no loader.
func isStatic(path string) error {
	file, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is not static: install busybox-static", path)
		}
	}
	return nil
}

// toolchain is a real compiler or the like, of this machine.
type toolchain struct {
	name    string
	program string
	files   []string // what it needs beside its libraries
	source  string   // in tests/inputs
	command []string
	says    string // without /proc
	output  string // a file, or
	stdout  string // what it prints
}

var toolchains = []toolchain{{
	name:    "rustc",
	program: "/usr/bin/rustc",
	files:   []string{"/usr/lib/rustlib"},
	source:  "rust/hello.rs",
	command: []string{"/usr/bin/rustc", "--emit=obj", "-o", "hello.o", "hello.rs"},
	says:    "/proc/self/exe",
	output:  "hello.o",
}, {
	name:    "node",
	program: "/usr/bin/node",
	source:  "node/hello.js",
	command: []string{"/usr/bin/node", "hello.js"},
	says:    "wrong: process.execPath",
	stdout:  "hello from node",
}}

// newTree is an input root with the toolchain, the libraries that it needs, and its source.
func (c *toolchain) newTree(inputs string) (*tree, error) {
	t, err := newBusyboxTree("/proc", "/sys")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"lib", "lib64"} { // links to /usr, on a machine of today
		if target, err := os.Readlink("/" + name); err == nil {
			t.add(name, &tree{link: strings.TrimPrefix(target, "/")})
		}
	}
	libraries, err := librariesOf(c.program)
	if err != nil {
		return nil, err
	}
	for _, name := range append(append(libraries, c.program), c.files...) {
		if err := t.addHost(name); err != nil {
			return nil, err
		}
	}
	source, err := os.ReadFile(filepath.Join(inputs, c.source))
	if err != nil {
		return nil, err
	}
	t.addFile("/"+filepath.Base(c.source), source, false)
	return t, nil
}

// librariesOf asks the loader.
func librariesOf(program string) ([]string, error) {
	listing, err := exec.CommandContext(context.Background(), "ldd", program).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", program, err)
	}
	var paths []string
	for line := range bytes.Lines(listing) {
		for _, word := range strings.Fields(string(line)) {
			if filepath.IsAbs(word) {
				paths = append(paths, word)
			}
		}
	}
	return paths, nil
}

// why tells why the toolchain can't be tried here, empty if it can.
func (c *toolchain) why() string {
	for _, path := range append([]string{c.program}, c.files...) {
		if _, err := os.Stat(path); err != nil {
			if pathError, ok := err.(*fs.PathError); ok {
				err = pathError.Err
			}
			return fmt.Sprintf("%s: %v", path, err)
		}
	}
	return ""
}
