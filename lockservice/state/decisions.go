package state

import "github.com/tabletdb/tabletdb/lockservice"

// decision is the outcome of one transaction.
type decision struct {
	id        lockservice.TxnID
	succeeded bool
}

// decisions remembers the last cap(ring) outcomes by transaction id.
type decisions struct {
	ring  []decision
	next  int // the slot to reuse once the ring is full
	limit int
	index map[lockservice.TxnID]bool
}

func newDecisions(limit int) decisions {
	return decisions{limit: limit, index: make(map[lockservice.TxnID]bool)}
}

func (d *decisions) find(id lockservice.TxnID) (succeeded, ok bool) {
	succeeded, ok = d.index[id]
	return succeeded, ok
}

func (d *decisions) add(n decision) {
	if d.limit <= 0 {
		return
	}
	if _, ok := d.index[n.id]; ok {
		return
	}
	if len(d.ring) < d.limit {
		d.ring = append(d.ring, n)
	} else {
		delete(d.index, d.ring[d.next].id)
		d.ring[d.next] = n
		d.next = (d.next + 1) % d.limit
	}
	d.index[n.id] = n.succeeded
}

// inOrder returns a copy, oldest first.
func (d *decisions) inOrder() []decision {
	out := make([]decision, 0, len(d.ring))
	out = append(out, d.ring[d.next:]...)
	return append(out, d.ring[:d.next]...)
}
