//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"cloud.google.com/go/bigtable"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// What tests call the project, the instance and the table.
const (
	project   = "local"
	instance  = "main"
	tableName = "e2e"
)

// Families of the table.
const (
	familyRegister = "r" // columns a and b, always equal
	familyNewest   = "n"
	familyCounter  = "c"
	familyLedger   = "l"
	familyProbe    = "p"
)

// dial connects to an address as a client would, but for a shorter wait between
// two attempts, since tests should not wait for clients.
func dial(t testing.TB, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 2 * time.Second,
			Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 500 * time.Millisecond}}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// open returns the official client of the table behind an address.
func open(t testing.TB, addr string) *bigtable.Table {
	t.Helper()
	client, err := bigtable.NewClientWithConfig(t.Context(), project, instance,
		bigtable.ClientConfig{MetricsProvider: bigtable.NoopMetricsProvider{}, DisableSession: true}, option.WithGRPCConn(dial(t, addr)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client.Open(tableName)
}

func openAdmin(t testing.TB, addr string) *bigtable.AdminClient {
	t.Helper()
	admin, err := bigtable.NewAdminClient(t.Context(), project, instance, option.WithGRPCConn(dial(t, addr)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Close() })
	return admin
}

// createTable creates the table of the tests with 16 tablets, one for each first
// letter 0 to f of a key, and waits until all are served.
func (c *cluster) createTable() {
	c.t.Helper()
	conf := &bigtable.TableConf{TableID: tableName, Families: map[string]bigtable.GCPolicy{
		familyRegister: bigtable.MaxVersionsPolicy(1), familyNewest: bigtable.MaxVersionsPolicy(1), familyCounter: bigtable.MaxVersionsPolicy(1),
		familyLedger: bigtable.NoGcPolicy(), familyProbe: bigtable.MaxVersionsPolicy(1)}}
	for i := 1; i < tabletCount; i++ {
		conf.SplitKeys = append(conf.SplitKeys, letter(i))
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	if err := openAdmin(c.t, c.addr[c.gateway]).CreateTableFromConf(ctx, conf); err != nil {
		c.t.Fatalf("create table: %v", err)
	}
	c.awaitServing(time.Minute)
}

// tabletCount is how many tablets the table has.
const tabletCount = 16

func letter(i int) string { return fmt.Sprintf("%x", i) }
