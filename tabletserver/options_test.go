package tabletserver_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/tabletserver"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// TestOptionsAreChecked: a knob that cannot work is refused at the start, not by
// the first flush.
func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]tabletserver.Options{
		"small blocks":     {Tablet: tablet.Options{BlockBytes: 512}},
		"large blocks":     {Tablet: tablet.Options{BlockBytes: 1 << 20}},
		"no compactor":     {Compactors: -1},
		"negative memory":  {MemtableBytes: -1},
		"small read-ahead": {Tablet: tablet.Options{Readahead: 1}},
	} {
		_, err := tabletserver.Open(t.Context(), tabletserver.Config{Options: o, Logger: slog.New(slog.DiscardHandler)})
		if !errors.Is(err, base.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
