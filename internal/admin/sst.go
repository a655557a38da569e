package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable"
)

func (r *run) sstCommand() *cobra.Command {
	return group("sst", "Look into SSTables", r.sstPropsCommand(), r.sstDumpCommand(), r.sstVerifyCommand())
}

// openTable opens the SSTable of that name, or object key.
func (e *env) openSSTable(ctx context.Context, arg string) (*sstable.Reader, error) {
	f, err := parseFile(arg)
	if err != nil {
		return nil, err
	}
	store, err := e.store(ctx)
	if err != nil {
		return nil, err
	}
	src := sstable.NewObjectSource(store, base.SSTableObject(f))
	return sstable.Open(ctx, src, sstable.Meta{TailOffset: -1}, sstable.ReaderOptions{File: f})
}

// tableProps is an SSTable's properties as they are shown.
type tableProps struct {
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
}

func newTableProps(r *sstable.Reader) *tableProps {
	p := r.Properties()
	x := &tableProps{
		Object: r.Name(), Name: p.File.String(), Size: output.Size(r.Meta().Size), TailOffset: r.Meta().TailOffset,
		Rows: p.Rows, Columns: p.Columns, Entries: p.Entries, Kinds: map[string]uint64{}, Families: map[uint32]uint64{},
		RawKeys: output.Size(p.RawKeyBytes), RawValues: output.Size(p.RawValueBytes), Data: output.Size(p.DataBytes), Blocks: p.Blocks,
		Metadata: output.Size(r.MetadataBytes()), FirstRow: rowOf(p.MinKey), LastRow: rowOf(p.MaxKey),
		MinSeq: uint64(p.MinSeq), MaxSeq: uint64(p.MaxSeq), MinTimestamp: p.MinTimestamp, MaxTimestamp: p.MaxTimestamp,
		Compression: p.Compression.String(),
	}
	for k, n := range p.ByKind {
		if n > 0 {
			x.Kinds[kindName(base.Kind(k))] = n
		}
	}
	for _, f := range p.Families {
		x.Families[uint32(f.Family)] = f.Entries
	}
	return x
}

func (r *run) sstPropsCommand() *cobra.Command {
	return r.command("props <name>", "Show the properties of an SSTable <generation>-<index>-<number>", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		t, err := e.openSSTable(ctx, args[0])
		if err != nil {
			return err
		}
		defer t.Close()
		x := newTableProps(t)
		return e.out.Print(x, x.human)
	})
}

func (x *tableProps) human(p *output.Page) {
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

func (r *run) sstVerifyCommand() *cobra.Command {
	return long(r.command("verify <name>...", "Read SSTables from end to end and check everything", cobra.MinimumNArgs(1), func(ctx context.Context, e *env, args []string) error {
		for _, a := range args {
			began := time.Now()
			t, err := e.openSSTable(ctx, a)
			if err == nil {
				err = t.Verify(ctx)
				t.Close()
			}
			if err != nil {
				return err
			}
			type answer struct {
				Object  string          `json:"object"`
				Entries uint64          `json:"entries"`
				Seconds output.Duration `json:"seconds"`
			}
			x := answer{t.Name(), t.Properties().Entries, output.Duration(time.Since(began))}
			if err := e.out.Stream(x, func(p *output.Page) {
				p.Line("%s is sound: %s entries, %v", x.Object, output.Count(x.Entries), output.Size(t.Meta().Size))
			}); err != nil {
				return err
			}
		}
		return nil
	}))
}

// entryInfo is an entry of an SSTable.
type entryInfo struct {
	Row       output.Bytes `json:"row"`
	Family    uint32       `json:"family"`
	Column    output.Bytes `json:"column,omitempty"`
	Timestamp int64        `json:"timestamp_us"`
	Seq       uint64       `json:"seq"`
	Kind      string       `json:"kind"`
	Value     output.Bytes `json:"value"`
}

func (r *run) sstDumpCommand() *cobra.Command {
	var o reading
	c := long(r.command("dump <name>", "Show the entries of an SSTable, by family id", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		lower, upper, err := o.keys()
		if err != nil {
			return err
		}
		t, err := e.openSSTable(ctx, args[0])
		if err != nil {
			return err
		}
		defer t.Close()
		it := t.NewIter(ctx, sstable.IterOptions{Lower: lower, Upper: upper, Readahead: sstable.DefaultReadahead})
		defer it.Close()
		n := int64(0)
		for ok := it.SeekGE(lower); ok && (o.limit == 0 || n < o.limit); ok = it.Next() {
			n++
			k, err := base.DecodeKey(it.Key())
			if err != nil {
				return fmt.Errorf("%s: %w", t.Name(), err)
			}
			x := entryInfo{k.Row, uint32(k.Family), k.Qualifier, k.Timestamp, uint64(k.Seq), kindName(k.Kind), shownValue(k.Kind, it.Value())}
			if err := e.out.Stream(x, func(p *output.Page) {
				p.Line("%s  %d:%s @%d #%d %s  %s", x.Row, x.Family, x.Column, x.Timestamp, x.Seq, x.Kind, x.Value)
			}); err != nil {
				return err
			}
		}
		return it.Err()
	}))
	f := c.Flags()
	f.StringVar(&o.start, "start", "", "rows from this key on")
	f.StringVar(&o.end, "end", "", "rows before this key")
	f.Int64Var(&o.limit, "limit", 0, "entries at most; 0: all")
	return c
}

// keys returns the bounds of the rows from --start to --end as cell keys; nil
// is open.
func (o *reading) keys() (lower, upper []byte, err error) {
	start, err := output.Parse(o.start)
	if err != nil {
		return nil, nil, err
	}
	end, err := output.Parse(o.end)
	if err != nil {
		return nil, nil, err
	}
	if len(start) > 0 {
		lower = base.AppendRowPrefix(nil, start)
	}
	if len(end) > 0 {
		upper = base.AppendRowPrefix(nil, end)
	}
	return lower, upper, nil
}
