package fsck

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/master/gc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/metapb"
	"github.com/tabletdb/tabletdb/root"
)

// readRecords reads everything from one view at one revision (R11). A record
// that does not decode is a finding, and left out.
func (c *checker) readRecords(ctx context.Context) error {
	prefixes := []string{meta.TablePrefix, meta.TableNamePrefix, meta.TabletPrefix, meta.LogPrefix, meta.LowPrefix, meta.RefPrefix, meta.MarkPrefix, meta.ServerPrefix, root.Prefix}
	own := len(prefixes)
	prefixes = append(prefixes, gc.RootPrefixes()...)
	ranges := make([][2]string, len(prefixes))
	for i, p := range prefixes {
		ranges[i] = [2]string{p, lockservice.PrefixEnd(p)}
	}
	kvs, rev, err := c.cfg.LockService.ListRanges(ctx, ranges, lockservice.ReadOptions{})
	if err != nil {
		return fmt.Errorf("read the records: %w", err)
	}
	c.report.Revision = rev
	c.seen = map[string]lockservice.Revision{}
	for _, part := range kvs {
		for _, kv := range part {
			c.seen[kv.Key] = kv.ModRevision
		}
	}
	c.decodeTables(kvs[0], kvs[1])
	for _, kv := range kvs[2] {
		if t, err := meta.DecodeTablet(kv); err != nil {
			c.problem(TabletDamaged, about{key: kv.Key, kv: kv}, fmt.Sprintf("key %q", kv.Key), "%v", err)
		} else {
			c.tablets = append(c.tablets, t)
		}
	}
	c.report.Tablets = len(c.tablets)
	c.decodeLogs(kvs[3], kvs[4])
	c.decodeRefs(kvs[5])
	c.marks = kvs[6]
	c.servers = map[string]bool{}
	for _, kv := range kvs[7] {
		if s, err := meta.DecodeServer(kv); err == nil {
			c.servers[s.Record.GetName()] = true
		}
	}
	c.keepRoots(gc.Roots(kvs[own:]))
	// Sessions are not in the view. Read after it they can only have ended
	// since, which makes a notice of something that is under way.
	sessions, _, err := c.cfg.LockService.Sessions(ctx)
	if err != nil {
		return fmt.Errorf("list the sessions: %w", err)
	}
	c.sessions = map[base.Incarnation]bool{}
	for _, s := range sessions {
		c.sessions[s.ID] = s.State == "alive"
	}
	return nil
}

// keepRoots remembers what is named, as collections take it (R11), by others
// than tablets.
func (c *checker) keepRoots(roots []gc.Named, wrong map[string]error) {
	backups, snapshots := map[string]bool{}, map[string]bool{}
	for _, n := range roots {
		switch n.By {
		case gc.ByBackup:
			backups[n.Key] = true
		case gc.BySnapshot:
			snapshots[n.Key] = true
		case gc.ByCut:
		case gc.ByLoad:
			c.notice(BulkPending, about{key: n.Key}, n.Holder, "it is decided, and not adopted by all tablets yet")
		default:
			continue
		}
		c.others = append(c.others, n)
	}
	c.report.Backups, c.report.Snapshots = len(backups), len(snapshots)
	for _, key := range slices.Sorted(maps.Keys(wrong)) {
		class := BackupDamaged
		switch {
		case strings.HasPrefix(key, meta.BackupPrefix), strings.HasPrefix(key, meta.SnapshotPrefix):
		case strings.HasPrefix(key, meta.BulkPrefix):
			class = BulkDamaged
		default: // was complained about above
			continue
		}
		c.problem(class, about{key: key}, fmt.Sprintf("key %q", key), "%v", wrong[key])
	}
}

func (c *checker) decodeTables(tables, names []lockservice.KV) {
	c.tables, c.names = map[base.TableID]meta.Table{}, map[string]base.TableID{}
	for _, kv := range tables {
		t, err := meta.DecodeTable(kv)
		if err != nil {
			c.problem(TableDamaged, about{key: kv.Key}, fmt.Sprintf("key %q", kv.Key), "%v", err)
			continue
		}
		c.tables[t.ID] = t
		if !t.Record.Deleted {
			c.report.Tables++
		}
	}
	for _, kv := range names {
		if len(kv.Value) != 8 {
			c.problem(NameAstray, about{key: kv.Key}, fmt.Sprintf("key %q", kv.Key), "its value has %d bytes, not the 8 of a table's id", len(kv.Value))
			continue
		}
		c.names[strings.TrimPrefix(kv.Key, meta.TableNamePrefix)] = base.TableID(binary.BigEndian.Uint64(kv.Value))
	}
}

