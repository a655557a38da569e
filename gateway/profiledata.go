package gateway

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"

	"github.com/tabletdb/tabletdb/internal/base"
)

// profileTTL is how long a gateway may go on with an app profile that was
// changed elsewhere.
const profileTTL = time.Second

// maxProfiles is how many profiles are remembered.
const maxProfiles = 1000

// access is what a request does.
type access uint8

const (
	reads access = iota
	writes
	transacts // read-modify-write, and check-and-mutate
)

// profiles are the app profiles that were used lately, as far as they forbid
// anything. A request that names none, as most do, costs nothing.
type profiles struct {
	c  *catalog
	mu struct {
		sync.Mutex
		profiles map[string]cachedProfile
	}
}

type cachedProfile struct {
	// highest is the most that the profile allows; missing: there is none.
	highest access
	missing bool
	until   time.Time
}

func newProfiles(c *catalog) *profiles {
	p := &profiles{c: c}
	p.mu.profiles = map[string]cachedProfile{}
	return p
}

// allows returns the most that a profile allows.
func allows(p *adminpb.AppProfile) access {
	switch {
	case p.GetDataBoostIsolationReadOnly() != nil:
		return reads
	case p.GetSingleClusterRouting().GetAllowTransactionalWrites():
		return transacts
	}
	return writes
}

// check returns an error where the app profile of a request to table, or to a
// view of it, does not allow what the request does. A profile that nobody
// created is an error in strict mode; otherwise it allows everything.
func (p *profiles) check(ctx context.Context, table, profile []byte, a access) error {
	if len(profile) == 0 {
		return nil
	}
	parts := bytes.SplitN(table, []byte("/"), 5)
	if len(parts) < 5 {
		return nil // the name is refused elsewhere
	}
	name := string(bytes.Join(parts[:4], []byte("/"))) + "/appProfiles/" + string(profile)
	now := time.Now()
	p.mu.Lock()
	e, ok := p.mu.profiles[name]
	p.mu.Unlock()
	if !ok || now.After(e.until) {
		var err error
		if e, err = p.load(ctx, name); err != nil {
			return err
		}
		e.until = now.Add(profileTTL)
		p.mu.Lock()
		if len(p.mu.profiles) >= maxProfiles {
			clear(p.mu.profiles)
		}
		p.mu.profiles[name] = e
		p.mu.Unlock()
	}
	switch {
	case e.missing && p.c.strict:
		return base.Textf(base.ErrNotFound, "App profile not found: %s", name)
	case e.missing || a <= e.highest:
		return nil
	case e.highest == reads:
		return base.Textf(base.ErrPrecondition, "App profile %s is for reading only", name)
	}
	return base.Textf(base.ErrPrecondition, "App profile %s does not allow single-row transactions", name)
}

func (p *profiles) load(ctx context.Context, name string) (cachedProfile, error) {
	ap, err := p.c.profile(ctx, name)
	if errors.Is(err, base.ErrNotFound) {
		return cachedProfile{missing: true}, nil
	}
	if err != nil {
		return cachedProfile{}, err
	}
	return cachedProfile{highest: allows(ap)}, nil
}
