// Package heatmap counts requests by row and time, in bounded memory, and draws
// what was counted: time from left to right, rows from top to bottom.
//
// A tablet server has one Recorder. How many requests each tablet got is exact;
// how they lie within the tablet is estimated from a sample of their rows. What
// the recorders of all servers know is put together by Build, and drawn by
// Grid.SVG. Nothing here does I/O or knows of servers.
package heatmap
