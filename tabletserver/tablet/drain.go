package tablet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/memtable"
)

// drainPatience is how long a tablet waits for its last records to be
// acknowledged before a split or merge is put off.
const drainPatience = 2 * time.Second

// drain refuses writes from here on and returns when every record of the
// tablet is acknowledged (R7, R8); reads go on. After an error the tablet is as
// before. The caller holds change, and either undrains or has the tablet
// replaced.
func (t *Tablet) drain(ctx context.Context) error {
	t.mu.Lock() // stop and append exclude each other
	if t.State() != Serving {
		t.mu.Unlock()
		return t.errNotServing()
	}
	t.mu.stream.Close()
	batch := t.mu.batch
	t.mu.Unlock()
	if batch == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	if err := batch.Wait(ctx); err != nil {
		t.undrain()
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: the log does not take its last records", base.ErrUnavailable)
		}
		return fmt.Errorf("drain tablet %d: %w", t.id, err)
	}
	return nil
}

// undrain takes writes again. It may be called only while no transaction was
// sent that counts on the drain (R4).
func (t *Tablet) undrain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.State() == Serving {
		t.mu.stream = t.env.Log.NewStream(t.id, t.epoch, t.acknowledged)
	}
}

// errShifted: a flush or compaction whose reply was lost has landed, so that the
// files of a reshape are not those of the record any more (H6). Whatever was
// sent before is void, for the record's revision has changed; the tablets are
// undrained.
var errShifted = fmt.Errorf("%w: a change that was undecided has landed", base.ErrAborted)

// settle makes sure that the record names what the view shows: it differs where
// a flush landed whose reply was lost (R4), until the next flush. The caller
// holds change.
func (t *Tablet) settle(ctx context.Context) error {
	if t.view.Load().manifest.Flushed == t.record.Flushed {
		return nil
	}
	if err := t.flush(ctx); err != nil {
		return err
	}
	if t.view.Load().manifest.Flushed != t.record.Flushed {
		return fmt.Errorf("tablet %d: %w", t.id, errShifted)
	}
	return nil
}

// reshape commits a change of the shape of tablets that are drained, and keeps
// at it until its outcome is decided (R4): from the first attempt on there is no
// way back, but for errShifted. plan makes it of the present records of the
// tablets. ErrLost: the tablets are others' now.
func reshape(ctx context.Context, tablets []*Tablet, plan func() (meta.Reshape, error)) ([]meta.Tablet, error) {
	env := tablets[0].env
	for {
		r, err := plan()
		if err != nil {
			for _, t := range tablets {
				t.undrain()
			}
			return nil, err
		}
		done, err := env.Meta.Reshape(ctx, r)
		if err == nil {
			return done, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		aborted := errors.Is(err, base.ErrAborted)
		if !aborted {
			env.Logger.WarnContext(ctx, "shape of tablets was not changed yet", "change", r.String(), "err", err)
		}
		for _, t := range tablets {
			if _, err := t.reread(ctx); aborted && errors.Is(err, ErrLost) {
				for _, x := range tablets {
					x.stop("lost: the record is another's")
				}
				return nil, err
			}
		}
		if env.Session.State() == lockservice.SessionExpired {
			return nil, fmt.Errorf("commit %s: %w", r, base.ErrFenced)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// retire ends the life of a tablet that others of this server replace: reads
// and writes find them. Its memtables are theirs.
func (t *Tablet) retire(why string) {
	t.mu.Lock()
	if v := t.view.Load(); v != nil {
		for _, m := range append(v.frozen[:len(v.frozen):len(v.frozen)], v.mem) {
			m.counted = 0
		}
	}
	t.mu.Unlock()
	t.stop(why)
}

// successor returns a tablet that replaces others of this server, and serves.
// It takes part in no race: nobody else knows of it yet.
func successor(env *Env, rec meta.Tablet, m *manifest.Manifest, frozen []*mem, next base.Seq, lastTime int64) *Tablet {
	t := New(env, rec)
	t.loaded.Store(true)
	t.mu.next, t.mu.lastTime = next, lastTime
	t.view.Store(newView(env.Files, &mem{table: memtable.New()}, frozen, m))
	t.applied.Store(uint64(next - 1))
	t.acknowledged(next-1, 0)
	t.mu.stream = env.Log.NewStream(t.id, t.epoch, t.acknowledged)
	t.state.Store(int32(Serving))
	return t
}
