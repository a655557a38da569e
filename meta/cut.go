package meta

import (
	"fmt"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// CutLife is how long a tablet's record names a cut: long enough for whoever
// asked for it to make a table or a snapshot of it.
const CutLife = 10 * time.Minute

// Cut is a manifest of what a tablet held at a time, made for a table or a
// snapshot as of then. While the record names it, its files stay; who copies the
// reference compares the record's revision (R11).
type Cut struct {
	At              time.Time // what was asked for
	AsOf            time.Time // all that was acknowledged by then is in it, and nothing that was not at At
	Made            time.Time
	Manifest        base.FileNumber
	ManifestVersion uint64
	Flushed         base.Seq
}

// CutAt returns the cut for a time.
func (t Tablet) CutAt(at time.Time) (Cut, bool) {
	for _, c := range t.Cuts {
		if c.At.Equal(at) {
			return c, true
		}
	}
	return Cut{}, false
}

// AddCut names a cut, and forgets those that are old (R1, R10).
func AddCut(t Tablet, c Cut, now time.Time) (Change, error) {
	if t.State != Serving || t.OwnEntry() < 0 {
		return Change{}, fmt.Errorf("%w: cut of tablet %d, which is %v", base.ErrNotServing, t.ID, t.State)
	}
	ch := dropCuts(t, now)
	c.Made = now
	ch.New.Cuts = append(ch.New.Cuts, c)
	return ch, nil
}

// CutsExpired reports whether a record names cuts that are old.
func CutsExpired(t Tablet, now time.Time) bool {
	return slices.ContainsFunc(t.Cuts, func(c Cut) bool { return now.Sub(c.Made) >= CutLife })
}

// DropCuts forgets the cuts that are old.
func DropCuts(t Tablet, now time.Time) (Change, error) {
	if t.State != Serving || t.OwnEntry() < 0 {
		return Change{}, fmt.Errorf("%w: tablet %d, which is %v", base.ErrNotServing, t.ID, t.State)
	}
	return dropCuts(t, now), nil
}

func dropCuts(t Tablet, now time.Time) Change {
	n := t.clone()
	n.Cuts = slices.DeleteFunc(slices.Clone(t.Cuts), func(c Cut) bool { return now.Sub(c.Made) >= CutLife })
	return Change{Old: t, New: n, If: []lockservice.Compare{lockservice.SessionAlive(t.Owner)}}
}

func cutsProto(cuts []Cut) (list []*metapb.Cut) {
	for _, c := range cuts {
		list = append(list, &metapb.Cut{
			AtUs: c.At.UnixMicro(), AsOfUs: c.AsOf.UnixMicro(), MadeUs: c.Made.UnixMicro(),
			Manifest: FileNumberProto(c.Manifest), ManifestVersion: c.ManifestVersion, Flushed: uint64(c.Flushed),
		})
	}
	return list
}

func cutsOf(list []*metapb.Cut) (cuts []Cut) {
	for _, c := range list {
		cuts = append(cuts, Cut{
			At: time.UnixMicro(c.AtUs), AsOf: time.UnixMicro(c.AsOfUs), Made: time.UnixMicro(c.MadeUs),
			Manifest: FileNumber(c.Manifest), ManifestVersion: c.ManifestVersion, Flushed: base.Seq(c.Flushed),
		})
	}
	return cuts
}
