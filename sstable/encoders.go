package sstable

import (
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable/compress"
)

// encoders packs each block as most of its bytes want: families may differ.
type encoders struct {
	o     *WriterOptions
	made  [compress.Types]*compress.Encoder
	bytes [compress.Types]int // of the block, by what their family wants
	mixed bool                // there is more than one kind
	of    base.FamilyID       // the family of the last entry
	typ   compress.Type       // and what it wants
}

// init makes the encoder of the file, and those of families, so that bad
// options show at once. It keeps o.
func (e *encoders) init(o *WriterOptions) error {
	e.o, e.typ = o, o.Compression
	for _, t := range o.Compressions {
		e.mixed = e.mixed || t != o.Compression
		if err := e.make(t); err != nil {
			return err
		}
	}
	return e.make(o.Compression)
}

func (e *encoders) make(t compress.Type) (err error) {
	if t < compress.Types && e.made[t] != nil {
		return nil
	}
	x, err := compress.NewEncoder(t, e.o.Level, e.o.Encoders)
	if err == nil {
		e.made[t] = x
	}
	return err
}

// count takes note of n bytes of a family in the block.
func (e *encoders) count(f base.FamilyID, n int) {
	if !e.mixed {
		return
	}
	if f != e.of {
		e.of, e.typ = f, e.o.Compression
		if t, ok := e.o.Compressions[f]; ok {
			e.typ = t
		}
	}
	e.bytes[e.typ] += n
}

// choose returns the encoder of the block that is complete.
func (e *encoders) choose() *compress.Encoder {
	if !e.mixed {
		return e.made[e.o.Compression]
	}
	best := e.o.Compression
	for t := range e.bytes {
		if e.bytes[t] > e.bytes[best] {
			best = compress.Type(t)
		}
	}
	e.bytes = [compress.Types]int{}
	return e.made[best]
}

// release ends the use of the encoders.
func (e *encoders) release() {
	for i, x := range e.made {
		if x != nil {
			x.Release()
			e.made[i] = nil
		}
	}
}
