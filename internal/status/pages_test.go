package status_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/status"
)

func fetch(t *testing.T, addr string) (*http.Response, string) {
	t.Helper()
	r, err := http.Get(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(b)
}

// wellFormed parses a page as XML, which ours are, and returns its text.
func wellFormed(t *testing.T, page string) string {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	var text strings.Builder
	for {
		tok, err := d.Token()
		switch x := tok.(type) {
		case xml.CharData:
			text.Write(x)
			text.WriteByte(' ')
		case xml.StartElement:
			for _, a := range x.Attr {
				if n := strings.ToLower(a.Name.Local); strings.HasPrefix(n, "on") || n == "style" || x.Name.Local == "script" {
					t.Errorf("<%s %s=%q>: no scripts or styles in pages", x.Name.Local, a.Name.Local, a.Value)
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return text.String()
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, page)
		}
	}
}

var links = regexp.MustCompile(`(?:href|action)="(/[^"]*)"`)

// crawl follows every link from the start page and returns the pages by path
// and query.
func (s *site) crawl() map[string]string {
	s.Helper()
	seen := map[string]string{}
	todo := []string{"/"}
	perPage := map[string]int{}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		if _, ok := seen[at]; ok {
			continue
		}
		path, _, _ := strings.Cut(at, "?")
		if perPage[path]++; perPage[path] > 8 || path == "/metrics" || strings.HasPrefix(path, "/debug") || path == "/style.css" || strings.Contains(at, "refresh=") {
			continue
		}
		r, body := s.get(at)
		if r.StatusCode != http.StatusOK && !strings.HasPrefix(at, "/server?") && !strings.HasPrefix(at, "/tablet") {
			s.Errorf("%s: %s\n%s", at, r.Status, body)
		}
		if strings.Contains(at, "format=json") {
			if !json.Valid([]byte(body)) {
				s.Errorf("%s: no JSON: %s", at, body)
			}
		} else {
			wellFormed(s.T, body)
			for _, m := range links.FindAllStringSubmatch(body, -1) {
				todo = append(todo, strings.ReplaceAll(m[1], "&amp;", "&"))
			}
		}
		seen[at] = body
	}
	return seen
}

// TestPages looks at every page that can be reached from the first one.
func TestPages(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	for i := range 3000 {
		key := row(hotTablet*rows/60 + i%50)
		if i%10 == 0 {
			key = row(i * 20)
		}
		if i%3 == 0 {
			s.put(ctx, "users", key)
		} else {
			s.read(ctx, "users", key)
		}
	}
	s.put(ctx, "strange", binary)
	s.put(ctx, "strange", "z")
	s.flush()
	pages := s.crawl()
	t.Logf("%d pages", len(pages))
	has := func(path string, want ...string) {
		t.Helper()
		_, body := s.get(path)
		text := wellFormed(t, body)
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s does not say %q:\n%s", path, w, text)
			}
		}
	}
	has("/", "Healthy: all 63 tablets of 2 tables are served by 3 servers.", "users", "strange")
	has("/servers", "3 tablet servers", "tablet1", "v1.2.3")
	has("/tablets?table=strange", `"\x00\xff<b onmouseover=\"x\">&'\u202e"`, "(first row)", "(last row)")
	has("/tablets?sort=load", "63 tablets")
	has("/tablet?table=strange&row="+url.QueryEscape(`"\x00\xff<c"`), `"\x00\xff<b onmouseover=\"x\">&'\u202e"`, "serving", "sst/", "Log entries")
	has("/jobs", "flush", "memtables: 1")
	has("/locks", "leader", "follower", "master", "tabletserver", "exclusive")
	has("/recovery", "became the active master", "tablet1")
	has("/heatmap?table=users&minutes=10", "Reads", "Writes", "reads/s", "user0003", "of the requests")
	has("/process", "Gateway", "Tablet server tablet2", "Goroutines")
	_, config := s.get("/config")
	if text := wellFormed(t, config); strings.Contains(text, "hunter2") || strings.Contains(text, "AKIAKEY") || !strings.Contains(text, "(hidden)") {
		t.Errorf("configuration: %s", text)
	}
	for path, body := range pages {
		if strings.Contains(body, "hunter2") || strings.Contains(body, `onmouseover="x"`) {
			t.Errorf("%s: %s", path, body)
		}
	}
}

// TestHotTabletIsFirst: the tablet that gets most requests is the first in the
// list of the heat map and of the tablets by load.
func TestHotTabletIsFirst(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	hot := row(hotTablet*rows/60 + 7)
	s.get("/") // begins to measure rates
	for i := range 2000 {
		s.read(ctx, "users", hot)
		if i%20 == 0 {
			s.read(ctx, "users", row(i*30))
		}
	}
	var tablet struct {
		Data struct {
			ID uint64 `json:"id"`
		} `json:"data"`
	}
	s.json("/tablet?table=users&row="+hot, &tablet)
	var heat struct {
		Data struct {
			Times []string `json:"times"`
			Rows  []struct {
				Start   string    `json:"start"`
				Tablets []uint64  `json:"tablets"`
				Reads   []float64 `json:"reads"`
			} `json:"rows"`
		} `json:"data"`
	}
	s.json("/heatmap?table=users&minutes=10", &heat)
	most, at := 0.0, -1
	for i, r := range heat.Data.Rows {
		if len(r.Reads) != len(heat.Data.Times)-1 {
			t.Fatalf("%d cells, %d times", len(r.Reads), len(heat.Data.Times))
		}
		for _, v := range r.Reads {
			if v > most {
				most, at = v, i
			}
		}
	}
	if at < 0 || len(heat.Data.Rows[at].Tablets) != 1 || heat.Data.Rows[at].Tablets[0] != tablet.Data.ID {
		t.Errorf("the hottest row is %+v, want one of tablet %d", heat.Data.Rows[max(at, 0)], tablet.Data.ID)
	}
}

