package chunk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
)

func cloneRow(r *Row) Row {
	out := Row{Key: bytes.Clone(r.Key)}
	for _, c := range r.Cells {
		out.Cells = append(out.Cells, Cell{c.Family, bytes.Clone(c.Qualifier), c.Timestamp, bytes.Clone(c.Value), slices.Clone(c.Labels)})
	}
	return out
}

func dump(rows []Row) string {
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "%q\n", r.Key)
		for _, c := range r.Cells {
			fmt.Fprintf(&b, "  %s:%q@%d=%q%v\n", c.Family, c.Qualifier, c.Timestamp, c.Value, c.Labels)
		}
	}
	return b.String()
}

// validator checks messages by the rules that the official clients follow,
// independently of Decoder, and merges them into rows.
type validator struct {
	reversed bool
	rows     []Row
	row      *Row
	lastKey  []byte
	part     []byte // of a split value
	total    int32
}

func (v *validator) chunk(c *bigtablepb.ReadRowsResponse_CellChunk) error {
	switch {
	case c.GetResetRow():
		if v.row == nil || c.RowKey != nil || c.FamilyName != nil || c.Qualifier != nil || c.Value != nil || c.TimestampMicros != 0 || c.ValueSize != 0 || c.Labels != nil {
			return errors.New("bad reset")
		}
		v.row, v.part = nil, nil
		return nil
	case c.GetCommitRow() && c.ValueSize > 0:
		return errors.New("commit within a cell")
	case v.part != nil:
		if c.RowKey != nil || c.FamilyName != nil || c.Qualifier != nil || c.TimestampMicros != 0 || c.Labels != nil {
			return errors.New("key within a cell")
		}
		v.part = append(v.part, c.Value...)
	default:
		if err := v.cell(c); err != nil {
			return err
		}
	}
	if v.part != nil && c.ValueSize == 0 {
		if len(v.part) != int(v.total) {
			return fmt.Errorf("%d bytes of %d", len(v.part), v.total)
		}
		v.row.Cells[len(v.row.Cells)-1].Value = v.part
		v.part = nil
	}
	if c.GetCommitRow() {
		v.rows, v.lastKey, v.row = append(v.rows, *v.row), v.row.Key, nil
	}
	return nil
}

func (v *validator) cell(c *bigtablepb.ReadRowsResponse_CellChunk) error {
	cell := Cell{Timestamp: c.TimestampMicros, Value: c.Value, Labels: c.Labels}
	if v.row == nil {
		order := bytes.Compare(c.RowKey, v.lastKey)
		if v.reversed {
			order = -order
		}
		if c.RowKey == nil || c.FamilyName == nil || c.Qualifier == nil || v.lastKey != nil && order <= 0 {
			return fmt.Errorf("bad begin of row %q after %q", c.RowKey, v.lastKey)
		}
		v.row = &Row{Key: c.RowKey}
	} else {
		if c.RowKey != nil && !bytes.Equal(c.RowKey, v.row.Key) || c.FamilyName != nil && c.Qualifier == nil {
			return errors.New("bad cell")
		}
		prev := v.row.Cells[len(v.row.Cells)-1]
		cell.Family, cell.Qualifier = prev.Family, prev.Qualifier
	}
	if c.FamilyName != nil {
		cell.Family = c.FamilyName.Value
	}
	if c.Qualifier != nil {
		cell.Qualifier = c.Qualifier.Value
	}
	v.row.Cells = append(v.row.Cells, cell)
	if c.ValueSize > 0 {
		v.part, v.total = append([]byte{}, c.Value...), c.ValueSize
	}
	return nil
}

// message validates one encoded response.
func (v *validator) message(raw []byte) error {
	var m bigtablepb.ReadRowsResponse
	if err := proto.Unmarshal(raw, &m); err != nil {
		return err
	}
	if len(m.ProtoReflect().GetUnknown()) > 0 {
		return errors.New("unknown fields")
	}
	if len(m.LastScannedRowKey) > 0 && (len(m.Chunks) > 0 || v.row != nil) {
		return errors.New("last_scanned_row_key with chunks")
	}
	for _, c := range m.Chunks {
		if err := v.chunk(c); err != nil {
			return err
		}
	}
	return nil
}

