package admin

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/inspect"
	"github.com/tabletdb/tabletdb/internal/base"
)

func (r *run) manifestCommand() *cobra.Command {
	return group("manifest", "Look into manifests",
		r.command("dump <tablet | name>", "Show the files of a tablet, or of a manifest by name", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
			f, err := e.manifestName(ctx, args[0])
			if err != nil {
				return err
			}
			m, err := e.readManifest(ctx, f)
			if err != nil {
				return err
			}
			i := inspect.NewManifest(f, m)
			return e.out.Print(i, i.Human)
		}))
}

// manifestName returns the manifest that a name, an object's key or the id of a
// tablet stands for.
func (e *env) manifestName(ctx context.Context, arg string) (base.FileNumber, error) {
	if strings.Contains(arg, "-") {
		return parseFile(arg)
	}
	t, err := e.tabletByID(ctx, arg)
	if err != nil {
		return base.FileNumber{}, err
	}
	if t.Manifest.IsZero() {
		return t.Manifest, usagef("tablet %d has no manifest yet: nothing of it was flushed", t.ID)
	}
	return t.Manifest, nil
}

// parseFile reads a file's name, or the key of its object.
func parseFile(arg string) (base.FileNumber, error) {
	f, err := base.ParseFileNumber(arg[strings.LastIndexByte(arg, '/')+1:])
	if err != nil {
		return f, usagef("%w", err)
	}
	return f, nil
}
