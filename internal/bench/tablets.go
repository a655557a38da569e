package bench

import (
	"context"
	"fmt"
	"io"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tabletdb/tabletdb/internal/bench/load"
	"github.com/tabletdb/tabletdb/internal/bench/proc"
)

// tabletKey is the first key of tablet i of a table of idle.
func tabletKey(i int) string { return fmt.Sprintf("t%06d", i) }

// tabletList is tables whose tablets must all serve.
type tabletList struct{ tables []idleTable }

type idleTable struct {
	name    string // in full
	tablets int
}

// fill writes rows to each tablet of a table.
func (l *tabletList) fill(ctx context.Context, t load.Table, tablets, rowsEach int) error {
	var keys []string
	var versions []int64
	var values [][]byte
	for i := range tablets {
		for r := range rowsEach {
			keys = append(keys, fmt.Sprintf("%s-%06d", tabletKey(i), r))
			versions, values = append(versions, 1), append(values, make([]byte, 100))
		}
	}
	for len(keys) > 0 {
		n := min(len(keys), 1000)
		errs, err := t.WriteBulk(ctx, keys[:n], versions[:n], values[:n])
		if err != nil {
			return err
		}
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		keys, versions, values = keys[n:], versions[n:], values[n:]
	}
	return nil
}

// How tablets are asked whether they serve: by so many at once, each within a
// time after which it is asked again.
const (
	askers   = 32
	askFor   = 2 * time.Second
	askAgain = 20 * time.Millisecond
	waitAll  = 5 * time.Minute
)

// wait returns when each tablet has answered a read.
func (l *tabletList) wait(ctx context.Context, db *proc.TabletDB) error {
	ctx, cancel := context.WithTimeoutCause(ctx, waitAll, fmt.Errorf("not all tablets serve after %v", waitAll))
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+db.Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close() // nothing was left to send
	client := bigtablepb.NewBigtableClient(conn)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(askers)
	for _, t := range l.tables {
		for i := range t.tablets {
			g.Go(func() error { return waitTablet(ctx, client, db, t.name, tabletKey(i)) })
		}
	}
	return g.Wait()
}

// waitTablet returns when a read of the key gets an answer.
func waitTablet(ctx context.Context, c bigtablepb.BigtableClient, db *proc.TabletDB, table, key string) error {
	for {
		err := askTablet(ctx, c, table, key)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%w; tablet %s of %s: %w", context.Cause(ctx), key, table, err)
		case !db.Alive():
			return fmt.Errorf("the server has ended: %w; it said: %s", err, db.Output())
		}
		select {
		case <-ctx.Done():
		case <-time.After(askAgain):
		}
	}
}

func askTablet(ctx context.Context, c bigtablepb.BigtableClient, table, key string) error {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	s, err := c.ReadRows(ctx, &bigtablepb.ReadRowsRequest{
		TableName: table, Rows: &bigtablepb.RowSet{RowKeys: [][]byte{[]byte(key)}}, RowsLimit: 1,
	})
	for err == nil {
		_, err = s.Recv()
	}
	if err == io.EOF {
		return nil
	}
	return err
}
