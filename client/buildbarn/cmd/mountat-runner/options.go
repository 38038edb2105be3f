// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	mountat "github.com/mountatd/mountatd/client/go"
	"golang.org/x/sys/unix"
)

// options are the command line.
type options struct {
	listen         string
	listenMode     fs.FileMode
	runner         string
	buildDirectory string
	mountatd       string
	mount          mountat.Flags
	metrics        string
	mountTimeout   time.Duration
	releaseTimeout time.Duration
	stopTimeout    time.Duration
	maxMessageSize int
	logLevel       slog.Level
	version        bool
	check          bool
	help           string   // to print instead of serving
	command        []string // to run as a child; nil for none
}

const usage = `mountat-runner --listen=PATH --runner=PATH --build-directory=DIR [OPTION…] [-- COMMAND…]

Proxies gRPC between Buildbarn's bb_worker and bb_runner, and has mountatd mount /proc, /sys and
optionally /dev in the input root of each action.

COMMAND, typically bb_runner with its arguments, is started as a child: signals are forwarded to it,
and when it exits, mountat-runner exits with its exit status.

`

// separator precedes the command. It can't be an option's value.
const separator = "--"

// parseOptions writes errors to stderr.
func parseOptions(arguments []string, stderr io.Writer) (*options, error) {
	o, err := parseArguments(arguments, stderr)
	if err != nil || o.help != "" {
		return o, err
	}
	if o.check && o.listen == "" && o.runner == "" && o.buildDirectory == "" {
		service, err := readOptionsFile(optionsFile)
		if err != nil {
			fmt.Fprintln(stderr, err)
			return nil, err
		}
		if o, err = parseArguments(slices.Concat(service, arguments), stderr); err != nil {
			return nil, err
		}
	}
	if err := o.validate(); err != nil {
		fmt.Fprintln(stderr, err)
		return nil, err
	}
	return o, nil
}

