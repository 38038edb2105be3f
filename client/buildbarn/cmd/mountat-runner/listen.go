// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// listenUnix binds a Unix socket that has the mode from its birth. A socket that somebody left
// there is replaced, as Buildbarn's programs do; anything else is not. At start, before any other
// goroutine makes files: the umask is the process'.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s is in the way: it is no socket", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	old := unix.Umask(int(^mode.Perm() & 0o777))
	defer unix.Umask(old)
	return net.Listen("unix", path)
}

// listenMetrics binds a path or a HOST:PORT.
func listenMetrics(address string) (net.Listener, error) {
	if filepath.IsAbs(address) {
		return listenUnix(address, 0o666)
	}
	return net.Listen("tcp", address)
}
