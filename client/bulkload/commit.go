package bulkload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// Summary is what a Commit has done.
type Summary struct {
	// ID names the load; 0: there was nothing to load.
	ID    base.LoadID
	Cells uint64 // that were loaded
	Rows  uint64
	// Repeated is how many cells were added again, or were folded into others.
	Repeated uint64
	Files    int
	Bytes    int64 // of the files
	Spilled  int64 // bytes written to local files
	// Upload is the time of sorting, writing and uploading, Adopt that from the
	// decision to the adoption by the last tablet.
	Upload, Adopt time.Duration
}

// Commit loads what was added, all or nothing, and returns when every tablet has
// adopted it. An error that wraps ErrUnknownOutcome means that it may have been
// decided, ErrPending that it was; after any other nothing is loaded, now or
// later. Where ErrPending comes the Summary is that of the load. The Loader can
// only be closed afterwards.
func (l *Loader) Commit(ctx context.Context) (Summary, error) {
	l.mu.Lock()
	if l.mu.done {
		l.mu.Unlock()
		return Summary{}, errors.New("the load was committed before, or closed")
	}
	l.mu.done = true
	l.mu.Unlock()
	if l.mu.added == 0 {
		return Summary{}, nil
	}
	began := time.Now()
	s, u, number, err := l.upload(ctx)
	s.Upload = time.Since(began)
	if err != nil {
		return s, fmt.Errorf("bulk load into %s: %w", l.cfg.Table, err)
	}
	began = time.Now()
	b, err := l.decide(ctx, meta.BulkLoad{Manifest: number, Files: uint64(s.Files), Cells: s.Cells, Bytes: uint64(s.Bytes), Decided: began})
	if err != nil {
		return s, fmt.Errorf("bulk load into %s: %w", l.cfg.Table, err)
	}
	s.ID = b.ID
	l.cfg.Logger.InfoContext(ctx, "bulk load is decided", "load", uint64(b.ID), "table", uint64(b.Table), "files", s.Files, "bytes", s.Bytes)
	p := u.mu.progress
	p.Decided = true
	l.tell(p)
	err = l.await(ctx, b)
	s.Adopt = time.Since(began)
	return s, err
}

// upload writes all files, and their manifest.
func (l *Loader) upload(ctx context.Context) (s Summary, u *uploader, number base.FileNumber, err error) {
	it, err := l.mu.sorter.Sort(ctx)
	if err != nil {
		return s, nil, number, err
	}
	// The session keeps what it makes from being collected (R12).
	if l.session, err = l.ls.OpenSession(ctx, "bulk load into "+l.cfg.Table, l.cfg.Options.SessionTTL); err != nil {
		return s, nil, number, err
	}
	u = l.newUploader(l.session.ID())
	r := newReduce(it, l.schema)
	runs, err := u.writeAll(ctx, r)
	if err != nil {
		return s, u, number, err
	}
	s.Repeated, s.Spilled = r.dropped, l.mu.sorter.SpilledBytes()
	for _, f := range slices.Concat(runs...) {
		s.Files++
		s.Cells += f.Entries
		s.Bytes += f.Size
	}
	s.Rows = r.rows
	m := manifest.Manifest{Version: 1, Runs: runs}
	data, err := m.Encode()
	if err != nil {
		return s, u, number, err
	}
	number = u.draw()
	return s, u, number, u.put(ctx, base.ManifestObject(number), data)
}

// decide commits the load, against a schema that still has the families of its
// cells.
func (l *Loader) decide(ctx context.Context, b meta.BulkLoad) (meta.BulkLoad, error) {
	for {
		t, err := l.meta.Table(ctx, l.schema.Table)
		if err != nil {
			return b, err
		}
		if err := l.stillFits(t); err != nil {
			return b, err
		}
		done, err := l.meta.DecideLoad(ctx, t, b, l.session.ID())
		switch {
		case err == nil:
			return done, nil
		case errors.Is(err, base.ErrUndecided):
			return b, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
		case !errors.Is(err, base.ErrAborted):
			return b, err
		}
		// The schema was changed meanwhile, or the session has ended.
		if err := l.sessionAlive(ctx); err != nil {
			return b, err
		}
	}
}

// stillFits refuses a load whose table, or a family of it, is gone.
func (l *Loader) stillFits(t meta.Table) error {
	if t.Record.Deleted {
		return fmt.Errorf("table %s was deleted: %w", l.cfg.Table, ErrNotFound)
	}
	ids := map[base.FamilyID]bool{}
	for _, f := range t.Record.Families {
		ids[base.FamilyID(f.Id)] = true
	}
	for name, id := range l.mu.used {
		if !ids[id] {
			return fmt.Errorf("%w: family %q was deleted", ErrFamilyNotFound, name)
		}
	}
	return nil
}

func (l *Loader) sessionAlive(ctx context.Context) error {
	sessions, _, err := l.ls.Sessions(ctx)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		if s.ID == l.session.ID() && s.State == "alive" {
			return nil
		}
	}
	return fmt.Errorf("%w: the session of the loader has ended, and with it the claim to what it uploaded", ErrUnavailable)
}

const (
	adoptPause    = 20 * time.Millisecond
	adoptPauseMax = 500 * time.Millisecond
)

// await returns when the load is adopted by all tablets.
func (l *Loader) await(ctx context.Context, b meta.BulkLoad) error {
	for pause := adoptPause; ; pause = min(2*pause, adoptPauseMax) {
		_, err := l.meta.BulkLoad(ctx, b.Table, b.ID)
		if errors.Is(err, base.ErrNotFound) {
			return l.tableLives(ctx, nil)
		}
		if err == nil && pause == adoptPauseMax {
			if err := l.tableLives(ctx, ErrPending); err != nil {
				return err
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("bulk load %d into %s: %w: %w", b.ID, l.cfg.Table, ErrPending, errors.Join(ctx.Err(), err))
		}
	}
}

// tableLives returns an error where the table was deleted, by which a load ends,
// or, with pending, waits for the table to come back.
func (l *Loader) tableLives(ctx context.Context, pending error) error {
	t, err := l.meta.Table(ctx, l.schema.Table)
	switch {
	case errors.Is(err, base.ErrNotFound), err == nil && t.Record.Deleted:
		return fmt.Errorf("table %s was deleted after the load was decided: %w", l.cfg.Table, errors.Join(ErrNotFound, pending))
	case pending == nil && err != nil:
		return fmt.Errorf("the load was adopted by all tablets, unless the table is gone: %w", err)
	}
	return nil
}
