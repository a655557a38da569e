package gcpolicy_test

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/admin/gcpolicy"
	"github.com/tabletdb/tabletdb/internal/base"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"":                            "never",
		"never":                       "never",
		"maxversions=1":               "maxversions=1",
		"maxage=24h":                  "maxage=1d",
		"maxage=1d12h":                "maxage=36h",
		"maxage=90m":                  "maxage=1h30m",
		"maxage=45s":                  "maxage=45s",
		"maxage=24h||maxversions=2":   "maxage=1d || maxversions=2",
		"maxage=7d and maxversions=2": "maxage=7d && maxversions=2",
		"maxage=1h || maxage=2h&&maxversions=2 or maxversions=9": "maxage=1h || (maxage=2h && maxversions=2) || maxversions=9",
		"(maxage=1h||maxage=2h) && maxversions=2":                "(maxage=1h || maxage=2h) && maxversions=2",
		"((maxversions=4))": "maxversions=4",
	} {
		r, err := gcpolicy.Parse(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if got := gcpolicy.Format(r); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		"maxversions", "maxversions=0", "maxversions=-1", "maxversions=9999999999", "maxage=", "maxage=-1h", "maxage=1y", "maxage=0d",
		"versions=1", "maxage=1h|maxversions=2", "maxage=1h ||", "|| maxage=1h", "(maxage=1h", "maxage=1h)", "maxage=1h maxversions=2", "()",
	} {
		if r, err := gcpolicy.Parse(in); !errors.Is(err, base.ErrInvalid) {
			t.Errorf("%q: %v, %v", in, r, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("maxage=24h||maxversions=2 && (maxage=1d12h or never)")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := gcpolicy.Parse(s)
		if err != nil {
			return
		}
		again, err := gcpolicy.Parse(gcpolicy.Format(r))
		if err != nil || !proto.Equal(r, again) {
			t.Errorf("%q is %v, but its form %q is %v, %v", s, r, gcpolicy.Format(r), again, err)
		}
	})
}
