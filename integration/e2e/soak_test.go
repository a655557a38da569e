//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/integration/linearizability"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
)

// soakRound is how long one history of the soak is: what is checked of a row
// grows faster than its history.
const soakRound = time.Minute

// soakFlags make everything happen often: tablets are flushed, compacted and
// split at a few hundred KiB.
var (
	soakServerFlags = []string{"--flush-mb", "1", "--file-mb", "1", "--memtable-mb", "64", "--cache-mb", "8"}
	soakMasterFlags = []string{"--split-mb", "1", "--merge-age", "20s"}
)

// TestSoak runs for E2E_SOAK, a duration: clients write, read, count and delete,
// and remember what they were told, while tablets are split, merged, moved,
// flushed and compacted, servers are drained, restarted and killed, and garbage
// is collected. Every minute all that the clients remember is compared. In the
// end the bucket must be sound, hold nothing that nobody needs, and the servers'
// memory must not have grown.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("E2E_SOAK"))
	if err != nil {
		t.Skip("E2E_SOAK says for how long to run, such as 30m")
	}
	c := startCluster(t, shape{flags: soakServerFlags, masterFlags: soakMasterFlags})
	c.createTable()
	s := &soak{cluster: c, end: time.Now().Add(length), ledger: newLedger(), memory: map[string][]sample{}}
	s.mu.did = map[string]int{}
	fronts := []frontend{official{open(t, c.addr[c.gateway])}, c.openNative(t)}
	ctx, stop := context.WithCancel(t.Context())
	var chaos sync.WaitGroup
	chaos.Go(func() { s.disturb(ctx) })
	chaos.Go(func() { s.watchMemory(ctx) })
	defer chaos.Wait()
	defer stop()
	stamps := time.Now().UnixMilli()
	for round := 0; time.Now().Before(s.end) && !t.Failed(); round++ {
		stamps = s.round(round, stamps, fronts)
	}
	stop()
	chaos.Wait()
	s.finish()
}

// soak is a run of TestSoak.
type soak struct {
	*cluster
	end    time.Time
	ledger *ledger
	memory map[string][]sample // of each process, over time

	mu struct {
		sync.Mutex
		did map[string]int // what was done to the cluster, and how often it was refused
	}
}

// sample is how much memory a process has.
type sample struct {
	at    time.Time
	bytes int64
}

// round runs clients for a while and compares all that they were told. It
// returns the last timestamp that they used.
func (s *soak) round(n int, stamps int64, fronts []frontend) int64 {
	w := &workload{t: s.t, space: fmt.Sprintf("row%d", n), history: linearizability.NewHistory(), ledger: s.ledger, fronts: fronts}
	w.start()
	w.stamps.Store(max(stamps, w.stamps.Load()))
	select {
	case <-time.After(min(soakRound, max(time.Until(s.end), time.Second))):
	case <-s.t.Context().Done():
		s.t.FailNow()
	}
	w.stop()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	s.readAll(ctx, w)
	wrong, rows, err := s.ledger.check(ctx, open(s.t, s.addr[s.gateway]))
	if err != nil {
		s.t.Errorf("read the ledger: %v", err)
	}
	s.complain("ledger", wrong)
	s.complain("clients", w.mu.wrong)
	r := linearizability.Check(w.history.Operations(), 30*time.Second)
	if err := r.Err(); err != nil {
		s.t.Error(err)
		s.draw(r)
	}
	errs, text := w.errors()
	tablets, _, err := s.meta.All(ctx, lockservice.ReadOptions{})
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Logf("round %d: %d operations, %d without an answer; %d rows in the ledger; %d tablets; %d errors reached clients\n%s\nso far: %v",
		n, r.Operations, r.Unknown, rows, len(tablets), errs, text, s.mu.did)
	return w.stamps.Load()
}

