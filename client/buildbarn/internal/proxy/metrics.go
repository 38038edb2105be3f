// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"time"

	mountat "github.com/mountatd/mountatd/client/go"
	"github.com/prometheus/client_golang/prometheus"
)

// Values of the label step: where a request can fail.
const (
	stepRequest   = "request"
	stepRunner    = "runner"
	stepInputRoot = "input-root"
	stepMount     = "mount"
	stepLost      = "lost"
	stepRelease   = "release"
	stepReadiness = "readiness"
)

// metrics are this program's metrics.
type metrics struct {
	actions  prometheus.Counter
	leases   prometheus.Gauge
	failures *prometheus.CounterVec
	ready    prometheus.Gauge
	unready  *prometheus.GaugeVec
	mount    prometheus.Histogram
	release  prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	buckets := prometheus.ExponentialBuckets(50e-6, 2, 18) // 50 us to 6.6 s
	m := &metrics{
		actions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mountat_runner_actions_total",
			Help: "Run requests received.",
		}),
		leases: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mountat_runner_leases",
			Help: "Leases currently held: one per action with mounts.",
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mountat_runner_failures_total",
			Help: "Failed requests, by the step that failed; runner means bb_runner.",
		}, []string{"step"}),
		ready: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mountat_runner_ready",
			Help: "1 if actions can get their mounts, as far as known; else 0.",
		}),
		unready: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mountat_runner_unready",
			Help: "1 for the reason why actions can't get their mounts; else 0.",
		}, []string{"reason"}),
		mount: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "mountat_runner_mount_duration_seconds",
			Help:    "Time from connecting to mountatd until everything is mounted.",
			Buckets: buckets,
		}),
		release: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "mountat_runner_release_duration_seconds",
			Help:    "Time from the end of the action until everything is unmounted.",
			Buckets: buckets,
		}),
	}
	for _, step := range []string{
		stepRequest, stepInputRoot, stepMount, stepRunner, stepLost, stepRelease, stepReadiness,
	} {
		m.failures.WithLabelValues(step) // exported as 0 from the start
	}
	for _, reason := range []string{
		reasonBuildDirectory, reasonInputRoot, reasonNoAnswer,
		mountat.StatusNotAuthorised.String(), mountat.StatusForeignNamespace.String(),
		mountat.StatusLimitExceeded.String(), mountat.StatusHostFailed.String(),
		mountat.StatusUnsupportedFileSystem.String(),
	} {
		m.unready.WithLabelValues(reason) // the likely reasons, exported as 0
	}
	registerer.MustRegister(m.actions, m.leases, m.failures, m.ready, m.unready, m.mount, m.release)
	return m
}

// setReady replaces the reason for not being ready; an empty one means ready.
func (m *metrics) setReady(old, reason string) {
	if old != "" {
		m.unready.WithLabelValues(old).Set(0)
	}
	if reason == "" {
		m.ready.Set(1)
		return
	}
	m.ready.Set(0)
	m.unready.WithLabelValues(reason).Set(1)
}

// observe records the time since start.
func observe(histogram prometheus.Histogram, start time.Time) {
	histogram.Observe(time.Since(start).Seconds())
}
