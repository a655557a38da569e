package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

func nowMicros() int64 { return time.Now().UnixMicro() }

func (r *run) serverCommand() *cobra.Command {
	list := r.serversCommand()
	list.Use = "list"
	return group("server", "List, drain and restart tablet servers", list, r.drainCommand(), r.undrainCommand(), r.restartCommand())
}

// setDrain asks the master to drain a server, or not, and returns its name and
// how many tablets it has.
func (e *env) setDrain(ctx context.Context, server string, undrain bool) (name string, tablets int, err error) {
	err = e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
		resp, err := m.DrainServer(ctx, &controlpb.DrainServerRequest{Server: server, Undrain: undrain})
		name, tablets = resp.GetServer(), int(resp.GetTablets())
		return err
	})
	return name, tablets, err
}

// drained is the answer of server drain.
type drained struct {
	Server string `json:"server"`
	Left   int    `json:"tablets_left"`
	Moved  int    `json:"tablets_moved"`
}

func (r *run) drainCommand() *cobra.Command {
	var noWait bool
	c := long(r.command("drain <server>", "Move all tablets off a server and give it none", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		name, tablets, err := e.setDrain(ctx, args[0], false)
		if err != nil {
			return err
		}
		a := drained{Server: name, Left: tablets}
		if !noWait {
			if err := e.awaitEmpty(ctx, name, tablets); err != nil {
				return err
			}
			a.Left, a.Moved = 0, tablets
		}
		return e.out.Print(a, func(p *output.Page) {
			if a.Left > 0 {
				p.Line("server %s is being drained; %d tablets are left", a.Server, a.Left)
			} else {
				p.Line("server %s has no tablets and gets none until tabletadm server undrain %s", a.Server, a.Server)
			}
		})
	}))
	c.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until it is empty")
	c.Long = `Move all tablets off a server, given by name, address or incarnation, and give it
none until it is undrained. The mark is for the server's name: it outlives restarts
of the server and of the master. Clients notice nothing but some milliseconds. If
this command is interrupted, the server is drained all the same.`
	return c
}

func (r *run) undrainCommand() *cobra.Command {
	return r.command("undrain <server>", "Let a server have tablets again", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		name, _, err := e.setDrain(ctx, args[0], true)
		if err != nil {
			return err
		}
		return e.done("server %s may have tablets again", name)
	})
}

// drainPoll is how often it is looked how far a drain or restart is.
const drainPoll = 200 * time.Millisecond

// awaitEmpty returns when the server of that name has no tablets.
func (e *env) awaitEmpty(ctx context.Context, name string, before int) error {
	b := newBar(e.run.app, int64(max(before, 1)), "drain "+name)
	defer b.finish()
	return e.poll(ctx, func() (bool, error) {
		n, err := e.tabletsAt(ctx, name)
		b.set(int64(before-n), int64(max(before, 1)))
		return n == 0, err
	})
}

// poll calls done now and then until it is true. Errors of the lock service may
// pass.
func (e *env) poll(ctx context.Context, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok && err == nil {
			return nil
		}
		if err != nil && !errors.Is(err, base.ErrNoLeader) && !errors.Is(err, base.ErrUnavailable) {
			return err
		}
		select {
		case <-time.After(drainPoll):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// tabletsAt counts the tablets that name a server of that name as owner.
func (e *env) tabletsAt(ctx context.Context, name string) (int, error) {
	servers, err := e.meta.Servers(ctx, lockservice.ReadOptions{})
	if err != nil {
		return 0, err
	}
	tablets, _, err := e.meta.All(ctx, lockservice.ReadOptions{})
	if err != nil {
		return 0, err
	}
	n := 0
	for _, t := range tablets {
		if slices.ContainsFunc(servers, func(s meta.Server) bool { return s.Incarnation == t.Owner && s.Record.GetName() == name }) {
			n++
		}
	}
	return n, nil
}

// incarnation returns the youngest incarnation of the server of that name;
// zero: it does not run.
func (e *env) incarnation(ctx context.Context, name string) (base.Incarnation, error) {
	servers, err := e.meta.Servers(ctx, lockservice.ReadOptions{})
	if err != nil {
		return base.Incarnation{}, err
	}
	var found base.Incarnation
	for _, s := range servers {
		if s.Record.GetName() == name && found.Compare(s.Incarnation) < 0 {
			found = s.Incarnation
		}
	}
	return found, nil
}

func (r *run) restartCommand() *cobra.Command {
	var command string
	c := long(r.command("restart [server ...]", "Restart tablet servers one after the other, without tablets", cobra.ArbitraryArgs, func(ctx context.Context, e *env, args []string) error {
		if len(args) == 0 {
			servers, err := e.meta.Servers(ctx, lockservice.ReadOptions{})
			if err != nil {
				return err
			}
			for _, s := range servers {
				args = append(args, s.Record.GetName())
			}
			slices.Sort(args)
		}
		type answer struct {
			Restarted []string `json:"restarted"`
		}
		a := answer{Restarted: []string{}}
		for i, name := range args {
			if len(args) > 1 {
				fmt.Fprintf(e.run.app.Stderr, "server %d of %d:\n", i+1, len(args))
			}
			name, err := e.restart(ctx, name, command)
			if err != nil {
				return fmt.Errorf("restart %s: %w (restarted before: %v)", name, err, a.Restarted)
			}
			a.Restarted = append(a.Restarted, name)
		}
		return e.out.Print(a, func(p *output.Page) { p.Line("%d servers were restarted: %v", len(a.Restarted), a.Restarted) })
	}))
	c.Flags().StringVar(&command, "exec", "", "shell command that restarts the server named by $SERVER (default: somebody else does)")
	c.Long = `For each of the servers, by default all: drain it, wait until it has no tablets,
restart it with --exec or wait until somebody else has, wait until it is back, and
undrain it. Servers must have names that are stable over restarts (tabletd --name).
If this is interrupted a server may be left drained: tabletadm balance explain shows
which.`
	return c
}

// restart restarts one server and returns its name.
func (e *env) restart(ctx context.Context, server, command string) (string, error) {
	say := func(format string, args ...any) { fmt.Fprintf(e.run.app.Stderr, format+"\n", args...) }
	name, tablets, err := e.setDrain(ctx, server, false)
	if err != nil {
		return server, err
	}
	say("%s: draining %d tablets", name, tablets)
	if err := e.awaitEmpty(ctx, name, tablets); err != nil {
		return name, err
	}
	before, err := e.incarnation(ctx, name)
	if err != nil {
		return name, err
	}
	if command == "" {
		say("%s: has no tablets; restart it now", name)
	} else {
		say("%s: has no tablets; running %s", name, command)
		if err := shell(ctx, command, name, e.run.app.Stderr); err != nil {
			return name, err
		}
	}
	b := newBar(e.run.app, -1, "waiting for "+name)
	err = e.poll(ctx, func() (bool, error) {
		now, err := e.incarnation(ctx, name)
		b.step(1)
		return before.Compare(now) < 0, err
	})
	b.finish()
	if err != nil {
		return name, err
	}
	say("%s: is back", name)
	_, _, err = e.setDrain(ctx, name, true)
	return name, err
}

// shell runs the operator's command.
func shell(ctx context.Context, command, server string, out io.Writer) error {
	c := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	c.Env = append(c.Environ(), "SERVER="+server)
	c.Stdout, c.Stderr = out, out
	if err := c.Run(); err != nil {
		return fmt.Errorf("run %s: %w", command, err)
	}
	return nil
}
