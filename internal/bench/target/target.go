// Package target connects loads with servers: any server of the Bigtable API by
// Google's client, or a TabletDB by its own.
package target

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/tabletdb/tabletdb/internal/bench/load"
)

// The columns that loads use: values and counters are in families of their own,
// which keep one version.
const (
	family        = "f"
	column        = "v"
	counterFamily = "c"
	counterColumn = "n"
)

// Target is a server with tables. Close it.
type Target interface {
	// CreateTable makes a table for loads, cut at the splits.
	CreateTable(ctx context.Context, name string, splits []string) error
	// HasTable reports whether there is a table of that name.
	HasTable(ctx context.Context, name string) (bool, error)
	DropTable(ctx context.Context, name string) error
	// Tables returns holds on a table, one for each connection.
	Tables(name string) []load.Table
	// Client says by what the server is reached: "official" or "native".
	Client() string
	Close() error
}

// Config says where a server is.
type Config struct {
	// Project and Instance name tables in full; "" means "local" and "main".
	Project, Instance string
	// Connections to the server; 0 means 1.
	Connections int
}

func (c Config) withDefaults() Config {
	if c.Project == "" {
		c.Project = "local"
	}
	if c.Instance == "" {
		c.Instance = "main"
	}
	c.Connections = max(1, c.Connections)
	return c
}

// decodeCounter returns the number in a cell that increments made.
func decodeCounter(v []byte) (int64, error) {
	if len(v) != 8 {
		return 0, fmt.Errorf("%w: a counter of %d bytes; want 8", load.ErrWrong, len(v))
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}
