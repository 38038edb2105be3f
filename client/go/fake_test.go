// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeDaemon is a scripted daemon, for behaviour that the real one never shows.
type fakeDaemon struct {
	t        *testing.T
	path     string
	listener *net.UnixListener
}

func newFakeDaemon(t *testing.T) *fakeDaemon {
	t.Helper()
	// A socket's path has at most 107 bytes: too short for t.TempDir(), which has the test's name.
	directory, err := os.MkdirTemp("", "mountat")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(directory, "socket")
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		listener.Close()
		os.RemoveAll(directory)
	})
	return &fakeDaemon{t, path, listener}
}

// connect returns both ends of a connection.
func (d *fakeDaemon) connect() (*Client, *fakePeer) {
	d.t.Helper()
	client, err := Dial(testContext(d.t), d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { client.Close() })
	return client, d.accept()
}

// accept returns the daemon's end of the next connection.
func (d *fakeDaemon) accept() *fakePeer {
	conn, err := d.listener.AcceptUnix()
	if err != nil {
		d.t.Error(err)
		return &fakePeer{d.t, new(net.UnixConn)}
	}
	d.t.Cleanup(func() { conn.Close() })
	return &fakePeer{d.t, conn}
}

type fakePeer struct {
	t    *testing.T
	conn *net.UnixConn
}

// fakeRequest is a request as decoded by the fake daemon.
type fakeRequest struct {
	operation operation
	cookie    uint64
	lease     uint64
	targets   uint32
	flags     uint32
	fds       int
	links     []string // the link targets of an enter's descriptors
}

// receive returns the next request; false if the client has hung up.
func (p *fakePeer) receive() (fakeRequest, bool) {
	var b [256]byte
	var oob [256]byte
	n, oobn, _, _, err := p.conn.ReadMsgUnix(b[:], oob[:])
	if err != nil || n < requestHeaderSize {
		return fakeRequest{}, false
	}
	r := fakeRequest{
		operation: operation(binary.LittleEndian.Uint16(b[6:])),
		cookie:    binary.LittleEndian.Uint64(b[8:]),
		lease:     binary.LittleEndian.Uint64(b[16:]),
		targets:   binary.LittleEndian.Uint32(b[24:]),
		flags:     binary.LittleEndian.Uint32(b[28:]),
	}
	messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range messages {
		fds, _ := unix.ParseUnixRights(&messages[i])
		r.fds += len(fds)
		if r.operation == operationEnter {
			r.links = append(r.links, links(p.t, fds)...)
		}
		closeAll(fds)
	}
	if r.operation == operationEnter {
		if status, index := judgeEnter(b[:n]); status != StatusOK || r.fds != int(r.targets) {
			p.t.Errorf("enter is %v at %d, with %d descriptors", status, index, r.fds)
		}
	}
	return r, true
}

func links(t *testing.T, fds []int) (links []string) {
	t.Helper()
	for _, fd := range fds {
		link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil {
			t.Error(err)
		}
		links = append(links, link)
	}
	return links
}

// judgeEnter is the daemon's verdict on the bytes of an enter, as in common/wire.c.
func judgeEnter(b []byte) (status Status, index uint32) {
	word := func(offset int) uint32 { return binary.LittleEndian.Uint32(b[offset:]) }
	count := word(24)
	if word(28) != 0 || binary.LittleEndian.Uint64(b[16:]) != 0 ||
		len(b) != requestHeaderSize+targetSize*int(count) || count < 1 || count > protocolTargetsMax {
		return StatusMalformed, protocolNoTarget
	}
	for i := range count {
		kind := FileSystem(word(requestHeaderSize + targetSize*int(i)))
		if kind < namespaceMount || kind > namespaceNetwork {
			return StatusUnsupportedFileSystem, i
		}
	}
	for i := range count {
		if word(requestHeaderSize+targetSize*int(i)+4) != 0 {
			return StatusMalformed, i
		}
	}
	seen := make(map[FileSystem]bool)
	for i := range count {
		kind := FileSystem(word(requestHeaderSize + targetSize*int(i)))
		if seen[kind] {
			return StatusMalformed, i
		}
		seen[kind] = true
	}
	if !seen[namespaceMount] {
		return StatusMalformed, protocolNoTarget
	}
	return StatusOK, protocolNoTarget
}

