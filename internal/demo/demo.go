// Package demo shows in a minute what TabletDB is for: it loads a real data set
// through the Go client, kills the server that holds it, and reads it again.
package demo

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/client"
	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
)

// birdstrikes are wildlife strikes that were reported to the US Federal
// Aviation Administration, 1990 to 2002 (public domain).
//
//go:embed birdstrikes.csv
var birdstrikes []byte

// table, and the prefix that is scanned.
const (
	table  = "birdstrikes"
	prefix = "Texas#DALLAS"
)

// family says where a column of the file goes; the others go to "flight".
var family = map[string]string{
	"Wildlife Size": "wildlife", "Wildlife Species": "wildlife",
	"Cost Other": "cost", "Cost Repair": "cost", "Cost Total $": "cost", "Effect Amount of damage": "cost",
}

// show runs the demo on a cluster and writes what happens to out.
type show struct {
	out     io.Writer
	cluster *cluster.Cluster
	client  *client.Client
	table   *client.Table
	meta    *meta.Store
}

// Run runs the demo on a fresh cluster in a temporary directory.
func Run(ctx context.Context, out io.Writer, log *slog.Logger) (err error) {
	dir, err := os.MkdirTemp("", "tabletdb-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	c, err := cluster.Open(ctx, cluster.Config{Dir: dir, TabletServers: 3, Logger: log})
	if err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, c.Close(stop))
	}()
	fmt.Fprintf(out, "A cluster runs: 1 lock server, 1 master, 3 tablet servers, all data in %s (%v)\n", dir, since(began))
	s := &show{out: out, cluster: c}
	if s.client, err = client.Open(ctx, client.Config{LockService: c.LockEndpoints(), Logger: log}); err != nil {
		return err
	}
	defer s.client.Close()
	e, err := c.Env("demo")
	if err != nil {
		return err
	}
	s.meta = meta.NewStore(e.LockService)
	s.table = s.client.Open(table)
	return s.run(ctx)
}

func (s *show) run(ctx context.Context) error {
	if err := s.create(ctx); err != nil {
		return fmt.Errorf("create table: %w", err)
	}
	rows, err := s.load(ctx)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	strikes, err := s.scan(ctx)
	if err != nil {
		return fmt.Errorf("scan: %w", err)
	}
	before, err := s.count(ctx)
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	if err := s.kill(ctx); err != nil {
		return err
	}
	began := time.Now()
	again, err := s.scan(ctx)
	if err != nil {
		return fmt.Errorf("scan after the crash: %w", err)
	}
	fmt.Fprintf(s.out, "The tablet was served again %v after the crash; nobody was told of it, its lease (%v) had to run out first.\n", since(began), cluster.SessionTTL)
	after, err := s.count(ctx)
	if err != nil {
		return fmt.Errorf("count after the crash: %w", err)
	}
	if before != rows || after != rows || again != strikes {
		return fmt.Errorf("%d rows imported, %d counted, %d after the crash; %d in the scan, %d after the crash", rows, before, after, strikes, again)
	}
	fmt.Fprintln(s.out, "Nothing was lost.")
	return nil
}

func (s *show) create(ctx context.Context) error {
	err := s.client.Admin().CreateTableFromConf(ctx, &client.TableConf{
		Table: table, Families: []client.Family{{Name: "flight"}, {Name: "wildlife"}, {Name: "cost", GC: client.MaxVersionsPolicy(1)}},
		Splits: []string{"F", "L", "P", "T"},
	})
	if err == nil {
		fmt.Fprintf(s.out, "Table %q: 5 tablets, families flight, wildlife and cost\n", table)
	}
	return err
}

// load imports the file. A row's key is state#airport#date#line.
func (s *show) load(ctx context.Context) (rows int, err error) {
	began := time.Now()
	r := csv.NewReader(bytes.NewReader(birdstrikes))
	names, err := r.Read()
	if err != nil {
		return 0, err
	}
	var failed firstError
	w := s.table.NewBulkWriter(client.BulkOptions{Done: failed.note})
	for {
		record, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return rows, err
		}
		rows++
		if err := w.Add(ctx, key(names, record, rows), mutation(names, record)); err != nil {
			return rows, err
		}
	}
	if err := errors.Join(w.Close(ctx), failed.err); err != nil {
		return rows, err
	}
	took := time.Since(began)
	fmt.Fprintf(s.out, "Imported %d rows of birdstrikes.csv in %v: %.0f rows/s, each durable\n", rows, took.Round(time.Millisecond), float64(rows)/took.Seconds())
	return rows, nil
}

// firstError keeps the first error of a BulkWriter's rows.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (f *firstError) note(row string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("row %q: %w", row, err)
	}
}

func key(names, record []string, line int) string {
	get := func(name string) string {
		for i, n := range names {
			if n == name {
				return record[i]
			}
		}
		return ""
	}
	return strings.Join([]string{get("Origin State"), get("Airport Name"), get("Flight Date"), fmt.Sprintf("%05d", line)}, "#")
}

func mutation(names, record []string) *client.Mutation {
	m := client.NewMutation()
	for i, v := range record {
		f := family[names[i]]
		if f == "" {
			f = "flight"
		}
		if v != "" {
			m.Set(f, names[i], client.Now(), []byte(v))
		}
	}
	return m
}

// scan reads the rows of one airport.
func (s *show) scan(ctx context.Context) (rows int, err error) {
	began := time.Now()
	var last client.Row
	for row, err := range s.table.Rows(ctx, client.PrefixRange(prefix)) {
		if err != nil {
			return rows, err
		}
		rows++
		last = row
	}
	species, _ := last.Value("wildlife", "Wildlife Species")
	date, _ := last.Value("flight", "Flight Date")
	fmt.Fprintf(s.out, "Scan of %q: %d strikes, the last on %s by: %s (%v)\n", prefix, rows, date, species, since(began))
	return rows, nil
}

func (s *show) count(ctx context.Context) (rows int, err error) {
	began := time.Now()
	keysOnly := client.ChainFilters(client.CellsPerRowLimitFilter(1), client.StripValueFilter())
	err = s.table.ReadRows(ctx, client.InfiniteRange(""), func(client.Row) bool { rows++; return true }, client.RowFilter(keysOnly))
	if err == nil {
		fmt.Fprintf(s.out, "Count: %d rows (%v)\n", rows, since(began))
	}
	return rows, err
}

// kill kills the tablet server that serves the scanned rows.
func (s *show) kill(ctx context.Context) error {
	t, err := s.meta.TableByName(ctx, s.table.Name())
	if err != nil {
		return err
	}
	at, err := s.meta.Locate(ctx, t.ID, []byte(prefix), 0, lockservice.ReadOptions{})
	if err != nil {
		return err
	}
	for _, n := range s.cluster.TabletServers() {
		if srv := n.Server(); srv != nil && srv.Incarnation() == at[0].Owner {
			fmt.Fprintf(s.out, "Killing the tablet server at %s, which holds these rows (some only in its memory and its log) ...\n", n.Addr())
			s.cluster.KillTabletServer(n)
			return nil
		}
	}
	return fmt.Errorf("nobody serves %q", prefix)
}

func since(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }
