package client_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/tabletdb/tabletdb/client"
)

func Example() {
	ctx := context.Background()
	c, err := client.Open(ctx, client.Config{LockService: []string{"localhost:7100"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	err = c.Admin().CreateTableFromConf(ctx, &client.TableConf{
		Table:    "pages",
		Families: []client.Family{{Name: "anchor"}, {Name: "contents", GC: client.MaxVersionsPolicy(3)}},
	})
	if err != nil {
		log.Fatal(err)
	}

	pages := c.Open("pages")
	m := client.NewMutation()
	m.Set("anchor", "cnnsi.com", client.Now(), []byte("CNN"))
	m.DeleteCellsInColumn("anchor", "www.abc.com")
	if err := pages.Apply(ctx, "com.cnn.www", m); err != nil {
		log.Fatal(err)
	}
	row, err := pages.ReadRow(ctx, "com.cnn.www", client.RowFilter(client.LatestNFilter(1)))
	if err != nil {
		log.Fatal(err)
	}
	for _, cell := range row.Cells {
		fmt.Printf("%s:%s = %s\n", cell.Family, cell.Column, cell.Value)
	}
}

func ExampleTable_Rows() {
	ctx := context.Background()
	c, err := client.Open(ctx, client.Config{Endpoint: "localhost:8086"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	// The titles of the newest ten pages of a domain.
	filter := client.ChainFilters(client.FamilyFilter("contents"), client.ColumnFilter("title"), client.LatestNFilter(1))
	for row, err := range c.Open("pages").Rows(ctx, client.PrefixRange("com.cnn."), client.RowFilter(filter), client.LimitRows(10), client.ReverseScan()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(row.Key, string(row.Cells[0].Value))
	}
}

func ExampleNewCondMutation() {
	ctx := context.Background()
	c, err := client.Open(ctx, client.Config{Endpoint: "localhost:8086"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	// Take a job unless somebody has it.
	take := client.NewMutation()
	take.Set("job", "owner", client.ServerTime, []byte("me"))
	taken := client.ChainFilters(client.FamilyFilter("job"), client.ColumnFilter("owner"))
	var others bool
	err = c.Open("jobs").Apply(ctx, "job-17", client.NewCondMutation(taken, nil, take), client.GetCondMutationResult(&others))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("mine:", !others)
}

func ExampleBulkWriter() {
	ctx := context.Background()
	c, err := client.Open(ctx, client.Config{LockService: []string{"localhost:7100"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	w := c.Open("events").NewBulkWriter(client.BulkOptions{Linger: 20 * time.Millisecond})
	m := client.NewMutation()
	for i := range 1_000_000 {
		m.Reset()
		m.Set("e", "n", client.Now(), fmt.Append(nil, i))
		if err := w.Add(ctx, fmt.Sprintf("event-%07d", i), m); err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Close(ctx); err != nil {
		log.Fatal(err) // tells how many rows failed, and why
	}
}
