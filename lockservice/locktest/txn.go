package locktest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
)

// txn applies t and fails the test on an error.
func (e *env) txn(t lockservice.Txn) lockservice.TxnResult {
	e.Helper()
	r, err := e.Txn(e.ctx, t)
	if err != nil {
		e.Fatalf("txn: %v", err)
	}
	return r
}

// put writes a key without condition and returns the revision.
func (e *env) put(key, value string) lockservice.Revision {
	e.Helper()
	r := e.txn(lockservice.Txn{Then: []lockservice.Op{lockservice.Put(key, []byte(value))}})
	if !r.Succeeded {
		e.Fatalf("put %q did not succeed", key)
	}
	return r.Revision
}

// value returns the value of a key, "<absent>" without one.
func (e *env) value(key string) string {
	e.Helper()
	kv, ok, _, err := e.Get(e.ctx, key, lockservice.ReadOptions{})
	if err != nil {
		e.Fatalf("get %q: %v", key, err)
	}
	if !ok {
		return "<absent>"
	}
	return string(kv.Value)
}

// holds reports whether a compare holds now, by a transaction that writes
// nothing.
func (e *env) holds(c ...lockservice.Compare) bool {
	e.Helper()
	return e.txn(lockservice.Txn{If: c}).Succeeded
}

