package meta

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// LogState is the state of a commit log. It only moves forward.
type LogState uint8

const (
	LogOpen    LogState = LogState(metapb.LogRecord_OPEN)
	LogSealing LogState = LogState(metapb.LogRecord_SEALING) // its session is dead; low is frozen
	LogSealed  LogState = LogState(metapb.LogRecord_SEALED)  // the seal stands at End
)

func (s LogState) String() string { return metapb.LogRecord_State(s).String() }

// Log is the record of one commit log.
type Log struct {
	Incarnation base.Incarnation
	State       LogState
	Low         base.Position // objects below it may be gone
	End         base.Position // where Sealed: the position of the seal
}

// Server is what a live tablet server says of itself.
type Server struct {
	Incarnation base.Incarnation
	Address     string
	Record      *metapb.ServerRecord
}

// RegisterServer creates the OPEN log of an incarnation together with the
// ephemeral record of its server, before it can own anything (R1).
func (s *Store) RegisterServer(ctx context.Context, rec *metapb.ServerRecord) error {
	e := Incarnation(rec.Incarnation)
	v, err := proto.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode server record: %w", err)
	}
	res, err := s.ls.Txn(ctx, lockservice.Txn{
		If: []lockservice.Compare{lockservice.SessionAlive(e), lockservice.Absent(logKey(e))},
		Then: []lockservice.Op{
			lockservice.Put(logKey(e), encodeLog(Log{State: LogOpen})),
			lockservice.Put(lowKey(e), encodePosition(0)),
			lockservice.PutEphemeral(serverKey(e), v, e),
		},
	})
	if err != nil {
		return fmt.Errorf("register server %v: %w", e, err)
	}
	if !res.Succeeded {
		return fmt.Errorf("register server %v: %w", e, base.ErrSessionExpired)
	}
	return nil
}

// Servers returns the live tablet servers, in order of incarnation.
func (s *Store) Servers(ctx context.Context, o lockservice.ReadOptions) ([]Server, error) {
	kvs, _, err := s.ls.List(ctx, ServerPrefix, lockservice.PrefixEnd(ServerPrefix), o)
	if err != nil {
		return nil, fmt.Errorf("list servers: %w", err)
	}
	servers := make([]Server, len(kvs))
	for i, kv := range kvs {
		if servers[i], err = DecodeServer(kv); err != nil {
			return nil, err
		}
	}
	return servers, nil
}

// DecodeServer parses the record stored under kv.Key.
func DecodeServer(kv lockservice.KV) (Server, error) {
	rec := &metapb.ServerRecord{}
	if err := proto.Unmarshal(kv.Value, rec); err != nil {
		return Server{}, fmt.Errorf("%w: record %q: %v", base.ErrCorrupt, kv.Key, err)
	}
	return Server{Incarnation: Incarnation(rec.Incarnation), Address: rec.Address, Record: rec}, nil
}

// Logs returns the records of all commit logs.
func (s *Store) Logs(ctx context.Context, o lockservice.ReadOptions) ([]Log, error) {
	kvs, _, err := s.ls.ListRanges(ctx, [][2]string{
		{LogPrefix, lockservice.PrefixEnd(LogPrefix)}, {LowPrefix, lockservice.PrefixEnd(LowPrefix)},
	}, o)
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	lows := map[string][]byte{}
	for _, kv := range kvs[1] {
		lows[strings.TrimPrefix(kv.Key, LowPrefix)] = kv.Value
	}
	logs := make([]Log, len(kvs[0]))
	for i, kv := range kvs[0] {
		if logs[i], err = decodeLog(kv, lows[strings.TrimPrefix(kv.Key, LogPrefix)]); err != nil {
			return nil, err
		}
	}
	return logs, nil
}

// Log reads the record of the log of e, linearizably. base.ErrNotFound: it was
// collected, or never was.
func (s *Store) Log(ctx context.Context, e base.Incarnation) (Log, error) {
	k := logKey(e)
	kvs, _, err := s.ls.ListRanges(ctx, [][2]string{{k, k + "\x00"}, {lowKey(e), lowKey(e) + "\x00"}}, lockservice.ReadOptions{})
	if err != nil {
		return Log{}, fmt.Errorf("read record of log %v: %w", e, err)
	}
	if len(kvs[0]) == 0 || len(kvs[1]) == 0 {
		return Log{}, fmt.Errorf("record of log %v: %w", e, base.ErrNotFound)
	}
	return decodeLog(kvs[0][0], kvs[1][0].Value)
}

func decodeLog(kv lockservice.KV, low []byte) (Log, error) {
	var p metapb.LogRecord
	e, err := base.ParseIncarnation(strings.TrimPrefix(kv.Key, LogPrefix))
	if err == nil {
		err = proto.Unmarshal(kv.Value, &p)
	}
	pos, perr := decodePosition(low)
	if err != nil || perr != nil {
		return Log{}, fmt.Errorf("%w: log record %q", base.ErrCorrupt, kv.Key)
	}
	return Log{Incarnation: e, State: LogState(p.State), Low: pos, End: base.Position(p.End)}, nil
}

