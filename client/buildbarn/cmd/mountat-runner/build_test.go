// SPDX-License-Identifier: Apache-2.0

package main

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/mountatd/mountatd/client/buildbarn/internal/testdaemon"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		actAs(role)
		return
	}
	code := testdaemon.Main(m)
	if buildDirectory != "" {
		os.RemoveAll(buildDirectory)
	}
	os.Exit(code)
}

var buildDirectory string

// build builds the program once, by README.md's command.
var build = sync.OnceValues(func() (string, error) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		return "", err
	}
	lines := regexp.MustCompile(`(?m)^ {7}(.*go build.*)$`).FindAllSubmatch(readme, -1)
	if len(lines) != 1 {
		return "", fmt.Errorf("%d lines of README.md build it", len(lines))
	}
	buildDirectory, err = os.MkdirTemp("", "runner")
	if err != nil {
		return "", err
	}
	const installed = "/usr/sbin/mountat-runner"
	path := buildDirectory + "/mountat-runner"
	command := exec.Command("sh", "-c", strings.Replace(string(lines[0][1]), installed, path, 1))
	command.Dir = "../.."
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, output)
	}
	return path, nil
})

func programPath(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go to build the program with")
	}
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheProgramIsStatic(t *testing.T) {
	file, err := elf.Open(programPath(t))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			t.Errorf("it has a %v", segment.Type)
		}
	}
}