func (c *checker) decodeLogs(logs, lows []lockservice.KV) {
	c.logs = map[base.Incarnation]meta.Log{}
	low := map[string][]byte{}
	for _, kv := range lows {
		low[strings.TrimPrefix(kv.Key, meta.LowPrefix)] = kv.Value
	}
	for _, kv := range logs {
		name := strings.TrimPrefix(kv.Key, meta.LogPrefix)
		l, err := decodeLog(kv, low[name])
		if err != nil {
			c.problem(LogDamaged, about{key: kv.Key, log: meta.Log{Incarnation: l.Incarnation}}, fmt.Sprintf("key %q", kv.Key), "%v", err)
			delete(low, name)
			continue
		}
		delete(low, name)
		c.logs[l.Incarnation] = l
	}
	for _, name := range slices.Sorted(maps.Keys(low)) {
		c.problem(LowAlone, about{key: meta.LowPrefix + name}, "log "+name, "key %q stands without the log's record", meta.LowPrefix+name)
	}
	c.report.Logs = len(c.logs)
}

// decodeLog parses the record stored under kv.Key and the log's low position.
func decodeLog(kv lockservice.KV, low []byte) (meta.Log, error) {
	var p metapb.LogRecord
	e, err := base.ParseIncarnation(strings.TrimPrefix(kv.Key, meta.LogPrefix))
	if err == nil {
		err = proto.Unmarshal(kv.Value, &p)
	}
	if err != nil || len(low) != 8 {
		return meta.Log{Incarnation: e}, fmt.Errorf("%w: log record %q", base.ErrCorrupt, kv.Key)
	}
	return meta.Log{Incarnation: e, State: meta.LogState(p.State), Low: base.Position(binary.BigEndian.Uint64(low)), End: base.Position(p.End)}, nil
}

func (c *checker) decodeRefs(kvs []lockservice.KV) {
	c.refs = map[ref]base.Position{}
	for _, kv := range kvs {
		log, holder, _ := strings.Cut(strings.TrimPrefix(kv.Key, meta.RefPrefix), "/")
		e, err1 := base.ParseIncarnation(log)
		id, err2 := strconv.ParseUint(holder, 16, 64)
		if err1 != nil || err2 != nil || len(kv.Value) != 8 {
			c.problem(RefDamaged, about{key: kv.Key}, fmt.Sprintf("key %q", kv.Key), "it is no reference to a log")
			continue
		}
		c.refs[ref{e, base.TabletID(id)}] = base.Position(binary.BigEndian.Uint64(kv.Value))
	}
}

