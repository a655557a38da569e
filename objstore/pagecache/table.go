package pagecache

import "hash/maphash"

// pageID names a page: an object, and a number from 0.
type pageID struct {
	key  string
	page uint32
}

// object is one of which pages are cached.
type object struct {
	key   string
	slots []int32 // by page; none where it is not cached
	count int     // pages that are
}

// table knows which slot holds which page, and which one goes next. It does no
// I/O and takes some 40 bytes for a slot; its owner locks it.
type table struct {
	slots   []slot
	numbers map[string]uint32 // of objects
	objects []object
	spare   []uint32 // numbers of objects that are gone

	free        []int32
	small, main fifo
	ghosts      ghosts
	seed        maphash.Seed
	evicted     int64
}

func newTable(slots int) *table {
	t := &table{slots: make([]slot, slots), numbers: map[string]uint32{}, seed: maphash.MakeSeed()}
	t.small, t.main = fifo{head: none, tail: none}, fifo{head: none, tail: none}
	t.ghosts = newGhosts(slots)
	return t
}

// freeAll makes a list of the slots that hold nothing, the lowest last.
func (t *table) freeAll() {
	t.free = t.free[:0]
	for i := len(t.slots) - 1; i >= 0; i-- {
		if t.slots[i].where == free {
			t.free = append(t.free, int32(i))
		}
	}
}

// find returns the slot of a page, or none. A use is counted if touch is set.
func (t *table) find(id pageID, touch bool) int32 {
	n, ok := t.numbers[id.key]
	if !ok || int(id.page) >= len(t.objects[n].slots) {
		return none
	}
	i := t.objects[n].slots[id.page]
	if i != none && touch && t.slots[i].uses < maxUses {
		t.slots[i].uses++
	}
	return i
}

// take returns a slot to write to, or none: with evict set, another page goes
// if no slot is free.
func (t *table) take(evict bool) int32 {
	if len(t.free) == 0 && evict {
		t.evict()
	}
	if len(t.free) == 0 {
		return none
	}
	i := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	t.slots[i].where = writing
	return i
}

// evict frees a slot, unless all are being written.
func (t *table) evict() {
	for t.small.len+t.main.len > 0 {
		if t.main.len == 0 || t.small.len > len(t.slots)/10 {
			i := t.small.tail
			if s := &t.slots[i]; s.uses > 0 { // asked for again: it stays
				t.unlink(&t.small, i)
				s.uses, s.where = 0, main
				t.push(&t.main, i)
				continue
			}
			t.ghosts.add(t.hash(t.id(i)))
			t.drop(i)
			t.evicted++
			return
		}
		i := t.main.tail
		if s := &t.slots[i]; s.uses > 0 {
			t.unlink(&t.main, i)
			s.uses--
			t.push(&t.main, i)
			continue
		}
		t.drop(i)
		t.evicted++
		return
	}
}

// put says that slot i, which take returned, holds the page now.
func (t *table) put(i int32, id pageID, length, crc uint32) {
	n, ok := t.numbers[id.key]
	if !ok {
		n = t.newObject(id.key)
	}
	o := &t.objects[n]
	for len(o.slots) <= int(id.page) {
		o.slots = append(o.slots, none)
	}
	if old := o.slots[id.page]; old != none {
		t.drop(old)
		t.put(i, id, length, crc)
		return
	}
	o.slots[id.page] = i
	o.count++
	s := &t.slots[i]
	s.object, s.page, s.length, s.crc, s.uses = n, id.page, length, crc, 0
	if t.ghosts.has(t.hash(id)) {
		s.where = main
		t.push(&t.main, i)
	} else {
		s.where = small
		t.push(&t.small, i)
	}
}

func (t *table) newObject(key string) uint32 {
	n := uint32(len(t.objects))
	if k := len(t.spare); k > 0 {
		n, t.spare = t.spare[k-1], t.spare[:k-1]
	} else {
		t.objects = append(t.objects, object{})
	}
	t.objects[n] = object{key: key}
	t.numbers[key] = n
	return n
}

// giveBack frees a slot that take returned and that was not put.
func (t *table) giveBack(i int32) {
	t.slots[i].where = free
	t.slots[i].generation++
	t.free = append(t.free, i)
}

// drop forgets the page in slot i.
func (t *table) drop(i int32) {
	s := &t.slots[i]
	if s.where == small {
		t.unlink(&t.small, i)
	} else {
		t.unlink(&t.main, i)
	}
	o := &t.objects[s.object]
	o.slots[s.page] = none
	if o.count--; o.count == 0 {
		delete(t.numbers, o.key)
		t.spare = append(t.spare, s.object)
		*o = object{}
	}
	t.giveBack(i)
}

// dropObject forgets all pages of an object and returns their slots.
func (t *table) dropObject(key string) []int32 {
	n, ok := t.numbers[key]
	if !ok {
		return nil
	}
	var gone []int32
	for _, i := range t.objects[n].slots {
		if i != none {
			gone = append(gone, i)
		}
	}
	for _, i := range gone {
		t.drop(i)
	}
	return gone
}

// hash is never 0.
func (t *table) hash(id pageID) uint64 { return maphash.Comparable(t.seed, id) | 1 }

// id returns the page that slot i holds.
func (t *table) id(i int32) pageID {
	s := &t.slots[i]
	return pageID{t.objects[s.object].key, s.page}
}

// used returns how many slots hold a page.
func (t *table) used() int { return t.small.len + t.main.len }
