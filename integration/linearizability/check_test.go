package linearizability

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// script parses a history, one operation on row "r" a line:
//
//	CALLED RETURNED write V | newest V TS | add N SUM | cas OLD NEW BOOL | read REG NEWEST TS COUNTER
//
// RETURNED or an answer of ? is an unknown outcome, - an empty value.
func script(t *testing.T, text string) []Operation {
	t.Helper()
	empty := func(s string) string { return strings.Trim(s, "-") }
	var ops []Operation
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.Fields(line)
		num := func(i int) (n int64) {
			if _, err := fmt.Sscan(f[i], &n); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			return n
		}
		op := Operation{Client: i, Called: num(0), Call: Call{Row: "r"}}
		if f[1] == "?" {
			op.Returned, op.Answer.Unknown = open, true
		} else {
			op.Returned = num(1)
		}
		switch f[2] {
		case "write":
			op.Call.Kind, op.Call.Value = Write, f[3]
		case "newest":
			op.Call.Kind, op.Call.Value, op.Call.Timestamp = WriteNewest, f[3], num(4)
		case "add":
			op.Call.Kind, op.Call.Delta = Increment, num(3)
			if !op.Answer.Unknown {
				op.Answer.Sum = num(4)
			}
		case "cas":
			op.Call.Kind, op.Call.Expect, op.Call.Value = CheckAndWrite, empty(f[3]), f[4]
			op.Answer.Matched = !op.Answer.Unknown && f[5] == "true"
		case "read":
			op.Call.Kind = Read
			op.Answer.Row = Row{Register: empty(f[3]), Newest: empty(f[4]), Timestamp: num(5), Counter: num(6)}
		default:
			t.Fatalf("%q", line)
		}
		ops = append(ops, op)
	}
	return ops
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name, script, want string
	}{
		{"sequential", `
			1 2 write a
			3 4 read a - 0 0
			5 6 add 3 3
			7 8 cas a b true
			9 10 newest n 7
			11 12 newest m 5
			13 14 read b n 7 3`, ""},
		{"concurrent reads see the write or not", `
			1 9 write a
			2 3 read - - 0 0
			4 5 read a - 0 0`, ""},
		{"a stale read", `
			1 2 write a
			3 4 write b
			5 6 read a - 0 0`, "no order explains"},
		{"a read goes back", `
			1 9 write a
			2 3 read a - 0 0
			4 5 read - - 0 0`, "no order explains"},
		{"an acknowledged write is lost", `
			1 2 write a
			3 4 read - - 0 0`, "no order explains"},
		{"an unknown write is applied late", `
			1 ? write a
			2 3 read - - 0 0
			4 5 read a - 0 0`, ""},
		{"an unknown write is never applied", `
			1 ? write a
			2 3 write b
			4 5 read b - 0 0`, ""},
		{"an unknown write is applied twice", `
			1 ? write a
			2 3 read a - 0 0
			4 5 write b
			6 7 read b - 0 0
			8 9 read a - 0 0`, "no order explains"},
		{"a phantom", `
			1 2 write a
			3 4 read x - 0 0`, "which nobody wrote"},
		{"an increment is applied twice", `
			1 2 add 1 1
			3 4 read - - 0 2`, "counter is 2; acknowledged before were 1, asked for 1"},
		{"an increment is lost", `
			1 2 add 1 1
			3 4 add 1 2
			5 6 read - - 0 1`, "counter is 1; acknowledged before were 2"},
		{"an unknown increment counts or not", `
			1 2 add 1 1
			3 ? add 4
			5 6 read - - 0 5`, ""},
		{"two increments return one sum", `
			1 5 add 1 1
			2 6 add 1 1`, "no order explains"},
		{"two clients win one check", `
			1 2 write a
			3 5 cas a b true
			4 6 cas a c true`, "no order explains"},
		{"half a row", `
			1 2 newest n 3
			3 4 write a
			5 6 read a - 0 0`, "no order explains"},
		{"an unknown check", `
			1 2 write a
			3 ? cas a b
			4 5 read b - 0 0`, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := Check(script(t, test.script), time.Minute)
			err := r.Err()
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Fatalf("got %v, want %q", err, test.want)
			}
			var page bytes.Buffer
			if verr := r.Visualize(&page); (verr == nil) != (r.illegal != nil) {
				t.Fatalf("Visualize: %v", verr)
			}
		})
	}
}

// TestCheckRealHistory records clients of a row behind a mutex, which is
// linearizable, then breaks one answer.
func TestCheckRealHistory(t *testing.T) {
	seed, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("SEED=%d", seed)
	h := NewHistory()
	var mu sync.Mutex
	rows := map[string]Row{}
	var wg sync.WaitGroup
	for client := range 8 {
		rng := rand.New(rand.NewPCG(seed, uint64(client)))
		wg.Go(func() {
			for n := range 200 {
				c := Call{Kind: Kind(1 + rng.IntN(5)), Row: fmt.Sprint(rng.IntN(4)), Value: fmt.Sprintf("%d-%d", client, n),
					Timestamp: int64(n), Delta: int64(1 + rng.IntN(3)), Expect: fmt.Sprintf("%d-%d", rng.IntN(8), n-1)}
				if c.Kind != WriteNewest {
					c.Timestamp = 0
				}
				called := h.Now()
				mu.Lock()
				before := rows[c.Row]
				_, rows[c.Row] = step(before, c, Answer{Unknown: true})
				a := Answer{Row: rows[c.Row], Sum: rows[c.Row].Counter, Matched: c.Kind == CheckAndWrite && before.Register == c.Expect}
				mu.Unlock()
				h.Add(client, called, c, a)
			}
		})
	}
	wg.Wait()
	ops := h.Operations()
	if err := Check(ops, time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	for i := len(ops) - 1; i >= 0; i-- {
		if ops[i].Call.Kind == Increment {
			ops[i].Answer.Sum++
			break
		}
	}
	if Check(ops, time.Minute).Err() == nil {
		t.Fatal("a wrong answer was not noticed")
	}
}
