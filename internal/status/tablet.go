package status

import (
	"context"
	"time"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/status/view"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// tabletBody is the page of one tablet.
type tabletBody struct {
	tabletRow
	Why       []string      `json:"explanation"`
	Address   string        `json:"owner_address,omitempty"`
	Manifest  string        `json:"manifest,omitempty"`
	Version   uint64        `json:"manifest_version"`
	Flushed   uint64        `json:"flushed_seq"`
	Next      uint64        `json:"next_seq,omitempty"`
	Visible   uint64        `json:"visible_seq,omitempty"`
	Revision  uint64        `json:"revision"`
	Parents   []uint64      `json:"parents,omitempty"`
	Before    uint64        `json:"neighbour_before,omitempty"`
	Behind    uint64        `json:"neighbour_behind,omitempty"`
	Entries   []logEntry    `json:"logs"`
	FileRuns  []fileRun     `json:"file_runs"`
	Events    []string      `json:"events"`
	Running   []jobRow      `json:"running"`
	Recent    []jobRow      `json:"recent"`
	Decisions []decisionRow `json:"decisions"`
	Missing   []string      `json:"missing,omitempty"` // what could not be had
}

// logEntry is one entry of the record: where unflushed records may lie.
type logEntry struct {
	Log    string  `json:"log"`
	Server string  `json:"server,omitempty"`
	State  string  `json:"state"`
	Tablet uint64  `json:"tablet"`
	Epoch  uint64  `json:"epoch"`
	From   uint64  `json:"from"`
	To     *uint64 `json:"to,omitempty"` // nil: the end of the log
}

// fileRun is one run of files, and file one of them.
type fileRun struct {
	Bytes output.Size `json:"bytes"`
	Rows  uint64      `json:"rows"`
	Files []file      `json:"files"`
}

type file struct {
	Name       string       `json:"name"`
	Bytes      output.Size  `json:"bytes"`
	Raw        output.Size  `json:"raw_bytes"`
	Rows       uint64       `json:"rows"`
	Entries    uint64       `json:"entries"`
	Tombstones uint64       `json:"tombstones"`
	First      output.Bytes `json:"first_row"`
	Last       output.Bytes `json:"last_row"`
	Lower      output.Bytes `json:"lower,omitempty"` // rows that the reference shows
	Upper      output.Bytes `json:"upper,omitempty"`
	MinSeq     uint64       `json:"min_seq"`
	MaxSeq     uint64       `json:"max_seq"`
}

func tabletPage(q *request) (any, error) {
	t, err := q.findTablet()
	if err != nil {
		return nil, err
	}
	b := &tabletBody{
		tabletRow: newTabletRow(q.view, t), Address: t.OwnerAddress, Version: t.ManifestVersion, Flushed: uint64(t.Flushed),
		Revision: uint64(t.Revision), Why: q.view.Explain(t),
	}
	if !t.Manifest.IsZero() {
		b.Manifest = base.ManifestObject(t.Manifest)
	}
	for _, p := range t.Parents {
		b.Parents = append(b.Parents, uint64(p))
	}
	b.Before, b.Behind = neighbours(q.view, t)
	b.Entries = logEntries(q.view, t)
	b.Decisions = decisionRows(q.view, b.ID, busiest)
	b.ask(q, t)
	if s := q.view.Owner(t.Owner); s != nil {
		b.Running, b.Recent = ofTablet(q.view, s, s.Activity.GetRunning(), b.ID), ofTablet(q.view, s, s.Activity.GetRecent(), b.ID)
	}
	return b, nil
}

func ofTablet(v *view.View, s *view.Server, list []*controlpb.Job, id uint64) []jobRow {
	var mine []*controlpb.Job
	for _, j := range list {
		if j.Tablet == id {
			mine = append(mine, j)
		}
	}
	return jobRows(v, mine, s)
}

// ask adds what the owner says of the tablet, and its files: as the owner has
// them, else as they lie in the bucket.
func (b *tabletBody) ask(q *request, t *meta.Tablet) {
	ctx := q.Context()
	if !t.Owner.IsZero() {
		d, err := view.Describe(ctx, q.parts.Source.Network, *t)
		if err == nil {
			b.Next, b.Visible, b.Events = d.NextSeq, d.VisibleSeq, d.Events
			b.FileRuns = fileRuns(d.GetManifest())
			if l := d.GetLoad(); l.GetError() != "" {
				b.Error = l.GetError()
			}
			return
		}
		b.Missing = append(b.Missing, "the owner's own account: "+err.Error())
	}
	if t.Manifest.IsZero() || q.parts.Store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	m, err := manifest.Read(ctx, q.parts.Store, t.Manifest)
	if err != nil {
		b.Missing = append(b.Missing, "the list of its files: "+err.Error())
		return
	}
	b.FileRuns = fileRuns(m.Proto())
}

func fileRuns(m *metapb.Manifest) []fileRun {
	var runs []fileRun
	for _, r := range m.GetRuns() {
		var run fileRun
		for _, f := range r.Files {
			x := file{
				Name: fileName(f.File), Bytes: output.Size(f.Size), Raw: output.Size(f.RawBytes), Rows: f.Rows, Entries: f.Entries, Tombstones: f.Tombstones,
				First: rowOf(f.Smallest), Last: rowOf(f.Largest), Lower: f.Lower, Upper: f.Upper, MinSeq: f.MinSeq, MaxSeq: f.MaxSeq,
			}
			run.Bytes += x.Bytes
			run.Rows += x.Rows
			run.Files = append(run.Files, x)
		}
		runs = append(runs, run)
	}
	return runs
}

func fileName(f *metapb.FileNumber) string {
	return base.SSTableObject(meta.FileNumber(f))
}

// rowOf returns the row of a cell key, or the key itself where it is none.
func rowOf(key []byte) output.Bytes {
	if row, err := base.DecodeRow(key); err == nil {
		return row
	}
	return key
}

func logEntries(v *view.View, t *meta.Tablet) []logEntry {
	var list []logEntry
	for _, e := range t.Logs {
		x := logEntry{Log: e.Log.String(), Tablet: uint64(e.Tablet), Epoch: uint64(e.Epoch), From: uint64(e.From), State: "gone"}
		if e.Closed {
			to := uint64(e.To)
			x.To = &to
		}
		if s := v.Owner(e.Log); s != nil {
			x.Server = s.Name()
		}
		for _, l := range v.Logs {
			if l.Incarnation == e.Log {
				x.State = l.State.String()
			}
		}
		list = append(list, x)
	}
	return list
}
