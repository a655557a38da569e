package lease_test

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/lease"
)

func id(n uint64) lockservice.SessionID {
	return lockservice.SessionID{Generation: 1, Index: n}
}

// TestScript runs testdata/lease.txt: commands, "----", exact output. Each
// command begins with the time in seconds since the start of the term.
func TestScript(t *testing.T) {
	f, err := os.Open("testdata/lease.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	start := time.Unix(1000, 0)
	table := lease.New(start)
	var got, want []string
	line, expecting := 0, false
	check := func() {
		if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
			t.Errorf("before line %d: got\n%s\nwant\n%s", line, g, w)
		}
		got, want, expecting = nil, nil, false
	}
	in := bufio.NewScanner(f)
	for in.Scan() {
		line++
		text := strings.TrimSpace(in.Text())
		switch {
		case text == "" || strings.HasPrefix(text, "#"):
			if expecting {
				check()
			}
			if strings.HasPrefix(text, "# table") {
				table = lease.New(start)
			}
		case text == "----":
			expecting = true
		case expecting:
			want = append(want, text)
		default:
			got = append(got, step(t, table, start, text))
		}
	}
	check()
	if in.Err() != nil {
		t.Fatal(in.Err())
	}
}

// step runs one command and tells what came of it.
func step(t *testing.T, table *lease.Table, start time.Time, text string) string {
	t.Helper()
	var at, ttl float64
	var n uint64
	var command string
	fields := strings.Fields(text)
	fmt.Sscan(fields[0], &at)
	command = fields[1]
	now := start.Add(time.Duration(at * float64(time.Second)))
	if len(fields) > 2 {
		fmt.Sscan(fields[2], &n)
	}
	if len(fields) > 3 {
		fmt.Sscan(fields[3], &ttl)
	}
	d := time.Duration(ttl * float64(time.Second))
	switch command {
	case "add":
		table.Add(id(n), d, false, now)
	case "revoked":
		table.Add(id(n), d, true, now)
	case "renew":
		return fmt.Sprintf("%s: renew %d: %v", fields[0], n, table.Renew(id(n), now))
	case "tick":
		return fmt.Sprintf("%s: %s", fields[0], show(table.Tick(now)))
	case "ticks": // every quarter of a second up to then
		last := now
		fmt.Sscan(fields[2], &ttl)
		for at := last; at.Sub(start).Seconds() <= ttl; at = at.Add(250 * time.Millisecond) {
			if s := show(table.Tick(at)); s != "nothing" {
				return fmt.Sprintf("%.2f: %s", at.Sub(start).Seconds(), s)
			}
		}
		return fmt.Sprintf("up to %v: nothing", ttl)
	case "again":
		table.Again(lease.Due{Expire: []lockservice.SessionID{id(n)}})
	default:
		t.Fatalf("unknown command %q", text)
	}
	return text
}

func show(d lease.Due) string {
	var out []string
	if d.Gap != 0 {
		out = append(out, fmt.Sprintf("gap %v", d.Gap))
	}
	for _, i := range d.Expire {
		out = append(out, fmt.Sprintf("expire %d", i.Index))
	}
	for _, i := range d.EndLease {
		out = append(out, fmt.Sprintf("end lease %d", i.Index))
	}
	if len(out) == 0 {
		return "nothing"
	}
	return strings.Join(out, ", ")
}

// TestH24Gap: a leader that slept expires nobody before everybody had a full
// TTL to renew in.
func TestH24Gap(t *testing.T) {
	now := time.Unix(0, 0)
	table := lease.New(now)
	const ttl = 10 * time.Second
	for n := range uint64(100) {
		table.Add(id(n), ttl, false, now)
	}
	now = now.Add(time.Hour)
	if d := table.Tick(now); d.Gap != time.Hour || len(d.Expire) != 0 {
		t.Fatalf("after an hour asleep: %+v", d)
	}
	for at := time.Second; at < ttl; at += time.Second {
		if d := table.Tick(now.Add(at)); len(d.Expire) != 0 || d.Gap != 0 {
			t.Fatalf("%v after waking up: %+v", at, d)
		}
	}
	if !table.Renew(id(7), now.Add(ttl-1)) {
		t.Error("renewal after waking up was refused")
	}
	if d := table.Tick(now.Add(ttl)); len(d.Expire) != 99 {
		t.Errorf("a TTL after waking up: %d expire, want 99", len(d.Expire))
	}
}

func TestNext(t *testing.T) {
	now := time.Unix(0, 0)
	table := lease.New(now)
	if _, ok := table.Next(); ok {
		t.Error("an empty table has something due")
	}
	table.Add(id(1), 5*time.Second, false, now)
	table.Add(id(2), 3*time.Second, false, now)
	if at, ok := table.Next(); !ok || at.Sub(now) != 3*time.Second {
		t.Errorf("next at %v, %v", at, ok)
	}
	if table.Len() != 2 {
		t.Errorf("%d leases", table.Len())
	}
}
