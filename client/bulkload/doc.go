// Package bulkload writes cells to a table as files: it sorts them, makes
// SSTables of them in the bucket, and has the tablets of the table adopt these.
// That is many times cheaper than mutations where there is much to write, for
// nothing goes through commit logs and memtables, and nothing is merged before
// it is in order.
//
//	l, err := bulkload.Open(ctx, bulkload.Config{LockService: addresses, Table: "projects/p/instances/i/tables/t"})
//	defer l.Close(ctx)
//	for ... {
//		err = l.Add(row, "cf", qualifier, timestamp, value)
//	}
//	summary, err := l.Commit(ctx)
//
// The process that loads works on the lock service and the bucket itself, as
// tabletadm does: it must be able to reach both, with credentials for the bucket.
//
// Until Commit nothing of a load is seen, and where Commit is not called, or the
// process dies before its one transaction, nothing ever will be: what was
// uploaded is garbage, which is collected once the session of the loader has
// ended. From that transaction on the load is decided: it is adopted by every
// tablet, whoever dies. Each tablet adopts at one moment; before it, readers see
// nothing of the load in its rows, after it everything. So a row is never seen
// loaded in part. Different tablets adopt at different moments; Commit returns
// when all have.
//
// A loaded cell stands as if it had been written at the moment of the adoption:
// deletions and writes to the same cell before it do not count, those that come
// later do. That is so for timestamps of any age.
//
//	loader.go   what is added: checks, and the sorter
//	files.go    SSTables of what was sorted
//	commit.go   the decision, and waiting for the tablets
//	extsort/    sorting more than fits in memory
package bulkload
