// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const overheadActions = 200 // of each sort

// overhead measures the same action without mountat-runner, with /proc and /sys, and with a /dev too, one
// at a time and in turns: from the client's request to its answer. Nothing is asserted about times.
func (c *cases) overhead(kind string) error {
	before, err := c.metrics(kind)
	if err != nil {
		return err
	}
	ways := [...]string{mountsNone, mountsTwo, mountsAll}
	var took [len(ways)][]time.Duration
	for range overheadActions {
		for with, mounts := range ways {
			a := c.shell(kind, "true")
			a.mounts = mounts
			start := time.Now()
			if err := expectExit(c.client.run(a), 0, ""); err != nil {
				return err
			}
			took[with] = append(took[with], time.Since(start))
		}
	}
	after, err := c.metrics(kind)
	if err != nil {
		return err
	}

	without := quantile(took[0], 50)
	for with, mounts := range ways {
		median := quantile(took[with], 50)
		comment(fmt.Sprintf("overhead, %s: %d actions each, in turns; mounts %s: median %v, difference %v, 95 of 100 within %v",
			kind, overheadActions, mounts, round(median), round(median-without), round(quantile(took[with], 95))))
	}
	comment(fmt.Sprintf("overhead, %s: of the last in mountat-runner %s to mount, %s to release (mean)", kind,
		mean(before, after, "mountat_runner_mount_duration_seconds"),
		mean(before, after, "mountat_runner_release_duration_seconds")))
	return c.expectNothingLeft(kind)
}

func quantile(times []time.Duration, percent int) time.Duration {
	slices.Sort(times)
	return times[(len(times)-1)*percent/100]
}

func round(d time.Duration) time.Duration {
	return d.Round(10 * time.Microsecond)
}

// mean is of a histogram, between two readings.
func mean(before, after map[string]float64, name string) time.Duration {
	sum := after[name+"_sum"] - before[name+"_sum"]
	count := after[name+"_count"] - before[name+"_count"]
	return round(time.Duration(sum / count * float64(time.Second)))
}

// metrics reads mountat-runner's.
func (c *cases) metrics(kind string) (map[string]float64, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.socket(kind+"-mountat-metrics"))
		},
	}
	answer, err := (&http.Client{Transport: transport}).Get("http://localhost/metrics")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	values := make(map[string]float64)
	scanner := bufio.NewScanner(answer.Body)
	for scanner.Scan() {
		if name, value, found := strings.Cut(scanner.Text(), " "); found {
			if number, err := strconv.ParseFloat(value, 64); err == nil {
				values[name] = number
			}
		}
	}
	if values["mountat_runner_leases"] != 0 {
		return nil, fmt.Errorf("mountat-runner holds %v leases between actions", values["mountat_runner_leases"])
	}
	return values, scanner.Err()
}
