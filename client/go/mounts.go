// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A descriptor of a directory that has been mounted on leads below the mount for ever: only a name
// leads to it. Below a root the names are known. A target that came as a descriptor is gone back
// from by "..", which is the right parent whatever it is called now, and then forth by the one name
// that the daemon accepts for its file system. A mountpoint itself can't be renamed (EBUSY).

// errBare says that there is no mount any more.
var errBare = errors.New("its mounts are gone")

// adoption is the request that offers the lease to another instance.
func (l *Lease) adoption() *request {
	r := &request{operation: operationAdopt, lease: l.id}
	for _, target := range l.targets {
		r.targets = append(r.targets, wireTarget{fileSystem: target.fileSystem})
	}
	return r
}

// openMounts opens the roots of the lease's mounts, in its order: all or none. errBare: one isn't
// there. May block for as long as the file systems of the mountpoints do.
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

// openBeside opens what the name of a directory leads to.
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

// checkMountRoot gives ENOENT if fd is no mount's root. Where the kernel can't tell (before 5.8),
// the daemon will.
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

// areTargetsBare tells whether nothing is mounted on the directories of a lease without root. Where
// it can't look, it says no.
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
