package protocol_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

func attempt(id byte, n uint32) *tabletservertest.Once {
	return &tabletservertest.Once{ID: mutation.ID{id}, Attempt: n}
}

// writeOnce makes one write of each kind that must not be applied twice, all as
// the n-th attempt, and returns their answers.
func (b *bubble) writeOnce(s *tabletservertest.Server, t meta.Tablet, n uint32) string {
	b.t.Helper()
	sum, err := s.IncrementOnce(b.ctx, t, attempt(1, n), "counter", "v1", "n", 1)
	b.Must(err)
	matched, err := s.CheckAndMutateOnce(b.ctx, t, attempt(2, n), "checked",
		[]*bigtablepb.Mutation{tabletservertest.SetCell("cf", "again", 1000, "v")}, []*bigtablepb.Mutation{tabletservertest.SetCell("cf", "made", 1000, "v")})
	b.Must(err)
	b.Must(s.MutateOnce(b.ctx, t, attempt(3, n), "timed", tabletservertest.SetCell("cf", "q", -1, "v")))
	req, err := proto.Marshal(&bigtablepb.ReadModifyWriteRowRequest{RowKey: []byte("log"), Rules: []*bigtablepb.ReadModifyWriteRule{
		{FamilyName: "v1", ColumnQualifier: []byte("a"), Rule: &bigtablepb.ReadModifyWriteRule_AppendValue{AppendValue: []byte("x")}},
		{FamilyName: "cf", ColumnQualifier: []byte("b"), Rule: &bigtablepb.ReadModifyWriteRule_AppendValue{AppendValue: []byte("y")}},
	}})
	b.Must(err)
	raw, err := s.ReadModifyWriteRow(b.ctx, route.Target{Tablet: t.ID, Epoch: t.Epoch}, mutation.AppendID(req, mutation.ID{4}, n))
	b.Must(err)
	var resp bigtablepb.ReadModifyWriteRowResponse
	b.Must(proto.Unmarshal(raw, &resp))
	answer := fmt.Sprint(sum, matched, string(resp.Row.Key))
	for _, f := range resp.Row.Families {
		for _, c := range f.Columns {
			answer += fmt.Sprint(" ", f.Name, string(c.Qualifier), c.Cells[0].TimestampMicros, string(c.Cells[0].Value))
		}
	}
	return answer
}

// TestH22Repeats: the answers of four writes were lost. Repeats get the first
// answers, and nothing is applied twice, wherever the tablet is by then and
// wherever the records are: in memory, in a log, in files.
//
// To break: return ok = false in tablet.remembered; or let a row's tombstone hide
// the system family in cells.resolver.classify; or forget KindSet cells of it at
// flushes.
func TestH22Repeats(t *testing.T) {
	for name, between := range map[string]func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int){
		"same server": func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int) { return tb, 0 },
		"flushed": func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int) {
			b.Must(s[0].Flush(b.ctx, tb))
			return tb, 0
		},
		"crashed": func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int) {
			s[0].Kill()
			return b.FailOver(b.ctx, tb, s[1]), 1
		},
		"moved": func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int) {
			return b.Move(b.ctx, tb, s[0], s[1]), 1
		},
		"moved, compacted, moved back": func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int) {
			tb = b.Move(b.ctx, tb, s[0], s[1])
			b.Must(s[1].Compact(b.ctx, tb))
			return b.Move(b.ctx, tb, s[1], s[0]), 0
		},
		"split, merged, crashed": func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int) {
			left, right := b.split(s[0], tb, "counter") // which is the right one's
			tb = b.merge(s[0], left, right)
			s[0].Kill()
			return b.FailOver(b.ctx, tb, s[1]), 1
		},
		"crashed twice": func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int) {
			tb = b.FailOver(b.ctx, tb, s[1])
			return b.FailOver(b.ctx, tb, s[2]), 2
		},
		"rows deleted": func(b *bubble, s []*tabletservertest.Server, tb meta.Tablet) (meta.Tablet, int) {
			for _, row := range []string{"counter", "checked", "timed", "log"} {
				b.Must(s[0].Mutate(b.ctx, tb, row, &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromRow_{DeleteFromRow: &bigtablepb.Mutation_DeleteFromRow{}}}))
			}
			b.Must(s[0].Compact(b.ctx, tb))
			return tb, 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			history(t, func(b *bubble) {
				s := b.servers(3)
				tb := b.Serve(b.ctx, b.table(), s[0])
				first := b.writeOnce(s[0], tb, 0)
				tb, at := between(b, s, tb)
				rows := s[at].All(b.ctx, tb)
				b.pause(time.Minute)
				for n := range uint32(3) {
					if got := b.writeOnce(s[at], tb, n+1); got != first {
						t.Errorf("repeat %d: %s; the first answer was %s", n+1, got, first)
					}
				}
				if got := s[at].All(b.ctx, tb); fmt.Sprint(got) != fmt.Sprint(rows) {
					t.Errorf("rows %q became %q", rows, got)
				}
				// A request of its own is applied.
				if n, err := s[at].IncrementOnce(b.ctx, tb, attempt(9, 0), "counter", "v1", "n", 1); err != nil || n != int64(len(rows))/4+1 {
					t.Errorf("another increment: %d, %v", n, err)
				}
			})
		})
	}
}

