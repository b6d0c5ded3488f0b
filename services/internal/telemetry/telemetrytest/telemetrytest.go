// Package telemetrytest lets tests read what was logged and counted.
package telemetrytest

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Log is written and read at once. The zero value is empty.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends p.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is everything that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Counted returns what a counter counted under the given attributes, "name=value"
// each; 0 where it counted nothing.
func Counted(t testing.TB, reader sdkmetric.Reader, counter string, attributes ...string) (n int64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			sum, ok := m.Data.(metricdata.Sum[int64])
			if !ok || m.Name != counter {
				continue
			}
			for _, p := range sum.DataPoints {
				if has(p.Attributes, attributes) {
					n += p.Value
				}
			}
		}
	}
	return n
}

func has(set attribute.Set, attributes []string) bool {
	var there []string
	for _, kv := range set.ToSlice() {
		there = append(there, fmt.Sprintf("%s=%s", kv.Key, kv.Value.String()))
	}
	return !slices.ContainsFunc(attributes, func(want string) bool { return !slices.Contains(there, want) })
}
