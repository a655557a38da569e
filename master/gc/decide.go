package gc

import (
	"github.com/tabletdb/tabletdb/internal/base"
)

// Object is an SSTable or a manifest as it was listed.
type Object struct {
	Key    string
	Number base.FileNumber
	Size   int64
}

// Server is what a live server said of its files.
type Server struct {
	// Floor is below which number its own files are decided.
	Floor uint64
	// Pinned are the SSTables that its views refer to.
	Pinned []base.FileNumber
}

// state is all that a decision depends on, in the order in which it must have
// been learned: the objects were listed, then the living were asked, then the
// roots were read from one view (R11).
type state struct {
	objects []Object
	// servers are the live sessions that answered; silent those that did not,
	// or are no servers: all of theirs is in flight.
	servers map[base.Incarnation]Server
	silent  map[base.Incarnation]bool
	named   map[string]Root // by key
}

// decide returns the report, with the objects to delete: unnamed, unpinned and
// either of a dead session, whose transactions all have failed (R1), or below
// the number under which all is decided (R12). Such an object is never named
// again (G2), so that it does not matter when it is deleted.
func decide(s state) *Report {
	pinned := map[string]bool{}
	for _, x := range s.servers {
		for _, f := range x.Pinned {
			pinned[base.SSTableObject(f)] = true
		}
	}
	r := &Report{}
	for _, o := range s.objects {
		x, alive := s.servers[o.Number.Creator]
		switch root := s.named[o.Key]; {
		case root == ByTablet:
			r.Live.add(o)
		case root == ByDeleted:
			r.Deleted.add(o)
		case root == ByLoad:
			r.Loads.add(o)
		case root == ByBackup:
			r.Backups.add(o)
		case root == BySnapshot, root == ByCut:
			r.Snapshots.add(o)
		case s.silent[o.Number.Creator] || alive && o.Number.Number >= x.Floor:
			r.InFlight.add(o)
		case pinned[o.Key]:
			r.Pinned.add(o)
		default:
			r.Garbage.add(o)
			r.doomed = append(r.doomed, o.Key)
		}
	}
	return r
}

// Count is a number of objects and their size.
type Count struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

func (c *Count) add(o Object) {
	c.Objects++
	c.Bytes += o.Size
}

// Report says why the SSTables and manifests of the bucket are there.
type Report struct {
	Live      Count `json:"live"`      // named by tablets
	Deleted   Count `json:"deleted"`   // kept for deleted tables that may come back
	Backups   Count `json:"backups"`   // kept for backups alone
	Snapshots Count `json:"snapshots"` // kept for snapshots, and for tables as of a time, and perhaps backups
	Loads     Count `json:"loads"`     // of bulk loads that tablets are about to adopt
	InFlight  Count `json:"in_flight"` // being made, or of a session that did not say
	Pinned    Count `json:"pinned"`    // still read, and named by nothing
	Garbage   Count `json:"garbage"`
	// Removed is what of the garbage was deleted.
	Removed int `json:"removed"`

	doomed []string
}
