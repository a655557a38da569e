package master

import (
	"fmt"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// keptEvents is how many recent events a term remembers.
const keptEvents = 200

// eventLocked remembers, for people, what the master saw or decided. The caller
// holds t.mu.
func (t *term) eventLocked(format string, args ...any) {
	if len(t.mu.events) >= keptEvents {
		t.mu.events = append(t.mu.events[:0], t.mu.events[1:]...)
	}
	t.mu.events = append(t.mu.events, &controlpb.MasterEvent{AtUs: time.Now().UnixMicro(), Text: fmt.Sprintf(format, args...)})
}

// event is eventLocked for callers that do not hold t.mu.
func (t *term) event(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.eventLocked(format, args...)
}

// serverName names a tablet server in events.
func serverName(e base.Incarnation, name string) string {
	if name == "" {
		return "server " + e.String()
	}
	return fmt.Sprintf("server %s (%v)", name, e)
}
