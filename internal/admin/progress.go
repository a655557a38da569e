package admin

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/tabletdb/tabletdb/internal/admin/output"
)

// bar shows how far a long command is, where a terminal can show it. The nil
// bar shows nothing. It is used by one goroutine at a time.
type bar struct {
	p     *progressbar.ProgressBar
	what  string
	began time.Time
	next  time.Time // when the rate is shown again
}

// rateEvery is how often the rate of rows is computed.
const rateEvery = 200 * time.Millisecond

// newBar returns a bar up to total, in bytes or objects; -1: not known.
func newBar(a App, total int64, what string) *bar {
	if !a.Progress {
		return nil
	}
	return &bar{what: what, began: time.Now(), p: progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(a.Stderr), progressbar.OptionSetDescription(what), progressbar.OptionThrottle(rateEvery/2),
		progressbar.OptionSetPredictTime(total > 0), progressbar.OptionSetRenderBlankState(true), progressbar.OptionSetElapsedTime(true), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth(),
	)}
}

// add moves the bar on by n; rows is how many rows there were so far.
func (b *bar) add(n int64, rows int64) {
	if b == nil {
		return
	}
	if now := time.Now(); now.After(b.next) {
		b.next = now.Add(rateEvery)
		rate := float64(rows) / max(now.Sub(b.began).Seconds(), 0.001)
		b.p.Describe(fmt.Sprintf("%s: %s rows, %s rows/s", b.what, output.Count(rows), output.Count(int64(rate))))
	}
	_ = b.p.Add64(n) // a bar that cannot be drawn is no error
}

// set moves the bar to done of total.
func (b *bar) set(done, total int64) {
	if b == nil {
		return
	}
	b.p.ChangeMax64(total)
	_ = b.p.Set64(done)
}

// step moves the bar on by n. Unlike the others it may be called concurrently.
func (b *bar) step(n int64) {
	if b != nil {
		_ = b.p.Add64(n) // a bar that cannot be drawn is no error
	}
}

// say changes what stands before the bar.
func (b *bar) say(format string, args ...any) {
	if b != nil {
		b.p.Describe(fmt.Sprintf(format, args...))
	}
}

// finish removes the bar.
func (b *bar) finish() {
	if b != nil {
		_ = b.p.Finish()
	}
}
