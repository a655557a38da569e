package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// Names within the directory.
const (
	logFile      = "raft.db"
	snapshotsDir = "snapshots" // made by Raft
	snapshots    = 2           // how many are kept
	cachedLogs   = 1024
)

// stores is where Raft keeps its log, its vote and its snapshots.
type stores struct {
	logs      raft.LogStore
	stable    raft.StableStore
	snapshots raft.SnapshotStore
	close     func() error
}

// openStores opens the directory, or memory for dir "".
func openStores(dir string, log *slog.Logger) (stores, error) {
	if dir == "" {
		mem := raft.NewInmemStore()
		return stores{mem, mem, raft.NewInmemSnapshotStore(), func() error { return nil }}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return stores{}, fmt.Errorf("making the directory of the lock service: %w", err)
	}
	path := filepath.Join(dir, logFile)
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout:        time.Second, // another process has it open
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
		},
	})
	if err != nil {
		return stores{}, fmt.Errorf("opening %s: %w", path, err)
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshots, newRaftLogger(log))
	if err != nil {
		return stores{}, errors.Join(fmt.Errorf("opening snapshots in %s: %w", dir, err), bolt.Close())
	}
	cache, err := raft.NewLogCache(cachedLogs, bolt)
	if err != nil {
		return stores{}, errors.Join(err, bolt.Close())
	}
	return stores{cache, bolt, files, bolt.Close}, nil
}

// patientStore is a StableStore whose failures to write do not bring the
// process down: Raft panics where it cannot save its term, and a full disk is
// no bug. The writer, Raft's main goroutine, is held until the write succeeds,
// which looks to the other replicas as if this one had stopped. A replica that
// is closed meanwhile ends that goroutine.
type patientStore struct {
	raft.StableStore
	ctx context.Context // the replica's lifetime
	log *slog.Logger
}

// storeRetry is how often a failed write of the term or vote is retried.
const storeRetry = 500 * time.Millisecond

func (p *patientStore) persist(write func() error) error {
	for logged := false; ; logged = true {
		err := write()
		if err == nil {
			return nil
		}
		if !logged {
			p.log.ErrorContext(p.ctx, "replica stands still: saving its Raft term fails", slog.Any("err", err))
		}
		timer := time.NewTimer(storeRetry)
		select {
		case <-timer.C:
		case <-p.ctx.Done():
			timer.Stop()
			runtime.Goexit()
		}
	}
}

// Set implements raft.StableStore.
func (p *patientStore) Set(key, val []byte) error {
	return p.persist(func() error { return p.StableStore.Set(key, val) })
}

// SetUint64 implements raft.StableStore.
func (p *patientStore) SetUint64(key []byte, val uint64) error {
	return p.persist(func() error { return p.StableStore.SetUint64(key, val) })
}