func randomRows(r *rand.Rand, n int) []Row {
	var rows []Row
	for i := range n {
		row := Row{Key: fmt.Appendf(nil, "%s%06d", strings.Repeat("k", r.IntN(20)*r.IntN(2)), i)}
		slices.SortFunc(rows, func(a, b Row) int { return bytes.Compare(a.Key, b.Key) })
		for f := range 1 + r.IntN(3) {
			for q := range 1 + r.IntN(3) {
				for v := range 1 + r.IntN(3) {
					c := Cell{Family: fmt.Sprint("f", f), Timestamp: int64(3-v) * 1000, Value: bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(1<<r.IntN(11)))}
					if q > 0 {
						c.Qualifier = bytes.Repeat([]byte{byte(q)}, q*r.IntN(100))
						c.Qualifier = append(c.Qualifier, byte(q))
					}
					if v > 0 {
						c.Qualifier = row.Cells[len(row.Cells)-1].Qualifier
					}
					if r.IntN(5) == 0 {
						c.Labels = []string{"label"}
					}
					row.Cells = append(row.Cells, c)
				}
			}
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b Row) int { return bytes.Compare(a.Key, b.Key) })
	return rows
}

func encode(t testing.TB, rows []Row, opts Options, r *rand.Rand) [][]byte {
	t.Helper()
	e := NewEncoder(opts)
	var out [][]byte
	take := func() {
		if m := e.Take(); m != nil {
			out = append(out, bytes.Clone(*m))
			for i := range *m {
				(*m)[i] = 0xee // the receiver may do what it likes
			}
			if opts.Pool != nil {
				opts.Pool.Put(m)
			}
		}
	}
	for _, row := range rows {
		for _, c := range row.Cells {
			e.AddCell(row.Key, c.Family, c.Qualifier, c.Timestamp, c.Value, c.Labels)
			for e.Full() {
				take()
			}
			if r != nil && r.IntN(30) == 0 {
				take()
			}
		}
		if r != nil && r.IntN(40) == 0 { // give the row up and begin it again
			e.AbortRow()
			for _, c := range row.Cells {
				e.AddCell(row.Key, c.Family, c.Qualifier, c.Timestamp, c.Value, c.Labels)
			}
		}
		e.EndRow()
		if r != nil && r.IntN(30) == 0 {
			e.LastScanned(row.Key)
		}
	}
	if err := e.Finish(&bigtablepb.RequestStats{}); err != nil {
		t.Fatal(err)
	}
	for n := -1; n != len(out); {
		n = len(out)
		take()
	}
	if e.Rows() != int64(len(rows)) {
		t.Fatalf("%d rows added, want %d", e.Rows(), len(rows))
	}
	return out
}

func decode(msgs [][]byte, viaProto bool) ([]Row, *Decoder, error) {
	var rows []Row
	d := &Decoder{}
	emit := func(r *Row) error { rows = append(rows, cloneRow(r)); return nil }
	for _, m := range msgs {
		var err error
		if viaProto {
			var p bigtablepb.ReadRowsResponse
			if err = proto.Unmarshal(m, &p); err == nil {
				err = d.DecodeProto(&p, emit)
			}
		} else {
			m = bytes.Clone(m)
			err = d.Decode(m, emit)
			for i := range m {
				m[i] = 0xee
			}
		}
		if err != nil {
			return rows, d, err
		}
	}
	return rows, d, d.Close()
}

func TestRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	pool := NewBufferPool()
	for i := range 150 {
		opts := Options{Target: 1 + r.IntN(1<<r.IntN(16)), Split: 1 + r.IntN(1<<(3+r.IntN(10))), Initial: r.IntN(100)}
		if i%2 == 0 {
			opts.Pool = pool
		}
		rows := randomRows(r, r.IntN(30))
		msgs := encode(t, rows, opts, r)
		want := dump(rows)
		var v validator
		for _, m := range msgs {
			if err := v.message(m); err != nil {
				t.Fatalf("options %+v: %v", opts, err)
			}
			if len(m) > opts.Target+2*(opts.Split+1000) {
				t.Fatalf("options %+v: message of %d bytes", opts, len(m))
			}
		}
		if got := dump(v.rows); v.row != nil || got != want {
			t.Fatalf("options %+v: validator merged\n%s\nwant\n%s", opts, got, want)
		}
		for _, viaProto := range []bool{false, true} {
			got, d, err := decode(msgs, viaProto)
			if err != nil || dump(got) != want {
				t.Fatalf("options %+v: decoder merged, %v\n%s\nwant\n%s", opts, err, dump(got), want)
			}
			if s, err := d.Stats(); s == nil || err != nil {
				t.Fatalf("stats %v, %v", s, err)
			}
		}
	}
}

