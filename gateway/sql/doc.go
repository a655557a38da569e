// Package sql serves PrepareQuery and ExecuteQuery: GoogleSQL over the rows of
// one table. Package plan says which queries there are; this one deals with
// what goes over the wire.
//
// A prepared query is stateless: its bytes hold the text, the types of the
// parameters and what the plan knows of the table, so that any gateway can
// execute it. They are valid for Config.TTL, and as long as the families of
// the table are the same; afterwards ExecuteQuery answers FAILED_PRECONDITION
// with a violation PREPARED_QUERY_EXPIRED, upon which clients prepare anew.
//
//	prepared query:  version 1 | CRC32C of the rest, 4 | expires, varint (Unix us)
//	                 | instance | text | n | n x (parameter | type)
//	                 | 0, or 1 | table | m | m x (family | 1 for numbers, else 0)
//	resume token:    version 1 | CRC32C of the rest, 4 | hash of the request, 8
//	                 | kind | now, varint | skipped, varint | sent, varint | key
//
// where text stands for its length as a varint and its bytes, and integers are
// big endian.
//
// Results are ProtoRows, cut into batches of about BatchSize; a batch may span
// messages, the last of which has its checksum. Where a plan is Resumable each
// batch ends with a resume token, and so do long stretches without a result;
// otherwise only the end does, for its rows make sense in one piece only. The
// last token is a sentinel: a request that resumes from it gets it again and
// nothing else. Requests that resume are executed with the plan that was
// prepared, expired or not, as the rows so far were. The first message of a
// stream has reset set, for clients that did not drop what an attempt before
// it left unfinished.
package sql
