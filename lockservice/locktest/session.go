package locktest

import (
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/lockservice"
)

const ttl = 10 * time.Second

func (e *env) open(c lockservice.Client, name string) lockservice.Session {
	e.Helper()
	s, err := c.OpenSession(e.ctx, name, ttl)
	if err != nil {
		e.Fatalf("open session: %v", err)
	}
	return s
}

// standing says what the service thinks of a session.
func (e *env) standing(id lockservice.SessionID) string {
	e.Helper()
	switch {
	case e.holds(lockservice.SessionAlive(id)):
		return "alive"
	case e.holds(lockservice.SessionGone(id)):
		return "gone"
	case e.holds(lockservice.SessionDead(id)):
		return "dead"
	}
	return "unknown"
}

func testSessionCompares(e *env) {
	s := e.open(e.Client, "s")
	e.want("alive", e.standing(s.ID()), "alive")
	future := s.ID()
	future.Index += 1 << 30
	e.want("never issued", e.standing(future), "unknown")
	e.want("none", e.standing(lockservice.SessionID{}), "gone")
	never := s.ID()
	never.Index--
	e.want("an index that was not a session", e.standing(never), "gone")
	r := e.txn(lockservice.Txn{
		Then: []lockservice.Op{lockservice.PutEphemeral("k", nil, future)},
		Else: []lockservice.Op{lockservice.Put("else", nil)},
	})
	e.want("ephemeral of no session", r.Succeeded, false)
	e.want("took else", e.value("else"), "")
	if err := s.Close(e.ctx); err != nil {
		e.Error(err)
	}
}

func testSessionLives(e *env) {
	s := e.open(e.Client, "worker")
	time.Sleep(20 * ttl)
	e.want("state", s.State(), lockservice.SessionSafe)
	list, _, err := e.Sessions(e.ctx)
	if err != nil || len(list) != 1 {
		e.Fatalf("sessions: %v, %v", list, err)
	}
	e.want("name", list[0].Name, "worker")
	e.want("ttl", list[0].TTL, ttl)
	e.want("state", list[0].State, "alive")
	e.want("id", list[0].ID, s.ID())
	s.Abandon()
}

func testSessionExpires(e *env) {
	s := e.open(e.Client, "s")
	s.Abandon()
	time.Sleep(ttl - ttl/5)
	e.want("before the TTL", e.standing(s.ID()), "alive")
	time.Sleep(ttl + ttl/2)
	e.want("after it", e.standing(s.ID()), "gone")
	// An abandoned session is not told; its deadline passed.
	e.want("its own view", s.State(), lockservice.SessionJeopardy)
}

func testSessionCloses(e *env) {
	s := e.open(e.Client, "s")
	changed := s.Changed()
	if err := s.Close(e.ctx); err != nil {
		e.Fatal(err)
	}
	<-changed
	<-s.Expired()
	e.want("state", s.State(), lockservice.SessionExpired)
	e.want("gone at once", e.standing(s.ID()), "gone")
	if err := s.Close(e.ctx); err != nil {
		e.Errorf("closing again: %v", err)
	}
}

func testSessionIDs(e *env) {
	seen := make(map[lockservice.SessionID]bool)
	var last lockservice.SessionID
	for range 20 {
		s := e.open(e.Client, "s")
		if seen[s.ID()] || s.ID().Compare(last) <= 0 {
			e.Errorf("session id %v after %v", s.ID(), last)
		}
		last = s.ID()
		seen[last] = true
		if err := s.Close(e.ctx); err != nil {
			e.Error(err)
		}
	}
}

func testEphemeral(e *env) {
	s, other := e.open(e.Client, "s"), e.open(e.Client, "other")
	e.txn(lockservice.Txn{Then: []lockservice.Op{
		lockservice.PutEphemeral("b", nil, s.ID()), lockservice.PutEphemeral("a", nil, s.ID()),
		lockservice.PutEphemeral("kept", nil, s.ID()), lockservice.PutEphemeral("others", nil, other.ID()),
	}})
	rev := e.put("kept", "persistent now")
	if err := s.Close(e.ctx); err != nil {
		e.Fatal(err)
	}
	e.want("a", e.value("a"), "<absent>")
	e.want("kept", e.value("kept"), "persistent now")
	e.want("others", e.value("others"), "")
	e.want("one revision", e.collect("", "", rev, 2), "[del a=@3 del b=@3]")
	other.Abandon()
}

func testRevokeProved(e *env) {
	s := e.open(e.Client, "s")
	revoker := e.s.NewClient(e.T)
	defer revoker.Close()
	start := time.Now()
	if err := revoker.Revoke(e.ctx, s.ID(), true); err != nil {
		e.Fatal(err)
	}
	e.want("gone at once", e.standing(s.ID()), "gone")
	<-s.Expired()
	if d := time.Since(start); d > ttl/4 {
		e.Errorf("the session heard of its end after %v", d)
	}
	if err := revoker.Revoke(e.ctx, s.ID(), true); err != nil {
		e.Errorf("revoking what is gone: %v", err)
	}
}

// testRevokeUnproved is rule R15: dead at once, gone a full TTL later.
func testRevokeUnproved(e *env) {
	s := e.open(e.Client, "s")
	e.txn(lockservice.Txn{Then: []lockservice.Op{lockservice.PutEphemeral("k", nil, s.ID())}})
	if err := e.Revoke(e.ctx, s.ID(), false); err != nil {
		e.Fatal(err)
	}
	e.want("dead", e.standing(s.ID()), "dead")
	e.want("ephemeral", e.value("k"), "<absent>")
	if err := e.Revoke(e.ctx, s.ID(), false); err != nil {
		e.Fatal(err)
	}
	list, _, _ := e.Sessions(e.ctx)
	e.want("listed", len(list) == 1 && list[0].State == "revoked", true)
	time.Sleep(ttl - 2*time.Second)
	e.want("still only dead", e.standing(s.ID()), "dead")
	time.Sleep(4 * time.Second)
	e.want("gone", e.standing(s.ID()), "gone")
	synctest.Wait()
	e.want("told", s.State(), lockservice.SessionExpired)
}
