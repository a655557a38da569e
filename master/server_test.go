package master_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	lsmem "github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
	"github.com/tabletdb/tabletdb/wal"
)

// server is a small tablet server with a real log: it loads, writes, flushes
// and releases as the rules say, and misbehaves on demand.
type server struct {
	controlpb.UnimplementedTabletServerServer
	c       *cluster
	name    string
	ls      *lsmem.Client
	meta    *meta.Store
	session lockservice.Session
	grpc    *grpc.Server
	ctx     context.Context
	cancel  context.CancelFunc
	jobs    sync.WaitGroup

	mu struct {
		sync.Mutex
		deaf    bool // Load is answered and forgotten
		failing bool // loads fail
		tablets map[base.TabletID]*held
		next    base.Position
		sum     uint32
		files   uint64
		schemas uint64
		loads   int // tablets named in Load requests
		fenced  bool
	}
}

// held is a tablet that the server loads or serves.
type held struct {
	meta.Tablet
	serving bool
	err     error
	rows    map[base.Seq]bool
	last    base.Seq
	from    base.Position // of the first unflushed record in the own log
	dirty   bool
}

// start starts a server and returns when it is registered.
func (c *cluster) start(name string) *server {
	c.t.Helper()
	s := &server{c: c, name: name, ls: c.service.Client()}
	s.meta = meta.NewStore(s.ls)
	s.mu.tablets = map[base.TabletID]*held{}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	var err error
	if s.session, err = s.ls.OpenSession(s.ctx, name, 0); err != nil {
		c.t.Fatal(err)
	}
	if err := s.meta.RegisterServer(s.ctx, s.record()); err != nil {
		c.t.Fatal(err)
	}
	s.listen()
	c.servers = append(c.servers, s)
	return s
}

func (s *server) e() base.Incarnation { return s.session.ID() }

func (s *server) record() *metapb.ServerRecord {
	return &metapb.ServerRecord{Incarnation: meta.IncarnationProto(s.e()), Address: s.name + ":1", Name: s.name}
}

func (s *server) listen() {
	l, err := s.c.net.Node(s.name).Listen(s.name + ":1")
	if err != nil {
		s.c.t.Fatal(err)
	}
	s.grpc = rpc.NewServer(s.c.log, rpc.ServerOptions{})
	controlpb.RegisterTabletServerServer(s.grpc, s)
	go s.grpc.Serve(l)
}

// crash is the death of the process.
func (s *server) crash() {
	s.c.net.Crash(s.name)
	s.stop()
	s.ls.Close()
}

func (s *server) stop() {
	s.cancel()
	s.grpc.Stop()
	s.jobs.Wait()
}

// shutdown is a stop in order: everything released, session closed.
func (s *server) shutdown() {
	for _, id := range s.serving() {
		if err := s.release(id); err != nil && !errors.Is(err, base.ErrAborted) { // it was dead already
			s.c.t.Errorf("release at shutdown: %v", err)
		}
	}
	if err := s.session.Close(s.ctx); err != nil {
		s.c.t.Errorf("close session: %v", err)
	}
	s.stop()
}

func (s *server) Load(_ context.Context, req *controlpb.LoadRequest) (*controlpb.LoadResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.loads += len(req.Tablets)
	if s.mu.deaf || s.ctx.Err() != nil {
		return &controlpb.LoadResponse{}, nil
	}
	for _, id := range req.Tablets {
		if h := s.mu.tablets[base.TabletID(id.Tablet)]; h != nil && uint64(h.Epoch) == id.Tepoch {
			continue
		}
		s.mu.tablets[base.TabletID(id.Tablet)] = &held{Tablet: meta.Tablet{
			ID: base.TabletID(id.Tablet), Table: base.TableID(id.Table), End: id.End, Epoch: base.Epoch(id.Tepoch),
		}}
		s.jobs.Go(func() { s.load(id) })
	}
	return &controlpb.LoadResponse{}, nil
}

const tick = 50 * time.Millisecond

func (s *server) sleep() {
	select {
	case <-time.After(tick):
	case <-s.ctx.Done():
	}
}

func (s *server) load(id *controlpb.TabletID) {
	for s.ctx.Err() == nil {
		done, err := s.tryLoad(id)
		s.mu.Lock()
		h := s.mu.tablets[base.TabletID(id.Tablet)]
		if h == nil || uint64(h.Epoch) != id.Tepoch {
			done = true
		} else if h.err = err; done && !h.serving {
			delete(s.mu.tablets, h.ID)
		}
		s.mu.Unlock()
		if done {
			return
		}
		s.sleep()
	}
}

// tryLoad loads and registers; done: nothing is left to do, for better or
// worse.
func (s *server) tryLoad(id *controlpb.TabletID) (done bool, err error) {
	tb, err := s.meta.Tablet(s.ctx, base.TableID(id.Table), id.End, base.TabletID(id.Tablet))
	if errors.Is(err, base.ErrNotFound) {
		return true, err
	}
	if err != nil {
		return false, err
	}
	if tb.Owner != s.e() || uint64(tb.Epoch) != id.Tepoch {
		return true, nil
	}
	s.mu.Lock()
	failing := s.mu.failing
	s.mu.Unlock()
	if failing {
		return false, errors.New("load fails")
	}
	if tb.State == meta.Serving {
		return false, fmt.Errorf("tablet %d serves already", tb.ID)
	}
	h := &held{rows: s.c.manifest(tb.Manifest), last: max(tb.Flushed, tb.NextSeq)}
	needed := make([]bool, len(tb.Logs))
	for i, e := range tb.Logs {
		before := h.last
		if ok, err := s.replay(h, tb, e); !ok || err != nil {
			return false, err
		}
		needed[i] = h.last > before
	}
	s.mu.Lock()
	from := s.mu.next
	s.mu.Unlock()
	changed, err := s.meta.Commit(s.ctx, meta.Register(tb, from, needed, time.Now()))
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h.Tablet, h.serving, h.from = changed[0], true, from
	s.mu.tablets[h.ID] = h
	return true, nil
}

