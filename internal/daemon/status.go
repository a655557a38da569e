package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tabletdb/tabletdb/internal/status"
)

// newRegistry returns the registry of a process's metrics.
func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// statusServer serves the status pages, /metrics, /healthz and /debug/pprof.
type statusServer struct {
	server *http.Server
	addr   string
	served chan struct{}
}

// openStatus starts the status server on addr.
func openStatus(addr string, r *prometheus.Registry, pages http.Handler, log *slog.Logger) (*statusServer, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("status address: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", pages)
	mux.Handle("/metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	s := &statusServer{server: &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}, addr: l.Addr().String(), served: make(chan struct{})}
	go func() {
		defer close(s.served)
		if err := s.server.Serve(l); err != http.ErrServerClosed {
			log.Error("status server has ended", "err", err)
		}
	}()
	return s, nil
}

func (s *statusServer) close(ctx context.Context) {
	if s == nil {
		return
	}
	s.server.Shutdown(ctx)
	<-s.served
}

// openPages starts the status server with its pages, if there is to be one.
func (p *process) openPages() (*statusServer, error) {
	if p.cfg.Status == "" {
		return nil, nil
	}
	pages, err := status.New(status.Config{Role: p.role, Name: p.cfg.Listen, Version: p.version, Settings: p.cfg.settings(), Logger: p.log})
	if err != nil {
		return nil, err
	}
	s, err := openStatus(p.cfg.Status, p.registry, pages, p.log)
	if err != nil {
		return nil, err
	}
	p.pages, p.statusAddress = pages, advertised(s.addr, p.cfg.Listen)
	p.log.Info("status pages", "url", "http://"+p.statusAddress+"/")
	return s, nil
}

// attach tells the pages what there is to show, and returns what ends that,
// which must be done before the parts are closed.
func (p *process) attach(parts status.Parts) (detach func()) {
	if p.pages == nil {
		return func() {}
	}
	p.pages.Attach(parts)
	return p.pages.Close
}

// advertised is where others reach the pages: where the listener is on all
// interfaces, at the host at which the process is reached.
func advertised(listener, listen string) string {
	host, port, err := net.SplitHostPort(listener)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return listener
	}
	if h, _, err := net.SplitHostPort(listen); err == nil && h != "" {
		if ip := net.ParseIP(h); ip == nil || !ip.IsUnspecified() {
			return net.JoinHostPort(h, port)
		}
	}
	if h, err := os.Hostname(); err == nil {
		return net.JoinHostPort(h, port)
	}
	return listener
}

// settings returns the configuration as the pages show it.
func (c *Config) settings() []status.Setting {
	var list []status.Setting
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		value := v.Field(i).Interface()
		text := fmt.Sprint(value)
		if l, ok := value.([]string); ok {
			text = strings.Join(l, ", ")
		}
		list = append(list, status.Setting{Name: v.Type().Field(i).Tag.Get("yaml"), Value: text})
	}
	return list
}
