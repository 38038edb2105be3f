// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// openBuildDirectory opens it afresh each time: the FUSE mount of bb_worker appears after this
// program has started, and is replaced when bb_worker is. Blocks as long as that file system does.
//
// Errors are gRPC statuses.
func openBuildDirectory(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		cure := cureOfHost(err)
		if cure == "" {
			cure = ": is --build-directory the one that bb_worker uses?"
		}
		return nil, status.Errorf(codes.Unavailable, ofHost+"cannot open the build directory %q: %v%s", path, err,
			cure)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// lookAtBuildDirectory asks its file system, as opening with O_PATH doesn't: a FUSE that is closed to this
// user, or that nobody serves any more, can be opened.
//
// Errors are gRPC statuses.
func lookAtBuildDirectory(directory *os.File) (stat unix.Stat_t, fs unix.Statfs_t, err error) {
	err = unix.Fstat(int(directory.Fd()), &stat)
	if err == nil {
		err = unix.Fstatfs(int(directory.Fd()), &fs)
	}
	if err != nil {
		err = status.Errorf(codes.Unavailable, "%scannot stat the build directory: %v%s", ofHost, err,
			cureOfHost(err))
	}
	return stat, fs, err
}

// openInputRoot opens path below the build directory. Links and other mounts on the way are refused.
// Blocks as long as that file system does.
//
// Errors are gRPC statuses.
func openInputRoot(buildDirectory *os.File, path string) (*os.File, error) {
	fd, err := openat2(int(buildDirectory.Fd()), path)
	if err != nil {
		return nil, inputRootFailed(path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func openat2(parent int, path string) (int, error) {
	how := unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS |
			unix.RESOLVE_NO_XDEV,
	}
	for {
		fd, err := unix.Openat2(parent, path, &how)
		// A rename elsewhere at the same time, openat2(2); a signal.
		if err != unix.EAGAIN && err != unix.EINTR {
			return fd, err
		}
	}
}

// Probe tells whether input roots can be opened at all. A filter of system calls can take that away,
// and then every action would fail, while mountatd and the runner are ready.
func Probe() error {
	fd, err := openat2(unix.AT_FDCWD, ".")
	if err != nil {
		return fmt.Errorf("openat2 doesn't work here: %w: use Linux 5.6 or later, and no seccomp filter that "+
			"denies it, such as RestrictSUIDSGID= in a unit", err)
	}
	return unix.Close(fd)
}

func inputRootFailed(path string, err error) error {
	switch {
	case errors.Is(err, unix.ELOOP):
		return status.Errorf(codes.InvalidArgument,
			ofWorker+"the path of the input root %q contains a symbolic link, which is not followed", path)
	case errors.Is(err, unix.ENOTDIR):
		return status.Errorf(codes.InvalidArgument, ofWorker+"the input root %q is not a directory", path)
	case errors.Is(err, unix.ENAMETOOLONG):
		return status.Errorf(codes.InvalidArgument, ofWorker+"the input root's path is too long")
	case errors.Is(err, unix.EXDEV): // RESOLVE_NO_XDEV; what leads out was refused before
		return status.Errorf(codes.FailedPrecondition,
			ofHost+"the input root %q is on a mount below the build directory: --build-directory must name "+
				"that mount itself", path)
	}
	return status.Errorf(codes.Unavailable, ofHost+"cannot open the input root %q: %v%s", path, err, cureOfHost(err))
}
