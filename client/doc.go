// Package client is the Go API of TabletDB. Who knows cloud.google.com/go/bigtable
// knows most of it: tables, rows, filters, mutations and their names are alike.
//
//	c, err := client.Open(ctx, client.Config{LockService: []string{"host:7100"}})
//	defer c.Close()
//	t := c.Open("pages")
//	m := client.NewMutation()
//	m.Set("anchor", "cnn.com", client.Now(), []byte("CNN"))
//	err = t.Apply(ctx, "com.cnn.www", m)
//
// Given the lock service, the client finds the tablet servers by itself and
// talks to them without a gateway in between; given an Endpoint, it talks to
// that gateway.
//
// Calls are retried within the context's deadline (60 s where it has none, but
// for reads of rows) wherever that is safe: always while a tablet moves or its
// server fails over, for each write is applied once however often it is sent.
// Behind an Endpoint, which may be any server of the API, a write is sent again
// after a lost reply only if applying it twice is the same as once: cells with
// timestamps and deletions, not ServerTime, AddIntToCell and
// ApplyReadModifyWrite. What cannot be retried, or was for 5 minutes in vain,
// comes back as ErrUnknownOutcome.
// Errors wrap the sentinels of this package; status.Code works on those that
// came from a server.
//
// A Client, Table, BulkWriter and Admin may be used concurrently; a Mutation
// and a ReadModifyWrite by one goroutine at a time, and again after the call
// they were passed to returned.
package client
