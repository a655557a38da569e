package meta

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
)

// Marks are what operators have set: they hold until somebody unsets them,
// whoever is the master. Their values say since when, for people.
const (
	drainPrefix = MarkPrefix + "drain/"
	// BalanceOffMark stands while tablets are not moved, split and merged by the
	// master's own decision.
	BalanceOffMark = MarkPrefix + "balance-off"
)

// DrainMark is the key that stands while the server of that name, which is
// stable over its restarts, is to have no tablets.
func DrainMark(server string) string { return drainPrefix + server }

// DrainedServer returns the name of the server that a DrainMark is for.
func DrainedServer(key string) (name string, ok bool) { return strings.CutPrefix(key, drainPrefix) }

// SetMark sets or unsets a mark.
func (s *Store) SetMark(ctx context.Context, key string, on bool, now time.Time) error {
	op := lockservice.Delete(key)
	if on {
		op = lockservice.Put(key, []byte(now.UTC().Format(time.RFC3339)))
	}
	if !strings.HasPrefix(key, MarkPrefix) {
		return fmt.Errorf("%w: %q is no mark", base.ErrInvalid, key)
	}
	if _, err := s.ls.Txn(ctx, lockservice.Txn{Then: []lockservice.Op{op}}); err != nil {
		return fmt.Errorf("set mark %s: %w", key, err)
	}
	return nil
}

// Marks returns the marks that are set, and since when.
func (s *Store) Marks(ctx context.Context) (map[string]string, error) {
	kvs, _, err := s.ls.List(ctx, MarkPrefix, lockservice.PrefixEnd(MarkPrefix), lockservice.ReadOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the marks: %w", err)
	}
	marks := map[string]string{}
	for _, kv := range kvs {
		marks[kv.Key] = string(kv.Value)
	}
	return marks, nil
}
