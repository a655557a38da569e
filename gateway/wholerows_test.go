package gateway

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/membudget"
)

// response is a ReadRowsResponse of chunks of the given sizes; each ends a row
// where it is negative.
func response(t testing.TB, sizes ...int) []byte {
	r := &bigtablepb.ReadRowsResponse{}
	for _, n := range sizes {
		c := &bigtablepb.ReadRowsResponse_CellChunk{RowKey: []byte("r"), FamilyName: wrapperspb.String("f"), Value: make([]byte, max(n, -n))}
		if n < 0 {
			c.RowStatus = &bigtablepb.ReadRowsResponse_CellChunk_CommitRow{CommitRow: true}
		}
		r.Chunks = append(r.Chunks, c)
	}
	b, err := proto.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestWholeRows cuts rows into messages anyhow and looks that a Go client gets
// none that ends within a row, and others none that is too long.
func TestWholeRows(t *testing.T) {
	for _, goClient := range []bool{true, false} {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 1))
		ctx := context.Background()
		if goClient {
			ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("user-agent", "cbt-go/v1.58.0 grpc-go/1.85.0"))
		}
		account := membudget.New(0).Account("rows", 1<<30)
		var got, want bigtablepb.ReadRowsResponse
		w := newWholeRows(ctx, account, func(parts ...mem.Buffer) error {
			b := mem.SliceBuffer(mem.BufferSlice(parts).Materialize())
			mid, err := endsWithinRow(b.ReadOnlyData(), false)
			if err != nil || mid && goClient || !goClient && b.Len() > defaultReceiveLimit+2<<20 {
				t.Errorf("a message of %d bytes, within a row: %v, %v", b.Len(), mid, err)
			}
			return proto.UnmarshalOptions{Merge: true}.Unmarshal(b.ReadOnlyData(), &got)
		})
		for i := range 50 {
			var sizes []int
			for range rnd.IntN(4) {
				sizes = append(sizes, 1+rnd.IntN(300<<10))
			}
			if n := len(sizes); n > 0 && rnd.IntN(3) == 0 || i == 49 {
				sizes = append(sizes, -1)
			}
			m := response(t, sizes...)
			if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(m, &want); err != nil {
				t.Fatal(err)
			}
			if err := w.frame(mem.SliceBuffer(m)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.flush(); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(&got, &want) {
			t.Errorf("%d chunks of %d", len(got.Chunks), len(want.Chunks))
		}
		if account.Used() != 0 {
			t.Errorf("%d bytes are left", account.Used())
		}
	}
}

// TestWholeRowsMemory: a row may be longer than the memory for rows, but two such
// rows are not put together at a time; one that no client takes is refused, and in
// the end nothing is held.
func TestWholeRowsMemory(t *testing.T) {
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("user-agent", "grpc-go/1.85.0"))
	account := membudget.New(0).Account("rows", 4<<20)
	sent := 0
	open := func() *wholeRows {
		return newWholeRows(ctx, account, func(parts ...mem.Buffer) error { sent += mem.BufferSlice(parts).Len(); return nil })
	}
	part := response(t, 1<<20)
	long, other := open(), open()
	for range 10 {
		if err := long.frame(mem.SliceBuffer(part)); err != nil {
			t.Fatal(err)
		}
	}
	var o *base.OverloadError
	if err := other.frame(mem.SliceBuffer(part)); !errors.As(err, &o) || o.After <= 0 {
		t.Fatalf("a second row beside one that takes all: %v", err)
	}
	other.abort()
	if err := long.frame(mem.SliceBuffer(response(t, -1))); err != nil || sent < 10<<20 || account.Used() != 0 {
		t.Fatalf("%d bytes sent, %d held: %v", sent, account.Used(), err)
	}
	sent = 0
	err := error(nil)
	for range maxGoMessage>>20 + 1 {
		if err = long.frame(mem.SliceBuffer(part)); err != nil {
			break
		}
	}
	long.abort()
	if !errors.Is(err, base.ErrPrecondition) || sent != 0 || account.Used() != 0 {
		t.Fatalf("a row that is too long: %v, %d bytes sent, %d held", err, sent, account.Used())
	}
}

func FuzzEndsWithinRow(f *testing.F) {
	f.Add(response(f, 3, -4))
	f.Add(response(f, 5))
	f.Fuzz(func(t *testing.T, b []byte) {
		mid, err := endsWithinRow(b, false)
		var r bigtablepb.ReadRowsResponse
		if err != nil || proto.Unmarshal(b, &r) != nil || len(r.Chunks) == 0 {
			return
		}
		last := r.Chunks[len(r.Chunks)-1]
		// Of a oneof that occurs more than once the last counts; no encoder
		// writes it so.
		if done := last.GetCommitRow() || last.GetResetRow(); done && mid {
			t.Fatalf("%v: within a row", last)
		}
	})
}

func BenchmarkEndsWithinRow(b *testing.B) {
	sizes := make([]int, 8000)
	for i := range sizes {
		sizes[i] = -100
	}
	m := response(b, sizes...)
	b.SetBytes(int64(len(m)))
	for b.Loop() {
		if mid, err := endsWithinRow(m, false); mid || err != nil {
			b.Fatal(mid, err)
		}
	}
}
