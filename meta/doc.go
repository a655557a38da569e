// Package meta keeps the records of TabletDB in the lock service: tablets,
// commit logs, tables and servers. It is the only place that builds
// transactions on them, so that every compare the rules demand (R1 to R3, R5,
// R7, R14, R15) stands here once.
//
// The keys:
//
//	meta/<table>/k<end row>, meta/<table>/~   tablet record; ~: the last tablet
//	log/<E>             state of the commit log of incarnation E
//	low/<E>             its lowest needed position
//	ref/<E>/<tablet>    lowest position of log E that the tablet needs
//	server/<E>          what the live server says of itself (ephemeral)
//	table/<id>          schema
//	tablename/<name>    id of the table of that name
//	counter/<name>      last id drawn
//	mark/...            what operators have set: servers drained, balancing off
//
// Numbers in keys are 16 hexadecimal digits. A Tablet is a value: changing one
// means to build a Change from the record one has read and to Commit it, which
// compares the record's revision.
package meta
