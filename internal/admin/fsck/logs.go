package fsck

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/wal"
)

// inFlight is more than how many objects of an open log may be under way, in
// any order, past the last that is acknowledged.
const inFlight = 64

// checkLogs checks the objects of every log that has a record.
func (c *checker) checkLogs(ctx context.Context) error {
	c.expect(len(c.logs))
	logs := slices.SortedFunc(maps.Values(c.logs), func(a, b meta.Log) int { return a.Incarnation.Compare(b.Incarnation) })
	return each(ctx, c.cfg.Workers, logs, func(ctx context.Context, l meta.Log) error {
		defer c.step()
		return c.checkLog(ctx, l)
	})
}

// needed returns from which position on tablets need the log, by entries that
// hold records above what is flushed.
func (c *checker) needed(l meta.Log) (base.Position, bool) {
	from, ok := base.Position(0), false
	for r, p := range c.refs {
		if r.log == l.Incarnation && (!ok || p < from) {
			from, ok = p, true
		}
	}
	return max(from, l.Low), ok
}

// checkLog finds holes in a log: positions that tablets need and that are
// missing though they lie before the seal, or though later ones are there.
func (c *checker) checkLog(ctx context.Context, l meta.Log) error {
	from, needed := c.needed(l)
	start := l.Low
	if l.State == meta.LogSealed {
		if err := c.checkSeal(ctx, l); err != nil || !needed || from >= l.End {
			return err
		}
		start = from
	}
	end, beyond, err := c.extent(ctx, l.Incarnation, start)
	switch {
	case err != nil:
		return err
	case l.State == meta.LogSealed && end < l.End:
		return c.complainLog(ctx, l, fmt.Sprintf("position %d is missing; the log is sealed at %d", end, l.End))
	case l.State == meta.LogSealed:
		end = l.End
	case beyond > inFlight:
		return c.complainLog(ctx, l, fmt.Sprintf("position %d is missing, but %d later ones are there", end, beyond))
	}
	if !needed || from >= end {
		return nil
	}
	c.mu.Lock()
	c.report.LogObjects += int(end - from)
	c.mu.Unlock()
	if !c.cfg.Deep {
		return nil
	}
	for _, err := range wal.Check(ctx, c.cfg.Store, l.Incarnation, from, end) {
		if err := c.deepLog(ctx, l, err); err != nil {
			return err
		}
	}
	return nil
}

// extent returns where the run of objects without holes that begins at start
// ends, and how many objects lie beyond it.
func (c *checker) extent(ctx context.Context, e base.Incarnation, start base.Position) (end base.Position, beyond int, err error) {
	end = start
	for p, err := range wal.Objects(ctx, c.cfg.Store, e, start) {
		switch {
		case err != nil:
			return end, beyond, err
		case p == end:
			end++
		default:
			beyond++
		}
	}
	return end, beyond, nil
}

// deepLog files what wal.Check found.
func (c *checker) deepLog(ctx context.Context, l meta.Log, err error) error {
	switch {
	case isCorrupt(err):
		c.problem(logName(l.Incarnation), "%v", err)
		return nil
	case missing(err):
		return c.complainLog(ctx, l, err.Error())
	}
	return err
}

// complainLog reports what is missing in a log, unless the log was truncated,
// sealed or forgotten meanwhile.
func (c *checker) complainLog(ctx context.Context, l meta.Log, wrong string) error {
	key := meta.LogPrefix + l.Incarnation.String()
	low := meta.LowPrefix + l.Incarnation.String()
	kvs, _, err := c.cfg.LockService.ListRanges(ctx, [][2]string{{key, key + "\x00"}, {low, low + "\x00"}}, lockservice.ReadOptions{})
	if err != nil {
		return fmt.Errorf("read record of log %v: %w", l.Incarnation, err)
	}
	if len(kvs[0]) == 0 || len(kvs[1]) == 0 {
		return nil
	}
	now, err := decodeLog(kvs[0][0], kvs[1][0].Value)
	if err != nil {
		return err
	}
	if now == l {
		c.problem(logName(l.Incarnation), "%s", wrong)
		return nil
	}
	return c.checkLog(ctx, now)
}

// checkSeal checks that the seal of a SEALED log stands, and its index.
func (c *checker) checkSeal(ctx context.Context, l meta.Log) error {
	o, err := wal.ReadObject(ctx, c.cfg.Store, l.Incarnation, l.End)
	switch {
	case missing(err):
		c.problem(logName(l.Incarnation), "its seal at position %d is missing (L3)", l.End)
	case isCorrupt(err):
		c.problem(logName(l.Incarnation), "its seal: %v", err)
	case err != nil:
		return err
	case o.Seal == nil:
		c.problem(logName(l.Incarnation), "at position %d, where its record says that the seal is, stand data", l.End)
	}
	x, err := wal.ReadIndex(ctx, c.cfg.Store, l.Incarnation)
	switch {
	case missing(err):
		c.notice(logName(l.Incarnation), "its index is not written yet")
	case isCorrupt(err):
		c.notice(logName(l.Incarnation), "its index is damaged, and will be written again when it is needed: %v", err)
	case err != nil:
		return err
	case x.Low > l.Low || x.End != l.End:
		c.problem(logName(l.Incarnation), "its index covers [%d, %d), not [%d, %d)", x.Low, x.End, l.Low, l.End)
	}
	return nil
}
