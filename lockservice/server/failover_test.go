package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/client"
	"github.com/tabletdb/tabletdb/lockservice/locktest"
	"github.com/tabletdb/tabletdb/lockservice/server"
)

// run runs f on a cluster in a bubble.
func run(t *testing.T, cfg *locktest.ClusterConfig, f func(t *testing.T, c *locktest.Cluster, cl *client.Client)) {
	synctest.Test(t, func(t *testing.T) {
		c := locktest.NewCluster(t, cfg)
		cl := c.Client(t)
		defer c.Close(t)
		defer cl.Close()
		f(t, c, cl)
	})
}

func put(t *testing.T, c lockservice.Client, key, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.Txn(ctx, lockservice.Txn{Then: []lockservice.Op{lockservice.Put(key, []byte(value))}}); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func get(t *testing.T, c lockservice.Client, key string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	kv, ok, _, err := c.Get(ctx, key, lockservice.ReadOptions{})
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	if !ok {
		return "<absent>"
	}
	return string(kv.Value)
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestSingleReplicaStartsFast(t *testing.T) {
	run(t, &locktest.ClusterConfig{}, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		start := time.Now()
		put(t, cl, "k", "v")
		if d := time.Since(start); d > 100*time.Millisecond {
			t.Errorf("first write after %v, want within 100ms", d)
		}
	})
}

func TestLeaderKilled(t *testing.T) {
	run(t, &locktest.ClusterConfig{Replicas: 3}, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		put(t, cl, "k", "v")
		leader := c.Leader(t)
		c.Stop(t, leader)
		start := time.Now()
		put(t, cl, "k", "after")
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("fail-over took %v", d)
		} else {
			t.Logf("fail-over took %v", d)
		}
		want(t, "k", get(t, cl, "k"), "after")
	})
}

// TestLeaderCutOff: the leader's connections stay open but carry nothing.
func TestLeaderCutOff(t *testing.T) {
	run(t, &locktest.ClusterConfig{Replicas: 3}, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		put(t, cl, "k", "v")
		leader := c.Leader(t)
		c.Isolate(leader, true)
		c.Net.Partition("client1", locktest.Name(leader))
		start := time.Now()
		put(t, cl, "k", "after")
		if d := time.Since(start); d > 6*time.Second {
			t.Errorf("fail-over took %v", d)
		}
		c.Isolate(leader, false)
		c.Net.Join("client1", locktest.Name(leader))
		time.Sleep(10 * time.Second)
		want(t, "k", get(t, cl, "k"), "after")
		want(t, "the old leader follows", c.Status(t, leader).GetRole(), "follower")
		want(t, "and has all", c.Status(t, leader).GetRevision(), 2)
	})
}

func TestFollowerRestartsFromDisk(t *testing.T) {
	cfg := &locktest.ClusterConfig{Replicas: 3, Dir: t.TempDir(), Options: server.Options{SnapshotEntries: 20, SnapshotInterval: time.Second}}
	run(t, cfg, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		put(t, cl, "k0", "")
		follower := (c.Leader(t) + 1) % 3
		c.Stop(t, follower)
		for i := range 100 { // far enough for a snapshot to be needed
			put(t, cl, fmt.Sprintf("k%d", i), "")
		}
		time.Sleep(5 * time.Second)
		c.Start(t, follower)
		time.Sleep(5 * time.Second)
		st := c.Status(t, follower)
		want(t, "role", st.GetRole(), "follower")
		want(t, "keys", st.GetKeys(), 100)
		if last := st.GetLastContact().AsDuration(); last > time.Second {
			t.Errorf("last contact %v ago", last)
		}
	})
}

func TestWholeClusterRestarts(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		cfg := &locktest.ClusterConfig{Replicas: replicas, Dir: t.TempDir()}
		run(t, cfg, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
			for i := range 50 {
				put(t, cl, fmt.Sprintf("k%d", i), "v")
			}
			s, err := cl.OpenSession(t.Context(), "s", 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			for i := range replicas {
				c.Stop(t, i)
			}
			time.Sleep(time.Minute)
			want(t, "meanwhile", s.State(), lockservice.SessionJeopardy)
			for i := range replicas {
				c.Start(t, i)
			}
			want(t, "k7", get(t, cl, "k7"), "v")
			time.Sleep(10 * time.Second)
			want(t, "session", s.State(), lockservice.SessionSafe)
			want(t, "generation", c.Status(t, 0).GetGeneration(), 1)
			s.Abandon()
		})
	}
}

