// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEachStatusIsAnErrorOfItsOwn(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	root := openDirectory(t, newRoot(t, "proc", "sys"))
	unknown := Status(len(statuses))

	for status := StatusMalformed; status <= unknown; status++ {
		go func() {
			r := peer.mustReceive(operationMount)
			peer.reply(reply{operation: operationMount, cookie: r.cookie, status: status,
				errno: uint32(unix.ENOSPC), target: 1, text: "because"})
			if status == StatusForeignNamespace {
				peer.greetWith(FeatureKeep | FeatureCheck) // without FeatureEnter
			}
		}()
		_, err := client.Mount(testContext(t), root, Proc|Sysfs)

		var refusal *Error
		var asStatus Status
		if !errors.As(err, &refusal) || !errors.As(err, &asStatus) || asStatus != status ||
			!errors.Is(err, status) || errors.Is(err, status+1) {
			t.Errorf("%v: errors.Is and errors.As don't find it in %v", status, err)
			continue
		}
		if refusal.Target != 1 || refusal.Text != "because" || refusal.Operation != "mount" {
			t.Errorf("%v: %+v", status, refusal)
		}
		if (refusal.Errno == unix.ENOSPC) != (status == StatusHostFailed) || !errors.Is(err, refusal.Errno) {
			t.Errorf("%v: errno %v", status, refusal.Errno)
		}
		if !strings.Contains(err.Error(), status.String()) {
			t.Errorf("%v: its name isn't in %q", status, err)
		}
	}
	if unknown.String() != "unknown-status" || unknown.errno(0) != unix.EPROTO {
		t.Errorf("an unknown status is %v, %v", unknown, unknown.errno(0))
	}
	if !errors.Is(&Error{Status: StatusNotAuthorised, Errno: unix.EPERM}, fs.ErrPermission) {
		t.Error("not-authorised isn't fs.ErrPermission")
	}
}

func TestEscapesWhatIsNotPlainText(t *testing.T) {
	for text, want := range map[string]string{
		"straße":          "straße",
		"a\nb\x1b[m":      `a\x0ab\x1b[m`,
		"\xff\xc0\x80":    `\xff\xc0\x80`,
		"c1 \u009b":       `c1 \xc2\x9b`,
		`back\slash`:      `back\x5cslash`,
		"\ufffd is plain": "\ufffd is plain",
		"a\u202eb\u2066c": `a\xe2\x80\xaeb\xe2\x81\xa6c`, // bidirectional marks
		"\u061c\u200e":    `\xd8\x9c\xe2\x80\x8e`,
		"a\u2028b\u2029":  `a\xe2\x80\xa8b\xe2\x80\xa9`, // line separators
		"\ufdd0\uffff":    `\xef\xb7\x90\xef\xbf\xbf`,   // noncharacters
		"\U0001fffe":      `\xf0\x9f\xbf\xbe`,
		"\u200b is plain": "\u200b is plain",
	} {
		if got := Escape(text); got != want {
			t.Errorf("Escape(%q) = %q, want %q", text, got, want)
		}
	}
}
