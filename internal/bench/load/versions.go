package load

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Versions gives the writes of each row ascending versions and remembers which
// of them were acknowledged. A version is the time in milliseconds, or one more
// than the one before. It takes 16 bytes for each row up to the last one, of
// MaxVerified. Its methods may be called concurrently.
type Versions struct {
	chunks [MaxVerified / chunkRows]atomic.Pointer[[chunkRows]rowVersions] // made when needed
}

const chunkRows = 1 << 16

type rowVersions struct{ issued, acked atomic.Int64 }

func (v *Versions) row(n int64) *rowVersions {
	p := &v.chunks[n/chunkRows]
	c := p.Load()
	if c == nil {
		p.CompareAndSwap(nil, new([chunkRows]rowVersions))
		c = p.Load()
	}
	return &c[n%chunkRows]
}

// Next returns the version of the next write of a row.
func (v *Versions) Next(row int64) int64 {
	now := time.Now().UnixMilli()
	r := v.row(row)
	for {
		last := r.issued.Load()
		next := max(now, last+1)
		if r.issued.CompareAndSwap(last, next) {
			return next
		}
	}
}

// Ack notes that a write was acknowledged.
func (v *Versions) Ack(row, version int64) {
	r := v.row(row)
	for {
		last := r.acked.Load()
		if version <= last || r.acked.CompareAndSwap(last, version) {
			return
		}
	}
}

// Floor returns the newest version that was acknowledged: no read that begins
// now may return an older one. 0: none was.
func (v *Versions) Floor(row int64) int64 { return v.row(row).acked.Load() }

// Check says whether a read that began at that floor may return that version.
// Errors wrap ErrWrong.
func (v *Versions) Check(row, floor, got int64) error {
	if got < floor {
		return fmt.Errorf("%w: row %d has version %d, but %d was acknowledged before the read began", ErrWrong, row, got, floor)
	}
	return nil
}