func TestMajorityLost(t *testing.T) {
	run(t, &locktest.ClusterConfig{Replicas: 3}, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		put(t, cl, "k", "v")
		leader := c.Leader(t)
		for i := range 3 {
			if i != leader {
				c.Stop(t, i)
			}
		}
		const deadline = 5 * time.Second
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		_, err := cl.Txn(ctx, lockservice.Txn{Then: []lockservice.Op{lockservice.Put("k", nil)}})
		if !errors.Is(err, base.ErrUndecided) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a write that was sent: %v, want ErrUndecided and the deadline", err)
		}
		if d := time.Since(start); d > deadline+100*time.Millisecond {
			t.Errorf("answered after %v, deadline %v", d, deadline)
		}
		ctx, cancel = context.WithTimeout(t.Context(), deadline)
		defer cancel()
		if _, err = cl.Txn(ctx, lockservice.Txn{Then: []lockservice.Op{lockservice.Put("k", nil)}}); !errors.Is(err, base.ErrNoLeader) {
			t.Errorf("a write that was not: %v, want ErrNoLeader", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), deadline)
		defer cancel()
		if _, _, _, err = cl.Get(ctx, "k", lockservice.ReadOptions{}); !errors.Is(err, base.ErrNoLeader) {
			t.Errorf("a read: %v, want ErrNoLeader", err)
		}
		stale := c.ClientOf(t, locktest.Address(leader))
		defer stale.Close()
		if kv, ok, _, err := stale.Get(t.Context(), "k", lockservice.ReadOptions{Stale: true}); err != nil || !ok || string(kv.Value) != "v" {
			t.Errorf("a stale read: %v %v %v", kv, ok, err)
		}
	})
}

func TestDiskFull(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		disks := make([]disk, replicas)
		cfg := &locktest.ClusterConfig{
			Replicas: replicas, Dir: t.TempDir(),
			Each: func(i int, o *server.Options) { disks[i].install(o) },
		}
		run(t, cfg, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
			put(t, cl, "k", "before")
			leader := c.Leader(t)
			disks[leader].setFull(true)
			if replicas == 1 {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if _, err := cl.Txn(ctx, lockservice.Txn{Then: []lockservice.Op{lockservice.Put("k", nil)}}); !errors.Is(err, base.ErrUndecided) {
					t.Errorf("write to a full disk: %v, want ErrUndecided", err)
				}
			} else {
				put(t, cl, "k", "elsewhere")
				want(t, "another leads", c.Leader(t) != leader, true)
			}
			disks[leader].setFull(false)
			time.Sleep(10 * time.Second)
			put(t, cl, "k", "after")
			want(t, "k", get(t, cl, "k"), "after")
		})
	}
}

func TestMembership(t *testing.T) {
	cfg := &locktest.ClusterConfig{Replicas: 3, Each: func(i int, o *server.Options) {
		o.Bootstrap, o.Join = nil, []string{locktest.Address(0)}
		if i == 0 {
			o.Bootstrap, o.Join = []server.Member{{ID: locktest.Name(0), Address: locktest.Address(0)}}, nil
		}
	}}
	run(t, cfg, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		put(t, cl, "k", "v")
		time.Sleep(10 * time.Second)
		want(t, "members", len(c.Status(t, 0).GetMembers()), 3)
		want(t, "joined", c.Status(t, 2).GetRevision(), 1)
		if err := cl.TransferLeadership(t.Context(), locktest.Name(2)); err != nil {
			t.Fatal(err)
		}
		want(t, "leader", c.Leader(t), 2)
		put(t, cl, "k", "w")
		if err := cl.Leave(t.Context(), locktest.Name(0)); err != nil {
			t.Fatal(err)
		}
		c.Stop(t, 0)
		put(t, cl, "k", "x")
		want(t, "members", len(c.Status(t, 2).GetMembers()), 2)
		if err := cl.Leave(t.Context(), "nobody"); !errors.Is(err, base.ErrNotFound) {
			t.Errorf("removing a stranger: %v", err)
		}
		if err := cl.TransferLeadership(t.Context(), "nobody"); !errors.Is(err, base.ErrNotFound) {
			t.Errorf("transfer to a stranger: %v", err)
		}
	})
}

// TestLateGeneration: until the bucket answers there is no generation, and no
// client is answered.
func TestLateGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := &locktest.ClusterConfig{}
		c := locktest.NewCluster(t, cfg)
		defer c.Close(t)
		c.Stop(t, 0)
		config := c.Config(0)
		fails := 3
		config.WinGeneration = func(context.Context) (uint32, error) {
			if fails--; fails >= 0 {
				return 0, base.ErrUnavailable
			}
			return 7, nil
		}
		s, err := server.Open(config, server.Options{Bootstrap: []server.Member{{ID: config.ID, Address: config.Address}}})
		if err != nil {
			t.Fatal(err)
		}
		c.Servers[0] = s
		cl := c.Client(t)
		defer cl.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := cl.OpenSession(ctx, "s", 0); !errors.Is(err, base.ErrNoLeader) {
			t.Errorf("before the generation: %v, want ErrNoLeader", err)
		}
		session, err := cl.OpenSession(t.Context(), "s", 0)
		if err != nil {
			t.Fatal(err)
		}
		want(t, "generation", session.ID().Generation, 7)
		session.Abandon()
	})
}

