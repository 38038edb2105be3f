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
	statusPause = time.Second // between two reports: there may be hundreds of actions per second
	statusMax   = 1024        // bytes: systemctl(1) shows one line
)

// notifier reports the state to the service manager: sd_notify(3). A nil notifier does nothing.
type notifier struct {
	log    *slog.Logger
	socket net.Conn
}

// newNotifier returns nil without a service manager.
func newNotifier(log *slog.Logger) *notifier {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	socket, err := net.Dial("unixgram", path) // "@" means an abstract socket to both
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

// report sends the status whenever it has changed, until ctx ends.
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
