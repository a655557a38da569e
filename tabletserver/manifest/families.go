package manifest

import (
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Matters reports whether the file may matter to any of the families, which
// ascend; nil means all but the hidden one.
func (f *File) Matters(families []base.FamilyID) bool {
	return Overlap(f.Families, families)
}

// Overlap reports whether files that matter to has, nil meaning any family,
// matter to any of want, nil meaning all families but the hidden one. Both
// ascend.
func Overlap(has, want []base.FamilyID) bool {
	switch {
	case has == nil:
		return want == nil || len(want) > 0
	case want == nil:
		return len(has) > 0 && has[0] != base.SystemFamily
	}
	for i, j := 0, 0; i < len(has) && j < len(want); {
		switch {
		case has[i] == want[j]:
			return true
		case has[i] < want[j]:
			i++
		default:
			j++
		}
	}
	return false
}

// Families returns the families that the files of runs matter to, ascending;
// nil: that is not known of some file.
func Families(runs ...Run) []base.FamilyID {
	all := []base.FamilyID{}
	for _, r := range runs {
		for i := range r {
			f := r[i].Families
			switch {
			case f == nil:
				return nil
			case slices.Equal(f, all): // as is usual
				continue
			}
			all = append(all, f...)
			slices.Sort(all)
			all = slices.Compact(all)
		}
	}
	return all
}

func familiesProto(list []base.FamilyID) []uint32 {
	if list == nil {
		return nil
	}
	out := make([]uint32, len(list))
	for i, f := range list {
		out[i] = uint32(f)
	}
	return out
}

// familiesOf reads what familiesProto makes. A list that is not ascending says
// nothing.
func familiesOf(list []uint32) []base.FamilyID {
	if len(list) == 0 {
		return nil
	}
	out := make([]base.FamilyID, len(list))
	for i, f := range list {
		if i > 0 && f <= list[i-1] {
			return nil
		}
		out[i] = base.FamilyID(f)
	}
	return out
}
