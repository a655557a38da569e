// Package local is an object store in a directory. Several stores, in one
// process or in many, may share the directory: that only one of several racing
// creators wins is the work of link(2), not of a lock.
//
// An object is a file. A put writes a temporary file in a directory of its own
// on the same file system, makes its content durable, gives it its name by
// link (create if absent) or rename (replace), and makes the name durable by
// syncing the directory that holds it. So an object is visible whole or not at
// all, also after a crash. Small objects that are written one after the other, as
// commit logs are, may share a file, a pack.
package local

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

// staleAfter is the age at which Open takes a temporary file for the leftover of
// a process that died. Writing to a file keeps it young.
const staleAfter = time.Hour

// Options are the options of a store; the zero Options are fine.
type Options struct {
	// Packed are prefixes of keys whose objects go into packs where the file
	// system allows: many small ones that are created one after the other, are
	// deleted in about that order, and whose names are not used again. A crash of
	// the machine may bring back some that were deleted.
	Packed []string
}

// Store implements objstore.Store and objstore.Streamer. It starts no
// goroutines between calls, and holds no open files but its packs.
type Store struct {
	root   string
	packed []string
	packs  packs
	dirs   dirs

	tempPrefix string // of the names of this store's temporary files
	tempCount  atomic.Uint64
}

// Open returns the store in the directory root, which it makes if need be, and
// removes what uploads of dead processes left there more than an hour ago.
func Open(root string) (*Store, error) { return OpenWith(root, Options{}) }

// OpenWith is Open with options. Stores with different ones may share a
// directory.
func OpenWith(root string, o Options) (*Store, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open local store %s: %w", root, err)
	}
	if err := prepare(abs); err != nil {
		return nil, fmt.Errorf("open local store %s: %w", root, err)
	}
	id := make([]byte, 8)
	rand.Read(id)
	s := &Store{root: abs, tempPrefix: fmt.Sprintf("%d-%s-", os.Getpid(), hex.EncodeToString(id))}
	s.dirs.root = abs
	s.dirs.mu.known = make(map[string]*dir)
	s.packs.mu.own = make(map[string]*pack)
	if err := s.recoverPacks(); err != nil {
		return nil, fmt.Errorf("open local store %s: %w", root, err)
	}
	if len(o.Packed) > 0 && isOwnFileSystem(abs) {
		if err := s.beginPacks(); err != nil {
			return nil, fmt.Errorf("open local store %s: %w", root, err)
		}
		s.packed = o.Packed
	}
	return s, nil
}

