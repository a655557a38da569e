// Package csvload turns the records of CSV files into rows, and rows into
// records. It is pure but for the reader and writer it is given.
//
// There are two forms. The wide form has a row per line; the first line names
// the columns, and a key template says how the row's key is made:
//
//	{State}#{Airport}#{line:08}
//
// where {name} is the field of that column, {name:08} the field padded on the
// left with zeros to 8 characters, {line} the number of the line in the file,
// and {{ and }} are braces. A column named family:qualifier goes there; others
// go to the default family under their name, or where the mapping says.
//
// The cell form has a line per cell: row, family, qualifier, timestamp in
// microseconds, value. It keeps every version and timestamp.
package csvload
