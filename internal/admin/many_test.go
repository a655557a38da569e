package admin_test

import (
	"fmt"
	"log/slog"
	"testing"
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
