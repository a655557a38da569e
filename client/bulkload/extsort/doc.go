// Package extsort sorts more entries than fit in memory. What does not fit goes
// to files in a local directory, sorted, which are merged when it is read. The
// files have no name while they are in use, where the system allows that, so that
// none is left when the process dies.
//
//	sorter.go   what is in memory
//	run.go      sorted files
//	merge.go    reading them all
package extsort
