package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/admin"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/objstore/openstore"
)

// system is a whole cluster in a bubble, and the App to look after it.
type system struct {
	*cluster.Cluster
	net   *memnet.Net
	store objstore.Store
	app   admin.App
}

// shared is a store that outlives the commands.
type shared struct{ objstore.Store }

func (shared) Close() error { return nil }

// newSystem starts a cluster. The caller kills it before the bubble ends.
func newSystem(t *testing.T) *system { return newSystemOf(t, 1) }

// newSystemOf is newSystem with a number of replicas of the lock service.
func newSystemOf(t *testing.T, replicas int) *system {
	t.Helper()
	return newSystemWith(t, func(c *cluster.Config) { c.LockServers = replicas })
}

// newSystemWith is newSystem with what f sets.
func newSystemWith(t *testing.T, f func(*cluster.Config)) *system {
	t.Helper()
	store := mem.New()
	s := &system{net: memnet.New(), store: store}
	start := time.Now()
	var err error
	c := cluster.Config{
		Store: store, Node: func(name string) rpc.Network { return s.net.Node(name) }, Host: "host",
		Clock:  func() time.Duration { return time.Since(start) },
		Logger: slog.New(slog.DiscardHandler), GatewayAddr: "none", Version: "test",
	}
	f(&c)
	s.Cluster, err = cluster.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	endpoints := strings.Join(s.LockEndpoints(), ",")
	s.app = admin.App{
		Network: s.net.Node("admin"), Version: "1.2.3",
		Getenv: func(k string) string { return map[string]string{"TABLETDB_LOCKSERVICE": endpoints}[k] },
		Store:  func(context.Context, string) (openstore.Store, error) { return shared{store}, nil },
	}
	return s
}

func scrubs(list ...string) []*regexp.Regexp {
	var out []*regexp.Regexp
	for _, s := range list {
		out = append(out, regexp.MustCompile(s))
	}
	return out
}

// must runs a command that succeeds and decodes its JSON into v.
func (s *system) must(t *testing.T, v any, args ...string) {
	t.Helper()
	code, out, errs := invoke(t.Context(), s.app, "", append(args, "-o", "json")...)
	if code != 0 {
		t.Fatalf("%v: exit %d: %s", args, code, errs)
	}
	if v == nil {
		return
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		t.Fatalf("%v: %v in %s", args, err, out)
	}
}

// fails runs a command that fails with an exit code and an error that holds
// text.
func (s *system) fails(t *testing.T, code int, text string, args ...string) {
	t.Helper()
	got, out, errs := invoke(t.Context(), s.app, "", args...)
	if got != code || !strings.Contains(out+errs, text) {
		t.Errorf("%v: exit %d: %s%s\nwant exit %d and %q", args, got, out, errs, code, text)
	}
}

// always are scrubs of what a run does not repeat.
func always() []*regexp.Regexp {
	return scrubs(
		`(?P<file>\b1-\d+-\d+\b)`, `(?P<session>\b1-\d+\b)`, `(?P<port>host:\d+)`, `(?P<time>\b20\d\d-\d\d-\d\dT[0-9:.]+Z)`,
		`(?P<time>\b\d+m\d+s\b|\b\d+(\.\d+)?(ms|µs|ns|s)\b)`, `(?P<hex>\b[0-9a-f]{32}\b)`, `(?P<rate>\([0-9,]+ rows/s\))`,
		`(?P<revision>revision \d+)`, `(?P<role>(tabletserver|master) <port>)`,
	)
}

// TestSystem runs commands against a whole cluster.
func TestSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		sc := script{app: s.app, scrub: always(), do: map[string]func(){
			"stop the master": func() {
				if err := s.Masters()[0].Master.Close(); err != nil {
					t.Error(err)
				}
			},
			"kill a tablet server": func() { s.KillTabletServer(s.TabletServers()[0]) },
			"wait":                 func() { time.Sleep(30 * time.Second) },
		}}
		sc.run(t, "system.txt")
	})
}

// TestGC looks at what is kept and why, and collects the rest.
func TestGC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		sc := script{app: s.app, scrub: append(scrubs(`(?P<size>\b[0-9.]+ (B|KiB)\b)`, `(?P<bytes>"bytes": \d+)`), always()...), do: map[string]func(){
			"stop the master": func() {
				if err := s.Masters()[0].Master.Close(); err != nil {
					t.Error(err)
				}
			},
			"wait": func() { time.Sleep(30 * time.Second) },
		}}
		sc.run(t, "gc.txt")
	})
}

// TestImportSST loads SSTables, and refuses to.
func TestImportSST(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		sc := script{app: s.app, scrub: append(scrubs(`(?P<size>\b[0-9.]+ (B|KiB)\b)`, `(?P<bytes>"bytes": \d+)`, `(?P<seconds>"[a-z_]*(seconds|per_second)": [0-9.e+-]+)`), always()...), do: map[string]func(){
			"lose a load": func() { s.loseLoad(t) },
			"wait":        func() { time.Sleep(30 * time.Second) },
		}}
		sc.run(t, "bulk.txt")
	})
}

