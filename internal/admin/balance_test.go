package admin_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// tablets lists the ids of a table's tablets, and their states.
func (s *system) tablets(t *testing.T, table string) (ids []string) {
	t.Helper()
	var list []struct{ ID uint64 }
	s.must(t, &list, "tablets", "list", table)
	for _, x := range list {
		ids = append(ids, fmt.Sprint(x.ID))
	}
	return ids
}

// TestTabletCommands splits, moves and merges tablets by hand, and asks why.
func TestTabletCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		s.must(t, nil, "table", "create", "t", "--families", "cf")
		one := s.tablets(t, "t")[0]
		s.fails(t, 1, "fewer than two rows", "tablet", "split", one)
		for _, row := range "abcdefgh" {
			s.must(t, nil, "put", "t", string(row), "cf:q="+strings.Repeat("v", 1000))
		}
		s.fails(t, 2, "want the number", "tablet", "split", "x")
		s.fails(t, 3, "not found", "tablet", "split", "99")
		s.fails(t, 1, "requests are known", "tablet", "split", one, "--by-load")
		var split struct {
			Row      string
			Children []uint64
		}
		s.must(t, &split, "tablet", "split", one)
		if split.Row < "c" || split.Row > "g" || len(split.Children) != 2 {
			t.Fatalf("%+v", split)
		}
		s.must(t, &split, "tablet", "split", fmt.Sprint(split.Children[0]), "--at", "b")
		if split.Row != "b" {
			t.Errorf("%+v", split)
		}
		ids := s.tablets(t, "t")
		if len(ids) != 3 {
			t.Fatalf("tablets %v", ids)
		}
		s.fails(t, 2, "does not end where", "tablet", "merge", ids[0], ids[2])
		s.fails(t, 2, "with itself", "tablet", "merge", ids[0], ids[0])

		var moved struct{ Server string }
		s.must(t, &moved, "tablet", "move", ids[0])
		other := "tablet1"
		if moved.Server == other {
			other = "tablet2"
		}
		s.fails(t, 3, "not found", "tablet", "move", ids[0], "nobody")
		s.must(t, &moved, "tablet", "move", ids[0], other)
		if moved.Server != other {
			t.Errorf("moved to %s", moved.Server)
		}
		var merged struct{ Merged uint64 }
		s.must(t, &merged, "tablet", "merge", ids[0], ids[1])
		s.must(t, nil, "tablet", "flush", ids[2])
		s.must(t, nil, "tablet", "compact", ids[2])

		var why struct {
			Why       string
			Parents   []uint64
			Decisions []struct{ Kind, Outcome, Why string }
		}
		s.must(t, &why, "tablet", "explain", fmt.Sprint(merged.Merged))
		if !strings.Contains(why.Why, "operator") || len(why.Parents) != 2 || len(why.Decisions) != 1 || why.Decisions[0].Kind != "merge" || why.Decisions[0].Outcome != "done" {
			t.Errorf("%+v", why)
		}
		var all struct {
			On        bool
			Decisions []struct{ Kind string }
		}
		s.must(t, nil, "balance", "off")
		s.must(t, &all, "balance", "explain")
		if all.On || len(all.Decisions) < 5 {
			t.Errorf("%+v", all)
		}
		s.must(t, nil, "balance", "on")
		var hot []struct{ Tablet uint64 }
		s.must(t, &hot, "hot", "--limit", "1")
		if len(hot) != 1 {
			t.Errorf("%+v", hot)
		}
		for _, args := range [][]string{{"hot"}, {"balance", "explain"}, {"tablet", "explain", ids[2]}, {"recovery"}, {"servers"}} {
			if code, out, errs := invoke(t.Context(), s.app, "", args...); code != 0 || out == "" {
				t.Errorf("%v: exit %d: %s%s", args, code, out, errs)
			}
		}
		var rows struct{ Rows int }
		s.must(t, &rows, "count", "t")
		if rows.Rows != 8 {
			t.Errorf("%d rows", rows.Rows)
		}
		s.fails(t, 0, "No problem", "check", "--deep")
	})
}

// TestDrainAndRestart empties a server and fills it again, and restarts all of
// them one after the other.
func TestDrainAndRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		s.must(t, nil, "table", "create", "t", "--families", "cf", "--split", "b,c,d")
		type server struct {
			Name     string
			Assigned int
			Drained  bool
		}
		at := func(name string) server {
			var list []server
			s.must(t, &list, "servers")
			return list[slices.IndexFunc(list, func(x server) bool { return x.Name == name })]
		}
		s.must(t, nil, "put", "t", "a", "cf:q=1")
		s.must(t, nil, "server", "drain", "tablet1")
		if x := at("tablet1"); x.Assigned != 0 || !x.Drained {
			t.Errorf("%+v", x)
		}
		s.fails(t, 1, "nowhere to go", "server", "drain", "tablet2")
		s.fails(t, 3, "not found", "server", "drain", "tablet9")
		s.fails(t, 1, "is drained", "tablet", "move", s.tablets(t, "t")[0], "tablet1")
		if _, out, _ := invoke(t.Context(), s.app, "", "servers"); !strings.Contains(out, "drained") {
			t.Errorf("servers:\n%s", out)
		}
		s.must(t, nil, "server", "undrain", "tablet1")
		for end := time.Now().Add(5 * time.Minute); at("tablet1").Assigned != 2; time.Sleep(time.Second) {
			if time.Now().After(end) {
				t.Fatalf("%+v", at("tablet1"))
			}
		}
		s.fails(t, 1, "exit status 3", "server", "restart", "tablet1", "--exec", "exit 3")

		// It is drained already; somebody restarts it.
		done := make(chan string)
		go func() {
			code, out, errs := invoke(t.Context(), s.app, "", "server", "restart", "tablet1", "-o", "json")
			done <- fmt.Sprint(code, out, errs)
		}()
		time.Sleep(5 * time.Second)
		e, err := s.Env("test")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range s.TabletServers() {
			if n.Name() == "tablet1" {
				if err := e.LockService.Revoke(t.Context(), n.Server().Incarnation(), true); err != nil {
					t.Fatal(err)
				}
			}
		}
		if out := <-done; !strings.HasPrefix(out, "0") || !strings.Contains(out, "tablet1") {
			t.Errorf("restart: %s", out)
		}
		if at("tablet1").Drained {
			t.Error("it is drained still")
		}
	})
}
