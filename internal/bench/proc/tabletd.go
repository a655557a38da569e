package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// TabletDB is a whole cluster in a process of its own.
type TabletDB struct {
	*Process
	Endpoint, LockService, Status string
	// Started is how long it took until it said that it serves.
	Started time.Duration
}

// TabletDBConfig says how to run a cluster.
type TabletDBConfig struct {
	Tabletd       string // the program
	Data          string // its directory
	Store         string // its bucket; "": a directory below Data
	TabletServers int    // 0: tabletd's default
	// Endpoint, LockService and Status are its addresses; "": any. A directory
	// that has been used wants its old address of the lock service.
	Endpoint, LockService, Status string
	Args                          []string // more flags
	Env                           []string // more environment
}

// ensureAddrs chooses addresses where none are given.
func (c *TabletDBConfig) ensureAddrs() error {
	for _, a := range []*string{&c.Endpoint, &c.LockService, &c.Status} {
		if *a == "" {
			addr, err := FreeAddr()
			if err != nil {
				return err
			}
			*a = addr
		}
	}
	return nil
}

// StartTabletDB starts a cluster and returns when it serves. It fills in the
// addresses of c, so that a later start has the same.
func StartTabletDB(ctx context.Context, c *TabletDBConfig) (*TabletDB, error) {
	if err := c.ensureAddrs(); err != nil {
		return nil, err
	}
	args := []string{"dev", "--data", c.Data, "--listen", c.Endpoint, "--lock-listen", c.LockService, "--status", c.Status, "--log-level", "warn"}
	if c.Store != "" {
		args = append(args, "--store", c.Store)
	}
	if c.TabletServers > 0 {
		args = append(args, "--tablet-servers", strconv.Itoa(c.TabletServers))
	}
	began := time.Now()
	p, err := Start(ctx, Command{
		Path: c.Tabletd, Args: append(args, c.Args...), Env: c.Env, Within: 5 * time.Minute,
		Ready: func(line string) bool { return strings.HasPrefix(line, "TabletDB runs") },
	})
	if err != nil {
		return nil, err
	}
	return &TabletDB{Process: p, Endpoint: c.Endpoint, LockService: c.LockService, Status: c.Status, Started: time.Since(began)}, nil
}

// FindTabletd returns the path of tabletd: the given one, or the one beside
// this program, or the one in the path.
func FindTabletd(given string) (string, error) {
	if given != "" {
		return exec.LookPath(given)
	}
	if self, err := os.Executable(); err == nil {
		if p, err := exec.LookPath(filepath.Join(filepath.Dir(self), "tabletd")); err == nil {
			return p, nil
		}
	}
	p, err := exec.LookPath("tabletd")
	if err != nil {
		return "", errors.New("there is no tabletd beside this program or in the path; build it with `go build -o bin/tabletd ./cmd/tabletd` and give --tabletd bin/tabletd")
	}
	return p, nil
}

// EmulatorReady precedes the address in the line that the command emulator
// prints.
const EmulatorReady = "Cloud Bigtable emulator running on "

// StartEmulator starts this program's command emulator, and returns it with its
// address.
func StartEmulator(ctx context.Context, self string) (*Process, string, error) {
	addr := ""
	p, err := Start(ctx, Command{Path: self, Args: []string{"emulator", "--listen", "127.0.0.1:0"}, Ready: func(line string) bool {
		a, ok := strings.CutPrefix(line, EmulatorReady)
		if ok {
			addr = a
		}
		return ok
	}})
	if err != nil {
		return nil, "", fmt.Errorf("emulator: %w", err)
	}
	return p, addr, nil
}
