package offload

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/sstable/compress"
	"github.com/tabletdb/tabletdb/tabletserver/compact"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// encodeJob returns a job as it is sent. server and reason are for people.
func encodeJob(j *compact.Job, server, reason string) *compactorpb.Job {
	input := manifest.Manifest{Tablet: j.Tablet, Runs: j.Inputs, Drops: j.Drops, Flushed: j.Snapshot}
	stored := j.Schema.Stored()
	// Clients see the specification of a table; files do not depend on it.
	table := &metapb.TableRecord{Id: uint64(stored.ID), Name: stored.Name}
	if stored.Record != nil {
		table = proto.CloneOf(stored.Record)
		table.Spec = nil
	}
	var older []uint32
	for _, f := range j.Older {
		older = append(older, uint32(f))
	}
	return &compactorpb.Job{
		Server: server, Reason: reason, Input: input.Proto(), Table: table, Oldest: j.Oldest, Older: older, NowUs: j.Now,
		FileBytes: uint64(j.FileBytes), BlockBytes: uint32(j.BlockBytes), Compression: uint32(j.Compression),
	}
}

// decodeJob is the inverse of encodeJob. It takes no job of which it does not
// understand everything: what a newer tablet server means by a field that is
// not known here cannot be left out.
func decodeJob(p *compactorpb.Job) (*compact.Job, error) {
	if p == nil {
		return nil, fmt.Errorf("%w: the call begins without a job", base.ErrInvalid)
	}
	if field := unknownIn(p.ProtoReflect()); field != "" {
		return nil, fmt.Errorf("%w: the job has fields in %s that this build does not know", base.ErrUnimplemented, field)
	}
	if p.Input == nil || p.Table == nil {
		return nil, fmt.Errorf("%w: a job without input or schema", base.ErrInvalid)
	}
	if p.BlockBytes < sstable.MinBlockSize || p.BlockBytes > sstable.MaxBlockSize || p.FileBytes == 0 || p.FileBytes > 1<<40 {
		return nil, fmt.Errorf("%w: blocks of %d and files of %d bytes", base.ErrInvalid, p.BlockBytes, p.FileBytes)
	}
	if c := compress.Type(p.Compression); p.Compression > uint32(compress.Zstd) {
		return nil, fmt.Errorf("%w: compression %v", base.ErrUnimplemented, c)
	}
	in := manifest.FromProto(p.Input)
	var files int
	for _, r := range in.Runs {
		files += len(r)
	}
	if files == 0 {
		return nil, fmt.Errorf("%w: a job without files", base.ErrInvalid)
	}
	sch, err := schema.Compile(meta.Table{ID: base.TableID(p.Table.Id), Name: p.Table.Name, Record: p.Table})
	if err != nil {
		return nil, err
	}
	var older []base.FamilyID
	for _, f := range p.Older {
		older = append(older, base.FamilyID(f))
	}
	return &compact.Job{
		Tablet: in.Tablet, Inputs: in.Runs, Drops: in.Drops, Snapshot: in.Flushed,
		Layout: compact.Layout{
			Schema: sch, Families: manifest.Families(in.Runs...), Oldest: p.Oldest, Older: older, Now: p.NowUs,
			FileBytes: int64(p.FileBytes), BlockBytes: int(p.BlockBytes), Compression: compress.Type(p.Compression),
		},
	}, nil
}

// unknownIn returns the name of a message in m, or m's, that has fields this
// build does not know; "": there is none.
func unknownIn(m protoreflect.Message) (name string) {
	if len(m.GetUnknown()) > 0 {
		return string(m.Descriptor().FullName())
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			if f.MapValue().Kind() == protoreflect.MessageKind {
				v.Map().Range(func(_ protoreflect.MapKey, x protoreflect.Value) bool {
					name = unknownIn(x.Message())
					return name == ""
				})
			}
		case f.Kind() != protoreflect.MessageKind && f.Kind() != protoreflect.GroupKind:
		case f.IsList():
			for i := 0; i < v.List().Len() && name == ""; i++ {
				name = unknownIn(v.List().Get(i).Message())
			}
		default:
			name = unknownIn(v.Message())
		}
		return name == ""
	})
	return name
}
