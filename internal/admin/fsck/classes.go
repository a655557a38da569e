package fsck

// Class is a kind of finding. The names are part of what tabletadm prints, and
// docs/repair.md says of each what is done about it.
type Class string

// The classes: tables and their tablets first, then tablets by themselves,
// files, logs, and the rest.
const (
	TableDamaged  Class = "table-damaged"
	TableDeleted  Class = "table-deleted"
	NameAstray    Class = "name-astray"
	NameMissing   Class = "name-missing"
	NoSchema      Class = "no-schema"
	Tiling        Class = "tiling"
	TabletDamaged Class = "tablet-damaged"

	SameID       Class = "same-id"
	OwnerWrong   Class = "owner-wrong"
	OwnerGone    Class = "owner-gone"
	Unserved     Class = "unserved"
	EntryMissing Class = "entry-missing"
	EntryWrong   Class = "entry-wrong"

	ManifestMissing  Class = "manifest-missing"
	ManifestWrong    Class = "manifest-wrong"
	SSTableMissing   Class = "sstable-missing"
	BackupDamaged    Class = "backup-damaged"
	BackupIncomplete Class = "backup-incomplete"
	BulkPending      Class = "bulk-load-pending"
	BulkDamaged      Class = "bulk-load-damaged"

	LogForgotten   Class = "log-forgotten"
	LogDamaged     Class = "log-damaged"
	LowAlone       Class = "low-alone"
	LogIncomplete  Class = "log-incomplete"
	LogUnsealed    Class = "log-unsealed"
	LogAlive       Class = "log-alive"
	LogUncollected Class = "log-uncollected"
	LogLeftovers   Class = "log-leftovers"
	SealMissing    Class = "seal-missing"
	SealWrong      Class = "seal-wrong"
	IndexWrong     Class = "index-wrong"
	RefWrong       Class = "reference-wrong"
	RefStale       Class = "reference-stale"
	RefDamaged     Class = "reference-damaged"

	RootDamaged Class = "root-damaged"
	MarkIdle    Class = "mark-idle"
)

// Classes returns all classes.
func Classes() []Class {
	return []Class{
		TableDamaged, TableDeleted, NameAstray, NameMissing, NoSchema, Tiling, TabletDamaged,
		SameID, OwnerWrong, OwnerGone, Unserved, EntryMissing, EntryWrong,
		ManifestMissing, ManifestWrong, SSTableMissing, BackupDamaged, BackupIncomplete, BulkPending, BulkDamaged,
		LogForgotten, LogDamaged, LowAlone, LogIncomplete, LogUnsealed, LogAlive, LogUncollected, LogLeftovers,
		SealMissing, SealWrong, IndexWrong, RefWrong, RefStale, RefDamaged, RootDamaged, MarkIdle,
	}
}

// Loss is something that a repair may give up, which an operator has to accept
// by name.
type Loss string

// The losses.
const (
	// Holes: the rows of a tablet whose record is lost begin anew, empty.
	Holes Loss = "holes"
	// Manifests: a tablet goes back to an older list of its files, or to none.
	Manifests Loss = "manifests"
	// SSTables: what stood in files that are missing or damaged is gone, and what
	// it hid in older ones is seen again.
	SSTables Loss = "sstables"
	// Logs: writes whose log objects are missing or damaged are gone.
	Logs Loss = "logs"
	// Marks: what an operator had asked for is forgotten.
	Marks Loss = "marks"
)

// Losses returns all losses.
func Losses() []Loss { return []Loss{Holes, Manifests, SSTables, Logs, Marks} }

// Remedy says what can be done about findings of a class.
func Remedy(c Class) string {
	switch c {
	case TableDamaged:
		return "by hand: restore the lock service from a snapshot, or the table from a backup"
	case BulkDamaged:
		return "by hand: give it up (tabletadm import abandon), and load again"
	case TableDeleted, Unserved, BulkPending:
		return "none is needed: the master is at it, or waits"
	case NameAstray:
		return "the name is removed"
	case NameMissing:
		return "the name is made to lead to its table again"
	case NoSchema:
		return "tablets that nobody serves are removed, if no name leads to their table"
	case Tiling:
		return "a hole is filled by an empty tablet (--accept-loss holes); of tablets that overlap one that holds nothing is removed"
	case TabletDamaged:
		return "the record is replaced by an empty tablet (--accept-loss holes)"
	case SameID:
		return "by hand: restore the table from a backup"
	case OwnerWrong:
		return "the tablet is taken from an owner that is dead; restart one that is alive"
	case OwnerGone, LogUnsealed, LogUncollected:
		return "the master does it; where none runs, it is done"
	case EntryMissing:
		return "the entry is added, from the lowest position of the log on"
	case EntryWrong:
		return "the entry is clipped to what the log holds (--accept-loss logs)"
	case ManifestMissing:
		return "its owner writes it anew from memory; else the newest older one in the bucket is taken (--accept-loss manifests)"
	case ManifestWrong:
		return "by hand: compact the tablet, or restore the table from a backup"
	case SSTableMissing:
		return "the tablet goes on without the file (--accept-loss sstables)"
	case BackupDamaged, BackupIncomplete:
		return "by hand: delete the backup or snapshot"
	case LogForgotten:
		return "the record is restored from the bucket; without objects there, the tablet goes on without (--accept-loss logs)"
	case LogDamaged:
		return "as for a log without record, where a tablet needs it; else the record is removed"
	case LowAlone, RefDamaged:
		return "the key is removed"
	case RefStale:
		return "the key is removed; where records of tablets are lost it may be theirs (--accept-loss holes)"
	case LogIncomplete:
		return "the tablets of a live server are flushed, so that nothing needs the log; else they go on without (--accept-loss logs)"
	case LogAlive:
		return "by hand: restart the server, whose writes fail"
	case LogLeftovers:
		return "the objects are deleted, all but seals"
	case SealMissing:
		return "the seal is put back where the record says that it stood"
	case SealWrong:
		return "by hand: restore the affected tables from a backup"
	case IndexWrong:
		return "the index is written anew"
	case RefWrong:
		return "the reference is set to what the tablet's record asks for"
	case RootDamaged:
		return "the index is reset to one range, as there is one cell"
	case MarkIdle:
		return "the mark is removed (--accept-loss marks), if the server is not to come back"
	}
	return ""
}