// loseLoad decides a load of the table t whose manifest is not there.
func (s *system) loseLoad(t *testing.T) {
	t.Helper()
	e, err := s.Env("loser")
	if err != nil {
		t.Fatal(err)
	}
	session, err := e.LockService.OpenSession(t.Context(), "loser", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(t.Context())
	m := meta.NewStore(e.LockService)
	tbl, err := m.TableByName(t.Context(), "projects/local/instances/main/tables/t")
	if err == nil {
		_, err = m.DecideLoad(t.Context(), tbl, meta.BulkLoad{Manifest: base.FileNumber{Creator: session.ID(), Number: 1}, Files: 1}, session.ID())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestInside looks into every kind of file, and at damage.
func TestInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		s.must(t, nil, "table", "create", "t", "--families", "cf")
		s.must(t, nil, "put", "t", "a", "cf:q=1", "cf:r=2", "--ts", "1000")
		s.must(t, nil, "put", "t", "b", "cf:q=3", "--ts", "2000")
		s.must(t, nil, "delete", "t", "a", "cf:q", "--yes")

		var tablets []struct {
			ID   uint64
			Logs []struct{ Log string }
		}
		s.must(t, &tablets, "tablets", "list", "t")
		log, tablet := tablets[0].Logs[0].Log, fmt.Sprint(tablets[0].ID)
		var object struct {
			Sections []struct {
				Records []struct {
					Row string
					Ops []struct{ Kind, Column, Value string }
				}
			}
		}
		s.must(t, &object, "wal", "dump", log, "0", "--records", "--tablet", tablet)
		if r := object.Sections[0].Records[0]; r.Row != "a" || len(r.Ops) != 2 || r.Ops[1].Value != "2" {
			t.Errorf("the log holds %+v", object)
		}
		s.must(t, nil, "wal", "ls", log)
		s.fails(t, 3, "not found", "wal", "dump", log, "99")
		s.fails(t, 2, "no manifest yet", "manifest", "dump", tablet)

		s.must(t, nil, "flush", "--tablet", tablet)
		var m struct {
			Name  string
			Files []struct {
				Name, Object string
				Entries      int
			}
		}
		s.must(t, &m, "manifest", "dump", tablet)
		s.must(t, &m, "manifest", "dump", m.Name)
		if len(m.Files) != 1 || m.Files[0].Entries != 2 { // the first flush leaves out what is deleted
			t.Fatalf("the manifest is %+v", m)
		}
		file := m.Files[0]
		var props struct {
			Rows  int
			Kinds map[string]int `json:"entries_by_kind"`
		}
		s.must(t, &props, "sst", "props", file.Object)
		if props.Rows != 2 || props.Kinds["set"] != 2 {
			t.Errorf("properties %+v", props)
		}
		s.must(t, nil, "sst", "verify", file.Name)
		_, out, _ := invoke(t.Context(), s.app, "", "sst", "dump", file.Name, "--start", "a", "--end", "b")
		if want := "a  1:r @1000 #2 set  2\n"; out != want {
			t.Errorf("dump:\n%s, want\n%s", out, want)
		}
		var d struct {
			Server  *struct{ Files int }
			Missing []string
		}
		s.must(t, &d, "tablets", "describe", tablet)
		if d.Server == nil || d.Server.Files != 1 || d.Missing != nil {
			t.Errorf("described as %+v", d)
		}

		data, err := s.store.Get(t.Context(), file.Object)
		if err != nil {
			t.Fatal(err)
		}
		data[0] ^= 1
		if err := s.store.Put(t.Context(), file.Object, data); err != nil {
			t.Fatal(err)
		}
		s.fails(t, 0, "No problem", "check")
		s.fails(t, 4, file.Object, "check", "--deep")
		s.fails(t, 1, "corrupt", "sst", "verify", file.Name)
		if err := s.store.Delete(t.Context(), file.Object); err != nil {
			t.Fatal(err)
		}
		s.fails(t, 4, "the SSTable is missing; tablet "+tablet+" needs it", "check", "-o", "json")
		s.fails(t, 3, "not found", "sst", "props", file.Name)
	})
}

// TestLockServiceAway: the error says where the lock service was looked for.
func TestLockServiceAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		if err := s.StopLockServer(0); err != nil {
			t.Fatal(err)
		}
		s.fails(t, 5, "is the lock service running at host:", "table", "list", "--timeout", "2s")
		s.fails(t, 5, "no replica answers", "status")
		s.fails(t, 5, "no replica answers", "raft", "members")
	})
}

// TestFailOver: a killed server shows in status, its tablets come back, and the
// cluster passes a check at all times.
func TestFailOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		s.must(t, nil, "table", "create", "t", "--families", "cf", "--split", "b,c,d")
		for _, row := range []string{"a", "b", "c", "d"} {
			s.must(t, nil, "put", "t", row, "cf:q=1")
		}
		s.KillTabletServer(s.TabletServers()[0])
		s.fails(t, 0, "No problem", "check", "--deep")
		s.must(t, nil, "scan", "t", "--timeout", "1m") // waits for the fail-over
		s.fails(t, 0, "No problem", "check", "--deep")
		var st struct {
			Tablets struct{ Total, Serving int }
			Servers []struct{ Serving int }
		}
		s.must(t, &st, "status")
		if st.Tablets.Serving != 4 || len(st.Servers) != 1 || st.Servers[0].Serving != 4 {
			t.Errorf("status %+v", st)
		}
	})
}

