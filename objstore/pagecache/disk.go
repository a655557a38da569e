package pagecache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tabletdb/tabletdb/internal/base"
)

const (
	recordLen = 128
	// maxKeyLen is the longest name of an object that a record takes.
	maxKeyLen = recordLen - 24

	version = 1
	magic   = "TABLTPGC"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum covers a page and whose it is.
func checksum(id pageID, page []byte) uint32 {
	var head [8]byte
	binary.LittleEndian.PutUint32(head[:], id.page)
	binary.LittleEndian.PutUint32(head[4:], uint32(len(page)))
	c := crc32.Update(0, castagnoli, []byte(id.key))
	return crc32.Update(crc32.Update(c, castagnoli, head[:]), castagnoli, page)
}

// disk is the two files.
type disk struct {
	lock, index, pages *os.File
	pageSize           int64
}

// openDisk opens the files in dir, for slots pages that belong to whatever
// identity names. What is there and does not fit is thrown away.
func openDisk(dir, identity string, pageSize int64, slots int) (*disk, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	d := &disk{pageSize: pageSize}
	var err error
	open := func(name string) *os.File {
		if err != nil {
			return nil
		}
		var f *os.File
		f, err = os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o644)
		return f
	}
	d.lock = open("LOCK")
	if err == nil {
		if lerr := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); lerr != nil {
			err = fmt.Errorf("%w: another process uses it: %v", base.ErrInvalid, lerr)
		}
	}
	d.index, d.pages = open("index"), open("pages")
	if err == nil {
		err = d.fit(header(identity, pageSize), slots)
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// header is the first record of an index.
//
//	 0  u32 CRC32C of the rest
//	 4  u32 format version
//	 8  "TABLTPGC"
//	16  u32 page size
//	20  u32 checksum of the identity
//	24  identity, as far as it fits
func header(identity string, pageSize int64) []byte {
	b := make([]byte, recordLen)
	le := binary.LittleEndian
	le.PutUint32(b[4:], version)
	copy(b[8:], magic)
	le.PutUint32(b[16:], uint32(pageSize))
	le.PutUint32(b[20:], crc32.Checksum([]byte(identity), castagnoli))
	copy(b[24:], identity)
	le.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// fit empties the files unless they have the header that is wanted, and cuts
// off what lies beyond the last slot.
func (d *disk) fit(want []byte, slots int) error {
	have := make([]byte, recordLen)
	n, err := d.index.ReadAt(have, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if n == recordLen && bytes.Equal(have, want) {
		return errors.Join(shorten(d.index, int64(slots+1)*recordLen), shorten(d.pages, int64(slots)*d.pageSize))
	}
	if err := errors.Join(d.index.Truncate(0), d.pages.Truncate(0)); err != nil {
		return err
	}
	_, err = d.index.WriteAt(want, 0)
	return err
}

func shorten(f *os.File, size int64) error {
	info, err := f.Stat()
	if err == nil && info.Size() > size {
		err = f.Truncate(size)
	}
	return err
}

func (d *disk) close() error {
	var errs []error
	for _, f := range []*os.File{d.index, d.pages, d.lock} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// record is which page a slot holds.
//
//	 0  u32 CRC32C of the rest
//	 4  u8  format version; u8 length of the name; u16 zero
//	 8  u32 number of the page
//	12  u32 its length
//	16  u32 CRC32C of name, number, length and page
//	20  u32 zero
//	24  name of the object
func record(id pageID, length, crc uint32) []byte {
	b := make([]byte, recordLen)
	le := binary.LittleEndian
	b[4], b[5] = version, byte(len(id.key))
	le.PutUint32(b[8:], id.page)
	le.PutUint32(b[12:], length)
	le.PutUint32(b[16:], crc)
	copy(b[24:], id.key)
	le.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// parseRecord is the inverse of record; false: it is none.
func parseRecord(b []byte, pageSize int64) (id pageID, length, crc uint32, ok bool) {
	le := binary.LittleEndian
	if le.Uint32(b) != crc32.Checksum(b[4:recordLen], castagnoli) || b[4] != version || b[5] == 0 || int(b[5]) > maxKeyLen {
		return id, 0, 0, false
	}
	id = pageID{string(b[24 : 24+int(b[5])]), le.Uint32(b[8:])}
	length, crc = le.Uint32(b[12:]), le.Uint32(b[16:])
	return id, length, crc, length > 0 && int64(length) <= pageSize && id.page <= maxPage
}

// maxPage bounds the numbers of pages, and with them what a bad record can make
// the table take.
const maxPage = 1 << 24

// write writes a page, then its record.
func (d *disk) write(i int32, id pageID, page []byte, crc uint32) error {
	if _, err := d.pages.WriteAt(page, int64(i)*d.pageSize); err != nil {
		return err
	}
	_, err := d.index.WriteAt(record(id, uint32(len(page)), crc), int64(i+1)*recordLen)
	return err
}

// forget makes slot i hold nothing after a restart.
func (d *disk) forget(i int32) error {
	_, err := d.index.WriteAt(make([]byte, recordLen), int64(i+1)*recordLen)
	return err
}

// read reads the page in slot i into b. The error io.ErrUnexpectedEOF says that
// the file is shorter.
func (d *disk) read(i int32, b []byte) error {
	n, err := d.pages.ReadAt(b, int64(i)*d.pageSize)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// load puts what the index says into t.
func (d *disk) load(t *table) error {
	const chunk = 8192 * recordLen
	b := make([]byte, chunk)
	for first := 0; first < len(t.slots); first += chunk / recordLen {
		n, err := d.index.ReadAt(b, int64(first+1)*recordLen)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for k := 0; (k+1)*recordLen <= n && first+k < len(t.slots); k++ {
			id, length, crc, ok := parseRecord(b[k*recordLen:], d.pageSize)
			if ok && t.find(id, false) == none {
				t.slots[first+k].where = writing
				t.put(int32(first+k), id, length, crc)
			}
		}
		if n < chunk {
			break
		}
	}
	t.freeAll()
	return nil
}
