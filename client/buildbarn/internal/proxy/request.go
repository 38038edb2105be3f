// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// The only field of buildbarn.runner.RunRequest that is read: a path relative to the build directory.
const inputRootDirectoryField = 6

// inputRootPath reads input_root_directory from a RunRequest, decoded as the unknown fields of an empty
// message. As in any protobuf decoder, the last one wins.
func inputRootPath(request *emptypb.Empty) (string, error) {
	var path string
	fields := request.ProtoReflect().GetUnknown()
	for len(fields) > 0 {
		number, kind, n := protowire.ConsumeTag(fields)
		if n < 0 {
			return "", protowire.ParseError(n)
		}
		fields = fields[n:]
		if number == inputRootDirectoryField {
			if kind != protowire.BytesType {
				return "", errors.New("input_root_directory is not a string")
			}
			value, n := protowire.ConsumeBytes(fields)
			if n < 0 {
				return "", protowire.ParseError(n)
			}
			path = string(value)
		}
		n = protowire.ConsumeFieldValue(number, kind, fields)
		if n < 0 {
			return "", protowire.ParseError(n)
		}
		fields = fields[n:]
	}
	if len(path) >= unix.PathMax { // also too long for the log
		return "", errors.New("input_root_directory is too long")
	}
	return path, checkPath(path)
}

// checkPath refuses paths with a clearer message than openat2 would.
func checkPath(path string) error {
	switch {
	case path == "":
		return errors.New("input_root_directory is empty or absent")
	case strings.ContainsRune(path, 0):
		return errors.New("input_root_directory contains a NUL")
	case path[0] == '/':
		return errors.New("input_root_directory is absolute: it must be relative to the build directory")
	}
	for component := range strings.SplitSeq(path, "/") {
		if component == ".." {
			return errors.New("input_root_directory contains \"..\"")
		}
	}
	return nil
}
