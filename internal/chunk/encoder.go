package chunk

import (
	"bytes"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	// DefaultTarget is the size in bytes that messages aim at.
	DefaultTarget = 1 << 20
	// DefaultSplit is the longest value, in bytes, that goes into one chunk.
	DefaultSplit = 1 << 20
	// MaxMessage is more than any message has, in bytes: the official client
	// of Go takes no more than 4 MiB when it talks to an emulator.
	MaxMessage = 3<<20 + 512<<10
)

// Tags of the fields that are written.
const (
	tagChunk       = 1<<3 | byte(protowire.BytesType)
	tagLastScanned = 2<<3 | byte(protowire.BytesType)
	tagStats       = 3<<3 | byte(protowire.BytesType)

	tagRowKey    = 1<<3 | byte(protowire.BytesType)
	tagFamily    = 2<<3 | byte(protowire.BytesType)
	tagQualifier = 3<<3 | byte(protowire.BytesType)
	tagTimestamp = 4<<3 | byte(protowire.VarintType)
	tagLabels    = 5<<3 | byte(protowire.BytesType)
	tagValue     = 6<<3 | byte(protowire.BytesType)
	tagValueSize = 7<<3 | byte(protowire.VarintType)
	tagResetRow  = 8<<3 | byte(protowire.VarintType)
	tagCommitRow = 9<<3 | byte(protowire.VarintType)

	tagWrapped = 1<<3 | byte(protowire.BytesType) // StringValue.value, BytesValue.value

	commitLen = 2 // tagCommitRow, 1
)

// Pool lends buffers. It is the interface of google.golang.org/grpc/mem, so
// that a message can be sent from its buffer without a copy.
type Pool interface {
	// Get returns a buffer of the given length, with any contents.
	Get(length int) *[]byte
	// Put takes back a buffer from Get.
	Put(*[]byte)
}

// Options configure an Encoder; the zero value is valid.
type Options struct {
	Pool   Pool // nil: buffers are allocated
	Target int  // 0: DefaultTarget
	Split  int  // 0: DefaultSplit; at most DefaultSplit
	// Initial is the size of the first buffer, which grows as needed: many
	// reads return one small row. 0: 16 KiB.
	Initial int
}

func (o *Options) ensureDefaults() {
	if o.Target <= 0 || o.Target > DefaultTarget {
		o.Target = DefaultTarget
	}
	if o.Split <= 0 || o.Split > DefaultSplit {
		o.Split = DefaultSplit
	}
	if o.Initial <= 0 {
		o.Initial = 16 << 10
	}
	o.Initial = min(o.Initial, o.Target)
}

// Encoder builds the messages of one ReadRows response. The caller adds rows,
// and sends what Take returns whenever Full reports true:
//
//	for each row:
//		for each cell:
//			e.AddCell(...)
//			for e.Full() { send(e.Take()) }
//		e.EndRow()
//	e.Finish(stats)
//	for m := e.Take(); m != nil; m = e.Take() { send(m) }
//
// Buffers from Take belong to the caller, who gives them back to the pool.
type Encoder struct {
	opts  Options
	buf   []byte    // the message in progress
	boxed *[]byte   // the pool's, which buf began in
	ready []message // complete
	mid   bool      // the message that Take returned last ended within a row
	first bool      // no message is complete yet

	last     int // where the last chunk of the row in progress begins in buf; -1: no such chunk
	lastBody int // where its body begins
	start    int // where the row in progress begins in buf; 0 also if it began in an earlier message
	inRow    bool

	row       []byte // of the row in progress
	family    string // of the last cell
	qualifier []byte
	rows      int64
	cells     int64
}

// NewEncoder returns an Encoder for one response.
func NewEncoder(opts Options) *Encoder {
	opts.ensureDefaults()
	return &Encoder{opts: opts, last: -1, first: true}
}

// message is a complete one.
type message struct {
	box *[]byte
	mid bool // it ends within a row
}

// Rows and Cells return how many were added; a row counts from EndRow.
func (e *Encoder) Rows() int64  { return e.rows }
func (e *Encoder) Cells() int64 { return e.cells }

// InRow reports whether a row has begun and not ended.
func (e *Encoder) InRow() bool { return e.inRow }

