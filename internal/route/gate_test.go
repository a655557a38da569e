package route_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
)

// slow is a frontend whose writes take a second.
type slow struct {
	bigtablepb.UnimplementedBigtableServer
}

func (s *slow) RawReadRows(context.Context, []byte, func(...mem.Buffer) error) error { return nil }
func (s *slow) RawMutateRows(context.Context, []byte, func([]byte) error) error      { return nil }
func (s *slow) RawCheckAndMutateRow(context.Context, []byte) ([]byte, error)         { return nil, nil }
func (s *slow) RawReadModifyWriteRow(context.Context, []byte) ([]byte, error)        { return nil, nil }
func (s *slow) RawMutateRow(context.Context, []byte) error {
	time.Sleep(time.Second) // fake time
	return nil
}

// TestGate: writes whose bodies there is no memory for are refused, and told when
// to come again; reads pass; in the end nothing is held.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 4 << 20
		account := membudget.New(0).Account("requests", limit)
		gate := route.NewGate(account)
		net := memnet.New()
		lis, err := net.Node("server").Listen("server:1")
		if err != nil {
			t.Fatal(err)
		}
		s := rpc.NewServer(slog.New(slog.DiscardHandler), rpc.ServerOptions{More: []grpc.ServerOption{grpc.ForceServerCodecV2(route.Codec()), grpc.InTapHandle(gate.Tap)}})
		route.Register(s, nil, &slow{}, gate)
		go s.Serve(lis)
		defer s.Stop()
		cc, err := rpc.Dial(net.Node("client"), "server:1")
		if err != nil {
			t.Fatal(err)
		}
		defer cc.Close()
		client := bigtablepb.NewBigtableClient(cc)
		write := func(n int) error {
			_, err := client.MutateRow(t.Context(), &bigtablepb.MutateRowRequest{TableName: "t", RowKey: make([]byte, n)})
			return err
		}
		if err := write(3 * limit); err != nil { // alone, as long as it likes
			t.Fatal(err)
		}
		done := make(chan error, 32)
		for range cap(done) {
			go func() { done <- write(limit / 4) }()
		}
		synctest.Wait()
		if account.Used() > limit {
			t.Errorf("%d bytes of %d are held", account.Used(), limit)
		}
		r, err := client.ReadRows(t.Context(), &bigtablepb.ReadRowsRequest{TableName: "t"})
		if err == nil {
			_, err = r.Recv()
		}
		if err == nil || status.Code(err) == codes.ResourceExhausted {
			t.Errorf("a read beside them: %v", err) // it ends with io.EOF
		}
		applied := 0
		for range cap(done) {
			err := <-done
			if err == nil {
				applied++
				continue
			}
			after := time.Duration(0)
			for _, d := range status.Convert(err).Details() {
				if r, ok := d.(*errdetails.RetryInfo); ok {
					after = r.RetryDelay.AsDuration()
				}
			}
			if status.Code(err) != codes.ResourceExhausted || after <= 0 {
				t.Errorf("%v, retry after %v", err, after)
			}
		}
		if applied == 0 || applied > 4 {
			t.Errorf("%d writes of a quarter of the memory at once", applied)
		}
		synctest.Wait()
		if account.Used() != 0 || gate.Refused() != int64(cap(done)-applied) {
			t.Errorf("%d bytes are left; %d of %d were refused", account.Used(), gate.Refused(), cap(done)-applied)
		}
		if err := write(10); err != nil {
			t.Error(err)
		}
	})
}
