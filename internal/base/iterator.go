package base

// Iterator walks the entries of a memtable, an SSTable or a merge of several
// in ascending order of their cell keys (bytes.Compare). It starts unpositioned
// and is used by one goroutine at a time.
//
// The positioning methods report whether the iterator stands on an entry; if
// not, Err tells an end from a failure. Key and Value are valid until the next
// positioning call, except where an implementation promises more, and must not
// be changed.
type Iterator interface {
	// SeekGE moves to the first entry with a key >= key.
	SeekGE(key []byte) bool
	// SeekLT moves to the last entry with a key < key.
	SeekLT(key []byte) bool
	// Next moves to the next entry; the iterator must stand on one.
	Next() bool
	Key() []byte
	Value() []byte
	Err() error
	// Close releases what the iterator pins. It returns Err.
	Close() error
}
