package state_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/state"
)

// FuzzDecode: what decodes encodes to an entry that decodes to the same; the
// rest is corrupt.
func FuzzDecode(f *testing.F) {
	g := generator{rand.New(rand.NewPCG(1, 1))}
	for range 50 {
		f.Add(state.Encode(g.command()))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := state.Decode(b)
		if err != nil {
			if !errors.Is(err, base.ErrCorrupt) {
				t.Errorf("%v is not ErrCorrupt", err)
			}
			return
		}
		again, err := state.Decode(state.Encode(c))
		if err != nil {
			t.Fatalf("%#v does not survive: %v", c, err)
		}
		if !bytes.Equal(state.Encode(c), state.Encode(again)) {
			t.Errorf("%#v came back as %#v", c, again)
		}
	})
}

// FuzzDecodeTxn goes past the checksum.
func FuzzDecodeTxn(f *testing.F) {
	g := generator{rand.New(rand.NewPCG(1, 2))}
	for range 50 {
		if c, ok := g.command().(*state.Txn); ok {
			f.Add(state.AppendTxn(nil, &c.Txn))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		txn, err := state.DecodeTxn(b)
		if err != nil {
			if !errors.Is(err, base.ErrCorrupt) {
				t.Errorf("%v is not ErrCorrupt", err)
			}
			return
		}
		m := state.New(state.Options{})
		m.Apply(1, &state.SetGeneration{Generation: 1})
		m.Apply(2, &state.Txn{Txn: txn}) // must not panic, whatever it holds
	})
}

func FuzzReadSnapshot(f *testing.F) {
	f.Add(image(f, populated(50)))
	f.Add(image(f, state.New(state.Options{})))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := state.ReadSnapshot(bytes.NewReader(b), state.Options{})
		if err != nil {
			if !errors.Is(err, base.ErrCorrupt) {
				t.Errorf("%v is not ErrCorrupt", err)
			}
			return
		}
		image(t, m)
	})
}

// populated is a machine after n drawn commands.
func populated(n uint64) *state.Machine {
	g := generator{rand.New(rand.NewPCG(7, 7))}
	m := state.New(state.Options{})
	m.Apply(1, &state.SetGeneration{Generation: 1})
	for index := range n {
		m.Apply(index+2, g.command())
	}
	return m
}

// TestSnapshotDamage: every damaged byte and every truncation is found.
func TestSnapshotDamage(t *testing.T) {
	good := image(t, populated(100))
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if _, err := state.ReadSnapshot(bytes.NewReader(bad), state.Options{}); !errors.Is(err, base.ErrCorrupt) {
			t.Fatalf("byte %d damaged: %v, want ErrCorrupt", i, err)
		}
		if _, err := state.ReadSnapshot(bytes.NewReader(good[:i]), state.Options{}); !errors.Is(err, base.ErrCorrupt) {
			t.Fatalf("cut at %d: %v, want ErrCorrupt", i, err)
		}
	}
	if _, err := state.ReadSnapshot(bytes.NewReader(append(bytes.Clone(good), 0)), state.Options{}); !errors.Is(err, base.ErrCorrupt) {
		t.Errorf("a byte too many: %v, want ErrCorrupt", err)
	}
}

// TestGoldenSnapshot: snapshots of version 1 stay readable, and are written as
// they were. UPDATE=1 writes the file anew, which a change of format has to
// give a new version for.
func TestGoldenSnapshot(t *testing.T) {
	m := state.New(state.Options{})
	m.Apply(1, &state.SetGeneration{Generation: 3})
	id := m.Apply(2, &state.Register{Name: "worker", TTL: 10 * time.Second}).Session.ID
	m.Apply(3, &state.Acquire{Session: id, Name: "master", Delay: time.Second, Data: []byte("host:1")})
	m.Apply(4, &state.Txn{Txn: lockservice.Txn{ID: lockservice.TxnID{1, 2, 3}, Then: []lockservice.Op{
		lockservice.Put("key", []byte("value")), lockservice.PutEphemeral("here", nil, id),
	}}})
	got := image(t, m)
	path := filepath.Join("testdata", "v1.snapshot")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the format of snapshots changed:\n%q, was\n%q", got, want)
	}
	old, err := state.ReadSnapshot(bytes.NewReader(want), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if kv, ok := old.View().Get("key"); !ok || string(kv.Value) != "value" {
		t.Errorf("key read back as %+v", kv)
	}
}

// TestHistoryIsBounded: the oldest revisions go, and a watch from there is
// told.
func TestHistoryIsBounded(t *testing.T) {
	s := state.NewStore(state.New(state.Options{HistoryEvents: 10}))
	for i := range uint64(30) {
		s.Apply(state.Entry{Index: i + 1, Command: &state.Txn{Txn: lockservice.Txn{Then: []lockservice.Op{lockservice.Put("k", nil)}}}})
	}
	if r, err := s.Events("", "", 20, 100); err != nil || len(r.Events) != 10 || r.Revision != 30 {
		t.Errorf("the last ten: %d events up to %d, %v", len(r.Events), r.Revision, err)
	}
	if _, err := s.Events("", "", 19, 100); !errors.Is(err, base.ErrPrecondition) {
		t.Errorf("compacted history: %v, want ErrPrecondition", err)
	}
	if r, err := s.Events("", "", 99, 100); err != nil || len(r.Events) != 0 || r.Revision != 30 {
		t.Errorf("the future: %d events up to %d, %v", len(r.Events), r.Revision, err)
	}
}

func BenchmarkApplyTxn(b *testing.B) {
	s := state.NewStore(state.New(state.Options{}))
	value := make([]byte, 200)
	keys := make([]string, 100_000)
	for i := range keys {
		keys[i] = "meta/" + string(rune('a'+i%26)) + "/" + time.Duration(i).String()
	}
	b.ReportAllocs()
	for i := range b.N {
		t := lockservice.Txn{Then: []lockservice.Op{lockservice.Put(keys[i%len(keys)], value)}}
		t.ID[0], t.ID[1], t.ID[2], t.ID[3] = byte(i), byte(i>>8), byte(i>>16), byte(i>>24)
		t.ID[4] = 1
		c, err := state.Decode(state.Encode(&state.Txn{Txn: t}))
		if err != nil {
			b.Fatal(err)
		}
		s.Apply(state.Entry{Index: uint64(i + 1), Command: c})
	}
}
