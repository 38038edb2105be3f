// SPDX-License-Identifier: Apache-2.0

// Package runner has a decorator for bb_runner.
package runner

import (
	"context"
	"errors"
	"os"
	"time"

	runner_pb "github.com/buildbarn/bb-remote-execution/pkg/proto/runner"
	"github.com/buildbarn/bb-storage/pkg/filesystem/path"
	"github.com/buildbarn/bb-storage/pkg/util"
	mountat "github.com/mountatd/mountatd/client/go"
	"golang.org/x/sys/unix"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

type inputRootMountingRunner struct {
	base               runner_pb.RunnerServer
	buildDirectoryPath string
	dialer             *mountat.Dialer
	fileSystems        mountat.Flags
	timeout            time.Duration
}

// NewInputRootMountingRunner creates a decorator for Runner that mounts
// /proc, /sys and /dev in the input root while a build action runs. The
// privileged part of that is left to mountatd. Mount points that don't
// exist are created, and removed afterwards. Place it directly around a
// local runner that chroots into the input root, so that nothing is
// mounted when outer decorators run. The timeout is per mount and unmount.
func NewInputRootMountingRunner(base runner_pb.RunnerServer, buildDirectoryPath *path.Builder, dialer *mountat.Dialer, fileSystems mountat.Flags, timeout time.Duration) runner_pb.RunnerServer {
	return &inputRootMountingRunner{base, buildDirectoryPath.GetUNIXString(), dialer, fileSystems, timeout}
}

// openDirectory opens a directory inside the build directory. Symbolic
// links and mount points on the way are refused. The build directory is
// opened every time, for the same reason as LazyDirectory does.
func (r *inputRootMountingRunner) openDirectory(name string) (*os.File, error) {
	buildDirectory, err := unix.Open(r.buildDirectoryPath, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, util.StatusWrapfWithCode(err, codes.Unavailable, "Failed to open build directory %#v", r.buildDirectoryPath)
	}
	defer unix.Close(buildDirectory)

	for {
		fd, err := unix.Openat2(buildDirectory, name, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
		})
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), name), nil
		case unix.EAGAIN, unix.EINTR:
			continue
		case unix.EXDEV:
			return nil, status.Errorf(codes.FailedPrecondition, "Directory %#v is outside build directory %#v, or on another mount", name, r.buildDirectoryPath)
		case unix.EINVAL, unix.ELOOP, unix.ENAMETOOLONG, unix.ENOTDIR:
			return nil, util.StatusWrapfWithCode(err, codes.InvalidArgument, "Failed to open directory %#v without following symbolic links", name)
		default:
			return nil, util.StatusWrapfWithCode(err, codes.Unavailable, "Failed to open directory %#v in build directory %#v", name, r.buildDirectoryPath)
		}
	}
}

// mount returns a lease of the mounts, and a function to unmount them. It
// uses a connection to mountatd for each build action. Closing it, which
// the kernel does if bb_runner terminates, causes mountatd to unmount.
func (r *inputRootMountingRunner) mount(ctx context.Context, inputRoot *os.File) (*mountat.Lease, func() error, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	client, err := r.dialer.Dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	lease, err := client.Mount(ctx, inputRoot, r.fileSystems|mountat.Create)
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	return lease, func() error {
		// The context of the build action may have been canceled.
		ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
		defer cancel()
		defer client.Close()
		return lease.Release(ctx)
	}, nil
}

func (r *inputRootMountingRunner) Run(ctx context.Context, request *runner_pb.RunRequest) (*runner_pb.RunResponse, error) {
	inputRoot, err := r.openDirectory(request.InputRootDirectory)
	if err != nil {
		return nil, util.StatusWrap(err, "Failed to open input root directory")
	}
	lease, unmount, err := r.mount(ctx, inputRoot)
	inputRoot.Close()
	if ctx.Err() != nil && err != nil {
		return nil, util.StatusFromContext(ctx)
	} else if errors.Is(err, mountat.StatusNotADirectory) || errors.Is(err, unix.ELOOP) {
		return nil, util.StatusWrapWithCode(err, codes.InvalidArgument, "Input root directory contains unsuitable mount points")
	} else if err != nil {
		return nil, util.StatusWrapWithCode(err, codes.Unavailable, "Failed to mount file systems in input root directory")
	}

	// Upon cancelation, bb_worker removes the input root without
	// waiting for the build action to terminate.
	defer context.AfterFunc(ctx, func() { unmount() })()

	// Terminate the build action if mountatd stops.
	runCtx, cancel := context.WithCancelCause(ctx)
	stopped := status.Error(codes.Unavailable, "File systems in input root directory were unmounted while running the build action, as mountatd stopped")
	go func() {
		<-lease.Done()
		cancel(stopped)
	}()
	response, runErr := r.base.Run(runCtx, request)
	cancel(nil)
	if err := unmount(); err != nil {
		return nil, util.StatusWrapWithCode(err, codes.Unavailable, "Failed to unmount file systems in input root directory")
	} else if context.Cause(runCtx) == stopped {
		return nil, stopped
	}
	return response, runErr
}

func (r *inputRootMountingRunner) CheckReadiness(ctx context.Context, request *runner_pb.CheckReadinessRequest) (*emptypb.Empty, error) {
	buildDirectory, err := r.openDirectory(".")
	if err != nil {
		return nil, err
	}
	defer buildDirectory.Close()
	mountCtx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	client, err := r.dialer.Dial(mountCtx)
	if err != nil {
		return nil, util.StatusWrapWithCode(err, codes.Unavailable, "Failed to connect to mountatd")
	}
	defer client.Close()
	for _, target := range r.fileSystems.Targets(buildDirectory) {
		if err := client.Check(mountCtx, target); err != nil {
			return nil, util.StatusWrapfWithCode(err, codes.Unavailable, "Failed to check mounting in build directory %#v", r.buildDirectoryPath)
		}
	}
	return r.base.CheckReadiness(ctx, request)
}
