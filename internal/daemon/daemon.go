package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/internal/status"
	"github.com/tabletdb/tabletdb/lockservice"
	lockclient "github.com/tabletdb/tabletdb/lockservice/client"
	lockserver "github.com/tabletdb/tabletdb/lockservice/server"
	storecluster "github.com/tabletdb/tabletdb/objstore/cluster"
	"github.com/tabletdb/tabletdb/objstore/openstore"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver"
	"github.com/tabletdb/tabletdb/tabletserver/offload"
)

// Exit codes of tabletd.
const (
	ExitOK    = 0
	ExitError = 1
	ExitUsage = 2
)

// stopWithin is how long an orderly stop may take.
const stopWithin = 60 * time.Second

// Main runs tabletd with the arguments behind the program's name and returns
// the exit code.
func Main(args []string, stdout, stderr io.Writer, version string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	cmd := newCommand(stdout, version)
	cmd.SetArgs(emulatorArgs(args))
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	fmt.Fprintln(stderr, "tabletd:", oneLine(err))
	if errors.Is(err, base.ErrInvalid) || strings.HasPrefix(err.Error(), "unknown ") {
		return ExitUsage
	}
	return ExitError
}

// oneLine returns the text of an error in one line.
func oneLine(err error) string {
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.ReplaceAll(strings.Join(lines, "; "), "?; ", "? ")
}

// heartbeat of the lock service between processes: longer than the default, for
// on a busy machine a leader may not get a word in for half a second, and each
// election starts every lease anew.
const heartbeat = 750 * time.Millisecond

// process is what a role runs in.
type process struct {
	cfg      *Config
	log      *slog.Logger
	registry *prometheus.Registry
	out      io.Writer
	version  string
	role     string
	memory   int64 // in bytes, that it may take; 0: its role has no budget

	pages         *status.Pages // nil: none
	statusAddress string        // where others reach them
}