func (s *site) json(path string, v any) {
	s.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	r, body := s.get(path + sep + "format=json")
	if ct := r.Header.Get("Content-Type"); r.StatusCode != http.StatusOK || ct != "application/json" {
		s.Fatalf("%s: %s, %s: %s", path, r.Status, ct, body)
	}
	if err := json.Unmarshal([]byte(body), v); err != nil {
		s.Fatalf("%s: %v", path, err)
	}
}

// TestInTrouble: the pages say what is wrong, and do so in seconds.
func TestInTrouble(t *testing.T) {
	s := open(t)
	quick := func(path string, code int, want ...string) {
		t.Helper()
		began := time.Now()
		r, body := s.get(path)
		if d := time.Since(began); d > 12*time.Second {
			t.Errorf("%s took %v", path, d)
		}
		if r.StatusCode != code {
			t.Errorf("%s: %s, want %d", path, r.Status, code)
		}
		text := wellFormed(t, body)
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s does not say %q:\n%s", path, w, text)
			}
		}
	}
	s.get("/")
	for _, m := range s.cluster.Masters() {
		m.Close()
	}
	s.cluster.KillTabletServer(s.cluster.TabletServers()[0])
	quick("/process", 200, "Goroutines")
	s.within(20*time.Second, "the cluster page says that the master is down", func() bool {
		_, body := s.get("/cluster")
		return strings.Contains(body, "no master") && strings.Contains(body, "its server is gone")
	})
	quick("/recovery", 200, "The master does not tell", "Logs that wait to be sealed")
	quick("/tablet?table=users&row="+row(5), 200, "master")
	for i := range 2 {
		if err := s.cluster.StopLockServer(i); err != nil {
			t.Fatal(err)
		}
	}
	s.within(20*time.Second, "the cluster page says that there is no leader", func() bool {
		_, body := s.get("/cluster")
		return strings.Contains(body, "has no leader")
	})
	quick("/tablets", 200, "63 tablets", "may be old")
	quick("/locks", 200, "does not answer", "told by a leader only")
	if err := s.cluster.StopLockServer(2); err != nil {
		t.Fatal(err)
	}
	s.within(20*time.Second, "the cluster page says that nobody answers", func() bool {
		_, body := s.get("/cluster")
		return strings.Contains(body, "What is shown was read at")
	})
	for _, p := range []string{"/tablets", "/servers", "/heatmap", "/jobs", "/locks", "/recovery", "/config", "/process"} {
		quick(p, 200)
	}
}

// within polls until ok, for at most d. Pages wait by themselves.
func (s *site) within(d time.Duration, what string, ok func() bool) {
	s.Helper()
	for end := time.Now().Add(d); !ok(); {
		if time.Now().After(end) {
			s.Fatalf("not within %v: %s", d, what)
		}
		<-time.After(200 * time.Millisecond)
	}
}

// TestStarting: before there is a cluster the pages say so.
func TestStarting(t *testing.T) {
	p, err := status.New(status.Config{Role: "master", Version: "v", Logger: slog.New(slog.DiscardHandler), Settings: []status.Setting{{Name: "listen", Value: "x:1"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for path, want := range map[string]int{"/": 503, "/tablets": 503, "/process": 200, "/config": 200, "/style.css": 200, "/nothing": 404} {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
		if path == "/" && !strings.Contains(w.Body.String(), "is starting") {
			t.Errorf("%s says %s", path, w.Body)
		}
		h := w.Header()
		if !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") || !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") ||
			h.Get("X-Frame-Options") != "DENY" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", path, h)
		}
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:8290": "127.0.0.1:8290", "": "", "./data": "./data", "file:///srv/x": "file:///srv/x",
		"s3://b/p?endpoint=http://127.0.0.1:9000": "s3://b/p?endpoint=http://127.0.0.1:9000",
		"s3://k:s@b/p":             "s3://hidden@b/p",
		"s3://b?secret_key=x&a=b":  "s3://b?a=b&secret_key=hidden",
		"s3://b?X-Amz-Signature=x": "s3://b?X-Amz-Signature=hidden",
		"http://u:p%zz@h":          "(hidden)",
	} {
		if got := status.Redact(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// TestBadQueries: a query that makes no sense is the asker's mistake.
func TestBadQueries(t *testing.T) {
	s := open(t)
	for path, want := range map[string]int{
		"/tablets?sort=nonsense": 400, "/tablets?state=x": 400, "/tablets?page=x": 400, "/tablets?page=99999999999": 200,
		"/tablet": 404, "/tablet?id=x": 400, "/tablet?id=99999": 404, "/tablet?row=a&table=nothing": 404, `/tablet?table=users&row=%22bad`: 400,
		"/server?id=x": 400, "/server?id=1-99999": 404, "/heatmap?table=nothing": 404, "/heatmap?minutes=-1": 400, "/?format=xml": 400,
		"/?refresh=0": 200, "/?refresh=abc": 200, "/tablets?table=%3Cscript%3E": 200,
	} {
		if r, body := s.get(path); r.StatusCode != want || strings.Contains(body, "<script") {
			t.Errorf("%s: %s, want %d\n%s", path, r.Status, want, body)
		}
	}
}
