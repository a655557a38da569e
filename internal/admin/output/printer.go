package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Format is how a Printer prints.
type Format string

// The formats.
const (
	Text Format = "table"
	JSON Format = "json"
	YAML Format = "yaml"
)

// ParseFormat returns the format of that name. An error wraps base.ErrInvalid.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case Text, JSON, YAML:
		return f, nil
	}
	return "", fmt.Errorf("%w: output format %q: want table, json or yaml", base.ErrInvalid, s)
}

// Printer prints to one writer. It is used by one goroutine.
type Printer struct {
	w      io.Writer
	format Format
	docs   int // YAML documents of a stream so far
}

// New returns a Printer.
func New(w io.Writer, f Format) *Printer { return &Printer{w: w, format: f} }

// Machine reports whether the output is for programs.
func (p *Printer) Machine() bool { return p.format != Text }

// Print prints the one answer of a command: v, or for people what human writes.
func (p *Printer) Print(v any, human func(*Page)) error {
	switch p.format {
	case JSON:
		b, err := encode(v, "  ")
		if err != nil {
			return err
		}
		return p.write(b)
	case YAML:
		b, err := toYAML(v)
		if err != nil {
			return err
		}
		return p.write(b)
	}
	var page Page
	human(&page)
	return p.write(page.bytes())
}

// Stream prints one of many answers: a line of JSON, a document of YAML, or for
// people what human writes.
func (p *Printer) Stream(v any, human func(*Page)) error {
	switch p.format {
	case JSON:
		b, err := encode(v, "")
		if err != nil {
			return err
		}
		return p.write(b)
	case YAML:
		if p.docs++; p.docs > 1 {
			if err := p.write([]byte("---\n")); err != nil {
				return err
			}
		}
	}
	return p.Print(v, human)
}

func (p *Printer) write(b []byte) error {
	if _, err := p.w.Write(b); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// encode returns v as JSON with a newline at the end.
func encode(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode the output: %w", err)
	}
	return b.Bytes(), nil
}

// toYAML goes by way of JSON, so that both show the same, in the same order.
func toYAML(v any) ([]byte, error) {
	b, err := encode(v, "")
	if err != nil {
		return nil, err
	}
	var n yaml.Node
	if err := yaml.Unmarshal(b, &n); err != nil {
		return nil, fmt.Errorf("encode the output: %w", err)
	}
	blockStyle(&n)
	if b, err = yaml.Marshal(&n); err != nil {
		return nil, fmt.Errorf("encode the output: %w", err)
	}
	return b, nil
}

// blockStyle removes the flow style and quotes that JSON has; the encoder puts
// back the quotes that a string needs.
func blockStyle(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode {
		n.Style = 0
	}
	if n.Tag == "!!str" {
		n.Style = 0
	}
	for _, c := range n.Content {
		blockStyle(c)
	}
}
