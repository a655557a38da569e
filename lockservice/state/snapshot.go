package state

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
)

// snapshotMagic begins every snapshot; its last byte is the version.
const snapshotMagic = "TDBLOCK\x01"

// Kinds of snapshot records, in the order in which they stand.
const (
	recordHeader = iota + 1
	recordSession
	recordLock
	recordKey
	recordDecision
	recordEnd // the number of records before it
)

// frameSize is about how many bytes of records one frame holds.
const frameSize = 64 << 10

// maxFrame bounds a frame: one record larger than frameSize stands alone.
const maxFrame = lockservice.MaxTxnBytes + 1<<20

// Snapshot is a consistent picture of a whole Machine, fit to be written while
// the machine goes on.
type Snapshot struct {
	view    *View
	decided []decision
}

// Snapshot returns the picture of m as it is.
func (m *Machine) Snapshot() *Snapshot {
	return &Snapshot{view: m.View(), decided: m.decided.inOrder()}
}

// Snapshot returns the picture of the machine as it is.
func (s *Store) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.m.Snapshot()
}

// Revision of the state in the snapshot.
func (s *Snapshot) Revision() lockservice.Revision { return s.view.Revision() }

// WriteTo writes the snapshot, in the format of docs/format/lockservice.md.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	fw := &frameWriter{w: bufio.NewWriterSize(w, 256<<10)}
	fw.write([]byte(snapshotMagic))
	t := &s.view.t
	fw.record(recordHeader, appendHeader(nil, t))
	t.sessions.Ascend(func(x *session) bool { return fw.record(recordSession, appendSessionRow(nil, x)) })
	t.locks.Ascend(func(x *lock) bool { return fw.record(recordLock, appendLockRow(nil, x)) })
	t.keys.Ascend(func(x *item) bool { return fw.record(recordKey, appendKeyRow(nil, x)) })
	for i := range s.decided {
		row := append([]byte(nil), s.decided[i].id[:]...)
		fw.record(recordDecision, appendBool(row, s.decided[i].succeeded))
	}
	fw.record(recordEnd, binary.AppendUvarint(nil, fw.records))
	fw.flush()
	if fw.err == nil {
		fw.err = fw.w.Flush()
	}
	if fw.err != nil {
		return fw.n, fmt.Errorf("writing a snapshot: %w", fw.err)
	}
	return fw.n, nil
}

// frameWriter gathers records into checksummed frames.
type frameWriter struct {
	w       *bufio.Writer
	frame   []byte
	records uint64
	n       int64
	err     error
}

func (fw *frameWriter) write(b []byte) {
	if fw.err == nil {
		var n int
		n, fw.err = fw.w.Write(b)
		fw.n += int64(n)
	}
}

// record appends one record; it returns false after an error.
func (fw *frameWriter) record(kind byte, row []byte) bool {
	if len(fw.frame) > 0 && len(fw.frame)+len(row) > frameSize {
		fw.flush()
	}
	fw.frame = append(fw.frame, kind)
	fw.frame = appendBytes(fw.frame, row)
	fw.records++
	return fw.err == nil
}

// flush writes the frame: length, CRC32C, records.
func (fw *frameWriter) flush() {
	var head [8]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(fw.frame)))
	binary.LittleEndian.PutUint32(head[4:], crc32.Checksum(fw.frame, castagnoli))
	fw.write(head[:])
	fw.write(fw.frame)
	fw.frame = fw.frame[:0]
}

func appendHeader(b []byte, t *tables) []byte {
	b = binary.AppendUvarint(b, uint64(t.revision))
	b = binary.AppendUvarint(b, uint64(t.generation))
	b = binary.AppendUvarint(b, t.issued)
	b = binary.AppendUvarint(b, t.lockGeneration)
	return appendBool(b, t.oldLeasesOver)
}

func appendSessionRow(b []byte, s *session) []byte {
	b = appendSession(b, s.id)
	b = appendBytes(b, s.name)
	b = binary.AppendUvarint(b, uint64(s.ttl))
	b = binary.AppendUvarint(b, uint64(s.registered))
	return appendBool(b, s.revoked)
}

func appendLockRow(b []byte, l *lock) []byte {
	b = appendBytes(b, l.name)
	b = appendBool(b, l.exclusive)
	b = binary.AppendUvarint(b, l.generation)
	b = binary.AppendUvarint(b, uint64(l.delay))
	b = binary.AppendUvarint(b, uint64(l.delaying))
	b = appendBytes(b, l.data)
	for _, ids := range [2][]lockservice.SessionID{l.holders, l.blockers} {
		b = binary.AppendUvarint(b, uint64(len(ids)))
		for _, id := range ids {
			b = appendSession(b, id)
		}
	}
	return b
}

func appendKeyRow(b []byte, it *item) []byte {
	b = appendBytes(b, it.kv.Key)
	b = appendBytes(b, it.kv.Value)
	b = binary.AppendUvarint(b, uint64(it.kv.CreateRevision))
	b = binary.AppendUvarint(b, uint64(it.kv.ModRevision))
	b = appendSession(b, it.kv.Session)
	b = append(b, it.kv.ModTxn[:]...)
	return appendBool(b, it.orElse)
}

