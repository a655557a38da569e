package meta

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// BulkLoad is a load of files into a table that is decided: every tablet of the
// table adopts what lies in its rows, whoever dies. Its record is a root
// of the files (R11) until all tablets have; then it is removed.
type BulkLoad struct {
	ID    base.LoadID
	Table base.TableID
	// Manifest lists the files, in one run.
	Manifest base.FileNumber
	// For people: what is loaded, and when that was decided.
	Files, Cells, Bytes uint64
	Decided             time.Time

	// Revision is the ModRevision of the record; 0 for one not yet stored.
	Revision lockservice.Revision
}

// Key returns the key of the record.
func (b BulkLoad) Key() string { return bulkKey(b.Table, b.ID) }

func (b BulkLoad) encode() ([]byte, error) {
	v, err := proto.Marshal(&metapb.BulkLoad{
		Id: uint64(b.ID), Table: uint64(b.Table), Manifest: FileNumberProto(b.Manifest),
		Files: b.Files, Cells: b.Cells, Bytes: b.Bytes, DecidedUs: b.Decided.UnixMicro(),
	})
	if err != nil {
		return nil, fmt.Errorf("encode record of bulk load %d: %w", b.ID, err)
	}
	return v, nil
}

// DecodeBulkLoad parses the record stored under kv.Key. An error wraps
// base.ErrCorrupt and names the key.
func DecodeBulkLoad(kv lockservice.KV) (BulkLoad, error) {
	var p metapb.BulkLoad
	if err := proto.Unmarshal(kv.Value, &p); err != nil {
		return BulkLoad{}, fmt.Errorf("%w: record %q: %v", base.ErrCorrupt, kv.Key, err)
	}
	b := BulkLoad{
		ID: base.LoadID(p.Id), Table: base.TableID(p.Table), Manifest: FileNumber(p.Manifest),
		Files: p.Files, Cells: p.Cells, Bytes: p.Bytes, Decided: time.UnixMicro(p.DecidedUs), Revision: kv.ModRevision,
	}
	if b.ID == 0 || b.Manifest.IsZero() || b.Key() != kv.Key {
		return BulkLoad{}, fmt.Errorf("%w: record %q does not belong there (bulk load %d, manifest %v)", base.ErrCorrupt, kv.Key, b.ID, b.Manifest)
	}
	return b, nil
}

// DecideLoad stores a bulk load of the files that its manifest lists, under an
// id of its own; from then on it will be adopted. t is the schema that its cells
// were checked against. It is one transaction, which compares that the schema
// still is that one, and that the session which made the files is alive (R1):
// base.ErrAborted where one does not hold, and nothing was decided.
// base.ErrUndecided: nobody knows, and the files stay in flight (R4).
func (s *Store) DecideLoad(ctx context.Context, t Table, b BulkLoad, creator lockservice.SessionID) (BulkLoad, error) {
	id, err := s.NewIDs(ctx, "load", 1)
	if err != nil {
		return b, err
	}
	b.ID, b.Table = base.LoadID(id), t.ID
	v, err := b.encode()
	if err != nil {
		return b, err
	}
	res, err := s.ls.Txn(ctx, lockservice.Txn{
		If: []lockservice.Compare{
			lockservice.SessionAlive(creator), lockservice.ModRevisionIs(tableKey(t.ID), t.Revision), lockservice.Absent(b.Key()),
		},
		// The second key is the proof for as long as the session lives: where a
		// reply is lost, the repeated transaction recognises itself by it, also
		// when all tablets have adopted the load meanwhile.
		Then: []lockservice.Op{lockservice.Put(b.Key(), v), lockservice.PutEphemeral(bulkProofKey(b.ID), nil, creator)},
	})
	if err != nil {
		return b, fmt.Errorf("decide bulk load %d of table %s: %w", b.ID, t.Name, err)
	}
	if res.Succeeded && res.Results != nil {
		b.Revision = res.Revision
		return b, nil
	}
	if !res.Succeeded && !res.Retried {
		return b, fmt.Errorf("decide bulk load %d of table %s: %w", b.ID, t.Name, base.ErrAborted)
	}
	return s.decided(ctx, b, creator, res.Succeeded)
}

