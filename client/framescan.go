package client

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/route"
)

// lastRow follows the rows of a stream of ReadRowsResponse messages.
type lastRow struct {
	key   []byte // of the row in progress, or the last one
	inRow bool
}

// describe returns what a tablet server would have said of the message.
func (l *lastRow) describe(msg []byte) (info route.FrameInfo, err error) {
	err = eachField(msg, func(num protowire.Number, v []byte, _ uint64) error {
		switch num {
		case 1: // chunks
			committed, err := l.chunk(v)
			if committed {
				info.Rows++
				info.LastRow, info.HasLast = l.key, true
			}
			return err
		case 2: // last_scanned_row_key
			if len(v) > 0 {
				info.LastRow, info.HasLast = v, true
			}
		}
		return nil
	})
	info.MidRow = l.inRow
	return info, err
}

// chunk reads one CellChunk; it reports whether the row ends with it.
func (l *lastRow) chunk(c []byte) (committed bool, err error) {
	reset := false
	err = eachField(c, func(num protowire.Number, v []byte, x uint64) error {
		switch num {
		case 1: // row_key
			if len(v) > 0 {
				l.key = append([]byte(nil), v...)
			}
		case 8: // reset_row
			reset = x != 0
		case 9: // commit_row
			committed = x != 0
		}
		return nil
	})
	l.inRow = !committed && !reset
	return committed, err
}

// eachField calls f with each field: its bytes, or its varint.
func eachField(msg []byte, f func(num protowire.Number, v []byte, x uint64) error) error {
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return errMalformed
		}
		m := protowire.ConsumeFieldValue(num, typ, msg[n:])
		if m < 0 {
			return errMalformed
		}
		var v []byte
		var x uint64
		switch typ {
		case protowire.BytesType:
			v, _ = protowire.ConsumeBytes(msg[n:])
		case protowire.VarintType:
			x, _ = protowire.ConsumeVarint(msg[n:])
		}
		if err := f(num, v, x); err != nil {
			return err
		}
		msg = msg[n+m:]
	}
	return nil
}

var errMalformed = fmt.Errorf("%w: malformed ReadRowsResponse", base.ErrUnavailable)
