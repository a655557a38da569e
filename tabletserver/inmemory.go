package tabletserver

import (
	"time"

	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// inMemoryInterval is how often it is looked whether there is something to be
// loaded into memory.
const inMemoryInterval = time.Second

// inMemoryLoop keeps locality groups in memory that are to be. The cache of blocks
// has what they leave.
func (s *Server) inMemoryLoop() {
	tick := time.NewTicker(inMemoryInterval)
	defer tick.Stop()
	var took int64
	for {
		select {
		case <-tick.C:
		case <-s.life.Done():
			return
		}
		tablet.KeepInMemory(s.life, s.env.Files, s.all())
		if _, bytes, _ := s.env.Files.InMemoryStats(); bytes != took {
			took = bytes
			s.cache.Resize(s.cfg.Options.CacheBytes - took)
		}
	}
}
