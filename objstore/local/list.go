package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/tabletdb/tabletdb/objstore"
)

// List implements objstore.Store. It reads one directory after the other and
// holds the names of the directories on its path, not the whole listing.
func (s *Store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if err := objstore.CheckPrefix(prefix); err != nil {
			yield(objstore.Info{}, fmt.Errorf("list: %w", err))
			return
		}
		dir, _ := objstore.SplitDir(prefix)
		l := listing{ctx: ctx, store: s, prefix: prefix, after: startAfter, yield: yield}
		l.walk(dir)
	}
}

// listing is one call of List.
type listing struct {
	ctx    context.Context
	store  *Store
	prefix string
	after  string
	yield  func(objstore.Info, error) bool
}

// walk yields the wanted objects below dir, a key prefix that is empty or ends
// in a slash; it returns false when the listing is over.
func (l *listing) walk(dir string) bool {
	if err := l.ctx.Err(); err != nil {
		return l.fail(dir, err)
	}
	path := l.store.path(strings.TrimSuffix(dir, "/"))
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return l.fail(dir, err)
	}
	for _, key := range l.wanted(dir, entries) {
		if strings.HasSuffix(key, "/") {
			if !l.walk(key) {
				return false
			}
			continue
		}
		info, err := os.Lstat(l.store.path(key))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted since
		}
		if err != nil {
			return l.fail(dir, err)
		}
		size, ok := info.Size(), info.Mode().IsRegular()
		if info.Mode()&fs.ModeSymlink != 0 {
			var r ref
			r, ok = readRef(l.store.path(key))
			size = r.len
		}
		if ok && !l.yield(objstore.Info{Key: key, Size: size}, nil) {
			return false
		}
	}
	return true
}

// wanted returns the entries of dir that are or may hold objects of the listing,
// as keys, those of directories with a slash at their end, in the order of keys:
// "a-b" comes before what is below "a/".
func (l *listing) wanted(dir string, entries []os.DirEntry) []string {
	keys := make([]string, 0, len(entries))
	for _, e := range entries {
		part, ok := unescape(e.Name())
		if !ok {
			continue // not ours: .tmp, .DS_Store, ...
		}
		key := dir + part
		if e.IsDir() {
			key += "/"
			passed := l.after >= key && !strings.HasPrefix(l.after, key)
			if !passed && (strings.HasPrefix(key, l.prefix) || strings.HasPrefix(l.prefix, key)) {
				keys = append(keys, key)
			}
		} else if key > l.after && strings.HasPrefix(key, l.prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func (l *listing) fail(dir string, err error) bool {
	l.yield(objstore.Info{}, fmt.Errorf("list %s: %w", l.store.path(strings.TrimSuffix(dir, "/")), explainRead(err)))
	return false
}
