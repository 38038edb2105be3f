// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"log"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/mountatd/mountatd/client/buildbarn/internal/testdaemon"
)

func TestWhatActionsCanCauseIsLimitedAndCounted(t *testing.T) {
	b := newBench(t, "")
	b.proxy.limited.window = time.Hour
	for range logLines + 7 {
		if _, err := b.run(runRequest("../x")); err == nil {
			t.Fatal("accepted")
		}
	}
	if got := b.log.Count("step=request"); got != logLines {
		t.Errorf("%d lines are logged", got)
	}
	b.proxy.Flush()
	b.proxy.Flush()
	if b.log.Count("7 lines about actions suppressed") != 1 || b.log.Count("suppressed") != 1 {
		t.Errorf("the log is %s", b.log.String())
	}
	b.run(runRequest("../x"))
	if got := b.log.Count("step=request"); got != logLines+1 {
		t.Errorf("%d lines are logged after the window", got)
	}
}

// As the lines of net/http.
func TestLinesOfALoggerAreLimited(t *testing.T) {
	var text testdaemon.Log
	limited := NewLimitedLog(slog.New(slog.NewTextHandler(&text, nil)), "requests")
	limited.window = time.Hour
	logger := log.New(limited, "", 0)
	for range logLines + 7 {
		logger.Print("a line\x1b")
	}
	limited.Flush()
	if text.Count(`level=WARN msg="a line\x1b"`+"\n") != logLines || text.Count("7 lines about requests suppressed") != 1 {
		t.Errorf("the log is %s", text.String())
	}
}

func TestTheCountIsLoggedAtTheEndOfTheWindow(t *testing.T) {
	var log testdaemon.Log
	limited := &LimitedLog{log: slog.New(slog.NewTextHandler(&log, nil)), window: 100 * time.Millisecond}
	for log.Count("suppressed") == 0 {
		limited.info("text")
	}
}

func TestWhatIsTooLongIsNotLogged(t *testing.T) {
	b := newBench(t, "")
	if _, err := b.run(runRequest(strings.Repeat("x", 1<<20))); err == nil {
		t.Fatal("accepted")
	}
	if got := len(b.log.String()); got > 1000 {
		t.Errorf("the log has %d bytes", got)
	}
}
