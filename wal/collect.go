package wal

import (
	"context"
	"fmt"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

// Collect deletes every object of a log that is SEALED with this end, and that
// no tablet record and no unfinished operation names any more, except the seal
// at end, which stays for ever (invariant L3). It may be repeated. A writer
// that still lives may land an object afterwards; it is garbage below the seal
// or past it, and acknowledges nothing that was not replayed.
func Collect(ctx context.Context, store objstore.Store, e base.Incarnation, end base.Position) error {
	const chunk = 1000
	seal := base.LogObject(e, end)
	keys := make([]string, 0, chunk)
	flush := func() error {
		if len(keys) == 0 {
			return nil
		}
		err := store.Delete(ctx, keys...)
		keys = keys[:0]
		return err
	}
	for info, err := range store.List(ctx, base.LogPrefix(e), "") {
		if err != nil {
			return fmt.Errorf("collect log %s: %w", e, err)
		}
		if info.Key == seal {
			continue
		}
		if keys = append(keys, info.Key); len(keys) == chunk {
			if err := flush(); err != nil {
				return fmt.Errorf("collect log %s: %w", e, err)
			}
		}
	}
	if err := flush(); err != nil {
		return fmt.Errorf("collect log %s: %w", e, err)
	}
	return nil
}
