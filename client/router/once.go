package router

import (
	"crypto/rand"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
)

// repeatFor is how long a request that must not be applied twice is sent again:
// well below the time for which tablets remember it (base.SystemRetention),
// since their clocks may differ from each other and an attempt may be on its way
// for long.
const repeatFor = base.SystemRetention / 3

// ids makes the ids of requests: 10 random bytes of the router and a count.
type ids struct {
	prefix [10]byte
	count  atomic.Uint64
}

func (g *ids) init() { _, _ = rand.Read(g.prefix[:]) } // never fails

func (g *ids) next() (id mutation.ID) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], g.count.Add(1))
	copy(id[:], g.prefix[:])
	copy(id[len(g.prefix):], n[2:])
	return id
}

// once is how a write may be sent again after an unknown outcome (R13): as often
// as one likes, for a while because it bears an id or a token by which the tablet
// recognises it, or, behind a gateway elsewhere that may know no ids, not at all.
type once struct {
	id      mutation.ID
	attempt uint32
	stamped bool
	refused bool
	began   time.Time // zero: there is no limit
}

// begin returns the request for the first attempt: with an id, in a copy, if it
// needs one. A request that sets cells at times of the client needs none.
func (o *once) begin(r *Router, req []byte, f mutation.Form) []byte {
	ok, tokened := mutation.Repeatable(req, f)
	if ok && !tokened {
		return req
	}
	o.began = time.Now()
	switch {
	case ok:
		return req
	case r.whole != nil:
		o.refused = true
		return req
	}
	o.id, o.stamped = r.ids.next(), true
	return mutation.AppendID(append(make([]byte, 0, len(req)+mutation.IDSize), req...), o.id, 0)
}

// again reports whether there may be another attempt after one whose outcome is
// unknown.
func (o *once) again() bool {
	return !o.refused && (o.began.IsZero() || time.Since(o.began) < repeatFor)
}

// next returns the request, which begin or next returned, for the attempt after
// one whose outcome is unknown. It is another copy: the transport may still have
// the last one.
func (o *once) next(req []byte) []byte {
	if !o.stamped {
		return req
	}
	o.attempt++
	plain := req[:len(req)-mutation.IDSize]
	return mutation.AppendID(append(make([]byte, 0, len(req)), plain...), o.id, o.attempt)
}