// TestMessagesEndBetweenRows checks that only a row that is longer than a
// message is cut.
func TestMessagesEndBetweenRows(t *testing.T) {
	const target, split = 4096, 1000
	r := seedtest.New(t)
	var rows []Row
	for i := range 500 {
		row := Row{Key: fmt.Appendf(nil, "row%03d", i)}
		for c := range 1 + r.IntN(12) {
			row.Cells = append(row.Cells, Cell{Family: "f", Qualifier: fmt.Appendf(nil, "q%02d", c), Value: make([]byte, r.IntN(1000))})
		}
		rows = append(rows, row)
	}
	var v validator
	cuts := 0
	for i, m := range encode(t, rows, Options{Target: target, Split: split}, r) {
		before := len(v.rows)
		if err := v.message(m); err != nil {
			t.Fatal(err)
		}
		if v.row != nil {
			cuts++
			if n := len(v.rows); n != before {
				t.Fatalf("message %d ends within a row, behind %d others", i, n-before)
			}
		}
	}
	if v.row != nil || len(v.rows) != len(rows) || cuts == 0 {
		t.Fatalf("%d rows, %d cuts", len(v.rows), cuts)
	}
}

// TestLargeRow checks that a row of many mebibytes is cut into messages that
// the official client takes.
func TestLargeRow(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 10<<16) // 10 MiB
	rows := []Row{{Key: bytes.Repeat([]byte("k"), 4096), Cells: []Cell{
		{Family: "f", Qualifier: bytes.Repeat([]byte("q"), 16<<10), Value: big[:1<<20-1]},
		{Family: "f", Qualifier: bytes.Repeat([]byte("r"), 16<<10), Value: big},
		{Family: "f", Qualifier: bytes.Repeat([]byte("s"), 16<<10), Value: big[:1<<20]},
		{Family: "f", Qualifier: []byte("t")},
	}}}
	msgs := encode(t, rows, Options{}, nil)
	for _, m := range msgs {
		if len(m) >= MaxMessage {
			t.Fatalf("message of %d bytes", len(m))
		}
	}
	got, _, err := decode(msgs, false)
	if err != nil || len(got) != 1 || len(got[0].Cells) != 4 || !bytes.Equal(got[0].Cells[1].Value, big) {
		t.Fatalf("%d rows, %v", len(got), err)
	}
	if len(msgs) < 10 || len(msgs) > 14 {
		t.Fatalf("%d messages for 12 MiB", len(msgs))
	}
}