// MidRow reports whether the message that Take returned last ended within a
// row.
func (e *Encoder) MidRow() bool { return e.mid }

// AddCell adds a cell. row is not empty, and the same until EndRow; families
// and qualifiers come in their order. The cell is copied.
func (e *Encoder) AddCell(row []byte, family string, qualifier []byte, timestamp int64, value []byte, labels []string) {
	_ = e.AddLarge(row, family, qualifier, timestamp, value, labels, nil) // only full fails
}

// AddLarge is AddCell for a value of many messages. It calls full, if that is not
// nil, whenever Full reports true, so that no more than a few messages of the value
// are there at a time; an error of it ends the call and leaves the row in pieces.
func (e *Encoder) AddLarge(row []byte, family string, qualifier []byte, timestamp int64, value []byte, labels []string, full func() error) error {
	c := header{timestamp: timestamp, labels: labels}
	if !e.inRow {
		e.inRow = true
		e.row = append(e.row[:0], row...)
		c.row, c.hasFamily, c.hasQualifier = row, true, true
	} else if e.family != family {
		c.hasFamily, c.hasQualifier = true, true
	} else if !bytes.Equal(e.qualifier, qualifier) {
		c.hasQualifier = true
	}
	if c.hasFamily {
		e.family, c.family = family, family
	}
	if c.hasQualifier {
		e.qualifier = append(e.qualifier[:0], qualifier...)
		c.qualifier = qualifier
	}
	e.cells++
	total := len(value)
	for len(value) > e.opts.Split {
		e.addChunk(&c, value[:e.opts.Split], total)
		value = value[e.opts.Split:]
		c = header{}
		if full != nil && e.Full() {
			if err := full(); err != nil {
				return err
			}
		}
	}
	e.addChunk(&c, value, 0)
	return nil
}

// SetTarget makes the messages that follow aim at another size, at most
// DefaultTarget.
func (e *Encoder) SetTarget(n int) {
	e.opts.Target, e.opts.Split = n, 0
	e.opts.ensureDefaults()
	e.opts.Split = min(e.opts.Split, e.opts.Target)
}

// EndRow commits the row. Without a cell it does nothing: such a row is not
// returned.
func (e *Encoder) EndRow() {
	if !e.inRow {
		return
	}
	// The length before the body was given room for this.
	e.buf = append(e.buf, tagCommitRow, 1)
	putVarint(e.buf[e.last+1:e.lastBody], uint64(len(e.buf)-e.lastBody))
	e.inRow, e.last = false, -1
	e.rows++
}

// AbortRow drops the row in progress, where part of it may have been sent.
func (e *Encoder) AbortRow() {
	if !e.inRow {
		return
	}
	e.reserve(4)
	e.buf = append(e.buf, tagChunk, 2, tagResetRow, 1)
	e.inRow, e.last = false, -1
}

// LastScanned tells the client that all rows up to key were scanned, so that
// it does not start over from the last row returned. It must not be called
// within a row. It makes a message of its own: clients differ in whether it
// counts before or after the chunks of the same message.
func (e *Encoder) LastScanned(key []byte) {
	e.finishMessage()
	e.get(1 + protowire.SizeBytes(len(key)))
	e.buf = protowire.AppendBytes(append(e.buf, tagLastScanned), key)
	e.finishMessage()
}

// Finish ends the response, with stats in its last message unless nil. It must
// not be called within a row. Afterwards Take returns the messages left.
func (e *Encoder) Finish(stats *bigtablepb.RequestStats) error {
	if stats != nil {
		raw, err := proto.Marshal(stats)
		if err != nil {
			return err
		}
		e.reserve(1 + protowire.SizeBytes(len(raw)))
		e.buf = protowire.AppendBytes(append(e.buf, tagStats), raw)
	}
	e.finishMessage()
	return nil
}

// Full reports whether a message is complete: the caller should Take it.
func (e *Encoder) Full() bool {
	return len(e.ready) > 0 || len(e.buf) >= e.opts.Target && e.last != 0
}

// Len returns the number of bytes that Take would give out in all.
func (e *Encoder) Len() int {
	n := len(e.buf)
	if e.last >= 0 {
		n = e.cut()
	}
	for _, m := range e.ready {
		n += len(*m.box)
	}
	return n
}

