package rpc

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tabletdb/tabletdb/internal/base"
)

func TestTableRoundTrip(t *testing.T) {
	reasons := map[string]bool{}
	for _, r := range table {
		if reasons[r.reason] {
			t.Errorf("reason %s stands twice", r.reason)
		}
		reasons[r.reason] = true
		if r.code == codes.Unknown || r.code == codes.Internal || r.code == codes.OK {
			t.Errorf("%s maps to %v", r.reason, r.code)
		}
		wire := ToStatus(fmt.Errorf("doing something: %w", r.sentinel))
		if got := status.Code(wire); got != r.code {
			t.Errorf("%s: code %v, want %v", r.reason, got, r.code)
		}
		back := FromStatus(wire)
		if !errors.Is(back, r.sentinel) || status.Code(back) != r.code {
			t.Errorf("%s: came back as %v (%v)", r.reason, back, status.Code(back))
		}
		// A gateway passes on what it got: nothing may be lost in the second hop.
		again := FromStatus(ToStatus(fmt.Errorf("gateway: %w", back)))
		if !errors.Is(again, r.sentinel) || status.Code(again) != r.code {
			t.Errorf("%s: second hop gave %v (%v)", r.reason, again, status.Code(again))
		}
	}
}

func TestDetails(t *testing.T) {
	var l *base.LeaderError
	err := FromStatus(ToStatus(&base.LeaderError{Leader: "h:1"}))
	if !errors.As(err, &l) || l.Leader != "h:1" {
		t.Errorf("leader lost: %v", err)
	}
	var o *base.OverloadError
	err = FromStatus(ToStatus(&base.OverloadError{After: time.Second, Reason: "memtables"}))
	if !errors.As(err, &o) || o.After != time.Second {
		t.Errorf("retry delay lost: %v", err)
	}
}

func TestContextErrors(t *testing.T) {
	for err, code := range map[error]codes.Code{
		context.DeadlineExceeded: codes.DeadlineExceeded,
		context.Canceled:         codes.Canceled,
		errors.New("boom"):       codes.Internal,
	} {
		s := ToStatus(fmt.Errorf("x: %w", err))
		if status.Code(s) != code {
			t.Errorf("%v maps to %v", err, status.Code(s))
		}
		if code != codes.Internal && !errors.Is(FromStatus(s), err) {
			t.Errorf("%v does not come back", err)
		}
	}
}
