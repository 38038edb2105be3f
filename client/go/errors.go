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
	// ErrLost is wrapped by every error caused by a lost connection.
	ErrLost = errors.New("the connection to mountatd was lost")

	// ErrLeaseLost is wrapped by errors about a lease that the daemon's next instance didn't adopt, or
	// whose mounts were gone. The daemon unmounts what is left within its --adopt-timeout. It wraps
	// ErrLost.
	ErrLeaseLost = fmt.Errorf("%w, and the lease with it", ErrLost)

	// ErrProtocol is wrapped, along with ErrLost, if the connection was closed because the daemon sent
	// something other than a valid reply.
	ErrProtocol = errors.New("mountatd broke the protocol")
)

// Error is a refusal. It unwraps to its Status and to its Errno.
type Error struct {
	Operation string     // "mount", "unmount", "hello", "connect", "adopt", "enter"
	Status    Status     // the daemon's, or the one that it would have sent
	Errno     unix.Errno // the host's for StatusHostFailed, else the status's
	Target    int        // index of the target at fault (of Mount: procfs, sysfs, dev), or -1
	Text      string     // printable UTF-8: the reason, and what to do; may be empty
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
		Text:      Escape(r.text),
	}
	if int64(r.target) < int64(targets) {
		e.Target = int(r.target)
	}
	return e
}

// Features that an old daemon lacks, and the status of a request that needs one. If several are
// missing, the first one is reported.
var lacks = [...]struct {
	feature Feature
	status  Status
	what    string
}{
	{FeatureDev, StatusUnsupportedFileSystem, "mount a /dev"},
	{FeatureKeep, StatusUnknownOperation, "keep mounts beyond a connection"},
	{FeatureCheck, StatusUnknownOperation, "check directories without mounting"},
}

// newLackError reports that the daemon lacks one of features, which must all be in lacks.
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
			"service", Escape(version), lacks[i].what),
	}
}

// lost wraps the reason for the loss of the connection.
func lost(why error) error {
	return fmt.Errorf("%w: %w", ErrLost, why)
}

// isPlain reports whether a character may be printed as it is. As in the daemon, that excludes what a
// terminal would act on, what would break or reverse a line (line separators, bidirectional marks),
// noncharacters, and the escape's own backslash.
func isPlain(r rune) bool {
	return !unicode.IsControl(r) && r != '\\' && r != '\u2028' && r != '\u2029' &&
		!unicode.In(r, unicode.Noncharacter_Code_Point, unicode.Bidi_Control)
}

// Escape makes text, such as another program's, safe for terminals and logs: it replaces the bytes of what
// isn't plain UTF-8 by \xNN.
func Escape(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		if (r == utf8.RuneError && size == 1) || !isPlain(r) {
			fmt.Fprintf(&b, `\x%02x`, text[0])
			size = 1
		} else {
			b.WriteString(text[:size])
		}
		text = text[size:]
	}
	return b.String()
}
