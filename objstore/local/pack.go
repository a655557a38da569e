package local

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/tabletdb/tabletdb/objstore"
)

const (
	// packMaxData is the longest object that goes into a pack, in bytes.
	packMaxData = 4 << 20
	// packSize is where a pack is full. It is deleted when none of its objects
	// is left, so that a large one would keep what was deleted.
	packSize = 16 << 20
	// packStep is how much of a pack is allocated at a time, so that its size
	// need not be made durable with each object.
	packStep = 4 << 20
	// maxSpares is how many packs of which nothing is left are kept to be used
	// again: their blocks need no allocation, nor the journal then.
	maxSpares = 4
	// packMaxKey leaves the header and the key in the first unit of a record.
	packMaxKey = packUnit - packHeaderLen
)

// A commit log writes thousands of small objects, one after the other, and its
// writer waits for each. As a file of its own each needs two commits of the file
// system's journal, for the file and for its name. Packs save both: the object is
// appended to a file that has its blocks already, fdatasync makes that durable,
// and then symlink(2) gives it its name, which nobody makes durable. symlink
// fails like link where the name is taken, so that of several creators, in
// whichever way they create, one wins.
//
// A crash of the machine may take back names, but not what was written; so the
// first store that opens the directory after the machine has started anew gives
// the names again (recoverPacks), before anybody can have looked. A record whose
// creator did not win, or that was deleted, may get a name then: as with every
// deletion, a crash may undo it, and a creator that lost did so against an
// object that was durable, or was never told.
//
// All that needs a file system of this machine alone; elsewhere, and for other
// keys and for larger objects, there are no packs.

// packs are the packs of one store.
type packs struct {
	mu struct {
		sync.Mutex
		open   *pack            // nil: none
		own    map[string]*pack // made by this store, by name
		spares []*pack
	}
}

// pack is a file that this store appends to, or has filled. It is open, and
// locked, until it is deleted or the store is closed.
type pack struct {
	name string
	f    *os.File

	// Of packs.mu:
	next      int64 // where the next record goes
	allocated int64
	live      int  // objects with names, and puts under way
	full      bool // nothing more is appended
	broken    bool // a write or sync failed

	finished atomic.Int64 // writes that have returned
	syncing  struct {
		sync.Mutex
		covered int64 // of finished
		err     error // a sync that failed: nothing of the file can be trusted to get durable
	}
}

// putPacked creates an object in a pack.
func (s *Store) putPacked(d *dir, key, path string, data []byte) error {
	if _, err := os.Lstat(path); err == nil { // spares losers the write
		return s.exists(d, path)
	}
	p, at, err := s.reserve(int64(packHeaderLen + len(key) + len(data)))
	if err != nil {
		return err
	}
	head := appendPackHeader(make([]byte, 0, packHeaderLen+len(key)), p.name, key, data)
	if err := p.write(head, data, at); err != nil {
		s.released(p, true)
		return err
	}
	target := ref{p.name, at + int64(len(head)), int64(len(data))}.String()
	err = os.Symlink(target, path)
	if errors.Is(err, fs.ErrNotExist) { // somebody removed the directory
		s.dirs.forget(d.path)
		if d, err = s.dirs.ensure(filepath.Dir(path)); err == nil {
			err = os.Symlink(target, path)
		}
	}
	if err != nil {
		s.released(p, false)
	}
	if errors.Is(err, fs.ErrExist) {
		return s.exists(d, path)
	}
	return err
}

// reserve returns a pack with room for n bytes, and where they go.
func (s *Store) reserve(n int64) (*pack, int64, error) {
	s.packs.mu.Lock()
	defer s.packs.mu.Unlock()
	p := s.packs.mu.open
	if p != nil && p.next+n > packSize {
		s.fillLocked(p)
		p = nil
	}
	if p == nil {
		var err error
		if p, err = s.newPackLocked(); err != nil {
			return nil, 0, err
		}
		s.packs.mu.open = p
		s.packs.mu.own[p.name] = p
	}
	at := p.next
	for p.allocated < at+n {
		if err := preallocate(p.f, p.allocated, packStep); err != nil {
			return nil, 0, fmt.Errorf("allocate %d bytes of pack %s: %w", packStep, p.name, err)
		}
		p.allocated += packStep // durable with the first record in it
	}
	p.next = roundToUnit(at + n)
	p.live++
	return p, at, nil
}

// newPackLocked returns an empty pack, durable with its name, which is locked for
// as long as this process may append to it.
func (s *Store) newPackLocked() (p *pack, err error) {
	dir := filepath.Join(s.root, packDir)
	id := make([]byte, 8)
	rand.Read(id)
	p = &pack{name: "p-" + hex.EncodeToString(id)}
	path := filepath.Join(dir, p.name)
	if n := len(s.packs.mu.spares); n > 0 {
		old := s.packs.mu.spares[n-1]
		s.packs.mu.spares = s.packs.mu.spares[:n-1]
		p.f, p.allocated = old.f, old.allocated
		err = os.Rename(filepath.Join(dir, old.name), path)
	} else {
		if p.f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666); err != nil {
			return nil, err
		}
		if err = lockFile(p.f); err == nil {
			err = preallocate(p.f, 0, packStep)
			p.allocated = packStep
		}
	}
	if err == nil {
		err = p.f.Sync()
	}
	if err == nil {
		err = fsyncDir(dir)
	}
	if err == nil {
		err = p.hasName(path) // else it was swept before it was locked
	}
	if err != nil {
		_ = os.Remove(path)
		return nil, errors.Join(err, p.f.Close())
	}
	return p, nil
}

