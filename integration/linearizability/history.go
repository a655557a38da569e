package linearizability

import (
	"math"
	"sync"
	"time"
)

// Kind is what an operation does.
type Kind uint8

const (
	// Read returns the whole row.
	Read Kind = iota + 1
	// Write sets the register to Value.
	Write
	// WriteNewest sets the newest cell to Value where Timestamp is not below
	// the one that is there.
	WriteNewest
	// Increment adds Delta to the counter and returns the sum.
	Increment
	// CheckAndWrite sets the register to Value if it is Expect.
	CheckAndWrite
)

func (k Kind) String() string {
	switch k {
	case Read:
		return "read"
	case Write:
		return "write"
	case WriteNewest:
		return "write newest"
	case Increment:
		return "increment"
	case CheckAndWrite:
		return "check and write"
	}
	return "?"
}

// Row is the content of a row; the zero Row is one that does not exist.
type Row struct {
	Register  string
	Newest    string
	Timestamp int64 // of Newest
	Counter   int64
}

// Call is what was asked.
type Call struct {
	Kind      Kind
	Row       string // key
	Value     string // Write, WriteNewest, CheckAndWrite; unique in the history
	Timestamp int64  // WriteNewest
	Delta     int64  // Increment
	Expect    string // CheckAndWrite
}

// Answer is what came back.
type Answer struct {
	// Unknown: nothing did. The operation may have been applied, or not, or may
	// yet be.
	Unknown bool
	Row     Row   // Read
	Sum     int64 // Increment
	Matched bool  // CheckAndWrite
}

// Operation is one operation of a history. Called and Returned are in
// nanoseconds since the history began.
type Operation struct {
	Client   int
	Call     Call
	Called   int64
	Answer   Answer
	Returned int64
}

// open is the time of return of an operation that did not.
const open = math.MaxInt64

// History collects operations. Its methods may be called concurrently.
type History struct {
	began time.Time
	mu    struct {
		sync.Mutex
		ops []Operation
	}
}

// NewHistory returns an empty history that begins now.
func NewHistory() *History { return &History{began: time.Now()} }

// Now returns the time since the beginning, for Operation.Called.
func (h *History) Now() int64 { return int64(time.Since(h.began)) }

// Add records an operation that was called at the time called and has returned
// just now. A read without an answer tells nothing and is left out.
func (h *History) Add(client int, called int64, c Call, a Answer) {
	h.AddAt(client, called, h.Now(), c, a)
}

// AddAt is Add for an operation that returned at the time returned, as each row
// of a scan does.
func (h *History) AddAt(client int, called, returned int64, c Call, a Answer) {
	if a.Unknown {
		if c.Kind == Read {
			return
		}
		returned = open
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.ops = append(h.mu.ops, Operation{Client: client, Call: c, Called: called, Answer: a, Returned: returned})
}

// Operations returns what was recorded so far. The slice is the caller's.
func (h *History) Operations() []Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Operation(nil), h.mu.ops...)
}
