package state

import "github.com/tabletdb/tabletdb/lockservice"

// change holds the events of one revision, ordered by key.
type change struct {
	revision lockservice.Revision
	events   []lockservice.Event
	bytes    int
}

// history is the recent changes, for watches. It is not part of the replicated
// state: each replica keeps what it applied since its start or its last
// restore.
type history struct {
	changes   []change // changes[head:] are kept
	head      int
	events    int
	bytes     int
	maxEvents int
	maxBytes  int
	// floor: every change after it is kept.
	floor lockservice.Revision
}

func newHistory(events, bytes int) history {
	return history{maxEvents: events, maxBytes: bytes}
}

func (h *history) add(c change) {
	for _, e := range c.events {
		c.bytes += len(e.KV.Key) + len(e.KV.Value) + 64
	}
	h.changes = append(h.changes, c)
	h.events += len(c.events)
	h.bytes += c.bytes
	for (h.events > h.maxEvents || h.bytes > h.maxBytes) && h.head < len(h.changes)-1 {
		old := h.changes[h.head]
		h.changes[h.head] = change{}
		h.head++
		h.events -= len(old.events)
		h.bytes -= old.bytes
		h.floor = old.revision
	}
	if h.head > 1024 && h.head > len(h.changes)/2 {
		h.changes = append([]change(nil), h.changes[h.head:]...)
		h.head = 0
	}
}

// forget drops all history up to revision r.
func (h *history) forget(r lockservice.Revision) {
	*h = history{maxEvents: h.maxEvents, maxBytes: h.maxBytes, floor: r}
}

// after returns the changes of revisions above from; the slice and its events
// are immutable to the caller.
func (h *history) after(from lockservice.Revision) ([]change, error) {
	if from < h.floor {
		return nil, ErrCompacted
	}
	kept := h.changes[h.head:]
	lo, hi := 0, len(kept)
	for lo < hi {
		mid := (lo + hi) / 2
		if kept[mid].revision > from {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return kept[lo:len(kept):len(kept)], nil
}
