package master

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/master/assign"
	"github.com/tabletdb/tabletdb/master/balance"
	"github.com/tabletdb/tabletdb/master/gc"
	"github.com/tabletdb/tabletdb/objstore"
)

// Config is what a Master needs.
type Config struct {
	// LockService is the root cell. The caller closes it after the master.
	LockService lockservice.Client
	// Store is the bucket, in which the master seals logs.
	Store objstore.Store
	// Network is how tablet servers are reached.
	Network rpc.Network
	// Address is where the caller serves what Register registered; standbys
	// name it as the leader's.
	Address string
	// Manifest reads which SSTables a manifest names. nil: no garbage of files is
	// collected.
	Manifest gc.ReadManifest
	// ClusterID is shown by ClusterStatus, and StatusAddress, where the pages
	// of this process are.
	ClusterID, StatusAddress string
	Logger                   *slog.Logger
	// Registerer takes the metrics; nil: none are kept.
	Registerer prometheus.Registerer
	Options    Options
}

// Options qualify a Master; the zero value is valid.
type Options struct {
	// TTL of the master's own session; 0: the lock service's default.
	TTL time.Duration
	// VerifyInterval is the pause between full passes, which compare the
	// mirror with linearizable reads; default 10 s.
	VerifyInterval time.Duration
	// StatusInterval is the pause between heartbeats to one server; default
	// 1 s. Every FullStatusEvery-th (default 5) asks for its tablets too.
	StatusInterval  time.Duration
	FullStatusEvery int
	// StatusTimeout is how long a heartbeat may take; default 2 s.
	StatusTimeout time.Duration
	// LeaveRefusing leaves servers that refuse connections alone: their
	// sessions then end when the lease does, not at once.
	LeaveRefusing bool
	// LoadTimeout is after how long a load that has not registered is taken
	// back, where its server does not say that it is at it; default 60 s.
	LoadTimeout time.Duration
	// TellAgain is the first pause before a server is told again of a tablet
	// that it owns and does not serve; it doubles up to 15 s. Default 1 s.
	TellAgain time.Duration
	// Settle is how long the first server that appears waits for others before
	// it gets everything; default 300 ms.
	Settle time.Duration
	// SafeMode says when so many servers vanished that nothing is reassigned.
	// An AtLeast above the number of servers turns it off.
	SafeMode assign.SafeModeOptions
	// Batch is how many tablets one transaction changes; default 128.
	Batch int
	// Recoveries is how many logs are sealed at once; default 16.
	Recoveries int
	// MetaRangeLimit is how many records a meta range may have before it is
	// split; default 4096.
	MetaRangeLimit int
	// BalanceInterval is the pause between two looks at what could be moved,
	// split and merged; default 5 s.
	BalanceInterval time.Duration
	// Balance says when that is worth doing.
	Balance balance.Options
	// SchemaWait bounds the waiting for tablet servers to learn a schema;
	// default 30 s, which should exceed the TTL of their sessions: a server
	// that is cut off has lost its session by then.
	SchemaWait time.Duration
	// GCInterval is the pause between collections of files that nothing names;
	// default 10 min, negative: there are none.
	GCInterval time.Duration
	// KeepDeleted is for how long a table that was deleted can be brought back;
	// default 7 days, negative: not at all.
	KeepDeleted time.Duration
	// CreateWait bounds CreateTable where the caller sets no deadline; default
	// 60 s.
	CreateWait time.Duration
}

// EnsureDefaults replaces zeros by the defaults.
func (o *Options) EnsureDefaults() {
	def(&o.VerifyInterval, 10*time.Second)
	def(&o.StatusInterval, time.Second)
	def(&o.FullStatusEvery, 5)
	def(&o.StatusTimeout, 2*time.Second)
	def(&o.LoadTimeout, time.Minute)
	def(&o.TellAgain, time.Second)
	def(&o.Settle, 300*time.Millisecond)
	def(&o.Batch, 128)
	def(&o.Recoveries, 16)
	def(&o.MetaRangeLimit, 4096)
	def(&o.SchemaWait, 30*time.Second)
	def(&o.CreateWait, time.Minute)
	def(&o.BalanceInterval, 5*time.Second)
	o.Balance.EnsureDefaults()
	def(&o.KeepDeleted, 7*24*time.Hour)
	def(&o.GCInterval, 10*time.Minute)
	o.SafeMode.EnsureDefaults()
}

func def[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
