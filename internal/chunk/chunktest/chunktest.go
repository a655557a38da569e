// Package chunktest reads streams of rows in tests.
package chunktest

import (
	"errors"
	"io"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/chunk"
)

// Stream is what a call of ReadRows gives its client.
type Stream interface {
	Recv() (*bigtablepb.ReadRowsResponse, error)
}

// Cells returns what format makes of each cell, in order. The
// error is the stream's, or says where it breaks the protocol.
func Cells(st Stream, reversed bool, format func(row []byte, c *chunk.Cell) string) ([]string, error) {
	d := chunk.Decoder{Reversed: reversed}
	var out []string
	for {
		m, err := st.Recv()
		if errors.Is(err, io.EOF) {
			return out, d.Close()
		}
		if err != nil {
			return nil, err
		}
		err = d.DecodeProto(m, func(r *chunk.Row) error {
			for i := range r.Cells {
				out = append(out, format(r.Key, &r.Cells[i]))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
}
