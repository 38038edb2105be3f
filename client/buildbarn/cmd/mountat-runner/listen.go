// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
)

// listenUnix binds a Unix socket, created with its final mode. It replaces a stale socket, as Buildbarn's
// programs do, but not one in use, nor another file. To be called at the start, before another goroutine
// creates files: the umask belongs to the whole process.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	if err := clearSocket(path); err != nil {
		return nil, err
	}
	old := unix.Umask(int(^mode.Perm() & 0o777))
	defer unix.Umask(old)
	return net.Listen("unix", path)
}

// clearSocket removes a stale socket.
func clearSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("%s is not a socket: remove it, or give another path", path)
	}
	err = connect(path)
	if errors.Is(err, unix.ECONNREFUSED) {
		return os.Remove(path)
	}
	if errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%s exists, and this user may not connect to it to see whether it is in use: "+
			"remove it, or give another path", path)
	}
	return fmt.Errorf("%s is in use by another program, perhaps another mountat-runner: stop it, or give "+
		"this one another path", path)
}

// connect doesn't wait: it returns EAGAIN if the backlog is full.
func connect(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}

// metricsConnections is how many connections for metrics are served at a time. Any local user may connect,
// even an action: others wait without a descriptor, of which actions need their own.
const metricsConnections = 16

// listenMetrics binds a Unix socket's path or HOST:PORT.
func listenMetrics(address string) (listener net.Listener, err error) {
	if filepath.IsAbs(address) {
		listener, err = listenUnix(address, 0o666)
	} else {
		listener, err = net.Listen("tcp", address)
	}
	if err != nil {
		return nil, err
	}
	return netutil.LimitListener(listener, metricsConnections), nil
}
