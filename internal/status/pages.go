package status

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/membudget"
	"github.com/tabletdb/tabletdb/internal/status/view"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

//go:embed templates/*.html
var templates embed.FS

//go:embed style.css
var style []byte

// Config is what the pages of a process are given at its start.
type Config struct {
	// Role and Version of the process; Name: where it is reached.
	Role, Name, Version string
	// Settings are the effective configuration. Secrets must not be among them;
	// what looks like one is hidden all the same.
	Settings []Setting
	Logger   *slog.Logger
}

// Parts is what a process has to show once it runs.
type Parts struct {
	Source view.Source
	// Store, if not nil, is read for the files of tablets that nobody serves.
	Store objstore.Store
	// Tablets are the tablet servers of this process, by name. They are shown
	// also while nobody else answers.
	Tablets map[string]controlpb.TabletServerServer
	// Compactors are the workers of this process, by name.
	Compactors map[string]compactorpb.CompactorServer
	// Router, if not nil, returns the counters of the gateway of this process.
	Router func() router.Stats
	// Memory are the budgets of this process, by whose they are.
	Memory map[string]*membudget.Budget
}

// Pages serves the pages. Its methods may be called concurrently. Close it.
type Pages struct {
	cfg     Config
	started time.Time
	mux     *http.ServeMux
	pages   []*page
	parts   atomic.Pointer[attached]
}

// attached is Parts with the cache of what is gathered.
type attached struct {
	Parts
	cache *view.Cache
}

// fresh is how old what a page shows may be.
const fresh = time.Second

// Limits of one request.
const (
	patience      = 9 * time.Second
	writeDeadline = 30 * time.Second
)

// page is one page: a template, and what fills it.
type page struct {
	path, title string
	template    *template.Template
	// nav: it stands in the navigation. alone: it needs no view of the cluster.
	nav, alone bool
	data       func(*request) (any, error)
}

// request is one request for a page.
type request struct {
	*http.Request
	p     *Pages
	parts *attached  // nil: the process is starting
	view  *view.View // nil: nothing is known
	query url.Values
}

// New returns the pages of a process that is starting. Attach tells them the
// rest.
func New(c Config) (*Pages, error) {
	p := &Pages{cfg: c, started: time.Now(), mux: http.NewServeMux()}
	p.pages = []*page{
		{path: "/cluster", title: "Cluster", nav: true, data: overviewPage},
		{path: "/servers", title: "Servers", nav: true, data: serversPage},
		{path: "/server", title: "Server", data: serverPage},
		{path: "/tablets", title: "Tablets", nav: true, data: tabletsPage},
		{path: "/tablet", title: "Tablet", data: tabletPage},
		{path: "/heatmap", title: "Heat map", nav: true, data: heatPage},
		{path: "/jobs", title: "Compactions", nav: true, data: jobsPage},
		{path: "/recovery", title: "Recovery", nav: true, data: recoveryPage},
		{path: "/locks", title: "Lock service", nav: true, data: locksPage},
		{path: "/process", title: "This process", nav: true, alone: true, data: processPage},
		{path: "/config", title: "Configuration", nav: true, alone: true, data: configPage},
	}
	layout, err := template.New("layout.html").Funcs(functions()).ParseFS(templates, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, fmt.Errorf("parse the templates of the status pages: %w", err)
	}
	for _, pg := range p.pages {
		c, err := layout.Clone()
		if err == nil {
			pg.template, err = c.ParseFS(templates, "templates"+pg.path+".html")
		}
		if err != nil {
			return nil, fmt.Errorf("parse the template of %s: %w", pg.path, err)
		}
		p.mux.HandleFunc(pg.path, func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, pg) })
	}
	p.mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, p.home()) })
	p.mux.HandleFunc("/style.css", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "max-age=300")
		w.Write(style)
	})
	return p, nil
}

// home is the page that tells most about a process of this role.
func (p *Pages) home() *page {
	path := map[string]string{"tabletserver": "/process", "gateway": "/process", "compactor": "/process", "lockservice": "/locks"}[p.cfg.Role]
	for _, pg := range p.pages {
		if pg.path == path {
			return pg
		}
	}
	return p.pages[0]
}

// Attach tells what there is to show. It is called once.
func (p *Pages) Attach(parts Parts) {
	p.parts.Store(&attached{Parts: parts, cache: view.NewCache(parts.Source, fresh)})
}

// Close ends what is being gathered. The pages work on, with what they know.
func (p *Pages) Close() {
	if a := p.parts.Load(); a != nil {
		a.cache.Close()
	}
}

// policy lets a page load its style sheet and send its forms, nothing else, and
// lets nobody frame it.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP implements http.Handler. A panic costs the request only.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	defer func() {
		if x := recover(); x != nil {
			p.cfg.Logger.ErrorContext(r.Context(), "status page panicked", "path", r.URL.Path, "err", fmt.Sprint(x))
			http.Error(w, "this page failed; the log says why", http.StatusInternalServerError)
		}
	}()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "the status pages only show: GET", http.StatusMethodNotAllowed)
		return
	}
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeDeadline)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		p.cfg.Logger.DebugContext(r.Context(), "status page without a deadline", "err", err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	p.mux.ServeHTTP(w, r.WithContext(ctx))
}

