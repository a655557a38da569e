package commitlog

import (
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
)

// core decides what the log does. It has no goroutine, does no I/O and reads no
// clock: the driver tells it what happened, in methods named like events, and
// carries out the actions it then finds in todo. It is the part that the model
// of the protocol speaks of.
//
// Positions in [acked, next) are closed batches, each with a slot; next is the
// position of the open batch.
type core struct {
	limits coreLimits

	acked, next base.Position
	slots       []slot // slots[i] is position acked+i

	open      int       // records of the open batch
	openSince time.Time // when it got the first
	flush     bool      // somebody waits for the open batch: no linger

	// Writers that wait for each acknowledgement come back together, a moment
	// after it. Were the open batch closed at once they would miss it and wait
	// for two uploads each time; so it waits for gather, or until it has as
	// many records as it had then and were acknowledged.
	ackedAt time.Time // of the last acknowledgement
	expect  int       // records the open batch should get

	gather     time.Duration
	linger     time.Duration // how long an open batch waits for company
	hedgeAfter time.Duration // when to send a put again; 0: never
	hedges     float64       // the budget: hedges that may be sent

	fenced   bool
	sealed   bool // by a seal, at sealedAt
	sealedAt base.Position

	todo []action
}

type coreLimits struct {
	window     int           // K: positions closed and not acknowledged that are being uploaded
	retryBase  time.Duration // pause after the first failure; doubles
	retryMax   time.Duration
	hedgeShare float64 // hedges allowed per upload
	hedgeBurst float64 // hedges that can be saved up
	garbledMax int     // unreadable headers at one position before it counts as a stranger's
	// jitter makes of a pause a random one, at most as long.
	jitter func(time.Duration) time.Duration
}

// slot is the state of one closed batch.
type slot struct {
	state   slotState
	records int
	puts    int       // uploads without an answer
	issued  bool      // some upload was ever started
	hedged  bool      // the upload under way was sent twice
	reread  bool      // waiting to read the header again, not to upload
	fails   int       // failures in a row, for the pause
	garbled int       // unreadable headers seen
	at      time.Time // uploading: when to hedge; waiting: when to go on
}

type slotState uint8

const (
	slotQueued    slotState = iota // closed; waits for the window
	slotUploading                  // at least one put under way
	slotReading                    // told "exists": its header is being read
	slotWaiting                    // pausing until at
	slotDurable                    // holds our bytes
)

func (s slotState) String() string {
	return [...]string{"queued", "uploading", "reading", "waiting", "durable"}[s]
}

// action is something for the driver to do.
type action struct {
	kind  actionKind
	pos   base.Position
	cause fenceCause // of doFence
}

type actionKind uint8

const (
	doClose actionKind = iota // close the open batch, if it still has this position
	doPut                     // start an upload of this position
	doHedge                   // the same, while another is under way
	doRead                    // read back the header at this position
	doAck                     // acknowledge this position
	doFence                   // stop for ever
)

func (k actionKind) String() string {
	return [...]string{"close", "put", "hedge", "read", "ack", "fence"}[k]
}

// fenceCause tells what occupies the position.
type fenceCause uint8

const (
	bySeal fenceCause = iota
	byStranger
	byGarbage
)

func (c fenceCause) String() string { return [...]string{"seal", "stranger", "garbage"}[c] }

// what describes the object.
func (c fenceCause) what() string {
	return [...]string{"seal", "object of another writer", "damaged object"}[c]
}

// putOutcome is how one upload ended.
type putOutcome uint8

const (
	putOK        putOutcome = iota
	putExists               // the position is taken, by whom is to be read
	putFailed               // it may have been applied or not, or be applied later
	putThrottled            // the same, and the store asks for less load
)

// readOutcome is what the header at a position turned out to be.
type readOutcome uint8

const (
	readOwn readOutcome = iota
	readAbsent
	readSeal
	readStranger
	readGarbled
	readFailed
)

// filled tells the core how many records the open batch holds, and since when
// it has held any.
func (c *core) filled(now, since time.Time, records int) {
	c.open, c.openSince = records, since
	c.advance(now)
}

// closed tells the core that the batch at position next was closed, on its own
// demand or because it was full, with so many records; the new open batch is
// empty.
func (c *core) closed(now time.Time, records int) {
	c.slots = append(c.slots, slot{records: records})
	c.next++
	c.open, c.flush, c.expect = 0, false, 0
	c.advance(now)
}

// flushed tells the core that somebody waits for what is in the open batch.
func (c *core) flushed(now time.Time) {
	c.flush = true
	c.advance(now)
}

// put tells the core how an upload of position p ended.
func (c *core) put(now time.Time, p base.Position, out putOutcome) {
	s := c.slot(p)
	if s == nil {
		return // a hedge that comes in after the acknowledgement
	}
	s.puts--
	switch {
	case s.state == slotDurable:
	case out == putOK:
		s.state = slotDurable
	case s.state != slotUploading:
		// Another upload has been told "exists"; the header will tell.
	case out == putExists:
		s.state = slotReading
		c.do(doRead, p)
	case s.puts == 0:
		c.pause(now, s, out == putThrottled)
		s.reread = false
	}
	c.advance(now)
}

