// Package fsck checks a whole cluster: that the records in the lock service
// agree with each other, and that the bucket holds what they name. It reads
// only, and may run while the cluster works: what looks wrong is read again
// before it is reported, in case it was changed meanwhile.
//
//	records.go   tables, tablets, references, logs: from one view
//	bucket.go    manifests and SSTables
//	logs.go      the objects of commit logs
package fsck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/master/gc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/root"
)

// Config is what a check needs.
type Config struct {
	LockService lockservice.Client
	Store       objstore.Store
	// Deep reads every referenced SSTable and every log object that is needed,
	// and verifies all checksums.
	Deep bool
	// Workers is how many objects are read at once; 0 means 8.
	Workers int
	// Progress, if not nil, is told how many of how many objects were
	// checked. Calls do not overlap.
	Progress func(done, total int)
}

// Severity of a finding.
type Severity string

const (
	// Problem: an invariant does not hold. Data is lost or in danger, or a
	// bug was here.
	Problem Severity = "problem"
	// Notice: allowed for a while, such as a tablet without an owner during a
	// fail-over.
	Notice Severity = "notice"
)

// Finding is one thing that is not as it should be.
type Finding struct {
	Severity Severity `json:"severity"`
	// Class is what kind of thing it is.
	Class Class `json:"class"`
	// Subject is what it is about: "tablet 7", "log 1-5", an object's key.
	Subject string `json:"subject"`
	Text    string `json:"text"`

	about about
}

// about is what a finding is about, as it was seen; what does not apply is
// zero.
type about struct {
	key    string // of a record or an object
	kv     lockservice.KV
	tablet meta.Tablet
	table  meta.Table
	log    meta.Log
	ref    ref
}

// String returns "subject: text".
func (f Finding) String() string { return f.Subject + ": " + f.Text }

// Report is the outcome of a check.
type Report struct {
	// Revision of the lock service at which the records were read.
	Revision  lockservice.Revision `json:"revision"`
	Tables    int                  `json:"tables"`
	Tablets   int                  `json:"tablets"`
	Backups   int                  `json:"backups"`   // that name files
	Snapshots int                  `json:"snapshots"` // that name files
	Logs      int                  `json:"logs"`
	Manifests int                  `json:"manifests"`
	SSTables  int                  `json:"sstables"`
	// Bytes of the SSTables that are referenced, each counted once.
	Bytes int64 `json:"bytes"`
	// LogObjects that are needed by a tablet.
	LogObjects int `json:"log_objects"`
	// Unreferenced are SSTables and manifests that no root names, be it a
	// tablet, also of a deleted table that may come back, or a backup:
	// garbage, files that are still read, or files in the making.
	Unreferenced int `json:"unreferenced"`
	// Deep: all checksums were verified.
	Deep     bool      `json:"deep"`
	Findings []Finding `json:"findings"`

	view *checker // what was seen, for repairs
}

// Problems returns the number of findings that are problems.
func (r *Report) Problems() int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == Problem {
			n++
		}
	}
	return n
}

// Run checks the cluster. An error means that the check could not be made; what
// is wrong with the cluster stands in the report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if cfg.LockService == nil || cfg.Store == nil {
		return nil, fmt.Errorf("%w: a check needs the lock service and the store", base.ErrInvalid)
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 8
	}
	c := &checker{cfg: cfg, report: Report{Deep: cfg.Deep, Findings: []Finding{}}}
	if err := c.run(ctx); err != nil {
		return nil, err
	}
	slices.SortFunc(c.report.Findings, func(a, b Finding) int { // problems first
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Text, b.Text))
	})
	c.report.view = c
	return &c.report, nil
}

func (c *checker) run(ctx context.Context) error {
	if err := c.readRecords(ctx); err != nil {
		return err
	}
	c.checkTables()
	c.checkTablets()
	c.checkReferences()
	c.checkLogRecords()
	c.checkMarks()
	if _, err := root.Load(ctx, c.cfg.LockService, lockservice.ReadOptions{}); errors.Is(err, base.ErrCorrupt) {
		c.problem(RootDamaged, about{}, "root index", "%v", err)
	} else if err != nil {
		return err
	}
	if err := c.checkFiles(ctx); err != nil {
		return err
	}
	return c.checkLogs(ctx)
}

// checker is one check under way.
type checker struct {
	cfg Config

	// The view.
	tables   map[base.TableID]meta.Table
	names    map[string]base.TableID
	tablets  []meta.Tablet
	others   []gc.Named // what is named besides
	logs     map[base.Incarnation]meta.Log
	refs     map[ref]base.Position
	sessions map[base.Incarnation]bool // that are alive
	servers  map[string]bool           // names of those that have a session
	// seen holds the revisions of all keys that were read.
	seen  map[string]lockservice.Revision
	marks []lockservice.KV
	// Of the bucket: what is named, and how large SSTables are.
	named map[string]bool
	sizes map[string]int64

	mu     sync.Mutex // guards report and steps while workers run
	report Report
	steps  struct{ done, total int }
}

// ref names who needs a log.
type ref struct {
	log    base.Incarnation
	holder base.TabletID
}

func (c *checker) add(f ...Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Findings = append(c.report.Findings, f...)
}

func found(s Severity, class Class, a about, subject, format string, args ...any) Finding {
	return Finding{Severity: s, Class: class, Subject: subject, Text: fmt.Sprintf(format, args...), about: a}
}

func (c *checker) problem(class Class, a about, subject, format string, args ...any) {
	c.add(found(Problem, class, a, subject, format, args...))
}

func (c *checker) notice(class Class, a about, subject, format string, args ...any) {
	c.add(found(Notice, class, a, subject, format, args...))
}

// step tells the progress that one more object was checked.
func (c *checker) step() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps.done++
	if c.cfg.Progress != nil {
		c.cfg.Progress(c.steps.done, c.steps.total)
	}
}

// expect tells the progress that n more objects will be checked.
func (c *checker) expect(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps.total += n
}

// each runs f on all items, some at a time. It ends at the first error.
func each[T any](ctx context.Context, workers int, items []T, f func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, workers)
	for _, it := range items {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := f(ctx, it); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func tabletName(id base.TabletID) string { return fmt.Sprintf("tablet %d", id) }
func logName(e base.Incarnation) string  { return "log " + e.String() }
func missing(err error) bool             { return errors.Is(err, objstore.ErrNotFound) }
func isCorrupt(err error) bool           { return errors.Is(err, base.ErrCorrupt) }
