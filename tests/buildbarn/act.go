// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
)

// act's exit status if the action wasn't run.
const exitNotRun = 125

// act runs a command as an action in an input root with a shell and empty mountpoints, on the workers of
// examples/config, prints its output, and returns its exit code.
func act(storage, scheduler string, mountpoints, command []string) int {
	o, err := runOnOthers(storage, scheduler, mountpoints, command)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitNotRun
	}
	fmt.Print(o.stdout)
	fmt.Fprint(os.Stderr, o.stderr)
	return int(o.code)
}

func runOnOthers(storage, scheduler string, mountpoints, command []string) (outcome, error) {
	c, err := newClient(storage, scheduler)
	if err != nil {
		return outcome{}, err
	}
	t, err := newBusyboxTree(mountpoints...)
	if err != nil {
		return outcome{}, err
	}
	root, err := c.inputRoot(context.Background(), t)
	if err != nil {
		return outcome{}, err
	}
	o := c.runWhenReady(action{root: root, others: true, command: command})
	return o, o.err
}
