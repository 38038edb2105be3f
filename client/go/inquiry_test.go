// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"errors"
	"io/fs"
	"testing"
	"time"
)

func TestADaemonThatGoesAwayIsAskedAgain(t *testing.T) {
	daemon := newFakeDaemon(t)
	client, peer := daemon.connect()
	go func() {
		peer.mustReceive(operationHello)
		peer.conn.Close()
		peer = daemon.accept()
		peer.reply(reply{operation: operationHello, cookie: peer.mustReceive(operationHello).cookie,
			text: "the next one"})
	}()
	hello, err := client.Hello(testContext(t))
	if err != nil || hello.Version != "the next one" {
		t.Errorf("got %+v, %v", hello, err)
	}
}

func TestADaemonThatStaysAwayIsErrLost(t *testing.T) {
	daemon := newFakeDaemon(t)
	client, peer := daemon.connect()
	client.connection.patience = 100 * time.Millisecond
	daemon.listener.Close()
	peer.conn.Close()
	start := time.Now()
	_, err := client.Hello(testContext(t))
	if !errors.Is(err, ErrLost) || errors.Is(err, ErrProtocol) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if client.Err() != nil {
		t.Errorf("the client has given up: %v", client.Err())
	}
}

// The request itself might crash the daemon.
func TestADaemonThatDiesOfARequestIsNotAskedForEver(t *testing.T) {
	daemon := newFakeDaemon(t)
	client, peer := daemon.connect()
	asked := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		for asked = 1; ; asked++ {
			peer.mustReceive(operationHello)
			peer.conn.Close()
			if asked == lossesMax {
				return
			}
			peer = daemon.accept()
		}
	}()
	if _, err := client.Hello(testContext(t)); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	<-done
}
