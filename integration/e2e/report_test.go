//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// result is what was measured around one fault.
type result struct {
	Fault    string        `json:"fault"`
	Store    string        `json:"store"`
	TTL      time.Duration `json:"session_ttl_ns"`
	Tablets  int           `json:"tablets"`
	Away     int           `json:"tablets_away"`
	All      time.Duration `json:"all_back_ns"`
	Median   time.Duration `json:"median_back_ns"`
	Longest  time.Duration `json:"longest_gap_ns"`
	Unharmed time.Duration `json:"longest_gap_of_others_ns"`
	Ops      int64         `json:"acknowledged"`
	Errors   int           `json:"errors_seen"`
	Unknown  int           `json:"unknown_outcomes"`
}

// log collects the results of all tests.
type resultLog struct {
	mu   sync.Mutex
	list []result
}

// results is written once, at the end of the run.
var results resultLog

func (l *resultLog) add(r result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, r)
}

// write writes recovery.json and recovery.md.
func (l *resultLog) write(dir string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) == 0 {
		return nil
	}
	b, err := json.MarshalIndent(l.list, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "recovery.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	table := l.markdown()
	fmt.Fprint(os.Stderr, "\n", table)
	return os.WriteFile(filepath.Join(dir, "recovery.md"), []byte(table), 0o644)
}

func (l *resultLog) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "Measured %s with `make e2e` on %d cores (%s/%s), clients, servers and store together; %d tablets, probed every %v.\n",
		time.Now().Format("2006-01-02"), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, tabletCount, probeEvery)
	fmt.Fprintf(&s, "Away: tablets without a successful write and read for more than %v. All back, median back: from the fault until the last, or the\n", outage)
	s.WriteString("median, of those served again. Longest gap: between two successes of one tablet.\n\n")
	s.WriteString("| fault | store | lease | away | all back | median back | longest gap | longest gap of others | acknowledged | errors seen | unknown |\n")
	s.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range l.list {
		fmt.Fprintf(&s, "| %s | %s | %v | %d of %d | %s | %s | %s | %s | %d | %d | %d |\n", r.Fault, r.Store, r.TTL, r.Away, r.Tablets,
			seconds(r.All), seconds(r.Median), seconds(r.Longest), seconds(r.Unharmed), r.Ops, r.Errors, r.Unknown)
	}
	return s.String()
}

func seconds(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
