// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Flags is a bit set that tells [Client.Mount] what to mount, and how.
type Flags uint32

const (
	Proc     Flags = 1 << 0 // procfs on proc below the root
	Sysfs    Flags = 1 << 1 // sysfs on sys below the root
	Create   Flags = 1 << 2 // create missing directories
	ReadOnly Flags = 1 << 3 // even if the administrator allows a writable procfs
	PIDsOnly Flags = 1 << 4 // procfs with only processes: subset=pid

	// Keep requests a kept lease, which belongs to the user instead of the Client. It outlives the
	// connection and restarts of the daemon, counts against the user's limits, and ends by
	// [Lease.Release], by [Client.UnmountLease] of any Client of the same user, or when the daemon is
	// stopped. It keeps no descriptor open, and a directory that [Create] created and that was mounted
	// on stays. A daemon older than 0.2 isn't asked: [StatusUnknownOperation].
	Keep Flags = 1 << 5

	// Dev is a /dev on dev below the root: null, zero, full, random, urandom, tty; pts and shm of its
	// own, which no other lease sees; fd, stdin, stdout and stderr, which are links into /proc. Its nodes
	// can't be changed. It counts as nine mounts against the daemon's limits. If the daemon doesn't offer
	// it: [StatusUnsupportedFileSystem].
	Dev Flags = 1 << 6

	flagsMounts = Proc | Sysfs | Dev
	flagsAll    = flagsMounts | Create | ReadOnly | PIDsOnly | Keep
)

func (f Flags) check() error {
	switch {
	case f&^flagsAll != 0:
		return fmt.Errorf("mountatd: mount: unknown flags %#x: this package is too old for them: upgrade it: %w",
			uint32(f&^flagsAll), unix.EINVAL)
	case f&flagsMounts == 0:
		return fmt.Errorf("mountatd: mount: nothing to mount: add Proc, Sysfs or Dev: %w", unix.EINVAL)
	case f&PIDsOnly != 0 && f&Proc == 0:
		return fmt.Errorf("mountatd: mount: PIDsOnly needs procfs: add Proc: %w", unix.EINVAL)
	}
	return nil
}

// Targets returns the targets of [Client.Mount] with these flags, in its order, but all with the same
// directory. They are for [Client.Check], one at a time: it judges a root like mountpoints below it.
func (f Flags) Targets(directory *os.File) (targets []Target) {
	for i := range fileSystems {
		if f&fileSystems[i].flag != 0 {
			fileSystem := fileSystems[i].fileSystem
			targets = append(targets, Target{directory, fileSystem, f.options(fileSystem)})
		}
	}
	return targets
}

func (f Flags) options(fileSystem FileSystem) Option {
	var options Option
	if f&ReadOnly != 0 {
		options |= OptionReadOnly
	}
	if f&PIDsOnly != 0 && fileSystem == FileSystemProc {
		options |= OptionPIDsOnly
	}
	return options
}

// As on a real system: nobody writes underneath a mount.
const mountpointMode = 0o555

// root is the directory tree of a lease. It belongs to a build action, or an attacker: no method follows
// a symbolic link or leaves the root's mount, and removal is an rmdir, by name, of an empty directory
// created here.
type root struct {
	file    *os.File // O_PATH; owned
	flags   Flags
	created Flags
}

// openRoot duplicates the caller's descriptor. It looks nothing up, so it doesn't block.
func openRoot(directory *os.File, flags Flags) (*root, error) {
	file, err := duplicate(directory)
	if err != nil {
		return nil, fmt.Errorf("mountatd: mount: cannot duplicate the root directory's descriptor: %w", err)
	}
	return &root{file: file, flags: flags}, nil
}

// duplicate returns a new file for the same directory.
func duplicate(directory *os.File) (*os.File, error) {
	var fd int
	err := control(directory, func(original int) (err error) {
		fd, err = unix.FcntlInt(uintptr(original), unix.F_DUPFD_CLOEXEC, 3)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "directory"), nil
}

// control calls do with the descriptor of file, and keeps it open meanwhile.
func control(file *os.File, do func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if raw.Control(func(fd uintptr) { result = do(int(fd)) }) != nil {
		return os.ErrClosed // the only possible reason
	}
	return result
}

// open opens the directory name with O_PATH. EXDEV: something is mounted on it.
func (r *root) open(name string) (fd int, err error) {
	err = control(r.file, func(root int) (err error) {
		fd, err = unix.Openat2(root, name, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS |
				unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
		})
		return err
	})
	return fd, err
}

