package daemon

import (
	"os"
	"runtime/debug"

	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/tabletserver"
)

// Shares of what the machine has, in percent, that a process takes if it is not
// told otherwise: of a control group's limit, which is there for this process,
// and of a whole machine.
const (
	groupShare      = 80
	serverShare     = 50 // of the machine, by a tablet server
	gatewayShare    = 25
	devShare        = 25
	maxDevMemory    = 4 << 30
	minMemory       = 64 << 20 // less is refused
	minGuess        = 256 << 20
	devGatewayShare = 10 // of the process
	devRestShare    = 10 // lock service and master
)

// memory returns how many bytes a process of the role may take: what
// --memory-mb says, or what becomes of a machine that has so much.
func (c *Config) memory(role string, machine int64, limited bool) int64 {
	if c.MemoryMB > 0 {
		return c.MemoryMB << 20
	}
	if machine <= 0 {
		return tabletserver.DefaultMemory
	}
	share := map[string]int64{"gateway": gatewayShare, "dev": devShare, "tabletserver": serverShare}[role]
	if limited {
		share = groupShare
	}
	n := machine / 100 * share
	if role == "dev" && !limited {
		n = min(n, maxDevMemory)
	}
	return max(n, minGuess)
}

// boundMemory finds out how much memory the process may take, and has Go collect
// garbage in time to stay below. It is 0 for roles that have no budget.
func (p *process) boundMemory() {
	if p.role != "dev" && p.role != "tabletserver" && p.role != "gateway" {
		return
	}
	machine, limited := membudget.Machine(os.DirFS("/"))
	p.memory = p.cfg.memory(p.role, machine, limited)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(p.memory)
	}
	p.log.Info("memory of this process", "mb", p.memory>>20, "machine_mb", machine>>20, "limited", limited)
}
