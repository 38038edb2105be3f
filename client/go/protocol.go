// SPDX-License-Identifier: Apache-2.0

package mountat

// The numbers of the wire protocol, version 1: common/protocol.h and doc/protocol.md.
const (
	protocolMagic      = "MNTA"
	protocolVersion    = 1
	protocolReplyBit   = 0x8000
	protocolTextMax    = 216
	protocolTargetsMax = 16
	protocolNoTarget   = 0xffffffff
)

// Flags of a mount request, at most one. Other requests have none.
const (
	protocolKeep  uint32 = 1 << 0 // the lease belongs to the user and outlives the connection
	protocolCheck uint32 = 1 << 1 // only checks; nothing is mounted, and there is no lease
)

type operation uint16

const (
	operationUnasked operation = 0 // only in replies: the connection is refused
	operationHello   operation = 1
	operationMount   operation = 2
	operationUnmount operation = 3
	operationAdopt   operation = 4
	operationEnter   operation = 5
)

// These replace the file system in the targets of enter: each at most once, the mount namespace always.
const (
	namespaceMount   FileSystem = 1
	namespacePID     FileSystem = 2 // whose processes a procfs shows
	namespaceNetwork FileSystem = 3 // whose interfaces a sysfs shows
)

func (o operation) String() string {
	switch o {
	case operationUnasked:
		return "connect"
	case operationHello:
		return "hello"
	case operationMount:
		return "mount"
	case operationUnmount:
		return "unmount"
	case operationAdopt:
		return "adopt"
	case operationEnter:
		return "enter"
	}
	return "unknown operation"
}

// FileSystem is what can be mounted on a [Target].
type FileSystem uint32

const (
	FileSystemProc  FileSystem = 1 // on a directory named proc
	FileSystemSysfs FileSystem = 2 // on a directory named sys
	FileSystemDev   FileSystem = 3 // on a directory named dev
)

// The file systems, in the order of the targets of [Client.Mount].
var fileSystems = [...]struct {
	fileSystem FileSystem
	name       string // the only name of a directory that the daemon accepts
	flag       Flags
	features   Feature // that the daemon needs to mount it
}{
	{FileSystemProc, "proc", Proc, 0},
	{FileSystemSysfs, "sys", Sysfs, 0},
	{FileSystemDev, "dev", Dev, FeatureDev},
}

// Directory returns the name of the directory to mount on, such as "proc"; empty for an unknown file
// system.
func (f FileSystem) Directory() string {
	for i := range fileSystems {
		if fileSystems[i].fileSystem == f {
			return fileSystems[i].name
		}
	}
	return ""
}

// features returns the features that the daemon needs to mount it.
func (f FileSystem) features() Feature {
	for i := range fileSystems {
		if fileSystems[i].fileSystem == f {
			return fileSystems[i].features
		}
	}
	return 0
}

// Option is a bit set of options of a [Target]. An option can only restrict a mount.
type Option uint32

const (
	OptionReadOnly Option = 1 << 0 // even if the administrator allows a writable procfs
	OptionPIDsOnly Option = 1 << 1 // procfs with only processes: subset=pid
)

// Feature is a bit set of what the daemon and its kernel support. It may have bits that this version
// doesn't know.
type Feature uint32

const (
	FeatureClones    Feature = 1 << 0
	FeatureStatmount Feature = 1 << 1
	FeatureUniqueIDs Feature = 1 << 2
	FeaturePIDsOnly  Feature = 1 << 3
	FeatureAdopt     Feature = 1 << 4
	FeatureEnter     Feature = 1 << 5 // it mounts in this user's containers
	FeatureKeep      Feature = 1 << 6 // [Keep], [Client.MountTargetsKept]
	FeatureDev       Feature = 1 << 7 // [Dev], FileSystemDev
	FeatureCheck     Feature = 1 << 8 // [Client.Check]
)
