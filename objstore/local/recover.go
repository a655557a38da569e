package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tabletdb/tabletdb/objstore"
)

// hostFile of packDir says in which life of which machine the names of all
// packed objects were last known to be there.
const hostFile = "host"

// recoverPacks gives packed objects their names again if the machine may have
// crashed since they were given. Of several stores that open the directory the
// first does it and the others wait.
func (s *Store) recoverPacks() error {
	dir := filepath.Join(s.root, packDir)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	host, err := hostID(s.root)
	if err != nil {
		return err
	}
	if b, err := os.ReadFile(filepath.Join(dir, hostFile)); err == nil && string(b) == host {
		return nil
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := waitForLock(lock); err != nil {
		return err
	}
	if b, err := os.ReadFile(filepath.Join(dir, hostFile)); err == nil && string(b) == host {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !isPackName(e.Name()) {
			continue
		}
		if err := s.recoverPack(e.Name()); err != nil {
			return fmt.Errorf("recover pack %s: %w", e.Name(), err)
		}
	}
	return s.rememberHost(host)
}

// beginPacks prepares the directory of packs, so that their names are recovered
// from here on, and clears it.
func (s *Store) beginPacks() error {
	if err := os.Mkdir(filepath.Join(s.root, packDir), 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := fsyncDir(s.root); err != nil {
		return err
	}
	if err := s.recoverPacks(); err != nil {
		return err
	}
	return s.sweepAll()
}

// rememberHost says that all names are there.
func (s *Store) rememberHost(host string) error {
	dir := filepath.Join(s.root, packDir)
	temp := filepath.Join(dir, hostFile+".new")
	if err := os.WriteFile(temp, []byte(host), 0o666); err != nil {
		return err
	}
	if err := fsyncDir(temp); err != nil { // syncs a file as well
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, hostFile)); err != nil {
		return err
	}
	return fsyncDir(dir)
}

// recoverPack gives the objects of a pack names where these are free.
func (s *Store) recoverPack(name string) error {
	f, err := os.Open(filepath.Join(s.root, packDir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	return scanPack(f, name, func(rec packRecord) error {
		if objstore.CheckKey(rec.key) != nil {
			return nil
		}
		path := s.path(rec.key)
		if _, err := os.Lstat(path); err == nil {
			return nil
		}
		if whole, err := rec.whole(f); err != nil || !whole {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
		if err := os.Symlink(rec.ref.String(), path); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	})
}