// frame is what the layout is given.
type frame struct {
	Title, Path, Role, Name, Version string
	Nav                              []*page
	Here                             *page
	At                               output.Time
	Notices                          []string
	Refresh                          int    // seconds; 0: not by itself
	Again, JSON                      string // this page, refreshing by itself or not, and as JSON
	Error                            string
	Body                             any
}

// Path and Title are for the template.
func (pg *page) Path() string  { return pg.path }
func (pg *page) Title() string { return pg.title }

// serve answers one request.
func (p *Pages) serve(w http.ResponseWriter, r *http.Request, pg *page) {
	q := &request{Request: r, p: p, parts: p.parts.Load(), query: r.URL.Query()}
	if q.parts != nil && !pg.alone {
		q.view = q.parts.cache.Get(r.Context())
	}
	f := &frame{Title: pg.title, Path: pg.path, Role: p.cfg.Role, Name: p.cfg.Name, Version: p.cfg.Version, Here: pg, At: output.Time(time.Now().Truncate(time.Millisecond)), Notices: q.notices(pg)}
	for _, x := range p.pages {
		if x.nav {
			f.Nav = append(f.Nav, x)
		}
	}
	f.Refresh, _ = strconv.Atoi(q.query.Get("refresh"))
	if f.Refresh != 0 {
		f.Refresh = min(max(f.Refresh, 2), 3600)
	}
	again := ""
	if f.Refresh == 0 {
		again = "10"
	}
	f.Again, f.JSON = q.with("refresh", again), q.with("format", "json", "refresh", "")
	code := http.StatusOK
	if pg.alone || q.view != nil {
		var err error
		if f.Body, err = pg.data(q); err != nil {
			f.Error, f.Body, code = err.Error(), nil, codeOf(err)
		}
	} else {
		code = http.StatusServiceUnavailable
	}
	p.write(w, r, pg, f, code)
}

func codeOf(err error) int {
	switch {
	case errors.Is(err, base.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, base.ErrInvalid):
		return http.StatusBadRequest
	}
	return http.StatusServiceUnavailable
}

// write renders the page as a whole before its first byte is sent.
func (p *Pages) write(w http.ResponseWriter, r *http.Request, pg *page, f *frame, code int) {
	var b bytes.Buffer
	var err error
	switch format := r.URL.Query().Get("format"); format {
	case "json":
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(&b)
		e.SetIndent("", "  ")
		err = e.Encode(struct {
			Page    string      `json:"page"`
			At      output.Time `json:"at"`
			Notices []string    `json:"notices,omitempty"`
			Error   string      `json:"error,omitempty"`
			Data    any         `json:"data,omitempty"`
		}{strings.TrimPrefix(pg.path, "/"), f.At, f.Notices, f.Error, f.Body})
	case "", "html":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		err = pg.template.ExecuteTemplate(&b, "layout.html", f)
	default:
		err = fmt.Errorf("%w: format %q; there are html and json", base.ErrInvalid, format)
	}
	if err != nil {
		code := http.StatusInternalServerError
		if errors.Is(err, base.ErrInvalid) {
			code = http.StatusBadRequest
		} else {
			p.cfg.Logger.ErrorContext(r.Context(), "status page was not rendered", "path", pg.path, "err", err)
		}
		http.Error(w, err.Error(), code)
		return
	}
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && b.Len() > 4<<10 {
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(code)
		z := gzip.NewWriter(w)
		z.Write(b.Bytes()) // an error is the reader's: it has gone
		z.Close()
		return
	}
	w.WriteHeader(code)
	w.Write(b.Bytes())
}

// notices say what is wrong with what the page shows.
func (q *request) notices(pg *page) []string {
	var list []string
	v := q.view
	switch {
	case q.parts == nil:
		list = append(list, "This process is starting: it waits for the bucket and the lock service.")
	case pg.alone:
	case v == nil:
		list = append(list, "Nothing is known of the cluster yet: nobody has answered. Reload in a moment.")
	case v.Err != nil && v.RecordsAt.IsZero():
		list = append(list, "The lock service cannot be read: "+v.Err.Error())
	case v.Err != nil:
		list = append(list, fmt.Sprintf("The lock service cannot be read: %v. What is shown was read at %s UTC.", v.Err, v.RecordsAt.UTC().Format("15:04:05")))
	case v.Stale:
		list = append(list, "The lock service has no leader. What is shown is what one of its replicas remembers, and may be old.")
	}
	return list
}

// with returns the address of this page with parameters changed, given as
// names and values; an empty value removes one.
func (q *request) with(pairs ...string) string {
	u := url.Values{}
	for k, v := range q.query {
		u[k] = v
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if u.Del(pairs[i]); pairs[i+1] != "" {
			u.Set(pairs[i], pairs[i+1])
		}
	}
	if len(u) == 0 {
		return q.URL.Path
	}
	return q.URL.Path + "?" + u.Encode()
}

// number returns a parameter that is a number.
func (q *request) number(name string) (uint64, error) {
	s := q.query.Get(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %s %q; want a number", base.ErrInvalid, name, s)
	}
	return n, nil
}
