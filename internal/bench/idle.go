package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/bench/proc"
	"github.com/tabletdb/tabletdb/internal/bench/target"
)

// The goals of idle.
const (
	idleMemory  = 300 << 20
	idleRestart = 10 * time.Second
)

// idleFlags are the flags of idle.
type idleFlags struct {
	tabletd, data string
	tabletdArgs   []string
	tablets       int
	perTable      int
	settle        time.Duration
	kill, require bool
	profiles      string
	rowsEach      int
}

func (a *app) idleCommand() *cobra.Command {
	f := &idleFlags{}
	c := &cobra.Command{
		Use: "idle", Args: cobra.NoArgs,
		Short: "Measure what many idle tablets cost one server",
		Long: `idle runs a TabletDB with one tablet server, makes tables until it has that many
tablets, and reports the memory and the processor time that the process uses when
nothing is done. Then it stops the process in an orderly way, or with --kill also
as a crash would, and reports how long after its start all tablets serve again.`,
	}
	s := c.Flags()
	registerTabletd(c, &f.tabletd, &f.tabletdArgs)
	s.StringVar(&f.data, "data", "", "directory for TabletDB, which is left there (default: a new one, removed at the end)")
	s.IntVar(&f.tablets, "tablets", 10_000, "how many tablets")
	s.IntVar(&f.perTable, "per-table", 500, "tablets of a table")
	s.IntVar(&f.rowsEach, "rows", 0, "rows to write to each tablet before")
	s.DurationVar(&f.settle, "settle", 10*time.Second, "how long nothing is done before the use is read; Go gives back memory for good only after two minutes")
	s.BoolVar(&f.kill, "kill", false, "restart once more, after a crash")
	s.StringVar(&f.profiles, "profile", "", "directory for heap profiles and CPU profiles of the restarts")
	s.BoolVar(&f.require, "require", false, "exit with 4 if a goal is missed")
	c.RunE = a.body(func(ctx context.Context) error { return a.idle(ctx, f) })
	return c
}

// IdleStudy is what idle measured.
type IdleStudy struct {
	Tablets int         `json:"tablets"`
	Created float64     `json:"created_s"` // seconds until all had been made and served
	Idle    IdleUse     `json:"idle"`
	Stop    float64     `json:"stop_s"`
	Restart IdleRestart `json:"restart"`
	// Crash is the restart after a crash; nil: not measured.
	Crash *IdleRestart `json:"crash,omitempty"`
	Met   bool         `json:"met"`
}

// IdleUse is what a process uses that does nothing.
type IdleUse struct {
	proc.Memory
	CPU float64 `json:"cpu"` // share of one processor
}

// IdleRestart is how long it took, in seconds from the start of the process,
// until it was ready for calls and until all tablets had answered one.
type IdleRestart struct {
	Ready float64 `json:"ready_s"`
	All   float64 `json:"all_s"`
	Use   IdleUse `json:"use"`
}

// met reports whether the goals are met, which hold after a restart, too.
func (r *IdleRestart) met() bool {
	return r.All <= idleRestart.Seconds() && r.Use.Resident <= idleMemory
}

func (a *app) idle(ctx context.Context, f *idleFlags) (err error) {
	if f.tablets < 1 || f.perTable < 1 || f.rowsEach < 0 {
		return fmt.Errorf("%w: want at least one tablet, in tables of at least one", errUsage)
	}
	if f.profiles != "" {
		if err := os.MkdirAll(f.profiles, 0o755); err != nil {
			return err
		}
	}
	var undo undo
	defer func() { err = errors.Join(err, undo.do()) }()
	dir, err := undo.dir(f.data, "tabletbench-idle-")
	if err != nil {
		return err
	}
	path, err := proc.FindTabletd(f.tabletd)
	if err != nil {
		return err
	}
	m := &idleServer{app: a, f: f, config: &proc.TabletDBConfig{Tabletd: path, Data: dir, TabletServers: 1, Args: f.tabletdArgs}}
	undo.add(m.end)
	study, err := m.study(ctx)
	if err != nil {
		return err
	}
	return a.printIdle(study, f.require)
}

// idleServer is the server that idle starts again and again.
type idleServer struct {
	app    *app
	f      *idleFlags
	config *proc.TabletDBConfig
	db     *proc.TabletDB // nil: none runs
}

// end ends the server if an error has left it running.
func (m *idleServer) end() error {
	if m.db != nil {
		m.db.Kill()
	}
	return nil
}

func (m *idleServer) study(ctx context.Context) (*IdleStudy, error) {
	s := &IdleStudy{Tablets: m.f.tablets}
	began := time.Now()
	if _, err := m.start(ctx, ""); err != nil {
		return nil, err
	}
	tables, err := m.create(ctx)
	if err != nil {
		return nil, err
	}
	s.Created = time.Since(began).Seconds()
	m.app.note("made %d tablets in %.1f s", s.Tablets, s.Created)
	if s.Idle, err = m.use(ctx, "idle"); err != nil {
		return nil, err
	}
	began = time.Now()
	if err := m.stop(false); err != nil {
		return nil, err
	}
	s.Stop = time.Since(began).Seconds()
	m.app.note("stopped in %.1f s", s.Stop)
	r, err := m.restart(ctx, tables, "restart")
	if err != nil {
		return nil, err
	}
	s.Restart = *r
	s.Met = s.Idle.Resident <= idleMemory && s.Restart.met()
	if m.f.kill {
		if err := m.stop(true); err != nil {
			return nil, err
		}
		if s.Crash, err = m.restart(ctx, tables, "crash"); err != nil {
			return nil, err
		}
		s.Met = s.Met && s.Crash.met()
	}
	return s, m.stop(false)
}

