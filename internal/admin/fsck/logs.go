package fsck

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/wal"
)

// inFlight is more than how many objects of an open log may be under way, in
// any order, past the last that is acknowledged.
const inFlight = 64

// checkLogs checks the objects of every log that has a record.
func (c *checker) checkLogs(ctx context.Context) error {
	c.expect(len(c.logs))
	logs := slices.SortedFunc(maps.Values(c.logs), func(a, b meta.Log) int { return a.Incarnation.Compare(b.Incarnation) })
	err := each(ctx, c.cfg.Workers, logs, func(ctx context.Context, l meta.Log) error {
		defer c.step()
		return c.checkLog(ctx, l)
	})
	if err != nil {
		return err
	}
	return c.checkForgotten(ctx)
}

// checkForgotten finds objects of logs that have no record any more.
func (c *checker) checkForgotten(ctx context.Context) error {
	const prefix = "wal/"
	after := ""
	for again := true; again; {
		again = false
		count, last := 0, base.Incarnation{}
		for info, err := range c.cfg.Store.List(ctx, prefix, after) {
			if err != nil {
				return fmt.Errorf("list %s: %w", prefix, err)
			}
			parts := strings.Split(info.Key, "/")
			e, err := base.ParseIncarnation(parts[min(2, len(parts)-1)])
			if err != nil || !strings.HasPrefix(info.Key, base.LogPrefix(e)) {
				continue // not ours
			}
			if e != last {
				if err := c.forgotten(ctx, last, count); err != nil {
					return err
				}
				count, last = 0, e
			}
			if _, ok := c.logs[e]; ok { // its objects were looked at: skip them
				after, again = base.LogPrefix(e)+"~", true
				break
			}
			if !isSeal(info) {
				count++
			}
		}
		if err := c.forgotten(ctx, last, count); err != nil {
			return err
		}
	}
	return nil
}

// forgotten reports the objects of a log that nobody knows, but for seals.
func (c *checker) forgotten(ctx context.Context, e base.Incarnation, objects int) error {
	if _, known := c.logs[e]; known || objects == 0 || c.sessions[e] {
		return nil
	}
	for _, key := range []string{meta.LogPrefix + e.String(), meta.LowPrefix + e.String()} {
		if _, ok, _, err := c.cfg.LockService.Get(ctx, key, lockservice.ReadOptions{}); err != nil || ok {
			return err // it is younger than the view, or was complained about
		}
	}
	c.notice(LogLeftovers, about{log: meta.Log{Incarnation: e}}, logName(e), "%d objects are left, though nobody knows the log", objects)
	return nil
}

// isSeal reports whether an object of a log, by its size, is a seal.
func isSeal(info objstore.Info) bool { return info.Size == wal.SealLen }

// leftovers returns the keys of all objects of a log but its seals.
func leftovers(ctx context.Context, store objstore.Store, e base.Incarnation) (keys []string, err error) {
	for info, err := range store.List(ctx, base.LogPrefix(e), "") {
		if err != nil {
			return nil, fmt.Errorf("list log %v: %w", e, err)
		}
		if !isSeal(info) {
			keys = append(keys, info.Key)
		}
	}
	return keys, nil
}

