package chunk

import (
	"bytes"
	"fmt"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Cell is one cell of a decoded row.
type Cell struct {
	Family    string
	Qualifier []byte
	Timestamp int64 // microseconds
	Value     []byte
	Labels    []string
}

// Row is one decoded row. It and its slices are valid during the call that
// hands it out.
type Row struct {
	Key   []byte
	Cells []Cell
}

// Decoder merges the chunks of one stream of responses into rows. The zero
// value is ready for a forward scan. After an error it must not be used again.
type Decoder struct {
	// Reversed: row keys fall. It is set before the first Decode.
	Reversed bool

	row    Row
	owned  int // so many cells of row were copied out of their messages
	inRow  bool
	inCell bool // the last cell has more parts to come

	lastKey  []byte // of the last row committed or scanned
	any      bool   // there is one
	stats    []byte
	families map[string]string // one string for each name met
}

// Decode takes the bytes of the next google.bigtable.v2.ReadRowsResponse and
// calls emit for each row that it completes. msg may be reused afterwards. An
// error is emit's, or wraps base.ErrCorrupt where the stream breaks the
// protocol.
func (d *Decoder) Decode(msg []byte, emit func(*Row) error) error {
	var lastScanned []byte
	for len(msg) > 0 {
		f, rest, ok := cutField(msg)
		if !ok {
			return malformed("response")
		}
		msg = rest
		switch f.tag {
		case uint64(tagChunk):
			var c fields
			if err := c.parse(f.b); err != nil {
				return err
			}
			if err := d.add(&c, emit); err != nil {
				return err
			}
		case uint64(tagLastScanned):
			lastScanned = f.b
		case uint64(tagStats):
			d.addStats(f.b)
		}
	}
	return d.endMessage(lastScanned)
}

// DecodeProto is Decode of a message object.
func (d *Decoder) DecodeProto(m *bigtablepb.ReadRowsResponse, emit func(*Row) error) error {
	for _, p := range m.GetChunks() {
		c := fromProto(p)
		if err := d.add(&c, emit); err != nil {
			return err
		}
	}
	if s := m.GetRequestStats(); s != nil {
		raw, err := proto.Marshal(s)
		if err != nil {
			return err
		}
		d.addStats(raw)
	}
	return d.endMessage(m.GetLastScannedRowKey())
}

// Close reports whether the stream ended between rows.
func (d *Decoder) Close() error {
	if d.inRow {
		return broken("the stream ends within row %q", d.row.Key)
	}
	return nil
}

// LastKey returns the key of the last row that was committed or reported as
// scanned, which a scan resumes after; nil: there is none. It is valid until
// the next Decode.
func (d *Decoder) LastKey() []byte {
	if !d.any {
		return nil
	}
	return d.lastKey
}

// Stats returns the statistics of the response; nil: none came.
func (d *Decoder) Stats() (*bigtablepb.RequestStats, error) {
	if d.stats == nil {
		return nil, nil
	}
	s := &bigtablepb.RequestStats{}
	if err := proto.Unmarshal(d.stats, s); err != nil {
		return nil, malformed("request_stats")
	}
	return s, nil
}

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: stream of rows: %s", base.ErrCorrupt, fmt.Sprintf(format, args...))
}

func malformed(what string) error { return broken("malformed %s", what) }

// add advances the state machine by one chunk.
func (d *Decoder) add(c *fields, emit func(*Row) error) error {
	if c.reset {
		return d.reset(c)
	}
	if c.commit && c.valueSize > 0 {
		return broken("commit_row within a cell of row %q", d.row.Key)
	}
	if c.valueSize < 0 {
		return broken("negative value_size")
	}
	switch {
	case d.inCell:
		if c.hasKey() {
			return broken("a new cell begins within a value of row %q", d.row.Key)
		}
		if err := d.addPart(c); err != nil {
			return err
		}
	case d.inRow:
		if err := d.checkSameRow(c); err != nil {
			return err
		}
		d.addCell(c)
	default:
		if err := d.checkNewRow(c); err != nil {
			return err
		}
		d.row.Key = c.row
		d.inRow, d.owned = true, 0
		d.addCell(c)
	}
	if c.commit {
		return d.commit(emit)
	}
	return nil
}

func (d *Decoder) reset(c *fields) error {
	switch {
	case !d.inRow:
		return broken("reset_row between rows")
	case c.hasKey() || c.hasValue || c.valueSize != 0 || len(c.labels) > 0 || c.commit:
		return broken("reset_row with other fields")
	}
	d.clear()
	return nil
}