// prepare makes the directories of a store and clears old temporary files.
func prepare(root string) error {
	temp := filepath.Join(root, tempDir)
	if err := os.MkdirAll(temp, 0o777); err != nil {
		return err
	}
	if err := fsyncDir(filepath.Dir(root)); err != nil {
		return err
	}
	entries, err := os.ReadDir(temp)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || time.Since(info.ModTime()) < staleAfter {
			continue // a file that just went is as good as cleared
		}
		if err := os.Remove(filepath.Join(temp, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Root returns the directory of the store, as an absolute path.
func (s *Store) Root() string { return s.root }

// Close closes the packs.
func (s *Store) Close() error { return s.closePacks() }

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	return s.put(ctx, key, true, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// PutIfAbsent implements objstore.Store. When it returns ErrExists, the object
// that exists is durable too.
func (s *Store) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	if s.isPacked(key, data) {
		return s.whole(ctx, key, func(d *dir, path string) error { return s.putPacked(d, key, path, data) })
	}
	return s.put(ctx, key, false, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// Upload implements objstore.Streamer.
func (s *Store) Upload(ctx context.Context, key string, r io.ReaderAt, size int64) error {
	if size < 0 {
		return fmt.Errorf("upload %s: %w: size %d", key, base.ErrInvalid, size)
	}
	return s.put(ctx, key, false, func(f *os.File) error {
		src := &contextReader{ctx: ctx, r: io.NewSectionReader(r, 0, size)}
		n, err := io.CopyBuffer(struct{ io.Writer }{f}, src, make([]byte, min(size+1, 1<<20)))
		if err == nil && n != size {
			err = fmt.Errorf("source has %d of %d bytes: %w", n, size, io.ErrUnexpectedEOF)
		}
		return err
	})
}

// isPacked reports whether an object goes into a pack.
func (s *Store) isPacked(key string, data []byte) bool {
	return len(data) <= packMaxData && len(key) <= packMaxKey &&
		slices.ContainsFunc(s.packed, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}

// put creates or replaces the object key with what fill writes.
func (s *Store) put(ctx context.Context, key string, replace bool, fill func(*os.File) error) error {
	return s.whole(ctx, key, func(d *dir, path string) error { return s.create(d, path, replace, fill) })
}

// whole calls create with the directory and the path of the object key, and
// explains its error.
func (s *Store) whole(ctx context.Context, key string, create func(d *dir, path string) error) error {
	err := ctx.Err()
	if err == nil {
		err = objstore.CheckKey(key)
	}
	if err == nil {
		var d *dir
		path := s.path(key)
		if d, err = s.dirs.ensure(filepath.Dir(path)); err == nil {
			err = create(d, path)
		}
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", key, explain(err))
	}
	return nil
}

func (s *Store) create(d *dir, path string, replace bool, fill func(*os.File) error) error {
	if !replace {
		if _, err := os.Lstat(path); err == nil { // spares losers the write
			return s.exists(d, path)
		}
	}
	temp, err := s.writeTemp(fill)
	if err != nil {
		return err
	}
	moved, err := s.publish(d, temp, path, replace)
	if !moved {
		// After the directory sync: the journal commit that the caller waits
		// for need not carry this. A failure leaves a file for Open to clear.
		_ = os.Remove(temp)
	}
	return err
}

// writeTemp makes a temporary file, durable but for its name.
func (s *Store) writeTemp(fill func(*os.File) error) (name string, err error) {
	name = s.root + "/" + tempDir + "/" + s.tempPrefix + strconv.FormatUint(s.tempCount.Add(1), 10)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return "", err
	}
	err = fill(f)
	if err == nil {
		err = syncData(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(name)
		return "", err
	}
	return name, nil
}

// publish gives temp its name; moved says that temp is gone.
func (s *Store) publish(d *dir, temp, path string, replace bool) (moved bool, err error) {
	name := os.Link
	if replace {
		name = os.Rename
	}
	err = name(temp, path)
	if errors.Is(err, fs.ErrNotExist) { // somebody removed the directory
		s.dirs.forget(d.path)
		if d, err = s.dirs.ensure(filepath.Dir(path)); err != nil {
			return false, err
		}
		err = name(temp, path)
	}
	if errors.Is(err, fs.ErrExist) {
		if replace { // rename meets that only with directories
			return false, syscall.EISDIR
		}
		return false, s.exists(d, path)
	}
	if err != nil {
		return false, err
	}
	return replace, d.sync(&s.dirs)
}

// exists returns ErrExists after making the object that is in the way durable:
// its creator, who may have been told of an error, or have died, or be about to
// sync, will take ErrExists for the proof that the object stays.
func (s *Store) exists(d *dir, path string) error {
	info, err := os.Lstat(path)
	if err == nil && info.IsDir() {
		return syscall.EISDIR
	}
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return objstore.ErrExists // its data were durable before it had a name
	}
	if err := d.sync(&s.dirs); err != nil {
		return err
	}
	return objstore.ErrExists
}

// Delete implements objstore.Store. The directories stay.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	foreign := map[string]bool{} // packs
	for _, key := range keys {
		err := ctx.Err()
		if err == nil {
			err = objstore.CheckKey(key)
		}
		if err == nil {
			err = s.remove(s.path(key), foreign)
		}
		if err != nil {
			return fmt.Errorf("delete %s: %w", key, err)
		}
	}
	for name := range foreign {
		if err := s.sweep(name); err != nil {
			return fmt.Errorf("sweep pack %s: %w", name, err)
		}
	}
	return nil
}

// remove deletes an object and notes its pack, if that is another's.
func (s *Store) remove(path string, foreign map[string]bool) error {
	r, packed := readRef(path)
	gone, err := remove(path)
	if packed && gone && s.unpacked(r.pack) {
		foreign[r.pack] = true
	}
	return err
}

// remove deletes a file but not a directory, and reports whether it was there. It is not made durable: that a
// deletion is undone by a crash is one more case of garbage to collect.
func remove(path string) (gone bool, err error) {
	err = syscall.Unlink(path)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return false, nil
	case errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.EPERM):
		if info, statErr := os.Lstat(path); statErr == nil && info.IsDir() {
			return false, nil // no object of this name
		}
	}
	return false, &os.PathError{Op: "unlink", Path: path, Err: err}
}

// explain adds to an error of the file system what it means for a store.
func explain(err error) error {
	switch {
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("%w: another object continues this key after a slash, or the other way round (%w)", base.ErrInvalid, err)
	case errors.Is(err, syscall.ENAMETOOLONG):
		return fmt.Errorf("%w: a part of the key is too long for the file system (%w)", base.ErrInvalid, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: the process may not write there (%w)", objstore.ErrDenied, err)
	}
	return err
}

// contextReader ends a copy when the context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
