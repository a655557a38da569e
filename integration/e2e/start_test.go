//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable"
)

// refused starts a process that must end by itself, and returns what it said.
func refused(t *testing.T, p *process) string {
	t.Helper()
	p.start(t)
	t.Cleanup(p.end)
	if code := p.wait(t, 30*time.Second); code == 0 {
		t.Errorf("%s ended with exit code 0", p.name)
	}
	b, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitN(string(b), "\n", 2) // the first is the command
	return lines[1]
}

func expectText(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("the message does not say %q:\n%s", w, text)
		}
	}
	if n := strings.Count(strings.TrimSpace(text), "\n"); n > 3 {
		t.Errorf("the message has %d lines:\n%s", n+1, text)
	}
}

// lockServer returns a lock server on a store, not started.
func lockServer(t *testing.T, dir, store string, env []string, more ...string) *process {
	args := append([]string{settings.tabletd, "lockservice", "--store", store, "--listen", freeAddress(t), "--data", filepath.Join(dir, "lock")}, more...)
	return newProcess(dir, "lock", env, args...)
}

func TestWrongBucket(t *testing.T) {
	dir := workDir(t)
	m := startMinIO(t, dir)
	url := "s3://nosuchbucket/x?endpoint=http://" + m.args[len(m.args)-2]
	text := refused(t, lockServer(t, dir, url, credentials("minioadmin", "minioadmin")))
	expectText(t, text, "nosuchbucket", "create")
}

func TestWrongCredentials(t *testing.T) {
	dir := workDir(t)
	m := startMinIO(t, dir)
	url := "s3://e2e/x?endpoint=http://" + m.args[len(m.args)-2]
	tests := []struct{ name, user, password, want string }{
		{"user", "nobody", "minioadmin", "access key"},
		{"password", "minioadmin", "wrongwrong", "secret key"},
	}
	lockServer := func(t *testing.T, user, password string, more ...string) string {
		return refused(t, lockServer(t, workDir(t), url, credentials(user, password), more...))
	}
	p := newProcess(dir, "lock", credentials("minioadmin", "minioadmin"), settings.tabletd, "lockservice", "--store", url, "--create-bucket", "--listen", freeAddress(t))
	p.start(t) // makes the bucket
	t.Cleanup(p.end)
	p.ready(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			expectText(t, lockServer(t, test.user, test.password), "e2e", test.want)
		})
		t.Run(test.name+" while creating", func(t *testing.T) {
			expectText(t, lockServer(t, test.user, test.password, "--create-bucket"), "e2e", test.want)
		})
	}
	t.Run("none", func(t *testing.T) {
		text := refused(t, newProcess(workDir(t), "lock", []string{"TABLETDB_S3_ACCESS_KEY=", "AWS_ACCESS_KEY_ID="},
			settings.tabletd, "lockservice", "--store", url, "--listen", freeAddress(t)))
		expectText(t, text, "no credentials", "TABLETDB_S3_ACCESS_KEY")
	})
}

// TestUnreachableBucket: processes wait for the bucket, say so, and go on when it
// is there.
func TestUnreachableBucket(t *testing.T) {
	c := newCluster(t, shape{locks: 1, masters: 1, tablets: 1})
	if c.minio == nil {
		t.Skip("the store is a directory")
	}
	c.minio.kill(t)
	for _, p := range c.all() {
		p.start(t)
	}
	for _, p := range c.all() {
		within(t, 20*time.Second, p.name+" says that it waits", func() error {
			b, err := os.ReadFile(p.log)
			if err == nil && !strings.Contains(string(b), "waiting") {
				err = os.ErrNotExist
			}
			return err
		})
	}
	c.minio.start(t)
	for _, p := range c.all() {
		p.ready(t)
	}
	c.connect()
	c.createTable()
	c.writeEach("after")
}

// TestUnusableDirectory: a path that is a file cannot become a store.
func TestUnusableDirectory(t *testing.T) {
	dir := workDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	expectText(t, refused(t, lockServer(t, dir, file, nil)), file, "not a directory")
}

// TestTwoClusters: a second cluster on the bucket of a first is refused, and the
// first is not disturbed.
func TestTwoClusters(t *testing.T) {
	first := startCluster(t, small)
	first.createTable()
	first.writeEach("before")
	s := small
	s.store = first.store
	second := newCluster(t, s)
	second.locks[0].start(t)
	second.locks[0].ready(t)
	for _, p := range []*process{second.masters[0], second.tablets[0], second.gateway} {
		expectText(t, refused(t, p), "cluster", first.store)
	}
	first.writeEach("after")
}

func TestWrongFlags(t *testing.T) {
	dir := workDir(t)
	tests := []struct {
		name string
		args []string
		want []string
	}{
		{"no role", []string{"tablets"}, []string{`"tablets"`, "Did you mean this? tabletserver"}},
		{"unknown flag", []string{"master", "--shop", "x"}, []string{"--shop"}},
		{"no store", []string{"master"}, []string{"--store"}},
		{"bad URL", []string{"master", "--store", "ftp://x/y"}, []string{"ftp", "s3://"}},
		{"short lease", []string{"tabletserver", "--store", dir, "--session-ttl", "5ms"}, []string{"--session-ttl"}},
		{"bad level", []string{"gateway", "--store", dir, "--log-level", "loud"}, []string{"--log-level", "loud"}},
		{"bad member", []string{"lockservice", "--store", filepath.Join(dir, "b"), "--bootstrap", "x"}, []string{"--bootstrap"}},
		{"no file", []string{"master", "--config", filepath.Join(dir, "none.yaml")}, []string{"none.yaml"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newProcess(workDir(t), "tabletd", nil, append([]string{settings.tabletd}, test.args...)...)
			expectText(t, refused(t, p), test.want...)
			if code := p.wait(t, time.Second); code != 2 {
				t.Errorf("exit code %d, want 2", code)
			}
		})
	}
}

// TestAddressInUse: the second process on an address says which.
func TestAddressInUse(t *testing.T) {
	c := startCluster(t, small)
	args := append([]string(nil), c.gateway.args...)
	text := refused(t, newProcess(workDir(t), "gateway", nil, args...))
	expectText(t, text, c.addr[c.gateway], "in use")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := openAdmin(t, c.addr[c.gateway]).CreateTableFromConf(ctx, &bigtable.TableConf{TableID: "x"}); err != nil {
		t.Error(err)
	}
}
