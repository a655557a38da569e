package mutation

import (
	"github.com/tabletdb/tabletdb/internal/base"
)

// Target says what a request is about. The names are as they were sent, not
// validated; they alias the request.
type Target struct {
	Table          []byte
	AuthorizedView []byte // empty: none
	AppProfile     []byte // empty: the default one
}

// Idempotency names a request so that a replay of it is recognised; the zero
// value names none.
type Idempotency struct {
	Token []byte // at least MinToken bytes; aliases the request
	// StartMicros is the client's time of the first attempt, in microseconds
	// since the epoch; 0: not given.
	StartMicros int64
}

// MutateRow is a parsed MutateRowRequest. It aliases the request.
type MutateRow struct {
	Target
	Row         []byte
	Mutations   List
	Idempotency Idempotency
	Once        Once
}

// ParseMutateRow parses a google.bigtable.v2.MutateRowRequest. It checks the
// row key, the number of mutations and the token; the mutations themselves are
// checked by AppendRecord.
func ParseMutateRow(raw []byte) (MutateRow, error) {
	r := MutateRow{Mutations: List{raw: raw, key: 3<<3 | wireBytes}}
	var idem, id []byte
	var hasIdem bool
	s := scanner{rest: raw}
	for s.next() {
		switch s.key {
		case 1<<3 | wireBytes:
			r.Table = s.b
		case 2<<3 | wireBytes:
			r.Row = s.b
		case 3<<3 | wireBytes:
			r.Mutations.n++
		case 4<<3 | wireBytes:
			r.AppProfile = s.b
		case 6<<3 | wireBytes:
			r.AuthorizedView = s.b
		case 8<<3 | wireBytes:
			idem, hasIdem = merge(idem, s.b, hasIdem), true
		case idKey:
			id = s.b
		}
	}
	if err := s.err("MutateRowRequest"); err != nil {
		return MutateRow{}, err
	}
	if err := checkOne(r.Row, r.Mutations); err != nil {
		return MutateRow{}, err
	}
	if hasIdem {
		var err error
		if r.Idempotency, err = parseIdempotency(idem); err != nil {
			return MutateRow{}, err
		}
		r.Once.Token = r.Idempotency.Token
	}
	if id != nil {
		if err := r.Once.setID(id); err != nil {
			return MutateRow{}, err
		}
	}
	return r, nil
}

func checkOne(row []byte, l List) error {
	if err := CheckRowKey(row); err != nil {
		return err
	}
	if l.n == 0 {
		return base.Invalidf("No mutations provided")
	}
	if l.n > MaxMutations {
		return tooManyMutations(l.n)
	}
	return nil
}

// MutateRows is a parsed MutateRowsRequest. It aliases the request.
type MutateRows struct {
	Target
	Entries   int // number of entries
	Mutations int // number of mutations, over all entries
	raw       []byte
}

// ParseMutateRows parses a google.bigtable.v2.MutateRowsRequest. Only what
// makes the whole request invalid is an error; what is wrong with one entry is
// found by AppendRecord, so that it fails alone.
func ParseMutateRows(raw []byte) (MutateRows, error) {
	r := MutateRows{raw: raw}
	s := scanner{rest: raw}
	for s.next() {
		switch s.key {
		case 1<<3 | wireBytes:
			r.Table = s.b
		case 2<<3 | wireBytes:
			n, err := countMutations(s.b)
			if err != nil {
				return MutateRows{}, err
			}
			r.Entries++
			r.Mutations += n
		case 3<<3 | wireBytes:
			r.AppProfile = s.b
		case 5<<3 | wireBytes:
			r.AuthorizedView = s.b
		}
	}
	if err := s.err("MutateRowsRequest"); err != nil {
		return MutateRows{}, err
	}
	if r.Mutations == 0 {
		return MutateRows{}, base.Invalidf("No mutations provided")
	}
	if r.Mutations > MaxMutations {
		return MutateRows{}, tooManyMutations(r.Mutations)
	}
	return r, nil
}

func countMutations(entry []byte) (n int, err error) {
	s := scanner{rest: entry}
	for s.next() {
		if s.key == 2<<3|wireBytes {
			n++
		}
	}
	return n, s.err("MutateRowsRequest.Entry")
}

// Entry is one row of a MutateRows request. It aliases the request.
type Entry struct {
	Row         []byte
	Mutations   List
	Idempotency Idempotency
	Once        Once
	// Raw is the google.bigtable.v2.MutateRowsRequest.Entry as it was sent:
	// what is forwarded when the row is served elsewhere.
	Raw []byte
}

// EntryIter walks the entries of a request in their order.
type EntryIter struct{ s scanner }

