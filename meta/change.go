package meta

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// Change is one step of one tablet's record: from Old, as it was read, to New,
// if the further conditions hold. The constructors below are the only steps
// there are. A Change is pure; Store.Commit applies it.
type Change struct {
	Old, New Tablet
	If       []lockservice.Compare
}

// logOpen holds while the log of e is OPEN.
func logOpen(e base.Incarnation) lockservice.Compare {
	return lockservice.ValueIs(logKey(e), encodeLog(Log{State: LogOpen}))
}

// Assign gives a tablet without owner to a live server whose log is open (R1).
func Assign(t Tablet, to Server, now time.Time) Change {
	n := t.clone()
	n.Owner, n.OwnerAddress, n.State, n.Since = to.Incarnation, to.Address, Assigned, now
	n.Epoch++
	cond := []lockservice.Compare{lockservice.SessionAlive(to.Incarnation), logOpen(to.Incarnation)}
	if !t.Owner.IsZero() { // never from a live one (R14)
		cond = append(cond, lockservice.SessionDead(t.Owner))
	}
	return Change{Old: t, New: n, If: cond}
}

// Bump takes a tablet from an owner whose session is dead (fail-over, step 1).
func Bump(t Tablet, now time.Time) Change {
	return Change{Old: t, New: disown(t, now), If: []lockservice.Compare{lockservice.SessionDead(t.Owner)}}
}

// Cancel takes an assignment back that has not registered (R14). Where the
// owner registered meanwhile, the revision differs and the Commit fails.
func Cancel(t Tablet, now time.Time) (Change, error) {
	if t.State != Assigned {
		return Change{}, fmt.Errorf("%w: tablet %d is %v; only a load can be cancelled", base.ErrPrecondition, t.ID, t.State)
	}
	return Change{Old: t, New: disown(t, now)}, nil
}

func disown(t Tablet, now time.Time) Tablet {
	n := t.clone()
	n.Owner, n.OwnerAddress, n.State, n.Since = base.Incarnation{}, "", Unassigned, now
	n.Epoch++
	return n
}

// Register makes the owner serve: its own entry is added with from, the
// position its next record can get, and reads and writes may begin (R5). Of the
// entries that it found, those are kept from which unflushed records came
// (needed[i] for t.Logs[i]; R3). It compares that every former owner whose
// entry is open cannot answer reads any more (R15).
func Register(t Tablet, from base.Position, needed []bool, now time.Time) Change {
	n := t.clone()
	n.Logs = n.Logs[:0]
	for i, e := range t.Logs {
		if needed[i] {
			n.Logs = append(n.Logs, e)
		}
	}
	n.Logs = append(n.Logs, LogEntry{Log: t.Owner, Tablet: t.ID, Epoch: t.Epoch, From: from})
	n.State, n.Since = Serving, now
	cond := []lockservice.Compare{lockservice.SessionAlive(t.Owner)}
	for _, e := range t.Logs {
		if !e.Closed && e.Log != t.Owner {
			cond = append(cond, lockservice.SessionGone(e.Log))
		}
	}
	return Change{Old: t, New: n, If: cond}
}

// Flushed is what a flush or compaction brings into the record.
type Flushed struct {
	Manifest        base.FileNumber
	ManifestVersion uint64
	Seq             base.Seq // records up to it are in the manifest's files
	// From is the position of the first record above Seq in the own log, or
	// the position that the open batch has (R3).
	From base.Position
	// DropEntries drops the entries that are closed or another's: no record
	// above Seq came from them.
	DropEntries bool
	// Creators are sessions other than the owner's that made files the
	// manifest names (H7).
	Creators []base.Incarnation
}

// Flush commits a new manifest, or, with the present one, that entries are not
// needed any more (R1, R3).
func Flush(t Tablet, f Flushed) (Change, error) {
	own := t.OwnEntry()
	if t.State != Serving || own < 0 {
		return Change{}, fmt.Errorf("%w: flush of tablet %d, which is %v", base.ErrNotServing, t.ID, t.State)
	}
	if f.Seq < t.Flushed || f.From < t.Logs[own].From || f.ManifestVersion < t.ManifestVersion ||
		(f.ManifestVersion == t.ManifestVersion && (f.Manifest != t.Manifest || f.Seq != t.Flushed)) {
		return Change{}, fmt.Errorf("%w: flush of tablet %d goes back: seq %d after %d, version %d after %d, from %d after %d", base.ErrPrecondition,
			t.ID, f.Seq, t.Flushed, f.ManifestVersion, t.ManifestVersion, f.From, t.Logs[own].From)
	}
	n := t.clone()
	n.Manifest, n.ManifestVersion, n.Flushed = f.Manifest, f.ManifestVersion, f.Seq
	n.Logs[own].From = f.From
	if f.DropEntries {
		n.Logs = []LogEntry{n.Logs[own]}
	}
	cond := []lockservice.Compare{lockservice.SessionAlive(t.Owner)}
	for _, c := range f.Creators {
		cond = append(cond, lockservice.SessionAlive(c))
	}
	return Change{Old: t, New: n, If: cond}, nil
}

