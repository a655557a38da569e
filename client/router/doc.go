// Package router finds the tablet server that serves a row and sends it the
// request: the shared core of the public client and of the gateway.
//
// It caches which table a name means and where its tablets are, and hides from
// its callers, within their deadlines, that tablets move, split, load and fail
// over: a request for a tablet that is not served is held until it is, and
// redirected (design, section 9). Requests and responses are wire bytes of
// google.bigtable.v2, as in package route.
//
// What is sent again (rule R13): whatever certainly was not applied, always; a
// request whose outcome is unknown only where applying it twice is the same as
// once, and within a budget, so that retries cannot become a storm.
//
//	router.go    Router, its configuration, its end
//	table.go     names of tables to their ids; the table's cache of locations
//	location.go  locations, as immutable sorted lists
//	lookup.go    reads of meta, shared by those who need the same
//	hold.go      waiting for a tablet to be served
//	server.go    connections to tablet servers
//	effort.go    what a failed attempt means: redirect, hold, back off, give up
//	single.go    calls for one row
//	bulk.go      MutateRows
//	scan.go      ReadRows
//	sample.go    SampleRowKeys
package router
