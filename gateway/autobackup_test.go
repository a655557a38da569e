package gateway

import (
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// TestAutomatedBackupNames: one name a day for each table, whoever computes it,
// and never one that is too long.
func TestAutomatedBackupNames(t *testing.T) {
	policy := &adminpb.Table_AutomatedBackupPolicy{}
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for id := range 50 {
		tb := meta.Table{ID: base.TableID(id + 1), Name: "projects/p/instances/i/tables/" + strings.Repeat("long", id/4)}
		names := map[string]int{}
		for m := range 5 * 24 * 60 / 7 {
			name := autoBackupID(tb, policy, start.Add(time.Duration(m)*7*time.Minute).In(time.FixedZone("east", 3600*(m%5))))
			if err := schema.CheckID("backup", name, maxBackupID); err != nil {
				t.Fatal(err)
			}
			names[name]++
		}
		if len(names) < 5 || len(names) > 6 {
			t.Errorf("table %d has %d backups in 5 days: %v", id, len(names), names)
		}
	}
}