func newCommand(out io.Writer, version string) *cobra.Command {
	root := &cobra.Command{
		Use:           "tabletd",
		Short:         "TabletDB: a Bigtable that anyone can host",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	role := func(name, short, long string, run func(context.Context, *process) error) {
		c := &cobra.Command{Use: name, Short: short, Long: short + ".\n\n" + long, Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error {
				cfg, err := readConfig(c.Flags())
				if err != nil {
					return err
				}
				p := &process{cfg: cfg, log: cfg.logger(), registry: newRegistry(), out: out, version: version, role: name}
				return p.run(c.Context(), run)
			}}
		flags(c.Flags(), name)
		c.SetFlagErrorFunc(usage)
		root.AddCommand(c)
	}
	role("dev", "Run a whole cluster in this process",
		"Everything is kept below --data. The Bigtable endpoint is where Google's emulator would be.", runDev)
	role("lockservice", "Run a replica of the lock service", "Run 1, 3 or 5 of them, each with a directory of its own.", runLockService)
	role("master", "Run a master", "Run two or more: one is active, the others wait.", runMaster)
	role("tabletserver", "Run a tablet server", "It serves the tablets that the master gives it, and the Bigtable API for all tables.", runTabletServer)
	role("compactor", "Run a worker that compacts for tablet servers",
		"It has no state: start and stop as many as you like, whenever. Without any, tablet\nservers compact by themselves.", runCompactor)
	role("gateway", "Run a gateway", "It serves the Bigtable API and holds no tablets.", runGateway)
	root.AddCommand(emulatorCommand(out, version), configCommand(out))
	root.SetFlagErrorFunc(usage)
	return root
}

func usage(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", base.ErrInvalid, err) }

// configCommand prints the effective configuration of a role.
func configCommand(out io.Writer) *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Print the effective configuration of a role as YAML"}
	for _, role := range []string{"dev", "lockservice", "master", "tabletserver", "compactor", "gateway"} {
		sub := &cobra.Command{Use: role, Short: "Print what `tabletd " + role + "` would run with", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error {
				cfg, err := readConfig(c.Flags())
				if err != nil {
					return err
				}
				return yaml.NewEncoder(out).Encode(cfg)
			}}
		flags(sub.Flags(), role)
		sub.SetFlagErrorFunc(usage)
		c.AddCommand(sub)
	}
	return c
}

// run runs a role until ctx ends.
func (p *process) run(ctx context.Context, role func(context.Context, *process) error) error {
	if os.Getenv("GOGC") == "" {
		tuned := make(chan struct{})
		life, stop := context.WithCancel(ctx)
		defer func() { stop(); <-tuned }()
		go func() { defer close(tuned); tuneGC(life) }()
	}
	p.boundMemory()
	statusServer, err := p.openPages()
	if err != nil {
		return err
	}
	err = role(ctx, p)
	stop, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	statusServer.close(stop)
	return err
}

// ready prints the line that says that the process serves.
func (p *process) ready(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

func (p *process) openBucket(ctx context.Context) (*cluster.Bucket, error) {
	if p.cfg.Store == "" {
		return nil, fmt.Errorf("%w: no bucket given; set --store or TABLETDB_STORE", base.ErrInvalid)
	}
	return cluster.OpenBucket(ctx, p.cfg.Store, openstore.Options{CreateBucket: p.cfg.CreateBucket}, p.registry, p.log)
}

// env connects to bucket and lock service. Both are waited for.
func (p *process) env(ctx context.Context) (*cluster.Env, func(), error) {
	b, err := p.openBucket(ctx)
	if err != nil {
		return nil, nil, err
	}
	ls, err := lockclient.New(lockclient.Config{Endpoints: p.cfg.LockService, Network: rpc.TCP{}, Logger: p.log})
	if err != nil {
		b.Close()
		return nil, nil, err
	}
	closeAll := func() { ls.Close(); b.Close() }
	id, err := p.join(ctx, ls, b)
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	return &cluster.Env{Network: rpc.TCP{}, LockService: ls, Bucket: b, ClusterID: id.String(),
		Logger: p.log, Registerer: p.registry, Version: p.version, Strict: p.cfg.Strict, StatusAddress: p.statusAddress}, closeAll, nil
}

// join waits until the lock service answers.
func (p *process) join(ctx context.Context, ls lockservice.Client, b *cluster.Bucket) (storecluster.ID, error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		id, err := cluster.Join(attempt, ls, b)
		cancel()
		switch {
		case err == nil, errors.Is(err, storecluster.ErrForeign), errors.Is(err, storecluster.ErrNewer), errors.Is(err, base.ErrCorrupt):
			return id, err
		case ctx.Err() != nil:
			return id, ctx.Err()
		}
		p.log.Warn("lock service or bucket does not answer; waiting", "lockservice", p.cfg.LockService, "err", err)
	}
}

func runLockService(ctx context.Context, p *process) error {
	c := p.cfg
	b, err := p.openBucket(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	if c.ID == "" {
		c.ID = c.Listen
	}
	o := lockserver.Options{Join: c.Join, DefaultTTL: cluster.SessionTTL, Heartbeat: heartbeat}
	for _, m := range c.Bootstrap {
		id, addr, ok := strings.Cut(m, "=")
		if !ok {
			return fmt.Errorf("%w: --bootstrap %q; want id=address", base.ErrInvalid, m)
		}
		o.Bootstrap = append(o.Bootstrap, lockserver.Member{ID: id, Address: addr})
	}
	if len(o.Bootstrap) == 0 && len(o.Join) == 0 {
		o.Bootstrap = []lockserver.Member{{ID: c.ID, Address: c.Listen}}
	}
	s, err := lockserver.Open(lockserver.Config{
		ID: c.ID, Address: c.Listen, Network: rpc.TCP{}, Dir: c.Data, Logger: p.log, StatusAddress: p.statusAddress,
		WinGeneration: func(ctx context.Context) (uint32, error) { return storecluster.WinGeneration(ctx, b.Data, 1) },
	}, o)
	if err != nil {
		return err
	}
	detach, err := p.attachLockServer(o)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	defer detach()
	p.ready("lock service %s serves on %s", c.ID, c.Listen)
	<-ctx.Done()
	if err := s.TransferLeadership(""); err != nil {
		p.log.Debug("leadership was not handed over", "err", err)
	}
	return s.Close()
}

func runMaster(ctx context.Context, p *process) error {
	e, closeEnv, err := p.env(ctx)
	if err != nil {
		return err
	}
	defer closeEnv()
	n, err := cluster.OpenMaster(e, p.cfg.Listen, p.cfg.masterOptions())
	if err != nil {
		return err
	}
	defer p.attach(status.Parts{Source: p.source(e, n.Master), Store: e.Bucket.Data})()
	p.ready("master serves on %s", n.Addr())
	<-ctx.Done()
	return n.Close()
}

func runTabletServer(ctx context.Context, p *process) error {
	e, closeEnv, err := p.env(ctx)
	if err != nil {
		return err
	}
	defer closeEnv()
	id, err := storecluster.ParseID(e.ClusterID)
	if err != nil {
		return err
	}
	if err := e.Bucket.Cache(p.cfg.cache(""), id, p.registry, p.log); err != nil {
		return err
	}
	n, err := cluster.OpenTabletServer(ctx, e, cluster.TabletConfig{
		Addr: p.cfg.Listen, Name: p.cfg.Name, Zone: p.cfg.Zone, StatusAddress: p.statusAddress, Options: p.cfg.tabletOptions(p.memory),
	})
	if err != nil {
		return err
	}
	defer p.attach(status.Parts{Source: p.source(e, nil), Store: e.Bucket.Data, Router: n.RouterStats,
		Memory:  map[string]*membudget.Budget{n.Name(): n.Memory()},
		Tablets: map[string]controlpb.TabletServerServer{n.Name(): n.Control()}})()
	p.ready("tablet server serves on %s", n.Addr())
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	return n.Close(stop)
}

func runCompactor(ctx context.Context, p *process) error {
	e, closeEnv, err := p.env(ctx)
	if err != nil {
		return err
	}
	defer closeEnv()
	n, err := cluster.OpenCompactor(ctx, e, cluster.CompactorConfig{
		Addr: p.cfg.Listen, Name: p.cfg.Name, Zone: p.cfg.Zone, StatusAddress: p.statusAddress,
		Options: offload.WorkerOptions{SessionTTL: p.cfg.SessionTTL, Slots: p.cfg.Slots},
	})
	if err != nil {
		return err
	}
	defer p.attach(status.Parts{Source: p.source(e, nil), Store: e.Bucket.Data,
		Compactors: map[string]compactorpb.CompactorServer{n.Name(): n.Worker}})()
	p.ready("compactor serves on %s", n.Addr())
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	return n.Close(stop)
}

func runGateway(ctx context.Context, p *process) error {
	e, closeEnv, err := p.env(ctx)
	if err != nil {
		return err
	}
	defer closeEnv()
	n, err := cluster.OpenGateway(e, p.cfg.Listen, p.memory)
	if err != nil {
		return err
	}
	defer p.attach(status.Parts{Source: p.source(e, nil), Store: e.Bucket.Data, Router: n.RouterStats,
		Memory: map[string]*membudget.Budget{"gateway": n.Memory()}})()
	p.ready("gateway serves the Bigtable API on %s", n.Addr())
	<-ctx.Done()
	return n.Close()
}

func runDev(ctx context.Context, p *process) error {
	c := p.cfg
	began := time.Now()
	forServer := tabletserver.Share(p.memory, 100-devGatewayShare-devRestShare) / int64(max(c.TabletServers, 1))
	cl, err := cluster.Open(ctx, cluster.Config{
		Dir: c.Data, StoreURL: c.Store, StoreOptions: openstore.Options{CreateBucket: c.CreateBucket}, Cache: c.cache(c.devCache()),
		TabletServers: c.TabletServers, Compactors: c.Compactors, Compactor: offload.WorkerOptions{SessionTTL: c.SessionTTL, Slots: c.Slots}, LockAddr: c.LockListen, GatewayAddr: c.Listen,
		Logger: p.log, Registerer: p.registry, Version: p.version, Strict: c.Strict, StatusAddress: p.statusAddress,
		Master: c.masterOptions(), Tablet: c.tabletOptions(forServer), GatewayMemory: tabletserver.Share(p.memory, devGatewayShare),
		Zones: strings.FieldsFunc(c.Zone, func(r rune) bool { return r == ',' }),
	})
	if err != nil {
		return err
	}
	detach, err := p.attachDev(cl)
	if err != nil {
		cl.Kill()
		return err
	}
	defer detach()
	p.ready(`TabletDB runs: 1 lock server, 1 master, %d tablet servers, started in %v.

  Bigtable API    export BIGTABLE_EMULATOR_HOST=%s
                  cbt -project local -instance main ls
  tabletadm       tabletadm --lockservice %s status
  data            %s

Ctrl-C stops it; the data stays.`, c.TabletServers, time.Since(began).Round(time.Millisecond), cl.Gateway(),
		strings.Join(cl.LockEndpoints(), ","), cl.Bucket().URL)
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	return cl.Close(stop)
}
