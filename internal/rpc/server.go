package rpc

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// ServerOptions qualify NewServer. The zero value is valid.
type ServerOptions struct {
	// StreamWorkers handle streams in goroutines that are kept; 0: one
	// goroutine per stream, which an idle server prefers.
	StreamWorkers uint32
	// Unary and Stream are interceptors of the caller, run inside ours.
	Unary  []grpc.UnaryServerInterceptor
	Stream []grpc.StreamServerInterceptor
	// More is appended to the options.
	More []grpc.ServerOption
}

// NewServer returns a gRPC server on which no panic of a handler crosses an
// RPC, every error goes through ToStatus, and clients that ping often (every
// 10 s, also when idle) are not sent away.
func NewServer(log *slog.Logger, o ServerOptions) *grpc.Server {
	opts := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(append([]grpc.UnaryServerInterceptor{unaryErrors(log)}, o.Unary...)...),
		grpc.ChainStreamInterceptor(append([]grpc.StreamServerInterceptor{streamErrors(log)}, o.Stream...)...),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
		grpc.InitialWindowSize(1 << 20),
		grpc.InitialConnWindowSize(4 << 20),
		grpc.ReadBufferSize(64 << 10),
		grpc.WriteBufferSize(64 << 10),
		grpc.MaxConcurrentStreams(1 << 20),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 60 * time.Second, Timeout: 20 * time.Second}),
	}
	if o.StreamWorkers > 0 {
		opts = append(opts, grpc.NumStreamWorkers(o.StreamWorkers))
	}
	return grpc.NewServer(append(opts, o.More...)...)
}

// Stop stops s, letting calls in flight end for at most grace, then cutting
// them off. It returns when no handler runs any more.
func Stop(s *grpc.Server, grace time.Duration) {
	t := time.AfterFunc(grace, s.Stop)
	defer t.Stop()
	s.GracefulStop()
}

func unaryErrors(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = panicked(ctx, log, info.FullMethod, p)
			}
		}()
		resp, err = handler(ctx, req)
		return resp, ToStatus(err)
	}
}

func streamErrors(log *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = panicked(ss.Context(), log, info.FullMethod, p)
			}
		}()
		return ToStatus(handler(srv, ss))
	}
}

func panicked(ctx context.Context, log *slog.Logger, method string, p any) error {
	log.ErrorContext(ctx, "handler panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
	return status.Errorf(codes.Internal, "bug: %s panicked; the server's log has the stack", method)
}