// TestAsksBeforeItDestroys: a person is asked, and may say no.
func TestAsksBeforeItDestroys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		s.must(t, nil, "table", "create", "t", "--families", "cf")
		app := s.app
		app.Interactive = true
		if code, _, errs := invoke(t.Context(), app, "n\n", "table", "delete", "t"); code != 1 || !strings.Contains(errs, "Go on? [y/N]") {
			t.Errorf("no: exit %d: %s", code, errs)
		}
		s.must(t, nil, "table", "describe", "t")
		if code, _, errs := invoke(t.Context(), app, "y\n", "table", "delete", "t"); code != 0 {
			t.Errorf("yes: exit %d: %s", code, errs)
		}
		s.fails(t, 3, "Table not found", "table", "describe", "t")
	})
}

// TestCompletion: the shell is offered the names of tables.
func TestCompletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		s.must(t, nil, "table", "create", "pages", "--families", "cf")
		s.must(t, nil, "table", "create", "people", "--families", "cf")
		if _, out, _ := invoke(t.Context(), s.app, "", "__complete", "scan", "pe"); !strings.HasPrefix(out, "people\n:") {
			t.Errorf("offered %q", out)
		}
	})
}

// TestStatusWithoutMajority: what one replica knows is shown, marked as old.
func TestStatusWithoutMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystemOf(t, 3)
		defer s.Kill()
		s.must(t, nil, "table", "create", "t", "--families", "cf")
		time.Sleep(5 * time.Second)
		for _, i := range []int{0, 2} {
			if err := s.StopLockServer(i); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		var st struct {
			Stale   bool
			Tables  int
			Tablets struct{ Total int }
			Master  struct {
				Active bool
				Error  string
			}
		}
		s.must(t, &st, "status")
		if !st.Stale || st.Tables != 1 || st.Tablets.Total != 1 || st.Master.Active || st.Master.Error == "" {
			t.Errorf("status %+v", st)
		}
		s.fails(t, 0, "NO LEADER: 1 of 3 replicas answer", "status")
		s.fails(t, 5, "does not answer", "raft", "status")
	})
}

// TestProgress: bars are drawn on terminals only, and never on the standard
// output.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		s.must(t, nil, "table", "create", "t", "--families", "cf")
		app := s.app
		app.Progress = true
		file := "_key,cf:a\n"
		for i := range 3000 {
			file += fmt.Sprintf("row%06d,%d\n", i, i)
		}
		code, out, errs := invoke(t.Context(), app, file, "import", "csv", "t", "-")
		if code != 0 || !strings.HasPrefix(out, "3,000 rows, 3,000 cells") || !strings.Contains(errs, "importing") {
			t.Errorf("exit %d: %q, %q", code, out, errs)
		}
		if code, out, _ := invoke(t.Context(), app, "", "count", "t"); code != 0 || out != "3000\n" {
			t.Errorf("exit %d: %q", code, out)
		}
		for _, x := range []struct {
			bar  string
			args []string
		}{
			{"checking", []string{"check", "--deep"}}, {"being flushed", []string{"flush"}}, {"being compacted", []string{"compact", "t"}},
			{"collecting", []string{"gc"}}, {"probing", []string{"availability"}}, {"exporting", []string{"export", "csv", "t"}},
			{"balancing", []string{"balance", "wait"}}, {"drain tablet1", []string{"server", "drain", "tablet1"}},
		} {
			code, out, errs := invoke(t.Context(), app, "", x.args...)
			if code != 0 || !strings.Contains(errs, x.bar) || strings.Contains(out, x.bar+" ") {
				t.Errorf("%v: exit %d: %.200q, %.400q", x.args, code, out, errs)
			}
			if _, _, errs := invoke(t.Context(), s.app, "", x.args...); errs != "" {
				t.Errorf("%v draws where there is no terminal: %.200q", x.args, errs)
			}
		}
		time.Sleep(time.Second) // the bars' goroutines end
	})
}

// TestSnapshots takes snapshots of a table, and makes tables of them and of it.
func TestSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		sc := script{app: s.app, scrub: append(scrubs(`(?P<bytes>\b[0-9.]+ (B|KiB)\b)`, `(?P<bytes>(bytes"|_bytes"): \d+)`), always()...), do: map[string]func(){
			"stop the master": func() {
				if err := s.Masters()[0].Master.Close(); err != nil {
					t.Error(err)
				}
			},
			"wait":          func() { time.Sleep(30 * time.Second) },
			"wait a minute": func() { time.Sleep(time.Minute) },
		}}
		sc.run(t, "snapshots.txt")
	})
}
