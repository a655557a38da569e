package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/master/gc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// sizes returns the bytes of each of the tablets all, as SampleRowKeys has them:
// a sample says how much lies before its row, and each tablet ends with one.
func (g *growth) sizes(ctx context.Context, all []meta.Tablet) ([]int64, error) {
	s, err := bigtablepb.NewBigtableClient(g.conn).SampleRowKeys(ctx, &bigtablepb.SampleRowKeysRequest{
		TableName: "projects/local/instances/main/tables/" + growTable,
	})
	if err != nil {
		return nil, err
	}
	before := map[string]int64{}
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		before[string(r.RowKey)] = r.OffsetBytes
	}
	var sizes []int64
	var start int64
	for _, t := range all {
		end, ok := before[string(t.End)]
		if !ok {
			return nil, fmt.Errorf("%w: no sample at the end of tablet %d", errFailures, t.ID)
		}
		sizes = append(sizes, end-start)
		start = end
	}
	return sizes, nil
}

// account sums up.
func (g *growth) account(ctx context.Context) (err error) {
	s := g.study
	all, err := g.tablets(ctx)
	if err != nil {
		return err
	}
	if s.Tablets, err = g.sizes(ctx, all); err != nil {
		return err
	}
	s.Smallest, s.Largest = slices.Min(s.Tablets), slices.Max(s.Tablets)
	s.Met = s.Largest <= growSpread*s.Smallest
	for _, t := range all {
		s.Servers[t.Owner.String()]++
	}
	if err := g.traffic(ctx); err != nil {
		return err
	}
	return g.stored(ctx)
}

// traffic sums up what went to the bucket and came from it.
func (g *growth) traffic(ctx context.Context) error {
	s := g.study
	samples, err := g.db.Metrics(ctx)
	if err != nil {
		return err
	}
	var written, puts, gets float64
	for _, m := range samples {
		kind, op := m.Labels["kind"], m.Labels["op"]
		t := s.Traffic[kind]
		put := op == "put" || op == "put_if_absent" || op == "upload"
		get := op == "get" || op == "get_range" || op == "download"
		switch calls := m.Name == "tabletdb_objstore_calls_total"; {
		case calls && put:
			t.Puts += int64(m.Value)
			puts += m.Value
		case calls && get:
			t.Gets += int64(m.Value)
			gets += m.Value
		case calls && op == "delete":
			t.Deletes += int64(m.Value)
		case m.Name == "tabletdb_objstore_bytes_total" && put:
			t.PutBytes += int64(m.Value)
			written += m.Value
		case m.Name == "tabletdb_objstore_bytes_total" && get:
			t.GetBytes += int64(m.Value)
		default:
			continue
		}
		s.Traffic[kind] = t
	}
	batches := float64(s.Rows) / batch
	s.WriteAmplification, s.PutsPerBatch, s.GetsPerBatch = written/float64(s.UserBytes), puts/batches, gets/batches
	return nil
}

// stored collects garbage and counts what the bucket holds then.
func (g *growth) stored(ctx context.Context) (err error) {
	var u undo
	defer func() { err = errors.Join(err, u.do()) }()
	store, err := u.openBucket(ctx, g.raw)
	if err != nil {
		return err
	}
	report, err := gc.Run(ctx, gc.Config{LockService: g.ls, Store: store, Manifest: manifest.Files(store), Ask: askFiles})
	if err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	s := g.study
	s.Garbage = report.Garbage
	for info, err := range store.List(ctx, "", "") {
		if err != nil {
			return err
		}
		s.Stored.Objects++
		s.Stored.Bytes += info.Size
	}
	s.SpaceAmplification = float64(s.Stored.Bytes) / float64(s.UserBytes)
	return nil
}

// askFiles asks a tablet server for the files that it may still name or read.
func askFiles(ctx context.Context, s meta.Server) (gc.Server, error) {
	cc, err := rpc.Dial(rpc.TCP{}, s.Address)
	if err != nil {
		return gc.Server{}, err
	}
	defer cc.Close() // nothing was left to send
	return gc.Ask(ctx, controlpb.NewTabletServerClient(cc), s)
}

func (a *app) printGrow(s *GrowStudy, require bool) error {
	err := a.out.print(s, func(w io.Writer) error {
		fmt.Fprintf(w, "rows\t%d in %.0f s\t%s rows/s\n", s.Rows, s.Load, count(s.Speed))
		fmt.Fprintf(w, "keys and values\t%s\t\n", megabytes(s.UserBytes))
		fmt.Fprintf(w, "digested\tafter %.0f s more\t\n", s.Digest)
		met := ""
		if !s.Met {
			met = "  missed"
		}
		fmt.Fprintf(w, "tablets\t%d, of %s to %s\t%.2f times, goal at most %d%s\n", len(s.Tablets), megabytes(s.Smallest), megabytes(s.Largest),
			float64(s.Largest)/float64(max(1, s.Smallest)), growSpread, met)
		for _, server := range slices.Sorted(maps.Keys(s.Servers)) {
			fmt.Fprintf(w, "  of server %s\t%d\t\n", server, s.Servers[server])
		}
		fmt.Fprintf(w, "write amplification\t%.2f\t\n", s.WriteAmplification)
		fmt.Fprintf(w, "space amplification\t%.2f\t%s in %d objects, after %s in %d were collected\n", s.SpaceAmplification,
			megabytes(s.Stored.Bytes), s.Stored.Objects, megabytes(s.Garbage.Bytes), s.Garbage.Objects)
		fmt.Fprintf(w, "for each batch of %d\t%.2f PUT\t%.2f GET\n", batch, s.PutsPerBatch, s.GetsPerBatch)
		for _, kind := range slices.Sorted(maps.Keys(s.Traffic)) {
			t := s.Traffic[kind]
			fmt.Fprintf(w, "  %s\t%d PUT, %s\t%d GET, %s; %d deletions\n", kind, t.Puts, megabytes(t.PutBytes), t.Gets, megabytes(t.GetBytes), t.Deletes)
		}
		_, err := fmt.Fprintf(w, "read back and checked\t%s rows/s\t\n", count(s.Read))
		return err
	})
	if err == nil && require && !s.Met {
		return fmt.Errorf("%w: see above", ErrGoal)
	}
	return err
}
