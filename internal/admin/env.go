package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/client"
	"github.com/tabletdb/tabletdb/client/masterclient"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/openstore"
	"github.com/tabletdb/tabletdb/objstore/retry"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// StoreKey is the key of the lock service under which the URL of the bucket
// stands, without credentials.
const StoreKey = "config/store"

// env is what a command works with. What it opens, close closes. It is used by
// one goroutine.
type env struct {
	run    *run
	out    *output.Printer
	ls     lockservice.Client
	meta   *meta.Store
	raw    openstore.Store      // nil: not opened
	db     *client.Client       // nil: not opened
	master *masterclient.Client // nil: not opened
}

func newEnv(r *run) (*env, error) {
	f, err := output.ParseFormat(r.flags.output)
	if err != nil {
		return nil, err
	}
	var endpoints []string
	for _, a := range r.flags.lockService {
		if a = strings.TrimSpace(a); a != "" {
			endpoints = append(endpoints, a)
		}
	}
	if len(endpoints) == 0 {
		return nil, usagef("no address of the lock service: give --lockservice host:port or %s", lockServiceVar)
	}
	r.flags.lockService = endpoints
	ls, err := r.app.LockService(endpoints)
	if err != nil {
		return nil, err
	}
	return &env{run: r, out: output.New(r.app.Stdout, f), ls: ls, meta: meta.NewStore(ls)}, nil
}

func (e *env) close() error {
	var errs []error
	if e.db != nil {
		errs = append(errs, e.db.Close())
	}
	if e.master != nil {
		errs = append(errs, e.master.Close())
	}
	if e.raw != nil {
		errs = append(errs, e.raw.Close())
	}
	return errors.Join(append(errs, e.ls.Close())...)
}

// store returns the bucket, opened at the first call.
func (e *env) store(ctx context.Context) (objstore.Store, error) {
	if e.raw == nil {
		url := e.run.flags.store
		if url == "" {
			kv, ok, _, err := e.ls.Get(ctx, StoreKey, lockservice.ReadOptions{})
			if err != nil {
				return nil, fmt.Errorf("ask the lock service for the bucket's URL: %w; give --store to do without", err)
			}
			if !ok || len(kv.Value) == 0 {
				return nil, usagef("which bucket? The lock service does not say (key %s): give --store URL or %s", StoreKey, storeVar)
			}
			url = string(kv.Value)
		}
		raw, err := e.run.app.Store(ctx, url)
		if err != nil {
			return nil, err
		}
		e.raw = raw
	}
	return retry.New(e.raw, retry.Options{}), nil
}

// rows returns the way to the rows of a table given by its full or short name.
func (e *env) rows(ctx context.Context, table string) (*client.Table, error) {
	full, err := e.fullName(table)
	if err != nil {
		return nil, err
	}
	name, err := schema.ParseName(full)
	if err != nil {
		return nil, err
	}
	db, err := e.client(ctx, name)
	if err != nil {
		return nil, err
	}
	return db.Open(name.Table), nil
}

// client returns the client for the instance of a table, opened at the first
// call: a command works on one.
func (e *env) client(ctx context.Context, name schema.Name) (*client.Client, error) {
	if e.db == nil {
		db, err := client.Open(ctx, client.Config{Cell: e.ls, Project: name.Project, Instance: name.Instance, Network: e.run.app.Network})
		if err != nil {
			return nil, err
		}
		e.db = db
	}
	return e.db, nil
}

// electionPatience is how long is waited where no master holds the lock.
const electionPatience = 10 * time.Second

// askMaster runs f against the active master.
func (e *env) askMaster(ctx context.Context, f func(context.Context, controlpb.MasterClient) error) error {
	if e.master == nil {
		e.master = masterclient.New(e.ls, e.run.app.Network)
	}
	_, err := e.masterLock(ctx)
	if err != nil && !errors.Is(err, base.ErrNotFound) {
		return err
	}
	if err != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, electionPatience)
		defer cancel()
	}
	if err = e.master.Call(ctx, f); errors.Is(err, base.ErrUnavailable) {
		return fmt.Errorf("%w; is a master running? tabletadm status tells", err)
	}
	return err
}

// masterLock returns the lock of the active master. base.ErrNotFound: nobody
// holds it.
func (e *env) masterLock(ctx context.Context) (lockservice.LockInfo, error) {
	locks, _, err := e.ls.Locks(ctx)
	if err != nil {
		return lockservice.LockInfo{}, fmt.Errorf("find the active master: %w", err)
	}
	for _, l := range locks {
		if l.Name == meta.MasterLock && len(l.Holders) > 0 {
			return l, nil
		}
	}
	return lockservice.LockInfo{}, fmt.Errorf("active master: %w", base.ErrNotFound)
}

// askServer runs f against the control service of the tablet server at addr.
func (e *env) askServer(addr string, f func(controlpb.TabletServerClient) error) error {
	cc, err := rpc.Dial(e.run.app.Network, addr)
	if err != nil {
		return fmt.Errorf("dial tablet server %s: %w", addr, err)
	}
	defer cc.Close() // nothing was left to send
	if err := f(controlpb.NewTabletServerClient(cc)); err != nil {
		return fmt.Errorf("tablet server %s: %w", addr, rpc.FromStatus(err))
	}
	return nil
}

// parent is the name of the instance of the flags.
func (e *env) parent() string {
	return schema.Name{Project: e.run.flags.project, Instance: e.run.flags.instance}.Parent()
}

// fullName returns the full name of a table given by its full or short name.
func (e *env) fullName(table string) (string, error) {
	if !strings.HasPrefix(table, "projects/") {
		table = e.parent() + "/tables/" + table
	}
	if _, err := schema.ParseName(table); err != nil {
		return "", err
	}
	return table, nil
}

// short returns the name of a table as it is given in commands with these
// flags.
func (e *env) short(full string) string { return strings.TrimPrefix(full, e.parent()+"/tables/") }

// table reads the schema of the table with that full or short name.
func (e *env) table(ctx context.Context, name string) (meta.Table, error) {
	full, err := e.fullName(name)
	if err != nil {
		return meta.Table{}, err
	}
	t, err := e.meta.TableByName(ctx, full)
	if errors.Is(err, base.ErrNotFound) {
		return meta.Table{}, fmt.Errorf("%w; tabletadm table list shows what there is", schema.NotFound(full))
	}
	return t, err
}

// tables reads the schemas of all tables of the instance, by name.
func (e *env) tables(ctx context.Context, o lockservice.ReadOptions) ([]meta.Table, error) {
	tables, _, err := e.meta.ListTables(ctx, e.parent()+"/tables/", o)
	slices.SortFunc(tables, func(a, b meta.Table) int { return strings.Compare(a.Name, b.Name) })
	return tables, err
}

// confirm asks before something is destroyed, unless yes.
func (e *env) confirm(yes bool, format string, args ...any) error {
	if yes {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if !e.run.app.Interactive {
		return usagef("this would %s; give --yes to do it", what)
	}
	fmt.Fprintf(e.run.app.Stderr, "This will %s. Go on? [y/N] ", what)
	answer, err := bufio.NewReader(e.run.app.Stdin).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.Join(errors.New("nothing was done"), ignoreEOF(err))
	}
	return nil
}

// done prints that something was done.
func (e *env) done(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	return e.out.Print(map[string]string{"done": text}, func(p *output.Page) { p.Line("%s", text) })
}
