package tabletserver

import (
	"errors"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"

	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rowfilter"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// errSend marks an error of the one who takes the frames.
var errSend = errors.New("send response")

// sink encodes what a scan finds and sends it frame by frame.
type sink struct {
	enc   *chunk.Encoder
	pool  *chunk.BufferPool
	send  func(mem.Buffer, route.FrameInfo) error
	info  route.FrameInfo
	last  []byte
	note  func(row []byte) // is told of each row
	bytes int64            // sent
}

func newSink(send func(mem.Buffer, route.FrameInfo) error, note func(row []byte)) *sink {
	return &sink{enc: chunk.NewEncoder(chunk.Options{Pool: framePool, Initial: 2 << 10}), pool: framePool, send: send, note: note}
}

// framePool lends the buffers of all frames of the process.
var framePool = chunk.NewBufferPool()

// Cell implements tablet.Sink.
func (k *sink) Cell(row []byte, c *rowfilter.Cell) error {
	k.enc.AddCell(row, c.Family, c.Qualifier, c.Timestamp, c.Value, c.Labels)
	for k.enc.Full() {
		if err := k.take(); err != nil {
			return err
		}
	}
	return nil
}

// EndRow implements tablet.Sink.
func (k *sink) EndRow(row []byte) error {
	k.enc.EndRow()
	k.info.Rows++
	k.note(row)
	k.last = append(k.last[:0], row...)
	k.info.LastRow, k.info.HasLast = k.last, true
	if k.enc.Full() {
		return k.take()
	}
	return nil
}

// Passed implements tablet.Sink. What was found so far goes out before the
// client hears that the scan is further.
func (k *sink) Passed(row []byte) error {
	if err := k.flush(); err != nil {
		return err
	}
	k.enc.LastScanned(row)
	k.last = append(k.last[:0], row...)
	k.info.LastRow, k.info.HasLast = k.last, true
	return k.flush()
}

// take sends the next frame.
func (k *sink) take() error {
	b := k.enc.Take()
	if b == nil {
		return nil
	}
	info := k.info
	info.MidRow = k.enc.MidRow()
	k.info = route.FrameInfo{}
	k.bytes += int64(len(*b))
	if err := k.send(mem.NewBuffer(b, k.pool), info); err != nil {
		return errors.Join(errSend, err)
	}
	return nil
}

// flush sends all complete frames and the rest.
func (k *sink) flush() error {
	for k.enc.Len() > 0 {
		before := k.enc.Len()
		if err := k.take(); err != nil {
			return err
		}
		if k.enc.Len() == before {
			return nil
		}
	}
	return nil
}

func (k *sink) finish(stats *bigtablepb.RequestStats) error {
	if err := k.enc.Finish(stats); err != nil {
		return err
	}
	return k.flush()
}

func statsOf(st tablet.Stats) *bigtablepb.RequestStats {
	return &bigtablepb.RequestStats{StatsView: &bigtablepb.RequestStats_FullReadStatsView{FullReadStatsView: &bigtablepb.FullReadStatsView{
		ReadIterationStats: &bigtablepb.ReadIterationStats{
			RowsSeenCount: st.RowsSeen, RowsReturnedCount: st.RowsReturned,
			CellsSeenCount: st.CellsSeen, CellsReturnedCount: st.CellsReturned,
		},
	}}}
}
