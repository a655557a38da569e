package load

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Kind is a kind of operation, which latencies are told apart by.
type Kind uint8

// The kinds of operations.
const (
	KindRead Kind = iota
	KindWrite
	KindInsert
	KindScan
	KindBulk
	KindIncrement
	KindReadModifyWrite
	kinds
)

func (k Kind) String() string {
	return [...]string{"read", "write", "insert", "scan", "bulk", "increment", "read-modify-write"}[k]
}

// Latency is the distribution of the time that operations took, in
// microseconds.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_us"`
	P50   int64   `json:"p50_us"`
	P95   int64   `json:"p95_us"`
	P99   int64   `json:"p99_us"`
	P999  int64   `json:"p999_us"`
	Max   int64   `json:"max_us"`
}

// Result is what was measured.
type Result struct {
	Load    string  `json:"load"`
	Server  string  `json:"server,omitempty"`
	Client  string  `json:"client,omitempty"`
	Table   string  `json:"table,omitempty"`
	Workers int     `json:"workers"`
	Seconds float64 `json:"seconds"`

	// What moved while it was measured. Ops are those without an error.
	Ops   int64 `json:"ops"`
	Rows  int64 `json:"rows"`
	Bytes int64 `json:"bytes"`

	OpsPerSecond  float64 `json:"ops_per_s"`
	RowsPerSecond float64 `json:"rows_per_s"`
	MBPerSecond   float64 `json:"mb_per_s"` // of values, 10^6 bytes

	// Latency of operations that began while it was measured, without errors.
	Latency Latency            `json:"latency"`
	Kinds   map[string]Latency `json:"kinds,omitempty"` // where there are several
	// Errors by code; those that are not of the API are "missing row" and
	// "wrong value".
	Errors map[string]int64 `json:"errors,omitempty"`
	// Examples has the first error of each code.
	Examples map[string]string `json:"examples,omitempty"`
	// Series is how many operations each second did.
	Series []int64 `json:"series,omitempty"`
}

// Failed returns how many operations had an error.
func (r *Result) Failed() int64 {
	var n int64
	for _, c := range r.Errors {
		n += c
	}
	return n
}

// Wrong returns how many answers were wrong or missing.
func (r *Result) Wrong() int64 { return r.Errors[codeWrong] + r.Errors[codeMissing] }

const (
	codeWrong   = "wrong value"
	codeMissing = "missing row"
)

// code returns what an error is counted as.
func code(err error) string {
	switch {
	case errors.Is(err, ErrWrong):
		return codeWrong
	case errors.Is(err, ErrMissing):
		return codeMissing
	}
	if c := status.Code(err); c != codes.Unknown {
		return c.String()
	}
	return status.FromContextError(err).Code().String()
}

// stats is what one worker, or all of them, measured.
type stats struct {
	latency  [kinds]*hdrhistogram.Histogram // nil: none of this kind
	errors   map[string]int64
	examples map[string]string
}

func newStats() stats { return stats{errors: map[string]int64{}, examples: map[string]string{}} }

// newHistogram counts microseconds, up to ten minutes, to three digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(10*time.Minute/time.Microsecond), 3)
}

func (s *stats) record(k Kind, d time.Duration, err error) {
	if err != nil {
		s.fail(code(err), 1, err.Error())
		return
	}
	if s.latency[k] == nil {
		s.latency[k] = newHistogram()
	}
	h := s.latency[k]
	us := min(max(1, d.Microseconds()), h.HighestTrackableValue())
	if err := h.RecordValue(us); err != nil {
		s.fail("latency", 1, err.Error())
	}
}

func (s *stats) fail(code string, n int64, example string) {
	s.errors[code] += n
	if s.examples[code] == "" {
		s.examples[code] = example
	}
}

func (s *stats) merge(o *stats) {
	for k, h := range o.latency {
		switch {
		case h == nil:
		case s.latency[k] == nil:
			s.latency[k] = h
		default:
			s.latency[k].Merge(h)
		}
	}
	for c, n := range o.errors {
		s.fail(c, n, o.examples[c])
	}
}

func summary(h *hdrhistogram.Histogram) Latency {
	return Latency{
		Count: h.TotalCount(), Mean: h.Mean(), P50: h.ValueAtQuantile(50), P95: h.ValueAtQuantile(95),
		P99: h.ValueAtQuantile(99), P999: h.ValueAtQuantile(99.9), Max: h.Max(),
	}
}

// result sums up a run. The workers have ended.
func (r *run) result(elapsed time.Duration, m moved, series []int64) *Result {
	all := newStats()
	for _, w := range r.workers {
		all.merge(&w.stats)
	}
	s := elapsed.Seconds()
	out := &Result{
		Workers: r.o.Workers, Seconds: s, Ops: m.ops, Rows: m.rows, Bytes: m.bytes,
		OpsPerSecond: float64(m.ops) / s, RowsPerSecond: float64(m.rows) / s, MBPerSecond: float64(m.bytes) / 1e6 / s,
		Series: series,
	}
	if len(all.errors) > 0 {
		out.Errors, out.Examples = all.errors, all.examples
	}
	out.Kinds = map[string]Latency{}
	total := newHistogram()
	for k, h := range all.latency {
		if h != nil {
			out.Kinds[Kind(k).String()] = summary(h)
			total.Merge(h)
		}
	}
	if len(out.Kinds) < 2 {
		out.Kinds = nil
	}
	out.Latency = summary(total)
	return out
}

// Median returns the result whose speed is in the middle, by rows per second;
// nil if there is none.
func Median(rs []*Result) *Result {
	if len(rs) == 0 {
		return nil
	}
	s := slices.SortedFunc(slices.Values(rs), func(a, b *Result) int {
		switch {
		case a.RowsPerSecond < b.RowsPerSecond:
			return -1
		case a.RowsPerSecond > b.RowsPerSecond:
			return 1
		}
		return 0
	})
	return s[len(s)/2]
}

// String is a line for logs.
func (r *Result) String() string {
	return fmt.Sprintf("%s with %d workers: %.0f rows/s, p50 %d us, p99 %d us, %d errors",
		r.Load, r.Workers, r.RowsPerSecond, r.Latency.P50, r.Latency.P99, r.Failed())
}
