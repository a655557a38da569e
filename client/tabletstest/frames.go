package tabletstest

import (
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tabletdb/tabletdb/internal/route"
)

const fullStats = bigtablepb.ReadRowsRequest_REQUEST_STATS_FULL

// frameWriter cuts the rows of a scan into frames.
type frameWriter struct {
	op                          Op
	fault                       Fault
	send                        func(mem.Buffer, route.FrameInfo) error
	rowsPerFrame, cellsPerFrame int

	resp   bigtablepb.ReadRowsResponse
	info   route.FrameInfo
	total  int64
	frames int
}

func (w *frameWriter) row(r row) error {
	for i, c := range r.cells {
		ch := &bigtablepb.ReadRowsResponse_CellChunk{
			FamilyName: wrapperspb.String(c.family), Qualifier: wrapperspb.Bytes([]byte(c.qualifier)),
			TimestampMicros: c.timestamp, Value: []byte(c.value),
		}
		if i == 0 {
			ch.RowKey = []byte(r.key)
		}
		last := i == len(r.cells)-1
		if last {
			ch.RowStatus = &bigtablepb.ReadRowsResponse_CellChunk_CommitRow{CommitRow: true}
			w.info.Rows++
			w.info.LastRow, w.info.HasLast = []byte(r.key), true
		}
		w.resp.Chunks = append(w.resp.Chunks, ch)
		if !last && w.cellsPerFrame > 0 && len(w.resp.Chunks) >= w.cellsPerFrame {
			if err := w.flush(true); err != nil {
				return err
			}
		}
	}
	most := int64(w.rowsPerFrame)
	if most == 0 {
		most = 100
	}
	if w.info.Rows >= most {
		return w.flush(false)
	}
	return nil
}

func (w *frameWriter) stats(seen int64) {
	w.resp.RequestStats = &bigtablepb.RequestStats{StatsView: &bigtablepb.RequestStats_FullReadStatsView{
		FullReadStatsView: &bigtablepb.FullReadStatsView{ReadIterationStats: &bigtablepb.ReadIterationStats{
			RowsSeenCount: seen, RowsReturnedCount: w.total,
		}},
	}}
}

func (w *frameWriter) flush(midRow bool) error {
	if len(w.resp.Chunks) == 0 && w.resp.RequestStats == nil {
		return nil
	}
	if w.frames++; w.frames > 1 && w.fault.Frame != nil {
		if err := w.fault.Frame(w.op); err != nil {
			return err
		}
	}
	b, err := proto.Marshal(&w.resp)
	if err != nil {
		return err
	}
	info := w.info
	info.MidRow = midRow
	w.resp.Reset()
	w.info = route.FrameInfo{}
	return w.send(mem.SliceBuffer(b), info)
}
