package fsck

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/master/gc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// checkFiles checks that the manifests of tablets and backups and the files they
// name are there.
func (c *checker) checkFiles(ctx context.Context) error {
	// Listed after the records were read: what they name was there then, unless
	// the record has changed since, which is looked at before complaining.
	sizes, manifests, err := c.listFiles(ctx)
	if err != nil {
		return err
	}
	f := &files{c: c, sizes: sizes, named: map[string]bool{}, verify: map[base.FileNumber]manifest.File{}, owner: map[base.FileNumber]holder{}}
	c.named, c.sizes = f.named, sizes
	c.expect(len(c.tablets) + len(c.others))
	err = each(ctx, c.cfg.Workers, c.tablets, func(ctx context.Context, t meta.Tablet) error {
		defer c.step()
		return f.tablet(ctx, t)
	})
	if err != nil {
		return err
	}
	err = each(ctx, c.cfg.Workers, c.others, func(ctx context.Context, n gc.Named) error {
		defer c.step()
		return f.other(ctx, n)
	})
	if err != nil {
		return err
	}
	for key := range manifests {
		if !f.named[key] {
			c.report.Unreferenced++
		}
	}
	for key := range sizes {
		if !f.named[key] {
			c.report.Unreferenced++
		}
	}
	c.report.SSTables, c.report.Manifests = len(f.verify), len(f.named)-len(f.verify)
	for _, file := range f.verify {
		c.report.Bytes += file.Size
	}
	if !c.cfg.Deep {
		return nil
	}
	return f.deep(ctx)
}

func (c *checker) listFiles(ctx context.Context) (sstables, manifests map[string]int64, err error) {
	list := func(prefix string) (map[string]int64, error) {
		sizes := map[string]int64{}
		for info, err := range c.cfg.Store.List(ctx, prefix, "") {
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", prefix, err)
			}
			sizes[info.Key] = info.Size
		}
		return sizes, nil
	}
	if sstables, err = list(base.SSTablePrefix); err == nil {
		manifests, err = list(base.ManifestPrefix)
	}
	return sstables, manifests, err
}

// files is what is known of the files; c.mu guards the maps but sizes.
type files struct {
	c      *checker
	sizes  map[string]int64
	named  map[string]bool
	verify map[base.FileNumber]manifest.File
	owner  map[base.FileNumber]holder
}

// holder is who names a file.
type holder struct {
	name   string      // for people
	tablet meta.Tablet // zero: a backup
}

// tablet checks the files of one tablet. Where something is wrong, the record
// is read again, and if it has changed, so is what it names now.
func (f *files) tablet(ctx context.Context, t meta.Tablet) error {
	const tries = 3 // of records that keep changing
	for i := 0; ; i++ {
		wrong, err := f.try(ctx, t)
		if err != nil || len(wrong) == 0 {
			return err
		}
		now, ok, err := f.c.reread(ctx, t)
		if err != nil {
			return err
		}
		if !ok {
			return nil // split, merged or dropped meanwhile
		}
		if now.Manifest == t.Manifest || i == tries {
			f.c.add(wrong...)
			return nil
		}
		t = now
	}
}

// reread returns the record of a tablet as it is now, if it is there.
func (c *checker) reread(ctx context.Context, t meta.Tablet) (meta.Tablet, bool, error) {
	kv, ok, _, err := c.cfg.LockService.Get(ctx, t.Key(), lockservice.ReadOptions{})
	if err != nil || !ok {
		return t, false, err
	}
	now, err := meta.DecodeTablet(kv)
	return now, err == nil && now.ID == t.ID, err
}

// try returns what is wrong with the files of a record.
func (f *files) try(ctx context.Context, t meta.Tablet) ([]Finding, error) {
	if t.Manifest.IsZero() {
		return nil, nil
	}
	var wrong []Finding
	complain := func(class Class, subject, format string, args ...any) {
		wrong = append(wrong, found(Problem, class, about{tablet: t, key: subject}, subject, format, args...))
	}
	key := base.ManifestObject(t.Manifest)
	m, err := manifest.Read(ctx, f.c.cfg.Store, t.Manifest)
	switch {
	case missing(err):
		complain(ManifestMissing, key, "the manifest of tablet %d is missing", t.ID)
		return wrong, nil
	case isCorrupt(err):
		complain(ManifestMissing, key, "the manifest of tablet %d: %v", t.ID, err)
		return wrong, nil
	case err != nil:
		return nil, err
	}
	if m.Version != t.ManifestVersion || m.Flushed != t.Flushed {
		complain(ManifestMissing, key, "it has version %d and sequences up to %d, the record of tablet %d says %d and %d", m.Version, m.Flushed, t.ID, t.ManifestVersion, t.Flushed)
	}
	for _, r := range m.Runs {
		f.run(ctx, t, key, r, complain)
	}
	f.keep(key, m, holder{tabletName(t.ID), t})
	return wrong, nil
}

// keep notes that a manifest and its files are named.
func (f *files) keep(key string, m *manifest.Manifest, by holder) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	f.named[key] = true
	for _, r := range m.Runs {
		for _, file := range r {
			f.named[base.SSTableObject(file.Number)] = true
			f.verify[file.Number], f.owner[file.Number] = file, by
		}
	}
}

