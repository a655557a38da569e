package gateway

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

const (
	// maxHotTablets is the most tablets that ListHotTablets shows.
	maxHotTablets = 50
	// loadWindow is about the time over which tablet servers average.
	loadWindow = time.Minute
)

// ListHotTablets implements adminpb.BigtableInstanceAdminServer: the tablets of
// the instance that do most, by what the servers that answer say of the last
// minute, whatever interval is asked for. The share of CPU is the tablet's
// share in its server's requests.
func (a *instanceAdmin) ListHotTablets(ctx context.Context, req *adminpb.ListHotTabletsRequest) (*adminpb.ListHotTabletsResponse, error) {
	instance, id, err := child(req.Parent, "clusters")
	if err != nil {
		return nil, err
	}
	if id != "-" {
		if _, err := a.cluster(ctx, req.Parent); err != nil {
			return nil, err
		}
	}
	if s, e := req.GetStartTime(), req.GetEndTime(); s != nil && e != nil && s.AsTime().After(e.AsTime()) {
		return nil, base.Invalidf("Error in field 'start_time' : is after end_time")
	}
	tables, _, err := a.meta.ListTables(ctx, instance+"/tables/", lockservice.ReadOptions{})
	if err != nil {
		return nil, err
	}
	names := map[uint64]string{}
	for _, t := range tables {
		names[uint64(t.ID)] = t.Name
	}
	servers, err := a.meta.Servers(ctx, lockservice.ReadOptions{})
	if err != nil {
		return nil, err
	}
	var hot []*adminpb.HotTablet
	for _, s := range servers {
		err := a.g.onServer(ctx, s.Address, func(ctx context.Context, c controlpb.TabletServerClient) error {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			st, err := c.Status(ctx, &controlpb.StatusRequest{})
			hot = append(hot, hotTablets(st, req.Parent, names)...)
			return err
		})
		if err != nil {
			a.g.log.WarnContext(ctx, "a server does not tell its load", "server", s.Address, "err", err)
		}
	}
	slices.SortFunc(hot, func(x, y *adminpb.HotTablet) int {
		return cmp.Or(cmp.Compare(y.NodeCpuUsagePercent, x.NodeCpuUsagePercent), strings.Compare(x.Name, y.Name))
	})
	hot = hot[:min(len(hot), maxHotTablets)]
	if n := int(req.PageSize); n > 0 && len(hot) > n { // the hottest; there is no second page
		hot = hot[:n]
	}
	return &adminpb.ListHotTabletsResponse{HotTablets: hot}, nil
}

// hotTablets describes the tablets of a server that do anything.
func hotTablets(st *controlpb.StatusResponse, parent string, names map[uint64]string) []*adminpb.HotTablet {
	total := 0.0
	for _, t := range st.GetTablets() {
		total += t.Reads + t.Writes
	}
	now := time.Now()
	var hot []*adminpb.HotTablet
	for _, t := range st.GetTablets() {
		name, ok := names[t.Table]
		if !ok || t.Reads+t.Writes == 0 {
			continue
		}
		hot = append(hot, &adminpb.HotTablet{
			Name: fmt.Sprintf("%s/hotTablets/%d", parent, t.Tablet), TableName: name,
			StartTime: timestamppb.New(now.Add(-loadWindow)), EndTime: timestamppb.New(now),
			StartKey: strings.ToValidUTF8(string(t.Start), "\uFFFD"), EndKey: strings.ToValidUTF8(string(t.End), "\uFFFD"),
			NodeCpuUsagePercent: float32(100 * min(1, st.GetLoad().GetCpu()) * (t.Reads + t.Writes) / total),
		})
	}
	return hot
}

// onServer calls the control service of a tablet server.
func (g *Gateway) onServer(ctx context.Context, addr string, f func(context.Context, controlpb.TabletServerClient) error) error {
	cc, err := rpc.Dial(g.network, addr)
	if err != nil {
		return fmt.Errorf("dial tablet server %s: %w", addr, err)
	}
	defer cc.Close()
	return rpc.FromStatus(f(ctx, controlpb.NewTabletServerClient(router.Conn(cc))))
}
