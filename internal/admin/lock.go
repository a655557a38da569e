package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/metapb"
	"github.com/tabletdb/tabletdb/root"
)

func (r *run) lockCommand() *cobra.Command {
	return group("lock", "Look into the lock service", r.lockListCommand(), r.lockSessionsCommand(), r.lockGetCommand(), r.lockLsCommand(), r.lockRevokeCommand())
}

func (r *run) lockListCommand() *cobra.Command {
	type lock struct {
		Name       string       `json:"name"`
		Exclusive  bool         `json:"exclusive"`
		Generation uint64       `json:"generation"`
		Holders    []string     `json:"holders"`
		Data       output.Bytes `json:"data"`
		Delayed    bool         `json:"delayed"`
	}
	return r.command("list", "List the locks that are held", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		locks, _, err := e.ls.Locks(ctx)
		if err != nil {
			return err
		}
		list := []lock{}
		for _, l := range locks {
			x := lock{Name: l.Name, Exclusive: l.Exclusive, Generation: l.Generation, Holders: []string{}, Data: l.Data, Delayed: l.Delayed}
			for _, h := range l.Holders {
				x.Holders = append(x.Holders, h.String())
			}
			list = append(list, x)
		}
		return e.out.Print(list, func(p *output.Page) {
			p.Header("LOCK", "GENERATION", "HELD BY", "DATA", "STATE")
			for _, l := range list {
				state := "exclusive"
				switch {
				case l.Delayed:
					state = "blocked: its holder failed"
				case !l.Exclusive:
					state = "shared"
				}
				p.Row(l.Name, l.Generation, strings.Join(l.Holders, ", "), l.Data, state)
			}
		})
	})
}

func (r *run) lockSessionsCommand() *cobra.Command {
	type session struct {
		ID         string          `json:"id"`
		Name       string          `json:"name"`
		TTL        output.Duration `json:"ttl_seconds"`
		State      string          `json:"state"`
		Registered uint64          `json:"registered_revision"`
	}
	return r.command("sessions", "List the sessions", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		sessions, _, err := e.ls.Sessions(ctx)
		if err != nil {
			return err
		}
		list := []session{}
		for _, s := range sessions {
			list = append(list, session{s.ID.String(), s.Name, output.Duration(s.TTL), s.State, uint64(s.Registered)})
		}
		return e.out.Print(list, func(p *output.Page) {
			p.Header("SESSION", "NAME", "TTL", "STATE", "REGISTERED")
			for _, s := range list {
				p.Row(s.ID, s.Name, s.TTL, s.State, s.Registered)
			}
		})
	})
}

// keyInfo is one key of the lock service.
type keyInfo struct {
	Key      output.Bytes    `json:"key"`
	Created  uint64          `json:"create_revision"`
	Modified uint64          `json:"mod_revision"`
	Session  string          `json:"session,omitempty"`
	Size     int             `json:"size"`
	Value    output.Bytes    `json:"value,omitempty"`
	Record   json.RawMessage `json:"record,omitempty"` // of a value of known form
}

func newKeyInfo(kv lockservice.KV, values bool) keyInfo {
	i := keyInfo{
		Key: output.Bytes(kv.Key), Created: uint64(kv.CreateRevision), Modified: uint64(kv.ModRevision),
		Session: incarnationOrNone(kv.Session), Size: len(kv.Value),
	}
	if values {
		if i.Record = record(kv); i.Record == nil {
			i.Value = kv.Value
		}
	}
	return i
}

// record returns the value as JSON where the key says what it is.
func record(kv lockservice.KV) json.RawMessage {
	var m proto.Message
	switch {
	case strings.HasPrefix(kv.Key, meta.TabletPrefix):
		m = &metapb.TabletRecord{}
	case strings.HasPrefix(kv.Key, meta.LogPrefix):
		m = &metapb.LogRecord{}
	case strings.HasPrefix(kv.Key, meta.ServerPrefix):
		m = &metapb.ServerRecord{}
	case strings.HasPrefix(kv.Key, meta.TablePrefix):
		m = &metapb.TableRecord{}
	case strings.HasPrefix(kv.Key, root.Prefix):
		m = &metapb.RangeRecord{}
	default:
		return nil
	}
	if proto.Unmarshal(kv.Value, m) != nil {
		return nil
	}
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil
	}
	return b
}

