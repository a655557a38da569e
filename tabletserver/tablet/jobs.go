package tablet

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Job is one piece of work on one tablet, for people: a flush, a compaction or
// a load.
type Job struct {
	Kind     string
	Tablet   base.TabletID
	Table    base.TableID
	Started  time.Time
	Elapsed  time.Duration // so far, or until it ended
	BytesIn  int64         // read: memory, or files
	BytesOut int64         // written to files
	Detail   string
	Err      string // why it failed; "": it did not, or not yet

	soFar *atomic.Int64 // while it runs elsewhere, what it has written
}

// keptJobs is how many jobs of each kind that ended are remembered.
const keptJobs = 100

// Jobs remembers what runs on a server and what ran lately. The zero value is
// ready; its methods may be called concurrently.
type Jobs struct {
	mu struct {
		sync.Mutex
		running map[*Job]struct{}
		recent  map[string][]Job // by kind, oldest first
	}
}

// begin takes note of a job; whoever began it calls end.
func (t *Tablet) begin(kind, detail string, bytes int64) *Job {
	j := &Job{Kind: kind, Tablet: t.id, Table: t.table, Started: time.Now(), BytesIn: bytes, Detail: detail, soFar: new(atomic.Int64)}
	js := &t.env.Jobs
	js.mu.Lock()
	defer js.mu.Unlock()
	if js.mu.running == nil {
		js.mu.running, js.mu.recent = map[*Job]struct{}{}, map[string][]Job{}
	}
	js.mu.running[j] = struct{}{}
	return j
}

// end takes note that j ended, and with what.
func (js *Jobs) end(j *Job, written int64, err error) {
	js.mu.Lock()
	defer js.mu.Unlock()
	delete(js.mu.running, j)
	done := *j
	done.Elapsed, done.BytesOut = time.Since(j.Started), written
	if err != nil {
		done.Err = err.Error()
	}
	list := js.mu.recent[j.Kind]
	if len(list) >= keptJobs {
		list = append(list[:0], list[1:]...)
	}
	js.mu.recent[j.Kind] = append(list, done)
}

// List returns the jobs that run, in the order of their beginning, and those
// that ended lately, newest first.
func (js *Jobs) List() (running, recent []Job) {
	js.mu.Lock()
	defer js.mu.Unlock()
	for j := range js.mu.running {
		running = append(running, *j)
		x := &running[len(running)-1]
		x.Elapsed, x.BytesOut = time.Since(j.Started), j.soFar.Load()
	}
	slices.SortFunc(running, func(a, b Job) int { return a.Started.Compare(b.Started) })
	for _, list := range js.mu.recent {
		recent = append(recent, list...)
	}
	slices.SortFunc(recent, func(a, b Job) int { return b.Started.Add(b.Elapsed).Compare(a.Started.Add(a.Elapsed)) })
	return running, recent
}

// Requests returns how many reads and writes the tablet got since it was
// loaded.
func (t *Tablet) Requests() (reads, writes int64) {
	return t.Counters.Reads.Load(), t.Counters.Writes.Load()
}
