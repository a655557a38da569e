//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	"cloud.google.com/go/bigtable"
)

// ledger remembers rows that are written once, and perhaps deleted once.
type ledger struct {
	mu sync.Mutex
	// rows holds what is known of each row that anybody tried to write.
	rows map[string]ledgerState
	// acked lists rows that were acknowledged and not deleted.
	acked []string
}

// ledgerState is what a reader may find.
type ledgerState uint8

const (
	rowUnknown ledgerState = iota // the write or the deletion was not answered
	rowThere
	rowGone
)

func newLedger() *ledger { return &ledger{rows: map[string]ledgerState{}} }

// ledgerValue is the only value that a row may hold. Some are large.
func ledgerValue(key string) string {
	n := 1
	if key[len(key)-1] == '7' {
		n = 200
	}
	value := ""
	for range n {
		value += "value of " + key + ";"
	}
	return value
}

func (l *ledger) attempt(keys []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		l.rows[k] = rowUnknown
	}
}

func (l *ledger) ack(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows[key] = rowThere
	l.acked = append(l.acked, key)
}

// deletable takes a row that is there; deleted must follow.
func (l *ledger) deletable(rng *rand.Rand) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.acked) < 64 {
		return "", false
	}
	i := rng.IntN(len(l.acked))
	key := l.acked[i]
	l.acked[i] = l.acked[len(l.acked)-1]
	l.acked = l.acked[:len(l.acked)-1]
	l.rows[key] = rowUnknown
	return key, true
}

func (l *ledger) deleted(key string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.rows[key] = rowGone
	}
}

// check reads all rows and returns what is wrong, and how many it compared.
func (l *ledger) check(ctx context.Context, table *bigtable.Table) (wrong []string, compared int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := map[string]bool{}
	err = table.ReadRows(ctx, bigtable.InfiniteRange(""), func(r bigtable.Row) bool {
		key := r.Key()
		found[key] = true
		state, known := l.rows[key]
		items := r[familyLedger]
		switch {
		case !known:
			wrong = append(wrong, fmt.Sprintf("row %q: nobody wrote it", key))
		case state == rowGone:
			wrong = append(wrong, fmt.Sprintf("row %q: it is back after its deletion was acknowledged", key))
		case len(items) != 1 || string(items[0].Value) != ledgerValue(key):
			wrong = append(wrong, fmt.Sprintf("row %q: holds %d cells, %.80q", key, len(items), items[0].Value))
		}
		return true
	}, bigtable.RowFilter(bigtable.FamilyFilter(familyLedger)))
	for key, state := range l.rows {
		if state == rowThere && !found[key] {
			wrong = append(wrong, fmt.Sprintf("row %q: acknowledged and lost", key))
		}
	}
	return wrong, len(l.rows), err
}
