// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"bytes"
	"encoding/binary"
	"errors"
)

const (
	requestHeaderSize = 32
	targetSize        = 8
	replyHeaderSize   = 40
	replySizeMax      = replyHeaderSize + protocolTextMax
)

// request is one datagram to the daemon, without its descriptors.
type request struct {
	operation operation
	cookie    uint64
	lease     uint64
	flags     uint32 // protocolKeep, protocolCheck
	targets   []wireTarget
}

type wireTarget struct {
	fileSystem FileSystem
	options    Option
}

func (r *request) encode() []byte {
	b := make([]byte, 0, requestHeaderSize+targetSize*len(r.targets))
	b = append(b, protocolMagic...)
	b = binary.LittleEndian.AppendUint16(b, protocolVersion)
	b = binary.LittleEndian.AppendUint16(b, uint16(r.operation))
	b = binary.LittleEndian.AppendUint64(b, r.cookie)
	b = binary.LittleEndian.AppendUint64(b, r.lease)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.targets)))
	b = binary.LittleEndian.AppendUint32(b, r.flags)
	for _, t := range r.targets {
		b = binary.LittleEndian.AppendUint32(b, uint32(t.fileSystem))
		b = binary.LittleEndian.AppendUint32(b, uint32(t.options))
	}
	return b
}

// reply is one datagram from the daemon.
type reply struct {
	operation operation // without the reply bit
	cookie    uint64
	lease     uint64
	status    Status
	errno     uint32
	target    uint32
	flags     uint32
	text      string
}

var errNoReply = errors.New("a message is not a reply of version 1")

func decodeReply(b []byte) (*reply, error) {
	if len(b) < replyHeaderSize || len(b) > replySizeMax ||
		string(b[:4]) != protocolMagic ||
		binary.LittleEndian.Uint16(b[4:]) != protocolVersion {
		return nil, errNoReply
	}
	code := binary.LittleEndian.Uint16(b[6:])
	text := b[replyHeaderSize:]
	if code&protocolReplyBit == 0 || bytes.IndexByte(text, 0) >= 0 {
		return nil, errNoReply
	}
	return &reply{
		operation: operation(code &^ protocolReplyBit),
		cookie:    binary.LittleEndian.Uint64(b[8:]),
		lease:     binary.LittleEndian.Uint64(b[16:]),
		status:    Status(binary.LittleEndian.Uint32(b[24:])),
		errno:     binary.LittleEndian.Uint32(b[28:]),
		target:    binary.LittleEndian.Uint32(b[32:]),
		flags:     binary.LittleEndian.Uint32(b[36:]),
		text:      string(text),
	}, nil
}

// fits reports whether r is a valid reply to a request for op with these flags.
func (r *reply) fits(op operation, flags uint32) bool {
	if r.operation != op {
		return false
	}
	if op != operationMount && op != operationAdopt || r.status != StatusOK {
		return true
	}
	return (r.lease == 0) == (flags == protocolCheck)
}

// refuses reports whether r is the one valid unsolicited reply: the daemon has too many connections.
func (r *reply) refuses() bool {
	return r.operation == operationUnasked && r.cookie == 0 && r.status != StatusOK
}
