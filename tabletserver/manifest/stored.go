package manifest

import "github.com/tabletdb/tabletdb/proto/metapb"

// RunProto returns r in its stored form.
func RunProto(r Run) *metapb.Run {
	if len(r) == 0 {
		return &metapb.Run{}
	}
	return (&Manifest{Runs: []Run{r}}).Proto().Runs[0]
}

// RunsFromProto is the inverse of RunProto, of each.
func RunsFromProto(p []*metapb.Run) []Run {
	return FromProto(&metapb.Manifest{Runs: p}).Runs
}
