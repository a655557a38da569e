package base

import "fmt"

// textError reads exactly like its text and is its sentinel for errors.Is.
type textError struct {
	text     string
	sentinel error
}

func (e *textError) Error() string { return e.text }
func (e *textError) Unwrap() error { return e.sentinel }

// Textf returns an error that wraps sentinel but does not repeat its text: for
// messages that clients of the Bigtable API know word for word.
func Textf(sentinel error, format string, args ...any) error {
	return &textError{text: fmt.Sprintf(format, args...), sentinel: sentinel}
}

// Invalidf is Textf of ErrInvalid.
func Invalidf(format string, args ...any) error { return Textf(ErrInvalid, format, args...) }
