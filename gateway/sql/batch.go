package sql

import (
	"fmt"
	"hash/crc32"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/gateway/sql/plan"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
)

const (
	// maxMessage is how much of a batch goes into one message, in bytes.
	maxMessage = 1 << 20
	// maxScanned is after how many rows without a token there is one.
	maxScanned = 10_000
	// maxWait is after how long what there is gets sent with the next row.
	maxWait = time.Second
	// valuesField is the field of ProtoRows.
	valuesField = protowire.Number(2)
)

// batcher is the plan.Sink that makes the messages of one response.
type batcher struct {
	send    func(*bigtablepb.ExecuteQueryResponse) error
	hash    uint64
	at      resumption
	buf     []byte // ProtoRows of the batch in progress
	scanned int    // rows since the last token
	flushed time.Time
	begun   bool // a message was sent
}

var _ plan.Sink = (*batcher)(nil)

// Row implements plan.Sink.
func (b *batcher) Row(row []value.Value) error {
	if len(b.buf) >= BatchSize { // of a plan that is not Resumable
		if err := b.flush(nil); err != nil {
			return err
		}
	}
	for _, v := range row {
		p := value.ToProto(v)
		b.buf = protowire.AppendTag(b.buf, valuesField, protowire.BytesType)
		b.buf = protowire.AppendVarint(b.buf, uint64(proto.Size(p)))
		var err error
		if b.buf, err = (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend(b.buf, p); err != nil {
			return fmt.Errorf("encode a value: %w", err)
		}
	}
	return nil
}

// Scanned implements plan.Sink.
func (b *batcher) Scanned(pos *plan.Position) error {
	b.scanned++
	if len(b.buf) < BatchSize && b.scanned < maxScanned && time.Since(b.flushed) < maxWait {
		return nil
	}
	at := b.at
	at.pos = *pos
	return b.flush(at.encode(b.hash))
}

// finish sends what is left and the sentinel.
func (b *batcher) finish() error {
	at := resumption{done: true, now: b.at.now}
	return b.flush(at.encode(b.hash))
}

// flush sends the batch in progress with a token, or without if nil. No message
// says how large its batch may be: Google's client for Node.js (7.2.0) takes the
// number of bytes for one of messages, and fails.
func (b *batcher) flush(token []byte) error {
	rest := b.buf
	sum := crc32.Checksum(rest, crc32.MakeTable(crc32.Castagnoli))
	for first := true; first || len(rest) > 0; first = false {
		r := &bigtablepb.PartialResultSet{Reset_: !b.begun}
		if len(rest) > 0 {
			piece := rest[:min(len(rest), maxMessage)]
			rest = rest[len(piece):]
			r.PartialRows = &bigtablepb.PartialResultSet_ProtoRowsBatch{ProtoRowsBatch: &bigtablepb.ProtoRowsBatch{BatchData: piece}}
			if len(rest) == 0 {
				r.BatchChecksum = &sum
			}
		}
		if len(rest) == 0 {
			r.ResumeToken = token
		}
		b.begun = true
		if err := b.send(&bigtablepb.ExecuteQueryResponse{Response: &bigtablepb.ExecuteQueryResponse_Results{Results: r}}); err != nil {
			return err
		}
	}
	b.buf = nil // the messages hold on to it
	b.scanned, b.flushed = 0, time.Now()
	return nil
}