func (r *run) lockGetCommand() *cobra.Command {
	return r.command("get <key>", "Show a key", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		key, err := output.Parse(args[0])
		if err != nil {
			return err
		}
		kv, ok, _, err := e.ls.Get(ctx, string(key), lockservice.ReadOptions{})
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("key %s: %w", output.Bytes(key), base.ErrNotFound)
		}
		i := newKeyInfo(kv, true)
		return e.out.Print(i, func(p *output.Page) {
			p.Line("key       %s", i.Key)
			p.Line("created   at revision %d, modified at %d", i.Created, i.Modified)
			if i.Session != "" {
				p.Line("session   %s", i.Session)
			}
			if i.Record != nil {
				p.Line("value     %s", i.Record)
			} else {
				p.Line("value     %s", i.Value)
			}
		})
	})
}

func (r *run) lockLsCommand() *cobra.Command {
	var l listing
	var values bool
	c := r.command("ls [prefix]", "List keys", cobra.MaximumNArgs(1), func(ctx context.Context, e *env, args []string) error {
		if err := l.check(); err != nil {
			return err
		}
		var prefix []byte
		if len(args) > 0 {
			var err error
			if prefix, err = output.Parse(args[0]); err != nil {
				return err
			}
		}
		end := ""
		if len(prefix) > 0 {
			end = lockservice.PrefixEnd(string(prefix))
		}
		kvs, _, err := e.ls.List(ctx, string(prefix), end, lockservice.ReadOptions{})
		if err != nil {
			return err
		}
		list := []keyInfo{}
		for _, kv := range kvs[:l.take(e, len(kvs))] {
			list = append(list, newKeyInfo(kv, values))
		}
		return e.out.Print(list, func(p *output.Page) {
			header := []string{"KEY", "MODIFIED", "SIZE", "SESSION"}
			if values {
				header = append(header, "VALUE")
			}
			p.Header(header...)
			for _, k := range list {
				row := []any{k.Key, k.Modified, k.Size, k.Session}
				switch {
				case values && k.Record != nil:
					row = append(row, string(k.Record))
				case values:
					row = append(row, k.Value)
				}
				p.Row(row...)
			}
			l.rest(p, len(list), len(kvs))
		})
	})
	l.register(c)
	c.Flags().BoolVar(&values, "values", false, "show the values")
	return c
}

func (r *run) lockRevokeCommand() *cobra.Command {
	var dead, yes bool
	c := r.command("revoke <session>", "End a session", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		id, err := base.ParseIncarnation(args[0])
		if err != nil || id.IsZero() {
			return usagef("session %q: want <generation>-<index>, as tabletadm lock sessions shows it", args[0])
		}
		sessions, _, err := e.ls.Sessions(ctx)
		if err != nil {
			return err
		}
		name := ""
		for _, s := range sessions {
			if s.ID == id {
				name = s.Name
			}
		}
		if name == "" {
			return fmt.Errorf("session %v: %w", id, base.ErrNotFound)
		}
		if err := e.confirm(yes, "end session %v of %s, whose tablets and locks go to others", id, name); err != nil {
			return err
		}
		if err := e.ls.Revoke(ctx, id, dead); err != nil {
			return fmt.Errorf("revoke session %v: %w", id, err)
		}
		return e.done("session %v of %s is revoked", id, name)
	})
	c.Long = `End a session before its time: a tablet server's tablets are served by others.
They wait for the session's TTL to be over, unless --dead says that the process is
known to be dead. A server that is alive after all and reads from its memory would
then show old data for a moment: say --dead only of a process that was seen to end.`
	c.Flags().BoolVar(&dead, "dead", false, "the process was seen to end: do not wait for the TTL")
	yesFlag(c, &yes)
	return c
}
