package state

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
)

// commandVersion is the first byte of an encoded command.
const commandVersion = 1

const commandHeader = 1 + 4 + 1 // version, CRC32C of what follows it, kind

// Encode returns the log entry of c: version, checksum, kind, fields. c must be
// valid (see Validate).
func Encode(c Command) []byte {
	b := make([]byte, commandHeader, 256)
	b[0], b[5] = commandVersion, byte(c.kind())
	b = appendFields(b, c)
	binary.LittleEndian.PutUint32(b[1:], crc32.Checksum(b[5:], castagnoli))
	return b
}

func appendFields(b []byte, c Command) []byte {
	switch c := c.(type) {
	case *Txn:
		b = appendBool(b, c.Retry)
		return AppendTxn(b, &c.Txn)
	case *Register:
		b = appendBytes(b, c.Name)
		return binary.AppendUvarint(b, uint64(c.TTL))
	case *EndSession:
		b = appendSession(b, c.ID)
		return append(b, byte(c.Reason))
	case *EndLease:
		return appendSession(b, c.ID)
	case *Acquire:
		b = appendSession(b, c.Session)
		b = appendBytes(b, c.Name)
		b = appendBool(b, c.Shared)
		b = binary.AppendUvarint(b, uint64(c.Delay))
		return appendBytes(b, c.Data)
	case *Release:
		b = appendSession(b, c.Session)
		return appendBytes(b, c.Name)
	case *EndDelay:
		b = appendBytes(b, c.Name)
		return binary.AppendUvarint(b, c.Generation)
	case *SetGeneration:
		return binary.AppendUvarint(b, uint64(c.Generation))
	case *EndOldLeases:
		return binary.AppendUvarint(b, uint64(c.Generation))
	}
	return b
}

// Decode is the inverse of Encode. It copies what it keeps. An entry that does
// not parse gives an error wrapping base.ErrCorrupt.
func Decode(b []byte) (Command, error) {
	if len(b) < commandHeader {
		return nil, fmt.Errorf("command of %d bytes: %w", len(b), base.ErrCorrupt)
	}
	if b[0] != commandVersion {
		return nil, fmt.Errorf("command of version %d; this release knows %d: %w", b[0], commandVersion, base.ErrCorrupt)
	}
	if got, want := crc32.Checksum(b[5:], castagnoli), binary.LittleEndian.Uint32(b[1:]); got != want {
		return nil, fmt.Errorf("command checksum %08x, want %08x: %w", got, want, base.ErrCorrupt)
	}
	r := &reader{b: b[commandHeader:]}
	c := readFields(r, commandKind(b[5]))
	if r.err == nil && len(r.b) > 0 {
		r.fail("trailing bytes")
	}
	if r.err != nil {
		return nil, fmt.Errorf("command of kind %d: %w", b[5], r.err)
	}
	return c, nil
}

func readFields(r *reader, kind commandKind) Command {
	switch kind {
	case kindTxn:
		c := &Txn{Retry: r.bool()}
		c.Txn = readTxn(r)
		return c
	case kindRegister:
		return &Register{Name: r.string(), TTL: r.duration()}
	case kindEndSession:
		return &EndSession{ID: r.session(), Reason: EndReason(r.byte())}
	case kindEndLease:
		return &EndLease{ID: r.session()}
	case kindAcquire:
		return &Acquire{Session: r.session(), Name: r.string(), Shared: r.bool(), Delay: r.duration(), Data: r.bytes()}
	case kindRelease:
		return &Release{Session: r.session(), Name: r.string()}
	case kindEndDelay:
		return &EndDelay{Name: r.string(), Generation: r.uvarint()}
	case kindSetGeneration:
		return &SetGeneration{Generation: uint32(r.uvarintUpTo(1<<32 - 1))}
	case kindEndOldLeases:
		return &EndOldLeases{Generation: uint32(r.uvarintUpTo(1<<32 - 1))}
	}
	r.fail("unknown kind")
	return nil
}

// AppendTxn appends the encoding of t to dst.
func AppendTxn(dst []byte, t *lockservice.Txn) []byte {
	dst = append(dst, t.ID[:]...)
	dst = binary.AppendUvarint(dst, uint64(len(t.If)))
	for i := range t.If {
		dst = appendCompare(dst, &t.If[i])
	}
	for _, ops := range [2][]lockservice.Op{t.Then, t.Else} {
		dst = binary.AppendUvarint(dst, uint64(len(ops)))
		for i := range ops {
			dst = appendOp(dst, &ops[i])
		}
	}
	return dst
}

