package server_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/client"
	"github.com/tabletdb/tabletdb/lockservice/locktest"
	"github.com/tabletdb/tabletdb/lockservice/server"
	"github.com/tabletdb/tabletdb/proto/lockpb"
)

// replica speaks to one replica directly.
func replica(t *testing.T, c *locktest.Cluster, i int) (lockpb.LockServiceClient, *grpc.ClientConn) {
	t.Helper()
	cc, err := rpc.Dial(c.Net.Node("direct"), locktest.Address(i))
	if err != nil {
		t.Fatal(err)
	}
	return lockpb.NewLockServiceClient(cc), cc
}

// keepAlive asks replica i once to renew a session.
func keepAlive(t *testing.T, c *locktest.Cluster, i int, id lockservice.SessionID) error {
	t.Helper()
	stub, cc := replica(t, c, i)
	defer cc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := stub.KeepAlive(ctx, &lockpb.KeepAliveRequest{Id: &lockpb.SessionID{Generation: id.Generation, Index: id.Index}})
	return rpc.FromStatus(err)
}

// abandoned opens a session and lets it go.
func abandoned(t *testing.T, cl *client.Client, ttl time.Duration) lockservice.SessionID {
	t.Helper()
	s, err := cl.OpenSession(t.Context(), "s", ttl)
	if err != nil {
		t.Fatal(err)
	}
	s.Abandon()
	return s.ID()
}

func holds(t *testing.T, cl *client.Client, c lockservice.Compare) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := cl.Txn(ctx, lockservice.Txn{If: []lockservice.Compare{c}})
	if err != nil {
		t.Fatal(err)
	}
	return r.Succeeded
}

// slowToNotice makes replica 0 believe in its leadership for long after it
// lost it: as a leader it waits 8 s for a majority, its followers 2 s for it.
func slowToNotice(i int, o *server.Options) {
	o.MinTTL = 4 * time.Second
	o.Heartbeat = 2100 * time.Millisecond
	if i == 0 {
		o.Heartbeat = 10 * time.Second
	}
}

// TestH17noverify: a leader that was deposed and has not noticed answers
// neither keep-alives nor reads.
func TestH17noverify(t *testing.T) {
	cfg := &locktest.ClusterConfig{Replicas: 3, Each: slowToNotice}
	run(t, cfg, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		for range 20 { // until the others elect before the old leader notices
			if deposeUnnoticed(t, c, cl) {
				return
			}
			c.Isolate(0, false)
			time.Sleep(time.Minute)
		}
		t.Error("the deposed leader always noticed: the test shows nothing")
	})
}

