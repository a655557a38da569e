package tablet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/sstable/merging"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// Merge replaces two neighbours of this server by one (R9). id is its own,
// drawn for this merge alone. Both are flushed ahead; then writes stop, what
// came since is flushed too, and one transaction replaces the records. Reads go
// on until the merged tablet serves. Returns and errors are as of Split.
func Merge(ctx context.Context, left, right *Tablet, id base.TabletID, why string) (*Tablet, error) {
	both := []*Tablet{left, right}
	order := slices.Clone(both) // the same for all, whoever merges what
	slices.SortFunc(order, func(a, b *Tablet) int { return int(int64(a.id) - int64(b.id)) })
	for i, t := range order {
		if err := t.lockChange(ctx); err != nil {
			if i > 0 {
				order[0].unlockChange()
			}
			return nil, err
		}
	}
	defer left.unlockChange()
	defer right.unlockChange()
	began := time.Now()
	for _, t := range both {
		if err := t.flush(ctx); err != nil {
			return nil, err
		}
		if err := t.settle(ctx); err != nil {
			return nil, err
		}
	}
	if err := left.awaitSafe(ctx); err != nil { // nothing commits in jeopardy (R21)
		return nil, err
	}
	m := merger{left: left, right: right, id: id, why: why, before: [2]meta.Tablet{left.record, right.record}}
	if err := m.common(ctx); err != nil {
		return nil, err
	}
	paused := time.Now()
	if err := m.drain(ctx); err != nil {
		return nil, err
	}
	if err := m.write(ctx); err != nil {
		left.undrain()
		right.undrain()
		left.env.Files.Decided(m.numbers...)
		return nil, fmt.Errorf("merge tablets %d and %d: %w", left.id, right.id, err)
	}
	done, err := reshape(ctx, both, m.plan)
	if err != nil {
		if errors.Is(err, ErrLost) || errors.Is(err, errShifted) {
			left.env.Files.Decided(m.numbers...)
		}
		return nil, fmt.Errorf("merge tablets %d and %d: %w", left.id, right.id, err)
	}
	merged := successor(left.env, done[0], &m.manifest, nil, m.last+1, m.manifest.LastTimestamp)
	for _, t := range both {
		t.dropMemory() // it is in files
		t.retire("merged")
	}
	left.env.Files.Decided(m.numbers...)
	merged.event("merged of tablets %d and %d in %v, %v of it without writes: %s", left.id, right.id,
		time.Since(began).Round(time.Millisecond), time.Since(paused).Round(time.Millisecond), why)
	left.env.WantCompact(merged)
	return merged, nil
}

// merger is one merge.
type merger struct {
	left, right *Tablet
	id          base.TabletID
	why         string
	before      [2]meta.Tablet // the records that the manifest was made of
	manifest    manifest.Manifest
	number      base.FileNumber   // of the manifest
	numbers     []base.FileNumber // all that were drawn
	last        base.Seq
	loads       []base.LoadID // that both have adopted
}

// common sees to it that both have adopted the same bulk loads. It stays so: an
// adoption would need one of the locks that the caller holds.
func (m *merger) common(ctx context.Context) error {
	if len(m.left.record.Loads) == 0 && len(m.right.record.Loads) == 0 {
		return nil
	}
	pending, err := m.left.env.Meta.BulkLoads(ctx, m.left.table)
	if err != nil {
		return err
	}
	m.loads, err = meta.CommonLoads(m.left.record, m.right.record, pending)
	return err
}

// drain drains both tablets, or none.
func (m *merger) drain(ctx context.Context) error {
	if err := m.left.drain(ctx); err != nil {
		return err
	}
	if err := m.right.drain(ctx); err != nil {
		m.left.undrain()
		return err
	}
	return nil
}

// write writes what is left in the memtables of the drained tablets, and the
// manifest.
func (m *merger) write(ctx context.Context) error {
	var runs [2][]manifest.Run
	for i, t := range []*Tablet{m.left, m.right} {
		t.mu.Lock()
		t.freezeLocked()
		v := t.view.Load()
		last := t.mu.next - 1
		m.last = max(m.last, last, t.record.Flushed)
		m.manifest.LastTimestamp = max(m.manifest.LastTimestamp, t.mu.lastTime)
		t.mu.Unlock()
		runs[i] = v.manifest.Runs
		drops := slices.Clone(v.manifest.Drops)
		for _, f := range v.frozen {
			drops = append(drops, f.drops...)
		}
		m.manifest.Drops = append(m.manifest.Drops, manifest.ClipDrops(drops, t.start, t.end)...)
		if len(v.frozen) == 0 {
			continue
		}
		inputs := make([]base.Iterator, len(v.frozen))
		var size int64
		for j, f := range v.frozen {
			inputs[j] = over(t.iterate(f), spansOver(v.drops, f.last, base.MaxSeq)) // all is acknowledged
			size += f.size()
		}
		out, err := t.write(ctx, merging.New(inputs...), v.manifest.Runs, size)
		if err != nil {
			return err
		}
		settled(out.runs, v.drops, last)
		m.numbers = append(m.numbers, out.numbers...)
		runs[i] = slices.Insert(slices.Clone(runs[i]), 0, out.runs...)
	}
	env := m.left.env
	m.number = env.Files.Draw()
	m.numbers = append(m.numbers, m.number)
	x := &m.manifest
	x.Tablet, x.Epoch, x.Flushed = m.id, max(m.left.epoch, m.right.epoch)+1, m.last
	x.Version = max(m.left.record.ManifestVersion, m.right.record.ManifestVersion) + 1
	sch, err := m.left.anySchema(ctx)
	if err != nil {
		return err
	}
	x.Runs = manifest.Join(runs[0], runs[1], func(l, r manifest.Run) bool { return slices.Equal(groupsOf(sch, l), groupsOf(sch, r)) })
	data, err := x.Encode()
	if err != nil {
		return err
	}
	return m.left.create(ctx, base.ManifestObject(m.number), data)
}

func (m *merger) plan() (meta.Reshape, error) {
	for i, t := range []*Tablet{m.left, m.right} {
		if t.record.OwnEntry() < 0 || t.record.Manifest != m.before[i].Manifest {
			return meta.Reshape{}, fmt.Errorf("merge tablet %d: %w", t.id, errShifted)
		}
	}
	return meta.Merge(m.left.record, m.right.record, meta.Merging{
		ID: m.id, Manifest: m.number, ManifestVersion: m.manifest.Version, Last: m.last,
		Begin: m.left.env.Log.NextPosition(), Loads: m.loads, Why: m.why,
	}, time.Now())
}

// dropMemory gives the memory of all memtables back to the budget.
func (t *Tablet) dropMemory() {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.view.Load()
	for _, m := range append(v.frozen[:len(v.frozen):len(v.frozen)], v.mem) {
		t.env.Budget.add(-m.counted)
		m.counted = 0
	}
}
