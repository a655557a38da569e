package admin

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/lockservice"
)

const (
	lockServiceVar     = "TABLETDB_LOCKSERVICE"
	storeVar           = "TABLETDB_STORE"
	defaultLockService = "127.0.0.1:8290"
	defaultTimeout     = 30 * time.Second
)

// globals are the flags of every command.
type globals struct {
	lockService       []string
	store             string
	project, instance string
	output            string
	timeout           time.Duration
}

func (g *globals) register(root *cobra.Command, getenv func(string) string) {
	f := root.PersistentFlags()
	endpoints := getenv(lockServiceVar)
	if endpoints == "" {
		endpoints = defaultLockService
	}
	f.StringSliceVar(&g.lockService, "lockservice", strings.Split(endpoints, ","), "addresses of the lock service's replicas ($"+lockServiceVar+")")
	f.StringVar(&g.store, "store", getenv(storeVar), "URL of the bucket: s3://bucket/prefix?endpoint=URL, file:///directory ($"+storeVar+"; default: what the lock service says)")
	f.StringVar(&g.project, "project", "local", "project of tables given by their short name")
	f.StringVar(&g.instance, "instance", "main", "instance of tables given by their short name")
	f.StringVarP(&g.output, "output", "o", "table", "output: table, json or yaml")
	f.DurationVar(&g.timeout, "timeout", defaultTimeout, "give up after this long; scans, imports and checks have no limit unless it is given; 0: none")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp)) // only fails for flags that are not there
}

// completeTimeout bounds how long a shell waits for names.
const completeTimeout = 2 * time.Second

// completeTables offers the names of tables as the first argument.
func (r *run) completeTables(c *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	const no = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 {
		return nil, no
	}
	e, err := newEnv(r)
	if err != nil {
		return nil, no
	}
	defer e.close() // nothing was changed
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), completeTimeout)
	defer cancel()
	tables, err := e.tables(ctx, lockservice.ReadOptions{Stale: true})
	if err != nil {
		return nil, no
	}
	var names []string
	for _, t := range tables {
		if n := e.short(t.Name); strings.HasPrefix(n, prefix) {
			names = append(names, n)
		}
	}
	return names, no
}

// ofTable makes a command's first argument a table for the shell.
func (r *run) ofTable(c *cobra.Command) *cobra.Command {
	c.ValidArgsFunction = r.completeTables
	return c
}
