package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/client/bulkload"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

// The exit codes, which scripts depend on.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitProblems    = 4
	exitUnavailable = 5
)

// errProblems is returned by a command that did its work and found problems,
// which it has printed.
var errProblems = errors.New("problems were found")

// problemsf returns errProblems with a text of its own.
func problemsf(format string, args ...any) error { return base.Textf(errProblems, format, args...) }

// timeoutError is what a command failed with when its time was over.
type timeoutError struct {
	err   error
	after time.Duration
}

func (e *timeoutError) Error() string {
	return fmt.Sprintf("%v; gave up after %v (--timeout)", e.err, e.after)
}

func (e *timeoutError) Unwrap() []error { return []error{e.err, base.ErrUnavailable} }

// usageError marks what is wrong with the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// ExitCode returns the exit code of a command that failed with err:
//
//	0  err is nil
//	1  failed for another reason
//	2  the command line, or what it asks for, is not valid
//	3  something does not exist
//	4  check found problems, import found bad rows, or availability unserved tablets
//	5  something did not answer in time, or has no leader
func ExitCode(err error) int {
	var use *usageError
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return exitOK
	case is(errProblems):
		return exitProblems
	case errors.As(err, &use):
		return exitUsage
	case is(base.ErrUnavailable, base.ErrNoLeader, base.ErrNotLeader, base.ErrOverloaded, base.ErrUnknownOutcome, base.ErrUndecided,
		base.ErrNotServing, objstore.ErrThrottled, bulkload.ErrPending, context.DeadlineExceeded):
		return exitUnavailable
	case is(base.ErrNotFound, base.ErrFamilyNotFound, objstore.ErrNotFound, fs.ErrNotExist):
		return exitNotFound
	case is(base.ErrInvalid):
		return exitUsage
	}
	return exitFailed
}

// advice says what to do about an error; "" where the error says it.
func (r *run) advice(err error) string {
	switch {
	case errors.Is(err, base.ErrNoLeader):
		return fmt.Sprintf("is the lock service running at %s? Give its addresses by --lockservice or %s", strings.Join(r.flags.lockService, ","), lockServiceVar)
	case errors.Is(err, objstore.ErrDenied):
		return "check the bucket's name and the credentials in TABLETDB_S3_ACCESS_KEY and TABLETDB_S3_SECRET_KEY"
	case errors.Is(err, base.ErrUnknownOutcome), errors.Is(err, base.ErrUndecided):
		return "it may have been applied or not: look, then try again"
	case errors.Is(err, base.ErrOverloaded):
		return "try again later"
	case errors.Is(err, base.ErrCorrupt):
		return "run tabletadm check --deep to see what else is damaged"
	}
	return ""
}

// report prints err as one line, or as JSON.
func (r *run) report(err error, code int) {
	text := strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
	if a := r.advice(err); a != "" {
		text += "; " + a
	}
	if f, ferr := output.ParseFormat(r.flags.output); ferr == nil && f == output.JSON {
		j := json.NewEncoder(r.app.Stderr)
		j.SetEscapeHTML(false)
		_ = j.Encode(struct { // where nobody reads errors, nothing can be done
			Error string `json:"error"`
			Exit  int    `json:"exit"`
		}{text, code})
		return
	}
	fmt.Fprintf(r.app.Stderr, "tabletadm: %s\n", text)
}

// ignoreEOF returns err unless it is the end of a file.
func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
