package extsort

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tabletdb/tabletdb/internal/base"
)

const (
	// DefaultMemory is Options.Memory where that is 0.
	DefaultMemory = 128 << 20
	// MinMemory is the least it may be.
	MinMemory = 64 << 10

	chunkBytes = 1 << 20
	// entryOverhead is what the place of an entry takes beside its bytes.
	entryOverhead = 24
	// fanIn is how many files are merged at once, each with a buffer.
	fanIn = 64
)

// Options qualify a Sorter; zero values mean the defaults.
type Options struct {
	// Dir is where files are made; "" means the system's directory for
	// temporary files.
	Dir string
	// Memory is about how many bytes are held in memory: one half takes entries
	// while the other is written. Default: DefaultMemory.
	Memory int
}

// Sorter takes entries in any order. Add and Sort are called by one goroutine at
// a time. Close it.
type Sorter struct {
	o       Options
	cur     *batch
	spilled chan error // gets what became of the batch that is written
	busy    bool       // one is written
	err     error

	mu struct { // the goroutine that writes adds files
		sync.Mutex
		levels [][]*run // files[i] were merged i times
		bytes  int64    // written, ever
	}
}

// New returns an empty Sorter. base.ErrInvalid: the options cannot be meant.
func New(o Options) (*Sorter, error) {
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.Memory < MinMemory {
		return nil, fmt.Errorf("%w: %d bytes of memory for sorting; at least %d", base.ErrInvalid, o.Memory, MinMemory)
	}
	return &Sorter{o: o, cur: &batch{}, spilled: make(chan error, 1)}, nil
}

// Add takes an entry, and copies it. Two entries with one key stand in no order.
func (s *Sorter) Add(key, value []byte) error {
	if s.err != nil {
		return s.err
	}
	if s.cur.bytes > 0 && s.cur.bytes+len(key)+len(value)+entryOverhead > s.o.Memory/2 {
		if s.err = s.spill(); s.err != nil {
			return s.err
		}
	}
	s.cur.add(key, value)
	return nil
}

// SpilledBytes returns how much was written to files so far.
func (s *Sorter) SpilledBytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.bytes
}

// spill has the current batch sorted and written by a goroutine, once that is
// done with the one before.
func (s *Sorter) spill() error {
	if err := s.settle(); err != nil {
		return err
	}
	full := s.cur
	s.cur, s.busy = &batch{}, true
	go func() {
		full.sort()
		s.spilled <- s.write(0, full.walk())
	}()
	return nil
}

// settle waits until no batch is being written.
func (s *Sorter) settle() error {
	if !s.busy {
		return nil
	}
	s.busy = false
	return <-s.spilled
}

// write writes entries to a file of a level, and merges the files of that level
// where they are many.
func (s *Sorter) write(level int, from source) error {
	r, err := writeRun(s.o.Dir, from)
	if err != nil {
		return err
	}
	s.mu.Lock()
	for len(s.mu.levels) <= level {
		s.mu.levels = append(s.mu.levels, nil)
	}
	s.mu.levels[level] = append(s.mu.levels[level], r)
	s.mu.bytes += r.bytes
	full := s.mu.levels[level]
	s.mu.Unlock()
	if len(full) < fanIn {
		return nil
	}
	m, err := merge(full, nil)
	if err == nil {
		err = s.write(level+1, m)
	}
	s.mu.Lock()
	s.mu.levels[level] = nil
	s.mu.Unlock()
	return errors.Join(err, closeAll(full))
}

// Sort returns all entries in the order of their keys. Nothing can be added
// afterwards. The Iter must not be used after Close.
func (s *Sorter) Sort(ctx context.Context) (*Iter, error) {
	if s.err == nil {
		s.err = s.settle()
	}
	if s.err != nil {
		return nil, s.err
	}
	s.err = errors.New("entries were sorted: none can be added")
	s.cur.sort()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var all []*run
		s.mu.Lock()
		for _, l := range s.mu.levels {
			all = append(all, l...)
		}
		lowest := slices.IndexFunc(s.mu.levels, func(l []*run) bool { return len(l) > 0 })
		s.mu.Unlock()
		if len(all) <= 2*fanIn {
			return merge(all, s.cur)
		}
		if err := s.fold(lowest); err != nil {
			return nil, err
		}
	}
}

// fold merges the files of a level into one of the next.
func (s *Sorter) fold(level int) error {
	s.mu.Lock()
	files := s.mu.levels[level]
	s.mu.levels[level] = nil
	s.mu.Unlock()
	m, err := merge(files, nil)
	if err == nil {
		err = s.write(level+1, m)
	}
	return errors.Join(err, closeAll(files))
}

// Close lets go of memory and files.
func (s *Sorter) Close() error {
	err := s.settle()
	s.err = errors.New("sorter is closed")
	s.cur = &batch{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.mu.levels {
		err = errors.Join(err, closeAll(l))
	}
	s.mu.levels = nil
	return err
}

// batch is entries in memory: their bytes in chunks, and where they lie.
type batch struct {
	chunks  [][]byte
	entries []entry
	bytes   int
}

// entry is where a key lies, with the value behind it.
type entry struct {
	chunk, at  uint32
	key, value uint32 // lengths
}

func (b *batch) add(key, value []byte) {
	n := len(key) + len(value)
	last := len(b.chunks) - 1
	if last < 0 || cap(b.chunks[last])-len(b.chunks[last]) < n {
		b.chunks = append(b.chunks, make([]byte, 0, max(chunkBytes, n)))
		last++
	}
	c := b.chunks[last]
	b.entries = append(b.entries, entry{uint32(last), uint32(len(c)), uint32(len(key)), uint32(len(value))})
	b.chunks[last] = append(append(c, key...), value...)
	b.bytes += n + entryOverhead
}

func (b *batch) keyOf(e entry) []byte { return b.chunks[e.chunk][e.at : e.at+e.key] }

func (b *batch) valueOf(e entry) []byte {
	return b.chunks[e.chunk][e.at+e.key : e.at+e.key+e.value]
}

func (b *batch) sort() {
	slices.SortFunc(b.entries, func(x, y entry) int { return bytes.Compare(b.keyOf(x), b.keyOf(y)) })
}

// walk returns a source of the entries in their present order.
func (b *batch) walk() *batchWalk { return &batchWalk{b: b, i: -1} }

// batchWalk implements source.
type batchWalk struct {
	b *batch
	i int
}

func (w *batchWalk) Next() bool    { w.i++; return w.i < len(w.b.entries) }
func (w *batchWalk) Key() []byte   { return w.b.keyOf(w.b.entries[w.i]) }
func (w *batchWalk) Value() []byte { return w.b.valueOf(w.b.entries[w.i]) }
func (w *batchWalk) Err() error    { return nil }
