package meta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/root"
)

// Reshape replaces tablets of one table that stand side by side by others that
// cover the same rows, in one transaction. Split and Merge make them; a Reshape
// is pure, Store.Reshape applies it.
type Reshape struct {
	Old, New []Tablet
	If       []lockservice.Compare
}

// Splitting is what the owner brings into the split of a tablet.
type Splitting struct {
	// Row is the first row of the right child.
	Row []byte
	// IDs are the children's, left and right; drawn for this split alone.
	IDs [2]base.TabletID
	// Manifests are the children's: the parent's references, clipped to their
	// rows, at version ManifestVersion and the parent's flushed sequence. They
	// are zero where the parent has none.
	Manifests       [2]base.FileNumber
	ManifestVersion uint64
	// Every record of the parent is acknowledged; those that are not flushed
	// lie in [From, To) of the own log. From >= To: there are none.
	From, To base.Position
	// Begin is the position that the next record of the log can get.
	Begin base.Position
	// NextSeq is the parent's next sequence: the counter is copied.
	NextSeq base.Seq
	// Why is for people.
	Why string
}

// Split replaces a tablet that is served by two, which the same owner serves
// (R8). Both inherit the manifest's references, the flushed sequence, the
// sequence counter and the entries of the logs, of which the own one is closed;
// each gets an entry of its own.
func Split(t Tablet, s Splitting, now time.Time) (Reshape, error) {
	own := t.OwnEntry()
	if t.State != Serving || own < 0 {
		return Reshape{}, fmt.Errorf("%w: split of tablet %d, which is %v", base.ErrNotServing, t.ID, t.State)
	}
	if bytes.Compare(s.Row, t.Start) <= 0 || len(t.End) > 0 && bytes.Compare(s.Row, t.End) >= 0 {
		return Reshape{}, fmt.Errorf("%w: tablet %d cannot be split at row %q: it covers [%q, %q)", base.ErrInvalid, t.ID, s.Row, t.Start, t.End)
	}
	if s.NextSeq <= t.Flushed || s.NextSeq < t.NextSeq || s.IDs[0] == s.IDs[1] || s.IDs[0] == 0 || s.IDs[1] == 0 {
		return Reshape{}, fmt.Errorf("%w: split of tablet %d into %v from sequence %d on; it has flushed %d", base.ErrPrecondition, t.ID, s.IDs, s.NextSeq, t.Flushed)
	}
	closed := make([]LogEntry, 0, len(t.Logs)+1)
	for i, e := range t.Logs {
		if i == own {
			if s.From >= s.To {
				continue
			}
			e.From, e.To, e.Closed = s.From, s.To, true
		}
		closed = append(closed, e)
	}
	r := Reshape{Old: []Tablet{t}, If: []lockservice.Compare{lockservice.SessionAlive(t.Owner)}}
	for i, id := range s.IDs {
		c := t.clone()
		c.ID, c.Epoch, c.State, c.Since = id, t.Epoch+1, Serving, now
		c.Logs = append(closed[:len(closed):len(closed)], LogEntry{Log: t.Owner, Tablet: id, Epoch: c.Epoch, From: s.Begin})
		c.NextSeq, c.Parents, c.Why, c.Cuts = s.NextSeq, []base.TabletID{t.ID}, s.Why, nil
		if !s.Manifests[i].IsZero() {
			c.Manifest, c.ManifestVersion = s.Manifests[i], s.ManifestVersion
		} else if !t.Manifest.IsZero() {
			return Reshape{}, fmt.Errorf("%w: child %d of tablet %d has no manifest", base.ErrPrecondition, id, t.ID)
		}
		r.New = append(r.New, c)
	}
	r.New[0].End, r.New[1].Start = s.Row, s.Row
	return r, nil
}

// Merging is what the owner brings into the merge of two tablets.
type Merging struct {
	ID base.TabletID // drawn for this merge alone
	// Manifest lists the references of both with their bounds, and files with
	// all that was in their memtables: nothing is left in any log.
	Manifest        base.FileNumber
	ManifestVersion uint64
	// Last is the last sequence of either.
	Last base.Seq
	// Begin is the position that the next record of the log can get.
	Begin base.Position
	// Loads are the bulk loads that both have adopted. Whatever else either
	// names is not pending any more (CommonLoads).
	Loads []base.LoadID
	Why   string // for people
}

