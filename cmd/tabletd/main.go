// Command tabletd runs the roles of TabletDB: see `tabletd --help`.
package main

import (
	"os"

	"github.com/tabletdb/tabletdb/internal/daemon"
)

// version is set by the linker.
var version = "dev"

func main() { os.Exit(daemon.Main(os.Args[1:], os.Stdout, os.Stderr, version)) }
