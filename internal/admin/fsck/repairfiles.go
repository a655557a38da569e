package fsck

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// candidate is a manifest that lies in the bucket.
type candidate struct {
	number base.FileNumber
	m      *manifest.Manifest
}

// newer orders candidates of one tablet: all records up to Flushed are in its
// files, whether it was ever committed or not (R3), so that more is better.
func newer(a, b candidate) int {
	return cmp.Or(cmp.Compare(a.m.Flushed, b.m.Flushed), cmp.Compare(a.m.Version, b.m.Version), a.number.Creator.Compare(b.number.Creator))
}

// manifestsOf returns what manifests of a tablet the bucket has. All are read at
// the first call.
func (p *planner) manifestsOf(ctx context.Context, id base.TabletID) ([]candidate, error) {
	if p.older == nil {
		var numbers []base.FileNumber
		for info, err := range p.cfg.Store.List(ctx, base.ManifestPrefix, "") {
			if err != nil {
				return nil, fmt.Errorf("list manifests: %w", err)
			}
			if n, err := base.ParseFileNumber(info.Key[strings.LastIndexByte(info.Key, '/')+1:]); err == nil {
				numbers = append(numbers, n)
			}
		}
		p.older = map[base.TabletID][]candidate{}
		var mu sync.Mutex
		err := each(ctx, p.cfg.Workers, numbers, func(ctx context.Context, n base.FileNumber) error {
			m, err := manifest.Read(ctx, p.cfg.Store, n)
			if missing(err) || isCorrupt(err) {
				return nil
			}
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				p.older[m.Tablet] = append(p.older[m.Tablet], candidate{n, m})
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return p.older[id], nil
}

// rebuild gives a tablet a manifest whose files are there.
func (p *planner) rebuild(ctx context.Context, f Finding) error {
	t := f.about.tablet
	if p.rebuilt[t.ID] {
		return nil // one step for all that it lacks
	}
	p.rebuilt[t.ID] = true
	f.Subject = tabletName(t.ID)
	bad, lost := map[string]bool{}, false
	for _, x := range p.report.Findings {
		if x.about.tablet.ID == t.ID {
			lost = lost || x.Class == ManifestMissing
			bad[x.about.key] = bad[x.about.key] || x.Class == SSTableMissing
		}
	}
	if lost && t.State == meta.Serving && p.sessions[t.Owner] {
		return p.rewrite(ctx, f, t, bad)
	}
	from, err := p.newest(ctx, t, lost)
	if err != nil {
		return err
	}
	n, dropped, unnamed, err := p.usable(ctx, from, bad)
	if err != nil {
		return err
	}
	needs, do := SSTables, fmt.Sprintf("go on without %d of its SSTables", dropped)
	loses := fmt.Sprintf("what stood in %d SSTables; what that hid in older ones is seen again", dropped)
	if lost {
		needs = Manifests
		do, loses = p.wordLost(t, from, dropped)
	}
	p.losing(f, needs, do, loses, func(ctx context.Context) error { return p.give(ctx, t, n, unnamed) })
	return nil
}

// wordLost says what it means to go back to another manifest.
func (p *planner) wordLost(t meta.Tablet, from candidate, dropped int) (do, loses string) {
	if from.number.IsZero() {
		return "begin anew, without files: no manifest of it is left", fmt.Sprintf("all that was written up to sequence %d but for what logs still hold", t.Flushed)
	}
	do = fmt.Sprintf("take manifest %v (version %d, sequences up to %d) for %v (version %d, up to %d)",
		from.number, from.m.Version, from.m.Flushed, t.Manifest, t.ManifestVersion, t.Flushed)
	loses = "nothing but what compactions had removed"
	if from.m.Flushed < t.Flushed {
		loses = fmt.Sprintf("writes with sequences from %d to %d, but for what logs still hold", from.m.Flushed+1, t.Flushed)
	}
	if dropped > 0 {
		do += fmt.Sprintf(", without %d SSTables", dropped)
		loses += fmt.Sprintf("; what stood in %d SSTables that are not there, or damaged", dropped)
	}
	return do, loses
}

// rewrite has the live owner of a tablet write what it has in memory; where some
// of the files are gone as well, it is written without them.
func (p *planner) rewrite(ctx context.Context, f Finding, t meta.Tablet, bad map[string]bool) error {
	if p.rc.Owners == nil {
		p.byHand(f, fmt.Sprintf("tabletadm compact --tablet %d: its owner writes it anew", t.ID))
		return nil
	}
	if m, err := p.rc.Owners.Manifest(ctx, t); err == nil {
		n, dropped, unnamed, err := p.usable(ctx, candidate{t.Manifest, m}, bad)
		if err != nil {
			return err
		}
		if dropped > 0 {
			p.losing(f, SSTables, fmt.Sprintf("write anew what its owner has in memory, without %d of its SSTables", dropped),
				fmt.Sprintf("what stood in %d SSTables; what that hid in older ones is seen again", dropped),
				func(ctx context.Context) error { return p.give(ctx, t, n, unnamed) })
			return nil
		}
	}
	p.step(f, fmt.Sprintf("compact it: its owner at %s has the list of its files in memory and writes it anew", t.OwnerAddress), func(ctx context.Context) error {
		if err := p.rc.Owners.Compact(ctx, t); err != nil {
			return err
		}
		now, err := p.meta.Tablet(ctx, t.Table, t.End, t.ID)
		if err == nil && now.Manifest == t.Manifest {
			err = fmt.Errorf("%w: tablet %d has no other manifest after a compaction; restart the server %s and repair again", base.ErrPrecondition, t.ID, t.OwnerAddress)
		}
		return err
	})
	return nil
}

// newest returns the manifest to go on from: the present one, or if that is lost
// the newest in the bucket; with number zero there is none.
func (p *planner) newest(ctx context.Context, t meta.Tablet, lost bool) (candidate, error) {
	if !lost {
		m, err := manifest.Read(ctx, p.cfg.Store, t.Manifest)
		return candidate{t.Manifest, m}, err
	}
	list, err := p.manifestsOf(ctx, t.ID)
	if err != nil || len(list) == 0 {
		return candidate{m: &manifest.Manifest{Tablet: t.ID}}, err
	}
	return slices.MaxFunc(list, newer), nil
}

// usable returns a copy of a manifest without the files that are not there or
// known to be bad, and which of its files no record names at present.
func (p *planner) usable(ctx context.Context, c candidate, bad map[string]bool) (m manifest.Manifest, dropped int, unnamed map[base.FileNumber]bool, err error) {
	m, unnamed = *c.m, map[base.FileNumber]bool{}
	m.Runs = nil
	for _, run := range c.m.Runs {
		var kept manifest.Run
		for _, f := range run {
			key := base.SSTableObject(f.Number)
			size, ok := p.sizes[key]
			gone := !ok || size != f.Size || bad[key]
			if !gone && !p.named[key] { // nobody has looked into it
				unnamed[f.Number] = true
				if err := verify(ctx, p.cfg.Store, f); isCorrupt(err) || missing(err) {
					gone = true
				} else if err != nil {
					return m, 0, nil, err
				}
			}
			if gone {
				dropped++
				continue
			}
			kept = append(kept, f)
		}
		if len(kept) > 0 {
			m.Runs = append(m.Runs, kept)
		}
	}
	return m, dropped, unnamed, nil
}

// give writes a manifest for a tablet and makes it the tablet's. Files that
// nothing named are written again: a collection that has decided on them already may
// still delete them (G2), but never what a session that is alive makes (R12).
func (p *planner) give(ctx context.Context, t meta.Tablet, m manifest.Manifest, unnamed map[base.FileNumber]bool) error {
	self, err := p.self(ctx)
	if err != nil {
		return err
	}
	draw := func() base.FileNumber {
		p.files++
		return base.FileNumber{Creator: self, Number: p.files}
	}
	copies := map[base.FileNumber]manifest.File{}
	for _, run := range m.Runs {
		for i, f := range run {
			if !unnamed[f.Number] {
				continue
			}
			c, ok := copies[f.Number] // two references may be to one file
			if !ok {
				if c, err = p.rewriteFile(ctx, f, draw()); err != nil {
					return err
				}
				copies[f.Number] = c
			}
			run[i].Number, run[i].Size, run[i].TailOffset = c.Number, c.Size, c.TailOffset
		}
	}
	m.Tablet, m.Epoch, m.Version = t.ID, t.Epoch, max(m.Version, t.ManifestVersion)+1
	b, err := m.Encode()
	if err != nil {
		return err
	}
	number := draw()
	if err := p.cfg.Store.PutIfAbsent(ctx, base.ManifestObject(number), b); err != nil {
		return fmt.Errorf("write manifest %v: %w", number, err)
	}
	return p.mend(ctx, t, func(_ context.Context, n meta.Tablet) (meta.Tablet, []base.Incarnation, error) {
		n.NextSeq = max(n.NextSeq, t.Flushed+1, m.Flushed+1)
		n.Manifest, n.ManifestVersion, n.Flushed = number, m.Version, m.Flushed
		n.Why = fmt.Sprintf("repaired: manifest %v was made for %v", number, t.Manifest)
		return n, []base.Incarnation{self}, nil
	})
}

// rewriteFile writes what a file holds once more, under another number, and
// returns the reference with that.
func (p *planner) rewriteFile(ctx context.Context, f manifest.File, to base.FileNumber) (manifest.File, error) {
	src := sstable.NewObjectSource(p.cfg.Store, base.SSTableObject(f.Number))
	r, err := sstable.Open(ctx, src, sstable.Meta{Size: f.Size, TailOffset: f.TailOffset}, sstable.ReaderOptions{File: f.Number})
	if err != nil {
		return f, err
	}
	defer r.Close()
	props := r.Properties()
	w := sstable.NewWriter(sstable.WriterOptions{File: to, Compression: props.Compression, Group: props.Group, SizeHint: int(f.Size)})
	it := r.NewIter(ctx, sstable.IterOptions{Readahead: sstable.DefaultReadahead, Eager: true})
	defer it.Close() // its error is told by Err
	for ok := it.SeekGE(nil); ok; ok = it.Next() {
		if err := w.Add(it.Key(), it.Value()); err != nil {
			return f, err
		}
	}
	if err := it.Err(); err != nil {
		return f, err
	}
	t, err := w.Finish()
	if err == nil {
		err = p.cfg.Store.PutIfAbsent(ctx, base.SSTableObject(to), t.Data)
	}
	if err != nil {
		return f, fmt.Errorf("write SSTable %v again: %w", f.Number, err)
	}
	f.Number, f.Size, f.TailOffset = to, t.Meta.Size, t.Meta.TailOffset
	return f, nil
}