// start starts the server; profile names a CPU profile from there on.
func (m *idleServer) start(ctx context.Context, profile string) (profiled <-chan error, err error) {
	done := make(chan error, 1)
	if m.db, err = proc.StartTabletDB(ctx, m.config); err != nil {
		return nil, err
	}
	if profile == "" || m.f.profiles == "" {
		done <- nil
		return done, nil
	}
	status := m.db.Status
	go func() {
		done <- proc.Save(ctx, status, "/debug/pprof/profile?seconds=5", filepath.Join(m.f.profiles, profile+"-cpu.pprof"))
	}()
	return done, nil
}

func (m *idleServer) stop(crash bool) error {
	db := m.db
	m.db = nil
	if crash {
		db.Kill()
		return nil
	}
	return db.Stop(2 * time.Minute)
}

// create makes the tables and waits until all tablets answer.
func (m *idleServer) create(ctx context.Context) (_ *tabletList, err error) {
	t, err := target.OpenOfficial(ctx, m.db.Endpoint, target.Config{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	l := &tabletList{}
	for left := m.f.tablets; left > 0; left -= m.f.perTable {
		name, n := fmt.Sprintf("idle-%d", len(l.tables)), min(left, m.f.perTable)
		var splits []string
		for i := 1; i < n; i++ {
			splits = append(splits, tabletKey(i))
		}
		if err := t.CreateTable(ctx, name, splits); err != nil {
			return nil, err
		}
		l.tables = append(l.tables, idleTable{name: "projects/local/instances/main/tables/" + name, tablets: n})
		if err := l.fill(ctx, t.Tables(name)[0], n, m.f.rowsEach); err != nil {
			return nil, err
		}
	}
	return l, l.wait(ctx, m.db)
}

// use waits for a while and reads what the process uses.
func (m *idleServer) use(ctx context.Context, name string) (u IdleUse, err error) {
	if err := proc.Settle(ctx, time.Minute, m.db.Process); err != nil {
		return u, err
	}
	if u.CPU, err = m.db.Share(ctx, m.f.settle); err != nil {
		return u, err
	}
	if u.Memory, err = m.db.Memory(); err != nil {
		return u, err
	}
	m.app.note("%s: %s resident, %.1f %% of a processor", name, megabytes(u.Resident), 100*u.CPU)
	if m.f.profiles == "" {
		return u, nil
	}
	for _, p := range []struct{ path, file string }{{"/debug/pprof/heap", "-heap.pprof"}, {"/metrics", "-metrics.txt"}} {
		if err := proc.Save(ctx, m.db.Status, p.path, filepath.Join(m.f.profiles, name+p.file)); err != nil {
			return u, err
		}
	}
	return u, nil
}

// restart starts the server on the directory it had, and waits for all tablets.
func (m *idleServer) restart(ctx context.Context, l *tabletList, name string) (*IdleRestart, error) {
	began := time.Now()
	profiled, err := m.start(ctx, name)
	if err != nil {
		return nil, err
	}
	r := &IdleRestart{Ready: time.Since(began).Seconds()}
	if err := l.wait(ctx, m.db); err != nil {
		return nil, err
	}
	r.All = time.Since(began).Seconds()
	m.app.note("%s: ready after %.2f s, all tablets after %.2f s", name, r.Ready, r.All)
	if err := <-profiled; err != nil {
		return nil, err
	}
	r.Use, err = m.use(ctx, name)
	return r, err
}

func (a *app) printIdle(s *IdleStudy, require bool) error {
	err := a.out.print(s, func(w io.Writer) error {
		fmt.Fprintf(w, "%d tablets of one server\t\tgoal\n", s.Tablets)
		fmt.Fprintf(w, "memory when idle\t%s\tat most %s\n", megabytes(s.Idle.Resident), megabytes(idleMemory))
		fmt.Fprintf(w, "  at most before\t%s\t\n", megabytes(s.Idle.Peak))
		fmt.Fprintf(w, "processor time when idle\t%.1f %%\t\n", 100*s.Idle.CPU)
		fmt.Fprintf(w, "time to make them\t%.1f s\t\n", s.Created)
		fmt.Fprintf(w, "time to stop\t%.1f s\t\n", s.Stop)
		line := func(name string, r IdleRestart) error {
			_, err := fmt.Fprintf(w, "%s: all serve after\t%.2f s\tat most %.0f s\n  ready for calls after\t%.2f s\t\n  memory when idle\t%s\tat most %s\n",
				name, r.All, idleRestart.Seconds(), r.Ready, megabytes(r.Use.Resident), megabytes(idleMemory))
			return err
		}
		err := line("restart", s.Restart)
		if s.Crash != nil {
			err = errors.Join(err, line("restart after a crash", *s.Crash))
		}
		return err
	})
	if err == nil && require && !s.Met {
		return fmt.Errorf("%w: see above", ErrGoal)
	}
	return err
}
