// Package daemon is the body of the tabletd binary: its commands, its
// configuration, and the life of a process from start to orderly stop.
package daemon

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/master"
	"github.com/tabletdb/tabletdb/master/balance"
	"github.com/tabletdb/tabletdb/tabletserver"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// Config is the configuration of a process, whatever its role. It comes from a
// YAML file (--config), the environment (TABLETDB_ and the name in upper case,
// '-' as '_') and flags; the later wins.
type Config struct {
	Store        string   `koanf:"store" yaml:"store"`
	CreateBucket bool     `koanf:"create-bucket" yaml:"create-bucket"`
	Data         string   `koanf:"data" yaml:"data"`
	LockService  []string `koanf:"lockservice" yaml:"lockservice"`
	Listen       string   `koanf:"listen" yaml:"listen"`
	Status       string   `koanf:"status" yaml:"status"`
	Name         string   `koanf:"name" yaml:"name"`
	Zone         string   `koanf:"zone" yaml:"zone"`
	Strict       bool     `koanf:"strict" yaml:"strict"`

	ID        string   `koanf:"id" yaml:"id"`
	Bootstrap []string `koanf:"bootstrap" yaml:"bootstrap"`
	Join      []string `koanf:"join" yaml:"join"`

	LockListen    string `koanf:"lock-listen" yaml:"lock-listen"`
	TabletServers int    `koanf:"tablet-servers" yaml:"tablet-servers"`
	Compactors    int    `koanf:"compactors" yaml:"compactors"`
	Slots         int    `koanf:"slots" yaml:"slots"`
	Offload       bool   `koanf:"offload" yaml:"offload"`

	SessionTTL    time.Duration `koanf:"session-ttl" yaml:"session-ttl"`
	KeepDeleted   time.Duration `koanf:"keep-deleted" yaml:"keep-deleted"`
	MemoryMB      int64         `koanf:"memory-mb" yaml:"memory-mb"`
	MemtableMB    int64         `koanf:"memtable-mb" yaml:"memtable-mb"`
	CacheMB       int64         `koanf:"cache-mb" yaml:"cache-mb"`
	MetadataMB    int64         `koanf:"metadata-mb" yaml:"metadata-mb"`
	CacheDir      string        `koanf:"cache-dir" yaml:"cache-dir"`
	CacheGB       float64       `koanf:"cache-gb" yaml:"cache-gb"`
	FlushMB       int64         `koanf:"flush-mb" yaml:"flush-mb"`
	FileMB        int64         `koanf:"file-mb" yaml:"file-mb"`
	Linger        time.Duration `koanf:"linger" yaml:"linger"`
	UploadsAtOnce int           `koanf:"uploads-at-once" yaml:"uploads-at-once"`

	SplitMB       int64         `koanf:"split-mb" yaml:"split-mb"`
	SplitRequests int64         `koanf:"split-requests" yaml:"split-requests"`
	MergeAge      time.Duration `koanf:"merge-age" yaml:"merge-age"`

	LogLevel  string `koanf:"log-level" yaml:"log-level"`
	LogFormat string `koanf:"log-format" yaml:"log-format"`
}

