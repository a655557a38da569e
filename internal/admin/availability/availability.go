// Package availability measures which tablets are served: it asks the servers of
// all tablets to read a row of each, as a gateway would, rather than believing
// what records say.
package availability

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/status/view"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
)

// Config is what a measurement needs.
type Config struct {
	Source view.Source
	// Store tells how large tablets are that no server knows; nil: that is not
	// told.
	Store objstore.Store
	// Patience is how long one probe may take; 0 means 2 s.
	Patience time.Duration
	// Parallel is how many probes are under way; 0 means 64.
	Parallel int
	// FirstRow reads the first row of each tablet, from the bucket if need be,
	// instead of a key that mostly is not there.
	FirstRow bool
	// Table, if not "", is the full name of the only table to look at.
	Table string
	// All keeps the tablets that are served in the report as well.
	All bool
	// Progress, if not nil, is told how many of how many tablets were probed.
	// Calls do not overlap.
	Progress func(done, total int)
}

// Tablet is the outcome of one probe.
type Tablet struct {
	ID     uint64       `json:"id"`
	Table  string       `json:"table"`
	Start  output.Bytes `json:"start"`
	End    output.Bytes `json:"end"`
	Served bool         `json:"served"`
	State  string       `json:"state"` // as its record says
	// For is since when it has had this state, or, where its record says that it
	// is served and it is not, since when it was found not to be.
	For    output.Duration `json:"state_seconds"`
	Server string          `json:"server,omitempty"`
	Took   output.Duration `json:"took_seconds"`
	Bytes  output.Size     `json:"bytes"` // -1: not known
	Error  string          `json:"error,omitempty"`
	Why    []string        `json:"why,omitempty"`
}

// Sum counts tablets and what they hold.
type Sum struct {
	Table   string `json:"table,omitempty"` // "": all
	Tablets int    `json:"tablets"`
	Served  int    `json:"served"`
	// Bytes of the tablets of which they are known.
	Bytes       output.Size `json:"bytes"`
	ServedBytes output.Size `json:"served_bytes"`
	// Unknown is how many tablets there are of whose bytes nothing is known.
	Unknown int `json:"bytes_unknown_of"`
}

// Percent returns which part of the tablets is served; of none, all.
func (s Sum) Percent() float64 { return percent(float64(s.Served), float64(s.Tablets)) }

// BytesPercent returns which part of the bytes that are known is served.
func (s Sum) BytesPercent() float64 { return percent(float64(s.ServedBytes), float64(s.Bytes)) }

func percent(part, whole float64) float64 {
	if whole == 0 {
		return 100
	}
	return 100 * part / whole
}

func (s *Sum) add(t *Tablet) {
	s.Tablets++
	if t.Bytes < 0 {
		s.Unknown++
	} else {
		s.Bytes += t.Bytes
	}
	if t.Served {
		s.Served++
		s.ServedBytes += max(t.Bytes, 0)
	}
}

// Report is the outcome of a measurement.
type Report struct {
	At output.Time `json:"at"`
	// Took is how long it took.
	Took   output.Duration `json:"took_seconds"`
	Total  Sum             `json:"total"`
	Tables []Sum           `json:"tables"` // those with tablets that are not served; with All, every one
	// Slowest probe of a tablet that is served.
	Slowest output.Duration `json:"slowest_seconds"`
	// Tablets that are not served, by table and row; with All, every one.
	Tablets []Tablet `json:"tablets"`
	// Stale: the lock service has no leader; the records may be old.
	Stale bool `json:"stale,omitempty"`
}

// Measure probes every tablet once. An error means that it could not be known
// which tablets there are.
func Measure(ctx context.Context, c Config) (*Report, error) {
	if c.Patience <= 0 {
		c.Patience = 2 * time.Second
	}
	if c.Parallel <= 0 {
		c.Parallel = 64
	}
	began := time.Now()
	v := view.Gather(ctx, c.Source, nil)
	if v.Err != nil {
		return nil, fmt.Errorf("read which tablets there are: %w", v.Err)
	}
	p := newProber(c, v)
	defer p.close()
	tablets := p.all(ctx)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.sizes(ctx, tablets)
	r := &Report{At: output.Time(began), Took: output.Duration(time.Since(began)), Tables: []Sum{}, Tablets: []Tablet{}, Stale: v.Stale}
	r.sum(tablets, c.All)
	return r, nil
}