func deposeUnnoticed(t *testing.T, c *locktest.Cluster, cl *client.Client) bool {
	put(t, cl, "k", "old")
	if c.Leader(t) != 0 {
		if err := cl.TransferLeadership(t.Context(), locktest.Name(0)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, cl, "k", "old")
	id := abandoned(t, cl, 30*time.Second)
	if err := keepAlive(t, c, 0, id); err != nil {
		t.Fatalf("before: %v", err)
	}
	c.Isolate(0, true)
	rest := c.ClientOf(t, locktest.Address(1), locktest.Address(2))
	defer rest.Close()
	put(t, rest, "k", "new")
	if c.Status(t, 0).GetRole() != "leader" {
		return false
	}
	if err := keepAlive(t, c, 0, id); err == nil {
		t.Error("the deposed leader renewed a session")
	}
	stub, cc := replica(t, c, 0)
	defer cc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if r, err := stub.Get(ctx, &lockpb.GetRequest{Key: []byte("k")}); err == nil {
		t.Errorf("the deposed leader answered a read: %s", r.GetKv().GetValue())
	}
	return true
}

// TestH17nobarrier: the end of a session is in the new leader's log but not
// applied; the new leader must not renew the session first.
func TestH17nobarrier(t *testing.T) {
	disks := make([]disk, 3)
	cfg := &locktest.ClusterConfig{Replicas: 3, Each: func(i int, o *server.Options) { disks[i].install(o) }}
	run(t, cfg, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		put(t, cl, "k", "")
		id := abandoned(t, cl, time.Minute)
		time.Sleep(time.Second)
		l1 := c.Leader(t)
		l2, l3 := (l1+1)%3, (l1+2)%3
		// L1 reaches L2 but hears nothing; L3 hears nothing at all.
		before := c.Servers[l2].LastIndex()
		c.Net.Cut(locktest.Name(l2), locktest.Name(l1))
		c.Net.Partition(locktest.Name(l1), locktest.Name(l3))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := cl.Revoke(ctx, id, true); !errors.Is(err, base.ErrUndecided) {
			t.Fatalf("revoking without a majority: %v", err)
		}
		cancel()
		if c.Servers[l2].LastIndex() == before {
			t.Fatal("the entry did not reach the second replica: the test shows nothing")
		}
		c.Isolate(l1, true)
		release := disks[l3].stall() // it votes, but appends nothing
		for c.Status(t, l2).GetRole() != "leader" {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond)
		if err := keepAlive(t, c, l2, id); err == nil {
			t.Error("a session was renewed whose end is in the leader's log")
		}
		release()
		time.Sleep(5 * time.Second)
		want(t, "gone", holds(t, cl, lockservice.SessionGone(id)), true)
		if err := keepAlive(t, c, l2, id); !errors.Is(err, base.ErrSessionExpired) {
			t.Errorf("afterwards: %v, want ErrSessionExpired", err)
		}
	})
}

// TestH17nomark: expiry is proposed and not yet committed when a keep-alive
// arrives.
func TestH17nomark(t *testing.T) {
	disks := make([]disk, 3)
	cfg := &locktest.ClusterConfig{Replicas: 3, Each: func(i int, o *server.Options) { disks[i].install(o) }}
	run(t, cfg, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		const ttl = 4 * time.Second
		put(t, cl, "k", "")
		id := abandoned(t, cl, ttl)
		leader := c.Leader(t)
		time.Sleep(ttl - time.Second)
		last := c.Servers[leader].LastIndex()
		var release []func()
		for i := range disks {
			if i != leader {
				release = append(release, disks[i].stall())
			}
		}
		for c.Servers[leader].LastIndex() == last {
			time.Sleep(10 * time.Millisecond)
		}
		err := keepAlive(t, c, leader, id)
		for _, f := range release {
			f()
		}
		if err == nil {
			t.Error("a session was renewed whose expiry is proposed")
		}
		time.Sleep(5 * time.Second)
		want(t, "gone", holds(t, cl, lockservice.SessionGone(id)), true)
	})
}

// TestH17nograce: a new leader knows no renewals; it grants a full TTL.
func TestH17nograce(t *testing.T) {
	run(t, &locktest.ClusterConfig{Replicas: 3}, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		const ttl = 5 * time.Second
		s, err := cl.OpenSession(t.Context(), "s", ttl)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * ttl) // only the leader knows that it still lives
		c.Stop(t, c.Leader(t))
		s.Abandon()
		leader := c.Leader(t)
		time.Sleep(ttl - time.Second)
		if err := keepAlive(t, c, leader, s.ID()); err != nil {
			t.Errorf("renewal within the grace: %v", err)
		}
		time.Sleep(ttl - time.Second)
		want(t, "alive", holds(t, cl, lockservice.SessionAlive(s.ID())), true)
		time.Sleep(3 * time.Second)
		want(t, "gone", holds(t, cl, lockservice.SessionGone(s.ID())), true)
	})
}