// flags registers the flags of the named roles' options on f; each flag is a
// key of the configuration.
func flags(f *pflag.FlagSet, role string) {
	f.String("config", "", "YAML file with any of these options")
	f.String("log-level", "info", "debug, info, warn or error")
	f.String("log-format", "text", "text or json")
	f.String("status", "", "address of the status pages, /metrics, /healthz and /debug/pprof (empty: none); whoever reaches it may look")
	f.String("store", "", "bucket: a directory, file:///dir, s3://bucket/prefix?endpoint=http://host:9000 or mem:")
	f.Bool("create-bucket", false, "create the bucket if it does not exist")
	has := func(roles ...string) bool {
		for _, r := range roles {
			if r == role {
				return true
			}
		}
		return false
	}
	if has("dev", "lockservice") {
		f.String("data", map[bool]string{true: "./data", false: ""}[role == "dev"], "directory for durable state (empty: keep it in memory)")
	}
	if has("dev") {
		f.String("listen", "127.0.0.1:8086", "address of the Bigtable endpoint")
		f.String("lock-listen", "127.0.0.1:8290", "address of the lock service")
		f.Int("tablet-servers", 2, "how many tablet servers")
		f.Int("compactors", 0, "how many workers that compact for the tablet servers (0: these do it themselves)")
	} else {
		f.String("listen", defaultListen[role], "address to listen on; others reach this process there")
	}
	if has("dev", "tabletserver", "gateway") {
		f.Bool("strict", false, "only instances and clusters that were created exist (else any name does)")
	}
	if has("master", "tabletserver", "compactor", "gateway") {
		f.StringSlice("lockservice", []string{"127.0.0.1:8290"}, "addresses of the lock service")
	}
	if has("lockservice") {
		f.String("id", "", "name of this replica for ever (default: the listen address)")
		f.StringSlice("bootstrap", nil, "first members of a new cluster, as id=address; ignored where state exists")
		f.StringSlice("join", nil, "addresses of a cluster to join")
	}
	if has("tabletserver", "compactor", "master", "dev") {
		f.Duration("session-ttl", cluster.SessionTTL, "how long a server may be silent before it counts as dead")
	}
	if has("master", "dev") {
		f.Int64("split-mb", 1024, "size at which a tablet is split; neighbours with a quarter of it together may be merged")
		f.Int64("split-requests", 5000, "requests per second at which a tablet is split")
		f.Duration("merge-age", time.Hour, "how long neighbours must be small and idle to be merged (0: they never are)")
		f.Duration("keep-deleted", 7*24*time.Hour, "for how long a deleted table can be undeleted; negative: not at all")
	}
	if has("tabletserver", "gateway", "dev") {
		f.Int64("memory-mb", 0, "memory that this process may take (0: half of the machine's, a quarter for a gateway or dev, or four fifths of its control group's limit)")
	}
	if has("compactor") {
		f.String("name", "", "name of this worker that is stable over restarts")
		f.String("zone", "", "zone of this worker; tablet servers prefer those of their own")
	}
	if has("compactor", "dev") {
		f.Int("slots", 0, "how many jobs a compactor does at once (0: as many as there are processors)")
	}
	if has("tabletserver", "dev") {
		f.Bool("offload", true, "give compactions to compactors, where there are any")
		f.String("name", "", "name of this server that is stable over restarts")
		f.String("zone", "", map[bool]string{
			true:  "zones of the servers, separated by commas, given to them in turn",
			false: "zone of this server: no zone gets more of a table than its part of the servers",
		}[role == "dev"])
		f.Int64("memtable-mb", 0, "memory for all memtables of a server (0: a quarter of its memory)")
		f.Int64("cache-mb", -1, "memory for the block cache of a server (0: none; -1: an eighth of its memory)")
		f.Int64("metadata-mb", 0, "memory for filters and indexes of a server (0: a twelfth of its memory)")
		f.String("cache-dir", "", map[bool]string{
			true:  "directory on a local disk where what is read of an s3: bucket is kept; none: nowhere (default: DATA/cache for an s3: bucket)",
			false: "directory on a local disk where what is read of the bucket is kept, across restarts (empty: nowhere)",
		}[role == "dev"])
		f.Float64("cache-gb", 8, "room on the disk below --cache-dir")
		f.Int64("flush-mb", 64, "size at which a memtable is flushed")
		f.Int64("file-mb", 0, "size at which a flush or compaction begins another SSTable (0: 64, less where there is little memory)")
		f.Duration("linger", 0, "how long the log waits for more records while others are in flight (0: as long as uploads take)")
		f.Int("uploads-at-once", 8, "how many log objects are uploaded at once")
	}
}

var defaultListen = map[string]string{
	"lockservice": "127.0.0.1:8290", "master": "127.0.0.1:8291", "tabletserver": "127.0.0.1:8292", "compactor": "127.0.0.1:8293", "gateway": "127.0.0.1:8086",
}

// envPrefix precedes the names of options in the environment.
const envPrefix = "TABLETDB_"

// readConfig returns the effective configuration of a command whose flags were
// parsed.
func readConfig(f *pflag.FlagSet) (*Config, error) {
	k := koanf.New(".")
	path, err := f.GetString("config")
	if err != nil {
		return nil, err
	}
	if path == "" {
		path = os.Getenv(envPrefix + "CONFIG")
	}
	if path != "" {
		if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
			return nil, fmt.Errorf("%w: configuration file %s: %v", base.ErrInvalid, path, err)
		}
		for _, key := range k.Keys() {
			if f.Lookup(key) == nil {
				return nil, fmt.Errorf("%w: configuration file %s: unknown option %q; see --help for those there are", base.ErrInvalid, path, key)
			}
		}
	}
	e := env.Provider(".", env.Opt{Prefix: envPrefix, TransformFunc: func(name, v string) (string, any) {
		key := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, envPrefix)), "_", "-")
		fl := f.Lookup(key)
		if fl == nil {
			return "", nil
		}
		if fl.Value.Type() == "stringSlice" {
			return key, strings.Split(v, ",")
		}
		return key, v
	}})
	if err := k.Load(e, nil); err != nil {
		return nil, err
	}
	if err := k.Load(posflag.Provider(f, ".", k), nil); err != nil {
		return nil, err
	}
	c := &Config{}
	if err := k.Unmarshal("", c); err != nil {
		return nil, fmt.Errorf("%w: configuration: %v", base.ErrInvalid, err)
	}
	return c, c.validate()
}

