package output_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/admin/output"
)

func TestFormats(t *testing.T) {
	type cell struct {
		Key  output.Bytes    `json:"key"`
		Size output.Size     `json:"size"`
		Age  output.Duration `json:"age"`
		Num  string          `json:"num"`
	}
	v := cell{output.Bytes("a<b>"), 2048, output.Duration(1500 * time.Millisecond), "007"}
	human := func(p *output.Page) {
		p.Header("KEY", "SIZE", "AGE", "EMPTY")
		p.Row(v.Key, v.Size, v.Age, "")
		p.Row("a\nb", 1, 2, 3)
		p.Line("end")
	}
	for f, want := range map[output.Format]string{
		output.Text: "KEY   SIZE     AGE   EMPTY\na<b>  2.0 KiB  1.5s  -\na\\nb  1        2     3\nend\n",
		output.JSON: "{\n  \"key\": \"a<b>\",\n  \"size\": 2048,\n  \"age\": 1.5,\n  \"num\": \"007\"\n}\n",
		output.YAML: "key: a<b>\nsize: 2048\nage: 1.5\nnum: \"007\"\n",
	} {
		var b bytes.Buffer
		if err := output.New(&b, f).Print(v, human); err != nil {
			t.Fatal(err)
		}
		if b.String() != want {
			t.Errorf("%s:\n%s\nwant\n%s", f, b.String(), want)
		}
	}
	var b bytes.Buffer
	p := output.New(&b, output.YAML)
	for range 2 {
		if err := p.Stream(map[string]int{"a": 1}, human); err != nil {
			t.Fatal(err)
		}
	}
	if b.String() != "a: 1\n---\na: 1\n" {
		t.Errorf("stream of YAML: %q", b.String())
	}
}

func TestDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 42 * time.Microsecond: "42µs", 1234 * time.Millisecond: "1.2s", 61 * time.Second: "1m1s", 90 * time.Minute: "1h30m", 72 * time.Hour: "3d",
	} {
		if got := output.Duration(d).String(); got != want {
			t.Errorf("%d: %q, want %q", d, got, want)
		}
	}
}

// FuzzBytes: what is shown is read back, and JSON says the same.
func FuzzBytes(f *testing.F) {
	f.Add([]byte("plain"))
	f.Add([]byte("\"quoted\" \x00\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := output.Bytes(b).String()
		got, err := output.Parse(s)
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%q is shown as %s and read as %q, %v", b, s, got, err)
		}
		if strings.ContainsAny(s, "\n\t") {
			t.Errorf("%q is shown over several lines or cells", b)
		}
		j, err := json.Marshal(output.Bytes(b))
		if err != nil || !json.Valid(j) {
			t.Errorf("%q: %s, %v", b, j, err)
		}
	})
}
