package tabletserver

import (
	"bytes"
	"context"
	"errors"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"

	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rowfilter"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// errSend marks an error of the one who takes the frames.
var errSend = errors.New("send response")

const (
	// smallFrame is the size of messages where memory is short.
	smallFrame = 64 << 10
	// framesHeld is how many messages of a scan there are at a time: one that the
	// transport has, one on its way there, and one being made.
	framesHeld = 3
	// pauseAfter is how long the client of a scan may take no message before the
	// scan lets go of its view.
	pauseAfter = time.Second
)

// sink encodes what a scan finds and sends it frame by frame: the first from the
// scan's goroutine, for many reads have no other; the others from one of its own,
// so that a client that takes its time holds up nothing but its own messages. Its
// methods are called by one goroutine.
type sink struct {
	ctx    context.Context
	enc    *chunk.Encoder
	send   func(mem.Buffer, route.FrameInfo) error
	info   route.FrameInfo
	last   []byte
	note   func(row []byte) // is told of each row
	bytes  int64            // sent
	memory *membudget.Account
	held   int64   // of memory
	sender *sender // nil until the second frame
	begun  bool    // a frame was sent
	parked *frame  // what could not be handed to the sender before the scan paused
	full   func() error
}

// frame is a message on its way.
type frame struct {
	b    mem.Buffer
	info route.FrameInfo
}

// sender passes frames to send, until in is closed or send fails.
type sender struct {
	in   chan frame
	done chan struct{} // closed when it has ended, after err was set
	err  error
}

var _ tablet.Pauser = (*sink)(nil)

func newSink(ctx context.Context, memory *membudget.Account, send func(mem.Buffer, route.FrameInfo) error, note func(row []byte)) *sink {
	k := &sink{ctx: ctx, enc: chunk.NewEncoder(chunk.Options{Pool: framePool, Initial: 2 << 10}), send: send, note: note, memory: memory}
	if limit := memory.Limit(); limit > 0 && memory.Used() > limit/4*3 {
		k.enc.SetTarget(smallFrame)
	}
	k.full = k.takeFull
	return k
}

// framePool lends the buffers of all frames of the process.
var framePool = chunk.NewBufferPool()

// Cell implements tablet.Sink.
func (k *sink) Cell(row []byte, c *rowfilter.Cell) error {
	if err := k.enc.AddLarge(row, c.Family, c.Qualifier, c.Timestamp, c.Value, c.Labels, k.full); err != nil {
		return err
	}
	return k.takeFull()
}

// takeFull sends the frames that are complete.
func (k *sink) takeFull() error {
	for k.enc.Full() {
		if err := k.take(); err != nil {
			return err
		}
	}
	return nil
}

// EndRow implements tablet.Sink.
func (k *sink) EndRow(row []byte) error {
	k.enc.EndRow()
	k.info.Rows++
	k.note(row)
	k.last = append(k.last[:0], row...)
	k.info.LastRow, k.info.HasLast = k.last, true
	if err := k.takeFull(); err != nil {
		return err
	}
	return k.pause()
}

// pause tells the scan to pause where the reader did not take the last frame.
func (k *sink) pause() error {
	if k.parked != nil {
		return tablet.ErrPause
	}
	return nil
}

// Passed implements tablet.Sink. What was found so far goes out before the
// client hears that the scan is further.
func (k *sink) Passed(row []byte) error {
	if err := k.flush(); err != nil {
		return err
	}
	k.enc.LastScanned(row)
	k.last = append(k.last[:0], row...)
	k.info.LastRow, k.info.HasLast = k.last, true
	if err := k.flush(); err != nil {
		return err
	}
	return k.pause()
}

// take sends the next frame.
func (k *sink) take() error {
	b := k.enc.Take()
	if b == nil {
		return nil
	}
	f := frame{b: mem.NewBuffer(b, framePool), info: k.info}
	f.info.MidRow = k.enc.MidRow()
	k.info = route.FrameInfo{}
	k.bytes += int64(len(*b))
	if !k.begun {
		k.begun = true
		return k.sent(k.send(f.b, f.info))
	}
	if k.sender == nil {
		k.start()
	}
	f.info.LastRow = bytes.Clone(f.info.LastRow)
	return k.hand(f, !f.info.MidRow)
}

func (k *sink) sent(err error) error {
	if err != nil {
		return errors.Join(errSend, err)
	}
	return nil
}

// start starts the sender, for there is more than one frame.
func (k *sink) start() {
	// One scan does not take it all, also where it is the only one.
	if k.held = framesHeld * chunk.DefaultTarget; k.held > k.memory.Limit()/2 || !k.memory.TryTake(k.held) {
		k.enc.SetTarget(smallFrame)
		k.held = framesHeld * smallFrame
		k.memory.Add(k.held)
	}
	s := &sender{in: make(chan frame), done: make(chan struct{})}
	send := k.send
	go func() {
		defer close(s.done)
		for f := range s.in {
			if s.err = send(f.b, f.info); s.err != nil {
				return
			}
		}
	}()
	k.sender = s
}

// hand gives a frame to the sender. Where that takes long and may be parked it is
// kept for Resume: the row in progress can be finished meanwhile.
func (k *sink) hand(f frame, park bool) error {
	if err := k.Resume(); err != nil {
		f.b.Free()
		return err
	}
	s := k.sender
	select {
	case s.in <- f:
		return nil
	default:
	}
	var late <-chan time.Time
	if park {
		t := time.NewTimer(pauseAfter)
		defer t.Stop()
		late = t.C
	}
	select {
	case s.in <- f:
		return nil
	case <-late:
		k.parked = &f
		return nil
	case <-s.done:
		f.b.Free()
		return k.sent(s.err)
	case <-k.ctx.Done():
		f.b.Free()
		return k.sent(context.Cause(k.ctx))
	}
}

// Resume implements tablet.Pauser.
func (k *sink) Resume() error {
	f := k.parked
	if f == nil {
		return nil
	}
	k.parked = nil
	return k.hand(*f, false)
}

// flush sends all complete frames and the rest.
func (k *sink) flush() error {
	for k.enc.Len() > 0 {
		before := k.enc.Len()
		if err := k.take(); err != nil {
			return err
		}
		if k.enc.Len() == before {
			return nil
		}
	}
	return nil
}

// finish sends what is left, and returns when all is sent.
func (k *sink) finish(stats *bigtablepb.RequestStats) error {
	if err := k.enc.Finish(stats); err != nil {
		return err
	}
	if err := k.flush(); err != nil {
		return err
	}
	if err := k.Resume(); err != nil {
		return err
	}
	return k.sent(k.join())
}

// join waits until the sender has sent what it was given.
func (k *sink) join() error {
	s := k.sender
	if s == nil {
		return nil
	}
	k.sender = nil
	close(s.in)
	<-s.done
	return s.err
}

// close lets go of everything. Nobody calls send any more.
func (k *sink) close() {
	_ = k.join() // finish and take have told
	if k.parked != nil {
		k.parked.b.Free()
		k.parked = nil
	}
	k.memory.Give(k.held)
	k.held = 0
	k.enc.Close()
}

func statsOf(st tablet.Stats) *bigtablepb.RequestStats {
	return &bigtablepb.RequestStats{StatsView: &bigtablepb.RequestStats_FullReadStatsView{FullReadStatsView: &bigtablepb.FullReadStatsView{
		ReadIterationStats: &bigtablepb.ReadIterationStats{
			RowsSeenCount: st.RowsSeen, RowsReturnedCount: st.RowsReturned,
			CellsSeenCount: st.CellsSeen, CellsReturnedCount: st.CellsReturned,
		},
	}}}
}