// Take returns the next message, complete or not; nil: there is nothing to
// send. A row in progress is kept back if rows precede it in the message, and of
// another its last chunk, as that may have to commit the row. So a message ends
// within a row only if it has nothing but part of that row.
func (e *Encoder) Take() *[]byte {
	if len(e.ready) == 0 {
		e.roll()
	}
	if len(e.ready) == 0 {
		return nil
	}
	m := e.ready[0]
	e.ready = append(e.ready[:0], e.ready[1:]...)
	e.mid = m.mid
	return m.box
}

// Close gives back the buffers of messages that were not taken.
func (e *Encoder) Close() {
	e.last = -1
	e.finishMessage()
	for _, m := range e.ready {
		if e.opts.Pool != nil {
			e.opts.Pool.Put(m.box)
		}
	}
	e.ready = nil
}

// header is what a chunk has besides its value.
type header struct {
	row                     []byte
	family                  string
	qualifier               []byte
	hasFamily, hasQualifier bool
	timestamp               int64
	labels                  []string
}

func (c *header) size() int {
	n := 0
	if len(c.row) > 0 {
		n += 1 + protowire.SizeBytes(len(c.row))
	}
	if c.hasFamily {
		n += 1 + protowire.SizeBytes(wrappedSize(len(c.family)))
	}
	if c.hasQualifier {
		n += 1 + protowire.SizeBytes(wrappedSize(len(c.qualifier)))
	}
	if c.timestamp != 0 {
		n += 1 + protowire.SizeVarint(uint64(c.timestamp))
	}
	for _, l := range c.labels {
		n += 1 + protowire.SizeBytes(len(l))
	}
	return n
}

// wrappedSize is the size of a StringValue or BytesValue; one of the empty
// string is empty.
func wrappedSize(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + protowire.SizeBytes(n)
}

func (c *header) append(b []byte) []byte {
	if len(c.row) > 0 {
		b = protowire.AppendBytes(append(b, tagRowKey), c.row)
	}
	if c.hasFamily {
		b = protowire.AppendVarint(append(b, tagFamily), uint64(wrappedSize(len(c.family))))
		if c.family != "" {
			b = protowire.AppendString(append(b, tagWrapped), c.family)
		}
	}
	if c.hasQualifier {
		b = protowire.AppendVarint(append(b, tagQualifier), uint64(wrappedSize(len(c.qualifier))))
		if len(c.qualifier) > 0 {
			b = protowire.AppendBytes(append(b, tagWrapped), c.qualifier)
		}
	}
	if c.timestamp != 0 {
		b = protowire.AppendVarint(append(b, tagTimestamp), uint64(c.timestamp))
	}
	for _, l := range c.labels {
		b = protowire.AppendString(append(b, tagLabels), l)
	}
	return b
}

// addChunk appends a chunk. total is the length of a split value, except in its
// last part; else 0.
func (e *Encoder) addChunk(c *header, value []byte, total int) {
	n := c.size()
	if len(value) > 0 {
		n += 1 + protowire.SizeBytes(len(value))
	}
	if total > 0 {
		n += 1 + protowire.SizeVarint(uint64(total))
	}
	// The length is written as wide as it needs to be with commit_row, which
	// EndRow may append.
	width := protowire.SizeVarint(uint64(n + commitLen))
	e.reserve(1 + width + n + commitLen)
	b := e.buf
	e.last = len(b)
	if len(c.row) > 0 {
		e.start = e.last
	}
	b = append(b, tagChunk)
	b = b[:len(b)+width]
	e.lastBody = len(b)
	putVarint(b[e.last+1:], uint64(n))
	b = c.append(b)
	if len(value) > 0 {
		b = protowire.AppendBytes(append(b, tagValue), value)
	}
	if total > 0 {
		b = protowire.AppendVarint(append(b, tagValueSize), uint64(total))
	}
	e.buf = b
}

// putVarint fills b with v, in as many bytes as b has. Readers of protobuf take
// varints that are wider than need be.
func putVarint(b []byte, v uint64) {
	for i := range b {
		b[i] = byte(v) | 0x80
		v >>= 7
	}
	b[len(b)-1] &^= 0x80
}
