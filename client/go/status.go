// SPDX-License-Identifier: Apache-2.0

package mountat

import "golang.org/x/sys/unix"

// Status is the daemon's answer to a request. It is an error to compare with errors.Is: methods return
// an [*Error] that wraps it. A newer daemon may send other numbers.
type Status uint32

const (
	StatusOK                    Status = 0
	StatusMalformed             Status = 1
	StatusUnsupportedVersion    Status = 2
	StatusUnknownOperation      Status = 3
	StatusWrongFDCount          Status = 4
	StatusNotADirectory         Status = 5
	StatusNotAuthorised         Status = 6
	StatusWrongName             Status = 7
	StatusAlreadyMounted        Status = 8
	StatusForeignNamespace      Status = 9
	StatusLimitExceeded         Status = 10
	StatusNoSuchLease           Status = 11
	StatusHostFailed            Status = 12
	StatusShuttingDown          Status = 13
	StatusTargetVanished        Status = 14
	StatusUnsupportedFileSystem Status = 15
)

// The name of each status in the documentation, and its errno in mountat.h.
var statuses = [...]struct {
	name  string
	errno unix.Errno
}{
	StatusOK:                    {"ok", 0},
	StatusMalformed:             {"malformed", unix.EINVAL},
	StatusUnsupportedVersion:    {"unsupported-version", unix.EPROTONOSUPPORT},
	StatusUnknownOperation:      {"unknown-operation", unix.ENOSYS},
	StatusWrongFDCount:          {"wrong-fd-count", unix.EINVAL},
	StatusNotADirectory:         {"not-a-directory", unix.ENOTDIR},
	StatusNotAuthorised:         {"not-authorised", unix.EPERM},
	StatusWrongName:             {"wrong-name", unix.EINVAL},
	StatusAlreadyMounted:        {"already-mounted", unix.EBUSY},
	StatusForeignNamespace:      {"foreign-namespace", unix.EXDEV},
	StatusLimitExceeded:         {"limit-exceeded", unix.EDQUOT},
	StatusNoSuchLease:           {"no-such-lease", unix.ENOENT},
	StatusHostFailed:            {"host-failed", unix.EIO}, // if the reply has no valid errno
	StatusShuttingDown:          {"shutting-down", unix.ESHUTDOWN},
	StatusTargetVanished:        {"target-vanished", unix.ESTALE},
	StatusUnsupportedFileSystem: {"unsupported-file-system", unix.EOPNOTSUPP},
}

// String returns the name in the documentation, such as "not-authorised".
func (s Status) String() string {
	if int64(s) >= int64(len(statuses)) {
		return "unknown-status"
	}
	return statuses[s].name
}

// Error returns String prefixed with "mountatd: ".
func (s Status) Error() string {
	return "mountatd: " + s.String()
}

// isPassing reports whether the same request may succeed later.
func (s Status) isPassing() bool {
	return s == StatusHostFailed || s == StatusShuttingDown || s == StatusLimitExceeded
}

// The kernel's largest errno, include/linux/err.h.
const errnoMax = 4095

// errno returns the status's errno; for StatusHostFailed, the host's.
func (s Status) errno(host uint32) unix.Errno {
	if int64(s) >= int64(len(statuses)) {
		return unix.EPROTO
	}
	if s == StatusHostFailed && host > 0 && host <= errnoMax {
		return unix.Errno(host)
	}
	return statuses[s].errno
}
