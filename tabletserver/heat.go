package tabletserver

import (
	"context"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/heatmap"
	"github.com/tabletdb/tabletdb/internal/rowset"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// note takes note of a request for a row: for the heat map, and, of the same
// sample, for the row at which the tablet is split when it is hot.
func (s *Server) note(t *tablet.Tablet, k heatmap.Kind, row []byte) {
	if s.heat.Note(t, k, row) {
		t.Note(row)
	}
}

// noteBoth takes note of a request that reads a row and writes it.
func (s *Server) noteBoth(t *tablet.Tablet, row []byte) {
	s.note(t, heatmap.Read, row)
	s.note(t, heatmap.Write, row)
}

// readNoter returns what takes note of the rows of a read. A scan goes into the
// heat map only: it says nothing of where a split would halve the requests.
func (s *Server) readNoter(t *tablet.Tablet, rows rowset.Set) func(row []byte) {
	if g := rows.Ranges(); len(g) > 0 && g[0].IsPoint() {
		return func(row []byte) { s.note(t, heatmap.Read, row) }
	}
	return func(row []byte) { s.heat.Note(t, heatmap.Read, row) }
}

// heatLoop closes the slots of the heat map, at the same times on all servers.
func (s *Server) heatLoop() {
	slot := s.heat.SlotLength()
	for {
		next := time.NewTimer(time.Until(time.Now().Truncate(slot).Add(slot)))
		select {
		case <-next.C:
			s.heat.Roll(time.Now(), s.heatSources())
		case <-s.life.Done():
			next.Stop()
			return
		}
	}
}

// heatSources returns the tablets that are here.
func (s *Server) heatSources() []heatmap.Source {
	var list []heatmap.Source
	for _, t := range s.all() {
		list = append(list, t)
	}
	return list
}

// Heat implements controlpb.TabletServer.
func (c *Control) Heat(_ context.Context, r *controlpb.HeatRequest) (*controlpb.HeatResponse, error) {
	s := c.s
	resp := &controlpb.HeatResponse{SlotUs: s.heat.SlotLength().Microseconds()}
	for _, slot := range s.heat.Slots(time.UnixMicro(r.SinceUs), time.Now(), s.heatSources()) {
		p := &controlpb.HeatSlot{StartUs: slot.Start.UnixMicro(), LengthUs: slot.Length.Microseconds()}
		for _, b := range slot.Buckets {
			if r.Table == 0 || b.Table == base.TableID(r.Table) {
				p.Buckets = append(p.Buckets, &controlpb.HeatBucket{
					Table: uint64(b.Table), Tablet: uint64(b.Tablet), Start: b.Start, End: b.End,
					Reads: b.Count[heatmap.Read], Writes: b.Count[heatmap.Write],
				})
			}
		}
		if len(p.Buckets) > 0 {
			resp.Slots = append(resp.Slots, p)
		}
	}
	return resp, nil
}

// Activity implements controlpb.TabletServer.
func (c *Control) Activity(context.Context, *controlpb.ActivityRequest) (*controlpb.ActivityResponse, error) {
	running, recent := c.s.env.Jobs.List()
	return &controlpb.ActivityResponse{
		Running: jobs(running), Recent: jobs(recent),
		FlushQueue: uint32(c.s.flushes.len()), CompactionQueue: uint32(c.s.compacts.len()),
	}, nil
}

func jobs(list []tablet.Job) []*controlpb.Job {
	var out []*controlpb.Job
	for _, j := range list {
		out = append(out, &controlpb.Job{
			Kind: j.Kind, Tablet: uint64(j.Tablet), Table: uint64(j.Table), StartedUs: j.Started.UnixMicro(), ElapsedUs: j.Elapsed.Microseconds(),
			BytesIn: uint64(j.BytesIn), BytesOut: uint64(j.BytesOut), Detail: j.Detail, Error: j.Err,
		})
	}
	return out
}
