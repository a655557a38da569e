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
//	table.go     names of tables to their ids; what is learned of their tablets
//	location.go  locations, as immutable sorted lists
//	flight.go    reads of the lock service, shared by those who need the same
//	lookup.go    look-ups of tablets in meta
//	hold.go      waiting for a tablet to be served
//	server.go    connections to tablet servers
//	stall.go     servers that do not answer
//	effort.go    what a failed attempt means: redirect, hold, back off, give up
//	budget.go    limits of retries, and their pauses
//	parse.go     what routing needs of requests
//	single.go    calls for one row
//	bulk.go      MutateRows
//	scan.go      ReadRows; scanstats.go: the statistics of many tablets as one
//	sample.go    SampleRowKeys
//	drop.go      deletion of ranges of rows
package router
