// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A descriptor opened before the mount refers to the directory underneath it: only a path lookup reaches
// the mount. Below a root the names are known. A target that came as a descriptor is looked up through
// its parent, "..", which is right even after renames, by the only name that the daemon accepts for its
// file system. The mountpoint itself can't be renamed (EBUSY).

// errBare means that a mount is gone.
var errBare = errors.New("its mounts are gone")

// adoption is the request that offers the lease to another instance.
func (l *Lease) adoption() *request {
	r := &request{operation: operationAdopt, lease: l.id}
	for _, target := range l.targets {
		r.targets = append(r.targets, wireTarget{fileSystem: target.fileSystem})
	}
	return r
}

// openMounts opens the roots of the lease's mounts, in its order: all or none. errBare: a mount is
// gone. It may block as long as the file systems of the mountpoints do.
func (l *Lease) openMounts() (fds []int, err error) {
	for i := range l.targets {
		fd, err := l.openMount(i)
		if err != nil {
			closeAll(fds)
			return nil, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

func (l *Lease) openMount(i int) (fd int, err error) {
	name := l.targets[i].fileSystem.Directory()
	if l.root != nil {
		fd, err = l.root.openMount(name)
	} else {
		fd, err = openBeside(l.directories[i], name)
	}
	if err == nil {
		if err = checkMountRoot(fd); err == nil {
			return fd, nil
		}
		unix.Close(fd)
	}
	if isBareErrno(err) {
		return -1, errBare
	}
	return -1, fmt.Errorf("its mount on %s cannot be opened: %w", name, err)
}

func isBareErrno(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ESTALE)
}

// openBeside opens name in the parent of directory.
func openBeside(directory *os.File, name string) (fd int, err error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	var parent int
	err = control(directory, func(original int) error {
		parent, err = unix.Openat(original, "..", flags, 0)
		return err
	})
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	return unix.Openat(parent, name, flags|unix.O_NOFOLLOW, 0)
}

// checkMountRoot returns ENOENT if fd isn't a mount's root. Before Linux 5.8, which can't tell, the
// daemon checks.
func checkMountRoot(fd int) error {
	var stat unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, 0, &stat)
	if err != nil {
		return err
	}
	if stat.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 &&
		stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return unix.ENOENT
	}
	return nil
}

// areTargetsBare reports whether nothing is mounted on the directories of a lease without root; false
// if it can't look.
func (l *Lease) areTargetsBare() bool {
	for i := range l.targets {
		fd, err := l.openMount(i)
		if err == nil {
			unix.Close(fd)
		}
		if !errors.Is(err, errBare) {
			return false
		}
	}
	return true
}