// Release gives the tablet up: every record is acknowledged, and those that
// are not flushed lie in [from, to) of the own log (R7). With from == to the
// own entry is dropped.
func Release(t Tablet, from, to base.Position, now time.Time) (Change, error) {
	own := t.OwnEntry()
	if t.State != Serving || own < 0 {
		return Change{}, fmt.Errorf("%w: release of tablet %d, which is %v", base.ErrNotServing, t.ID, t.State)
	}
	n := disown(t, now)
	if from >= to {
		n.Logs = slices.Delete(n.Logs, own, own+1)
	} else {
		n.Logs[own].From, n.Logs[own].To, n.Logs[own].Closed = from, to, true
	}
	return Change{Old: t, New: n, If: []lockservice.Compare{lockservice.SessionAlive(t.Owner)}}, nil
}

// HandOver is Release and Assign in one: the tablet is the other server's to
// load at once. Where the other server cannot take it the Commit is aborted.
func HandOver(t Tablet, from, to base.Position, next Server, why string, now time.Time) (Change, error) {
	c, err := Release(t, from, to, now)
	if err != nil {
		return c, err
	}
	a := Assign(c.New, next, now)
	a.New.Why = why
	return Change{Old: t, New: a.New, If: append(c.If, a.If...)}, nil
}

// Touch rewrites the record as it is: its new revision voids every
// transaction of the owner's that is still undecided (R4).
func Touch(t Tablet) Change {
	return Change{Old: t, New: t.clone(), If: []lockservice.Compare{lockservice.SessionAlive(t.Owner)}}
}

// txn returns the transaction that applies all changes or none.
func txn(changes []Change) (lockservice.Txn, error) {
	var x lockservice.Txn
	for _, c := range changes {
		v, err := c.New.encode()
		if err != nil {
			return x, err
		}
		x.If = append(append(x.If, lockservice.ModRevisionIs(c.Old.Key(), c.Old.Revision)), c.If...)
		x.Then = append(append(x.Then, lockservice.Put(c.New.Key(), v)), refOps(c.Old, c.New)...)
	}
	return x, nil
}

// refOps keeps ref/<E>/<tablet> at the lowest position of log E that the
// tablet's entries name (R2).
func refOps(before, after Tablet) []lockservice.Op {
	had, has := lowestFroms(before.Logs), lowestFroms(after.Logs)
	var ops []lockservice.Op
	for _, e := range sortedKeys(had) {
		if _, ok := has[e]; !ok {
			ops = append(ops, lockservice.Delete(refKey(e, before.ID)))
		}
	}
	for _, e := range sortedKeys(has) {
		if from, ok := had[e]; !ok || from != has[e] {
			ops = append(ops, lockservice.Put(refKey(e, after.ID), binary.BigEndian.AppendUint64(nil, uint64(has[e]))))
		}
	}
	return ops
}

func lowestFroms(entries []LogEntry) map[base.Incarnation]base.Position {
	m := map[base.Incarnation]base.Position{}
	for _, e := range entries {
		if from, ok := m[e.Log]; !ok || e.From < from {
			m[e.Log] = e.From
		}
	}
	return m
}

func sortedKeys(m map[base.Incarnation]base.Position) []base.Incarnation {
	var keys []base.Incarnation
	for e := range m {
		keys = append(keys, e)
	}
	slices.SortFunc(keys, base.Incarnation.Compare)
	return keys
}

func encodeLog(l Log) []byte {
	// Marshalled deterministically: compares are on the bytes.
	v, err := proto.MarshalOptions{Deterministic: true}.Marshal(&metapb.LogRecord{State: metapb.LogRecord_State(l.State), End: uint64(l.End)})
	if err != nil {
		panic(fmt.Sprintf("encode log record: %v", err)) // two scalars: cannot fail
	}
	return v
}
