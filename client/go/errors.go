// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

var (
	// ErrLost is in every error that is due to a connection that is gone.
	ErrLost = errors.New("the connection to mountatd was lost")

	// ErrLeaseLost is in the errors about a lease that the daemon's next instance didn't adopt, or
	// whose mounts were gone. What is left of it is released within the daemon's --adopt-timeout.
	// It is an ErrLost too.
	ErrLeaseLost = fmt.Errorf("%w, and the lease with it", ErrLost)

	// ErrProtocol is beside ErrLost when the connection was given up because what came from the
	// daemon was no reply of this protocol.
	ErrProtocol = errors.New("mountatd broke the protocol")
)

// Error is a refusal. It unwraps to its Status and to its Errno.
type Error struct {
	Operation string     // "mount", "unmount", "hello", "connect", "adopt", "enter"
	Status    Status     // what the daemon said, or would have said
	Errno     unix.Errno // the host's, for StatusHostFailed; else what the status stands for
	Target    int        // index of the target at fault (of Mount: procfs, sysfs, dev), or -1
	Text      string     // for a person, printable UTF-8: the reason, what to do; may be empty
}

func (e *Error) Error() string {
	text := e.Text
	if text == "" {
		text = e.Errno.Error()
	}
	if e.Target >= 0 {
		return fmt.Sprintf("mountatd: %s: %s (target %d): %s", e.Operation, e.Status.String(), e.Target, text)
	}
	return fmt.Sprintf("mountatd: %s: %s: %s", e.Operation, e.Status.String(), text)
}

// Unwrap gives errors.Is and errors.As the status and the errno.
func (e *Error) Unwrap() []error {
	return []error{e.Status, e.Errno}
}

func newReplyError(op operation, r *reply, targets int) *Error {
	e := &Error{
		Operation: op.String(),
		Status:    r.status,
		Errno:     r.status.errno(r.errno),
		Target:    -1,
		Text:      escape(r.text),
	}
	if int64(r.target) < int64(targets) {
		e.Target = int(r.target)
	}
	return e
}

// What a daemon may be too old for, and what it would say of it; of several, the first counts.
var lacks = [...]struct {
	feature Feature
	status  Status
	what    string
}{
	{FeatureDev, StatusUnsupportedFileSystem, "mount a /dev"},
	{FeatureKeep, StatusUnknownOperation, "keep mounts beyond a connection"},
	{FeatureCheck, StatusUnknownOperation, "check directories without mounting"},
}

// newLackError is about a daemon that is too old for one of these features, all of which are in lacks.
func newLackError(features Feature, version string) *Error {
	i := 0
	for i < len(lacks)-1 && features&lacks[i].feature == 0 {
		i++
	}
	return &Error{
		Operation: operationMount.String(),
		Status:    lacks[i].status,
		Errno:     lacks[i].status.errno(0),
		Target:    -1,
		Text: fmt.Sprintf("%s can't %s: mountatd 0.2 or later is needed: upgrade it and restart its "+
			"service", escape(version), lacks[i].what),
	}
}

// lost says that the connection is gone, and why.
func lost(why error) error {
	return fmt.Errorf("%w: %w", ErrLost, why)
}

// escape makes text safe for terminals and logs: what isn't printable UTF-8 becomes \xNN.
func escape(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		if (r == utf8.RuneError && size == 1) || unicode.IsControl(r) || r == '\\' {
			fmt.Fprintf(&b, `\x%02x`, text[0])
			size = 1
		} else {
			b.WriteString(text[:size])
		}
		text = text[size:]
	}
	return b.String()
}
