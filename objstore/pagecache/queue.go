package pagecache

// none is no slot.
const none int32 = -1

// place says in which queue a slot is.
type place uint8

const (
	free    place = iota // holds nothing
	writing              // given to a page that is being written
	small                // holds a page that was asked for once
	main                 // holds a page that was asked for again
)

// slot is a place for one page on disk.
type slot struct {
	object     uint32 // number in table.objects
	page       uint32
	length     uint32 // of the page, in bytes; shorter than a page: the object ends
	crc        uint32
	generation uint32 // changes whenever the slot is freed
	prev, next int32  // in the queue
	where      place
	uses       uint8 // asked for since it was queued, up to 3
}

// maxUses is how many uses of a page count.
const maxUses = 3

// fifo is a queue of slots, linked through them.
type fifo struct {
	head, tail int32 // tail goes first
	len        int
}

func (t *table) push(q *fifo, i int32) {
	s := &t.slots[i]
	s.prev, s.next = none, q.head
	if q.head != none {
		t.slots[q.head].prev = i
	} else {
		q.tail = i
	}
	q.head = i
	q.len++
}

func (t *table) unlink(q *fifo, i int32) {
	s := &t.slots[i]
	if s.prev != none {
		t.slots[s.prev].next = s.next
	} else {
		q.head = s.next
	}
	if s.next != none {
		t.slots[s.next].prev = s.prev
	} else {
		q.tail = s.prev
	}
	q.len--
}

// ghosts remembers pages that were pushed out of the small queue.
type ghosts struct {
	ring []uint64
	at   int
	set  map[uint64]int32 // how often it stands in ring
}

func newGhosts(n int) ghosts {
	return ghosts{ring: make([]uint64, max(n, 1)), set: make(map[uint64]int32)}
}

func (g *ghosts) add(id uint64) {
	if old := g.ring[g.at]; old != 0 {
		if g.set[old]--; g.set[old] <= 0 {
			delete(g.set, old)
		}
	}
	g.ring[g.at] = id
	g.set[id]++
	g.at = (g.at + 1) % len(g.ring)
}

func (g *ghosts) has(id uint64) bool { return g.set[id] > 0 }
