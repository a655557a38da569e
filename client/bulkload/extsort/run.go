package extsort

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/tabletdb/tabletdb/internal/base"
)

// A run is a file of sorted entries, in blocks:
//
//	length of the payload (4)  CRC32C of the payload (4)  payload
//
// The payload is entries: the lengths of key and value as varints, key, value.
// Integers are little-endian. Whatever is read was written by this process; the
// checksum is there because a bad disk must not change what is loaded.
type run struct {
	f     *os.File
	name  string
	bytes int64
}

const (
	blockBytes  = 256 << 10
	blockHeader = 8
	// maxPayload is the longest payload there can be: one entry of full length.
	maxPayload = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// source is a walk over entries in order. Key and Value are valid until Next.
type source interface {
	Next() bool
	Key() []byte
	Value() []byte
	Err() error
}

// writeRun writes the entries of a source to a new file.
func writeRun(dir string, from source) (_ *run, err error) {
	f, err := os.CreateTemp(dir, "tabletdb-sort-*")
	if err != nil {
		return nil, fmt.Errorf("make a temporary file: %w", err)
	}
	r := &run{f: f, name: f.Name()}
	// From here on it goes with the process. Where that is not possible, close
	// removes it.
	if os.Remove(r.name) == nil {
		r.name = ""
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write sorted entries: %w", err), r.close())
		}
	}()
	block := make([]byte, blockHeader, blockBytes+blockHeader)
	for from.Next() {
		k, v := from.Key(), from.Value()
		block = binary.AppendUvarint(block, uint64(len(k)))
		block = binary.AppendUvarint(block, uint64(len(v)))
		block = append(append(block, k...), v...)
		if len(block) >= blockBytes {
			if err := r.append(block); err != nil {
				return nil, err
			}
			block = block[:blockHeader]
		}
	}
	if err := from.Err(); err != nil {
		return nil, err
	}
	if len(block) > blockHeader {
		err = r.append(block)
	}
	return r, err
}

// append writes a block, whose header it fills in.
func (r *run) append(block []byte) error {
	payload := block[blockHeader:]
	binary.LittleEndian.PutUint32(block, uint32(len(payload)))
	binary.LittleEndian.PutUint32(block[4:], crc32.Checksum(payload, castagnoli))
	n, err := r.f.Write(block)
	r.bytes += int64(n)
	return err
}

// walk returns a source of the entries of the file.
func (r *run) walk() *runWalk {
	return &runWalk{r: r, in: bufio.NewReaderSize(io.NewSectionReader(r.f, 0, r.bytes), 64<<10)}
}

func (r *run) close() error {
	err := r.f.Close()
	if r.name != "" {
		err = errors.Join(err, os.Remove(r.name))
	}
	return err
}

func closeAll(runs []*run) error {
	var errs []error
	for _, r := range runs {
		errs = append(errs, r.close())
	}
	return errors.Join(errs...)
}

// runWalk implements source.
type runWalk struct {
	r          *run
	in         *bufio.Reader
	block      []byte
	rest       []byte // of the block
	key, value []byte
	err        error
}

func (w *runWalk) Key() []byte   { return w.key }
func (w *runWalk) Value() []byte { return w.value }
func (w *runWalk) Err() error    { return w.err }

// Next implements source.
func (w *runWalk) Next() bool {
	if w.err != nil || len(w.rest) == 0 && !w.read() {
		return false
	}
	k, n := binary.Uvarint(w.rest)
	if n <= 0 {
		return w.corrupt()
	}
	v, m := binary.Uvarint(w.rest[n:])
	b := w.rest[max(n+m, 0):]
	if m <= 0 || k > uint64(len(b)) || v > uint64(len(b))-k {
		return w.corrupt()
	}
	w.key, w.value, w.rest = b[:k:k], b[k:k+v:k+v], b[k+v:]
	return true
}

// read reads the next block; false: there is none, or an error.
func (w *runWalk) read() bool {
	var h [blockHeader]byte
	if _, err := io.ReadFull(w.in, h[:]); err != nil {
		if !errors.Is(err, io.EOF) {
			w.err = fmt.Errorf("read sorted entries: %w", err)
		}
		return false
	}
	n := int(binary.LittleEndian.Uint32(h[:]))
	if n == 0 || n > maxPayload {
		return w.corrupt()
	}
	if cap(w.block) < n {
		w.block = make([]byte, n)
	}
	w.block = w.block[:n]
	if _, err := io.ReadFull(w.in, w.block); err != nil {
		w.err = fmt.Errorf("read sorted entries: %w", err)
		return false
	}
	if crc32.Checksum(w.block, castagnoli) != binary.LittleEndian.Uint32(h[4:]) {
		return w.corrupt()
	}
	w.rest = w.block
	return true
}

func (w *runWalk) corrupt() bool {
	w.err = fmt.Errorf("%w: a temporary file of sorted entries does not hold what was written to it", base.ErrCorrupt)
	return false
}
