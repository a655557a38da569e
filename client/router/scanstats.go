package router

import (
	"fmt"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tabletdb/tabletdb/internal/base"
)

// statsField is ReadRowsResponse.request_stats.
const statsField = 3

// statsMerge adds up the statistics of the tablets of a scan: the client is to
// get one message of them, at the end.
type statsMerge struct {
	seen  bigtablepb.ReadIterationStats
	began time.Time
}

// take removes the statistics from a frame and adds them up. It returns the
// rest of the frame, nil where nothing is left.
func (m *statsMerge) take(b mem.Buffer) (mem.Buffer, error) {
	var rest []byte
	found := false
	data := b.ReadOnlyData()
	for at := 0; at < len(data); {
		num, typ, n := protowire.ConsumeTag(data[at:])
		k := -1
		if n > 0 {
			k = protowire.ConsumeFieldValue(num, typ, data[at+n:])
		}
		if k < 0 {
			b.Free()
			return nil, fmt.Errorf("%w: malformed ReadRowsResponse", base.ErrUnavailable)
		}
		if num == statsField && typ == protowire.BytesType {
			if !found {
				rest = append(rest, data[:at]...)
			}
			found = true
			v, _ := protowire.ConsumeBytes(data[at+n:])
			m.add(v)
		} else if found {
			rest = append(rest, data[at:at+n+k]...)
		}
		at += n + k
	}
	if !found {
		return b, nil
	}
	b.Free()
	if len(rest) == 0 {
		return nil, nil
	}
	return mem.SliceBuffer(rest), nil
}

func (m *statsMerge) add(raw []byte) {
	var s bigtablepb.RequestStats
	if proto.Unmarshal(raw, &s) != nil {
		return // statistics only
	}
	it := s.GetFullReadStatsView().GetReadIterationStats()
	m.seen.RowsSeenCount += it.GetRowsSeenCount()
	m.seen.RowsReturnedCount += it.GetRowsReturnedCount()
	m.seen.CellsSeenCount += it.GetCellsSeenCount()
	m.seen.CellsReturnedCount += it.GetCellsReturnedCount()
}

// message returns the last message of the scan.
func (m *statsMerge) message() []byte {
	b, err := proto.Marshal(&bigtablepb.ReadRowsResponse{RequestStats: &bigtablepb.RequestStats{
		StatsView: &bigtablepb.RequestStats_FullReadStatsView{FullReadStatsView: &bigtablepb.FullReadStatsView{
			ReadIterationStats:  &m.seen,
			RequestLatencyStats: &bigtablepb.RequestLatencyStats{FrontendServerLatency: durationpb.New(time.Since(m.began))},
		}},
	}})
	if err != nil {
		return nil // numbers only: cannot fail
	}
	return b
}
