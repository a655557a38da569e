// Command tabletbench measures TabletDB and other servers of the Bigtable API:
// see `tabletbench --help`.
package main

import (
	"os"

	"github.com/tabletdb/tabletdb/internal/bench"
)

func main() { os.Exit(bench.Main(os.Args[1:], os.Stdout, os.Stderr)) }
