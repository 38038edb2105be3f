// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The steps at which an action can fail here, as values of the label step.
const (
	stepRequest   = "request"
	stepInputRoot = "input-root"
	stepMount     = "mount"
	stepLost      = "lost"
	stepRelease   = "release"
	stepReadiness = "readiness"
)

// metrics are what this program counts.
type metrics struct {
	actions  prometheus.Counter
	leases   prometheus.Gauge
	failures *prometheus.CounterVec
	mount    prometheus.Histogram
	release  prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	buckets := prometheus.ExponentialBuckets(50e-6, 2, 18) // 50 us to 6.6 s
	m := &metrics{
		actions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mountat_runner_actions_total",
			Help: "Run requests that were received.",
		}),
		leases: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mountat_runner_leases",
			Help: "Leases held now: actions with /proc and /sys.",
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mountat_runner_failures_total",
			Help: "Requests that were failed by this program, by the step that failed.",
		}, []string{"step"}),
		mount: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "mountat_runner_mount_duration_seconds",
			Help:    "From connecting to mountatd until /proc and /sys are there.",
			Buckets: buckets,
		}),
		release: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "mountat_runner_release_duration_seconds",
			Help:    "From the end of the action until its input root is bare again.",
			Buckets: buckets,
		}),
	}
	for _, step := range []string{
		stepRequest, stepInputRoot, stepMount, stepLost, stepRelease, stepReadiness,
	} {
		m.failures.WithLabelValues(step) // there from the start, at 0
	}
	registerer.MustRegister(m.actions, m.leases, m.failures, m.mount, m.release)
	return m
}

// observe records in histogram the time since start.
func observe(histogram prometheus.Histogram, start time.Time) {
	histogram.Observe(time.Since(start).Seconds())
}
