// Package probe checks at start-up whether an object store keeps the promises
// that TabletDB's safety rests on: that of several racing creators of an object
// exactly one wins, and that what was written is read and listed at once. Some
// stores, versions and gateways ignore or race the condition; on those, two
// servers could acknowledge writes into the same place of a log.
package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

// ErrUnfit marks a store that gave a wrong answer. No retry cures that: the
// store must be replaced or upgraded. Errors without the mark say that the store
// could not be asked, and the probe may be repeated (rule R20).
var ErrUnfit = errors.New("the object store is unfit")

// Prefix of the objects that probes make.
const Prefix = "probe/"

// leftoverAge is the age at which a probe deletes objects that an earlier one,
// which died, left behind.
const leftoverAge = time.Hour

// Options of a probe; zero fields mean the defaults.
type Options struct {
	// Racers is how many calls compete to create each object: 32 by default.
	Racers int
	// Rounds is how many objects they compete for, one after the other: 20 by
	// default.
	Rounds int
}

// Run probes s and deletes the objects it made. It needs about one second on a
// directory and a few on a real service. The store should not be one that
// caches; below a retry decorator a lost reply can make the probe fail without
// the mark ErrUnfit.
func Run(ctx context.Context, s objstore.Store, opts Options) error {
	if opts.Racers <= 0 {
		opts.Racers = 32
	}
	if opts.Rounds <= 0 {
		opts.Rounds = 20
	}
	id := make([]byte, 8)
	rand.Read(id)
	p := &prober{store: s, opts: opts}
	p.prefix = fmt.Sprintf("%s%d-%s-", Prefix, time.Now().Unix(), hex.EncodeToString(id))
	err := p.run(ctx)
	// Clean up in any case, but let the result of the probe count first.
	cleanCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if cleanErr := p.clean(cleanCtx); err == nil && cleanErr != nil {
		err = fmt.Errorf("delete the objects of the probe: %w", cleanErr)
	}
	if err != nil {
		return fmt.Errorf("probe the object store: %w", err)
	}
	return nil
}

type prober struct {
	store  objstore.Store
	opts   Options
	prefix string
}

