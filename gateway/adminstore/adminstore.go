// Package adminstore keeps the objects of the admin API in the lock service,
// so that any gateway serves them and they outlive every process: instances,
// clusters, app profiles, views, schema bundles, policies, operations, backups
// and snapshots. (Tables are in package meta.)
//
// The keys are
//
//	admin/<kind>/<full resource name>
//
// and the values adminstorepb.Object. An Item is what was read under a key; it
// is changed by a transaction that compares the revision at which it was read,
// and that revision is also the etag that the API shows.
//
// Backups and snapshots are roots of the bucket's garbage collection (rule R10):
// whoever deletes manifests or SSTables reads all of them, in the same view as
// the tablets' records, and keeps what they name.
package adminstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/adminstorepb"
)

// Prefix of all keys.
const Prefix = "admin/"

// Kind is a kind of objects.
type Kind string

// The kinds.
const (
	Instance         Kind = "instance"
	Cluster          Kind = "cluster"
	AppProfile       Kind = "appprofile"
	LogicalView      Kind = "logicalview"
	MaterializedView Kind = "materializedview"
	AuthorizedView   Kind = "authorizedview"
	SchemaBundle     Kind = "schemabundle"
	Policy           Kind = "policy"
	Operation        Kind = "operation"
	Backup           Kind = "backup"
	Snapshot         Kind = "snapshot"
)

// Kinds lists all kinds.
func Kinds() []Kind {
	return []Kind{Instance, Cluster, AppProfile, LogicalView, MaterializedView, AuthorizedView, SchemaBundle, Policy, Operation, Backup, Snapshot}
}

// BackupPrefix is the prefix of the keys of backups.
const BackupPrefix = meta.BackupPrefix

// Key returns the key of an object.
func (k Kind) Key(name string) string { return Prefix + string(k) + "/" + name }

// Item is one object as it was read. The zero Revision: it is not stored.
type Item[M proto.Message] struct {
	Name     string
	Value    M // must not be changed once it is shared: clone it
	Table    base.TableID
	Created  time.Time
	Updated  time.Time
	Revision lockservice.Revision
}

// Etag returns the etag of the item: another one after each change.
func (i Item[M]) Etag() string { return Etag(i.Revision) }

// Etag returns the etag that stands for a revision.
func Etag(r lockservice.Revision) string { return strconv.FormatUint(uint64(r), 36) }

// CheckEtag returns an error that wraps base.ErrAborted where etag is given
// and is not the item's.
func (i Item[M]) CheckEtag(etag string) error {
	if etag != "" && etag != i.Etag() {
		return base.Textf(base.ErrAborted, "Etag mismatch for %s: got %q, but the current one is %q", i.Name, etag, i.Etag())
	}
	return nil
}

// Collection is the objects of one kind, which hold messages of type M. The
// zero Collection is not valid; it is made by Of.
type Collection[M proto.Message] struct {
	ls   lockservice.Client
	kind Kind
	what string // for people: "Cluster"
}

// Of returns the collection of a kind. what names the kind in errors.
func Of[M proto.Message](ls lockservice.Client, kind Kind, what string) Collection[M] {
	return Collection[M]{ls: ls, kind: kind, what: what}
}

// NotFound is the error for an object that does not exist.
func (c Collection[M]) NotFound(name string) error {
	return base.Textf(base.ErrNotFound, "%s not found: %s", c.what, name)
}

// Exists is the error for an object that exists already.
func (c Collection[M]) Exists(name string) error {
	return base.Textf(base.ErrExists, "%s already exists: %s", c.what, name)
}

// Get reads one object, linearizably.
func (c Collection[M]) Get(ctx context.Context, name string) (Item[M], error) {
	kv, ok, _, err := c.ls.Get(ctx, c.kind.Key(name), lockservice.ReadOptions{})
	if err != nil {
		return Item[M]{}, fmt.Errorf("read %s %s: %w", c.kind, name, err)
	}
	if !ok {
		return Item[M]{Name: name}, c.NotFound(name)
	}
	return c.decode(kv)
}

// List reads the objects whose names start with prefix, by name, all as of one
// moment.
func (c Collection[M]) List(ctx context.Context, prefix string) ([]Item[M], error) {
	p := c.kind.Key(prefix)
	kvs, _, err := c.ls.List(ctx, p, lockservice.PrefixEnd(p), lockservice.ReadOptions{})
	if err != nil {
		return nil, fmt.Errorf("list %s %s: %w", c.kind, prefix, err)
	}
	items := make([]Item[M], len(kvs))
	for i, kv := range kvs {
		if items[i], err = c.decode(kv); err != nil {
			return nil, err
		}
	}
	return items, nil
}

// Names lists the names that start with prefix.
func (c Collection[M]) Names(ctx context.Context, prefix string) ([]string, error) {
	p := c.kind.Key(prefix)
	kvs, _, err := c.ls.List(ctx, p, lockservice.PrefixEnd(p), lockservice.ReadOptions{KeysOnly: true})
	if err != nil {
		return nil, fmt.Errorf("list %s %s: %w", c.kind, prefix, err)
	}
	names := make([]string, len(kvs))
	for i, kv := range kvs {
		names[i] = strings.TrimPrefix(kv.Key, c.kind.Key(""))
	}
	return names, nil
}

