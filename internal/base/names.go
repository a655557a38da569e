package base

import (
	"fmt"
	"hash/fnv"
)

// Names of the objects in the bucket. The two hexadecimal digits spread a
// prefix over the partitions of a store that shards by key range.

// ClusterObject holds the cluster id and format version of the prefix.
const ClusterObject = "CLUSTER"

// GenerationObject is won by create-if-absent by each generation of the lock
// service (rule R17).
func GenerationObject(generation uint32) string {
	return fmt.Sprintf("CLUSTER.d/%010d", generation)
}

// LogPrefix is the prefix of all objects of the commit log of e.
func LogPrefix(e Incarnation) string {
	return "wal/" + spread(e.String()) + "/" + e.String() + "/"
}

// LogObject is the object at position p of the commit log of e.
func LogObject(e Incarnation, p Position) string {
	return fmt.Sprintf("%s%016x", LogPrefix(e), uint64(p))
}

// LogIndexObject is written by the sealer of the log of e: the extents of every
// tablet in it (rule R22). It sorts after every position.
func LogIndexObject(e Incarnation) string { return LogPrefix(e) + "index" }

// SSTablePrefix and ManifestPrefix are the prefixes of all files of a kind.
const (
	SSTablePrefix  = "sst/"
	ManifestPrefix = "manifest/"
)

// SSTableObject is the object that holds SSTable f.
func SSTableObject(f FileNumber) string {
	return SSTablePrefix + spread(f.String()) + "/" + f.String()
}

// ManifestObject is the object that holds manifest f.
func ManifestObject(f FileNumber) string {
	return ManifestPrefix + spread(f.String()) + "/" + f.String()
}

func spread(s string) string {
	h := fnv.New32a()
	h.Write([]byte(s))
	return fmt.Sprintf("%02x", h.Sum32()&0xff)
}