func appendCompare(dst []byte, c *lockservice.Compare) []byte {
	dst = append(dst, byte(c.Kind))
	switch c.Kind {
	case lockservice.CompareModRevision:
		dst = appendBytes(dst, c.Key)
		dst = binary.AppendUvarint(dst, uint64(c.Revision))
	case lockservice.CompareValue:
		dst = appendBytes(dst, c.Key)
		dst = appendBytes(dst, c.Value)
	case lockservice.CompareAbsent, lockservice.CompareExists:
		dst = appendBytes(dst, c.Key)
	case lockservice.CompareSessionAlive, lockservice.CompareSessionDead, lockservice.CompareSessionGone:
		dst = appendSession(dst, c.Session)
	case lockservice.CompareLockHeld:
		dst = appendBytes(dst, c.Sequencer.Name)
		dst = appendBool(dst, c.Sequencer.Exclusive)
		dst = binary.AppendUvarint(dst, c.Sequencer.Generation)
	}
	return dst
}

func appendOp(dst []byte, o *lockservice.Op) []byte {
	dst = append(dst, byte(o.Kind))
	dst = appendBytes(dst, o.Key)
	switch o.Kind {
	case lockservice.OpPut:
		dst = appendBytes(dst, o.Value)
		dst = appendSession(dst, o.Session)
	case lockservice.OpDeleteRange:
		dst = appendBytes(dst, o.End)
	case lockservice.OpRange:
		dst = appendBytes(dst, o.End)
		dst = binary.AppendUvarint(dst, uint64(o.Limit))
	}
	return dst
}

// DecodeTxn is the inverse of AppendTxn.
func DecodeTxn(b []byte) (lockservice.Txn, error) {
	r := &reader{b: b}
	t := readTxn(r)
	if r.err == nil && len(r.b) > 0 {
		r.fail("trailing bytes")
	}
	if r.err != nil {
		return lockservice.Txn{}, fmt.Errorf("transaction: %w", r.err)
	}
	return t, nil
}

func readTxn(r *reader) lockservice.Txn {
	t := lockservice.Txn{ID: r.txnID()}
	if n := r.count(); n > 0 {
		t.If = make([]lockservice.Compare, 0, min(n, lockservice.MaxTxnOps))
		for range n {
			if r.err != nil {
				return t
			}
			t.If = append(t.If, readCompare(r))
		}
	}
	t.Then = readOps(r)
	t.Else = readOps(r)
	return t
}

func readCompare(r *reader) lockservice.Compare {
	c := lockservice.Compare{Kind: lockservice.CompareKind(r.byte())}
	switch c.Kind {
	case lockservice.CompareModRevision:
		c.Key, c.Revision = r.string(), lockservice.Revision(r.uvarint())
	case lockservice.CompareValue:
		c.Key, c.Value = r.string(), r.bytes()
	case lockservice.CompareAbsent, lockservice.CompareExists:
		c.Key = r.string()
	case lockservice.CompareSessionAlive, lockservice.CompareSessionDead, lockservice.CompareSessionGone:
		c.Session = r.session()
	case lockservice.CompareLockHeld:
		c.Sequencer = lockservice.Sequencer{Name: r.string(), Exclusive: r.bool(), Generation: r.uvarint()}
	default:
		r.fail("unknown compare")
	}
	return c
}

func readOps(r *reader) []lockservice.Op {
	n := r.count()
	if n == 0 {
		return nil
	}
	ops := make([]lockservice.Op, 0, min(n, lockservice.MaxTxnOps))
	for range n {
		if r.err != nil {
			return ops
		}
		ops = append(ops, readOp(r))
	}
	return ops
}

func readOp(r *reader) lockservice.Op {
	o := lockservice.Op{Kind: lockservice.OpKind(r.byte()), Key: r.string()}
	switch o.Kind {
	case lockservice.OpPut:
		o.Value, o.Session = r.bytes(), r.session()
	case lockservice.OpDelete, lockservice.OpGet:
	case lockservice.OpDeleteRange:
		o.End = r.string()
	case lockservice.OpRange:
		o.End, o.Limit = r.string(), int(r.uvarintUpTo(1<<31-1))
	default:
		r.fail("unknown operation")
	}
	return o
}