// TestH22RepeatOfPending: the original is in the log, but not acknowledged. The
// repeat waits for it and is answered, or fails, with it.
//
// To break: in tablet.original, return nil.
func TestH22RepeatOfPending(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprint("lost ", lost), func(t *testing.T) {
			history(t, func(b *bubble) {
				s := b.servers(2)
				tb := b.Serve(b.ctx, b.table(), s[0])
				release := s[0].LogStore.Hang(tabletservertest.Put, base.LogPrefix(tb.Owner))
				increment := func(n uint32) <-chan error {
					return b.background(func() error {
						got, err := s[0].IncrementOnce(b.ctx, tb, attempt(1, n), "r", "v1", "n", 1)
						if err == nil && got != 1 {
							t.Errorf("attempt %d: %d", n, got)
						}
						return err
					})
				}
				first := increment(0)
				b.pause(time.Second)
				second := increment(1)
				b.running("a repeat of a pending write", second)
				if lost {
					s[0].Kill()
					if <-first == nil || <-second == nil {
						t.Error("a lost write was acknowledged")
					}
					tb = b.FailOver(b.ctx, tb, s[1])
					if n, err := s[1].IncrementOnce(b.ctx, tb, attempt(1, 2), "r", "v1", "n", 1); err != nil || n != 1 {
						t.Errorf("after the fail-over: %d, %v", n, err)
					}
					return
				}
				release()
				b.Must(<-first)
				b.Must(<-second)
			})
		})
	}
}

// TestH22Overtaken: an attempt that arrives after the one that was made because
// it was given up does nothing, whatever became of the other. The branch that
// changes nothing is the hard one: nobody could see that it was taken.
//
// To break: in repeats.note, do not compare attempts; or let encodeBranch make
// no record of an empty branch.
func TestH22Overtaken(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		made := []*bigtablepb.Mutation{tabletservertest.SetCell("cf", "q", 1000, "vr")}
		if matched, err := s[0].CheckAndMutateOnce(b.ctx, tb, attempt(1, 1), "r", made, nil); err != nil || matched {
			t.Fatalf("matched %v, %v", matched, err)
		}
		b.wantRows(s[0], tb) // a row that only remembers does not exist
		b.set(s[0], tb, "r")
		_, err := s[0].CheckAndMutateOnce(b.ctx, tb, attempt(1, 0), "r", []*bigtablepb.Mutation{tabletservertest.SetCell("cf", "late", 1000, "v")}, nil)
		b.want(err, base.ErrUnknownOutcome)
		b.wantRows(s[0], tb, "r")
		// A router elsewhere that did not hear that it was given up.
		tb = b.Move(b.ctx, tb, s[0], s[1])
		matched, err := s[1].CheckAndMutateOnce(b.ctx, tb, attempt(1, 2), "r", []*bigtablepb.Mutation{tabletservertest.SetCell("cf", "late", 1000, "v")}, nil)
		if err != nil || matched {
			t.Errorf("matched %v, %v", matched, err)
		}
		b.wantRows(s[1], tb, "r")
		_, err = s[1].IncrementOnce(b.ctx, tb, attempt(2, 5), "n", "v1", "n", 1)
		b.Must(err)
		_, err = s[1].IncrementOnce(b.ctx, tb, attempt(2, 4), "n", "v1", "n", 1)
		b.want(err, base.ErrUnknownOutcome)
	})
}