// hasName makes sure that the pack is the file at path.
func (p *pack) hasName(path string) error {
	want, err := p.f.Stat()
	if err != nil {
		return err
	}
	got, err := os.Lstat(path)
	if err == nil && !os.SameFile(got, want) {
		err = &os.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return err
}

// write writes a record and makes it durable.
func (p *pack) write(head, data []byte, at int64) error {
	if _, err := p.f.WriteAt(head, at); err != nil {
		return err
	}
	if _, err := p.f.WriteAt(data, at+int64(len(head))); err != nil {
		return err
	}
	return p.sync(p.finished.Add(1))
}

// sync returns when the n-th write that returned is durable. Syncs come one at a
// time: the kernel reports a failed write to one of those who wait.
func (p *pack) sync(n int64) error {
	p.syncing.Lock()
	defer p.syncing.Unlock()
	if p.syncing.err != nil {
		return p.syncing.err
	}
	if p.syncing.covered >= n {
		return nil
	}
	all := p.finished.Load()
	if err := syncData(p.f); err != nil {
		p.syncing.err = fmt.Errorf("pack %s: %w", p.name, err)
		return p.syncing.err
	}
	p.syncing.covered = all
	return nil
}

// released forgets an object of p that got no name. A broken pack takes no more.
func (s *Store) released(p *pack, broken bool) {
	s.packs.mu.Lock()
	defer s.packs.mu.Unlock()
	p.live--
	p.broken = p.broken || broken
	if broken {
		s.fillLocked(p)
	} else {
		s.retireLocked(p)
	}
}

// fillLocked ends a pack: nothing more is appended.
func (s *Store) fillLocked(p *pack) {
	p.full = true
	if s.packs.mu.open == p {
		s.packs.mu.open = nil
	}
	s.retireLocked(p)
}

// retireLocked deletes a full pack of which nothing is left, or keeps it for
// another use.
func (s *Store) retireLocked(p *pack) {
	if !p.full || p.live > 0 || s.packs.mu.own[p.name] != p {
		return
	}
	delete(s.packs.mu.own, p.name)
	if len(s.packs.mu.spares) < maxSpares && !p.broken {
		s.packs.mu.spares = append(s.packs.mu.spares, p)
		return
	}
	s.discard(p)
}

// discard deletes the file of a pack; if that fails it is swept later.
func (s *Store) discard(p *pack) {
	_ = os.Remove(filepath.Join(s.root, packDir, p.name))
	_ = p.f.Close()
}

// unpacked tells that an object of a pack was deleted. It reports whether the
// pack is another's, who may have no process any more.
func (s *Store) unpacked(name string) (foreign bool) {
	s.packs.mu.Lock()
	defer s.packs.mu.Unlock()
	p := s.packs.mu.own[name]
	if p == nil {
		return true
	}
	p.live--
	s.retireLocked(p)
	return false
}

// sweep deletes a pack that nobody appends to, if none of its objects has a
// name.
func (s *Store) sweep(name string) error {
	path := filepath.Join(s.root, packDir, name)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := lockFile(f); err != nil {
		return nil //nolint:nilerr // somebody appends to it
	}
	err = scanPack(f, name, func(rec packRecord) error {
		if objstore.CheckKey(rec.key) != nil {
			return nil
		}
		if r, ok := readRef(s.path(rec.key)); ok && r == rec.ref {
			return errInUse
		}
		return nil
	})
	if errors.Is(err, errInUse) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// errInUse ends the scan of a pack that is needed.
var errInUse = errors.New("in use")

// closePacks lets go of all packs, and deletes those of which nothing is left
// because others deleted it. No put is under way.
func (s *Store) closePacks() error {
	s.packs.mu.Lock()
	defer s.packs.mu.Unlock()
	for _, p := range s.packs.mu.spares {
		s.discard(p)
	}
	var errs []error
	for name, p := range s.packs.mu.own {
		errs = append(errs, p.f.Close(), s.sweep(name))
	}
	s.packs.mu.open, s.packs.mu.spares = nil, nil
	clear(s.packs.mu.own)
	return errors.Join(errs...)
}

// sweepAll deletes the packs that dead processes left empty.
func (s *Store) sweepAll() error {
	entries, err := os.ReadDir(filepath.Join(s.root, packDir))
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if isPackName(e.Name()) {
			errs = append(errs, s.sweep(e.Name()))
		}
	}
	return errors.Join(errs...)
}
