package offload

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
)

// PoolConfig is what a pool must be given.
type PoolConfig struct {
	Meta    *meta.Store
	Network rpc.Network
	// Name is who asks, for people; Zone is whose workers are preferred.
	Name, Zone string
	// MinBytes is from which size of the input on a job is given away.
	MinBytes int64
	Logger   *slog.Logger
}

// Pool is the workers that are alive, as one tablet server sees them. A nil
// Pool has none, ever. Its methods may be called concurrently.
type Pool struct {
	cfg  PoolConfig
	life context.Context
	end  context.CancelFunc
	done sync.WaitGroup
	mu   struct {
		sync.Mutex
		members map[base.Incarnation]*member
		changed chan struct{} // closed when a worker comes, goes, or gets a free slot
	}
}

// member is one worker; guarded by the pool's lock, but for what never changes.
type member struct {
	id     base.Incarnation
	record *compactorpb.Record
	cc     *grpc.ClientConn

	used     int       // slots
	failures int       // in a row
	rest     time.Time // it is not asked before
	gone     bool      // its session has ended
}

// OpenPool begins to follow which workers there are.
func OpenPool(cfg PoolConfig) *Pool {
	p := &Pool{cfg: cfg}
	p.life, p.end = context.WithCancel(context.Background())
	p.mu.members, p.mu.changed = map[base.Incarnation]*member{}, make(chan struct{})
	p.done.Go(p.follow)
	return p
}

// Close stops following and ends the calls that are under way.
func (p *Pool) Close() {
	if p == nil {
		return
	}
	p.end()
	p.done.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.mu.members {
		m.cc.Close()
	}
}

// followPause is how long a pool waits before it reads the list again.
const followPause = time.Second

// follow keeps the list of workers until the pool is closed.
func (p *Pool) follow() {
	start, end := meta.CompactorPrefix, lockservice.PrefixEnd(meta.CompactorPrefix)
	for p.life.Err() == nil {
		list, rev, err := p.cfg.Meta.Compactors(p.life, lockservice.ReadOptions{})
		if err == nil {
			p.set(list)
			err = p.cfg.Meta.LockService().Watch(p.life, start, end, rev, p.apply)
		}
		if p.life.Err() != nil {
			return
		}
		if !errors.Is(err, base.ErrPrecondition) { // not merely compacted
			p.cfg.Logger.Warn("list of compactors was not read; trying again", "err", err)
		}
		select {
		case <-time.After(followPause):
		case <-p.life.Done():
		}
	}
}

// set makes list the workers there are.
func (p *Pool) set(list []*compactorpb.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	there := map[base.Incarnation]bool{}
	for _, r := range list {
		there[meta.Incarnation(r.Incarnation)] = true
		p.addLocked(r)
	}
	for id, m := range p.mu.members {
		if !there[id] {
			p.removeLocked(m)
		}
	}
	p.announceLocked()
}

// apply follows a change of the list.
func (p *Pool) apply(r lockservice.WatchResponse) error {
	if len(r.Events) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.announceLocked()
	for _, e := range r.Events {
		if e.Kind == lockservice.EventPut {
			rec, err := meta.DecodeCompactor(e.KV)
			if err != nil {
				return err
			}
			p.addLocked(rec)
			continue
		}
		id, err := base.ParseIncarnation(e.KV.Key[len(meta.CompactorPrefix):])
		if m := p.mu.members[id]; err == nil && m != nil {
			p.removeLocked(m)
		}
	}
	return nil
}

func (p *Pool) addLocked(r *compactorpb.Record) {
	id := meta.Incarnation(r.Incarnation)
	if p.mu.members[id] != nil {
		return
	}
	cc, err := rpc.Dial(p.cfg.Network, r.Address) // connects when it is used
	if err != nil {
		p.cfg.Logger.Warn("compactor cannot be dialled", "server", id.String(), "address", r.Address, "err", err)
		return
	}
	p.mu.members[id] = &member{id: id, record: r, cc: cc}
}

// removeLocked takes a worker off the list. What it is at goes on: the end of
// its session does not mean that it does not work.
func (p *Pool) removeLocked(m *member) {
	delete(p.mu.members, m.id)
	m.gone = true
	if m.used == 0 {
		m.cc.Close()
	}
}

func (p *Pool) announceLocked() {
	close(p.mu.changed)
	p.mu.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next change of what Acquire
// depends on, but for the passing of time. A nil channel, of a nil Pool, never.
func (p *Pool) Changed() <-chan struct{} {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.changed
}

// Stats returns how many workers are alive, the slots they have together, and
// how many of them this server uses.
func (p *Pool) Stats() (workers, slots, used int) {
	if p == nil {
		return 0, 0, 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.mu.members {
		slots += int(m.record.Slots)
		used += m.used
	}
	return len(p.mu.members), slots, used
}

// Usable reports whether there is a worker, busy or not, that has not failed
// lately.
func (p *Pool) Usable() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.mu.members {
		if m.failures == 0 || !time.Now().Before(m.rest) {
			return true
		}
	}
	return false
}

// Acquire takes a slot of the worker that has most to spare, of the own zone
// first. nil: there is none, and, if retry is not 0, there may be one after that
// time.
func (p *Pool) Acquire() (s *Slot, retry time.Duration) {
	if p == nil {
		return nil, 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var free []*member
	for _, m := range p.mu.members {
		switch wait := m.rest.Sub(now); {
		case m.used >= int(m.record.Slots):
		case wait <= 0:
			free = append(free, m)
		case retry == 0 || wait < retry:
			retry = wait
		}
	}
	if len(free) == 0 {
		return nil, retry
	}
	best := slices.MinFunc(free, func(a, b *member) int {
		return cmp.Or(cmp.Compare(p.far(a), p.far(b)), cmp.Compare(a.load(), b.load()), a.id.Compare(b.id))
	})
	best.used++
	return &Slot{p: p, m: best}, 0
}

// far is 1 for workers of another zone.
func (p *Pool) far(m *member) int {
	if m.record.Zone == p.cfg.Zone {
		return 0
	}
	return 1
}

func (m *member) load() float64 { return float64(m.used) / float64(m.record.Slots) }

// Slot is one slot of a worker, which the holder releases.
type Slot struct {
	p *Pool
	m *member
}

// Release gives the slot back.
func (s *Slot) Release() {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.m.used--
	if s.m.used == 0 && s.m.gone {
		s.m.cc.Close()
	}
	s.p.announceLocked()
}

// Bounds of the time for which a worker that failed is not asked.
const (
	minRest = time.Second
	maxRest = 30 * time.Second
)

// settle notes how a job went. A worker that has no room is asked again soon;
// one that fails, ever later.
func (s *Slot) settle(err error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	m := s.m
	var full *base.OverloadError
	switch {
	case err == nil:
		m.failures, m.rest = 0, time.Time{}
	case errors.As(err, &full):
		m.rest = time.Now().Add(max(full.After, 100*time.Millisecond))
	default:
		m.rest = time.Now().Add(min(minRest<<min(m.failures, 10), maxRest))
		m.failures++
	}
}
