package memnet_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
)

func TestPartitionStallsAndHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		l, err := n.Node("b").Listen("b:1")
		if err != nil {
			t.Fatal(err)
		}
		srv := rpc.NewServer(slog.New(slog.NewTextHandler(io.Discard, nil)), rpc.ServerOptions{})
		healthpb.RegisterHealthServer(srv, health.NewServer())
		go srv.Serve(l)
		cc, err := rpc.Dial(n.Node("a"), "b:1")
		if err != nil {
			t.Fatal(err)
		}
		call := func() codes.Code {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{})
			return status.Code(err)
		}
		if c := call(); c != codes.OK {
			t.Fatalf("whole network: %v", c)
		}
		n.Cut("b", "a")
		if c := call(); c != codes.DeadlineExceeded {
			t.Fatalf("replies cut: %v", c)
		}
		n.Heal("b", "a")
		if c := call(); c != codes.OK {
			t.Fatalf("healed: %v", c)
		}
		n.Crash("b")
		if c := call(); c != codes.Unavailable {
			t.Fatalf("crashed: %v", c)
		}
		cc.Close()
		rpc.Stop(srv, time.Second)
	})
}
