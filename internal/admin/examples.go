package admin

import (
	"strings"

	"github.com/spf13/cobra"
)

// examples returns the examples of commands that have none of their own, by
// path below tabletadm: lines of arguments.
func examples() map[string]string {
	return map[string]string{
		"balance explain": "balance explain --limit 10",
		"balance off":     "balance off",
		"balance on":      "balance on",
		"balance wait":    "balance wait --timeout 10m",
		"clone":           "clone pages pages_tuesday",
		"compact":         "compact pages\ncompact --tablet 7",
		"count":           "count pages --prefix com.example/",
		"export csv":      "export csv pages --columns anchor > pages.csv",
		"flush":           "flush\nflush pages",
		"gc":              "gc --dry-run",
		"get":             "get pages com.example/index\nget pages '\"\\x00\\x01\"' --versions 0",
		"hot":             "hot --limit 5",
		"import abandon":  "import abandon pages 3 --yes",
		"import pending":  "import pending",

		"lock get":      "lock get config/store",
		"lock list":     "lock list",
		"lock ls":       "lock ls server/ --values",
		"lock revoke":   "lock revoke 1-17 --yes",
		"lock sessions": "lock sessions",
		"manifest dump": "manifest dump 7\nmanifest dump 1-17-4",
		"meta ls":       "meta ls pages",
		"meta ranges":   "meta ranges",

		"raft add":      "raft add lock4 10.0.0.4:8290",
		"raft members":  "raft members",
		"raft remove":   "raft remove lock4",
		"raft restore":  "raft restore lockservice.snapshot --yes",
		"raft snapshot": "raft snapshot lockservice.snapshot",
		"raft status":   "raft status -o json",
		"raft transfer": "raft transfer lock2",

		"recovery":        "recovery",
		"safemode off":    "safemode off",
		"safemode on":     "safemode on",
		"safemode status": "safemode status",
		"server drain":    "server drain host3",
		"server list":     "server list",
		"server restart":  "server restart --exec 'ssh $SERVER systemctl restart tabletd'",
		"server undrain":  "server undrain host3",
		"servers":         "servers",

		"snapshot clone":  "snapshot clone nightly pages_restored",
		"snapshot delete": "snapshot delete nightly --yes",
		"snapshot list":   "snapshot list pages",
		"snapshot show":   "snapshot show nightly",
		"sst dump":        "sst dump 1-17-3 --start a --limit 20",
		"sst props":       "sst props 1-17-3",
		"sst verify":      "sst verify 1-17-3 1-17-5",
		"status":          "status\nstatus -o json",

		"table delete":     "table delete pages --yes",
		"table describe":   "table describe pages",
		"table list":       "table list",
		"table undelete":   "table undelete pages",
		"tablet compact":   "tablet compact 7",
		"tablet describe":  "tablet describe 7",
		"tablet explain":   "tablet explain 7",
		"tablet flush":     "tablet flush 7",
		"tablet merge":     "tablet merge 7 8",
		"tablet move":      "tablet move 7\ntablet move 7 host3",
		"tablet split":     "tablet split 7\ntablet split 7 --at com.example/m",
		"tablets describe": "tablets describe 7",
		"tablets list":     "tablets list pages\ntablets list --state unserved\ntablets list --server host3 --limit 0",
		"version":          "version",
		"wal dump":         "wal dump 1-17 42 --records",
		"wal ls":           "wal ls\nwal ls 1-17",
	}
}

// addExamples gives every command below c its example.
func addExamples(c *cobra.Command, all map[string]string) {
	if text, ok := all[strings.TrimPrefix(c.CommandPath(), "tabletadm ")]; ok && c.Example == "" {
		c.Example = "  tabletadm " + strings.ReplaceAll(text, "\n", "\n  tabletadm ")
	}
	for _, x := range c.Commands() {
		addExamples(x, all)
	}
}
