// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"
)

const (
	statusPause = time.Second // at least, between two reports: actions come and go by hundreds a second
	statusMax   = 1024        // bytes: systemctl(1) shows a line
)

// notifier tells the service manager what goes on: sd_notify(3). Nil tells nobody.
type notifier struct {
	log    *slog.Logger
	socket net.Conn
}

// newNotifier gives nil where nobody wants to know.
func newNotifier(log *slog.Logger) *notifier {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	socket, err := net.Dial("unixgram", path) // "@" is an abstract one for both
	if err != nil {
		log.Warn("this host: cannot notify the service manager", slog.Any("error", err))
		return nil
	}
	return &notifier{log, socket}
}

func (n *notifier) send(text string) {
	if n == nil {
		return
	}
	if _, err := n.socket.Write([]byte(text)); err != nil {
		n.log.Warn("this host: cannot notify the service manager", slog.Any("error", err))
	}
}

// report sends what status gives whenever it has changed, until ctx ends.
func (n *notifier) report(ctx context.Context, status func() string) {
	if n == nil {
		return
	}
	ticker := time.NewTicker(statusPause)
	defer ticker.Stop()
	for last := ""; ; {
		if now := status(); now != last {
			n.send("STATUS=" + strings.ToValidUTF8(now[:min(len(now), statusMax)], ""))
			last = now
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (n *notifier) close() {
	if n != nil {
		n.socket.Close()
	}
}
