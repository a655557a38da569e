package meta

import (
	"fmt"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Prefixes of the key space; see the package comment.
const (
	TabletPrefix    = "meta/"
	LogPrefix       = "log/"
	LowPrefix       = "low/"
	RefPrefix       = "ref/"
	ServerPrefix    = "server/"
	TablePrefix     = "table/"
	TableNamePrefix = "tablename/"
	CounterPrefix   = "counter/"
	// BackupPrefix is of the backups, which the gateways store: roots of the
	// bucket's objects beside the tablets (R10, R11).
	BackupPrefix = "admin/backup/"
	// SnapshotPrefix is of the snapshots, roots as well.
	SnapshotPrefix = "admin/snapshot/"
	MarkPrefix     = "mark/"
	// BulkPrefix is of the bulk loads that are decided and not adopted by all
	// tablets: roots as well.
	BulkPrefix = "bulk/"
	// BulkProofPrefix is of ephemeral keys of loaders: what they have decided.
	BulkProofPrefix = "bulkproof/"
)

// MasterLock is the lock that the active master holds; its data is the
// master's address.
const MasterLock = "master"

// TablePrefixOf returns the prefix of the keys of a table's tablets.
func TablePrefixOf(table base.TableID) string {
	return fmt.Sprintf("%s%016x/", TabletPrefix, uint64(table))
}

// TabletKey returns the key of the tablet of the table that ends at end
// (exclusive; empty: no end).
func TabletKey(table base.TableID, end []byte) string {
	if len(end) == 0 {
		return TablePrefixOf(table) + "~"
	}
	return TablePrefixOf(table) + "k" + string(end)
}

// locateKey is the smallest key that the tablet which holds row can have.
func locateKey(table base.TableID, row []byte) string {
	return TablePrefixOf(table) + "k" + string(row) + "\x00"
}

func logKey(e base.Incarnation) string    { return LogPrefix + e.String() }
func lowKey(e base.Incarnation) string    { return LowPrefix + e.String() }
func serverKey(e base.Incarnation) string { return ServerPrefix + e.String() }

func refPrefix(e base.Incarnation) string { return RefPrefix + e.String() + "/" }

func refKey(e base.Incarnation, holder base.TabletID) string {
	return fmt.Sprintf("%s%016x", refPrefix(e), uint64(holder))
}

// bulkPrefixOf returns the prefix of the keys of a table's bulk loads.
func bulkPrefixOf(table base.TableID) string {
	return fmt.Sprintf("%s%016x/", BulkPrefix, uint64(table))
}

func bulkKey(table base.TableID, id base.LoadID) string {
	return fmt.Sprintf("%s%016x", bulkPrefixOf(table), uint64(id))
}

func bulkProofKey(id base.LoadID) string {
	return fmt.Sprintf("%s%016x", BulkProofPrefix, uint64(id))
}

func tableKey(id base.TableID) string { return fmt.Sprintf("%s%016x", TablePrefix, uint64(id)) }

func tableNameKey(name string) string { return TableNamePrefix + name }