// disturb does something to the cluster every now and then.
func (s *soak) disturb(ctx context.Context) {
	rng := rand.New(rand.NewPCG(settings.seed, 0))
	deeds := []struct {
		name   string
		weight int
		do     func(context.Context, *rand.Rand) error
	}{
		{"split", 6, s.split}, {"merge", 5, s.merge}, {"move", 6, s.move}, {"flush", 3, s.flush}, {"compact", 3, s.compact},
		{"collect garbage", 2, s.collect}, {"drain and undrain", 1, s.drain}, {"restart", 1, s.restart}, {"kill", 1, s.killOne}, {"kill the active master", 1, s.killMaster},
	}
	all := 0
	for _, d := range deeds {
		all += d.weight
	}
	for {
		select {
		case <-time.After(500*time.Millisecond + time.Duration(rng.Int64N(int64(time.Second)))):
		case <-ctx.Done():
			return
		}
		n := rng.IntN(all)
		for _, d := range deeds {
			if n -= d.weight; n >= 0 {
				continue
			}
			err := d.do(ctx, rng)
			if ctx.Err() != nil {
				return
			}
			s.mu.Lock()
			if s.mu.did[d.name]++; err != nil {
				s.mu.did[d.name+" refused"]++
				s.t.Logf("%s: %v", d.name, err)
			}
			s.mu.Unlock()
			break
		}
	}
}