// replay reads one entry, if its log is sealed or the entry closed (R5).
func (s *server) replay(h *held, tb meta.Tablet, e meta.LogEntry) (bool, error) {
	l, err := s.meta.Log(s.ctx, e.Log)
	if err != nil {
		return false, err
	}
	b := wal.Bounds{Low: l.Low, End: wal.OpenEnd}
	var x *wal.Index
	if l.State == meta.LogSealed {
		b.End = l.End
		if x, err = wal.ReadIndex(s.ctx, s.c.store, e.Log); err != nil && !errors.Is(err, objstore.ErrNotFound) {
			return false, err
		}
	} else if !e.Closed {
		return false, nil
	}
	entry := wal.Entry{Log: e.Log, Tablet: e.Tablet, Epoch: e.Epoch, From: e.From, To: e.To, HasTo: e.Closed}
	return true, wal.Replay(s.ctx, s.c.store, entry, b, x, func(_ base.Position, r wal.Record) error {
		if r.First > h.last {
			h.rows[r.First], h.last = true, r.Last
		}
		return nil
	})
}

// write logs one record and acknowledges it. A zombie does so too, as long as
// the log lets it.
func (s *server) write(id base.TabletID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.mu.tablets[id]
	if h == nil || !h.serving || s.mu.fenced {
		return base.ErrNotServing
	}
	seq := h.last + 1
	body := []byte(fmt.Sprintf("record %d of tablet %d", seq, id))
	sec := wal.Section{Tablet: id, Epoch: h.Epoch, Records: 1, First: seq, Last: seq}
	obj := sec.Pack(make([]byte, wal.HeaderLen), append(wal.AppendRecordHeader(nil, len(body), seq, seq, seq), body...), wal.NoCompression)
	obj, head := wal.AppendFooter(obj, wal.Header{Log: s.e(), Position: s.mu.next, PrevSum: s.mu.sum}, []wal.Section{sec})
	if err := s.c.store.PutIfAbsent(context.Background(), base.LogObject(s.e(), s.mu.next), obj); err != nil {
		s.mu.fenced = true
		return fmt.Errorf("%w: %w", base.ErrFenced, err)
	}
	s.mu.next, s.mu.sum = s.mu.next+1, head.Sum
	h.last, h.rows[seq], h.dirty = seq, true, true
	s.c.acknowledge(id, seq)
	return nil
}

// read returns the rows of a tablet if the server may answer now.
func (s *server) read(id base.TabletID) (map[base.Seq]bool, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.mu.tablets[id]
	if h == nil || !h.serving || s.session.State() != lockservice.SessionSafe || s.ctx.Err() != nil {
		return nil, false
	}
	return maps.Clone(h.rows), true
}

func (s *server) serving() []base.TabletID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []base.TabletID
	for id, h := range s.mu.tablets {
		if h.serving {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// flush commits all rows of a tablet as a manifest, so that it needs no log.
func (s *server) flush(id base.TabletID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.mu.tablets[id]
	if h == nil || !h.serving {
		return base.ErrNotServing
	}
	s.mu.files++
	file := base.FileNumber{Creator: s.e(), Number: s.mu.files}
	s.c.setManifest(file, maps.Clone(h.rows))
	c, err := meta.Flush(h.Tablet, meta.Flushed{
		Manifest: file, ManifestVersion: h.ManifestVersion + 1, Seq: h.last, From: s.mu.next, DropEntries: true,
	})
	if err != nil {
		return err
	}
	changed, err := s.meta.Commit(s.ctx, c)
	if err != nil {
		return err
	}
	h.Tablet, h.from, h.dirty = changed[0], s.mu.next, false
	return nil
}

func (s *server) release(id base.TabletID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.mu.tablets[id]
	if h == nil || !h.serving {
		return nil
	}
	to := s.mu.next
	if !h.dirty {
		h.from = to
	}
	c, err := meta.Release(h.Tablet, h.from, to, time.Now())
	if err != nil {
		return err
	}
	h.serving = false
	if _, err = s.meta.Commit(s.ctx, c); err != nil {
		return err
	}
	delete(s.mu.tablets, id)
	return nil
}

func (s *server) Unload(_ context.Context, req *controlpb.UnloadRequest) (*controlpb.UnloadResponse, error) {
	return &controlpb.UnloadResponse{}, s.release(base.TabletID(req.Tablet.Tablet))
}

func (s *server) Status(_ context.Context, req *controlpb.StatusRequest) (*controlpb.StatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &controlpb.StatusResponse{Server: s.record(), Load: &controlpb.ServerLoad{Tablets: uint32(len(s.mu.tablets))}}
	if req.OmitTablets {
		return r, nil
	}
	for id, h := range s.mu.tablets {
		l := &controlpb.TabletLoad{Tablet: uint64(id), Tepoch: uint64(h.Epoch), State: "loading"}
		if h.serving {
			l.State = "serving"
		}
		if h.err != nil {
			l.Error = h.err.Error()
		}
		r.Tablets = append(r.Tablets, l)
	}
	return r, nil
}

func (s *server) RefreshSchemas(_ context.Context, req *controlpb.RefreshSchemasRequest) (*controlpb.RefreshSchemasResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.schemas = max(s.mu.schemas, req.Revision)
	return &controlpb.RefreshSchemasResponse{}, nil
}
