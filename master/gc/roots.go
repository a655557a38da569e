package gc

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/adminstorepb"
)

// Root says by what an object is named. A higher one counts.
type Root uint8

// The kinds of roots.
const (
	Unnamed Root = iota
	ByBackup
	BySnapshot
	ByCut     // what a tablet held, for a table or a snapshot as of then
	ByLoad    // a bulk load that is not adopted by all tablets
	ByDeleted // a table that may come back
	ByTablet
)

// Named is a manifest that a record of the lock service names.
type Named struct {
	Manifest base.FileNumber
	By       Root
	Holder   string // for people: "tablet 7", "backup projects/..."
	Key      string // of the record
}

// RootPrefixes returns the prefixes of the keys that Roots looks at.
func RootPrefixes() []string {
	return []string{meta.TabletPrefix, meta.TablePrefix, meta.BackupPrefix, meta.SnapshotPrefix, meta.BulkPrefix}
}

// Roots returns all manifests that are named, for whoever has to know what is
// garbage: collections and checks. kvs are the records below each of
// RootPrefixes, in this order, from one view at one revision (R11). wrong are the
// records, by key, that do not decode, with errors that wrap base.ErrCorrupt:
// they may name anything, so that nothing may be deleted then.
func Roots(kvs [][]lockservice.KV) (named []Named, wrong map[string]error) {
	deleted := map[base.TableID]bool{}
	wrong = map[string]error{}
	for _, kv := range kvs[1] {
		t, err := meta.DecodeTable(kv)
		if err != nil {
			wrong[kv.Key] = err
			continue
		}
		deleted[t.ID] = t.Record.Deleted
	}
	for _, kv := range kvs[0] {
		t, err := meta.DecodeTablet(kv)
		for _, c := range t.Cuts {
			named = append(named, Named{c.Manifest, ByCut, fmt.Sprintf("tablet %d as of %s", t.ID, c.AsOf.UTC().Format(time.RFC3339)), kv.Key})
		}
		switch {
		case err != nil:
			wrong[kv.Key] = err
		case t.Manifest.IsZero():
		default:
			by := ByTablet
			if deleted[t.Table] {
				by = ByDeleted
			}
			named = append(named, Named{t.Manifest, by, fmt.Sprintf("tablet %d", t.ID), kv.Key})
		}
	}
	for i, k := range kept() {
		for _, kv := range kvs[2+i] {
			list, err := k.names(kv)
			if err != nil {
				wrong[kv.Key] = err
			}
			named = append(named, list...)
		}
	}
	for _, kv := range kvs[2+len(kept())] {
		b, err := meta.DecodeBulkLoad(kv)
		if err != nil {
			wrong[kv.Key] = err
			continue
		}
		named = append(named, Named{b.Manifest, ByLoad, fmt.Sprintf("bulk load %d", b.ID), kv.Key})
	}
	return named, wrong
}

// image is what is kept of a table beside its tablets: a backup or a snapshot.
type image interface {
	proto.Message
	GetTablets() []*adminstorepb.BackupTablet
}

// keeping is a kind of images.
type keeping struct {
	by     Root
	what   string
	prefix string
	empty  func() image
}

// kept returns the kinds of images, in the order of RootPrefixes,
// which has them behind tablets and tables.
func kept() []keeping {
	return []keeping{
		{ByBackup, "backup ", meta.BackupPrefix, func() image { return &adminstorepb.Backup{} }},
		{BySnapshot, "snapshot ", meta.SnapshotPrefix, func() image { return &adminstorepb.Snapshot{} }},
	}
}

// names returns what an image names.
func (k keeping) names(kv lockservice.KV) ([]Named, error) {
	name := k.what + strings.TrimPrefix(kv.Key, k.prefix)
	var o adminstorepb.Object
	v := k.empty()
	err := proto.Unmarshal(kv.Value, &o)
	if err == nil {
		err = proto.Unmarshal(o.Value, v)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %v", base.ErrCorrupt, name, err)
	}
	var list []Named
	for _, t := range v.GetTablets() {
		if t.Manifest != nil {
			list = append(list, Named{meta.FileNumber(t.Manifest), k.by, name, kv.Key})
		}
	}
	return list, nil
}

// ranges returns where the keys with the prefixes are.
func ranges(prefixes []string) [][2]string {
	list := make([][2]string, 0, len(prefixes))
	for _, p := range prefixes {
		list = append(list, [2]string{p, lockservice.PrefixEnd(p)})
	}
	return list
}
