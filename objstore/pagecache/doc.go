// Package pagecache is the decorator that keeps what was read of immutable
// objects on a local disk, as pages of one size, across restarts.
//
// Two files, both of which may be deleted while no process uses them:
//
//	index   a header, then one record for each slot: which page it holds, and
//	        the checksum of the page, its object's name and its number
//	pages   slot i at i * page size
//
// A page is written before its record, and nothing is ever synced. What a crash
// leaves half written, and what other hands put there, fails a checksum and is a
// miss; so is a page in a slot that was given to another page while it was read.
// docs/format/pagecache.md draws the bytes.
//
// What is put goes to the cache as well as what is read: it is new, and so likely
// to be read soon.
//
// Which page goes when another needs its slot is decided as in S3-FIFO: pages
// that were asked for once pass through a small queue, those that were asked
// for again stay in the main one. The queues are this package's own because in
// them stand the slots of the file; a library's cache would need a second index
// beside its own, and a lock around both.
//
// The cache never fails a read: where the disk fails or is full the package
// says so once, by Options.OnDisabled, and is a plain pass-through from then on.
package pagecache