// Iter returns an iterator over the entries.
func (r *MutateRows) Iter() EntryIter { return EntryIter{scanner{rest: r.raw}} }

// Next parses the next entry into e; false: there is none. An error is about
// this entry only.
func (it *EntryIter) Next(e *Entry) (bool, error) {
	for it.s.next() {
		if it.s.key == 2<<3|wireBytes {
			return true, ParseEntry(it.s.b, e)
		}
	}
	return false, nil
}

// ParseEntry parses one google.bigtable.v2.MutateRowsRequest.Entry into e.
func ParseEntry(raw []byte, e *Entry) error {
	*e = Entry{Raw: raw, Mutations: List{raw: raw, key: 2<<3 | wireBytes}}
	var idem, id []byte
	var hasIdem bool
	s := scanner{rest: raw}
	for s.next() {
		switch s.key {
		case 1<<3 | wireBytes:
			e.Row = s.b
		case 2<<3 | wireBytes:
			e.Mutations.n++
		case 3<<3 | wireBytes:
			idem, hasIdem = merge(idem, s.b, hasIdem), true
		case idKey:
			id = s.b
		}
	}
	if err := s.err("MutateRowsRequest.Entry"); err != nil {
		return err
	}
	if hasIdem {
		var err error
		if e.Idempotency, err = parseIdempotency(idem); err != nil {
			return err
		}
		e.Once.Token = e.Idempotency.Token
	}
	if id != nil {
		if err := e.Once.setID(id); err != nil {
			return err
		}
	}
	return checkOne(e.Row, e.Mutations)
}

// CheckAndMutateRow is a parsed CheckAndMutateRowRequest. It aliases the
// request.
type CheckAndMutateRow struct {
	Target
	Row []byte
	// Predicate is the encoded RowFilter; nil: none was given, and the row
	// matches when it holds any cell.
	Predicate   []byte
	True, False List // either may be empty, not both
	Once        Once
}

// ParseCheckAndMutateRow parses a google.bigtable.v2.CheckAndMutateRowRequest.
func ParseCheckAndMutateRow(raw []byte) (CheckAndMutateRow, error) {
	r := CheckAndMutateRow{
		True:  List{raw: raw, key: 4<<3 | wireBytes},
		False: List{raw: raw, key: 5<<3 | wireBytes},
	}
	s := scanner{rest: raw}
	for s.next() {
		switch s.key {
		case 1<<3 | wireBytes:
			r.Table = s.b
		case 2<<3 | wireBytes:
			r.Row = s.b
		case 4<<3 | wireBytes:
			r.True.n++
		case 5<<3 | wireBytes:
			r.False.n++
		case 6<<3 | wireBytes:
			r.Predicate = merge(r.Predicate, s.b, r.Predicate != nil)
			if r.Predicate == nil {
				r.Predicate = []byte{}
			}
		case 7<<3 | wireBytes:
			r.AppProfile = s.b
		case 9<<3 | wireBytes:
			r.AuthorizedView = s.b
		case idKey:
			if err := r.Once.setID(s.b); err != nil {
				return CheckAndMutateRow{}, err
			}
		}
	}
	if err := s.err("CheckAndMutateRowRequest"); err != nil {
		return CheckAndMutateRow{}, err
	}
	if err := CheckRowKey(r.Row); err != nil {
		return CheckAndMutateRow{}, err
	}
	switch n := max(r.True.n, r.False.n); {
	case n == 0:
		return CheckAndMutateRow{}, base.Invalidf("No mutations provided")
	case n > MaxMutations:
		return CheckAndMutateRow{}, tooManyMutations(n)
	}
	return r, nil
}

func parseIdempotency(raw []byte) (Idempotency, error) {
	var d Idempotency
	s := scanner{rest: raw}
	for s.next() {
		switch s.key {
		case 1<<3 | wireBytes:
			d.Token = s.b
		case 2<<3 | wireBytes:
			var sec, nanos int64
			t := scanner{rest: s.b}
			for t.next() {
				switch t.key {
				case 1<<3 | wireVarint:
					sec = int64(t.v)
				case 2<<3 | wireVarint:
					nanos = int64(int32(t.v))
				}
			}
			const year9999 = 253402300799
			if t.bad || sec < 0 || sec > year9999 || nanos < 0 || nanos > 999_999_999 {
				return Idempotency{}, base.Invalidf("Error in field 'idempotency' : invalid start_time")
			}
			d.StartMicros = sec*1e6 + nanos/1e3
		}
	}
	if err := s.err("Idempotency"); err != nil {
		return Idempotency{}, err
	}
	if len(d.Token) < MinToken {
		return Idempotency{}, base.Invalidf("Error in field 'idempotency' : token must be at least %d bytes long, but has %d", MinToken, len(d.Token))
	}
	return d, nil
}