// ReadSnapshot builds the machine that a snapshot holds. A damaged, truncated
// or foreign snapshot gives an error wrapping base.ErrCorrupt.
func ReadSnapshot(r io.Reader, o Options) (*Machine, error) {
	br := bufio.NewReaderSize(r, 256<<10)
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(br, magic); err != nil {
		return nil, snapshotError("reading its start", err)
	}
	if string(magic) != snapshotMagic {
		return nil, fmt.Errorf("lock service snapshot begins with %q, want %q: %w", magic, snapshotMagic, base.ErrCorrupt)
	}
	l := &loader{m: New(o)}
	for !l.done {
		frame, err := readFrame(br)
		if err != nil {
			return nil, snapshotError(fmt.Sprintf("after %d records", l.records), err)
		}
		if err := l.load(frame); err != nil {
			return nil, snapshotError(fmt.Sprintf("record %d", l.records), err)
		}
	}
	if _, err := br.ReadByte(); err != io.EOF {
		if err == nil {
			err = base.ErrCorrupt
		}
		return nil, snapshotError("after its end", err)
	}
	l.m.history.forget(l.m.revision)
	l.m.touched = 1
	return l.m, nil
}

// snapshotError marks truncation as corruption and keeps real I/O errors.
func snapshotError(where string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("truncated: %w", base.ErrCorrupt)
	}
	return fmt.Errorf("lock service snapshot, %s: %w", where, err)
}

func readFrame(r io.Reader) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n == 0 || n > maxFrame {
		return nil, fmt.Errorf("frame of %d bytes: %w", n, base.ErrCorrupt)
	}
	frame := make([]byte, n)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, err
	}
	if got, want := crc32.Checksum(frame, castagnoli), binary.LittleEndian.Uint32(head[4:]); got != want {
		return nil, fmt.Errorf("frame checksum %08x, want %08x: %w", got, want, base.ErrCorrupt)
	}
	return frame, nil
}

// loader fills a machine from records.
type loader struct {
	m       *Machine
	records uint64
	last    byte // kind of the last record; kinds never go back
	done    bool
}

func (l *loader) load(frame []byte) error {
	r := &reader{b: frame}
	for len(r.b) > 0 && r.err == nil {
		kind := r.byte()
		n := r.count()
		if r.err != nil {
			break
		}
		row := &reader{b: r.b[:n]}
		r.b = r.b[n:]
		if l.done || kind < l.last || (l.records == 0) != (kind == recordHeader) {
			return fmt.Errorf("record of kind %d out of order: %w", kind, base.ErrCorrupt)
		}
		l.row(kind, row)
		if row.err == nil && len(row.b) > 0 {
			row.fail("trailing bytes")
		}
		if row.err != nil {
			return fmt.Errorf("kind %d: %w", kind, row.err)
		}
		l.last = kind
		l.records++
	}
	return r.err
}

func (l *loader) row(kind byte, r *reader) {
	m := l.m
	switch kind {
	case recordHeader:
		m.revision = lockservice.Revision(r.uvarint())
		m.generation = uint32(r.uvarintUpTo(1<<32 - 1))
		m.issued = r.uvarint()
		m.lockGeneration = r.uvarint()
		m.oldLeasesOver = r.bool()
	case recordSession:
		s := &session{id: r.session(), name: r.string(), ttl: r.duration()}
		s.registered, s.revoked = lockservice.Revision(r.uvarint()), r.bool()
		m.sessions.ReplaceOrInsert(s)
	case recordLock:
		k := &lock{name: r.string(), exclusive: r.bool(), generation: r.uvarint(), delay: r.duration(), delaying: r.duration(), data: r.bytes()}
		k.holders, k.blockers = readSessions(r), readSessions(r)
		m.locks.ReplaceOrInsert(k)
	case recordKey:
		it := &item{kv: lockservice.KV{Key: r.string(), Value: r.bytes()}}
		it.kv.CreateRevision = lockservice.Revision(r.uvarint())
		it.kv.ModRevision = lockservice.Revision(r.uvarint())
		it.kv.Session, it.kv.ModTxn, it.orElse = r.session(), r.txnID(), r.bool()
		if r.err == nil {
			m.keys.ReplaceOrInsert(it)
			m.tie(it)
		}
	case recordDecision:
		m.decided.add(decision{r.txnID(), r.bool()})
	case recordEnd:
		if n := r.uvarint(); n != l.records {
			r.fail(fmt.Sprintf("end after %d records, it counts %d", l.records, n))
		}
		l.done = true
	default:
		r.fail("unknown kind")
	}
}

func readSessions(r *reader) []lockservice.SessionID {
	n := r.count()
	var out []lockservice.SessionID
	for range n {
		if r.err != nil {
			return nil
		}
		out = append(out, r.session())
	}
	return out
}

// Replace puts m, which a snapshot was read into, in the place of the store's
// machine. Watches find their history gone.
func (s *Store) Replace(m *Machine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.touched += s.mu.m.touched
	s.mu.m = m
	s.signalLocked()
}