// decided tells what became of a transaction that was repeated. known: it was
// applied.
func (s *Store) decided(ctx context.Context, b BulkLoad, creator lockservice.SessionID, known bool) (BulkLoad, error) {
	now, err := s.BulkLoad(ctx, b.Table, b.ID)
	switch {
	case err == nil:
		return now, nil
	case known && errors.Is(err, base.ErrNotFound):
		return b, nil // and all have adopted it
	case !errors.Is(err, base.ErrNotFound):
		return b, fmt.Errorf("decide bulk load %d: %w: %w", b.ID, base.ErrUndecided, err)
	}
	sessions, _, err := s.ls.Sessions(ctx)
	alive := slices.ContainsFunc(sessions, func(x lockservice.SessionInfo) bool { return x.ID == creator && x.State == "alive" })
	if err != nil || !alive {
		return b, fmt.Errorf("decide bulk load %d: the session that made its files has ended: %w", b.ID, errors.Join(base.ErrUndecided, err))
	}
	return b, fmt.Errorf("decide bulk load %d: %w", b.ID, base.ErrAborted)
}

// BulkLoad reads the record of a bulk load, linearizably. base.ErrNotFound: all
// tablets have adopted it, or it was never decided.
func (s *Store) BulkLoad(ctx context.Context, table base.TableID, id base.LoadID) (BulkLoad, error) {
	kv, ok, _, err := s.ls.Get(ctx, bulkKey(table, id), lockservice.ReadOptions{})
	if err != nil {
		return BulkLoad{}, fmt.Errorf("read record of bulk load %d: %w", id, err)
	}
	if !ok {
		return BulkLoad{}, fmt.Errorf("bulk load %d: %w", id, base.ErrNotFound)
	}
	return DecodeBulkLoad(kv)
}

// BulkLoads returns the loads of a table that are pending, in the order in which
// they drew their ids.
func (s *Store) BulkLoads(ctx context.Context, table base.TableID) ([]BulkLoad, error) {
	list, damaged, _, err := s.bulkLoads(ctx, bulkPrefixOf(table))
	if err == nil && len(damaged) > 0 {
		err = damaged[0]
	}
	return list, err
}

// AllBulkLoads returns the pending loads of all tables, by table, and the revision
// at which that is true. damaged says of which records it cannot be told what they
// are; its errors wrap base.ErrCorrupt.
func (s *Store) AllBulkLoads(ctx context.Context) (list []BulkLoad, damaged []error, rev lockservice.Revision, err error) {
	return s.bulkLoads(ctx, BulkPrefix)
}

func (s *Store) bulkLoads(ctx context.Context, prefix string) (list []BulkLoad, damaged []error, rev lockservice.Revision, err error) {
	kvs, rev, err := s.ls.List(ctx, prefix, lockservice.PrefixEnd(prefix), lockservice.ReadOptions{})
	if err != nil {
		return nil, nil, 0, fmt.Errorf("list bulk loads: %w", err)
	}
	for _, kv := range kvs {
		b, err := DecodeBulkLoad(kv)
		if err != nil {
			damaged = append(damaged, err)
			continue
		}
		list = append(list, b)
	}
	return list, damaged, rev, nil
}

// FinishLoad removes the record of a load that every tablet of its table was
// seen to have adopted: that stays true, for children inherit what their parents
// have adopted, and tablets that differ are not merged.
func (s *Store) FinishLoad(ctx context.Context, b BulkLoad) error {
	_, err := s.ls.Txn(ctx, lockservice.Txn{
		If:   []lockservice.Compare{lockservice.ModRevisionIs(b.Key(), b.Revision)},
		Then: []lockservice.Op{lockservice.Delete(b.Key())},
	})
	if err != nil { // nobody else writes it: where the compare fails it is gone
		return fmt.Errorf("finish bulk load %d: %w", b.ID, err)
	}
	return nil
}