// TestWatchRidesThroughElections: no event is lost or doubled over leader
// changes.
func TestWatchRidesThroughElections(t *testing.T) {
	run(t, &locktest.ClusterConfig{Replicas: 3}, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		const n = 60
		watcher := c.Client(t)
		defer watcher.Close()
		got := make(chan string, n)
		errDone := errors.New("done")
		watched := make(chan error, 1)
		go func() {
			seen := 0
			watched <- watcher.Watch(t.Context(), "k", "l", 0, func(r lockservice.WatchResponse) error {
				for _, e := range r.Events {
					got <- fmt.Sprintf("%s@%d", e.KV.Value, e.KV.ModRevision)
					seen++
				}
				if seen >= n {
					return errDone
				}
				return nil
			})
		}()
		for i := range n {
			if i%20 == 10 {
				if err := cl.TransferLeadership(t.Context(), ""); err != nil {
					t.Logf("transfer: %v", err)
				}
			}
			put(t, cl, "k", fmt.Sprint(i))
		}
		if err := <-watched; !errors.Is(err, errDone) {
			t.Fatal(err)
		}
		for i := range n {
			want(t, "event", <-got, fmt.Sprintf("%d@%d", i, i+1))
		}
	})
}

// TestH18Restore: a backup is restored into new replicas whose Raft indexes
// begin anew; no session id, revision or lock generation is given out twice.
func TestH18Restore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := &locktest.ClusterConfig{}
		var backup bytes.Buffer
		var inBackup, afterBackup lockservice.SessionID
		var lastRevision lockservice.Revision

		old := locktest.NewCluster(t, cfg)
		cl := old.Client(t)
		put(t, cl, "k", "backed up")
		s, err := cl.OpenSession(t.Context(), "in the backup", 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		inBackup = s.ID()
		if err := cl.Snapshot(t.Context(), &backup); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			put(t, cl, "k", "lost")
			s, err := cl.OpenSession(t.Context(), "after the backup", 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			afterBackup = s.ID()
		}
		_, _, lastRevision, _ = cl.Get(t.Context(), "k", lockservice.ReadOptions{})
		cl.Close()
		old.Close(t)

		c := locktest.NewCluster(t, cfg)
		defer c.Close(t)
		cl = c.Client(t)
		defer cl.Close()
		g, err := cl.Restore(t.Context(), bytes.NewReader(backup.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		want(t, "generation", g, 3) // 1: old, 2: bootstrap of the new one
		want(t, "k", get(t, cl, "k"), "backed up")
		holds := func(c lockservice.Compare) bool {
			r, err := cl.Txn(t.Context(), lockservice.Txn{If: []lockservice.Compare{c}})
			if err != nil {
				t.Fatal(err)
			}
			return r.Succeeded
		}
		for _, id := range []lockservice.SessionID{inBackup, afterBackup} {
			want(t, "alive", holds(lockservice.SessionAlive(id)), false)
			want(t, "dead", holds(lockservice.SessionDead(id)), true)
			want(t, "gone at once", holds(lockservice.SessionGone(id)), false)
		}
		for range 20 {
			s, err := cl.OpenSession(t.Context(), "new", 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if s.ID().Compare(afterBackup) <= 0 {
				t.Errorf("session id %v was given out before (up to %v)", s.ID(), afterBackup)
			}
			s.Abandon()
		}
		put(t, cl, "k", "new")
		if _, _, rev, _ := cl.Get(t.Context(), "k", lockservice.ReadOptions{}); rev <= lastRevision {
			t.Errorf("revision %d after the restore, %d was in use before", rev, lastRevision)
		}
		time.Sleep(50 * time.Second)
		want(t, "gone before the longest TTL", holds(lockservice.SessionGone(afterBackup)), false)
		time.Sleep(15 * time.Second)
		for _, id := range []lockservice.SessionID{inBackup, afterBackup} {
			want(t, "gone after the longest TTL", holds(lockservice.SessionGone(id)), true)
		}
		backup.Bytes()[100] ^= 1
		if _, err := cl.Restore(t.Context(), bytes.NewReader(backup.Bytes())); !errors.Is(err, base.ErrCorrupt) {
			t.Errorf("restoring a damaged backup: %v, want ErrCorrupt", err)
		}
	})
}

// TestH18Recover: one replica of three survives; it goes on in a new
// generation.
func TestH18Recover(t *testing.T) {
	cfg := &locktest.ClusterConfig{Replicas: 3, Dir: t.TempDir()}
	run(t, cfg, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		put(t, cl, "k", "v")
		s, err := cl.OpenSession(t.Context(), "old", 0)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for i := range 3 {
			c.Stop(t, i)
		}
		err = server.Recover(t.Context(), c.Config(1), server.Options{}, []server.Member{{ID: locktest.Name(1), Address: locktest.Address(1)}})
		if err != nil {
			t.Fatal(err)
		}
		c.Start(t, 1)
		want(t, "k", get(t, cl, "k"), "v")
		<-s.Expired()
		next, err := cl.OpenSession(t.Context(), "new", 0)
		if err != nil {
			t.Fatal(err)
		}
		want(t, "generation", next.ID().Generation, 2)
		next.Abandon()
	})
}
