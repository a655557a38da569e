package pagecache

import "context"

// Mode says what a read may do to the cache.
type Mode int

const (
	// Fill is the mode of contexts that say nothing: what is missing goes to the
	// cache, and may push something else out. It is for reads of points.
	Fill Mode = iota
	// FillFree fills slots that are free and pushes nothing out. It is for
	// scans.
	FillFree
	// Bypass leaves no trace. What is there as a whole is used; else the very
	// range that was asked for is read from the store below, in one piece. It
	// is for compactions.
	Bypass
)

type modeKey struct{}

// WithMode returns a context whose reads are of mode m.
func WithMode(ctx context.Context, m Mode) context.Context {
	return context.WithValue(ctx, modeKey{}, m)
}

func modeOf(ctx context.Context) Mode {
	m, _ := ctx.Value(modeKey{}).(Mode)
	return m
}
