// Package linearizability checks that what clients saw of single rows could
// have happened one operation at a time, each at some instant between its call
// and its return.
//
// Tests record every operation in a History: what was asked, when, and what was
// answered. An operation whose outcome the client never learned stays open to
// the end: it may have been applied at any time after its call, or never. Check
// then searches, for each row by itself (a row is the largest thing that TabletDB
// changes atomically), an order that explains all answers, with porcupine.
//
// A row has three parts, because three kinds of clients rely on different
// promises:
//
//	register  a cell that is written with server timestamps: the last write
//	          wins. Such writes must not be sent twice, so clients do not. It is
//	          also the subject of check-and-mutate. It is written to two columns,
//	          which must always be equal: a row changes atomically.
//	newest    a cell that is written with timestamps of the client: the highest
//	          one wins, however often and in whichever order it is sent.
//	counter   a cell that is only incremented; each increment returns the sum.
package linearizability