func parseArguments(arguments []string, stderr io.Writer) (*options, error) {
	o := &options{listenMode: 0o660, mount: mountat.Proc | mountat.Sysfs | mountat.Create}
	set := flag.NewFlagSet("mountat-runner", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.Usage = func() {} // also called after an error
	set.Func("listen", "serve bb_worker on the Unix socket `PATH`: the endpoint in its configuration", o.socket(&o.listen))
	set.Func("listen-mode", "`MODE` of that socket, octal (default 0660)", o.setListenMode)
	set.Func("runner", "Unix socket `PATH` of bb_runner", o.socket(&o.runner))
	set.Func("build-directory", "bb_runner's buildDirectoryPath, an absolute `DIR`", o.path(&o.buildDirectory))
	set.Func("mountatd", "mountatd's socket `PATH` (default $MOUNTATD_SOCKET, else "+mountat.DefaultSocket+")",
		o.socket(&o.mountatd))
	set.Func("mount", "what to mount: `LIST` of proc, sys, dev (with ptys and shared memory of its own), pids-only\n"+
		"(procfs with only processes), read-only (even where mountatd allows a writable procfs)\n"+
		"(default proc,sys)", o.setMount)
	set.Func("metrics", "serve Prometheus metrics on `ADDRESS`: the path of a Unix socket, or HOST:PORT on the\n"+
		"loopback interface (default none)", o.setMetrics)
	set.DurationVar(&o.mountTimeout, "mount-timeout", 5*time.Second, "how long to wait for mountatd to answer")
	set.DurationVar(&o.releaseTimeout, "release-timeout", 15*time.Second,
		"how long to wait for the unmount after an action; then it fails, and may be retried")
	set.DurationVar(&o.stopTimeout, "stop-timeout", time.Minute,
		"how long running actions may take after SIGTERM, or after COMMAND; then they are cancelled")
	set.IntVar(&o.maxMessageSize, "max-message-size", 64<<20, "largest gRPC message in `BYTES`")
	set.Func("log-level", "lowest `LEVEL` to log: err, warning, info, or debug with a line for each action\n"+
		"(default info)", o.setLogLevel)
	set.BoolVar(&o.check, "check", false, "try all that an action needs, report what is wrong and how to fix it, and exit, with\n"+
		"status 1 if anything is. Without other options, uses those in\n"+optionsFile+"; run by root, switches to the user "+serviceUser)
	set.BoolVar(&o.version, "version", false, "print the version and exit")
	if i := slices.Index(arguments, separator); i >= 0 {
		arguments, o.command = arguments[:i], arguments[i+1:]
	}
	switch err := set.Parse(arguments); {
	case errors.Is(err, flag.ErrHelp):
		o.help = usage + defaults(set)
		return o, nil
	case err != nil:
		fmt.Fprintln(stderr, "see mountat-runner --help")
		return nil, err
	}
	if rest := set.Args(); len(rest) > 0 {
		err := fmt.Errorf("unexpected argument %q: give options only, and a command after --", rest[0])
		fmt.Fprintln(stderr, err)
		return nil, err
	}
	return o, nil
}

func defaults(set *flag.FlagSet) string {
	var text strings.Builder
	set.SetOutput(&text)
	set.PrintDefaults()
	return text.String()
}

func (o *options) validate() error {
	switch {
	case o.command != nil && len(o.command) == 0:
		return errors.New("no command after --: give one, or leave out --")
	case o.version:
		return nil
	case o.listen == "" || o.runner == "" || o.buildDirectory == "":
		return errors.New("--listen, --runner and --build-directory are required: see --help")
	case o.mountTimeout <= 0 || o.releaseTimeout <= 0 || o.stopTimeout < 0:
		return errors.New("timeouts must be positive")
	case o.maxMessageSize < 1<<20:
		return errors.New("--max-message-size: give at least 1048576")
	}
	return o.checkDistinct()
}

// checkDistinct refuses an address for two purposes, which would look like another program's, or be served.
func (o *options) checkDistinct() error {
	mountatd := cmp.Or(o.mountatd, os.Getenv(mountat.SocketVariable), mountat.DefaultSocket)
	addresses := []struct{ of, is string }{
		{"--listen", o.listen}, {"--runner", o.runner}, {"--metrics", o.metrics}, {"--mountatd", mountatd},
	}
	for i, b := range addresses {
		for _, a := range addresses[:i] {
			if a.is == b.is {
				return fmt.Errorf("%s and %s are the same socket: give two", a.of, b.of)
			}
		}
	}
	return nil
}

// socketPathMax is the length of sun_path without its NUL: unix(7).
const socketPathMax = len(unix.RawSockaddrUnix{}.Path) - 1

func (o *options) socket(to *string) func(string) error {
	return func(value string) error {
		if err := o.path(to)(strings.TrimPrefix(value, "unix:")); err != nil {
			return err
		}
		if n := len(*to); n > socketPathMax {
			return fmt.Errorf("it has %d bytes, and a Unix socket's path at most %d: give a shorter one", n, socketPathMax)
		}
		return nil
	}
}

func (o *options) path(to *string) func(string) error {
	return func(value string) error {
		if !filepath.IsAbs(value) {
			return errors.New("give an absolute path")
		}
		*to = filepath.Clean(value)
		return nil
	}
}

func (o *options) setListenMode(value string) error {
	mode, err := strconv.ParseUint(value, 8, 32)
	if err != nil || mode > 0o777 {
		return errors.New("give an octal number up to 0777")
	}
	o.listenMode = fs.FileMode(mode)
	return nil
}

func (o *options) setMount(value string) error {
	flags := mountat.Create
	for name := range strings.SplitSeq(value, ",") {
		switch name {
		case "proc":
			flags |= mountat.Proc
		case "sys":
			flags |= mountat.Sysfs
		case "dev":
			flags |= mountat.Dev
		case "pids-only":
			flags |= mountat.Proc | mountat.PIDsOnly
		case "read-only":
			flags |= mountat.ReadOnly
		default:
			return fmt.Errorf("%q is none of proc, sys, dev, pids-only, read-only", name)
		}
	}
	if flags&(mountat.Proc|mountat.Sysfs|mountat.Dev) == 0 {
		return errors.New("give at least one of proc, sys, dev")
	}
	o.mount = flags
	return nil
}

func (o *options) setLogLevel(value string) error {
	levels := map[string]slog.Level{
		"err": slog.LevelError, "warning": slog.LevelWarn, "info": slog.LevelInfo, "debug": slog.LevelDebug,
	}
	level, known := levels[value]
	if !known {
		return fmt.Errorf("%q is none of err, warning, info, debug", value)
	}
	o.logLevel = level
	return nil
}

// setMetrics refuses addresses that would expose the metrics to the network.
func (o *options) setMetrics(value string) error {
	if filepath.IsAbs(strings.TrimPrefix(value, "unix:")) {
		return o.socket(&o.metrics)(value)
	}
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		return err
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return errors.New("give a port up to 65535")
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("not a loopback address: give one such as 127.0.0.1:19980")
	}
	o.metrics = value
	return nil
}
