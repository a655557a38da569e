package tablet

import (
	"cmp"
	"context"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore/limit"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// Files of locality groups that are to be kept in memory are loaded as a whole
// soon after they are in a view, first come, first served, as far as their budget
// goes. What does not fit is read as any other file. A file that nobody wants any
// more is let go before others are loaded.

// InMemory is how much of a tablet is to be kept in memory, and is.
type InMemory struct {
	Files, Kept int   // files that are to be kept, and that are
	Bytes       int64 // stored bytes of the first, and
	KeptBytes   int64 // of the second
	// Err says why some could not be read; "": what is not kept did not fit.
	Err string
}

// resident is what Files keep in memory; guarded by Files.mu.
type resident struct {
	limit, used int64
	handles     map[*handle]struct{}
}

// LimitInMemory sets how many bytes of blocks, filters and indexes may be kept in
// memory. It is called before anything is.
func (f *Files) LimitInMemory(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.resident.limit = bytes
}

// InMemoryStats returns how many files are kept in memory, what they take, and
// what they may take.
func (f *Files) InMemoryStats() (files int, bytes, limit int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := &f.mu.resident
	return len(m.handles), m.used, m.limit
}

// wanted is the files of one tablet's view that are to be kept in memory.
type wanted struct {
	t     *Tablet
	files []*file
}

// KeepInMemory brings what is kept in memory of the tablets, which are all of a
// server, to what their schemas ask for, as far as it fits and can be read; the
// tablets tell what came of it (Tablet.InMemory). One runs at a time.
func KeepInMemory(ctx context.Context, f *Files, tablets []*Tablet) {
	slices.SortFunc(tablets, func(a, b *Tablet) int { return cmp.Compare(a.id, b.id) })
	var list []wanted
	for _, t := range tablets {
		v, _, err := t.acquireView(false)
		if err != nil {
			t.inMemory.Store(nil)
			continue
		}
		defer v.release()
		if files := t.toKeep(ctx, v); len(files) > 0 {
			list = append(list, wanted{t, files})
		} else {
			t.inMemory.Store(nil)
		}
	}
	f.unloadOthers(list)
	for _, w := range list {
		w.t.loadAll(ctx, f, w.files)
	}
}

// toKeep returns the files of v that are of groups to be kept in memory. One that
// was written when the groups were others counts if all of its families do.
func (t *Tablet) toKeep(ctx context.Context, v *view) []*file {
	sch, err := t.anySchema(ctx)
	if err != nil || !slices.ContainsFunc(sch.Groups, func(g schema.Group) bool { return g.InMemory }) {
		return nil
	}
	var files []*file
	for _, run := range v.runs {
		for _, x := range run {
			if len(x.Families) > 0 && !slices.ContainsFunc(x.Families, func(id base.FamilyID) bool {
				g := sch.GroupOf(id)
				return g >= 0 && !sch.Groups[g].InMemory
			}) {
				files = append(files, x)
			}
		}
	}
	return files
}

// unloadOthers lets go of what is kept and in none of the lists.
func (f *Files) unloadOthers(list []wanted) {
	keep := map[*handle]bool{}
	for _, w := range list {
		for _, x := range w.files {
			keep[x.handle] = true
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for h := range f.mu.resident.handles {
		if !keep[h] {
			f.mu.resident.drop(h)
			if r := h.reader.Load(); r != nil {
				r.Unload()
				f.mu.metadata.add(h, r.MetadataBytes())
			}
		}
	}
}

// drop takes h out, if it is in.
func (m *resident) drop(h *handle) {
	if _, ok := m.handles[h]; ok {
		delete(m.handles, h)
		m.used -= h.keptBytes
		h.keptBytes = 0
	}
}

// loadAll loads the files of a tablet that are not in memory, as far as they fit,
// and tells what came of it.
func (t *Tablet) loadAll(ctx context.Context, f *Files, files []*file) {
	now := &InMemory{Files: len(files)}
	for _, x := range files {
		now.Bytes += x.ShownBytes()
		ok, err := f.keep(ctx, x)
		if err != nil && ctx.Err() == nil {
			now.Err = err.Error()
		}
		if ok {
			now.Kept++
			now.KeptBytes += x.ShownBytes()
		}
	}
	before := t.inMemory.Swap(now)
	switch left, had := now.Files-now.Kept, before != nil && before.Kept < before.Files; {
	case ctx.Err() != nil:
	case left > 0 && !had:
		_, used, limit := f.InMemoryStats()
		t.log.WarnContext(ctx, "not all of a locality group is kept in memory", "files", now.Files, "left", left, "used", used, "limit", limit, "err", now.Err)
		t.event("%d of %d files that are to be kept in memory are not: %s", left, now.Files, now.reason())
	case left == 0 && had:
		t.event("all %d files that are to be kept in memory are", now.Files)
	}
}

func (m *InMemory) reason() string {
	if m.Err != "" {
		return m.Err
	}
	return "there is no room"
}

// InMemory returns what of the tablet is kept in memory, as of a moment ago; ok is
// false where nothing is to be.
func (t *Tablet) InMemory() (m InMemory, ok bool) {
	p := t.inMemory.Load()
	if p == nil {
		return m, false
	}
	return *p, true
}

// keep loads a file, unless it is in memory; false: it does not fit, or an error.
// The caller has a reference to the file.
func (f *Files) keep(ctx context.Context, x *file) (ok bool, err error) {
	h := x.handle
	f.mu.Lock()
	m := &f.mu.resident
	_, kept := m.handles[h]
	if h.unpacked == 0 { // more than it will take, as a rule: keys share prefixes
		h.unpacked = int64(x.RawBytes)
	}
	fits := m.used+h.unpacked <= m.limit
	f.mu.Unlock()
	if kept || !fits {
		return kept, nil
	}
	ctx = limit.WithClass(ctx, limit.Background)
	r, err := h.open(ctx)
	if err != nil {
		return false, err
	}
	total := r.MetadataBytes()
	bytes, ok, err := r.Load(ctx, func(n int64) bool {
		total += n
		return f.hasRoom(total)
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		return false, err
	}
	if !ok {
		h.unpacked = max(2*h.unpacked, bytes) // do not try again until there is more room
		return false, nil
	}
	m = &f.mu.resident
	f.mu.metadata.remove(h)
	h.reader.Store(r) // it may have been closed for lack of room
	h.keptBytes = total
	h.unpacked = total
	if m.handles == nil {
		m.handles = map[*handle]struct{}{}
	}
	m.handles[h] = struct{}{}
	m.used += total
	return true, nil
}

func (f *Files) hasRoom(bytes int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.resident.used+bytes <= f.mu.resident.limit
}