// TestH16RevokedOverLeaderChange: what was revoked without proof is gone a full
// TTL later at the earliest, also where the leader that timed it is lost.
func TestH16RevokedOverLeaderChange(t *testing.T) {
	run(t, &locktest.ClusterConfig{Replicas: 3}, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		const ttl = 10 * time.Second
		id := abandoned(t, cl, ttl)
		start := time.Now()
		if err := cl.Revoke(t.Context(), id, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(ttl / 2)
		c.Stop(t, c.Leader(t))
		for !holds(t, cl, lockservice.SessionGone(id)) {
			want(t, "dead", holds(t, cl, lockservice.SessionDead(id)), true)
			time.Sleep(100 * time.Millisecond)
		}
		if d := time.Since(start); d < ttl || d > 2*ttl {
			t.Errorf("gone after %v, want %v to %v", d, ttl, 2*ttl)
		}
	})
}

// TestH16Kick: a process that is told that it is dead stops reading at once;
// one that cannot be told is over when its successor may serve.
func TestH16Kick(t *testing.T) {
	run(t, &locktest.ClusterConfig{Replicas: 3}, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		const ttl = 10 * time.Second
		reachable, cutOff := c.Client(t), c.Client(t) // client2, client3
		defer reachable.Close()
		defer cutOff.Close()
		told, err := reachable.OpenSession(t.Context(), "told", ttl)
		if err != nil {
			t.Fatal(err)
		}
		untold, err := cutOff.OpenSession(t.Context(), "untold", ttl)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for i := range 3 {
			c.Net.Partition("client3", locktest.Name(i))
		}
		for _, s := range []lockservice.Session{told, untold} {
			if err := cl.Revoke(t.Context(), s.ID(), false); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		<-told.Expired()
		if d := time.Since(start); d > time.Second {
			t.Errorf("told after %v", d)
		}
		for !holds(t, cl, lockservice.SessionGone(untold.ID())) {
			time.Sleep(50 * time.Millisecond)
		}
		if untold.State() == lockservice.SessionSafe {
			t.Error("the session is gone, but its process believes in it")
		}
		for i := range 3 {
			c.Net.Join("client3", locktest.Name(i))
		}
		<-untold.Expired()
	})
}

// TestH24MajorityLoss: nobody expires while the service is out, however long;
// everybody is safe again after it.
func TestH24MajorityLoss(t *testing.T) {
	run(t, &locktest.ClusterConfig{Replicas: 3}, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		const ttl = 10 * time.Second
		var sessions []lockservice.Session
		for range 10 {
			s, err := cl.OpenSession(t.Context(), "s", ttl)
			if err != nil {
				t.Fatal(err)
			}
			sessions = append(sessions, s)
		}
		for i := range 3 {
			c.Isolate(i, true)
		}
		time.Sleep(10 * time.Minute)
		for _, s := range sessions {
			want(t, "during the outage", s.State(), lockservice.SessionJeopardy)
		}
		for i := range 3 {
			c.Isolate(i, false)
		}
		time.Sleep(2 * ttl)
		for _, s := range sessions {
			want(t, "after it", s.State(), lockservice.SessionSafe)
		}
	})
}

// TestH24SlowDisk: a leader whose log stands still for longer than the TTL
// expires nobody who asks for renewals.
func TestH24SlowDisk(t *testing.T) {
	var d disk
	cfg := &locktest.ClusterConfig{Each: func(_ int, o *server.Options) { d.install(o) }}
	run(t, cfg, func(t *testing.T, c *locktest.Cluster, cl *client.Client) {
		const ttl = 5 * time.Second
		s, err := cl.OpenSession(t.Context(), "s", ttl)
		if err != nil {
			t.Fatal(err)
		}
		dead := abandoned(t, cl, ttl)
		release := d.stall()
		time.Sleep(10 * ttl)
		want(t, "during the stall", s.State(), lockservice.SessionSafe)
		release()
		synctest.Wait()
		time.Sleep(2 * ttl)
		want(t, "after it", s.State(), lockservice.SessionSafe)
		want(t, "the abandoned one", holds(t, cl, lockservice.SessionGone(dead)), true)
	})
}