// neededSpans returns the positions of a log, as ranges [from, to) in order, that
// entries of tablets name and that may hold records above what is flushed. Of a
// log that is not sealed the last ends at wal.OpenEnd.
func (c *checker) neededSpans(l meta.Log) (spans [][2]base.Position) {
	end := wal.OpenEnd
	if l.State == meta.LogSealed {
		end = l.End
	}
	for _, t := range c.tablets {
		for _, e := range t.Logs {
			from, to := max(e.From, l.Low), end
			if e.Closed {
				to = min(to, e.To)
			}
			if e.Log == l.Incarnation && from < to {
				spans = append(spans, [2]base.Position{from, to})
			}
		}
	}
	slices.SortFunc(spans, func(a, b [2]base.Position) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	joined := spans[:0]
	for _, s := range spans {
		if n := len(joined); n > 0 && s[0] <= joined[n-1][1] {
			joined[n-1][1] = max(joined[n-1][1], s[1])
		} else {
			joined = append(joined, s)
		}
	}
	return joined
}

// checkLog finds holes in a log: positions that tablets need and that are
// missing though they lie before the seal, or though later ones are there.
func (c *checker) checkLog(ctx context.Context, l meta.Log) error {
	spans := c.neededSpans(l)
	if l.State == meta.LogSealed {
		if err := c.checkSeal(ctx, l); err != nil {
			return err
		}
	} else if wrong, err := c.checkOpen(ctx, l, spans); err != nil || wrong {
		return err
	}
	for _, s := range spans {
		if err := c.checkSpan(ctx, l, s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}

// checkOpen finds a hole in a log that is not sealed, and ends the last of spans
// where the log does.
func (c *checker) checkOpen(ctx context.Context, l meta.Log, spans [][2]base.Position) (wrong bool, err error) {
	end, beyond, err := c.extent(ctx, l.Incarnation, l.Low)
	if err != nil {
		return false, err
	}
	if beyond > inFlight {
		return true, c.complainLog(ctx, l, fmt.Sprintf("position %d is missing, but %d later ones are there", end, beyond))
	}
	for i := range spans {
		spans[i][0], spans[i][1] = min(spans[i][0], end), min(spans[i][1], end)
	}
	return false, nil
}

// checkSpan checks the positions [from, to) of a log, which are needed.
func (c *checker) checkSpan(ctx context.Context, l meta.Log, from, to base.Position) error {
	if l.State == meta.LogSealed {
		end, _, err := c.extent(ctx, l.Incarnation, from)
		if err != nil {
			return err
		}
		if end < to {
			return c.complainLog(ctx, l, fmt.Sprintf("position %d is missing; the log is sealed at %d", end, l.End))
		}
	}
	c.mu.Lock()
	c.report.LogObjects += int(to - from)
	c.mu.Unlock()
	if !c.cfg.Deep || from >= to {
		return nil
	}
	for _, err := range wal.Check(ctx, c.cfg.Store, l.Incarnation, from, to) {
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
		c.problem(LogIncomplete, about{log: l}, logName(l.Incarnation), "%v", err)
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
		c.problem(LogIncomplete, about{log: l}, logName(l.Incarnation), "%s", wrong)
		return nil
	}
	return c.checkLog(ctx, now)
}

// checkSeal checks that the seal of a SEALED log stands, and its index.
func (c *checker) checkSeal(ctx context.Context, l meta.Log) error {
	o, err := wal.ReadObject(ctx, c.cfg.Store, l.Incarnation, l.End)
	switch {
	case missing(err):
		c.problem(SealMissing, about{log: l}, logName(l.Incarnation), "its seal at position %d is missing (L3)", l.End)
	case isCorrupt(err):
		c.problem(SealWrong, about{log: l}, logName(l.Incarnation), "its seal: %v", err)
	case err != nil:
		return err
	case o.Seal == nil:
		c.problem(SealWrong, about{log: l}, logName(l.Incarnation), "at position %d, where its record says that the seal is, stand data", l.End)
	}
	x, err := wal.ReadIndex(ctx, c.cfg.Store, l.Incarnation)
	switch {
	case missing(err):
		c.notice(IndexWrong, about{log: l}, logName(l.Incarnation), "its index is not written yet")
	case isCorrupt(err):
		c.notice(IndexWrong, about{log: l}, logName(l.Incarnation), "its index is damaged, and will be written again when it is needed: %v", err)
	case err != nil:
		return err
	case x.Low > l.Low || x.End != l.End:
		c.problem(IndexWrong, about{log: l}, logName(l.Incarnation), "its index covers [%d, %d), not [%d, %d)", x.Low, x.End, l.Low, l.End)
	}
	return nil
}
