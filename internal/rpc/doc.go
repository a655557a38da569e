// Package rpc holds what all gRPC servers and clients of TabletDB share: the
// one table of errors on the wire, the interceptors, listening, dialling and
// graceful stop. Only this package knows gRPC status codes.
package rpc
