package client

import (
	"bytes"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/route"
)

func TestRemainder(t *testing.T) {
	req, err := proto.Marshal(&bigtablepb.ReadRowsRequest{TableName: "t", RowsLimit: 9, Rows: &bigtablepb.RowSet{RowKeys: [][]byte{[]byte("a"), []byte("b"), []byte("c")}}})
	if err != nil {
		t.Fatal(err)
	}
	keys := func(s route.Scan) string {
		raw, err := remainder(s, req)
		if err != nil {
			t.Fatal(err)
		}
		var m bigtablepb.ReadRowsRequest
		if err := proto.Unmarshal(raw, &m); err != nil || raw != nil && m.RowsLimit != 2 {
			t.Fatalf("%v, %v", &m, err)
		}
		return string(bytes.Join(m.GetRows().GetRowKeys(), nil))
	}
	for after, want := range map[string]string{"": "abc", "a": "bc", "b": "c", "c": ""} {
		if got := keys(route.Scan{After: []byte(after), HasAfter: true, Limit: 2}); got != want {
			t.Errorf("after %q: %q, want %q", after, got, want)
		}
	}
	req, _ = proto.Marshal(&bigtablepb.ReadRowsRequest{RowsLimit: 9, Reversed: true, Rows: &bigtablepb.RowSet{RowKeys: [][]byte{[]byte("a"), []byte("b"), []byte("c")}}})
	for after, want := range map[string]string{"a": "", "b": "a", "c": "ab"} {
		if got := keys(route.Scan{After: []byte(after), HasAfter: true, Limit: 2}); got != want {
			t.Errorf("reversed, after %q: %q, want %q", after, got, want)
		}
	}
}

func FuzzDescribe(f *testing.F) {
	msg, err := proto.Marshal(&bigtablepb.ReadRowsResponse{Chunks: []*bigtablepb.ReadRowsResponse_CellChunk{
		{RowKey: []byte("r"), Value: []byte("v"), RowStatus: &bigtablepb.ReadRowsResponse_CellChunk_CommitRow{CommitRow: true}},
		{RowKey: []byte("s")},
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(msg)
	f.Fuzz(func(t *testing.T, b []byte) {
		var l lastRow
		info, err := l.describe(b)
		if err == nil && bytes.Equal(b, msg) && (info.Rows != 1 || string(info.LastRow) != "r" || !info.MidRow) {
			t.Errorf("%+v", info)
		}
	})
}