// adm runs tabletadm.
func (s *soak) adm(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	args = append([]string{"--lockservice", strings.Join(s.lockAddresses(), ","), "--store", s.store}, args...)
	cmd := exec.CommandContext(ctx, settings.tabletadm, args...)
	cmd.Env = append(os.Environ(), s.env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("tabletadm %s: %w: %s", strings.Join(args[4:], " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// some returns a random tablet, and the one behind it, if that is of the same
// table.
func (s *soak) some(ctx context.Context, rng *rand.Rand) (one, next meta.Tablet, ok bool, err error) {
	tablets, _, err := s.meta.All(ctx, lockservice.ReadOptions{})
	if err != nil || len(tablets) == 0 {
		return one, next, false, fmt.Errorf("list %d tablets: %w", len(tablets), err)
	}
	i := rng.IntN(len(tablets))
	if one = tablets[i]; len(one.End) == 0 {
		return one, next, false, nil
	}
	i = slices.IndexFunc(tablets, func(t meta.Tablet) bool { return t.Table == one.Table && bytes.Equal(t.Start, one.End) })
	if i < 0 {
		return one, next, false, fmt.Errorf("no tablet begins at %q, where tablet %d ends", one.End, one.ID)
	}
	return one, tablets[i], true, nil
}

func id(t meta.Tablet) string { return strconv.FormatUint(uint64(t.ID), 10) }

func (s *soak) split(ctx context.Context, rng *rand.Rand) error {
	one, _, _, err := s.some(ctx, rng)
	if err == nil {
		_, err = s.adm(ctx, "tablet", "split", id(one))
	}
	return err
}

func (s *soak) merge(ctx context.Context, rng *rand.Rand) error {
	one, next, ok, err := s.some(ctx, rng)
	if err == nil && ok {
		_, err = s.adm(ctx, "tablet", "merge", id(one), id(next))
	}
	return err
}

func (s *soak) move(ctx context.Context, rng *rand.Rand) error {
	one, _, _, err := s.some(ctx, rng)
	if err == nil {
		_, err = s.adm(ctx, "tablet", "move", id(one), s.elsewhere(one, rng))
	}
	return err
}

// elsewhere returns the name of a tablet server that does not have the tablet.
func (s *soak) elsewhere(t meta.Tablet, rng *rand.Rand) string {
	for {
		if p := s.tablets[rng.IntN(len(s.tablets))]; s.addr[p] != t.OwnerAddress {
			return p.name
		}
	}
}

func (s *soak) flush(ctx context.Context, rng *rand.Rand) error {
	one, _, _, err := s.some(ctx, rng)
	if err == nil {
		_, err = s.adm(ctx, "tablet", "flush", id(one))
	}
	return err
}

func (s *soak) compact(ctx context.Context, rng *rand.Rand) error {
	one, _, _, err := s.some(ctx, rng)
	if err == nil {
		_, err = s.adm(ctx, "tablet", "compact", id(one))
	}
	return err
}

func (s *soak) collect(ctx context.Context, _ *rand.Rand) error {
	_, err := s.adm(ctx, "gc")
	return err
}

func (s *soak) drain(ctx context.Context, rng *rand.Rand) error {
	p := s.tablets[rng.IntN(len(s.tablets))]
	if _, err := s.adm(ctx, "server", "drain", p.name); err != nil {
		return err
	}
	_, err := s.adm(ctx, "server", "undrain", p.name)
	return err
}

// restart stops a tablet server in the orderly way and starts it again.
func (s *soak) restart(_ context.Context, rng *rand.Rand) error {
	return s.again(s.tablets[rng.IntN(len(s.tablets))], syscall.SIGTERM)
}

func (s *soak) killOne(_ context.Context, rng *rand.Rand) error {
	return s.again(s.tablets[rng.IntN(len(s.tablets))], syscall.SIGKILL)
}

func (s *soak) killMaster(context.Context, *rand.Rand) error {
	return s.again(s.activeMaster(), syscall.SIGKILL)
}

// again ends a process, by a signal, and starts it.
func (s *soak) again(p *process, sig syscall.Signal) error {
	p.signal(s.t, sig)
	p.wait(s.t, time.Minute)
	if err := p.run(); err != nil {
		return err
	}
	return poll(s.t.Context(), time.Minute, func() error {
		b, err := os.ReadFile(p.out)
		if err == nil && !strings.Contains(string(b), "serve") {
			err = fmt.Errorf("%s does not serve", p.name)
		}
		return err
	})
}

// watchMemory samples the resident memory of the processes.
func (s *soak) watchMemory(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, p := range s.all() {
			if n := p.resident(); n > 0 {
				s.memory[p.name] = append(s.memory[p.name], sample{time.Now(), n})
			}
		}
	}
}

// resident returns the bytes of memory that the process has; 0: it does not run.
func (p *process) resident() int64 {
	p.mu.Lock()
	cmd := p.mu.cmd
	p.mu.Unlock()
	if cmd == nil || !p.running() {
		return 0
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", cmd.Process.Pid))
	fields := strings.Fields(string(b))
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// finish checks the cluster, now that it is left alone.
func (s *soak) finish() {
	s.t.Helper()
	for _, p := range s.tablets { // a drain may have been interrupted
		if _, err := s.adm(s.t.Context(), "server", "undrain", p.name); err != nil {
			s.t.Error(err)
		}
	}
	s.awaitServing(time.Minute)
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	s.checkTiling(ctx)
	s.checkStore(ctx)
	s.checkLeaks(ctx)
	s.checkMemory()
	for _, deed := range []string{"split", "merge", "move", "flush", "compact", "collect garbage", "drain and undrain", "restart", "kill", "kill the active master"} {
		if n, refused := s.mu.did[deed], s.mu.did[deed+" refused"]; n > 20 && refused*10 > n*9 {
			s.t.Errorf("%s was refused %d times of %d", deed, refused, n)
		}
	}
}

// checkLeaks collects garbage until none is left, which must not take long, and
// compares what is left with what is needed.
func (s *soak) checkLeaks(ctx context.Context) {
	s.t.Helper()
	var report struct {
		Garbage struct {
			Objects int   `json:"objects"`
			Bytes   int64 `json:"bytes"`
		} `json:"garbage"`
	}
	within(s.t, 2*time.Minute, "all garbage is collected", func() error {
		if _, err := s.adm(ctx, "gc"); err != nil {
			return err
		}
		out, err := s.adm(ctx, "gc", "--dry-run", "-o", "json")
		if err != nil {
			return err
		}
		if err := json.Unmarshal(out, &report); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if report.Garbage.Objects > 0 {
			return fmt.Errorf("%d objects of %d bytes are garbage still", report.Garbage.Objects, report.Garbage.Bytes)
		}
		return nil
	})
	out, err := s.adm(ctx, "gc", "--dry-run")
	s.t.Logf("%s, %v", out, err)
}

// checkMemory compares the memory of the last quarter with that of the second:
// in the first one caches fill.
func (s *soak) checkMemory() {
	s.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(s.memory)) {
		m := s.memory[name]
		if len(m) < 16 {
			continue
		}
		early, late := medianBytes(m[len(m)/4:len(m)/2]), medianBytes(m[len(m)*3/4:])
		s.t.Logf("%s: resident %d MiB, later %d MiB", name, early>>20, late>>20)
		if late > early*3/2+(32<<20) {
			s.t.Errorf("%s: resident memory grew from %d to %d MiB", name, early>>20, late>>20)
		}
	}
}

func medianBytes(m []sample) int64 {
	var bytes []int64
	for _, s := range m {
		bytes = append(bytes, s.bytes)
	}
	slices.Sort(bytes)
	return bytes[len(bytes)/2]
}
