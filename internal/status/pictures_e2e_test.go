//go:build e2e

package status_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// browser returns the path of a Chromium; where there is none the test is
// skipped, or fails where E2E_REQUIRE is set.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			return p
		}
	}
	if os.Getenv("E2E_REQUIRE") != "" {
		t.Fatal("there is no chromium")
	}
	t.Skip("there is no chromium")
	return ""
}

// shoot makes a picture of a page.
func shoot(t *testing.T, browser, url, file string, width, height int, dark bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	args := []string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--user-data-dir=" + t.TempDir(), "--screenshot=" + file,
		fmt.Sprintf("--window-size=%d,%d", width, height)}
	if dark {
		args = append(args, "--blink-settings=preferredColorScheme=0")
	}
	out, err := exec.CommandContext(ctx, browser, append(args, url)...).CombinedOutput()
	if info, serr := os.Stat(file); err != nil || serr != nil || info.Size() < 5000 {
		t.Errorf("picture of %s: %v, %v: %s", url, err, serr, out)
	}
}

// TestPictures puts a skewed load on a cluster, kills a server, and takes
// pictures of every page. They are for people to look at: PICTURES says where
// they go.
func TestPictures(t *testing.T) {
	chromium := browser(t)
	dir := os.Getenv("PICTURES")
	if dir == "" {
		dir = t.TempDir()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := open(t)
	ctx, stop := context.WithCancel(t.Context())
	worked := make(chan struct{})
	go func() { defer close(worked); s.work(ctx) }()
	defer func() { stop(); <-worked }()
	after := time.After(26 * time.Second)
	s.put(ctx, "strange", binary)
	<-time.After(5 * time.Second)
	s.flush()
	<-time.After(2 * time.Second)
	s.cluster.KillTabletServer(s.cluster.TabletServers()[1])
	if _, err := s.cluster.StartTabletServer(ctx); err != nil {
		t.Fatal(err)
	}
	<-after
	if _, body := s.get("/cluster"); !strings.Contains(body, "Busiest") {
		t.Fatal(body)
	}
	type picture struct {
		name, path    string
		width, height int
		dark          bool
	}
	var list []picture
	for _, x := range [][2]string{
		{"heatmap", "/heatmap?table=users&minutes=1"}, {"cluster", "/cluster"}, {"tablets", "/tablets?sort=load"},
		{"tablet", "/tablet?table=users&row=" + row(hotTablet*rows/60+1)}, {"servers", "/servers"}, {"jobs", "/jobs"}, {"recovery", "/recovery"},
		{"locks", "/locks"}, {"process", "/process"}, {"config", "/config"}, {"strange", "/tablets?table=strange"},
	} {
		name, path := x[0], x[1]
		list = append(list, picture{name, path, 1280, 1300, false}, picture{name + "-phone", path, 500, 1300, false})
		if name == "heatmap" {
			list = append(list, picture{name + "-dark", path, 1280, 1300, true})
		}
	}
	stop() // what is shown stays, and the browser has the processor
	<-worked
	var wg sync.WaitGroup
	slots := make(chan struct{}, 3)
	for _, p := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			shoot(t, chromium, s.http.URL+p.path, filepath.Join(dir, p.name+".png"), p.width, p.height, p.dark)
		})
	}
	wg.Wait()
}