// GiveUpLoad removes the record of a load that is pending, whatever it holds:
// tablets that have not adopted the load never will. Others keep what they have.
// base.ErrNotFound: it is not pending.
func (s *Store) GiveUpLoad(ctx context.Context, table base.TableID, id base.LoadID) error {
	key := bulkKey(table, id)
	for {
		kv, ok, _, err := s.ls.Get(ctx, key, lockservice.ReadOptions{})
		if err != nil {
			return fmt.Errorf("give up bulk load %d: %w", id, err)
		}
		if !ok {
			return fmt.Errorf("bulk load %d, among those that are pending: %w", id, base.ErrNotFound)
		}
		res, err := s.ls.Txn(ctx, lockservice.Txn{
			If: []lockservice.Compare{lockservice.ModRevisionIs(key, kv.ModRevision)}, Then: []lockservice.Op{lockservice.Delete(key)},
		})
		if err != nil {
			return fmt.Errorf("give up bulk load %d: %w", id, err)
		}
		if res.Succeeded {
			return nil
		}
	}
}

// Adopted reports whether the tablet has adopted the load. A load that is not
// pending any more may have been forgotten.
func (t Tablet) Adopted(id base.LoadID) bool {
	_, ok := slices.BinarySearch(t.Loads, id)
	return ok
}

// Adoption is what a tablet brings into the adoption of a bulk load.
type Adoption struct {
	Load BulkLoad
	// Flushed is the manifest with the load's files on top of all that was
	// written before; nil: the load has nothing for the tablet.
	Flushed *Flushed
	// Pending are the loads of the table that are pending, this one among them.
	// The tablet forgets the others.
	Pending []BulkLoad
}

// Adopt makes the tablet adopt a bulk load: the references to its files are
// copied, and their source is compared (R11). It can be done once, for the
// tablet names what it has adopted.
func Adopt(t Tablet, a Adoption) (Change, error) {
	if t.Adopted(a.Load.ID) {
		return Change{}, fmt.Errorf("%w: tablet %d has adopted bulk load %d before", base.ErrPrecondition, t.ID, a.Load.ID)
	}
	if t.Table != a.Load.Table {
		return Change{}, fmt.Errorf("%w: bulk load %d is of table %d, tablet %d of table %d", base.ErrInvalid, a.Load.ID, a.Load.Table, t.ID, t.Table)
	}
	c := Change{Old: t, New: t.clone(), If: []lockservice.Compare{lockservice.SessionAlive(t.Owner)}}
	if t.State != Serving || t.OwnEntry() < 0 {
		return Change{}, fmt.Errorf("%w: adoption by tablet %d, which is %v", base.ErrNotServing, t.ID, t.State)
	}
	if a.Flushed != nil {
		var err error
		if c, err = Flush(t, *a.Flushed); err != nil {
			return Change{}, err
		}
	}
	c.If = append(c.If, lockservice.ModRevisionIs(a.Load.Key(), a.Load.Revision))
	c.New.Loads = append(stillPending(t.Loads, a.Pending), a.Load.ID)
	slices.Sort(c.New.Loads)
	return c, nil
}

// stillPending returns those of ids that are pending.
func stillPending(ids []base.LoadID, pending []BulkLoad) []base.LoadID {
	var out []base.LoadID
	for _, id := range ids {
		if slices.ContainsFunc(pending, func(b BulkLoad) bool { return b.ID == id }) {
			out = append(out, id)
		}
	}
	return out
}

// CommonLoads returns what the merger of two tablets has adopted. pending are
// the loads of their table that are pending, read after the records.
// base.ErrUnavailable: one that is pending was adopted by one of them only.
func CommonLoads(left, right Tablet, pending []BulkLoad) ([]base.LoadID, error) {
	for _, b := range pending {
		if left.Adopted(b.ID) != right.Adopted(b.ID) {
			return nil, fmt.Errorf("%w: one of tablets %d and %d has adopted bulk load %d, the other is about to", base.ErrUnavailable, left.ID, right.ID, b.ID)
		}
	}
	return stillPending(left.Loads, pending), nil
}
