package admin_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/client"
	"github.com/tabletdb/tabletdb/meta"
)

// manyTablets replaces the tablets of a table, while no master runs, by the
// records of n that a server serves whose address nobody answers at. It returns
// the address.
func manyTablets(t *testing.T, s *system, table string, n int) (address string) {
	t.Helper()
	for _, m := range s.Masters() {
		if err := m.Master.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ls, err := client.New(client.Config{Endpoints: s.LockEndpoints(), Network: s.net.Node("many"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer ls.Close()
	store := meta.NewStore(ls)
	tb, err := store.TableByName(t.Context(), "projects/local/instances/main/tables/"+table)
	if err != nil {
		t.Fatal(err)
	}
	prefix := meta.TablePrefixOf(tb.ID)
	ops := []lockservice.Op{lockservice.DeleteRange(prefix, lockservice.PrefixEnd(prefix))}
	key := func(i int) []byte {
		if i == 0 || i == n {
			return nil
		}
		return fmt.Appendf(nil, "row%06d", i)
	}
	e := base.Incarnation{Generation: 1, Index: 1}
	for i := range n {
		x := meta.Tablet{ID: base.TabletID(1000 + i), Table: tb.ID, Start: key(i), End: key(i + 1), Owner: e, OwnerAddress: "nowhere:1", Epoch: 1, State: meta.Serving, Since: time.Now()}
		v, err := proto.Marshal(x.Proto())
		if err != nil {
			t.Fatal(err)
		}
		if ops = append(ops, lockservice.Put(x.Key(), v)); len(ops) == 2000 || i == n-1 {
			if _, err := ls.Txn(t.Context(), lockservice.Txn{Then: ops}); err != nil {
				t.Fatal(err)
			}
			ops = nil
		}
	}
	return "nowhere:1"
}

// TestListingsOfMany: nobody is shown ten thousand lines who did not ask for
// them; programs get all.
func TestListingsOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		s.must(t, nil, "table", "create", "t", "--families", "cf")
		const n = 10000
		addr := manyTablets(t, s, "t", n)
		for _, args := range [][]string{
			{"status"}, {"servers"}, {"table", "list"}, {"table", "describe", "t"}, {"hot"},
			{"tablets", "list"}, {"tablets", "list", "t"}, {"tablets", "list", "--server", addr}, {"meta", "ls"}, {"lock", "ls"}, {"lock", "ls", "--values"}, {"wal", "ls"},
		} {
			began := time.Now()
			code, out, errs := invoke(t.Context(), s.app, "", args...)
			if lines := strings.Count(out, "\n"); code != 0 || lines > 220 {
				t.Errorf("%v: exit %d, %d lines %s", args, code, lines, errs)
			}
			if d := time.Since(began); d > 10*time.Second {
				t.Errorf("%v took %v", args, d)
			}
		}
		s.fails(t, 0, "... and 9,800 more of 10,000", "tablets", "list")
		var list []struct{ ID int }
		for want, args := range map[int][]string{
			n: {"tablets", "list"}, 7: {"tablets", "list", "--limit", "7"}, 0: {"tablets", "list", "--state", "unserved"},
		} {
			list = nil
			if s.must(t, &list, args...); len(list) != want {
				t.Errorf("%v: %d tablets", args, len(list))
			}
		}
		if code, out, _ := invoke(t.Context(), s.app, "", "tablets", "list", "--limit", "0"); code != 0 || strings.Count(out, "\n") != n+1 {
			t.Errorf("all: exit %d, %d lines", code, strings.Count(out, "\n"))
		}
		s.fails(t, 2, "there are serving, loading, unassigned, unserved", "tablets", "list", "--state", "up")
		s.fails(t, 2, "must not be negative", "tablets", "list", "--limit", "-1")
	})
}
