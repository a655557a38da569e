package rpc

import (
	"context"
	"net"
)

// Network is where servers listen and clients dial: TCP, or memory in tests
// (package memnet).
type Network interface {
	Listen(addr string) (net.Listener, error)
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// TCP is the Network of real processes. An address that starts with "unix:"
// is a unix-domain socket.
type TCP struct{}

// Listen implements Network.
func (TCP) Listen(addr string) (net.Listener, error) {
	network, addr := splitAddr(addr)
	return net.Listen(network, addr)
}

// Dial implements Network.
func (TCP) Dial(ctx context.Context, addr string) (net.Conn, error) {
	network, addr := splitAddr(addr)
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

func splitAddr(addr string) (network, rest string) {
	const unix = "unix:"
	if len(addr) > len(unix) && addr[:len(unix)] == unix {
		return "unix", addr[len(unix):]
	}
	return "tcp", addr
}
