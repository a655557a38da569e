package bulkload_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/client"
	"github.com/tabletdb/tabletdb/client/bulkload"
	"github.com/tabletdb/tabletdb/internal/cluster"
)

// benchRows is how many rows are loaded, of one cell of benchValue bytes each.
const (
	benchRows  = 200_000
	benchValue = 500
)

// BenchmarkLoad writes the same rows, in random order, into tables of 8 tablets of
// one cluster on a local directory: as mutations, by the bulk writer of the native
// client, and as files. Run it with -benchtime 1x.
func BenchmarkLoad(b *testing.B) {
	c, err := cluster.Open(b.Context(), cluster.Config{Dir: b.TempDir(), GatewayAddr: "none", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Kill()
	rng := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 1<<20) // which does not compress
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	value := func(i int) []byte { at := i * 7919 % (len(noise) - benchValue); return noise[at : at+benchValue] }
	db, err := client.Open(b.Context(), client.Config{LockService: c.LockEndpoints(), Project: "p", Instance: "i"})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	rows := make([]string, benchRows)
	for i, k := range rng.Perm(benchRows) {
		rows[i] = fmt.Sprintf("user%012d", k)
	}
	b.Run("mutations", func(b *testing.B) {
		for b.Loop() {
			w := db.Open(benchTable(b, db)).NewBulkWriter(client.BulkOptions{})
			for i, row := range rows {
				m := client.NewMutation()
				m.Set("cf", "q", 1000, value(i))
				if err := w.Add(b.Context(), row, m); err != nil {
					b.Fatal(err)
				}
			}
			if err := w.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(benchRows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("files", func(b *testing.B) {
		for b.Loop() {
			t := benchTable(b, db)
			l, err := bulkload.Open(b.Context(), bulkload.Config{
				LockService: c.LockEndpoints(), Store: c.Bucket().Data, Table: "projects/p/instances/i/tables/" + t, Options: bulkload.Options{Dir: b.TempDir()},
			})
			if err != nil {
				b.Fatal(err)
			}
			for i, row := range rows {
				if err := l.Add([]byte(row), "cf", []byte("q"), 1000, value(i)); err != nil {
					b.Fatal(err)
				}
			}
			s, err := l.Commit(b.Context())
			if err != nil || s.Cells != benchRows {
				b.Fatal(s, err)
			}
			b.ReportMetric(float64(s.Adopt.Milliseconds()), "adopt-ms")
			if err := l.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(benchRows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
}

// benchTable makes a table, which is served when it returns its short name.
func benchTable(b *testing.B, db *client.Client) string {
	b.StopTimer()
	defer b.StartTimer()
	conf := &client.TableConf{Table: fmt.Sprint("t", time.Now().UnixNano()), Families: []client.Family{{Name: "cf"}}}
	for i := 1; i < 8; i++ {
		conf.Splits = append(conf.Splits, fmt.Sprintf("user%012d", i*benchRows/8))
	}
	if err := db.Admin().CreateTableFromConf(b.Context(), conf); err != nil {
		b.Fatal(err)
	}
	return conf.Table
}
