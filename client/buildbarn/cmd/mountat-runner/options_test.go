// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	mountat "github.com/mountatd/mountatd/client/go"
)

var needed = []string{"--listen=/run/l", "--runner=/run/r", "--build-directory=/build/"}

func parse(arguments ...string) (*options, string, error) {
	var said strings.Builder
	o, err := parseOptions(append(needed[:len(needed):len(needed)], arguments...), &said)
	return o, said.String(), err
}

func TestDefaults(t *testing.T) {
	o, _, err := parse("--mountatd=unix:/m")
	if err != nil {
		t.Fatal(err)
	}
	if o.listen != "/run/l" || o.buildDirectory != "/build" || o.mountatd != "/m" ||
		o.listenMode != 0o660 || o.mount != mountat.Proc|mountat.Sysfs|mountat.Create ||
		o.metrics != "" || o.maxMessageSize != 64<<20 {
		t.Errorf("%+v", o)
	}
}

// As in the unit.
func TestTheDefaultFileIsRight(t *testing.T) {
	file, err := os.ReadFile("../../mountat-runner.default")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^MOUNTAT_RUNNER_OPTIONS="(.*)"$`).FindSubmatch(file)
	if line == nil {
		t.Fatalf("%s", file)
	}
	var said strings.Builder
	o, err := parseOptions(strings.Fields(string(line[1])), &said)
	if err != nil || o.metrics != "127.0.0.1:19980" || o.listen != "/run/mountat-runner/socket" {
		t.Errorf("%+v, %v, said %q", o, err, said.String())
	}
}

func TestWhatActionsGet(t *testing.T) {
	for list, want := range map[string]mountat.Flags{
		"proc":               mountat.Proc | mountat.Create,
		"sys":                mountat.Sysfs | mountat.Create,
		"proc,sys,dev":       mountat.Proc | mountat.Sysfs | mountat.Dev | mountat.Create,
		"dev":                mountat.Dev | mountat.Create,
		"pids-only":          mountat.Proc | mountat.PIDsOnly | mountat.Create,
		"sys,read-only,proc": mountat.Proc | mountat.Sysfs | mountat.ReadOnly | mountat.Create,
	} {
		if o, _, err := parse("--mount=" + list); err != nil || o.mount != want {
			t.Errorf("%s: %+v, %v", list, o, err)
		}
	}
}

func TestMetricsStayOnTheMachine(t *testing.T) {
	for _, address := range []string{"/run/metrics", "127.0.0.1:9980", "[::1]:0", "localhost:1"} {
		if _, said, err := parse("--metrics=" + address); err != nil {
			t.Errorf("%s: %s", address, said)
		}
	}
	for _, address := range []string{":9980", "0.0.0.0:9980", "192.0.2.1:1", "example.org:1", "[::]:1", "x",
		"localhost:", "127.0.0.1:65536"} {
		if _, _, err := parse("--metrics=" + address); err == nil {
			t.Errorf("%s: accepted", address)
		}
	}
}

func TestOneSocketForTwoPurposesIsRefused(t *testing.T) {
	t.Setenv(mountat.SocketVariable, "/run/e")
	for text, arguments := range map[string][]string{
		"--listen and --runner are":    {"--runner=/run//l"},
		"--listen and --metrics are":   {"--metrics=unix:/run/l"},
		"--listen and --mountatd are":  {"--listen=/run/e"},
		"--runner and --metrics are":   {"--metrics=/run/r"},
		"--runner and --mountatd are":  {"--mountatd=/run/r"},
		"--metrics and --mountatd are": {"--metrics=/run/m", "--mountatd=/run/m"},
	} {
		if _, said, err := parse(arguments...); err == nil || !strings.Contains(said, text+" the same socket: give two") {
			t.Errorf("%q: %v, said %q", arguments, err, said)
		}
	}
}

// The longest path can be bound.
func TestASocketsPathHasALimit(t *testing.T) {
	directory, err := os.MkdirTemp("", "runner")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(directory)
	longest := directory + "/" + strings.Repeat("x", socketPathMax-len(directory)-1)
	listener, err := net.Listen("unix", longest)
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	for _, option := range []string{"--listen", "--runner", "--mountatd", "--metrics"} {
		if _, said, err := parse(option + "=unix:" + longest); err != nil {
			t.Errorf("%s: %v, said %q", option, err, said)
		}
		_, said, err := parse(option + "=" + longest + "x")
		if err == nil || !strings.Contains(said, "it has 108 bytes, and a Unix socket's path at most 107") {
			t.Errorf("%s: %v, said %q", option, err, said)
		}
	}
	if _, said, err := parse("--build-directory=" + longest + "x"); err != nil {
		t.Errorf("%v, said %q", err, said)
	}
}

func TestWhatComesAfterTheDashesIsTheCommand(t *testing.T) {
	for _, want := range [][]string{{"bb_runner"}, {"/bb/bb_runner", "config", "--mount=shm", "--", "--help"}, {""}} {
		o, said, err := parse(append([]string{"--mount=dev", "--"}, want...)...)
		if err != nil || !slices.Equal(o.command, want) || o.mount != mountat.Dev|mountat.Create {
			t.Errorf("%q: %+v, %v, said %q", want, o, err, said)
		}
	}
	if o, _, err := parse(); err != nil || o.command != nil {
		t.Errorf("without: %+v, %v", o, err)
	}
	for text, arguments := range map[string][]string{
		"no command after --":     {"--"},
		`unexpected argument "a"`: {"a", "--", "b"},
		"flag needs an argument":  {"--listen", "--", "b"},
	} {
		if _, said, err := parse(arguments...); err == nil || !strings.Contains(said, text) {
			t.Errorf("%q: %v, said %q", arguments, err, said)
		}
	}
}

func TestRefusesWrongOptionsWithASentence(t *testing.T) {
	for _, wrong := range []string{
		"--listen=relative", "--runner=", "--build-directory=x", "--listen=/run/r", "--listen-mode=8",
		"--listen-mode=1777", "--mount=", "--mount=read-only", "--mount=shm", "--mount=proc,,dev", "--mount-timeout=0",
		"--log-level=", "--log-level=loud", "--release-timeout=-1s", "--stop-timeout=-1s", "--max-message-size=5", "--unknown", "argument",
	} {
		_, said, err := parse(wrong)
		if err == nil || !strings.Contains(said, strings.SplitN(err.Error(), ":", 2)[0]) {
			t.Errorf("%s: %v, said %q", wrong, err, said)
		}
	}
	var said strings.Builder
	if _, err := parseOptions(needed[:2], &said); err == nil || !strings.Contains(said.String(), "--build-directory") {
		t.Errorf("without a build directory: %v, said %q", err, said.String())
	}
	if _, said, err := parse("--unknown"); err == nil || !strings.Contains(said, "see mountat-runner --help") {
		t.Errorf("--unknown: %v, said %q", err, said)
	}
}
