package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

// Claim makes sure that the store belongs to the cluster expect, and returns its
// identity. A store that belongs to nobody is claimed, for expect or, if that is
// zero, for a new random id; with a zero expect the store of any cluster will do.
// Of several racing claims one wins and the others see its identity.
//
// Errors: ErrForeign if it belongs to another cluster, ErrNewer, base.ErrCorrupt,
// and those of the store.
func Claim(ctx context.Context, s objstore.Store, expect ID) (Identity, error) {
	identity, err := Verify(ctx, s, expect)
	if !errors.Is(err, ErrUnclaimed) {
		return identity, err
	}
	mine := Identity{ID: expect, FormatVersion: FormatVersion, Created: time.Now().UTC().Truncate(time.Second)}
	if expect.IsZero() {
		rand.Read(mine.ID[:])
	}
	err = s.PutIfAbsent(ctx, base.ClusterObject, mine.Append(nil))
	if err != nil && !errors.Is(err, objstore.ErrExists) {
		return Identity{}, fmt.Errorf("claim the bucket: %w", err)
	}
	// The winner reads too: with retries below, the put of a lost reply may have
	// won, and its own id is as good as any.
	return Verify(ctx, s, expect)
}

// Verify is Claim without claiming: a store that belongs to nobody gives
// ErrUnclaimed. It is for processes that join a cluster which exists, to which
// an unclaimed store means a wrong address.
func Verify(ctx context.Context, s objstore.Store, expect ID) (Identity, error) {
	data, err := s.Get(ctx, base.ClusterObject)
	if errors.Is(err, objstore.ErrNotFound) {
		return Identity{}, fmt.Errorf("%w: it has no object %s: check endpoint, bucket and prefix", ErrUnclaimed, base.ClusterObject)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("read the identity of the cluster: %w", err)
	}
	identity, err := ParseIdentity(data)
	if err != nil {
		return Identity{}, err
	}
	if !expect.IsZero() && identity.ID != expect {
		return Identity{}, fmt.Errorf("%w: object %s names cluster %s, created %s, but this is cluster %s: "+
			"give each cluster a prefix of its own", ErrForeign, base.ClusterObject,
			identity.ID, identity.Created.Format(time.RFC3339), expect)
	}
	return identity, nil
}

// WinGeneration wins a generation of the lock service, by creating its object,
// and returns it: the first free one that is wanted or later, and later than
// every one that was ever won (rule R17). Generations start at 1. No two callers
// ever win the same; one that fails may use one up.
func WinGeneration(ctx context.Context, s objstore.Store, wanted uint32) (uint32, error) {
	highest, err := highestGeneration(ctx, s)
	if err != nil {
		return 0, fmt.Errorf("win a generation: %w", err)
	}
	nonce := make([]byte, 16)
	rand.Read(nonce)
	content := fmt.Appendf(nil, "tabletdb generation\nwon %s by %x\n", time.Now().UTC().Format(time.RFC3339), nonce)
	for g := max(uint64(wanted), uint64(highest)+1); g <= math.MaxUint32; g++ {
		won, err := create(ctx, s, base.GenerationObject(uint32(g)), content)
		if err != nil {
			return 0, fmt.Errorf("win generation %d: %w", g, err)
		}
		if won {
			return uint32(g), nil
		}
	}
	return 0, fmt.Errorf("win a generation: %w: none is left below 2^32", base.ErrPrecondition)
}

// create reports whether content became that of the object: an object that
// exists is the caller's own after a lost reply.
func create(ctx context.Context, s objstore.Store, key string, content []byte) (bool, error) {
	err := s.PutIfAbsent(ctx, key, content)
	if !errors.Is(err, objstore.ErrExists) {
		return err == nil, err
	}
	got, err := s.Get(ctx, key)
	if err != nil {
		return false, err
	}
	return string(got) == string(content), nil
}

// highestGeneration returns the highest generation won so far, or 0.
func highestGeneration(ctx context.Context, s objstore.Store) (uint32, error) {
	prefix, _ := objstore.SplitDir(base.GenerationObject(0))
	var highest uint32
	for info, err := range s.List(ctx, prefix, "") {
		if err != nil {
			return 0, err
		}
		var g uint32
		if _, err := fmt.Sscanf(strings.TrimPrefix(info.Key, prefix), "%d", &g); err != nil || base.GenerationObject(g) != info.Key {
			return 0, fmt.Errorf("%w: object %s is not named after a generation", base.ErrCorrupt, info.Key)
		}
		highest = max(highest, g)
	}
	return highest, nil
}

// NewID returns a random id.
func NewID() (id ID) {
	rand.Read(id[:])
	return id
}