func TestReversedAndResume(t *testing.T) {
	one := []Cell{{Family: "f"}}
	msgs := encode(t, []Row{{Key: []byte("b"), Cells: one}, {Key: []byte("a"), Cells: one}}, Options{}, nil)
	if _, _, err := decode(msgs, false); !errors.Is(err, base.ErrCorrupt) {
		t.Fatalf("falling keys in a forward scan: %v", err)
	}
	d := Decoder{Reversed: true}
	for _, m := range msgs {
		if err := d.Decode(m, func(*Row) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if string(d.LastKey()) != "a" {
		t.Fatalf("last key %q", d.LastKey())
	}
	e := NewEncoder(Options{})
	e.LastScanned([]byte("x"))
	d = Decoder{}
	if err := d.Decode(*e.Take(), nil); err != nil || string(d.LastKey()) != "x" {
		t.Fatalf("last key %q, %v", d.LastKey(), err)
	}
	if e.Take() != nil {
		t.Fatal("one message too many")
	}
}

// TestAcceptance runs the test vectors that come with the official client.
func TestAcceptance(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "cloud.google.com/go/bigtable").Output()
	if err != nil {
		t.Skip("no go command:", err)
	}
	raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "testdata", "read-rows-acceptance-test.json"))
	if err != nil {
		t.Skip(err)
	}
	var file struct {
		Tests []struct {
			Name    string
			Chunks  []string
			Results []struct {
				Rk, Fm, Qual, Value, Label string
				Ts                         int64
				Error                      bool
			}
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Tests) < 40 {
		t.Fatalf("%d tests", len(file.Tests))
	}
	for _, c := range file.Tests {
		t.Run(c.Name, func(t *testing.T) {
			var msgs [][]byte
			for _, s := range c.Chunks {
				chunk := &bigtablepb.ReadRowsResponse_CellChunk{}
				if err := prototext.Unmarshal([]byte(s), chunk); err != nil {
					t.Fatal(err)
				}
				m, err := proto.Marshal(&bigtablepb.ReadRowsResponse{Chunks: []*bigtablepb.ReadRowsResponse_CellChunk{chunk}})
				if err != nil {
					t.Fatal(err)
				}
				msgs = append(msgs, m)
			}
			var want []string
			wantErr := false
			for _, r := range c.Results {
				if r.Error {
					wantErr = true
					continue
				}
				want = append(want, fmt.Sprintf("%s %s:%s@%d=%s %s", r.Rk, r.Fm, r.Qual, r.Ts, r.Value, r.Label))
			}
			for _, viaProto := range []bool{false, true} {
				rows, _, err := decode(msgs, viaProto)
				var got []string
				for _, r := range rows {
					for _, c := range r.Cells {
						got = append(got, fmt.Sprintf("%s %s:%s@%d=%s %s", r.Key, c.Family, c.Qualifier, c.Timestamp, c.Value, strings.Join(c.Labels, ",")))
					}
				}
				if (err != nil) != wantErr || err != nil && !errors.Is(err, base.ErrCorrupt) || !slices.Equal(got, want) {
					t.Errorf("got %q, %v; want %q, error %v", got, err, want, wantErr)
				}
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	rows := []Row{{Key: []byte("a"), Cells: []Cell{{Family: "f", Value: []byte("0123456789")}, {Family: "f", Qualifier: []byte("q"), Timestamp: 5}}}, {Key: []byte("b"), Cells: []Cell{{Labels: []string{"l"}}}}}
	for _, m := range encode(f, rows, Options{Split: 4}, nil) {
		f.Add(m)
	}
	m, _ := proto.Marshal(&bigtablepb.ReadRowsResponse{LastScannedRowKey: []byte("x"), Chunks: []*bigtablepb.ReadRowsResponse_CellChunk{
		{RowKey: []byte("a"), FamilyName: wrapperspb.String(""), Qualifier: wrapperspb.Bytes(nil), ValueSize: 3, Value: []byte("x")},
		{RowStatus: &bigtablepb.ReadRowsResponse_CellChunk_ResetRow{ResetRow: true}}}})
	f.Add(m)
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, _, err := decode([][]byte{raw}, false)
		var p bigtablepb.ReadRowsResponse
		if proto.Unmarshal(raw, &p) != nil {
			return
		}
		want, _, perr := decode([][]byte{raw}, true)
		if (err == nil) != (perr == nil) || dump(got) != dump(want) {
			t.Fatalf("from bytes: %v\n%s\nfrom the object: %v\n%s", err, dump(got), perr, dump(want))
		}
		if err != nil {
			return
		}
		again, _, err := decode(encode(t, got, Options{Target: 50, Split: 7}, nil), false)
		if err != nil || dump(again) != dump(got) {
			t.Fatalf("encoded again: %v\n%s\nwant\n%s", err, dump(again), dump(got))
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	e := NewEncoder(Options{Pool: NewBufferPool()})
	key, q, value := []byte("user000000000001"), []byte("qualifier"), make([]byte, 1000)
	b.ReportAllocs()
	b.SetBytes(1000)
	for b.Loop() {
		e.AddCell(key, "family", q, 1_700_000_000_000_000, value, nil)
		e.EndRow()
		for e.Full() {
			m := e.Take()
			e.opts.Pool.Put(m)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	e := NewEncoder(Options{})
	n := 0
	for ; !e.Full(); n++ {
		e.AddCell(fmt.Appendf(nil, "user%012d", n), "family", []byte("qualifier"), 1_700_000_000_000_000, make([]byte, 1000), nil)
		e.EndRow()
	}
	msg := *e.Take()
	b.ReportAllocs()
	rows := 0
	for b.Loop() {
		var d Decoder
		if err := d.Decode(msg, func(r *Row) error { rows++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rows), "ns/row")
}