func (p *prober) run(ctx context.Context) error {
	for round := range p.opts.Rounds {
		if err := p.race(ctx, round); err != nil {
			return err
		}
	}
	for _, check := range []func(context.Context) error{p.checkListing, p.checkRanges, p.checkReplace, p.checkDelete} {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *prober) key(round int) string { return fmt.Sprintf("%s%02d", p.prefix, round) }

// bid is what one racer tries to write.
func (p *prober) bid(round, racer int) []byte {
	return fmt.Appendf(nil, "%s round %d racer %d\n", p.prefix, round, racer)
}

// race lets all racers create one object and checks that one did.
func (p *prober) race(ctx context.Context, round int) error {
	results := make([]error, p.opts.Racers)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for racer := range results {
		wg.Go(func() {
			<-start
			results[racer] = p.store.PutIfAbsent(ctx, p.key(round), p.bid(round, racer))
		})
	}
	close(start)
	wg.Wait()
	content, err := p.store.Get(ctx, p.key(round))
	return p.judge(round, results, content, err)
}

// judge compares what the racers were told with what is there. A racer whose
// call failed may have won without knowing.
func (p *prober) judge(round int, results []error, content []byte, readErr error) error {
	var winners []int
	unsure := 0
	var failure error
	for racer, err := range results {
		switch {
		case err == nil:
			winners = append(winners, racer)
		case !errors.Is(err, objstore.ErrExists):
			unsure++
			failure = err
		}
	}
	if len(winners) > 1 {
		return unfit("%d of %d racing requests to create one object succeeded, where exactly one may: "+
			"it ignores or races If-None-Match. Use a store that honours it: Amazon S3, R2, "+
			"a single-pool MinIO newer than 2025-10-15, or a directory", len(winners), len(results))
	}
	if readErr != nil && !errors.Is(readErr, objstore.ErrNotFound) {
		return readErr
	}
	// Nothing is wrong, but nothing is proved either, where calls failed, or
	// where a retry below met the object of its own lost first attempt.
	if len(winners) == 0 && unsure > 0 && (readErr != nil || p.bidOfAny(round, len(results), content)) {
		return failure
	}
	if len(winners) == 0 && readErr == nil && p.bidOfAny(round, len(results), content) {
		return fmt.Errorf("%w: the reply to the request that created %s got lost", base.ErrUnavailable, p.key(round))
	}
	switch {
	case readErr != nil && len(winners) == 1:
		return unfit("an object cannot be read right after it was written: it lacks read-after-write consistency")
	case len(winners) == 0:
		return unfit("of %d racing requests to create a new object all were told that it exists", len(results))
	case !bytes.Equal(content, p.bid(round, winners[0])):
		return unfit("the object that racing requests created holds the content of a request that failed")
	}
	return nil
}

func (p *prober) bidOfAny(round, racers int, content []byte) bool {
	for racer := range racers {
		if bytes.Equal(content, p.bid(round, racer)) {
			return true
		}
	}
	return false
}

// checkListing: all objects written so far are listed, in order.
func (p *prober) checkListing(ctx context.Context) error {
	want := make([]string, p.opts.Rounds)
	for round := range want {
		want[round] = p.key(round)
	}
	slices.Sort(want)
	got, err := p.list(ctx, "")
	if err == nil && !slices.Equal(got, want) {
		return unfit("a listing shows %d objects where %d were written, or not in the order of their names: "+
			"it lacks list-after-write consistency", len(got), len(want))
	}
	middle := want[len(want)/2]
	if err == nil {
		got, err = p.list(ctx, middle)
	}
	if err == nil && !slices.Equal(got, want[len(want)/2+1:]) {
		return unfit("a listing that starts after %s shows %d objects where %d follow", middle, len(got), len(want)-len(want)/2-1)
	}
	return err
}

func (p *prober) list(ctx context.Context, after string) (keys []string, err error) {
	for info, err := range p.store.List(ctx, p.prefix, after) {
		if err != nil {
			return nil, err
		}
		keys = append(keys, info.Key)
	}
	return keys, nil
}

// checkRanges: parts of objects are read as asked.
func (p *prober) checkRanges(ctx context.Context) error {
	key := p.prefix + "range"
	data := make([]byte, 100_000)
	rand.Read(data)
	if err := p.store.Put(ctx, key, data); err != nil {
		return err
	}
	size := int64(len(data))
	info, err := p.store.Stat(ctx, key)
	if err != nil {
		return err
	}
	if info.Size != size {
		return unfit("an object of %d bytes is said to have %d", size, info.Size)
	}
	for _, r := range [][2]int64{{0, 1}, {1000, 50_000}, {size - 10, 100}, {size, 10}, {-64, 64}, {0, size}} {
		got, err := p.store.GetRange(ctx, key, r[0], r[1])
		if err != nil {
			return err
		}
		if lo, hi := objstore.Window(size, r[0], r[1]); !bytes.Equal(got, data[lo:hi]) {
			return unfit("a read of %d bytes from %d of an object of %d bytes gives the wrong bytes", r[1], r[0], size)
		}
	}
	return nil
}

// checkReplace: readers see a replaced object at once, and the condition still
// holds on it.
func (p *prober) checkReplace(ctx context.Context) error {
	key := p.key(0)
	for i := range 3 {
		want := fmt.Appendf(nil, "replaced %d", i)
		if err := p.store.Put(ctx, key, want); err != nil {
			return err
		}
		got, err := p.store.Get(ctx, key)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return unfit("an object that was replaced still shows its old content")
		}
	}
	switch err := p.store.PutIfAbsent(ctx, key, []byte("intruder")); {
	case err == nil:
		return unfit("a request to create an object that exists succeeded: it ignores If-None-Match")
	case !errors.Is(err, objstore.ErrExists):
		return err
	}
	return nil
}

// checkDelete: what is deleted is gone at once.
func (p *prober) checkDelete(ctx context.Context) error {
	keys := []string{p.key(0), p.prefix + "range"}
	if err := p.store.Delete(ctx, keys...); err != nil {
		return err
	}
	for _, key := range keys {
		if _, err := p.store.Get(ctx, key); err == nil {
			return unfit("an object that was deleted can still be read")
		} else if !errors.Is(err, objstore.ErrNotFound) {
			return err
		}
	}
	return nil
}

// clean deletes the objects of this probe, and those of old ones.
func (p *prober) clean(ctx context.Context) error {
	var doomed []string
	for info, err := range p.store.List(ctx, Prefix, "") {
		if err != nil {
			return err
		}
		seconds, _, _ := strings.Cut(strings.TrimPrefix(info.Key, Prefix), "-")
		made, err := strconv.ParseInt(seconds, 10, 64)
		old := err == nil && time.Since(time.Unix(made, 0)) > leftoverAge
		if old || strings.HasPrefix(info.Key, p.prefix) {
			doomed = append(doomed, info.Key)
		}
	}
	return p.store.Delete(ctx, doomed...)
}

func unfit(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnfit, fmt.Sprintf(format, args...))
}