// entries returns how many entries the files of a tablet hold.
func (b *bubble) entries(t meta.Tablet) (n uint64) {
	rec := b.Record(b.ctx, t)
	m, err := manifest.Read(b.ctx, b.Store, rec.Manifest)
	b.Must(err)
	for _, r := range m.Runs {
		for _, f := range r {
			n += f.Entries
		}
	}
	return n
}

// TestRequestsAreForgotten: what is remembered of requests goes at the first
// compaction after its time, and not before.
func TestRequestsAreForgotten(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(1)
		tb := b.Serve(b.ctx, b.table(), s[0])
		b.writeOnce(s[0], tb, 0)
		b.Must(s[0].Compact(b.ctx, tb))
		young := b.entries(tb)
		b.pause(base.SystemRetention - time.Minute)
		b.Must(s[0].Compact(b.ctx, tb))
		if n := b.entries(tb); n != young || n != 9 {
			t.Errorf("%d entries became %d, want 9 of both", young, n)
		}
		b.pause(2 * time.Minute)
		b.Must(s[0].Compact(b.ctx, tb))
		if n := b.entries(tb); n != 5 {
			t.Errorf("%d entries are left, want the 5 cells", n)
		}
	})
}

// TestTokens: a write with the client's token is applied once in 15 minutes,
// and refused when its client began with it before that.
func TestTokens(t *testing.T) {
	history(t, func(b *bubble) {
		s := b.servers(2)
		tb := b.Serve(b.ctx, b.table(), s[0])
		began := time.Now()
		write := func(s *tabletservertest.Server, token string, start time.Time, bulk bool) error {
			idem := &bigtablepb.Idempotency{Token: []byte(token), StartTime: timestamppb.New(start)}
			ms := []*bigtablepb.Mutation{tabletservertest.SetCell("cf", "q", -1, "v")}
			target := route.Target{Tablet: tb.ID, Epoch: tb.Epoch}
			if bulk {
				raw, err := proto.Marshal(&bigtablepb.MutateRowsRequest_Entry{RowKey: []byte("r"), Mutations: ms, Idempotency: idem})
				b.Must(err)
				errs, err := s.MutateRows(b.ctx, target, [][]byte{raw})
				return errors.Join(append(errs, err)...)
			}
			raw, err := proto.Marshal(&bigtablepb.MutateRowRequest{RowKey: []byte("r"), Mutations: ms, Idempotency: idem})
			b.Must(err)
			return s.MutateRow(b.ctx, target, raw)
		}
		for _, bulk := range []bool{false, true} {
			b.Must(write(s[0], "12345678", began, bulk))
		}
		first := fmt.Sprint(s[0].All(b.ctx, tb))
		tb = b.FailOver(b.ctx, tb, s[1])
		b.pause(base.SystemRetention - time.Minute)
		for _, bulk := range []bool{true, false} {
			b.Must(write(s[1], "12345678", began, bulk))
		}
		if got := fmt.Sprint(s[1].All(b.ctx, tb)); got != first {
			t.Errorf("%s became %s", first, got)
		}
		b.pause(2 * time.Minute)
		for _, bulk := range []bool{true, false} {
			b.want(write(s[1], "12345678", began, bulk), base.ErrPrecondition)
		}
		b.Must(write(s[1], "12345678", time.Now(), false)) // as if it were another
		if got := fmt.Sprint(s[1].All(b.ctx, tb)); got == first {
			t.Error("a token that was used anew did nothing")
		}
	})
}
