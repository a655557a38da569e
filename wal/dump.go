package wal

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

// DumpOptions says how much Dump shows.
type DumpOptions struct {
	From    base.Position // positions below are left out
	Records bool          // a line for each record
	Bodies  int           // so many bytes of each body, quoted; only with Records
}

// Dump writes the objects of the log of e to w as text, for people: a line for
// each object, indented lines for its sections. Objects that are damaged or
// vanish meanwhile are shown as such; the error is that of the listing or of w.
func Dump(ctx context.Context, w io.Writer, store objstore.Store, e base.Incarnation, opts DumpOptions) error {
	out := bufio.NewWriter(w)
	for p, err := range Objects(ctx, store, e, opts.From) {
		if err != nil {
			return err
		}
		o, err := ReadObject(ctx, store, e, p)
		switch {
		case err != nil:
			fmt.Fprintf(out, "%016x damaged: %v\n", uint64(p), err)
		case o.Seal != nil:
			fmt.Fprintf(out, "%016x seal of %s\n", uint64(p), o.Seal.Sealer)
		default:
			o.dump(out, opts)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("dump log %s: %w", e, err)
	}
	return nil
}

func (o *Object) dump(out io.Writer, opts DumpOptions) {
	h := &o.Header
	fmt.Fprintf(out, "%016x data %d bytes, %d records, %d sections, low %d, nonce %x, sum %08x after %08x, %s\n",
		uint64(h.Position), o.Size, h.Records, h.Sections, h.Low, h.Nonce, h.Sum, h.PrevSum,
		time.UnixMilli(h.UnixMilli).UTC().Format("2006-01-02T15:04:05.000Z"))
	for _, s := range o.Dir {
		fmt.Fprintf(out, "  tablet %d epoch %d sequences %d-%d: %d records, %d bytes at %d",
			s.Tablet, s.Epoch, s.First, s.Last, s.Records, s.Length, s.Offset)
		if s.Compression != NoCompression {
			fmt.Fprintf(out, ", %d unpacked", s.RawLength)
		}
		fmt.Fprintln(out)
		if !opts.Records {
			continue
		}
		err := o.Records(s, func(r Record) error {
			fmt.Fprintf(out, "    %d-%d %d bytes", r.First, r.Last, len(r.Body))
			if opts.Bodies > 0 {
				fmt.Fprintf(out, " %q", r.Body[:min(len(r.Body), opts.Bodies)])
			}
			fmt.Fprintln(out)
			return nil
		})
		if err != nil {
			fmt.Fprintf(out, "    damaged: %v\n", err)
		}
	}
}
