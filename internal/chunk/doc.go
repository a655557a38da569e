// Package chunk is the wire form of the rows that ReadRows returns. Encoder
// writes google.bigtable.v2.ReadRowsResponse messages straight as bytes, without
// message objects; Decoder is the client's side: it merges their chunks into
// rows and refuses whatever breaks the rules of the protocol:
//
//  1. The first chunk of a row has row key, family and qualifier. Keys rise
//     strictly (fall, in a reversed scan).
//  2. Within a row the key is absent or the same; a family comes with a
//     qualifier; what is absent is as in the cell before.
//  3. A value may be split: each part but the last has value_size, the length
//     of the whole; the parts after the first have nothing but value.
//  4. commit_row stands in the last chunk of the last cell. A row may span
//     messages, a chunk never holds two cells.
//  5. reset_row stands alone and drops the row in progress.
//  6. A stream does not end within a row.
//
// Both are pure; each is used by one goroutine at a time.
package chunk
