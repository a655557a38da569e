package tabletserver_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// slowScan reads a whole tablet, and takes no frame but the first ones while gate
// is not closed. It returns the rows.
func slowScan(f *tabletservertest.Fixture, s *tabletservertest.Server, tb meta.Tablet, gate chan struct{}, reversed bool) (rows []string, err error) {
	req, err := proto.Marshal(&bigtablepb.ReadRowsRequest{Reversed: reversed})
	f.Must(err)
	d := chunk.Decoder{Reversed: reversed}
	frames := 0
	err = s.ReadRows(f.T.Context(), route.Target{Tablet: tb.ID, Epoch: tb.Epoch}, route.Scan{}, req, func(b mem.Buffer, _ route.FrameInfo) error {
		defer b.Free()
		if frames++; frames == 3 {
			<-gate
		}
		return d.Decode(b.ReadOnlyData(), func(row *chunk.Row) error { rows = append(rows, string(row.Key)); return nil })
	})
	if err == nil {
		err = d.Close()
	}
	return rows, err
}

// TestSlowReader: a client that does not take what it asked for holds neither
// files nor much memory; when it goes on it gets each row once.
func TestSlowReader(t *testing.T) {
	for _, reversed := range []bool{false, true} {
		inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
			ctx := t.Context()
			f.Options.NoCompaction = true
			s := f.Open(ctx)
			tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], s)
			const rows = 300
			for i := range rows {
				f.Must(s.Set(ctx, tb, fmt.Sprintf("r%03d", i), "cf", "q", 1000, noise(uint64(i), 50_000)))
			}
			f.Must(s.Flush(ctx, tb))
			before := s.Files().Pinned()
			gate := make(chan struct{})
			type result struct {
				rows []string
				err  error
			}
			done := make(chan result, 1)
			go func() {
				rows, err := slowScan(f, s, tb, gate, reversed)
				done <- result{rows, err}
			}()
			synctest.Wait()
			f.Must(s.Set(ctx, tb, "r000", "cf", "q", 2000, "new"))
			f.Must(s.Compact(ctx, tb)) // other files
			time.Sleep(10 * time.Second)
			synctest.Wait()
			pinned := map[base.FileNumber]bool{}
			for _, n := range s.Files().Pinned() {
				pinned[n] = true
			}
			for _, n := range before {
				if pinned[n] {
					t.Errorf("reversed %v: %v is pinned by a client that sleeps", reversed, n)
				}
			}
			for _, u := range s.Memory().Usage() {
				if u.Name == "frames" && u.Used > 4<<20 || u.Name == "reads" && u.Used > 0 {
					t.Errorf("reversed %v: the sleeping client holds %d bytes of %s", reversed, u.Used, u.Name)
				}
			}
			close(gate)
			r := <-done
			f.Must(r.err)
			if len(r.rows) != rows {
				t.Fatalf("reversed %v: %d rows of %d", reversed, len(r.rows), rows)
			}
			for _, u := range s.Memory().Usage() {
				if (u.Name == "frames" || u.Name == "reads") && u.Used != 0 {
					t.Errorf("reversed %v: %d bytes of %s are left", reversed, u.Used, u.Name)
				}
			}
		})
	}
}
