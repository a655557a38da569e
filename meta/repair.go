package meta

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// Repair sets records right that no transaction of this package made wrong: a
// key that was removed by hand, say. It compares everything that it was
// concluded from, so that it does nothing in a world that has changed. A Repair
// is pure; Store.Repair applies it.
type Repair struct {
	What string // for errors
	If   []lockservice.Compare
	Then []lockservice.Op
}

// Repair applies r, all of it or nothing. base.ErrAborted: what it was concluded
// from is not so any more, or it was applied by an attempt whose answer was
// lost; a new look tells.
func (s *Store) Repair(ctx context.Context, r Repair) error {
	res, err := s.ls.Txn(ctx, lockservice.Txn{If: r.If, Then: r.Then})
	if err != nil {
		return fmt.Errorf("%s: %w", r.What, err)
	}
	if !res.Succeeded {
		return fmt.Errorf("%s: %w", r.What, base.ErrAborted)
	}
	return nil
}

// freed holds while nobody serves t, or may come to do so: an owner that has
// registered is dead; one that has not finds the record changed (R14).
func freed(t Tablet) []lockservice.Compare {
	if t.Owner.IsZero() || t.State == Assigned {
		return nil
	}
	return []lockservice.Compare{lockservice.SessionDead(t.Owner)}
}

// Mend replaces what the record of a tablet says of its data: manifest, flushed
// sequence, sequence counter and entries are those of n. The tablet has no owner
// afterwards; one that serves it must be dead, and the creators of files that n
// names must be alive (H7).
func Mend(t, n Tablet, now time.Time, creators ...base.Incarnation) Change {
	m := disown(t, now)
	m.Manifest, m.ManifestVersion, m.Flushed, m.NextSeq, m.Logs, m.Why = n.Manifest, n.ManifestVersion, n.Flushed, n.NextSeq, n.Logs, n.Why
	cond := freed(t)
	for _, c := range creators {
		cond = append(cond, lockservice.SessionAlive(c))
	}
	return Change{Old: t, New: m, If: cond}
}

// RemoveOrphans removes tablets of a table that has no schema, and what they
// reference. Nobody serves them.
func RemoveOrphans(table base.TableID, tablets []Tablet) Repair {
	r := Repair{What: fmt.Sprintf("remove %d tablets of table %d", len(tablets), table), If: []lockservice.Compare{lockservice.Absent(tableKey(table))}}
	for _, t := range tablets {
		r.If = append(append(r.If, lockservice.ModRevisionIs(t.Key(), t.Revision)), freed(t)...)
		r.Then = append(append(r.Then, lockservice.Delete(t.Key())), refOps(t, Tablet{})...)
	}
	return r
}

// RemoveTablet removes the record of a tablet nobody serves that holds nothing,
// and whose rows other tablets, which are compared, cover.
func RemoveTablet(t Tablet, others []Tablet) Repair {
	r := Repair{What: fmt.Sprintf("remove tablet %d", t.ID), If: append(freed(t), lockservice.ModRevisionIs(t.Key(), t.Revision))}
	for _, o := range others {
		r.If = append(r.If, lockservice.ModRevisionIs(o.Key(), o.Revision))
	}
	r.Then = append([]lockservice.Op{lockservice.Delete(t.Key())}, refOps(t, Tablet{})...)
	return r
}

// FillHole puts an empty tablet with a new id where the table has none, between
// tablets that are compared. before is the revision of a damaged record that
// stands at its key; 0: none does.
func FillHole(t Table, id base.TabletID, start, end []byte, beside []Tablet, before lockservice.Revision, now time.Time) (Repair, error) {
	n := Tablet{ID: id, Table: t.ID, Start: start, End: end, State: Unassigned, Since: now, Why: "made empty by a repair: its record was lost"}
	v, err := n.encode()
	if err != nil {
		return Repair{}, err
	}
	r := Repair{
		What: fmt.Sprintf("make tablet %d of table %d", id, t.ID),
		If:   []lockservice.Compare{lockservice.ModRevisionIs(tableKey(t.ID), t.Revision), lockservice.ModRevisionIs(n.Key(), before)},
		Then: []lockservice.Op{lockservice.Put(n.Key(), v)},
	}
	for _, o := range beside {
		r.If = append(r.If, lockservice.ModRevisionIs(o.Key(), o.Revision))
	}
	return r, nil
}

