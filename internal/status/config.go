package status

import (
	"net/url"
	"strings"
)

// Setting is one option of the effective configuration.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// hidden stands in the place of a secret.
const hidden = "(hidden)"

// secretWords are in the names of what is secret.
var secretWords = [...]string{"secret", "password", "passwd", "token", "credential", "private", "access-key", "access_key", "accesskey", "signature", "apikey", "api-key", "api_key"}

func secretName(name string) bool {
	name = strings.ToLower(name)
	for _, w := range secretWords {
		if strings.Contains(name, w) {
			return true
		}
	}
	return false
}

// Redact returns s without credentials, where it is a URL: neither who logs in
// nor parameters whose names say that they are secret.
func Redact(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		if strings.Contains(s, "@") || strings.Contains(s, "?") {
			return hidden // it cannot be told which part is secret
		}
		return s
	}
	if u.Scheme == "" {
		return s
	}
	changed := false
	if u.User != nil {
		u.User, changed = url.User("hidden"), true
	}
	q := u.Query()
	for name, values := range q {
		for i, v := range values {
			if secretName(name) {
				values[i], changed = "hidden", true
			} else if r := Redact(v); r != v { // an endpoint is a URL as well
				values[i], changed = r, true
			}
		}
	}
	if !changed {
		return s
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func configPage(q *request) (any, error) {
	list := make([]Setting, 0, len(q.p.cfg.Settings))
	for _, s := range q.p.cfg.Settings {
		if s.Value != "" && secretName(s.Name) {
			s.Value = hidden
		} else {
			s.Value = Redact(s.Value)
		}
		list = append(list, s)
	}
	return list, nil
}
