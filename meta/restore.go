package meta

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// MaxRestoreTablets is the most tablets that a table has that is restored: it
// is made in one transaction.
const MaxRestoreTablets = lockservice.MaxTxnOps - 16

// RestoreTable stores a new table whose tablets begin with the files of a
// backup: of each of them Start, End, Manifest, ManifestVersion, Flushed and
// NextSeq are taken, the rest is made anew. The manifests say which tablet
// wrote them, which a loader does not compare. rec keeps its families with
// their ids, for the files name them; its own id is drawn anew. The tablets
// tile all rows.
//
// The conditions keep the backup from being deleted while it is restored (R10):
// where one does not hold the error is base.ErrAborted. base.ErrExists: the
// name is taken.
func (s *Store) RestoreTable(ctx context.Context, rec *metapb.TableRecord, tablets []Tablet, now time.Time, cond ...lockservice.Compare) (Table, error) {
	if len(tablets)+len(cond) > MaxRestoreTablets {
		return Table{}, fmt.Errorf("%w: %d tablets; at most %d can be restored", base.ErrInvalid, len(tablets), MaxRestoreTablets)
	}
	if wrong := CheckTiling(tablets); len(wrong) > 0 {
		return Table{}, fmt.Errorf("%w: tablets of table %s: %s", base.ErrCorrupt, rec.Name, wrong[0])
	}
	id, err := s.NewIDs(ctx, "table", 1)
	if err != nil {
		return Table{}, err
	}
	first, err := s.NewIDs(ctx, "tablet", uint64(len(tablets)))
	if err != nil {
		return Table{}, err
	}
	rec = proto.CloneOf(rec)
	rec.Id, rec.Deleted, rec.CreatedUs = id, false, now.UnixMicro()
	x, err := newTableTxn(rec, tablets, first, now)
	if err != nil {
		return Table{}, err
	}
	x.If = append(x.If, cond...)
	res, err := s.ls.Txn(ctx, x)
	if err != nil {
		return Table{}, fmt.Errorf("restore table %s: %w", rec.Name, err)
	}
	t, err := s.TableByName(ctx, rec.Name)
	switch {
	case err == nil && t.ID == base.TableID(id):
		return t, nil // also where a repeated transaction did not recognise itself
	case err == nil:
		return Table{}, fmt.Errorf("table %s: %w", rec.Name, base.ErrExists)
	case errors.Is(err, base.ErrNotFound) && !res.Succeeded:
		return Table{}, fmt.Errorf("restore table %s: %w", rec.Name, base.ErrAborted)
	}
	return Table{}, err
}
