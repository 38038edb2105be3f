// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func TestRequestIsEncodedAsTheTableSays(t *testing.T) {
	r := request{
		operation: operationMount,
		cookie:    0x0102030405060708,
		targets: []wireTarget{
			{FileSystemProc, OptionReadOnly | OptionPIDsOnly},
			{FileSystemSysfs, 0},
		},
	}
	want := "4d4e5441" + "0100" + "0200" + "0807060504030201" + "0000000000000000" + "02000000" +
		"00000000" + "01000000" + "03000000" + "02000000" + "00000000"
	if got := hex.EncodeToString(r.encode()); got != want {
		t.Errorf("encoded as\n%s, want\n%s", got, want)
	}
}

// goodReply is a valid reply to a mount, to be corrupted.
func goodReply() []byte {
	b, _ := hex.DecodeString("4d4e5441" + "0100" + "0280" + "0500000000000000" +
		"efbeadde00000000" + "0c000000" + "16000000" + "01000000" + "00000000")
	return append(b, "why"...)
}

func TestReplyIsDecodedAsTheTableSays(t *testing.T) {
	got, err := decodeReply(goodReply())
	if err != nil {
		t.Fatal(err)
	}
	want := reply{operation: operationMount, cookie: 5, lease: 0xdeadbeef, status: StatusHostFailed,
		errno: 22, target: 1, text: "why"}
	if *got != want {
		t.Errorf("decoded as %+v, want %+v", *got, want)
	}
}

func TestRefusesWhatIsNoReply(t *testing.T) {
	spoil := func(offset int, value byte) []byte {
		b := goodReply()
		b[offset] = value
		return b
	}
	cases := map[string][]byte{
		"empty":             {},
		"short":             goodReply()[:replyHeaderSize-1],
		"long":              append(goodReply(), bytes.Repeat([]byte{'x'}, protocolTextMax)...),
		"magic":             spoil(0, 'm'),
		"version":           spoil(4, 2),
		"without reply bit": spoil(7, 0),
		"NUL in the text":   spoil(replyHeaderSize, 0),
	}
	for name, b := range cases {
		if _, err := decodeReply(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	longest := append(goodReply()[:replyHeaderSize], strings.Repeat("x", protocolTextMax)...)
	if _, err := decodeReply(longest); err != nil {
		t.Errorf("the longest text: %v", err)
	}
}

func FuzzDecodeReply(f *testing.F) {
	f.Add(goodReply())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeReply(b)
		if err == nil && len(r.text) != len(b)-replyHeaderSize {
			t.Errorf("%d bytes gave a text of %d", len(b), len(r.text))
		}
	})
}
