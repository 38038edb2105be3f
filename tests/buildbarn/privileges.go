// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"
)

const capSysAdmin = 21 // linux/capability.h

// privileges checks the capabilities of every thread of the programs.
func (c *cases) privileges(kind string) error {
	runner := c.actionRunner(kind)
	errs := []error{
		c.eachThread(runner, "CapBnd", func(set uint64) bool { return set&(1<<capSysAdmin) == 0 }),
		c.eachThread(runner, "CapEff", func(set uint64) bool { return set&(1<<capSysAdmin) == 0 }),
		c.eachThread(c.mountatd, "CapEff", func(set uint64) bool { return set == 1<<capSysAdmin }),
		c.eachThread(c.mountatd, "CapPrm", func(set uint64) bool { return set == 1<<capSysAdmin }),
		c.eachThread(c.mountatd, "CapBnd", func(set uint64) bool { return set == 1<<capSysAdmin }),
	}
	if c.variant == proxy {
		p := c.process(kind, proxy)
		errs = append(errs,
			c.eachThread(p, "CapEff", func(set uint64) bool { return set == 0 }),
			c.eachThread(p, "CapBnd", func(set uint64) bool { return set == 0 }),
			c.isUnprivilegedAndHidden(p))
	}
	return errors.Join(errs...)
}

func (c *cases) eachThread(p *process, key string, good func(set uint64) bool) error {
	values, err := p.threads(key)
	if err != nil {
		return err
	}
	for _, value := range values {
		set, err := strconv.ParseUint(value, 16, 64)
		if err != nil {
			return err
		}
		if !good(set) {
			return fmt.Errorf("a thread of %s has %s %s", p.name, key, value)
		}
	}
	return nil
}

// isUnprivilegedAndHidden: /proc/PID of a process that isn't dumpable belongs to root, proc(5).
func (c *cases) isUnprivilegedAndHidden(p *process) error {
	users, err := p.threads("Uid")
	if err != nil {
		return err
	}
	for _, user := range users {
		if want := fmt.Sprintf("%[1]d\t%[1]d\t%[1]d\t%[1]d", mountatUser); user != want {
			return fmt.Errorf("a thread of %s is %q, not %q", p.name, user, want)
		}
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(fmt.Sprintf("/proc/%d/environ", p.pid()), &stat); err != nil {
		return err
	}
	if stat.Uid != 0 {
		return fmt.Errorf("%s is dumpable: its /proc belongs to %d", p.name, stat.Uid)
	}
	return nil
}
