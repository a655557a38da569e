package master

import (
	"context"
	"fmt"

	"github.com/tabletdb/tabletdb/master/gc"
	"github.com/tabletdb/tabletdb/meta"
)

// gcLoop deletes the files that nothing names, now and then.
func (t *term) gcLoop(ctx context.Context) {
	if t.cfg.Manifest == nil || t.opt.GCInterval < 0 {
		return
	}
	for t.sleep(ctx, t.opt.GCInterval) {
		r, err := gc.Run(ctx, gc.Config{LockService: t.cfg.LockService, Store: t.cfg.Store, Manifest: t.cfg.Manifest, Ask: t.askFiles})
		switch {
		case err != nil && ctx.Err() == nil:
			t.log.WarnContext(ctx, "garbage was not collected", "err", err)
		case err == nil && r.Removed > 0:
			t.log.InfoContext(ctx, "garbage collected", "objects", r.Removed, "bytes", r.Garbage.Bytes)
		}
	}
}

func (t *term) askFiles(ctx context.Context, s meta.Server) (gc.Server, error) {
	t.mu.Lock()
	p := t.mu.peers[s.Incarnation]
	t.mu.Unlock()
	if p == nil {
		return gc.Server{}, fmt.Errorf("server %v is not known yet", s.Incarnation)
	}
	return gc.Ask(ctx, p.client, s)
}
