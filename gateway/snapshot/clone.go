package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/proto/adminstorepb"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// Record returns the record of a new table of that name which begins as an image
// of another: families with their ids, garbage rules and settings come along;
// what protects or accompanies the other table does not.
func Record(of *metapb.TableRecord, name string) *metapb.TableRecord {
	rec := proto.CloneOf(of)
	rec.Name = name
	if rec.Spec == nil {
		rec.Spec = &adminpb.Table{}
	}
	rec.Spec.DeletionProtection, rec.Spec.ChangeStreamConfig, rec.Spec.AutomatedBackupConfig, rec.Spec.RestoreInfo = false, nil, nil, nil
	return rec
}

// Tablets returns what the tablets of a table begin with that is made of an
// image's, for meta.RestoreTable.
func Tablets(image []*adminstorepb.BackupTablet) []meta.Tablet {
	tablets := make([]meta.Tablet, len(image))
	for i, t := range image {
		tablets[i] = meta.Tablet{
			Start: t.Start, End: t.End, Manifest: meta.FileNumber(t.Manifest), ManifestVersion: t.ManifestVersion,
			Flushed: base.Seq(t.Flushed), NextSeq: base.Seq(t.NextSeq),
		}
	}
	return tablets
}

// checkNew checks the name of a table that is to be made.
func (s *Service) checkNew(ctx context.Context, name string) error {
	n, err := schema.ParseName(name)
	if err != nil {
		return err
	}
	if err := schema.CheckTableID(n.Table); err != nil {
		return err
	}
	switch _, err := s.meta.TableByName(ctx, name); {
	case err == nil:
		return schema.Exists(name)
	case errors.Is(err, base.ErrNotFound):
		return nil
	default:
		return err
	}
}

// Clone makes a new table of a snapshot, in one transaction that copies
// references and no data. Its tablets are not served yet when it returns.
// base.ErrExists: there is a table of that name; base.ErrNotFound: there is no
// such snapshot (any more).
func (s *Service) Clone(ctx context.Context, snapshot, table string) (meta.Table, error) {
	if err := s.checkNew(ctx, table); err != nil {
		return meta.Table{}, err
	}
	for {
		it, err := s.Get(ctx, snapshot)
		if err != nil {
			return meta.Table{}, err
		}
		t, err := s.restore(ctx, it.Value.Table, it.Value.Tablets, table, lockservice.ModRevisionIs(s.Key(it.Name), it.Revision))
		if !errors.Is(err, base.ErrAborted) {
			return t, err
		}
	}
}

// CloneTable makes a new table of what another holds now, in one transaction,
// after a flush, and returns what it was made of. Its tablets are not served yet
// when it returns. Where at is not zero it is what the other table held then, as
// Taker.Take has it. base.ErrExists: there is a table of that name.
func (s *Service) CloneTable(ctx context.Context, from, table string, at time.Time) (t meta.Table, of Image, err error) {
	if err := s.checkNew(ctx, table); err != nil {
		return t, of, err
	}
	err = s.taker.Take(ctx, from, at, func(ctx context.Context, img Image, cond []lockservice.Compare) (err error) {
		of = img
		t, err = s.restore(ctx, img.Table, img.Tablets, table, cond...)
		return err
	})
	return t, of, err
}

func (s *Service) restore(ctx context.Context, rec *metapb.TableRecord, tablets []*adminstorepb.BackupTablet, name string, cond ...lockservice.Compare) (meta.Table, error) {
	t, err := s.meta.RestoreTable(ctx, Record(rec, name), Tablets(tablets), time.Now(), cond...)
	if errors.Is(err, base.ErrExists) {
		return t, schema.Exists(name)
	}
	return t, err
}

// AwaitServed returns when all tablets of a table are served. Where ctx ends
// first the error wraps base.ErrUnavailable.
func (s *Service) AwaitServed(ctx context.Context, t meta.Table) error {
	for {
		tablets, err := s.meta.Tablets(ctx, t.ID, lockservice.ReadOptions{})
		if err == nil && !slices.ContainsFunc(tablets, func(tb meta.Tablet) bool { return tb.State != meta.Serving }) {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w: table %s was made, but not all of its tablets are served yet; is a master running?", base.ErrUnavailable, t.Name)
		}
	}
}
