// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const busyboxPath = "/bin/busybox"

// newBusyboxTree has a shell and tools in one static program. bb_runner starts commands by /usr/bin/env.
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
	for _, name := range mountpoints {
		t.directory(name)
	}
	return t, nil
}

// isStatic reports whether a program needs no dynamic loader.
func isStatic(path string) error {
	file, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is not static", path)
		}
	}
	return nil
}

// toolRoots are input roots with the host's programs, their libraries, and their input. None has a /dev.
var toolRoots = map[string]func(inputs string) (*tree, error){
	"rust": func(inputs string) (*tree, error) {
		return newToolTree(inputs, "rust", "/usr/bin/rustc", "/usr/lib/rustlib")
	},
	"cargo": func(inputs string) (*tree, error) {
		return newToolTree(inputs, "crate", "/usr/bin/cargo", "/usr/bin/rustc", "/usr/lib/rustlib")
	},
	"node": func(inputs string) (*tree, error) {
		return newToolTree(inputs, "node", "/usr/bin/node")
	},
	"go":    newGoTree,
	"java":  newJavaTree,
	"tools": newToolsTree,
}

// newToolTree has those paths of the host, as far as they exist, and the files of a directory in tests/inputs.
func newToolTree(inputs, sources string, paths ...string) (*tree, error) {
	t, err := newBusyboxTree("/proc", "/sys", "/tmp")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"lib", "lib64"} { // links to /usr, on a merged-/usr host
		if target, err := os.Readlink("/" + name); err == nil {
			t.add(name, &tree{link: strings.TrimPrefix(target, "/")})
		}
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		with := []string{path}
		if info.Mode().IsRegular() {
			libraries, err := librariesOf(path)
			if err != nil {
				return nil, err
			}
			with = append(with, libraries...)
		}
		for _, name := range with {
			if err := t.addHost(name); err != nil {
				return nil, err
			}
		}
	}
	return t, t.addSources(filepath.Join(inputs, sources), "")
}

// addSources copies the files below a directory to another path.
func (t *tree) addSources(directory, to string) error {
	return filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil {
			t.addFile(to+strings.TrimPrefix(path, directory), content, false)
		}
		return err
	})
}

// newToolsTree has the tools that a build runs besides compilers.
func newToolsTree(inputs string) (*tree, error) {
	paths := []string{"/bin/bash", "/usr/bin/script", "/usr/bin/openssl", "/usr/bin/mktemp", "/usr/bin/sort",
		"/usr/bin/python3"}
	library, err := exec.CommandContext(context.Background(), "/usr/bin/python3", "-c",
		"import sysconfig; print(sysconfig.get_path('stdlib'))").Output()
	if err == nil {
		paths = append(paths, strings.TrimSpace(string(library)))
	}
	return newToolTree(inputs, "python", paths...)
}

// goScript runs go without a network, and with a filled build cache.
const goScript = `export GOROOT=%s GOCACHE=/cache HOME=/home CGO_ENABLED=0 GOFLAGS=-trimpath GOTOOLCHAIN=local GOPROXY=off
cd /src && exec $GOROOT/bin/go "$@"
`

// newGoTree has the parts of the host's Go that a small program needs, and a build cache with the standard
// library, which takes longest to compile.
func newGoTree(inputs string) (*tree, error) {
	t, err := newToolTree(inputs, "go")
	if err != nil {
		return nil, err
	}
	source := filepath.Join(inputs, "go")
	cache, err := os.MkdirTemp("", "go")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(cache)
	run := func(arguments ...string) (string, error) {
		command := exec.CommandContext(context.Background(), "go", arguments...)
		command.Dir = source
		command.Env = append(os.Environ(), "GOCACHE="+cache, "CGO_ENABLED=0", "GOFLAGS=-trimpath", "GOTOOLCHAIN=local")
		output, err := command.Output()
		return strings.TrimSpace(string(output)), err
	}
	root, err := run("env", "GOROOT")
	if err != nil {
		return nil, err
	}
	if _, err := run("build", "-o", os.DevNull, "."); err != nil {
		return nil, err
	}
	const list = "{{$dir := .Dir}}{{if .Standard}}{{range .GoFiles}}{{$dir}}/{{.}}\n{{end}}" +
		"{{range .SFiles}}{{$dir}}/{{.}}\n{{end}}{{range .HFiles}}{{$dir}}/{{.}}\n{{end}}" +
		"{{range .EmbedFiles}}{{$dir}}/{{.}}\n{{end}}{{end}}"
	files, err := run("list", "-deps", "-f", list, ".")
	if err != nil {
		return nil, err
	}
	tools := root + "/pkg/tool/" + runtime.GOOS + "_" + runtime.GOARCH
	paths := append(strings.Fields(files), root+"/bin/go", root+"/VERSION", root+"/go.env", root+"/src/go.mod",
		root+"/pkg/include", tools+"/asm", tools+"/compile", tools+"/link")
	for _, path := range paths {
		if err := t.addHost(path); err != nil {
			return nil, err
		}
	}
	// A process left running outlives the action, and bb_worker waits for it.
	t.addFile("/home/.config/go/telemetry/mode", []byte("off 2024-01-01"), false)
	t.addFile("/go.sh", fmt.Appendf(nil, goScript, root), false)
	return t, errors.Join(t.addSources(source, "/src"), t.addSources(cache, "/cache"))
}

// newJavaTree has the compiler and JVM at their original paths, by which they find the rest.
func newJavaTree(inputs string) (*tree, error) {
	compiler, err := filepath.EvalSymlinks("/usr/bin/javac")
	if err != nil {
		return nil, err
	}
	home := filepath.Dir(filepath.Dir(compiler))
	t, err := newToolTree(inputs, "java", compiler, home+"/bin/java", home+"/conf", home+"/lib",
		home+"/lib/server/libjvm.so")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"java", "javac"} {
		t.add("/usr/bin/"+name, &tree{link: home + "/bin/" + name})
	}
	return t, nil
}

// librariesOf asks the dynamic loader for a program's libraries.
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
