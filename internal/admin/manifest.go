package admin

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// manifestInfo is a manifest as it is shown.
type manifestInfo struct {
	Name          string     `json:"name"`
	Object        string     `json:"object"`
	Tablet        uint64     `json:"tablet"`
	Epoch         uint64     `json:"epoch"`
	Version       uint64     `json:"version"`
	Flushed       uint64     `json:"flushed_seq"`
	LastTimestamp int64      `json:"last_timestamp_us"`
	Files         []fileInfo `json:"files"` // newest run first
}

type fileInfo struct {
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
}

func newManifestInfo(f base.FileNumber, m *manifest.Manifest) *manifestInfo {
	i := &manifestInfo{
		Name: f.String(), Object: base.ManifestObject(f), Tablet: uint64(m.Tablet), Epoch: uint64(m.Epoch), Version: m.Version,
		Flushed: uint64(m.Flushed), LastTimestamp: m.LastTimestamp, Files: []fileInfo{},
	}
	for n, r := range m.Runs {
		for _, f := range r {
			i.Files = append(i.Files, fileInfo{
				Run: n, Name: f.Number.String(), Object: base.SSTableObject(f.Number), Size: output.Size(f.Size), TailOffset: f.TailOffset,
				Rows: f.Rows, Entries: f.Entries, Tombstones: f.Tombstones, MinSeq: uint64(f.MinSeq), MaxSeq: uint64(f.MaxSeq),
				FirstRow: rowOf(f.Smallest), LastRow: rowOf(f.Largest), Lower: f.Lower, Upper: f.Upper, RawBytes: output.Size(f.RawBytes),
			})
		}
	}
	return i
}

// rowOf returns the row of a cell key; a key that is none is shown as it is.
func rowOf(key []byte) output.Bytes {
	row, err := base.DecodeRow(key)
	if err != nil {
		return key
	}
	return row
}

func (m *manifestInfo) human(p *output.Page) {
	p.Line("manifest  %s (%s): version %d of tablet %d, epoch %d, sequences up to %d", m.Name, m.Object, m.Version, m.Tablet, m.Epoch, m.Flushed)
	p.Header("RUN", "SSTABLE", "SIZE", "ROWS", "ENTRIES", "DELETIONS", "SEQUENCES", "FIRST ROW", "LAST ROW", "SHOWS")
	for _, f := range m.Files {
		shows := "all"
		if len(f.Lower) > 0 || len(f.Upper) > 0 {
			shows = tabletInfo{Start: f.Lower, End: f.Upper}.rows()
		}
		p.Row(f.Run, f.Name, f.Size, f.Rows, f.Entries, f.Tombstones, output.Count(f.MinSeq).String()+".."+output.Count(f.MaxSeq).String(), f.FirstRow, f.LastRow, shows)
	}
}

func (r *run) manifestCommand() *cobra.Command {
	return group("manifest", "Look into manifests",
		r.command("dump <tablet | name>", "Show the files of a tablet, or of a manifest <generation>-<index>-<number>", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
			f, err := e.manifestName(ctx, args[0])
			if err != nil {
				return err
			}
			m, err := e.readManifest(ctx, f)
			if err != nil {
				return err
			}
			i := newManifestInfo(f, m)
			return e.out.Print(i, i.human)
		}))
}

// manifestName returns the manifest that a name, an object's key or the id of a
// tablet stands for.
func (e *env) manifestName(ctx context.Context, arg string) (base.FileNumber, error) {
	if strings.Contains(arg, "-") {
		return parseFile(arg)
	}
	t, err := e.tabletByID(ctx, arg)
	if err != nil {
		return base.FileNumber{}, err
	}
	if t.Manifest.IsZero() {
		return t.Manifest, usagef("tablet %d has no manifest yet: nothing of it was flushed", t.ID)
	}
	return t.Manifest, nil
}

// parseFile reads a file's name, or the key of its object.
func parseFile(arg string) (base.FileNumber, error) {
	f, err := base.ParseFileNumber(arg[strings.LastIndexByte(arg, '/')+1:])
	if err != nil {
		return f, usagef("%w", err)
	}
	return f, nil
}
