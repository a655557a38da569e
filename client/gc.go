package client

import (
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// GCPolicy says which cells of a family are garbage. The zero GCPolicy keeps
// all.
type GCPolicy struct{ pb *adminpb.GcRule }

// NoGCPolicy keeps all cells.
func NoGCPolicy() GCPolicy { return GCPolicy{} }

// MaxVersionsPolicy keeps the newest n cells of each column.
func MaxVersionsPolicy(n int) GCPolicy {
	return GCPolicy{&adminpb.GcRule{Rule: &adminpb.GcRule_MaxNumVersions{MaxNumVersions: int32(n)}}}
}

// MaxAgePolicy keeps cells that are younger than d.
func MaxAgePolicy(d time.Duration) GCPolicy {
	return GCPolicy{&adminpb.GcRule{Rule: &adminpb.GcRule_MaxAge{MaxAge: durationpb.New(d)}}}
}

// UnionPolicy drops what any of the policies drops.
func UnionPolicy(policies ...GCPolicy) GCPolicy {
	return GCPolicy{&adminpb.GcRule{Rule: &adminpb.GcRule_Union_{Union: &adminpb.GcRule_Union{Rules: rules(policies)}}}}
}

// IntersectionPolicy drops what all of the policies drop.
func IntersectionPolicy(policies ...GCPolicy) GCPolicy {
	return GCPolicy{&adminpb.GcRule{Rule: &adminpb.GcRule_Intersection_{Intersection: &adminpb.GcRule_Intersection{Rules: rules(policies)}}}}
}

func rules(policies []GCPolicy) []*adminpb.GcRule {
	out := make([]*adminpb.GcRule, len(policies))
	for i, p := range policies {
		if out[i] = p.pb; p.pb == nil {
			out[i] = &adminpb.GcRule{}
		}
	}
	return out
}

// String returns the policy in the text form of the API's message; "" keeps
// all.
func (p GCPolicy) String() string {
	if p.pb == nil {
		return ""
	}
	return p.pb.String()
}