func (d *Decoder) checkNewRow(c *fields) error {
	if len(c.row) == 0 || !c.hasFamily || !c.hasQualifier {
		return broken("a row begins without its key, family or qualifier")
	}
	return d.checkOrder(c.row)
}

func (d *Decoder) checkOrder(key []byte) error {
	if !d.any {
		return nil
	}
	order := bytes.Compare(key, d.lastKey)
	if d.Reversed {
		order = -order
	}
	if order <= 0 {
		return broken("row %q comes after row %q", key, d.lastKey)
	}
	return nil
}

func (d *Decoder) checkSameRow(c *fields) error {
	if len(c.row) > 0 && !bytes.Equal(c.row, d.row.Key) {
		return broken("row %q begins within row %q", c.row, d.row.Key)
	}
	if c.hasFamily && !c.hasQualifier {
		return broken("a family comes without a qualifier in row %q", d.row.Key)
	}
	return nil
}

// addCell begins a cell.
func (d *Decoder) addCell(c *fields) {
	cell := Cell{Timestamp: c.timestamp, Value: c.value}
	if n := len(d.row.Cells); n > 0 {
		cell.Family, cell.Qualifier = d.row.Cells[n-1].Family, d.row.Cells[n-1].Qualifier
	}
	if c.hasFamily && string(c.family) != cell.Family {
		cell.Family = d.intern(c.family)
	}
	if c.hasQualifier {
		cell.Qualifier = c.qualifier
	}
	for _, l := range c.labels {
		cell.Labels = append(cell.Labels, string(l))
	}
	if c.valueSize > 0 {
		// The length is the peer's word: memory is taken as the parts come.
		d.inCell = true
		cell.Value = append(make([]byte, 0, min(int(c.valueSize), max(4*len(c.value), 64<<10))), c.value...)
	}
	d.row.Cells = append(d.row.Cells, cell)
}

// addPart adds a further part of a split value. That the parts make up
// value_size is not checked: in the official test vectors they do not.
func (d *Decoder) addPart(c *fields) error {
	if len(c.labels) > 0 {
		return broken("labels within a value of row %q", d.row.Key)
	}
	cell := &d.row.Cells[len(d.row.Cells)-1]
	cell.Value = append(cell.Value, c.value...)
	d.inCell = c.valueSize > 0
	return nil
}

func (d *Decoder) commit(emit func(*Row) error) error {
	d.lastKey, d.any = append(d.lastKey[:0], d.row.Key...), true
	err := emit(&d.row)
	d.clear()
	return err
}

// clear forgets the row in progress.
func (d *Decoder) clear() {
	clear(d.row.Cells)
	d.row = Row{Cells: d.row.Cells[:0]}
	d.inRow, d.inCell, d.owned = false, false, 0
}

// endMessage lets go of the bytes of the message.
func (d *Decoder) endMessage(lastScanned []byte) error {
	if len(lastScanned) > 0 {
		if d.inRow {
			return broken("last_scanned_row_key within row %q", d.row.Key)
		}
		if !d.any || !bytes.Equal(lastScanned, d.lastKey) {
			if err := d.checkOrder(lastScanned); err != nil {
				return err
			}
			d.lastKey, d.any = append(d.lastKey[:0], lastScanned...), true
		}
	}
	if !d.inRow {
		return nil
	}
	if d.owned == 0 {
		d.row.Key = bytes.Clone(d.row.Key)
	}
	for i := d.owned; i < len(d.row.Cells); i++ {
		c := &d.row.Cells[i]
		if i > 0 && bytes.Equal(c.Qualifier, d.row.Cells[i-1].Qualifier) {
			c.Qualifier = d.row.Cells[i-1].Qualifier
		} else {
			c.Qualifier = bytes.Clone(c.Qualifier)
		}
		if !d.inCell || i < len(d.row.Cells)-1 { // a split value is a copy already
			c.Value = bytes.Clone(c.Value)
		}
	}
	d.owned = len(d.row.Cells)
	return nil
}

// intern returns family as a string, the same one for the same name.
func (d *Decoder) intern(family []byte) string {
	if s, ok := d.families[string(family)]; ok {
		return s
	}
	const most = 1000 // far more than a table has
	if d.families == nil || len(d.families) > most {
		d.families = map[string]string{}
	}
	s := string(family)
	d.families[s] = s
	return s
}

// addStats merges statistics, which is what concatenation means.
func (d *Decoder) addStats(raw []byte) {
	if d.stats == nil {
		d.stats = make([]byte, 0, len(raw))
	}
	d.stats = append(d.stats, raw...)
}
