package availability

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// deafAfter is how many probes in a row a server may leave unanswered before it
// is not asked any more: it has thousands of tablets, perhaps.
const deafAfter = 3

// dials keeps a connection to each server, and which do not answer.
type dials struct {
	network rpc.Network
	mu      struct {
		sync.Mutex
		servers map[string]*dialled
	}
}

// dialled is one server; its fields are guarded by dials.mu.
type dialled struct {
	cc   *grpc.ClientConn
	err  error
	deaf int   // probes in a row that it left unanswered
	last error // of them
}

func newDials(n rpc.Network) *dials {
	d := &dials{network: n}
	d.mu.servers = map[string]*dialled{}
	return d
}

func (d *dials) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.mu.servers {
		if s.cc != nil {
			s.cc.Close() // nothing was left to send
		}
	}
}

// to returns the connection to a server, unless it has left too many probes
// unanswered.
func (d *dials) to(addr string) (*grpc.ClientConn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.mu.servers[addr]
	if s == nil {
		s = &dialled{}
		s.cc, s.err = rpc.Dial(d.network, addr)
		d.mu.servers[addr] = s
	}
	if s.err == nil && s.deaf >= deafAfter {
		return nil, fmt.Errorf("%s has left %d probes in a row unanswered, and is not asked again: %w", addr, s.deaf, s.last)
	}
	return s.cc, s.err
}

// heard notes whether a server has answered.
func (d *dials) heard(addr string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.mu.servers[addr]
	if errors.Is(err, base.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		s.deaf, s.last = s.deaf+1, err
	} else {
		s.deaf = 0
	}
}

// probe reads at most one row of a tablet from its owner.
func (p *prober) probe(ctx context.Context, t *meta.Tablet) error {
	cc, err := p.dials.to(t.OwnerAddress)
	if err != nil {
		return err
	}
	req, err := p.request(t)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.c.Patience)
	defer cancel()
	target := route.Target{Tablet: t.ID, Epoch: t.Epoch}
	err = route.NewRemote(cc).ReadRows(ctx, target, route.Scan{Limit: 1}, req, func(frame mem.Buffer, _ route.FrameInfo) error {
		frame.Free()
		return nil
	})
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("no answer within %v: %w", p.c.Patience, context.DeadlineExceeded)
	}
	p.dials.heard(t.OwnerAddress, err)
	return err
}

// request asks for the first row of a tablet, or for its first key, without
// values.
func (p *prober) request(t *meta.Tablet) ([]byte, error) {
	rows := &bigtablepb.RowRange{StartKey: &bigtablepb.RowRange_StartKeyClosed{StartKeyClosed: t.Start}}
	switch {
	case !p.c.FirstRow:
		rows.EndKey = &bigtablepb.RowRange_EndKeyOpen{EndKeyOpen: append(append([]byte{}, t.Start...), 0, 0)}
	case len(t.End) > 0:
		rows.EndKey = &bigtablepb.RowRange_EndKeyOpen{EndKeyOpen: t.End}
	}
	var name string
	if x := p.v.Table(t.Table); x != nil {
		name = x.Name
	}
	b, err := proto.Marshal(&bigtablepb.ReadRowsRequest{
		TableName: name, RowsLimit: 1, Rows: &bigtablepb.RowSet{RowRanges: []*bigtablepb.RowRange{rows}},
		Filter: &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_Chain_{Chain: &bigtablepb.RowFilter_Chain{Filters: []*bigtablepb.RowFilter{
			{Filter: &bigtablepb.RowFilter_CellsPerRowLimitFilter{CellsPerRowLimitFilter: 1}},
			{Filter: &bigtablepb.RowFilter_StripValueTransformer{StripValueTransformer: true}},
		}}}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode a probe: %w", err)
	}
	return b, nil
}

// why says why a tablet is not served, as records, master and owner have it.
func (p *prober) why(t *meta.Tablet) (why []string) {
	for _, r := range p.v.Master.Status.GetRecoveries() {
		for _, e := range t.Logs {
			if meta.Incarnation(r.Log) == e.Log && r.DoneUs == 0 {
				why = append(why, fmt.Sprintf("The fail-over of %s is %s.", nameOf(r.Name, e.Log), r.Phase))
			}
		}
	}
	return append(why, p.v.Explain(t)...)
}

func nameOf(name string, e base.Incarnation) string {
	if name == "" {
		return e.String()
	}
	return name
}

// sizes reads from their manifests what tablets hold that no server told of.
func (p *prober) sizes(ctx context.Context, tablets []*Tablet) {
	if p.c.Store == nil {
		return
	}
	records := map[uint64]*meta.Tablet{}
	for i := range p.v.Tablets {
		records[uint64(p.v.Tablets[i].ID)] = &p.v.Tablets[i]
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, p.c.Parallel)
	for _, t := range tablets {
		rec := records[t.ID]
		if t.Bytes >= 0 || rec == nil {
			continue
		}
		if rec.Manifest.IsZero() {
			t.Bytes = 0
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, p.c.Patience)
			defer cancel()
			m, err := manifest.Read(ctx, p.c.Store, rec.Manifest)
			if err != nil {
				return // not known
			}
			t.Bytes = 0
			for _, r := range m.Runs {
				t.Bytes += output.Size(r.Size())
			}
		})
	}
	wg.Wait()
}
