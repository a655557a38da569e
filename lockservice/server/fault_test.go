package server_test

import (
	"errors"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/tabletdb/tabletdb/lockservice/server"
)

// disk puts faults between a replica and its stores.
type disk struct {
	mu struct {
		sync.Mutex
		full  bool
		stall chan struct{} // not nil: appends wait until it is closed
	}
}

var errFull = errors.New("no space left on device")

func (d *disk) setFull(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.full = on
}

// stall makes appends wait until the returned function is called.
func (d *disk) stall() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ch := make(chan struct{})
	d.mu.stall = ch
	return func() {
		d.mu.Lock()
		d.mu.stall = nil
		d.mu.Unlock()
		close(ch)
	}
}

func (d *disk) write() error {
	d.mu.Lock()
	full, stall := d.mu.full, d.mu.stall
	d.mu.Unlock()
	if stall != nil {
		<-stall
	}
	if full {
		return errFull
	}
	return nil
}

// install makes o use the disk.
func (d *disk) install(o *server.Options) {
	server.SetWrap(o, func(l raft.LogStore, s raft.StableStore) (raft.LogStore, raft.StableStore) {
		return &faultyLog{l, d}, &faultyStable{s, d}
	})
}

type faultyLog struct {
	raft.LogStore
	d *disk
}

func (f *faultyLog) StoreLog(l *raft.Log) error { return f.StoreLogs([]*raft.Log{l}) }

func (f *faultyLog) StoreLogs(logs []*raft.Log) error {
	if err := f.d.write(); err != nil {
		return err
	}
	return f.LogStore.StoreLogs(logs)
}

// faultyStable is full with the disk, but does not stall: the vote is small
// and goes elsewhere.
type faultyStable struct {
	raft.StableStore
	d *disk
}

func (f *faultyStable) full() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.mu.full {
		return errFull
	}
	return nil
}

func (f *faultyStable) Set(k, v []byte) error {
	if err := f.full(); err != nil {
		return err
	}
	return f.StableStore.Set(k, v)
}

func (f *faultyStable) SetUint64(k []byte, v uint64) error {
	if err := f.full(); err != nil {
		return err
	}
	return f.StableStore.SetUint64(k, v)
}
