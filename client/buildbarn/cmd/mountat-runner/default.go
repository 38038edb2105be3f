// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// readOptionsFile returns the service's options, read as systemd reads an EnvironmentFile=: the last line
// wins. It refuses quoting that takes more of systemd's rules.
func readOptionsFile(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: give --listen, --runner and --build-directory as the service has them", err)
	}
	value, found := "", false
	for line := range strings.Lines(string(text)) {
		if rest, is := strings.CutPrefix(strings.TrimSpace(line), optionsVariable+"="); is {
			value, found = rest, true
		}
	}
	if !found {
		return nil, fmt.Errorf("%s has no line %s=: give the options as the service has them", path, optionsVariable)
	}
	for _, quote := range []string{`"`, `'`} {
		if len(value) >= 2 && strings.HasPrefix(value, quote) && strings.HasSuffix(value, quote) {
			value = value[1 : len(value)-1]
			break
		}
	}
	if strings.ContainsAny(value, "\"'\\$") {
		return nil, fmt.Errorf("%s: --check can't read %s with quotes, \\ or $ inside: give the options as the "+
			"service has them", path, optionsVariable)
	}
	options := strings.Fields(value)
	if i := slices.Index(options, separator); i >= 0 {
		options = options[:i] // --check doesn't start the command
	}
	return options, nil
}
