// Package plan turns a query of GoogleSQL for Bigtable into a Plan, and runs
// it over the rows of a table.
//
// A query is one SELECT over at most one table:
//
//	SELECT [DISTINCT] expressions, *, _key, family, family['qualifier'], aliases
//	FROM table | table(with_history => TRUE, after => ..., latest_n => 3) | table(as_of => ...)
//	WHERE ... GROUP BY ... HAVING ... ORDER BY ... LIMIT ... OFFSET ...
//
// The columns of a table are _key, of type BYTES, and one for each family: a
// MAP from qualifiers to the latest values, or with history to arrays of
// STRUCT<timestamp TIMESTAMP, value BYTES>, newest first. In a family of
// aggregates the values are INT64. Families that a row has no cells in are
// empty maps, and qualifiers that it does not have are NULL.
//
// Parsing is that of memefish, which knows the syntax of Spanner; nothing of
// what Bigtable adds needs another: a table with temporal arguments is a call
// of a table-valued function to it, a qualifier a subscript. Joins, set
// operations, subqueries, UNNEST and UNPACK in FROM, pipes, and statements
// other than SELECT are refused with base.ErrUnimplemented, which names them.
//
// What a WHERE says about _key becomes row ranges (see Plan.Keys), and the
// families and qualifiers that occur a filter (see Plan.Filter), so that only
// those are read. Rows are then dealt with one by one in the order of their
// keys; only ORDER BY of anything but _key, DISTINCT, and GROUP BY without
// _key hold on to rows, up to a limit of memory.
//
// Errors of users wrap base.ErrInvalid, base.ErrUnimplemented or
// base.ErrPrecondition and say where in the query they are. The package is
// pure but for Run, which reads through a function that it is given.
package plan
