package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// dirs knows the directories that exist durably, so that a put into one of them
// need not look. Directories are never removed: a directory whose creator has
// not yet made it durable looks the same as one that is, so that a put into a
// directory that came and went could not trust what it remembers.
type dirs struct {
	root string
	// failing is set once any directory sync failed; see settle.
	failing atomic.Bool

	mu struct {
		sync.RWMutex
		known map[string]*dir // by path
	}
}

// dir is a directory known to exist durably.
type dir struct {
	path string
	// requested counts the calls of sync; call number n wants what was done in
	// the directory before it to be durable.
	requested atomic.Int64
	failed    atomic.Bool // the last sync failed

	mu struct {
		sync.Mutex
		settled int64 // every call of sync up to this one has been served
	}
}

// ensure returns the directory at path, which is the root or below it, after
// making it and its ancestors durable if that has not been done by this store.
// Even a directory that exists needs the sync: another process may have made it
// a moment ago.
func (d *dirs) ensure(path string) (*dir, error) {
	d.mu.RLock()
	known := d.mu.known[path]
	d.mu.RUnlock()
	if known != nil {
		return known, nil
	}
	if path != d.root {
		parent, err := d.ensure(filepath.Dir(path))
		if err != nil {
			return nil, err
		}
		if err := os.Mkdir(path, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if err := parent.sync(d); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if known := d.mu.known[path]; known != nil {
		return known, nil
	}
	made := &dir{path: path}
	d.mu.known[path] = made
	return made, nil
}

// forget makes the next ensure look again: somebody removed the directory.
func (d *dirs) forget(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; path != d.root; path = filepath.Dir(path) {
		delete(d.mu.known, path)
	}
}

// settle makes what can be seen in the directory at path durable, if an earlier
// sync of it failed: an object whose put reported that failure is visible, but a
// crash might still take it back, so nobody may conclude anything from it.
func (d *dirs) settle(path string) error {
	if !d.failing.Load() {
		return nil
	}
	d.mu.RLock()
	known := d.mu.known[path]
	d.mu.RUnlock()
	if known == nil || !known.failed.Load() {
		return nil
	}
	return known.sync(d)
}

// sync makes all entries durable that were made in the directory before the
// call. Concurrent calls share one fsync where it began after they did.
//
// After a failure nobody is taken as served and the next call tries again. That
// a second fsync might succeed although the first one lost something is known of
// file contents; file systems stop altogether when they lose directory blocks.
func (d *dir) sync(all *dirs) error {
	want := d.requested.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.settled >= want {
		return nil
	}
	target := d.requested.Load()
	if err := fsyncDir(d.path); err != nil {
		d.failed.Store(true)
		all.failing.Store(true)
		return fmt.Errorf("sync directory: %w", err)
	}
	d.failed.Store(false)
	d.mu.settled = target
	return nil
}

func fsyncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}
