package heatmap

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Kind says what a request does.
type Kind uint8

const (
	Read Kind = iota
	Write
	kinds = 2
)

// Options qualify a Recorder; zero values mean the defaults.
type Options struct {
	// Slot is the time that is counted together; 1 minute.
	Slot time.Duration
	// Keep is how many slots are kept; 240.
	Keep int
	// Buckets is into how many ranges of rows a slot is cut at most; 256. A
	// bucket takes about 100 bytes, so that all slots take about 6 MiB.
	Buckets int
	// SampleEvery: the row of one request of so many is remembered; 16, a power
	// of two.
	SampleEvery int
}

// EnsureDefaults fills in the defaults.
func (o *Options) EnsureDefaults() {
	if o.Slot <= 0 {
		o.Slot = time.Minute
	}
	if o.Keep <= 0 {
		o.Keep = 240
	}
	if o.Buckets <= 0 {
		o.Buckets = 256
	}
	if o.SampleEvery <= 0 {
		o.SampleEvery = 16
	}
	for o.SampleEvery&(o.SampleEvery-1) != 0 {
		o.SampleEvery++
	}
}

// Limits of what one open slot remembers.
const (
	samplesPerTablet = 64
	maxSamples       = 1 << 15 // of all tablets; beyond, tablets are not cut
	maxRow           = 64      // longer rows are remembered by their beginning
)

// Source is a tablet as a Recorder sees it. It must be comparable: a pointer.
type Source interface {
	ID() base.TabletID
	Table() base.TableID
	Start() []byte
	End() []byte // empty: no end
	// Requests returns how many requests it got ever, by kind.
	Requests() (reads, writes int64)
}

// Bucket counts the requests for the rows [Start, End) of a table, an empty End
// meaning no end. Nobody changes one.
type Bucket struct {
	Table      base.TableID
	Tablet     base.TabletID // 0: several
	Start, End []byte
	Count      [kinds]float64 // by Kind
}

// Slot is what was counted in a time. Its buckets are ordered by table and row.
type Slot struct {
	Start   time.Time
	Length  time.Duration
	Buckets []Bucket
}

// Recorder counts the requests of one server. Its methods may be called
// concurrently. A nil Recorder counts nothing.
type Recorder struct {
	opt  Options
	mask uint64
	mu   struct {
		sync.Mutex
		began   time.Time // of the open slot
		samples map[Source]*samples
		total   int // samples remembered
		last    map[Source][kinds]int64
		slots   []Slot // oldest first
	}
}

// samples are the rows of requests for one tablet in the open slot: each that
// was looked at with the same chance.
type samples struct {
	seen int
	list []sample
}

type sample struct {
	row  []byte
	kind Kind
}

// NewRecorder returns a Recorder whose first slot begins now.
func NewRecorder(o Options, now time.Time) *Recorder {
	o.EnsureDefaults()
	r := &Recorder{opt: o, mask: uint64(o.SampleEvery - 1)}
	r.mu.began = now
	r.mu.samples = map[Source]*samples{}
	r.mu.last = map[Source][kinds]int64{}
	return r
}

// SlotLength returns how long slots are.
func (r *Recorder) SlotLength() time.Duration { return r.opt.Slot }

// Note takes note of a request. It keeps a copy of row at most. One call of
// SampleEvery takes a lock, and returns true; the others cost a few nanoseconds
// and share nothing.
func (r *Recorder) Note(t Source, k Kind, row []byte) bool {
	if r == nil || rand.Uint64()&r.mask != 0 {
		return false
	}
	r.remember(t, k, row)
	return true
}

func (r *Recorder) remember(t Source, k Kind, row []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.mu.samples[t]
	if s == nil {
		if r.mu.total >= maxSamples {
			return
		}
		s = &samples{}
		r.mu.samples[t] = s
	}
	s.seen++
	row = row[:min(len(row), maxRow)]
	if len(s.list) < samplesPerTablet {
		s.list = append(s.list, sample{append([]byte(nil), row...), k})
		r.mu.total++
		return
	}
	if i := rand.IntN(s.seen); i < len(s.list) {
		s.list[i] = sample{append(s.list[i].row[:0], row...), k}
	}
}

// Roll closes the open slot, in which the tablets in now were served, and opens
// the next. Tablets that got requests and are gone need not be named.
func (r *Recorder) Roll(now time.Time, tablets []Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	slot, last := r.countLocked(now, tablets)
	if len(slot.Buckets) > 0 {
		r.mu.slots = append(r.mu.slots, slot)
		r.mu.slots = r.mu.slots[max(0, len(r.mu.slots)-r.opt.Keep):]
	}
	oldest := now.Add(-time.Duration(r.opt.Keep) * r.opt.Slot)
	for len(r.mu.slots) > 0 && r.mu.slots[0].Start.Before(oldest) {
		r.mu.slots = r.mu.slots[1:]
	}
	r.mu.last, r.mu.began = last, now
	r.mu.samples, r.mu.total = map[Source]*samples{}, 0
}

// Slots returns the slots that ended after since, oldest first, and at last the
// open one. They are not to be changed.
func (r *Recorder) Slots(since, now time.Time, tablets []Source) []Slot {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Slot
	for _, s := range r.mu.slots {
		if s.Start.Add(s.Length).After(since) {
			out = append(out, s)
		}
	}
	if open, _ := r.countLocked(now, tablets); open.Length > 0 && len(open.Buckets) > 0 {
		out = append(out, open)
	}
	return out
}

// countLocked returns the open slot, and the counts as of now of the tablets
// that are there.
func (r *Recorder) countLocked(now time.Time, tablets []Source) (Slot, map[Source][kinds]int64) {
	slot := Slot{Start: r.mu.began, Length: now.Sub(r.mu.began)}
	last := make(map[Source][kinds]int64, len(tablets))
	var active []load
	count := func(t Source) (counts [kinds]int64) {
		counts[Read], counts[Write] = t.Requests()
		l := load{Source: t, samples: r.mu.samples[t]}
		for k, before := range r.mu.last[t] {
			l.count[k] = float64(counts[k] - before)
		}
		if l.total() > 0 {
			active = append(active, l)
		}
		return counts
	}
	for _, t := range tablets {
		last[t] = count(t)
	}
	for t := range r.mu.samples {
		if _, ok := last[t]; !ok {
			count(t)
		}
	}
	slot.Buckets = cut(active, r.opt.Buckets)
	return slot, last
}
