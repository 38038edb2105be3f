// SPDX-License-Identifier: Apache-2.0

package mountat

// The numbers of the wire protocol, version 1: common/protocol.h and the table in README.md.
const (
	protocolMagic      = "MNTA"
	protocolVersion    = 1
	protocolReplyBit   = 0x8000
	protocolTextMax    = 216
	protocolTargetsMax = 16
	protocolNoTarget   = 0xffffffff
)

// In the flags of a mount, one at most. No other request has any.
const (
	protocolKeep  uint32 = 1 << 0 // the lease is the user's and outlives the connection
	protocolCheck uint32 = 1 << 1 // judged as a mount is, and nothing is mounted: no lease
)

type operation uint16

const (
	operationUnasked operation = 0 // only in replies: the connection is refused
	operationHello   operation = 1
	operationMount   operation = 2
	operationUnmount operation = 3
	operationAdopt   operation = 4
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
	}
	return "unknown operation"
}

// FileSystem is what can be mounted on a [Target].
type FileSystem uint32

const (
	FileSystemProc  FileSystem = 1 // on a directory named proc
	FileSystemSysfs FileSystem = 2 // on a directory named sys
)

// Option is a bit set of what a client may ask of a [Target]; it can only get less than it would
// without.
type Option uint32

const (
	OptionReadOnly Option = 1 << 0 // also where the administrator allows a writable procfs
	OptionPIDsOnly Option = 1 << 1 // procfs with processes and nothing else: subset=pid
)

// Feature is a bit set of what the daemon and its kernel can do. There may be bits that this
// version doesn't know.
type Feature uint32

const (
	FeatureClones    Feature = 1 << 0
	FeatureStatmount Feature = 1 << 1
	FeatureUniqueIDs Feature = 1 << 2
	FeaturePIDsOnly  Feature = 1 << 3
	FeatureAdopt     Feature = 1 << 4
	FeatureKeep      Feature = 1 << 6 // [Keep], [Client.MountTargetsKept]
	FeatureCheck     Feature = 1 << 8 // [Client.Check]
)