func (e *env) want(what string, got, want any) {
	e.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		e.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func testCompares(e *env) {
	rev := e.put("k", "v")
	cases := []struct {
		c    lockservice.Compare
		want bool
	}{
		{lockservice.ModRevisionIs("k", rev), true},
		{lockservice.ModRevisionIs("k", rev+1), false},
		{lockservice.ModRevisionIs("k", 0), false},
		{lockservice.ModRevisionIs("absent", 0), true},
		{lockservice.ModRevisionIs("absent", 1), false},
		{lockservice.ValueIs("k", []byte("v")), true},
		{lockservice.ValueIs("k", []byte("w")), false},
		{lockservice.ValueIs("absent", nil), false},
		{lockservice.Absent("k"), false},
		{lockservice.Absent("absent"), true},
		{lockservice.Exists("k"), true},
		{lockservice.Exists("absent"), false},
	}
	for i, c := range cases {
		e.want(fmt.Sprint("read-only compare ", i), e.holds(c.c), c.want)
		r := e.txn(lockservice.Txn{
			If:   []lockservice.Compare{c.c},
			Then: []lockservice.Op{lockservice.Put("then", nil)},
			Else: []lockservice.Op{lockservice.Delete("then")},
		})
		e.want(fmt.Sprint("compare ", i), r.Succeeded, c.want)
	}
	e.want("both", e.holds(lockservice.Exists("k"), lockservice.Absent("k")), false)
}

func testTxnOperations(e *env) {
	for i := range 5 {
		e.put("a"+strconv.Itoa(i), "x")
	}
	r := e.txn(lockservice.Txn{Then: []lockservice.Op{
		lockservice.Get("a1"),
		lockservice.Put("a1", []byte("y")),
		lockservice.Get("a1"),
		lockservice.DeleteRange("a2", "a4"),
		lockservice.Range("a", "b", 0),
		lockservice.Range("a", "b", 2),
		lockservice.Delete("absent"),
		lockservice.Get("a2"),
	}})
	e.want("results", len(r.Results), 8)
	e.want("before", string(r.Results[0].KVs[0].Value), "x")
	e.want("after", string(r.Results[2].KVs[0].Value), "y")
	e.want("range", len(r.Results[4].KVs), 3)
	e.want("more", r.Results[4].More, false)
	e.want("limited", len(r.Results[5].KVs), 2)
	e.want("limited more", r.Results[5].More, true)
	e.want("deleted", len(r.Results[7].KVs), 0)
	e.want("a1", e.value("a1"), "y")
}

func testTxnElse(e *env) {
	e.put("k", "1")
	r := e.txn(lockservice.Txn{
		If:   []lockservice.Compare{lockservice.Absent("k")},
		Then: []lockservice.Op{lockservice.Put("k", []byte("then"))},
		Else: []lockservice.Op{lockservice.Get("k"), lockservice.Put("other", []byte("else"))},
	})
	e.want("succeeded", r.Succeeded, false)
	e.want("read in else", string(r.Results[0].KVs[0].Value), "1")
	e.want("k", e.value("k"), "1")
	e.want("other", e.value("other"), "else")
}

func testTxnOneRevision(e *env) {
	first := e.put("z", "0")
	r := e.txn(lockservice.Txn{Then: []lockservice.Op{
		lockservice.Put("a", nil), lockservice.Put("b", nil), lockservice.Delete("z"),
	}})
	e.want("revision", r.Revision, first+1)
	kvs, rev, err := e.List(e.ctx, "", "", lockservice.ReadOptions{})
	if err != nil {
		e.Fatal(err)
	}
	e.want("keys", len(kvs), 2)
	e.want("list revision", rev, r.Revision)
	for _, kv := range kvs {
		e.want("mod "+kv.Key, kv.ModRevision, r.Revision)
		e.want("create "+kv.Key, kv.CreateRevision, r.Revision)
	}
	e.put("a", "again")
	kv, _, _, _ := e.Get(e.ctx, "a", lockservice.ReadOptions{})
	e.want("create stays", kv.CreateRevision, r.Revision)
	e.want("mod moves", kv.ModRevision, r.Revision+1)
	same := e.txn(lockservice.Txn{Then: []lockservice.Op{lockservice.Delete("absent")}})
	e.want("a delete of nothing is no revision", same.Revision, r.Revision+1)
}

func testTxnSameIDOnce(e *env) {
	t := lockservice.Txn{
		ID:   lockservice.TxnID{1},
		If:   []lockservice.Compare{lockservice.Absent("k")},
		Then: []lockservice.Op{lockservice.Put("k", []byte("mine"))},
		Else: []lockservice.Op{lockservice.Put("lost", nil)},
	}
	first := e.txn(t)
	again := e.txn(t)
	e.want("first", first.Succeeded, true)
	e.want("again", again.Succeeded, true)
	e.want("results of a retry", again.Results == nil, true)
	e.want("no new revision", again.Revision, first.Revision)
	e.want("else not applied", e.value("lost"), "<absent>")
	u := lockservice.Txn{
		ID:   lockservice.TxnID{2},
		If:   []lockservice.Compare{lockservice.Absent("k")},
		Then: []lockservice.Op{lockservice.Put("k", []byte("then"))},
		Else: []lockservice.Op{lockservice.Put("e", []byte("else"))},
	}
	e.want("else", e.txn(u).Succeeded, false)
	e.txn(lockservice.Txn{Then: []lockservice.Op{lockservice.Delete("k")}})
	e.want("a retry of what took Else", e.txn(u).Succeeded, false)
	e.want("k", e.value("k"), "<absent>")
}

func testTxnLimits(e *env) {
	long := strings.Repeat("k", lockservice.MaxKeyBytes+1)
	for name, t := range map[string]lockservice.Txn{
		"long key":  {Then: []lockservice.Op{lockservice.Put(long, nil)}},
		"long end":  {Then: []lockservice.Op{lockservice.Range("a", long, 0)}},
		"empty key": {Then: []lockservice.Op{lockservice.Put("", nil)}},
		"bytes":     {Then: []lockservice.Op{lockservice.Put("k", make([]byte, lockservice.MaxTxnBytes))}},
		"ops":       {Then: make([]lockservice.Op, lockservice.MaxTxnOps+1)},
		"kind":      {Then: []lockservice.Op{{Kind: 99}}},
		"compare":   {If: []lockservice.Compare{{Kind: 99}}},
	} {
		if _, err := e.Txn(e.ctx, t); !errors.Is(err, base.ErrInvalid) {
			e.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	big := make([]byte, 4<<20)
	e.want("a big value", e.txn(lockservice.Txn{Then: []lockservice.Op{lockservice.Put("big", big)}}).Succeeded, true)
	e.want("is read", len(e.value("big")), len(big))
}

func testReads(e *env) {
	for i := range 10 {
		e.put(fmt.Sprintf("k%d", i), strconv.Itoa(i))
	}
	list := func(start, end string, o lockservice.ReadOptions) string {
		kvs, _, err := e.List(e.ctx, start, end, o)
		if err != nil {
			e.Fatal(err)
		}
		var out []string
		for _, kv := range kvs {
			out = append(out, kv.Key+"="+string(kv.Value))
		}
		return strings.Join(out, " ")
	}
	e.want("range", list("k2", "k5", lockservice.ReadOptions{}), "k2=2 k3=3 k4=4")
	e.want("to the end", list("k8", "", lockservice.ReadOptions{}), "k8=8 k9=9")
	e.want("limit", list("", "", lockservice.ReadOptions{Limit: 2}), "k0=0 k1=1")
	e.want("keys only", list("k8", "", lockservice.ReadOptions{KeysOnly: true}), "k8= k9=")
	e.want("empty", list("x", "", lockservice.ReadOptions{}), "")
	kv, ok, rev, err := e.Get(e.ctx, "k3", lockservice.ReadOptions{KeysOnly: true})
	e.want("get keys only", fmt.Sprint(kv.Key, " ", len(kv.Value), " ", ok, rev, err), "k3 0 true 10 <nil>")
	_, ok, rev, err = e.Get(e.ctx, "absent", lockservice.ReadOptions{})
	e.want("get absent", fmt.Sprint(ok, rev, err), "false 10 <nil>")
	if _, _, _, err := e.Get(e.ctx, "k3", lockservice.ReadOptions{Stale: true}); err != nil {
		e.Errorf("stale read: %v", err)
	}
}

// testOneView moves a token between two ranges while lists run: each list sees
// it exactly once.
func testOneView(e *env) {
	e.put("a/token", "")
	var wg sync.WaitGroup
	stop, cancel := context.WithCancel(e.ctx)
	wg.Go(func() {
		from, to := "a/token", "b/token"
		for stop.Err() == nil {
			e.txn(lockservice.Txn{Then: []lockservice.Op{lockservice.Delete(from), lockservice.Put(to, nil)}})
			from, to = to, from
		}
	})
	for range 50 {
		lists, _, err := e.ListRanges(e.ctx, [][2]string{{"a", "b"}, {"b", "c"}}, lockservice.ReadOptions{})
		if err != nil {
			e.Error(err)
			break
		}
		e.want("tokens", len(lists[0])+len(lists[1]), 1)
	}
	cancel()
	wg.Wait()
}

// testIncrements counts by compare-and-swap from several clients.
func testIncrements(e *env) {
	const clients, each = 4, 10
	e.put("n", "0")
	var wg sync.WaitGroup
	for range clients {
		c := e.s.NewClient(e.T)
		wg.Go(func() {
			defer c.Close()
			for done := 0; done < each; {
				kv, _, _, err := c.Get(e.ctx, "n", lockservice.ReadOptions{})
				if err != nil {
					e.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(kv.Value))
				r, err := c.Txn(e.ctx, lockservice.Txn{
					If:   []lockservice.Compare{lockservice.ModRevisionIs("n", kv.ModRevision)},
					Then: []lockservice.Op{lockservice.Put("n", []byte(strconv.Itoa(n+1)))},
				})
				if err != nil {
					e.Error(err)
					return
				}
				if r.Succeeded {
					done++
				}
			}
		})
	}
	wg.Wait()
	e.want("n", e.value("n"), clients*each)
}

func testCancelled(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	if _, err := e.Txn(ctx, lockservice.Txn{}); err == nil {
		e.Error("a transaction under a cancelled context succeeded")
	}
	if _, _, _, err := e.Get(ctx, "k", lockservice.ReadOptions{}); err == nil {
		e.Error("a read under a cancelled context succeeded")
	}
}
