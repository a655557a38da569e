package tabletserver_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// inBubble runs a test on a fixture in a synctest bubble.
func inBubble(t *testing.T, f func(t *testing.T, f *tabletservertest.Fixture)) {
	synctest.Test(t, func(t *testing.T) {
		fx := tabletservertest.New(t)
		defer fx.Close()
		f(t, fx)
	})
}

func wantRows(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("rows\n%q, want\n%q", got, want)
	}
}

func TestWriteReadFlushFailOver(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		a, b := f.Open(ctx), f.Open(ctx)
		tb := f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], a)
		f.Must(a.Set(ctx, tb, "r1", "cf", "q", 1000, "one"))
		f.Must(a.Set(ctx, tb, "r2", "cf", "q", 1000, "two"))
		f.Must(a.Flush(ctx, tb))
		f.Must(a.Set(ctx, tb, "r1", "cf", "q", 2000, "uno"))
		f.Must(a.Set(ctx, tb, "r3", "v1", "q", 1000, "x"))
		f.Must(a.Set(ctx, tb, "r3", "v1", "q", 3000, "y"))
		want := []string{"r1 cf:q@2000=uno cf:q@1000=one", "r2 cf:q@1000=two", "r3 v1:q@3000=y"}
		wantRows(t, a.All(ctx, tb), want...)
		rows, err := a.Read(ctx, tb, &bigtablepb.ReadRowsRequest{Reversed: true, RowsLimit: 2})
		f.Must(err)
		wantRows(t, rows, want[2], want[1])

		a.Kill()
		tb = f.FailOver(ctx, tb, b)
		wantRows(t, b.All(ctx, tb), want...)
		f.Must(b.Mutate(ctx, tb, "r1", &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromRow_{DeleteFromRow: &bigtablepb.Mutation_DeleteFromRow{}}}))
		wantRows(t, b.All(ctx, tb), want[1:]...)
		f.Must(b.Flush(ctx, tb))
		wantRows(t, b.All(ctx, tb), want[1:]...)

		c := f.Open(ctx)
		f.Must(b.Close(ctx))
		tb = f.Serve(ctx, f.Tablets(ctx, f.CreateTable(ctx))[0], c) // another table of the same server
		wantRows(t, c.All(ctx, tb))
	})
}
