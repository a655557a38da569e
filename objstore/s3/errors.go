package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/minio/minio-go/v7"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

// explain maps an error of the client library to the sentinels of objstore.
// What it leaves alone is worth another try.
func (s *Store) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("%w (%v)", ctxErr, err)
	}
	var resp minio.ErrorResponse
	if !errors.As(err, &resp) {
		return err
	}
	if sentinel, advice := s.meaning(resp); sentinel != nil {
		if advice != "" {
			advice = "; " + advice
		}
		return fmt.Errorf("%w: %s: %s%s", sentinel, resp.Code, resp.Message, advice)
	}
	return fmt.Errorf("%s (status %d, code %s)", resp.Message, resp.StatusCode, resp.Code)
}

// meaning returns the sentinel that a response stands for, with advice for the
// person who reads it, or nil if another try may succeed.
//
// A 409 ConditionalRequestConflict is among the latter: the put raced with
// another request and was not applied, but nothing says that the object exists.
func (s *Store) meaning(resp minio.ErrorResponse) (sentinel error, advice string) {
	switch resp.Code {
	case "NoSuchKey":
		return objstore.ErrNotFound, ""
	case "NoSuchBucket":
		return objstore.ErrDenied, fmt.Sprintf("create bucket %q at %s, or have it created at start", s.cfg.Bucket, s.cfg.Endpoint)
	case "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestThrottled", "TooManyRequests":
		return objstore.ErrThrottled, ""
	case "RequestTimeTooSkewed":
		return objstore.ErrDenied, "set the clock of this machine"
	case "InvalidAccessKeyId":
		return objstore.ErrDenied, "the service does not know this access key: check it, and the endpoint"
	case "SignatureDoesNotMatch":
		return objstore.ErrDenied, "check the secret key"
	case "ExpiredToken", "ExpiredTokenException", "InvalidToken":
		return objstore.ErrDenied, "the temporary credentials are no longer valid: renew them"
	case "AuthorizationHeaderMalformed", "InvalidRegion", "PermanentRedirect":
		return objstore.ErrDenied, fmt.Sprintf("the bucket is not in region %q at %s: set the region, or the endpoint", s.cfg.Region, s.cfg.Endpoint)
	case "InvalidBucketName", "InvalidObjectName", "XMinioInvalidObjectName", "KeyTooLongError", "XMinioParentIsObject",
		"EntityTooLarge", "NotImplemented", "MethodNotAllowed":
		return base.ErrInvalid, ""
	}
	status := resp.StatusCode
	if resp.Code == "AccessDenied" { // of one key of a bulk delete, which has no status
		status = http.StatusForbidden
	}
	switch status {
	case http.StatusNotFound:
		return objstore.ErrNotFound, ""
	case http.StatusPreconditionFailed:
		return objstore.ErrExists, ""
	case http.StatusUnauthorized, http.StatusForbidden:
		return objstore.ErrDenied, fmt.Sprintf("the credentials need the rights to read, write, list and delete in bucket %q below %q", s.cfg.Bucket, s.cfg.Prefix)
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect:
		return objstore.ErrDenied, "the bucket is in another region: set the region, or the endpoint"
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return objstore.ErrThrottled, ""
	}
	return nil, ""
}