// SetRef writes the reference of a tablet to a log as its record asks for
// (R2). have is the revision of the one that stands there; 0: none does.
func SetRef(t Tablet, e base.Incarnation, have lockservice.Revision) Repair {
	key := refKey(e, t.ID)
	return Repair{
		What: fmt.Sprintf("set the reference of tablet %d to log %v", t.ID, e),
		If:   []lockservice.Compare{lockservice.ModRevisionIs(t.Key(), t.Revision), lockservice.ModRevisionIs(key, have)},
		Then: []lockservice.Op{lockservice.Put(key, encodePosition(lowestFroms(t.Logs)[e]))},
	}
}

// DropKey removes a key as it was seen, while others are as they were seen
// (revision 0: absent).
func DropKey(key string, seen lockservice.Revision, others map[string]lockservice.Revision) Repair {
	r := Repair{What: fmt.Sprintf("remove the key %q", key), If: []lockservice.Compare{lockservice.ModRevisionIs(key, seen)}, Then: []lockservice.Op{lockservice.Delete(key)}}
	for k, rev := range others {
		r.If = append(r.If, lockservice.ModRevisionIs(k, rev))
	}
	return r
}

// SetName makes the name of a table lead to it again. have is the revision of
// the key that stands there; 0: none does.
func SetName(t Table, have lockservice.Revision) Repair {
	key := tableNameKey(t.Name)
	return Repair{
		What: fmt.Sprintf("make the name %s lead to table %d", t.Name, t.ID),
		If:   []lockservice.Compare{lockservice.ModRevisionIs(tableKey(t.ID), t.Revision), lockservice.ModRevisionIs(key, have)},
		Then: []lockservice.Op{lockservice.Put(key, binary.BigEndian.AppendUint64(nil, uint64(t.ID)))},
	}
}

// RestoreLog puts the record of a dead incarnation's log back, in the state in
// which it is to be sealed, with the objects from low on. log and lows are the
// revisions of the keys that stand there; 0: none does.
func RestoreLog(e base.Incarnation, low base.Position, log, lows lockservice.Revision) Repair {
	return Repair{
		What: fmt.Sprintf("restore the record of log %v", e),
		If: []lockservice.Compare{
			lockservice.SessionDead(e), lockservice.ModRevisionIs(logKey(e), log), lockservice.ModRevisionIs(lowKey(e), lows),
		},
		Then: []lockservice.Op{
			lockservice.Put(logKey(e), encodeLog(Log{State: LogState(metapb.LogRecord_SEALING)})), lockservice.Put(lowKey(e), encodePosition(low)),
		},
	}
}

// Unknown is a transaction without effect, which succeeds if the incarnation is
// dead and there is no record of its log: then there never will be one again.
func Unknown(e base.Incarnation) Repair {
	return Repair{
		What: fmt.Sprintf("make sure that nobody knows log %v", e),
		If:   []lockservice.Compare{lockservice.SessionDead(e), lockservice.Absent(logKey(e)), lockservice.Absent(lowKey(e))},
	}
}

// DropName removes the name of a table that is not there (rev 0), or that was
// seen at rev to be deleted or to have another name.
func DropName(key string, seen lockservice.Revision, id base.TableID, rev lockservice.Revision) Repair {
	return DropKey(key, seen, map[string]lockservice.Revision{tableKey(id): rev})
}

// AddEntry gives a tablet that a live server serves the entry for its log that
// it lacks: from low on, where everything lies that the log still holds (R5).
func AddEntry(t Tablet, low base.Position) Change {
	n := t.clone()
	n.Logs = append(n.Logs, LogEntry{Log: t.Owner, Tablet: t.ID, Epoch: t.Epoch, From: low})
	return Change{Old: t, New: n, If: []lockservice.Compare{lockservice.SessionAlive(t.Owner), logOpen(t.Owner), lockservice.ValueIs(lowKey(t.Owner), encodePosition(low))}}
}
