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

const overheadActions = 200 // of each variant

// overhead measures the same action with each variant in turn, one at a time, from the client's request to
// the reply. It asserts nothing about times.
func (c *cases) overhead(kind string) error {
	before, err := c.metrics(kind)
	if err != nil {
		return err
	}
	took := make(map[*variant][]time.Duration)
	for range overheadActions {
		for _, v := range variants {
			a := c.shell(kind, "true")
			a.variant = v
			start := time.Now()
			if err := expectExit(c.client.run(a), 0, ""); err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			took[v] = append(took[v], time.Since(start))
		}
	}
	after, err := c.metrics(kind)
	if err != nil {
		return err
	}

	comment(fmt.Sprintf("overhead, %s: %d actions each, in turns", kind, overheadActions))
	const line = "%-24s %-12s %12v %12v %18v %9s"
	comment(fmt.Sprintf(line, "through", "mounts", "median", "difference", "95 of 100 within", "/previous"))
	without := quantile(took[variants[0]], 50)
	for _, v := range variants {
		median := quantile(took[v], 50)
		ratio := ""
		if of := took[previous]; of != nil {
			ratio = fmt.Sprintf("%.2f", float64(median-without)/float64(quantile(of, 50)-without))
		}
		comment(fmt.Sprintf(line, v.program, v.mounts, round(median), round(median-without),
			round(quantile(took[v], 95)), ratio))
	}
	comment(fmt.Sprintf("in mountat-runner for %s: %s to mount, %s to release (mean)", proxy.mounts,
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

// mean returns the mean of a histogram between two readings.
func mean(before, after map[string]float64, name string) time.Duration {
	sum := after[name+"_sum"] - before[name+"_sum"]
	count := after[name+"_count"] - before[name+"_count"]
	return round(time.Duration(sum / count * float64(time.Second)))
}

// metrics reads mountat-runner's metrics.
func (c *cases) metrics(kind string) (map[string]float64, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.socket(kind+"-"+proxy.name+"-metrics"))
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
