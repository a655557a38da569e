package gateway

import (
	"context"
	"math/rand/v2"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
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
		var got, want bigtablepb.ReadRowsResponse
		w := newWholeRows(ctx, func(b mem.Buffer) error {
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