// checkTables checks the names of tables and that tablets tile them (T2).
func (c *checker) checkTables() {
	for _, name := range slices.Sorted(maps.Keys(c.names)) {
		t, ok := c.tables[c.names[name]]
		if !ok || t.Record.Deleted || t.Name != name {
			c.problem(NameAstray, about{key: meta.TableNamePrefix + name}, "table "+name, "its name leads to table %d, which is not it", c.names[name])
		}
	}
	byTable := map[base.TableID][]meta.Tablet{}
	for _, t := range c.tablets {
		byTable[t.Table] = append(byTable[t.Table], t)
	}
	for _, id := range slices.Sorted(maps.Keys(c.tables)) {
		t := c.tables[id]
		if t.Record.Deleted {
			c.notice(TableDeleted, about{table: t}, "table "+t.Name, "table %d is deleted; %d of its tablets are left to be dropped", id, len(byTable[id]))
			continue
		}
		if c.names[t.Name] != id {
			c.problem(NameMissing, about{table: t}, "table "+t.Name, "its name does not lead to it")
		}
		for _, wrong := range meta.CheckTiling(byTable[id]) {
			c.problem(Tiling, about{table: t}, "table "+t.Name, "%s", wrong)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(byTable)) {
		if _, ok := c.tables[id]; !ok {
			c.problem(NoSchema, about{table: meta.Table{ID: id}}, fmt.Sprintf("table %d", id), "it has %d tablets but no schema", len(byTable[id]))
		}
	}
}

// checkTablets checks each record by itself and against the logs.
func (c *checker) checkTablets() {
	seen := map[base.TabletID]bool{}
	for _, t := range c.tablets {
		name := tabletName(t.ID)
		if seen[t.ID] {
			c.problem(SameID, about{tablet: t}, name, "two records have this id")
		}
		seen[t.ID] = true
		if (t.State == meta.Unassigned) != t.Owner.IsZero() {
			c.problem(OwnerWrong, about{tablet: t}, name, "it is %v, but its owner is %v", t.State, t.Owner)
		}
		if t.State == meta.Serving && t.OwnEntry() < 0 {
			c.problem(EntryMissing, about{tablet: t}, name, "it is serving, but has no entry for its owner's log %v (R5)", t.Owner)
		}
		if t.Manifest.IsZero() && t.Flushed > 0 && len(t.Parents) == 0 {
			c.problem(ManifestMissing, about{tablet: t}, name, "sequences up to %d are flushed, but it has no manifest", t.Flushed)
		}
		switch {
		case t.State != meta.Serving:
			c.notice(Unserved, about{tablet: t}, name, "it is %v", t.State)
		case !c.sessions[t.Owner]:
			c.notice(OwnerGone, about{tablet: t}, name, "the session of its owner %v has ended: it is about to be taken over", t.Owner)
		}
		for _, l := range t.Logs {
			c.checkEntry(t, l)
		}
	}
}

// checkEntry checks an entry against the record of its log.
func (c *checker) checkEntry(t meta.Tablet, e meta.LogEntry) {
	name := tabletName(t.ID)
	log, ok := c.logs[e.Log]
	switch {
	case !ok:
		c.problem(LogForgotten, about{tablet: t, log: meta.Log{Incarnation: e.Log}}, name, "it needs log %v, of which there is no record", e.Log)
		return
	case e.Closed && e.To < e.From:
		c.problem(EntryWrong, about{tablet: t}, name, "its entry for log %v covers [%d, %d)", e.Log, e.From, e.To)
	case e.Closed && log.State == meta.LogSealed && e.To > log.End:
		c.problem(EntryWrong, about{tablet: t}, name, "its entry for log %v ends at %d, past the seal at %d", e.Log, e.To, log.End)
	case e.Closed && log.State == meta.LogOpen && e.From < log.Low:
		c.problem(EntryWrong, about{tablet: t}, name, "log %v is truncated to %d, but it needs records from %d on (R2)", e.Log, log.Low, e.From)
	}
}

// checkReferences compares the references with the entries of tablets (R2).
func (c *checker) checkReferences() {
	want, holders := map[ref]base.Position{}, map[base.TabletID]meta.Tablet{}
	for _, t := range c.tablets {
		holders[t.ID] = t
		for _, l := range t.Logs {
			r := ref{l.Log, t.ID}
			if from, ok := want[r]; !ok || l.From < from {
				want[r] = l.From
			}
		}
	}
	compare := func(a, b ref) int {
		if n := a.log.Compare(b.log); n != 0 {
			return n
		}
		return int(int64(a.holder) - int64(b.holder))
	}
	for _, r := range slices.SortedFunc(maps.Keys(want), compare) {
		a := about{tablet: holders[r.holder], ref: r}
		switch from, ok := c.refs[r]; {
		case !ok:
			c.problem(RefWrong, a, tabletName(r.holder), "it needs log %v, but there is no reference that keeps the log (R2)", r.log)
		case from != want[r]:
			c.problem(RefWrong, a, tabletName(r.holder), "it needs log %v from %d on, but its reference says %d (R2)", r.log, want[r], from)
		}
	}
	for _, r := range slices.SortedFunc(maps.Keys(c.refs), compare) {
		if _, ok := want[r]; !ok {
			c.problem(RefStale, about{tablet: holders[r.holder], ref: r}, logName(r.log), "tablet %d is said to need it, but no such tablet does: the log is kept for ever", r.holder)
		}
	}
}

// checkLogRecords compares the states of logs with those of their sessions.
func (c *checker) checkLogRecords() {
	needed := map[base.Incarnation]bool{}
	for r := range c.refs {
		needed[r.log] = true
	}
	for _, t := range c.tablets {
		for _, l := range t.Logs {
			needed[l.Log] = true
		}
	}
	for _, e := range slices.SortedFunc(maps.Keys(c.logs), base.Incarnation.Compare) {
		l := c.logs[e]
		switch {
		case l.State == meta.LogOpen && !c.sessions[e]:
			c.notice(LogUnsealed, about{log: l}, logName(e), "its session has ended, but it is not sealed yet")
		case l.State == meta.LogSealing:
			c.notice(LogUnsealed, about{log: l}, logName(e), "it is being sealed")
		case l.State == meta.LogSealed && c.sessions[e]:
			c.problem(LogAlive, about{log: l}, logName(e), "it is sealed, but its session is alive")
		case l.State == meta.LogSealed && !needed[e]:
			c.notice(LogUncollected, about{log: l}, logName(e), "nothing needs it: it is about to be collected")
		}
	}
}

// checkMarks finds the drains of servers that do not run.
func (c *checker) checkMarks() {
	for _, kv := range c.marks {
		if name, ok := meta.DrainedServer(kv.Key); ok && !c.servers[name] {
			c.notice(MarkIdle, about{key: kv.Key}, "server "+name, "it is drained since %s, but no server of that name runs", kv.Value)
		}
	}
}