func (c *Config) validate() error {
	if err := new(slog.Level).UnmarshalText([]byte(c.LogLevel)); err != nil {
		return fmt.Errorf("%w: --log-level %q; want debug, info, warn or error", base.ErrInvalid, c.LogLevel)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		return fmt.Errorf("%w: --log-format %q; want text or json", base.ErrInvalid, c.LogFormat)
	}
	for name, v := range map[string]int64{"memtable-mb": c.MemtableMB, "flush-mb": c.FlushMB, "file-mb": c.FileMB, "metadata-mb": c.MetadataMB} {
		if v < 0 {
			return fmt.Errorf("%w: --%s %d; it must not be negative", base.ErrInvalid, name, v)
		}
	}
	if c.CacheMB < -1 {
		return fmt.Errorf("%w: --cache-mb %d; want -1, 0 or more", base.ErrInvalid, c.CacheMB)
	}
	if c.MemoryMB != 0 && c.MemoryMB < minMemory>>20 {
		return fmt.Errorf("%w: --memory-mb %d; want at least %d, or 0", base.ErrInvalid, c.MemoryMB, minMemory>>20)
	}
	if sum := c.MemtableMB + max(c.CacheMB, 0) + c.MetadataMB; c.MemoryMB != 0 && sum > c.MemoryMB*8/10 {
		return fmt.Errorf("%w: --memtable-mb, --cache-mb and --metadata-mb are %d together; want at most 80 %% of --memory-mb, which is %d", base.ErrInvalid, sum, c.MemoryMB)
	}
	if c.CacheDir != "" && c.CacheDir != noCache && !(c.CacheGB >= minCacheGB && c.CacheGB <= maxCacheGB) {
		return fmt.Errorf("%w: --cache-gb %v; want %v to %v", base.ErrInvalid, c.CacheGB, minCacheGB, maxCacheGB)
	}
	if c.SplitMB < 0 || c.SplitRequests < 0 || c.MergeAge < 0 {
		return fmt.Errorf("%w: --split-mb %d, --split-requests %d, --merge-age %v; they must not be negative", base.ErrInvalid, c.SplitMB, c.SplitRequests, c.MergeAge)
	}
	if c.Slots < 0 || c.Compactors < 0 {
		return fmt.Errorf("%w: --slots %d, --compactors %d; they must not be negative", base.ErrInvalid, c.Slots, c.Compactors)
	}
	if c.SessionTTL < 0 || (c.SessionTTL > 0 && c.SessionTTL < time.Second) {
		return fmt.Errorf("%w: --session-ttl %v; at least 1s", base.ErrInvalid, c.SessionTTL)
	}
	return nil
}

// logger returns the process's logger, which writes to stderr.
func (c *Config) logger() *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo // validate has checked it
	}
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

const (
	noCache    = "none"
	minCacheGB = 0.01
	maxCacheGB = 100_000
)

// cache is the page cache in the directory that was given, or in fallback.
func (c *Config) cache(fallback string) cluster.CacheConfig {
	dir := c.CacheDir
	switch dir {
	case "":
		dir = fallback
	case noCache:
		dir = ""
	}
	return cluster.CacheConfig{Dir: dir, Bytes: int64(c.CacheGB * (1 << 30))}
}

// devCache is the directory of the page cache of `tabletd dev` where none is
// given: a bucket that is a directory needs none.
func (c *Config) devCache() string {
	if c.Data == "" || !strings.HasPrefix(c.Store, "s3:") {
		return ""
	}
	return filepath.Join(c.Data, "cache")
}

// masterOptions are the knobs of a master.
func (c *Config) masterOptions() master.Options {
	o := master.Options{TTL: c.SessionTTL, KeepDeleted: c.KeepDeleted, Balance: balance.Options{
		SplitBytes: c.SplitMB << 20, SplitRequests: float64(c.SplitRequests), MergeAge: c.MergeAge,
	}}
	if c.MergeAge == 0 {
		o.Balance.MergeBytes = -1
	}
	return o
}

// tabletOptions are the knobs of a tablet server that may take so many bytes of
// memory; 0: the default.
func (c *Config) tabletOptions(memory int64) tabletserver.Options {
	o := tabletserver.Options{
		MemoryBytes: memory,
		SessionTTL:  c.SessionTTL, MemtableBytes: c.MemtableMB << 20, CacheBytes: c.CacheMB << 20, MetadataBytes: c.MetadataMB << 20,
		Linger: c.Linger, MaxInFlight: c.UploadsAtOnce, NoOffload: !c.Offload,
		Tablet: tablet.Options{MemtableBytes: c.FlushMB << 20, FileBytes: c.FileMB << 20},
	}
	switch {
	case c.CacheMB == 0:
		o.CacheBytes = -1
	case c.CacheMB < 0:
		o.CacheBytes = 0
	}
	return o
}