// BeginSeal moves the log of a dead session from OPEN to SEALING: low is
// frozen from here. Where it is SEALING or SEALED already, that is what it
// returns.
func (s *Store) BeginSeal(ctx context.Context, e base.Incarnation) (Log, error) {
	res, err := s.ls.Txn(ctx, lockservice.Txn{
		If:   []lockservice.Compare{logOpen(e), lockservice.SessionDead(e)},
		Then: []lockservice.Op{lockservice.Put(logKey(e), encodeLog(Log{State: LogSealing}))},
	})
	if err != nil {
		return Log{}, fmt.Errorf("begin to seal log %v: %w", e, err)
	}
	l, err := s.Log(ctx, e)
	if err == nil && !res.Succeeded && l.State == LogOpen {
		err = fmt.Errorf("begin to seal log %v: %w: its session is alive", e, base.ErrPrecondition)
	}
	return l, err
}

// EndSeal records where the seal stands. All sealers find the same end; Raft's
// is the truth, and it is what this returns.
func (s *Store) EndSeal(ctx context.Context, e base.Incarnation, end base.Position) (Log, error) {
	_, err := s.ls.Txn(ctx, lockservice.Txn{
		If:   []lockservice.Compare{lockservice.ValueIs(logKey(e), encodeLog(Log{State: LogSealing}))},
		Then: []lockservice.Op{lockservice.Put(logKey(e), encodeLog(Log{State: LogSealed, End: end}))},
	})
	if err != nil {
		return Log{}, fmt.Errorf("end sealing log %v: %w", e, err)
	}
	l, err := s.Log(ctx, e)
	if err == nil && l.State != LogSealed {
		err = fmt.Errorf("end sealing log %v, which is %v: %w", e, l.State, base.ErrPrecondition)
	}
	return l, err
}

// Truncate raises low of a live session's open log from old (R2).
// base.ErrAborted: a condition did not hold.
func (s *Store) Truncate(ctx context.Context, e base.Incarnation, old, low base.Position) error {
	res, err := s.ls.Txn(ctx, lockservice.Txn{
		If: []lockservice.Compare{
			lockservice.SessionAlive(e), logOpen(e), lockservice.ValueIs(lowKey(e), encodePosition(old)),
		},
		Then: []lockservice.Op{lockservice.Put(lowKey(e), encodePosition(low))},
	})
	if err != nil {
		return fmt.Errorf("truncate log %v: %w", e, err)
	}
	if !res.Succeeded {
		if res.Retried {
			if l, err := s.Log(ctx, e); err == nil && l.Low == low {
				return nil
			}
		}
		return fmt.Errorf("truncate log %v from %d to %d: %w", e, old, low, base.ErrAborted)
	}
	return nil
}

// Ref says that a tablet's entries need log Log from position From on.
type Ref struct {
	Log    base.Incarnation
	Holder base.TabletID
	From   base.Position
}

// Refs returns who needs the log of e, from one view (R2). None, for a dead
// incarnation's log, means never again.
func (s *Store) Refs(ctx context.Context, e base.Incarnation) ([]Ref, error) {
	return s.refs(ctx, refPrefix(e))
}

// AllRefs returns who needs which log.
func (s *Store) AllRefs(ctx context.Context) ([]Ref, error) { return s.refs(ctx, RefPrefix) }

func (s *Store) refs(ctx context.Context, prefix string) ([]Ref, error) {
	kvs, _, err := s.ls.List(ctx, prefix, lockservice.PrefixEnd(prefix), lockservice.ReadOptions{})
	if err != nil {
		return nil, fmt.Errorf("list references to logs: %w", err)
	}
	refs := make([]Ref, len(kvs))
	for i, kv := range kvs {
		log, holder, _ := strings.Cut(strings.TrimPrefix(kv.Key, RefPrefix), "/")
		e, err1 := base.ParseIncarnation(log)
		id, err2 := strconv.ParseUint(holder, 16, 64)
		from, err3 := decodePosition(kv.Value)
		if err1 != nil || err2 != nil || err3 != nil {
			return nil, fmt.Errorf("%w: reference %q", base.ErrCorrupt, kv.Key)
		}
		refs[i] = Ref{Log: e, Holder: base.TabletID(id), From: from}
	}
	return refs, nil
}

// ForgetLog removes the record of a SEALED log that nobody needs and whose
// objects, but for the seal, are deleted.
func (s *Store) ForgetLog(ctx context.Context, l Log) error {
	_, err := s.ls.Txn(ctx, lockservice.Txn{
		If:   []lockservice.Compare{lockservice.ValueIs(logKey(l.Incarnation), encodeLog(Log{State: LogSealed, End: l.End}))},
		Then: []lockservice.Op{lockservice.Delete(logKey(l.Incarnation)), lockservice.Delete(lowKey(l.Incarnation))},
	})
	if err != nil {
		return fmt.Errorf("forget log %v: %w", l.Incarnation, err)
	}
	return nil
}

func encodePosition(p base.Position) []byte { return binary.BigEndian.AppendUint64(nil, uint64(p)) }

func decodePosition(b []byte) (base.Position, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: position of %d bytes", base.ErrCorrupt, len(b))
	}
	return base.Position(binary.BigEndian.Uint64(b)), nil
}
