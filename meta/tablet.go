package meta

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// State says how far the assignment of a tablet is.
type State uint8

const (
	// Unassigned: no owner.
	Unassigned State = iota + 1
	// Assigned: the owner loads the tablet; it may be told to stop (R14).
	Assigned
	// Serving: the owner registered. Only its own transaction, or its
	// session's death, takes the tablet away.
	Serving
)

func (s State) String() string {
	switch s {
	case Unassigned:
		return "unassigned"
	case Assigned:
		return "loading"
	case Serving:
		return "serving"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// LogEntry says where a part of a tablet's unflushed records lies: in the log
// of incarnation Log, under (Tablet, Epoch), at the positions from From on; up
// to To, exclusive, where Closed.
type LogEntry struct {
	Log    base.Incarnation
	Tablet base.TabletID
	Epoch  base.Epoch
	From   base.Position
	To     base.Position
	Closed bool
}

// Tablet is the record of one tablet as read at Revision. The rows it covers
// are [Start, End), an empty End meaning no end.
type Tablet struct {
	ID              base.TabletID
	Table           base.TableID
	Start, End      []byte
	Owner           base.Incarnation
	OwnerAddress    string
	Epoch           base.Epoch
	Manifest        base.FileNumber
	ManifestVersion uint64
	Flushed         base.Seq
	NextSeq         base.Seq
	Logs            []LogEntry
	State           State
	Since           time.Time
	Parents         []base.TabletID
	Why             string // the last decision about the tablet, for people
	// Loads are the bulk loads that the tablet has adopted, for as long as they
	// may be pending elsewhere; in order.
	Loads []base.LoadID
	// Cuts are manifests of the tablet as it was; none is changed once it is here.
	Cuts []Cut

	// Revision is the ModRevision of the record; 0 for one not yet stored.
	Revision lockservice.Revision
}

// Key returns the key of the record.
func (t Tablet) Key() string { return TabletKey(t.Table, t.End) }

// Contains reports whether row belongs to the tablet.
func (t Tablet) Contains(row []byte) bool {
	return bytes.Compare(row, t.Start) >= 0 && (len(t.End) == 0 || bytes.Compare(row, t.End) < 0)
}

// clone returns a copy whose Logs may be changed.
func (t Tablet) clone() Tablet {
	t.Logs = slices.Clone(t.Logs)
	return t
}

// OwnEntry returns the index in Logs of the open entry of the owner at the
// tablet's present epoch, or -1.
func (t Tablet) OwnEntry() int {
	return slices.IndexFunc(t.Logs, func(e LogEntry) bool {
		return e.Log == t.Owner && e.Tablet == t.ID && e.Epoch == t.Epoch && !e.Closed
	})
}

func incarnationProto(e base.Incarnation) *metapb.Incarnation {
	if e.IsZero() {
		return nil
	}
	return &metapb.Incarnation{Generation: e.Generation, Index: e.Index}
}

// Incarnation converts from the wire; nil is the zero incarnation.
func Incarnation(p *metapb.Incarnation) base.Incarnation {
	return base.Incarnation{Generation: p.GetGeneration(), Index: p.GetIndex()}
}

// IncarnationProto converts to the wire; the zero incarnation is nil.
func IncarnationProto(e base.Incarnation) *metapb.Incarnation { return incarnationProto(e) }

// FileNumber converts from the wire; nil is the zero number.
func FileNumber(p *metapb.FileNumber) base.FileNumber {
	return base.FileNumber{Creator: Incarnation(p.GetCreator()), Number: p.GetNumber()}
}

// FileNumberProto converts to the wire; the zero number is nil.
func FileNumberProto(f base.FileNumber) *metapb.FileNumber {
	if f.IsZero() {
		return nil
	}
	return &metapb.FileNumber{Creator: incarnationProto(f.Creator), Number: f.Number}
}

var stateProto = map[State]metapb.TabletRecord_State{
	Unassigned: metapb.TabletRecord_UNASSIGNED,
	Assigned:   metapb.TabletRecord_ASSIGNED,
	Serving:    metapb.TabletRecord_SERVING,
}

// Proto returns the record in its stored form.
func (t Tablet) Proto() *metapb.TabletRecord {
	p := &metapb.TabletRecord{
		Tablet: uint64(t.ID), Table: uint64(t.Table), Start: t.Start, End: t.End,
		Owner: incarnationProto(t.Owner), OwnerAddress: t.OwnerAddress, Tepoch: uint64(t.Epoch),
		Manifest: FileNumberProto(t.Manifest), ManifestVersion: t.ManifestVersion,
		Flushed: uint64(t.Flushed), NextSeq: uint64(t.NextSeq), State: stateProto[t.State],
		SinceUs: t.Since.UnixMicro(), Why: t.Why,
	}
	for _, l := range t.Logs {
		e := &metapb.LogEntry{Log: incarnationProto(l.Log), LogTablet: uint64(l.Tablet), Tepoch: uint64(l.Epoch), From: uint64(l.From)}
		if l.Closed {
			e.To = proto.Uint64(uint64(l.To))
		}
		p.Logs = append(p.Logs, e)
	}
	for _, id := range t.Parents {
		p.Parents = append(p.Parents, uint64(id))
	}
	p.Cuts = cutsProto(t.Cuts)
	for _, id := range t.Loads {
		p.Loads = append(p.Loads, uint64(id))
	}
	return p
}

func (t Tablet) encode() ([]byte, error) {
	v, err := proto.Marshal(t.Proto())
	if err != nil {
		return nil, fmt.Errorf("encode record of tablet %d: %w", t.ID, err)
	}
	return v, nil
}

// DecodeTablet parses the record stored under kv.Key. An error wraps
// base.ErrCorrupt and names the key.
func DecodeTablet(kv lockservice.KV) (Tablet, error) {
	var p metapb.TabletRecord
	if err := proto.Unmarshal(kv.Value, &p); err != nil {
		return Tablet{}, fmt.Errorf("%w: record %q: %v", base.ErrCorrupt, kv.Key, err)
	}
	t := Tablet{
		ID: base.TabletID(p.Tablet), Table: base.TableID(p.Table), Start: p.Start, End: p.End,
		Owner: Incarnation(p.Owner), OwnerAddress: p.OwnerAddress, Epoch: base.Epoch(p.Tepoch),
		Manifest: FileNumber(p.Manifest), ManifestVersion: p.ManifestVersion,
		Flushed: base.Seq(p.Flushed), NextSeq: base.Seq(p.NextSeq),
		Since: time.UnixMicro(p.SinceUs), Why: p.Why, Revision: kv.ModRevision,
	}
	for s, ps := range stateProto {
		if ps == p.State {
			t.State = s
		}
	}
	for _, l := range p.Logs {
		e := LogEntry{Log: Incarnation(l.Log), Tablet: base.TabletID(l.LogTablet), Epoch: base.Epoch(l.Tepoch), From: base.Position(l.From)}
		if l.To != nil {
			e.To, e.Closed = base.Position(*l.To), true
		}
		t.Logs = append(t.Logs, e)
	}
	for _, id := range p.Parents {
		t.Parents = append(t.Parents, base.TabletID(id))
	}
	t.Cuts = cutsOf(p.Cuts)
	for _, id := range p.Loads {
		t.Loads = append(t.Loads, base.LoadID(id))
	}
	if t.State == 0 || t.ID == 0 || t.Key() != kv.Key {
		return Tablet{}, fmt.Errorf("%w: record %q does not belong there (tablet %d, state %v)", base.ErrCorrupt, kv.Key, t.ID, p.State)
	}
	return t, nil
}
