package inspect

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/wal"
)

// LogObject is an object of a log as it is shown.
type LogObject struct {
	Object   string      `json:"object"`
	Position uint64      `json:"position"`
	Size     output.Size `json:"size_bytes"`
	Seal     bool        `json:"seal,omitempty"`
	Sealer   string      `json:"sealer,omitempty"`
	Written  output.Time `json:"written"`
	Nonce    string      `json:"nonce"`
	Records  uint32      `json:"records"`
	Sections []Section   `json:"sections"`
}

// Section is the records of one tablet and epoch in it.
type Section struct {
	Tablet  uint64      `json:"tablet"`
	Epoch   uint64      `json:"epoch"`
	Offset  uint32      `json:"offset"`
	Length  output.Size `json:"length_bytes"`
	First   uint64      `json:"first_seq"`
	Last    uint64      `json:"last_seq"`
	Records []Record    `json:"records,omitempty"`
	Count   uint32      `json:"record_count"`
}

// Record is one change of a row.
type Record struct {
	First uint64       `json:"first_seq"`
	Row   output.Bytes `json:"row"`
	Ops   []Op         `json:"ops"`
}

// Op is a part of a Record.
type Op struct {
	Kind      string       `json:"kind"`
	Family    uint32       `json:"family,omitempty"`
	Column    output.Bytes `json:"column,omitempty"`
	Timestamp int64        `json:"timestamp_us,omitempty"`
	Value     output.Bytes `json:"value,omitempty"`
}

// ReadLogObject reads the object at position p of a log; of it only what belongs
// to the tablet, unless that is 0, and with the records if they are wanted.
func ReadLogObject(ctx context.Context, store objstore.Store, id base.Incarnation, p base.Position, tablet base.TabletID, records bool) (*LogObject, error) {
	o, err := wal.ReadObject(ctx, store, id, p)
	if err != nil {
		return nil, err
	}
	x := &LogObject{Object: o.Key, Position: uint64(p), Size: output.Size(o.Size), Sections: []Section{}}
	if o.Seal != nil {
		x.Seal, x.Sealer = true, o.Seal.Sealer.String()
		return x, nil
	}
	h := o.Header
	x.Written, x.Nonce, x.Records = output.Time(time.UnixMilli(h.UnixMilli)), hex.EncodeToString(h.Nonce[:]), h.Records
	for _, s := range o.Dir {
		if tablet != 0 && s.Tablet != tablet {
			continue
		}
		i := Section{
			Tablet: uint64(s.Tablet), Epoch: uint64(s.Epoch), Offset: s.Offset, Length: output.Size(s.Length),
			First: uint64(s.First), Last: uint64(s.Last), Count: s.Records,
		}
		if records {
			if i.Records, err = readRecords(o, s); err != nil {
				return nil, fmt.Errorf("%s: %w", o.Key, err)
			}
		}
		x.Sections = append(x.Sections, i)
	}
	return x, nil
}

func readRecords(o *wal.Object, s wal.Section) ([]Record, error) {
	var list []Record
	err := o.Records(s, func(rec wal.Record) error {
		m, err := mutation.Decode(rec.Body)
		if err != nil {
			return fmt.Errorf("record %d: %w", rec.First, err)
		}
		i := Record{First: uint64(rec.First), Row: m.Row}
		var op mutation.RecordOp
		for it := m.Ops(); it.Next(&op); {
			i.Ops = append(i.Ops, Op{KindName(op.Kind), uint32(op.Family), op.Qualifier, op.Timestamp, ShownValue(op.Kind, op.Value)})
		}
		list = append(list, i)
		return nil
	})
	return list, err
}

// KindName names what an entry does.
func KindName(k base.Kind) string {
	switch k {
	case base.KindSet:
		return "set"
	case base.KindDeleteColumn:
		return "delete-column"
	case base.KindDeleteFamily:
		return "delete-family"
	case base.KindDeleteRow:
		return "delete-row"
	case base.KindAdd:
		return "add"
	case base.KindMerge:
		return "merge"
	}
	return fmt.Sprintf("kind-%d", k)
}

// ShownValue is the value of an entry; of a deletion, the range of timestamps.
func ShownValue(k base.Kind, v []byte) output.Bytes {
	if k != base.KindDeleteColumn {
		return v
	}
	start, end, err := base.DecodeTimeRange(v)
	if err != nil {
		return v
	}
	if end == 0 {
		return output.Bytes(fmt.Sprintf("[%d, end)", start))
	}
	return output.Bytes(fmt.Sprintf("[%d, %d)", start, end))
}

// Human writes it for people.
func (o *LogObject) Human(p *output.Page) {
	if o.Seal {
		p.Line("%d  %s  %v  SEAL by %s", o.Position, o.Object, o.Size, o.Sealer)
		return
	}
	p.Line("%d  %s  %v  %d records, written %v by %s", o.Position, o.Object, o.Size, o.Records, o.Written, o.Nonce)
	for _, s := range o.Sections {
		p.Line("    tablet %d epoch %d: %d records, sequences %d..%d, %v at %d", s.Tablet, s.Epoch, s.Count, s.First, s.Last, s.Length, s.Offset)
		for _, r := range s.Records {
			p.Line("        %d %s", r.First, r.Row)
			for _, op := range r.Ops {
				p.Row("            "+op.Kind, op.Family, op.Column, op.Timestamp, op.Value)
			}
		}
	}
}
