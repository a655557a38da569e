package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// peer is the master's line to one live tablet server: heartbeats, which tell
// its load and that it is there, and hints, which tell it what it owns.
type peer struct {
	t      *term
	server meta.Server
	log    *slog.Logger
	conn   *grpc.ClientConn
	client controlpb.TabletServerClient
	cancel context.CancelFunc
	kicked chan struct{}

	mu struct {
		sync.Mutex
		peerStatus
		failures int
	}
}

// peerStatus is what a server last said. Its parts are not changed.
type peerStatus struct {
	reachable bool
	load      *controlpb.ServerLoad
	tablets   map[base.TabletID]*controlpb.TabletLoad
	fullAt    time.Time // when the request was sent that tablets answers
}

// syncPeers keeps a peer for each live server.
func (t *term) syncPeers(servers map[base.Incarnation]meta.Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e, p := range t.mu.peers {
		if _, ok := servers[e]; !ok {
			p.cancel()
			delete(t.mu.peers, e)
		}
	}
	for e, s := range servers {
		if t.mu.peers[e] != nil || t.ctx.Err() != nil {
			continue
		}
		p, err := newPeer(t, s)
		if err != nil {
			t.log.Error("server has an address that cannot be dialled", "server", e.String(), "address", s.Address, "err", err)
			continue
		}
		t.mu.peers[e] = p
	}
}

func (t *term) stopPeers() { t.syncPeers(nil) }

// kick makes the peer of e look for hints to give.
func (t *term) kick(e base.Incarnation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.mu.peers[e]; p != nil {
		p.kick()
	}
}

func newPeer(t *term, s meta.Server) (*peer, error) {
	conn, err := rpc.Dial(t.cfg.Network, s.Address)
	if err != nil {
		return nil, err
	}
	p := &peer{
		t: t, server: s, conn: conn, client: controlpb.NewTabletServerClient(conn), kicked: make(chan struct{}, 1),
		log: t.log.With("server", s.Incarnation.String(), "address", s.Address),
	}
	p.mu.reachable = true // until it shows that it is not
	ctx, cancel := context.WithCancel(t.ctx)
	p.cancel = cancel
	p.kick()
	t.jobs.Go(func() {
		var both sync.WaitGroup
		both.Go(func() { p.heartbeats(ctx) })
		both.Go(func() { p.hints(ctx) })
		both.Wait()
		cancel()
		conn.Close()
	})
	return p, nil
}

func (p *peer) kick() {
	select {
	case p.kicked <- struct{}{}:
	default:
	}
}

func (p *peer) status() peerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.peerStatus
}

// heartbeats polls until ctx ends.
func (p *peer) heartbeats(ctx context.Context) {
	for n := 0; ; n++ {
		full := n%p.t.opt.FullStatusEvery == 0
		if err := p.heartbeat(ctx, full); err != nil && ctx.Err() == nil {
			p.failed(ctx, err)
			n = -1 // ask for everything when it is back
		}
		if !p.t.sleep(ctx, p.t.opt.StatusInterval) {
			return
		}
	}
}

