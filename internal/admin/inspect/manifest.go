package inspect

import (
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// Manifest is a manifest as it is shown.
type Manifest struct {
	Name          string `json:"name"`
	Object        string `json:"object"`
	Tablet        uint64 `json:"tablet"`
	Epoch         uint64 `json:"epoch"`
	Version       uint64 `json:"version"`
	Flushed       uint64 `json:"flushed_seq"`
	LastTimestamp int64  `json:"last_timestamp_us"`
	Files         []File `json:"files"` // newest run first
}

// File is a reference to an SSTable.
type File struct {
	Run        int          `json:"run"`
	Name       string       `json:"name"`
	Object     string       `json:"object"`
	Size       output.Size  `json:"size_bytes"`
	TailOffset int64        `json:"tail_offset"`
	Rows       uint64       `json:"rows"`
	Entries    uint64       `json:"entries"`
	Tombstones uint64       `json:"tombstones"`
	MinSeq     uint64       `json:"min_seq"`
	MaxSeq     uint64       `json:"max_seq"`
	FirstRow   output.Bytes `json:"first_row"`
	LastRow    output.Bytes `json:"last_row"`
	Lower      output.Bytes `json:"lower,omitempty"` // bounds of the reference
	Upper      output.Bytes `json:"upper,omitempty"`
	RawBytes   output.Size  `json:"raw_bytes"`
	// Group is the locality group that the file was written for.
	Group    string   `json:"locality_group,omitempty"`
	Families []uint32 `json:"families,omitempty"` // that it matters to; absent: any
}

// NewManifest returns what manifest f holds.
func NewManifest(f base.FileNumber, m *manifest.Manifest) *Manifest {
	i := &Manifest{
		Name: f.String(), Object: base.ManifestObject(f), Tablet: uint64(m.Tablet), Epoch: uint64(m.Epoch), Version: m.Version,
		Flushed: uint64(m.Flushed), LastTimestamp: m.LastTimestamp, Files: []File{},
	}
	for n, r := range m.Runs {
		for _, f := range r {
			i.Files = append(i.Files, File{
				Run: n, Name: f.Number.String(), Object: base.SSTableObject(f.Number), Size: output.Size(f.Size), TailOffset: f.TailOffset,
				Rows: f.Rows, Entries: f.Entries, Tombstones: f.Tombstones, MinSeq: uint64(f.MinSeq), MaxSeq: uint64(f.MaxSeq),
				FirstRow: Row(f.Smallest), LastRow: Row(f.Largest), Lower: f.Lower, Upper: f.Upper, RawBytes: output.Size(f.RawBytes),
				Group: f.Group, Families: ids(f.Families),
			})
		}
	}
	return i
}

func ids(list []base.FamilyID) []uint32 {
	var out []uint32
	for _, f := range list {
		out = append(out, uint32(f))
	}
	return out
}

// Row returns the row of a cell key; a key that is none is shown as it is.
func Row(key []byte) output.Bytes {
	row, err := base.DecodeRow(key)
	if err != nil {
		return key
	}
	return row
}

// Human writes it for people.
func (m *Manifest) Human(p *output.Page) {
	p.Line("manifest  %s (%s): version %d of tablet %d, epoch %d, sequences up to %d", m.Name, m.Object, m.Version, m.Tablet, m.Epoch, m.Flushed)
	p.Header("RUN", "SSTABLE", "SIZE", "ROWS", "ENTRIES", "DELETIONS", "SEQUENCES", "FIRST ROW", "LAST ROW", "SHOWS", "GROUP")
	for _, f := range m.Files {
		shows := "all"
		if len(f.Lower) > 0 || len(f.Upper) > 0 {
			shows = Rows(f.Lower, f.Upper)
		}
		p.Row(f.Run, f.Name, f.Size, f.Rows, f.Entries, f.Tombstones, output.Count(f.MinSeq).String()+".."+output.Count(f.MaxSeq).String(), f.FirstRow, f.LastRow, shows, f.Group)
	}
}

// Rows writes a range of rows for people; an empty end is no end.
func Rows(start, end output.Bytes) string {
	to := "end"
	if len(end) > 0 {
		to = end.String()
	}
	if len(start) == 0 {
		return "begin .. " + to
	}
	return start.String() + " .. " + to
}
