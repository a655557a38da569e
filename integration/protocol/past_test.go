package protocol_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/gateway/snapshot"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
	"github.com/tabletdb/tabletdb/meta"
)

// aPast is a table with a past: two tablets at s[0], with files and memtables.
type aPast struct {
	*stage
	table   meta.Table
	service *snapshot.Service
	then    time.Time
	want    []string // what the table held then
}

// newPast writes and drops, remembers a time, and overwrites and adds.
func newPast(b *bubble) *aPast {
	b.Net = memnet.New()
	b.Options.NoCompaction = true
	p := &aPast{stage: &stage{bubble: b}}
	p.s = b.servers(3)
	l, r := b.pair(p.s[0])
	p.list = []meta.Tablet{l, r}
	var err error
	p.table, err = b.Meta.Table(b.ctx, l.Table)
	b.Must(err)
	p.service = snapshot.New(b.Meta, b.Net.Node("gateway"))
	b.set(p.s[0], l, "a", "b")
	b.set(p.s[0], r, "x")
	b.Must(p.s[0].Flush(b.ctx, l))
	b.Must(p.s[0].Flush(b.ctx, r))
	b.set(p.s[0], l, "c", "d", "e")
	b.Must(p.s[0].Drop(b.ctx, l, nil, "b", "c"))
	b.pause(time.Second) // it was flushed
	b.set(p.s[0], l, "bb")
	_, err = p.s[0].Increment(b.ctx, l, "n", "v1", "n", 5)
	if err == nil {
		b.t.Fatal("row n is not in the left tablet")
	}
	_, err = p.s[0].Increment(b.ctx, r, "n", "v1", "n", 5)
	b.Must(err)
	p.want = p.now()
	b.pause(time.Second)
	p.then = time.Now().Truncate(time.Microsecond)
	b.pause(time.Second)
	b.Must(p.s[0].Set(b.ctx, l, "c", "cf", "q", 1000, "later"))
	b.set(p.s[0], l, "f")
	b.set(p.s[0], r, "y")
	_, err = p.s[0].Increment(b.ctx, r, "n", "v1", "n", 7)
	b.Must(err)
	b.pause(time.Second)
	return p
}

// now returns what the table holds.
func (p *aPast) now() (rows []string) {
	for _, tb := range p.Tablets(p.ctx, p.table) {
		rows = append(rows, p.Server(tb.Owner).All(p.ctx, tb)...)
	}
	return rows
}

// clone makes a table as of then and checks what it holds, at s[1].
func (p *aPast) clone(name string, want []string) {
	p.t.Helper()
	made, of, err := p.service.CloneTable(p.ctx, p.table.Name, admCopy+name, p.then)
	p.Must(err)
	if of.AsOf.After(p.then) || p.then.Sub(of.AsOf) > 200*time.Millisecond {
		p.t.Errorf("table %s is as of %v, wanted of %v", name, of.AsOf, p.then)
	}
	for _, tb := range p.Tablets(p.ctx, made) {
		p.Serve(p.ctx, tb, p.s[1])
	}
	if got := p.contents(made); !slices.Equal(got, want) {
		p.t.Errorf("table %s holds %q, want %q", name, got, want)
	}
	tb := p.Tablets(p.ctx, made)[0]
	p.set(p.s[1], tb, "aa") // it goes on by itself
	p.Must(p.s[1].Compact(p.ctx, tb))
	if got := p.contents(made); len(got) != len(want)+1 {
		p.t.Errorf("table %s holds %q after a compaction", name, got)
	}
	p.check()
}

// TestPast: a table as of a time holds what the other one held then, also where
// that was overwritten since, and, once it was cut, whatever becomes of the tablets. The other one goes on.
//
// To break: in writeCut, leave upTo out.
func TestPast(t *testing.T) {
	for name, happen := range map[string]func(p *aPast){
		"nothing":    func(p *aPast) {},
		"flush":      func(p *aPast) { p.Must(p.s[0].Flush(p.ctx, p.list[0])); p.Must(p.s[0].Flush(p.ctx, p.list[1])) },
		"compaction": func(p *aPast) { p.Must(p.s[0].Compact(p.ctx, p.list[0])) },
		"move": func(p *aPast) {
			p.Move(p.ctx, p.list[0], p.s[0], p.s[2])
		},
		"death": func(p *aPast) { p.dieAndServe(p.table.ID, p.s[0], p.s[2]) },
	} {
		t.Run(name, func(t *testing.T) {
			history(t, func(b *bubble) {
				p := newPast(b)
				now := p.now()
				p.clone("1", p.want)
				happen(p)
				b.pause(time.Second)
				b.collectNow()
				p.clone("2", p.want)
				if got := p.now(); !slices.Equal(got, now) {
					t.Errorf("the table holds %q, want %q", got, now)
				}
				// In time nothing of it is left.
				for _, id := range []string{"1", "2"} {
					made, err := b.Meta.TableByName(b.ctx, admCopy+id)
					b.Must(err)
					b.dropTable(p.s[1], made)
				}
				b.pause(meta.CutLife + time.Minute)
				b.collectNow()
				if r := b.collectNow(); r.Snapshots.Objects != 0 || r.Garbage.Objects != 0 {
					t.Errorf("cuts are left: %+v", r)
				}
				p.check()
			})
		})
	}
}

// TestPastIsForgotten: after a flush, a drop of rows, which is flushed, a move, a
// fail-over, a split or a merge a tablet
// does not know what it held before; whoever asks is told since when it does,
// and finds that so.
//
// To break: in Cut, take no notice of find's ok.
func TestPastIsForgotten(t *testing.T) {
	for name, happen := range map[string]func(p *aPast){
		"flush": func(p *aPast) { p.Must(p.s[0].Flush(p.ctx, p.list[0])) },
		"move":  func(p *aPast) { p.Move(p.ctx, p.list[1], p.s[0], p.s[2]) },
		"split": func(p *aPast) { p.split(p.s[0], p.list[0], "c") }, // the halves flush at once
		"merge": func(p *aPast) { p.merge(p.s[0], p.list[0], p.list[1]) },
		"death": func(p *aPast) { p.dieAndServe(p.table.ID, p.s[0], p.s[2]) },
		"drop":  func(p *aPast) { p.Must(p.s[0].Drop(p.ctx, p.list[0], nil, "c", "e")) }, // it is flushed at once
	} {
		t.Run(name, func(t *testing.T) {
			history(t, func(b *bubble) {
				p := newPast(b)
				happen(p)
				b.pause(time.Second)
				_, _, err := p.service.CloneTable(b.ctx, p.table.Name, admCopy, p.then)
				if !errors.Is(err, base.ErrPrecondition) || !strings.Contains(err.Error(), "since ") {
					t.Fatalf("the past is known: %v", err)
				}
				_, since, _ := strings.Cut(err.Error(), "since ")
				p.then, err = time.Parse(time.RFC3339Nano, since[:len("2006-01-02T15:04:05.000Z")])
				b.Must(err)
				p.then = p.then.Add(time.Millisecond) // it was printed in milliseconds
				p.clone("", p.now())
			})
		})
	}
}