// Merge replaces two neighbours that one owner serves by one, which it serves
// (R9). Both are drained: all their records are in the files of the manifest,
// so that the only entry is an empty one.
func Merge(left, right Tablet, m Merging, now time.Time) (Reshape, error) {
	for _, t := range []Tablet{left, right} {
		if t.State != Serving || t.OwnEntry() < 0 {
			return Reshape{}, fmt.Errorf("%w: merge of tablet %d, which is %v", base.ErrNotServing, t.ID, t.State)
		}
	}
	if left.Table != right.Table || len(left.End) == 0 || !bytes.Equal(left.End, right.Start) {
		return Reshape{}, fmt.Errorf("%w: tablets %d and %d are no neighbours", base.ErrInvalid, left.ID, right.ID)
	}
	if left.Owner != right.Owner {
		return Reshape{}, fmt.Errorf("%w: tablets %d and %d are served by different servers", base.ErrPrecondition, left.ID, right.ID)
	}
	version := max(left.ManifestVersion, right.ManifestVersion)
	if m.ID == 0 || m.Manifest.IsZero() || m.ManifestVersion <= version || m.Last < max(left.Flushed, right.Flushed) {
		return Reshape{}, fmt.Errorf("%w: merge of tablets %d and %d to manifest %v, version %d, sequence %d", base.ErrPrecondition,
			left.ID, right.ID, m.Manifest, m.ManifestVersion, m.Last)
	}
	for _, id := range m.Loads {
		if !left.Adopted(id) || !right.Adopted(id) {
			return Reshape{}, fmt.Errorf("%w: merge of tablets %d and %d, of which one has not adopted bulk load %d", base.ErrPrecondition, left.ID, right.ID, id)
		}
	}
	n := right.clone()
	n.Loads, n.Cuts = m.Loads, nil
	n.ID, n.Start, n.Epoch, n.Since = m.ID, left.Start, max(left.Epoch, right.Epoch)+1, now
	n.Manifest, n.ManifestVersion, n.Flushed, n.NextSeq = m.Manifest, m.ManifestVersion, m.Last, m.Last+1
	n.Logs = []LogEntry{{Log: n.Owner, Tablet: n.ID, Epoch: n.Epoch, From: m.Begin}}
	n.Parents, n.Why = []base.TabletID{left.ID, right.ID}, m.Why
	return Reshape{Old: []Tablet{left, right}, New: []Tablet{n}, If: []lockservice.Compare{lockservice.SessionAlive(n.Owner)}}, nil
}

// Reshape applies r and returns the new records. It keeps trying until the
// outcome is decided or ctx ends, as Commit does, and fails as Commit does.
func (s *Store) Reshape(ctx context.Context, r Reshape) ([]Tablet, error) {
	x, err := s.reshapeTxn(ctx, r)
	if err != nil {
		return nil, err
	}
	res, err := s.ls.Txn(ctx, x)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", r, err)
	}
	if !res.Succeeded || res.Results == nil { // or recognised as applied before
		return s.reshaped(ctx, r)
	}
	done := make([]Tablet, len(r.New))
	for i, t := range r.New {
		done[i] = t
		done[i].Revision = res.Revision
	}
	return done, nil
}

// reshaped decides a transaction that was repeated, by its sender or by the
// caller, by what the records hold now. The ids of the new tablets were drawn
// for it, so that one that is there proves that it was applied, by whichever
// attempt; Commit tells what Revision 0 means. Where none is there, and the old
// ones are not either, others went on from it: the tablets are theirs.
func (s *Store) reshaped(ctx context.Context, r Reshape) ([]Tablet, error) {
	done, found := make([]Tablet, len(r.New)), false
	for i, t := range r.New {
		now, err := s.Tablet(ctx, t.Table, t.End, t.ID)
		if err != nil && !errors.Is(err, base.ErrNotFound) {
			return nil, fmt.Errorf("commit %s: %w: %w", r, base.ErrUndecided, err)
		}
		done[i] = t
		if err != nil {
			continue
		}
		found = true
		if now.Owner == t.Owner && now.Epoch == t.Epoch && now.ManifestVersion == t.ManifestVersion {
			done[i] = now
		}
	}
	if !found {
		return nil, fmt.Errorf("commit %s: %w", r, base.ErrAborted)
	}
	return done, nil
}

// reshapeTxn returns the transaction that applies r.
func (s *Store) reshapeTxn(ctx context.Context, r Reshape) (lockservice.Txn, error) {
	x := lockservice.Txn{If: r.If}
	kept := map[string]bool{}
	for _, t := range r.New {
		kept[t.Key()] = true
	}
	for _, t := range r.Old {
		x.If = append(x.If, lockservice.ModRevisionIs(t.Key(), t.Revision))
		if !kept[t.Key()] {
			moved, err := root.MoveEnd(ctx, s.ls, t.Key(), r.Old[len(r.Old)-1].Key())
			if err != nil {
				return x, err
			}
			x.If, x.Then = append(x.If, moved.If...), append(append(x.Then, moved.Then...), lockservice.Delete(t.Key()))
		}
		x.Then = append(x.Then, refOps(t, Tablet{})...)
	}
	for _, t := range r.New {
		v, err := t.encode()
		if err != nil {
			return x, err
		}
		x.Then = append(append(x.Then, lockservice.Put(t.Key(), v)), refOps(Tablet{ID: t.ID}, t)...)
	}
	for _, t := range r.New {
		if !reshapes(r.Old, t.Key()) {
			x.If = append(x.If, lockservice.Absent(t.Key()))
		}
	}
	return x, nil
}

func reshapes(old []Tablet, key string) bool {
	for _, t := range old {
		if t.Key() == key {
			return true
		}
	}
	return false
}

// String describes r for errors.
func (r Reshape) String() string {
	if len(r.Old) == 1 {
		return fmt.Sprintf("split of tablet %d at %q", r.Old[0].ID, r.New[0].End)
	}
	return fmt.Sprintf("merge of tablets %d and %d", r.Old[0].ID, r.Old[1].ID)
}
