package route

import (
	"bytes"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"
)

func TestInfoRoundTrip(t *testing.T) {
	msg, err := proto.Marshal(&bigtablepb.ReadRowsResponse{Chunks: []*bigtablepb.ReadRowsResponse_CellChunk{{RowKey: []byte("r")}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []FrameInfo{
		{}, {Rows: 5}, {LastRow: []byte("k\x00"), HasLast: true, Rows: 1 << 40}, {HasLast: true}, {MidRow: true},
		{LastRow: bytes.Repeat([]byte("x"), 4096), HasLast: true, MidRow: true},
	} {
		frame := AppendInfo(bytes.Clone(msg), want)
		got, info, err := SplitInfo(frame)
		if err != nil || !bytes.Equal(got, msg) || info.Rows != want.Rows || info.HasLast != want.HasLast ||
			info.MidRow != want.MidRow || !bytes.Equal(info.LastRow, want.LastRow) {
			t.Errorf("%+v came back as %+v, %v", want, info, err)
		}
		var r bigtablepb.ReadRowsResponse
		if err := proto.Unmarshal(frame, &r); err != nil || len(r.Chunks) != 1 {
			t.Errorf("a plain client cannot read the frame: %v", err)
		}
	}
}

func FuzzSplitInfo(f *testing.F) {
	f.Add(AppendInfo(nil, FrameInfo{Rows: 3, HasLast: true, LastRow: []byte("a")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if msg, _, err := SplitInfo(b); err == nil && len(msg) > len(b) {
			t.Fatal("message longer than its frame")
		}
	})
}

func TestStatusesRoundTrip(t *testing.T) {
	in := []error{nil, errNoTablets, nil}
	out := make([]error, 3)
	n, err := readStatuses(AppendStatuses(nil, 3, in), out)
	if err != nil || n != 3 || out[0] != nil || out[1] == nil || out[2] != nil {
		t.Fatalf("statuses came back as %v (%d, %v)", out, n, err)
	}
	var m bigtablepb.MutateRowsResponse
	if err := proto.Unmarshal(AppendStatuses(nil, 3, in), &m); err != nil || len(m.Entries) != 3 || m.Entries[1].Status.Code == 0 || m.Entries[2].Index != 2 || m.Entries[2].Status == nil {
		t.Fatalf("a plain client reads %v, %v", &m, err)
	}
}
