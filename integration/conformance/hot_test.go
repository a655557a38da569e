package conformance

import (
	"fmt"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
)

// TestHotTablets: the tablet that is written to is the hottest.
func TestHotTablets(t *testing.T) {
	inSystem(t, func(s *system) {
		s.createTable("t", "\xff\xfe")
		for round := range 5 {
			for i := range 40 {
				s.write("t", fmt.Sprint("row", i), fmt.Sprint(round))
			}
			time.Sleep(5 * time.Second)
		}
		resp, err := s.inst.ListHotTablets(s.ctx, &adminpb.ListHotTabletsRequest{Parent: backups})
		s.must(err)
		if len(resp.HotTablets) == 0 || resp.HotTablets[0].TableName != parent+"/tables/t" || resp.HotTablets[0].StartKey != "" {
			t.Errorf("%v", resp)
		}
	})
}
