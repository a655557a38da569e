package wal

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

// Object is a whole object of a log, decoded and verified.
type Object struct {
	Key    string
	Size   int64
	Seal   *SealInfo // of a seal; then the rest is empty
	Header Header
	Dir    []Section

	data []byte
}

// DecodeObject parses and verifies a whole object: header, directory and every
// checksum, but not the records. Errors wrap base.ErrCorrupt.
func DecodeObject(data []byte) (*Object, error) {
	o := &Object{Size: int64(len(data)), data: data}
	if IsSeal(data) {
		info, err := DecodeSeal(data)
		if err != nil {
			return nil, err
		}
		o.Seal = &info
		return o, nil
	}
	h, err := DecodeHeader(data)
	if err != nil {
		return nil, err
	}
	d, err := decodeDirectory(data)
	if err != nil {
		return nil, err
	}
	inDir := int64(len(d.sections))*sectionLen + trailerLen
	if d.end()+inDir != o.Size || h.BodyLen != uint64(d.end()-HeaderLen) || int(h.Sections) != len(d.sections) ||
		h.DirSum != d.sum || h.Log != d.log || h.Position != d.position {
		return nil, corrupt("header and directory of the log object do not agree")
	}
	records := uint64(0)
	for i := range d.sections {
		s := &d.sections[i]
		records += uint64(s.Records)
		if checksum(data[s.Offset:s.Offset+s.Length]) != s.Sum {
			return nil, corrupt("section of tablet %d fails its checksum", s.Tablet)
		}
	}
	if records != uint64(h.Records) {
		return nil, corrupt("log object has %d records, its header says %d", records, h.Records)
	}
	o.Header, o.Dir = h, d.sections
	return o, nil
}

// Records calls fn for each record of a section of o. Bodies must not be
// changed.
func (o *Object) Records(s Section, fn func(Record) error) error {
	if uint64(s.Offset)+uint64(s.Length) > uint64(len(o.data)) {
		return fmt.Errorf("records of %s: section is of another object: %w", o.Key, base.ErrInvalid)
	}
	raw, err := s.unpack(o.data[s.Offset : s.Offset+s.Length])
	if err == nil {
		err = s.records(raw, fn)
	}
	return err
}

// ReadObject reads and verifies the object at position p of the log of e.
func ReadObject(ctx context.Context, store objstore.Store, e base.Incarnation, p base.Position) (*Object, error) {
	key := base.LogObject(e, p)
	data, err := store.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("read log object: %w", err)
	}
	o, err := DecodeObject(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	o.Key = key
	log, pos := o.Header.Log, o.Header.Position
	if o.Seal != nil {
		log, pos = o.Seal.Log, o.Seal.Position
	}
	if log != e || pos != p {
		return nil, fmt.Errorf("read %s: %w", key, corrupt("object says that it is position %d of log %s", pos, log))
	}
	return o, nil
}

// Objects yields the positions that hold objects of the log of e, in order,
// from position p: data and seals. The index of a log is not among them.
func Objects(ctx context.Context, store objstore.Store, e base.Incarnation, p base.Position) iter.Seq2[base.Position, error] {
	return func(yield func(base.Position, error) bool) {
		after, prefix := "", base.LogPrefix(e)
		if p > 0 {
			after = base.LogObject(e, p-1)
		}
		for info, err := range store.List(ctx, prefix, after) {
			if err != nil {
				yield(0, fmt.Errorf("list log %s: %w", e, err))
				return
			}
			n, err := strconv.ParseUint(strings.TrimPrefix(info.Key, prefix), 16, 64)
			if err != nil || base.LogObject(e, base.Position(n)) != info.Key {
				continue
			}
			if !yield(base.Position(n), nil) {
				return
			}
		}
	}
}

// Check verifies the positions [low, end) of a log from end to end: every
// object there, every checksum, every record, the chain of checksums from
// object to object, one writer, and sequences that rise within each tablet and
// epoch. It returns everything it finds wrong, each error naming its object.
func Check(ctx context.Context, store objstore.Store, e base.Incarnation, low, end base.Position) []error {
	var bad []error
	last := make(map[group]base.Seq)
	var prev *Object
	for p := low; p < end; p++ {
		o, err := ReadObject(ctx, store, e, p)
		if err == nil && o.Seal != nil {
			err = fmt.Errorf("%s: %w", o.Key, corrupt("seal before the end at position %d", end))
		}
		if err != nil {
			bad = append(bad, err)
			if prev = nil; ctx.Err() != nil {
				return bad
			}
			continue
		}
		complain := func(format string, args ...any) {
			bad = append(bad, fmt.Errorf("%s: %w", o.Key, corrupt(format, args...)))
		}
		switch {
		case prev != nil && o.Header.Nonce != prev.Header.Nonce:
			complain("written by another process than position %d", p-1)
		case prev != nil && o.Header.PrevSum != prev.Header.Sum, p == 0 && o.Header.PrevSum != 0:
			complain("does not follow the object before it")
		}
		for _, s := range o.Dir {
			g := group{tablet: s.Tablet, epoch: s.Epoch}
			if s.First <= last[g] {
				complain("sequences of tablet %d start at %d after %d", s.Tablet, s.First, last[g])
			}
			last[g] = s.Last
			if err := o.Records(s, func(Record) error { return nil }); err != nil {
				complain("%v", err)
			}
		}
		prev = o
	}
	return bad
}