func (p *fakePeer) mustReceive(want operation) fakeRequest {
	p.t.Helper()
	r, ok := p.receive()
	if !ok || r.operation != want {
		p.t.Fatalf("the daemon got %+v, %v, want a request for %v", r, ok, want)
	}
	return r
}

func (p *fakePeer) send(datagram []byte, fds ...int) {
	p.t.Helper()
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if _, _, err := p.conn.WriteMsgUnix(datagram, oob, nil); err != nil {
		p.t.Errorf("the daemon can't answer: %v", err)
	}
}

func (p *fakePeer) reply(r reply) {
	p.t.Helper()
	p.send(encodeReply(r))
}

func encodeReply(r reply) []byte {
	b := append([]byte(nil), protocolMagic...)
	b = binary.LittleEndian.AppendUint16(b, protocolVersion)
	b = binary.LittleEndian.AppendUint16(b, uint16(r.operation)|protocolReplyBit)
	b = binary.LittleEndian.AppendUint64(b, r.cookie)
	b = binary.LittleEndian.AppendUint64(b, r.lease)
	b = binary.LittleEndian.AppendUint32(b, uint32(r.status))
	b = binary.LittleEndian.AppendUint32(b, r.errno)
	b = binary.LittleEndian.AppendUint32(b, r.target)
	b = binary.LittleEndian.AppendUint32(b, r.flags)
	return append(b, r.text...)
}

// refuseAdoption answers one offer.
func (p *fakePeer) refuseAdoption(status Status) {
	p.t.Helper()
	p.reply(reply{operation: operationAdopt, cookie: p.mustReceive(operationAdopt).cookie,
		status: status, target: protocolNoTarget})
}

// greetAs answers hello.
func (p *fakePeer) greetAs(version string, features Feature) {
	p.t.Helper()
	p.reply(reply{operation: operationHello, cookie: p.mustReceive(operationHello).cookie,
		flags: uint32(features), text: version})
}

func (p *fakePeer) greetWith(features Feature) {
	p.t.Helper()
	p.greetAs("mountatd 0.2.0", features)
}

// answer answers the next request, which must be that operation.
func (p *fakePeer) answer(op operation, status Status, text string) fakeRequest {
	p.t.Helper()
	r := p.mustReceive(op)
	a := reply{operation: op, cookie: r.cookie, status: status, target: protocolNoTarget, text: text}
	if status == StatusForeignNamespace && op != operationEnter {
		a.target = 0
	}
	if status == StatusOK && op != operationUnmount && op != operationEnter && r.flags != protocolCheck {
		a.lease = r.cookie
	}
	p.reply(a)
	return r
}

// letIn is the daemon's side of finding out that the client is in another namespace.
func (p *fakePeer) letIn(op operation) {
	p.t.Helper()
	p.answer(op, StatusForeignNamespace, "elsewhere")
	p.greetWith(FeatureEnter)
	p.answer(operationEnter, StatusOK, "")
	p.answer(op, StatusOK, "")
}

// answerMount answers a mount that must have these flags.
func (p *fakePeer) answerMount(flags uint32, answer reply) {
	p.t.Helper()
	r := p.mustReceive(operationMount)
	if r.flags != flags {
		p.t.Errorf("the mount has flags %#x, want %#x", r.flags, flags)
	}
	answer.operation, answer.cookie = operationMount, r.cookie
	p.reply(answer)
}

func (p *fakePeer) answerUnmount(lease uint64, status Status) {
	p.t.Helper()
	r := p.mustReceive(operationUnmount)
	if r.lease != lease || r.flags != 0 {
		p.t.Errorf("the daemon got %+v, want an unmount of %d", r, lease)
	}
	p.reply(reply{operation: operationUnmount, cookie: r.cookie, status: status, target: protocolNoTarget})
}

// checkEnd expects no further request.
func (p *fakePeer) checkEnd() {
	p.t.Helper()
	if r, ok := p.receive(); ok {
		p.t.Errorf("the daemon got one more request: %+v", r)
	}
}
