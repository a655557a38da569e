// Package rowfilter is the filter language of the Bigtable API over streams of
// cells. It is pure.
//
// A filter is compiled once per request into a Program, which is immutable and
// shared; each scan evaluates it with an Eval of its own. The reader pushes the
// cells of a row in their order (family, qualifier, newest timestamp first) and
// gets back the cells that pass, and a Hint how far it may seek ahead:
//
//	ev := p.NewEval()
//	for each row:
//		if !ev.Row(key) { continue } // nothing of the row can pass
//		for each cell:
//			switch ev.Push(&cell, out) { case SkipColumn: seek ... }
//		ev.End(out)
//
// Before that, the Program tells which rows, families, columns and timestamps
// can matter at all (Rows, Columns, TimeRange, ...), so that only those are
// read. All such hints err on the side of reading too much; a reader may ignore
// any of them.
//
// Filters stream. An interleave gives the copies of a cell one after the other,
// in the order of its branches. Only a condition has to hold cells back, until
// its predicate has produced a cell or can no longer do so; they are copied, so
// a cell is borrowed for the time of Push only.
//
// Row samples are deterministic: whether a row is in depends on its key, the
// Seed of the compilation and the place of the sample in the filter. So a scan
// that resumes elsewhere with the same seed sees the same sample.
package rowfilter