func (p *peer) heartbeat(ctx context.Context, full bool) error {
	ctx, cancel := context.WithTimeout(ctx, p.t.opt.StatusTimeout)
	defer cancel()
	sent := time.Now()
	r, err := p.client.Status(ctx, &controlpb.StatusRequest{OmitTablets: !full})
	if err != nil {
		return rpc.FromStatus(err)
	}
	if e := meta.Incarnation(r.GetServer().GetIncarnation()); !e.IsZero() && e != p.server.Incarnation {
		return fmt.Errorf("%w: %v answers at its address", errReplaced, e)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.failures > 0 {
		p.log.InfoContext(ctx, "server answers again")
	}
	p.mu.reachable, p.mu.failures, p.mu.load = true, 0, r.GetLoad()
	if full {
		p.mu.fullAt = sent
		p.mu.tablets = make(map[base.TabletID]*controlpb.TabletLoad, len(r.GetTablets()))
		for _, l := range r.GetTablets() {
			p.mu.tablets[base.TabletID(l.Tablet)] = l
		}
		p.kick()
	}
	return nil
}

// errReplaced: another incarnation answers at the server's address.
var errReplaced = errors.New("the process was replaced")

// failed takes note of a heartbeat that got no answer, and finds out whether
// the process seems to be gone.
func (p *peer) failed(ctx context.Context, err error) {
	const unreachableAfter = 2 // heartbeats
	p.mu.Lock()
	p.mu.failures++
	if p.mu.failures == unreachableAfter {
		p.mu.reachable = false
		p.log.WarnContext(ctx, "server does not answer", "err", err)
	}
	p.mu.Unlock()
	if p.t.opt.LeaveRefusing {
		return
	}
	if errors.Is(err, errReplaced) || errors.Is(err, base.ErrUnavailable) && p.refuses(ctx) {
		p.revoke(ctx, err)
	}
}

// refuses reports whether the server's host refuses connections, three times in
// a second. Then its process is most likely gone, but that is no proof: it may
// have lost its listener and answer reads elsewhere (history H16).
func (p *peer) refuses(ctx context.Context) bool {
	const tries, pause = 3, 300 * time.Millisecond
	for i := range tries {
		if i > 0 && !p.t.sleep(ctx, pause) {
			return false
		}
		dctx, cancel := context.WithTimeout(ctx, pause)
		conn, err := p.t.cfg.Network.Dial(dctx, p.server.Address)
		cancel()
		if err == nil {
			conn.Close()
			return false
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return false
		}
	}
	return true
}

// revoke ends the session of a server whose process seems to be gone, without
// proof: sealing and loading begin now, new owners serve after a full TTL
// (rule R15). It does not where so many would be gone that the fault may be
// the master's.
func (p *peer) revoke(ctx context.Context, why error) {
	p.t.mu.Lock()
	would := p.t.mu.safe.Would(time.Now())
	p.t.mu.Unlock()
	if would {
		p.log.WarnContext(ctx, "server seems to be dead, but so do others; its lease decides", "err", why)
		return
	}
	if err := p.t.cfg.LockService.Revoke(ctx, p.server.Incarnation, false); err != nil {
		p.log.WarnContext(ctx, "session was not revoked", "err", err)
		return
	}
	p.t.metrics.revoked()
	p.t.event("ended the session of %s: %v", serverName(p.server.Incarnation, p.server.Record.GetName()), why)
	p.log.WarnContext(ctx, "session revoked", "err", why)
}

// The longest pause before a server is told again, how long it may take to show
// a tablet it registered, and how many tablets one hint names.
const (
	tellMost   = 15 * time.Second
	showGrace  = 10 * time.Second
	hintAtOnce = 1024
)

// hints tells the server what it was assigned, and again, with growing pauses,
// what it does not serve.
func (p *peer) hints(ctx context.Context) {
	for ctx.Err() == nil {
		if tablets := p.due(time.Now()); len(tablets) > 0 {
			for some := range slices.Chunk(tablets, hintAtOnce) {
				if err := p.tell(ctx, some); err != nil && ctx.Err() == nil {
					p.log.DebugContext(ctx, "hint got no answer", "tablets", len(some), "err", err)
				}
			}
		}
		timer := time.NewTimer(p.t.opt.TellAgain)
		select {
		case <-p.kicked:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// due returns what the server should be told now.
func (p *peer) due(now time.Time) []meta.Tablet {
	tablets := p.t.mirror.untold(p.server.Incarnation, now, p.t.opt.TellAgain, tellMost)
	st := p.status()
	if st.fullAt.IsZero() {
		return tablets
	}
	known := func(tb meta.Tablet) bool {
		l, ok := st.tablets[tb.ID]
		return ok && l.Tepoch == uint64(tb.Epoch)
	}
	return append(tablets, p.t.mirror.unknown(p.server.Incarnation, known, now.Sub(st.fullAt)+showGrace, now, p.t.opt.TellAgain, tellMost)...)
}

func (p *peer) tell(ctx context.Context, tablets []meta.Tablet) error {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req := &controlpb.LoadRequest{}
	for _, tb := range tablets {
		req.Tablets = append(req.Tablets, tabletID(tb))
	}
	_, err := p.client.Load(ctx, req)
	return rpc.FromStatus(err)
}

func tabletID(tb meta.Tablet) *controlpb.TabletID {
	return &controlpb.TabletID{Table: uint64(tb.Table), Tablet: uint64(tb.ID), End: tb.End, Tepoch: uint64(tb.Epoch)}
}