// read tells the core what the header at position p turned out to be.
func (c *core) read(now time.Time, p base.Position, out readOutcome) {
	s := c.slot(p)
	if s == nil || s.state != slotReading {
		return // an upload was answered meanwhile
	}
	switch out {
	case readOwn:
		s.state = slotDurable
	case readAbsent: // "exists" was wrong, or it was a conflict: try again
		c.pause(now, s, false)
		s.reread = false
	case readSeal:
		c.fence(p, bySeal)
	case readStranger:
		c.fence(p, byStranger)
	case readGarbled:
		if s.garbled++; s.garbled >= c.limits.garbledMax {
			c.fence(p, byGarbage)
			break
		}
		fallthrough
	case readFailed:
		c.pause(now, s, false)
		s.reread = true
	}
	c.advance(now)
}

// tick tells the core the time.
func (c *core) tick(now time.Time) { c.advance(now) }

// advance derives what is to be done now.
func (c *core) advance(now time.Time) {
	if c.fenced {
		return
	}
	for len(c.slots) > 0 && c.slots[0].state == slotDurable {
		c.do(doAck, c.acked)
		if c.ackedAt != now {
			c.ackedAt, c.expect = now, c.open
		}
		c.expect += c.slots[0].records
		c.slots = c.slots[1:]
		c.acked++
	}
	for i := range min(len(c.slots), c.limits.window) {
		c.work(now, c.acked+base.Position(i), &c.slots[i])
	}
	if c.mayClose() && (c.flush || len(c.slots) == 0 && c.open >= c.expect || !now.Before(c.closeAt())) {
		c.do(doClose, c.next)
		c.open = 0 // until filled or closed is called
	}
}

func (c *core) mayClose() bool { return c.open > 0 && len(c.slots) < c.limits.window }

// closeAt returns when the open batch is closed if nothing else happens.
func (c *core) closeAt() time.Time {
	if len(c.slots) == 0 {
		return c.ackedAt.Add(c.gather)
	}
	return c.openSince.Add(c.linger)
}

// work starts what a slot inside the window waits for.
func (c *core) work(now time.Time, p base.Position, s *slot) {
	switch {
	case s.state == slotQueued, s.state == slotWaiting && !s.reread && !now.Before(s.at):
		if s.state == slotQueued {
			c.hedges = min(c.hedges+c.limits.hedgeShare, c.limits.hedgeBurst)
		}
		s.state, s.hedged, s.issued = slotUploading, false, true
		s.puts++
		s.at = now.Add(c.hedgeAfter)
		c.do(doPut, p)
	case s.state == slotWaiting && s.reread && !now.Before(s.at):
		s.state = slotReading
		c.do(doRead, p)
	case c.mayHedge(s) && !now.Before(s.at):
		s.hedged = true
		s.puts++
		c.hedges--
		c.do(doHedge, p)
	}
}

func (c *core) mayHedge(s *slot) bool {
	return s.state == slotUploading && !s.hedged && s.puts == 1 && c.hedgeAfter > 0 && c.hedges >= 1
}

// pause makes s wait after a failure, longer each time.
func (c *core) pause(now time.Time, s *slot, throttled bool) {
	d := c.limits.retryBase
	if throttled {
		d *= 8
	}
	for range s.fails {
		if d *= 2; d >= c.limits.retryMax {
			d = c.limits.retryMax
			break
		}
	}
	s.fails++
	s.state, s.at = slotWaiting, now.Add(c.limits.jitter(d))
}

// fence stops the core: it does nothing from now on.
func (c *core) fence(p base.Position, cause fenceCause) {
	if c.fenced {
		return
	}
	c.fenced = true
	c.sealed, c.sealedAt = cause == bySeal, p
	c.todo = append(c.todo, action{kind: doFence, pos: p, cause: cause})
}

// wakeAt returns when tick has something to do, zero if never.
func (c *core) wakeAt() time.Time {
	var at time.Time
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if c.fenced {
		return at
	}
	for i := range min(len(c.slots), c.limits.window) {
		if s := &c.slots[i]; s.state == slotWaiting || c.mayHedge(s) {
			sooner(s.at)
		}
	}
	if c.mayClose() {
		sooner(c.closeAt())
	}
	return at
}

func (c *core) do(kind actionKind, p base.Position) {
	c.todo = append(c.todo, action{kind: kind, pos: p})
}

// slot returns the slot of a position that is closed and not acknowledged.
func (c *core) slot(p base.Position) *slot {
	if p < c.acked || p >= c.next {
		return nil
	}
	return &c.slots[p-c.acked]
}

// unknown reports whether it is unknown if a batch that was not acknowledged
// will be replayed. It is known that it will not if no upload was started, or
// if it stands at or past a seal.
func (c *core) unknown(p base.Position) bool {
	s := c.slot(p)
	return s != nil && s.issued && !(c.sealed && p >= c.sealedAt)
}
