package status

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/lockservice"
)

// locksBody is the page of the lock service.
type locksBody struct {
	Replicas []replicaRow `json:"replicas"`
	Revision uint64       `json:"revision"`
	Sessions []sessionRow `json:"sessions"`
	Locks    []lockRow    `json:"locks"`
	Logs     []logRow     `json:"logs"`
	Keys     []keyRow     `json:"keys"`
	Missing  string       `json:"missing,omitempty"` // why sessions and locks are not there
}

type replicaRow struct {
	ID       string          `json:"id"`
	Address  string          `json:"address"`
	Role     string          `json:"role"`
	Ready    bool            `json:"ready"`
	Voter    bool            `json:"voter"`
	Term     uint64          `json:"term"`
	Applied  uint64          `json:"applied_index"`
	Last     uint64          `json:"last_index"`
	Revision uint64          `json:"revision"`
	Keys     uint64          `json:"keys"`
	Contact  output.Duration `json:"last_contact_seconds"`
	Status   string          `json:"status_address,omitempty"`
	Error    string          `json:"error,omitempty"`
}

// Behind is how many entries of the Raft log are not applied.
func (r replicaRow) Behind() uint64 { return r.Last - min(r.Applied, r.Last) }

type sessionRow struct {
	ID    string          `json:"id"`
	Name  string          `json:"name"`
	State string          `json:"state"`
	TTL   output.Duration `json:"ttl_seconds"`
	Since uint64          `json:"registered_revision"`
}

type lockRow struct {
	Name       string       `json:"name"`
	State      string       `json:"state"`
	Generation uint64       `json:"generation"`
	Holders    []string     `json:"holders"`
	Data       output.Bytes `json:"data,omitempty"`
}

// keyRow counts the keys that begin alike.
type keyRow struct {
	Prefix output.Bytes `json:"prefix"`
	Keys   int          `json:"keys"`
}

func locksPage(q *request) (any, error) {
	v := q.view
	b := &locksBody{Revision: uint64(v.Revision), Replicas: []replicaRow{}, Sessions: []sessionRow{}, Locks: []lockRow{}, Logs: []logRow{}, Keys: []keyRow{}}
	for _, r := range v.Replicas {
		s := r.Status
		x := replicaRow{
			ID: s.GetId(), Address: cmp.Or(s.GetAddress(), r.Address), Role: s.GetRole(), Ready: s.GetReady(), Term: s.GetTerm(), Applied: s.GetAppliedIndex(),
			Last: s.GetLastIndex(), Revision: s.GetRevision(), Keys: s.GetKeys(), Contact: output.Duration(s.GetLastContact().AsDuration()),
			Status: s.GetStatusAddress(), Error: s.GetFailure(),
		}
		if r.Err != nil {
			x.Role, x.Error = "does not answer", r.Err.Error()
		}
		for _, m := range s.GetMembers() {
			x.Voter = x.Voter || m.Id == x.ID && m.Voter
		}
		b.Replicas = append(b.Replicas, x)
	}
	for _, s := range v.Sessions {
		b.Sessions = append(b.Sessions, sessionRow{s.ID.String(), s.Name, s.State, output.Duration(s.TTL), uint64(s.Registered)})
	}
	for _, l := range v.Locks {
		x := lockRow{Name: l.Name, State: "shared", Generation: l.Generation, Data: l.Data, Holders: []string{}}
		switch {
		case l.Delayed:
			x.State = "blocked: its holder failed"
		case l.Exclusive:
			x.State = "exclusive"
		}
		for _, h := range l.Holders {
			x.Holders = append(x.Holders, h.String())
		}
		b.Locks = append(b.Locks, x)
	}
	for _, l := range v.Logs {
		b.Logs = append(b.Logs, newLogRow(v, l))
	}
	if v.SessionsErr != nil {
		b.Missing = "Sessions and locks are told by a leader only: " + v.SessionsErr.Error()
	}
	b.Keys = q.keys()
	return b, nil
}

// keys counts the keys by the first part of their names; none where they cannot
// be read.
func (q *request) keys() []keyRow {
	ctx, cancel := context.WithTimeout(q.Context(), 2*time.Second)
	defer cancel()
	rows := []keyRow{}
	if q.view.Err != nil {
		return rows
	}
	kvs, _, err := q.parts.Source.LockService.List(ctx, "", "", lockservice.ReadOptions{KeysOnly: true, Stale: q.view.Stale})
	if err != nil {
		return rows
	}
	count := map[string]int{}
	for _, kv := range kvs {
		prefix, _, found := strings.Cut(kv.Key, "/")
		if found {
			prefix += "/"
		}
		count[prefix]++
	}
	for p, n := range count {
		rows = append(rows, keyRow{output.Bytes(p), n})
	}
	slices.SortFunc(rows, func(a, b keyRow) int { return strings.Compare(string(a.Prefix), string(b.Prefix)) })
	return rows
}