// openMount opens name with O_PATH: the mount on it, if there is one.
func (r *root) openMount(name string) (fd int, err error) {
	err = control(r.file, func(root int) (err error) {
		fd, err = unix.Openat2(root, name, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS |
				unix.RESOLVE_NO_MAGICLINKS,
		})
		return err
	})
	return fd, err
}

func (r *root) mkdir(name string, flag Flags) error {
	err := control(r.file, func(root int) error { return unix.Mkdirat(root, name, mountpointMode) })
	if err == nil {
		r.created |= flag
	} else if errors.Is(err, unix.EEXIST) {
		err = nil
	}
	return err
}

// openTargets opens the mountpoints, and with Create creates missing ones. It tries mkdir first, to
// save the file system a lookup. The caller owns the descriptors. After an error, the caller calls
// clear to remove what was created.
func (r *root) openTargets() (targets []wireTarget, fds []int, err error) {
	for i := range fileSystems {
		mountpoint := &fileSystems[i]
		if r.flags&mountpoint.flag == 0 {
			continue
		}
		var notMade error
		if r.flags&Create != 0 {
			notMade = r.mkdir(mountpoint.name, mountpoint.flag)
		}
		fd, err := r.open(mountpoint.name)
		if errors.Is(err, unix.ENOENT) && notMade != nil {
			closeAll(fds)
			return nil, nil, fmt.Errorf("mountatd: mount: cannot create %s below the root: %w",
				mountpoint.name, notMade)
		}
		if err != nil {
			closeAll(fds)
			return nil, nil, openFailed(mountpoint.name, len(fds), err)
		}
		fds = append(fds, fd)
		targets = append(targets, wireTarget{mountpoint.fileSystem, r.flags.options(mountpoint.fileSystem)})
	}
	return targets, fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// openFailed explains an error of open, with the status that the daemon would have sent.
func openFailed(name string, target int, err error) error {
	refusal := &Error{Operation: operationMount.String(), Target: target}
	switch {
	case errors.Is(err, unix.ENOTDIR):
		refusal.Status = StatusNotADirectory
		refusal.Text = name + " below the root, or the root itself, is not a directory"
	case errors.Is(err, unix.EXDEV): // RESOLVE_NO_XDEV, openat2(2)
		refusal.Status = StatusAlreadyMounted
		refusal.Text = "something is already mounted on " + name + " below the root: unmount it first"
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("mountatd: mount: there is no directory %s below the root: create it, or "+
			"add Create: %w", name, err)
	case errors.Is(err, unix.ELOOP):
		return fmt.Errorf("mountatd: mount: %s below the root is a symbolic link, which is not "+
			"followed: replace it with a directory: %w", name, err)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("mountatd: mount: cannot open %s below the root: openat2 doesn't work here: use "+
			"Linux 5.6 or later, and no seccomp filter that denies it, such as RestrictSUIDSGID= in a unit: %w", name, err)
	default:
		return fmt.Errorf("mountatd: mount: cannot open %s below the root: %w", name, err)
	}
	refusal.Errno = refusal.Status.errno(0)
	return refusal
}

// clear removes the created directories unless they aren't empty, and reports whether nothing is
// mounted any more.
func (r *root) clear() bool {
	bare := true
	for i := len(fileSystems) - 1; i >= 0; i-- {
		mountpoint := &fileSystems[i]
		switch {
		case r.created&mountpoint.flag != 0:
			if r.rmdir(mountpoint.name) {
				r.created &^= mountpoint.flag
			} else {
				bare = false
			}
		case r.flags&mountpoint.flag != 0:
			bare = r.isBare(mountpoint.name) && bare
		}
	}
	return bare
}

// rmdir returns false if something is still mounted on name.
func (r *root) rmdir(name string) bool {
	err := control(r.file, func(root int) error {
		return unix.Unlinkat(root, name, unix.AT_REMOVEDIR)
	})
	return !errors.Is(err, unix.EBUSY)
}

func (r *root) isBare(name string) bool {
	fd, err := r.open(name)
	if err == nil {
		unix.Close(fd)
	}
	return !errors.Is(err, unix.EXDEV)
}