func (c Collection[M]) decode(kv lockservice.KV) (Item[M], error) {
	it := Item[M]{Name: strings.TrimPrefix(kv.Key, c.kind.Key("")), Revision: kv.ModRevision}
	var o adminstorepb.Object
	var zero M
	it.Value = zero.ProtoReflect().Type().New().Interface().(M)
	err := proto.Unmarshal(kv.Value, &o)
	if err == nil {
		err = proto.Unmarshal(o.Value, it.Value)
	}
	if err != nil {
		return it, fmt.Errorf("%w: record %q: %v", base.ErrCorrupt, kv.Key, err)
	}
	it.Table, it.Created, it.Updated = base.TableID(o.Table), time.UnixMicro(o.CreatedUs), time.UnixMicro(o.UpdatedUs)
	return it, nil
}

// Write is one part of a transaction: an object to be put or deleted, on the
// condition that it is as it was read.
type Write struct {
	If   lockservice.Compare
	Then lockservice.Op
}

// Put is the write that stores value in the place of it; an it of revision 0
// is new and must not exist.
func (c Collection[M]) Put(it Item[M], value M, now time.Time) (Write, error) {
	v, err := proto.Marshal(value)
	if err != nil {
		return Write{}, fmt.Errorf("encode %s %s: %w", c.kind, it.Name, err)
	}
	if it.Revision == 0 {
		it.Created = now
	}
	o, err := proto.Marshal(&adminstorepb.Object{Value: v, Table: uint64(it.Table), CreatedUs: it.Created.UnixMicro(), UpdatedUs: now.UnixMicro()})
	if err != nil {
		return Write{}, fmt.Errorf("encode %s %s: %w", c.kind, it.Name, err)
	}
	key := c.kind.Key(it.Name)
	return Write{lockservice.ModRevisionIs(key, it.Revision), lockservice.Put(key, o)}, nil
}

// Remove is the write that deletes it.
func (c Collection[M]) Remove(it Item[M]) Write {
	key := c.kind.Key(it.Name)
	return Write{lockservice.ModRevisionIs(key, it.Revision), lockservice.Delete(key)}
}

// Commit applies writes, all or none, on the further conditions. An error that
// wraps base.ErrAborted says that an object or a condition is not as it was;
// one that wraps base.ErrUndecided, that nobody knows.
func Commit(ctx context.Context, ls lockservice.Client, writes []Write, cond ...lockservice.Compare) (lockservice.Revision, error) {
	x := lockservice.Txn{If: cond}
	for _, w := range writes {
		x.If = append(x.If, w.If)
		x.Then = append(x.Then, w.Then)
	}
	res, err := ls.Txn(ctx, x)
	if err != nil {
		return 0, fmt.Errorf("store admin objects: %w", err)
	}
	if !res.Succeeded {
		return 0, base.Textf(base.ErrAborted, "A concurrent change of the same object won; read it again and retry")
	}
	return res.Revision, nil
}

// Create stores a new object. base.ErrExists: there is one of that name. An
// object of another table's that is in the way, left over from a table that
// was deleted, is replaced.
func (c Collection[M]) Create(ctx context.Context, name string, table base.TableID, value M, cond ...lockservice.Compare) (Item[M], error) {
	old, err := c.Get(ctx, name)
	switch {
	case err == nil && (table == 0 || old.Table == table):
		return old, c.Exists(name)
	case err != nil && !errors.Is(err, base.ErrNotFound):
		return old, err
	}
	now := time.Now()
	it := Item[M]{Name: name, Value: value, Table: table, Revision: old.Revision, Created: now}
	w, err := c.Put(it, value, now)
	if err != nil {
		return it, err
	}
	_, err = Commit(ctx, c.ls, []Write{w}, cond...)
	if errors.Is(err, base.ErrAborted) && len(cond) == 0 {
		return it, c.Exists(name)
	}
	if err != nil {
		return it, err
	}
	return c.Get(ctx, name)
}

// Update replaces an object by what change makes of a copy of it, again and
// again until no other change comes between. An error of change ends it.
func (c Collection[M]) Update(ctx context.Context, name string, change func(it Item[M], value M) error) (Item[M], error) {
	for {
		it, err := c.Get(ctx, name)
		if err != nil {
			return it, err
		}
		value := proto.CloneOf(it.Value)
		if err := change(it, value); err != nil {
			return it, err
		}
		w, err := c.Put(it, value, time.Now())
		if err != nil {
			return it, err
		}
		_, err = Commit(ctx, c.ls, []Write{w})
		if err == nil {
			return c.Get(ctx, name)
		}
		if !errors.Is(err, base.ErrAborted) || ctx.Err() != nil {
			return it, err
		}
	}
}

// Delete removes an object if check, where not nil, allows it.
func (c Collection[M]) Delete(ctx context.Context, name string, check func(Item[M]) error) error {
	for {
		it, err := c.Get(ctx, name)
		if err != nil {
			return err
		}
		if check != nil {
			if err := check(it); err != nil {
				return err
			}
		}
		_, err = Commit(ctx, c.ls, []Write{c.Remove(it)})
		if !errors.Is(err, base.ErrAborted) || ctx.Err() != nil {
			return err
		}
	}
}

// Forget removes everything of the given kinds whose name starts with prefix,
// whatever it is.
func Forget(ctx context.Context, ls lockservice.Client, prefix string, kinds ...Kind) error {
	var x lockservice.Txn
	for _, k := range kinds {
		p := k.Key(prefix)
		x.Then = append(x.Then, lockservice.DeleteRange(p, lockservice.PrefixEnd(p)))
	}
	if _, err := ls.Txn(ctx, x); err != nil {
		return fmt.Errorf("delete the admin objects below %s: %w", prefix, err)
	}
	return nil
}