// other checks the files of a manifest that not a tablet but a backup or a bulk
// load names. Where something is wrong the record is read again: it may be gone by
// now.
func (f *files) other(ctx context.Context, n gc.Named) error {
	key := base.ManifestObject(n.Manifest)
	m, err := manifest.Read(ctx, f.c.cfg.Store, n.Manifest)
	var wrong []Finding
	class := BackupIncomplete
	if n.By == gc.ByLoad {
		class = BulkDamaged
	}
	complain := func(_ Class, subject, format string, args ...any) {
		wrong = append(wrong, found(Problem, class, about{key: n.Key}, subject, format, args...))
	}
	switch {
	case missing(err):
		complain(class, key, "the manifest is missing; %s needs it", n.Holder)
	case isCorrupt(err):
		complain(class, key, "%s needs it: %v", n.Holder, err)
	case err != nil:
		return err
	default:
		for _, r := range m.Runs {
			for _, file := range r {
				f.present(ctx, file, n.Holder, complain)
			}
		}
		f.keep(key, m, holder{name: n.Holder})
	}
	if len(wrong) == 0 {
		return nil
	}
	_, ok, _, err := f.c.cfg.LockService.Get(ctx, n.Key, lockservice.ReadOptions{})
	if err != nil || !ok {
		return err
	}
	f.c.add(wrong...)
	return nil
}

// complaint files what is wrong with an object.
type complaint func(class Class, subject, format string, args ...any)

// present checks that a file is there as a manifest says.
func (f *files) present(ctx context.Context, file manifest.File, holder string, complain complaint) {
	key := base.SSTableObject(file.Number)
	switch size, ok := f.sizes[key]; {
	case !ok && !f.exists(ctx, file):
		complain(SSTableMissing, key, "the SSTable is missing; %s needs it", holder)
	case ok && size != file.Size:
		complain(SSTableMissing, key, "the SSTable has %d bytes, the manifest of %s says %d", size, holder, file.Size)
	}
}

// run checks one run: the files are there, in order and apart.
func (f *files) run(ctx context.Context, t meta.Tablet, name string, r manifest.Run, complain complaint) {
	var last []byte
	cut := false // last is the upper bound of the reference before, exclusive
	for _, file := range r {
		f.present(ctx, file, tabletName(t.ID), complain)
		if bytes.Compare(file.Smallest, file.Largest) > 0 || file.TailOffset < 0 || file.TailOffset >= file.Size {
			complain(ManifestWrong, name, "its entry for SSTable %v contradicts itself", file.Number)
		}
		first, end := file.Span()
		if c := bytes.Compare(first, last); last != nil && (c < 0 || c == 0 && !cut) {
			complain(ManifestWrong, name, "SSTable %v overlaps the one before it in its run", file.Number)
		}
		last, cut = end, len(file.Upper) > 0
		if row, err := base.DecodeRow(first); err != nil || bytes.Compare(row, t.Start) < 0 {
			complain(ManifestWrong, name, "it shows rows of SSTable %v before %q, where tablet %d begins", file.Number, t.Start, t.ID)
		}
		if row, err := base.DecodeRow(end); err != nil || len(t.End) > 0 && (bytes.Compare(row, t.End) > 0 || bytes.Equal(row, t.End) && !cut) {
			complain(ManifestWrong, name, "it shows rows of SSTable %v at or after %q, where tablet %d ends", file.Number, t.End, t.ID)
		}
	}
}

// exists asks for a file that the listing does not have: it may be younger.
func (f *files) exists(ctx context.Context, file manifest.File) bool {
	info, err := f.c.cfg.Store.Stat(ctx, base.SSTableObject(file.Number))
	return err == nil && info.Size == file.Size
}

// deep verifies each file from end to end.
func (f *files) deep(ctx context.Context) error {
	list := make([]manifest.File, 0, len(f.verify))
	for _, file := range f.verify {
		list = append(list, file)
	}
	f.c.expect(len(list))
	return each(ctx, f.c.cfg.Workers, list, func(ctx context.Context, file manifest.File) error {
		defer f.c.step()
		err := verify(ctx, f.c.cfg.Store, file)
		switch {
		case isCorrupt(err):
			by, key := f.owner[file.Number], base.SSTableObject(file.Number)
			class := SSTableMissing
			if by.tablet.ID == 0 {
				class = BackupIncomplete
			}
			f.c.problem(class, about{tablet: by.tablet, key: key}, key, "%s needs it: %v", by.name, err)
		case missing(err): // collected since, or complained about already
		case err != nil:
			return err
		}
		return nil
	})
}

func verify(ctx context.Context, store objstore.Store, f manifest.File) error {
	src := sstable.NewObjectSource(store, base.SSTableObject(f.Number))
	r, err := sstable.Open(ctx, src, sstable.Meta{Size: f.Size, TailOffset: f.TailOffset}, sstable.ReaderOptions{File: f.Number})
	if err != nil {
		return err
	}
	defer r.Close()
	f = f.Stored()
	if p := r.Properties(); p.Entries != f.Entries || p.MinSeq != f.MinSeq || p.MaxSeq != f.MaxSeq ||
		!bytes.Equal(p.MinKey, f.Smallest) || !bytes.Equal(p.MaxKey, f.Largest) {
		return fmt.Errorf("%w: the manifest says %d entries with sequences %d to %d, the file %d with %d to %d, or other keys", base.ErrCorrupt,
			f.Entries, f.MinSeq, f.MaxSeq, p.Entries, p.MinSeq, p.MaxSeq)
	}
	for _, c := range r.Properties().Families {
		if f.Families != nil && !slices.Contains(f.Families, c.Family) { // reads would leave it out
			return fmt.Errorf("%w: the manifest says that it matters to families %v, the file has cells of family %d", base.ErrCorrupt, f.Families, c.Family)
		}
	}
	return r.Verify(ctx)
}
