package daemon

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
	"github.com/tabletdb/tabletdb/master"
)

// emulatorOptions are the flags of `tabletd emulator`. Host, Port and Address
// are those of Google's cbtemulator, with its defaults.
type emulatorOptions struct {
	host     string
	port     uint16
	address  string // host:port, or the path of a unix-domain socket; before host and port
	data     string // "": in memory
	strict   bool
	logLevel string
}

// emulatorFlags are the names of the emulator's flags. As in Google's emulator
// they may be given with one dash.
var emulatorFlags = [...]string{"host", "port", "address", "data", "strict", "log-level", "help"}

// Memory of the emulator's tablet server, in MiB. It is small, for emulators
// are started many at a time.
const emulatorMemtables, emulatorCache, emulatorFlush = 256, 64, 32

// listen returns the address to listen on, as rpc.TCP takes it.
func (o *emulatorOptions) listen() string {
	switch {
	case strings.Contains(o.address, "/"):
		return "unix:" + o.address
	case o.address != "":
		return o.address
	}
	return net.JoinHostPort(strings.Trim(o.host, "[]"), strconv.Itoa(int(o.port)))
}

// emulatorArgs returns args with the flags of the emulator in the form that
// pflag understands: -port becomes --port.
func emulatorArgs(args []string) []string {
	if len(args) == 0 || args[0] != "emulator" {
		return args
	}
	args = append([]string(nil), args...)
	for i, a := range args {
		name, _, _ := strings.Cut(a, "=")
		for _, f := range emulatorFlags {
			if name == "-"+f {
				args[i] = "-" + a
			}
		}
	}
	return args
}

func emulatorCommand(out io.Writer, version string) *cobra.Command {
	var o emulatorOptions
	c := &cobra.Command{Use: "emulator", Short: "Run a Bigtable endpoint for tests, in memory, in place of Google's emulator", Args: cobra.NoArgs,
		Long: `Run a Bigtable endpoint for tests, in place of Google's emulator.

Flags, defaults and the line that says that it serves are those of cbtemulator, so whatever runs
that runs this. It is a whole cluster in one process that listens on no other port. Without -data
everything is in memory and gone at the end; with it, every acknowledged write is in the directory.`,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg := &Config{LogLevel: o.logLevel, LogFormat: "text", MemtableMB: emulatorMemtables, CacheMB: emulatorCache, FlushMB: emulatorFlush}
			if err := cfg.validate(); err != nil {
				return err
			}
			p := &process{cfg: cfg, log: cfg.logger(), out: out, version: version}
			return p.run(c.Context(), func(ctx context.Context, p *process) error { return runEmulator(ctx, p, &o) })
		}}
	f := c.Flags()
	f.StringVar(&o.host, "host", "localhost", "the address to bind to on the local machine")
	f.Uint16Var(&o.port, "port", 9000, "the port number to bind to on the local machine (0: any)")
	f.StringVar(&o.address, "address", "", "address:port number or unix socket path to listen on. Has priority over host/port")
	f.StringVar(&o.data, "data", "", "directory to keep everything in (empty: keep it in memory)")
	f.BoolVar(&o.strict, "strict", false, "only instances and clusters that were created exist (else any name does)")
	f.StringVar(&o.logLevel, "log-level", "error", "debug, info, warn or error")
	c.SetFlagErrorFunc(usage)
	return c
}

// emulatorGC is how often files are collected that compactions have replaced.
const emulatorGC = 10 * time.Second

// frontNet is the network as the emulator's gateway sees it: users reach it
// over TCP, and it reaches the rest of the cluster in memory.
type frontNet struct{ *memnet.Node }

// Listen implements rpc.Network.
func (frontNet) Listen(addr string) (net.Listener, error) { return rpc.TCP{}.Listen(addr) }

func runEmulator(ctx context.Context, p *process, o *emulatorOptions) error {
	inside := memnet.New()
	cl, err := cluster.Open(ctx, cluster.Config{
		Dir: o.data, TabletServers: 1, Host: "mem", GatewayAddr: o.listen(), Strict: o.strict,
		Node: func(name string) rpc.Network {
			if name == cluster.GatewayName {
				return frontNet{inside.Node(name)}
			}
			return inside.Node(name)
		},
		Logger: p.log, Version: p.version, Tablet: p.cfg.tabletOptions(0),
		// What nobody needs any more is memory here, or the disk of somebody who tests.
		Master: master.Options{GCInterval: emulatorGC},
	})
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	p.ready("Cloud Bigtable emulator running on %s", cl.Gateway())
	<-ctx.Done()
	p.ready("Cloud Bigtable emulator running on %s is now shutting down", cl.Gateway())
	if o.data == "" { // nothing to keep
		cl.Kill()
		return nil
	}
	stop, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	return cl.Close(stop)
}
