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

// openBuildDirectory opens the build directory, which is done for each action: bb_worker's FUSE mount may
// appear after this program has started, and is replaced when bb_worker restarts. It blocks as long as
// that file system does. Errors are gRPC statuses.
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

// lookAtBuildDirectory makes its file system answer: O_PATH also opens a FUSE mount that denies this user
// access, or whose server is gone. Errors are gRPC statuses.
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

// openInputRoot opens path below the build directory. It refuses symbolic links and mounts on the way. It
// blocks as long as that file system does. Errors are gRPC statuses.
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
		// A concurrent rename (openat2(2)), or a signal.
		if err != unix.EAGAIN && err != unix.EINTR {
			return fd, err
		}
	}
}

// Probe checks that openat2 works. If a seccomp filter denies it, every action would fail although mountatd
// and bb_runner are ready.
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
	case errors.Is(err, unix.EXDEV): // RESOLVE_NO_XDEV; paths that lead out are refused earlier
		return status.Errorf(codes.FailedPrecondition,
			ofHost+"the input root %q is on a mount below the build directory: --build-directory must name "+
				"that mount itself", path)
	}
	return status.Errorf(codes.Unavailable, ofHost+"cannot open the input root %q: %v%s", path, err, cureOfHost(err))
}
