package inspect

import (
	"fmt"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable"
)

// Table is an SSTable's properties as they are shown.
type Table struct {
	Object       string            `json:"object"`
	Name         string            `json:"name"`
	Size         output.Size       `json:"size_bytes"`
	TailOffset   int64             `json:"tail_offset"`
	Rows         uint64            `json:"rows"`
	Columns      uint64            `json:"columns"`
	Entries      uint64            `json:"entries"`
	Kinds        map[string]uint64 `json:"entries_by_kind"`
	Families     map[uint32]uint64 `json:"entries_by_family"`
	RawKeys      output.Size       `json:"raw_key_bytes"`
	RawValues    output.Size       `json:"raw_value_bytes"`
	Data         output.Size       `json:"data_bytes"`
	Blocks       uint64            `json:"blocks"`
	Metadata     output.Size       `json:"metadata_bytes_in_memory"`
	FirstRow     output.Bytes      `json:"first_row"`
	LastRow      output.Bytes      `json:"last_row"`
	MinSeq       uint64            `json:"min_seq"`
	MaxSeq       uint64            `json:"max_seq"`
	MinTimestamp int64             `json:"min_timestamp_us"`
	MaxTimestamp int64             `json:"max_timestamp_us"`
	Compression  string            `json:"compression"`
	Group        string            `json:"locality_group,omitempty"`
}

// NewTable returns the properties of an open SSTable.
func NewTable(r *sstable.Reader) *Table {
	p := r.Properties()
	x := &Table{
		Object: r.Name(), Name: p.File.String(), Size: output.Size(r.Meta().Size), TailOffset: r.Meta().TailOffset,
		Rows: p.Rows, Columns: p.Columns, Entries: p.Entries, Kinds: map[string]uint64{}, Families: map[uint32]uint64{},
		RawKeys: output.Size(p.RawKeyBytes), RawValues: output.Size(p.RawValueBytes), Data: output.Size(p.DataBytes), Blocks: p.Blocks,
		Metadata: output.Size(r.MetadataBytes()), FirstRow: Row(p.MinKey), LastRow: Row(p.MaxKey),
		MinSeq: uint64(p.MinSeq), MaxSeq: uint64(p.MaxSeq), MinTimestamp: p.MinTimestamp, MaxTimestamp: p.MaxTimestamp,
		Compression: p.Compression.String(), Group: p.Group,
	}
	for k, n := range p.ByKind {
		if n > 0 {
			x.Kinds[KindName(base.Kind(k))] = n
		}
	}
	for _, f := range p.Families {
		x.Families[uint32(f.Family)] = f.Entries
	}
	return x
}

// Human writes it for people.
func (x *Table) Human(p *output.Page) {
	p.Line("%s  (%s)", x.Name, x.Object)
	p.Row("size", x.Size, fmt.Sprintf("tail at %d", x.TailOffset))
	p.Row("rows", output.Count(x.Rows), fmt.Sprintf("%v .. %v", x.FirstRow, x.LastRow))
	p.Row("columns", output.Count(x.Columns))
	p.Row("entries", output.Count(x.Entries), fmt.Sprint(x.Kinds))
	p.Row("by family", fmt.Sprint(x.Families))
	p.Row("data", x.Data, fmt.Sprintf("%d blocks, %s; %v of keys and %v of values before", x.Blocks, x.Compression, x.RawKeys, x.RawValues))
	p.Row("metadata", x.Metadata, "in memory while it is open")
	p.Row("sequences", fmt.Sprintf("%d..%d", x.MinSeq, x.MaxSeq))
	if x.MinTimestamp <= x.MaxTimestamp {
		p.Row("timestamps", fmt.Sprintf("%v .. %v", output.TimeMicros(x.MinTimestamp), output.TimeMicros(x.MaxTimestamp)))
	}
}

// Entry is an entry of an SSTable.
type Entry struct {
	Row       output.Bytes `json:"row"`
	Family    uint32       `json:"family"`
	Column    output.Bytes `json:"column,omitempty"`
	Timestamp int64        `json:"timestamp_us"`
	Seq       uint64       `json:"seq"`
	Kind      string       `json:"kind"`
	Value     output.Bytes `json:"value"`
}

// ReadEntry decodes an entry. An error wraps base.ErrCorrupt.
func ReadEntry(key, value []byte) (Entry, error) {
	k, err := base.DecodeKey(key)
	if err != nil {
		return Entry{}, err
	}
	return Entry{k.Row, uint32(k.Family), k.Qualifier, k.Timestamp, uint64(k.Seq), KindName(k.Kind), ShownValue(k.Kind, value)}, nil
}

// Human writes it for people.
func (x Entry) Human(p *output.Page) {
	p.Line("%s  %d:%s @%d #%d %s  %s", x.Row, x.Family, x.Column, x.Timestamp, x.Seq, x.Kind, x.Value)
}
