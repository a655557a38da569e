package rpc

import (
	"context"
	"errors"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Domain is the domain of the ErrorInfo that carries our reasons.
const Domain = "tabletdb"

const leaderKey = "leader"

// row maps one sentinel to the wire. A reason is part of the protocol: it is
// never renamed.
type row struct {
	sentinel error
	code     codes.Code
	reason   string
}

// table maps in both directions. Where an error wraps several sentinels the
// first row that matches wins, so that the more telling ones stand first.
var table = []row{
	{base.ErrCorrupt, codes.DataLoss, "CORRUPT"},
	{base.ErrUnknownOutcome, codes.Unavailable, "UNKNOWN_OUTCOME"},
	{base.ErrFenced, codes.Aborted, "FENCED"},
	{base.ErrNotServing, codes.FailedPrecondition, "NOT_SERVING"},
	{base.ErrWrongTablet, codes.OutOfRange, "WRONG_TABLET"},
	{base.ErrNotLeader, codes.FailedPrecondition, "NOT_LEADER"},
	{base.ErrNoLeader, codes.Unavailable, "NO_LEADER"},
	{base.ErrOverloaded, codes.ResourceExhausted, "OVERLOADED"},
	{base.ErrUndecided, codes.Unavailable, "UNDECIDED"},
	{base.ErrSessionExpired, codes.FailedPrecondition, "SESSION_EXPIRED"},
	{base.ErrFamilyNotFound, codes.NotFound, "FAMILY_NOT_FOUND"},
	{base.ErrNotFound, codes.NotFound, "NOT_FOUND"},
	{base.ErrExists, codes.AlreadyExists, "EXISTS"},
	{base.ErrInvalid, codes.InvalidArgument, "INVALID"},
	{base.ErrPrecondition, codes.FailedPrecondition, "PRECONDITION"},
	{base.ErrPermission, codes.PermissionDenied, "PERMISSION"},
	{base.ErrAborted, codes.Aborted, "ABORTED"},
	{base.ErrUnimplemented, codes.Unimplemented, "UNIMPLEMENTED"},
	{base.ErrUnavailable, codes.Unavailable, "UNAVAILABLE"},
}

// ToStatus returns err as a gRPC status error whose ErrorInfo carries the
// reason of the sentinel that err wraps. An err that already is a status, or
// nil, is returned as it is. What no row matches is INTERNAL: a bug here, for
// errors of users all have a sentinel.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	// errors.As would also find a status deep inside, and drop our wrapping.
	if _, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return err
	}
	for _, r := range table {
		if errors.Is(err, r.sentinel) {
			return withDetails(err, r)
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	return status.Error(codes.Internal, err.Error())
}

func withDetails(err error, r row) error {
	info := &errdetails.ErrorInfo{Reason: r.reason, Domain: Domain}
	details := []protoadapt.MessageV1{info}
	var leader *base.LeaderError
	if errors.As(err, &leader) && leader.Leader != "" {
		info.Metadata = map[string]string{leaderKey: leader.Leader}
	}
	var overload *base.OverloadError
	if errors.As(err, &overload) {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(overload.After)})
	}
	s, derr := status.New(r.code, err.Error()).WithDetails(details...)
	if derr != nil { // only for codes.OK, which the table does not hold
		return status.Error(r.code, err.Error())
	}
	return s.Err()
}

// wireError is an error that came over the wire: both errors.Is(err, sentinel)
// and status.Code(err) work on it.
type wireError struct {
	s    *status.Status
	kind error
}

func (e *wireError) Error() string              { return e.s.Message() }
func (e *wireError) GRPCStatus() *status.Status { return e.s }
func (e *wireError) Unwrap() error              { return e.kind }

// FromStatus returns the error of a finished RPC so that errors.Is finds the
// sentinel that the server returned. Deadlines and cancellations match
// context's errors; UNAVAILABLE without a reason matches base.ErrUnavailable,
// whatever the transport meant by it.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	var reason, leader string
	var after time.Duration
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.Domain == Domain {
				reason, leader = d.Reason, d.Metadata[leaderKey]
			}
		case *errdetails.RetryInfo:
			after = d.RetryDelay.AsDuration()
		}
	}
	return &wireError{s: s, kind: kindOf(s, reason, leader, after)}
}

func kindOf(s *status.Status, reason, leader string, after time.Duration) error {
	switch reason {
	case "NOT_LEADER":
		return &base.LeaderError{Leader: leader}
	case "OVERLOADED":
		return &base.OverloadError{After: after, Reason: s.Message()}
	}
	for _, r := range table {
		if r.reason == reason {
			return r.sentinel
		}
	}
	switch s.Code() {
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	case codes.Canceled:
		return context.Canceled
	case codes.Unavailable:
		return base.ErrUnavailable
	case codes.Unimplemented:
		return base.ErrUnimplemented
	}
	return nil
}

// StatusBytes returns the wire form (google.rpc.Status) of what ToStatus makes
// of err.
func StatusBytes(err error) []byte {
	b, merr := proto.Marshal(status.Convert(ToStatus(err)).Proto())
	if merr != nil { // the message holds invalid UTF-8
		b, _ = proto.Marshal(&spb.Status{Code: int32(status.Code(ToStatus(err))), Message: strconv.QuoteToASCII(err.Error())})
	}
	return b
}

// FromStatusBytes is FromStatus for the wire form of a google.rpc.Status; OK is
// nil.
func FromStatusBytes(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	s := &spb.Status{}
	if err := proto.Unmarshal(b, s); err != nil {
		return status.Error(codes.Internal, "malformed status: "+err.Error())
	}
	return FromStatus(status.ErrorProto(s))
}
