package server

import (
	"context"
	"io"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger passes Raft's log on. What Raft calls information are elections
// and snapshots; its debug chatter stays debug.
type raftLogger struct {
	l    *slog.Logger
	name string
	with []any
}

var _ hclog.Logger = (*raftLogger)(nil)

func newRaftLogger(l *slog.Logger) *raftLogger {
	return &raftLogger{l: l.With(slog.String("component", "raft"))}
}

func (r *raftLogger) log(level slog.Level, msg string, args []any) {
	r.l.Log(context.Background(), level, msg, args...)
}

func (r *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	switch {
	case level >= hclog.Error:
		r.Error(msg, args...)
	case level == hclog.Warn:
		r.Warn(msg, args...)
	case level == hclog.Info:
		r.Info(msg, args...)
	default:
		r.Debug(msg, args...)
	}
}

func (r *raftLogger) Trace(msg string, args ...any) { r.log(slog.LevelDebug-4, msg, args) }
func (r *raftLogger) Debug(msg string, args ...any) { r.log(slog.LevelDebug, msg, args) }
func (r *raftLogger) Info(msg string, args ...any)  { r.log(slog.LevelInfo, msg, args) }
func (r *raftLogger) Warn(msg string, args ...any)  { r.log(slog.LevelWarn, msg, args) }
func (r *raftLogger) Error(msg string, args ...any) { r.log(slog.LevelError, msg, args) }

func (r *raftLogger) enabled(level slog.Level) bool {
	return r.l.Enabled(context.Background(), level)
}

func (r *raftLogger) IsTrace() bool { return r.enabled(slog.LevelDebug - 4) }
func (r *raftLogger) IsDebug() bool { return r.enabled(slog.LevelDebug) }
func (r *raftLogger) IsInfo() bool  { return r.enabled(slog.LevelInfo) }
func (r *raftLogger) IsWarn() bool  { return r.enabled(slog.LevelWarn) }
func (r *raftLogger) IsError() bool { return r.enabled(slog.LevelError) }

func (r *raftLogger) ImpliedArgs() []any { return r.with }

func (r *raftLogger) With(args ...any) hclog.Logger {
	return &raftLogger{l: r.l.With(args...), name: r.name, with: append(append([]any(nil), r.with...), args...)}
}

func (r *raftLogger) Name() string { return r.name }

func (r *raftLogger) Named(name string) hclog.Logger {
	return &raftLogger{l: r.l, name: name, with: r.with}
}

func (r *raftLogger) ResetNamed(name string) hclog.Logger { return r.Named(name) }

// SetLevel does nothing: the handler of the slog.Logger decides.
func (r *raftLogger) SetLevel(hclog.Level) {}

func (r *raftLogger) GetLevel() hclog.Level {
	switch {
	case r.IsDebug():
		return hclog.Debug
	case r.IsInfo():
		return hclog.Info
	case r.IsWarn():
		return hclog.Warn
	}
	return hclog.Error
}

func (r *raftLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(r.l.Handler(), slog.LevelInfo)
}

func (r *raftLogger) StandardWriter(o *hclog.StandardLoggerOptions) io.Writer {
	return r.StandardLogger(o).Writer()
}