// sum counts the tablets, which are ordered by table.
func (r *Report) sum(tablets []*Tablet, all bool) {
	tables := map[string]*Sum{}
	var names []string
	for _, t := range tablets {
		s := tables[t.Table]
		if s == nil {
			s = &Sum{Table: t.Table}
			tables[t.Table] = s
			names = append(names, t.Table)
		}
		s.add(t)
		r.Total.add(t)
		if t.Served {
			r.Slowest = max(r.Slowest, t.Took)
		}
		if all || !t.Served {
			r.Tablets = append(r.Tablets, *t)
		}
	}
	slices.SortFunc(names, strings.Compare)
	for _, n := range names {
		if s := tables[n]; all || s.Served < s.Tablets {
			r.Tables = append(r.Tables, *s)
		}
	}
}

// prober is one measurement.
type prober struct {
	c     Config
	v     *view.View
	meta  *meta.Store
	dials *dials
	mu    sync.Mutex // guards done while probes run
	done  int
}

func newProber(c Config, v *view.View) *prober {
	return &prober{c: c, v: v, meta: meta.NewStore(c.Source.LockService), dials: newDials(c.Source.Network)}
}

func (p *prober) close() { p.dials.close() }

// all probes the tablets of tables that are not deleted.
func (p *prober) all(ctx context.Context) []*Tablet {
	var records []*meta.Tablet
	for i := range p.v.Tablets {
		if t := p.v.Table(p.v.Tablets[i].Table); t != nil && (p.c.Table == "" || t.Name == p.c.Table) {
			records = append(records, &p.v.Tablets[i])
		}
	}
	out := make([]*Tablet, len(records))
	var wg sync.WaitGroup
	slots := make(chan struct{}, p.c.Parallel)
	for i, t := range records {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			out[i] = p.tablet(ctx, t)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.done++
			if p.c.Progress != nil {
				p.c.Progress(p.done, len(records))
			}
		})
	}
	wg.Wait()
	return out
}

// tablet probes one tablet, and once more where its record has changed
// meanwhile: it may have moved.
func (p *prober) tablet(ctx context.Context, t *meta.Tablet) *Tablet {
	err := errNoOwner
	began := time.Now()
	if !t.Owner.IsZero() {
		err = p.probe(ctx, t)
	}
	if err != nil && !p.v.Stale {
		now, rerr := p.meta.Tablet(ctx, t.Table, t.End, t.ID)
		switch {
		case errors.Is(rerr, base.ErrNotFound):
			err = p.successors(ctx, t) // split or merged: its rows are others' now
		case rerr == nil && now.Revision != t.Revision && !now.Owner.IsZero():
			t, began = &now, time.Now()
			err = p.probe(ctx, t)
		case rerr == nil:
			t = &now
		}
	}
	return p.outcome(t, err, time.Since(began))
}

// errNoOwner: nobody can be asked.
var errNoOwner = errors.New("it has no owner")

// successors probes the tablets that cover the rows of one that is gone.
func (p *prober) successors(ctx context.Context, t *meta.Tablet) error {
	tablets, err := p.meta.Locate(ctx, t.Table, t.Start, 1, lockservice.ReadOptions{})
	if err != nil {
		return err
	}
	for i := range tablets {
		if !overlap(t, &tablets[i]) {
			continue
		}
		if tablets[i].Owner.IsZero() {
			return errNoOwner
		}
		if err := p.probe(ctx, &tablets[i]); err != nil {
			return err
		}
	}
	return nil
}

func overlap(a, b *meta.Tablet) bool {
	return (len(a.End) == 0 || string(b.Start) < string(a.End)) && (len(b.End) == 0 || string(a.Start) < string(b.End))
}

// outcome words what a probe found.
func (p *prober) outcome(t *meta.Tablet, err error, took time.Duration) *Tablet {
	r := &Tablet{
		ID: uint64(t.ID), Start: t.Start, End: t.End, Served: err == nil, State: t.State.String(),
		For: output.Duration(max(time.Since(t.Since), 0)), Took: output.Duration(took), Bytes: -1, Server: t.OwnerAddress,
	}
	if x := p.v.Table(t.Table); x != nil {
		r.Table = x.Name
	}
	if s := p.v.Owner(t.Owner); s != nil {
		r.Server = s.Name()
	}
	if l := p.v.Load(t); l != nil {
		r.Bytes = output.Size(l.FileBytes + l.MemtableBytes)
	}
	if err == nil {
		return r
	}
	r.Error, r.Why = err.Error(), p.why(t)
	if t.State == meta.Serving {
		r.For = 0
	}
	return r
}
